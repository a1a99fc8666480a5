/**
 * Runs an effect with an alarm that rings if it takes too long, be it months. Ringing must make the effect end.
 *
 * This is not `Effect.raceFirst` or `Effect.timeout`: a race that is interrupted in the moment it starts can wait for
 * its own children for ever, and one that has a winner forgets what the loser had already decided.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import { sleepFor } from "../../unstable/Sleep.ts"

export const withAlarm = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  millis: number,
  ring: () => void
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(Effect.zipRight(sleepFor(millis), Effect.sync(ring)))),
      (alarm) => Effect.ensuring(restore(effect), Effect.sync(() => alarm.unsafeInterruptAsFork(FiberId.none)))
    )
  )

/**
 * Waits until fibers have ended, but no longer than that. Answers whether they have. It ends in time where nothing can
 * be interrupted, as in a finalizer.
 */
export const awaitAllWithin = (
  fibers: ReadonlyArray<Fiber.RuntimeFiber<unknown>>,
  millis: number
): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const over = Effect.unsafeMakeLatch(fibers.length === 0)
    let missing = fibers.length
    const onEnd = () => {
      missing -= 1
      if (missing === 0) over.unsafeOpen()
    }
    for (const fiber of fibers) fiber.addObserver(onEnd)
    return Effect.map(withAlarm(over.await, millis, () => over.unsafeOpen()), () => {
      for (const fiber of fibers) fiber.removeObserver(onEnd)
      return missing === 0
    })
  })

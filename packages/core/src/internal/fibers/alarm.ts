/**
 * Runs an effect with an alarm that rings if it takes too long, even after months. Ringing must end the effect.
 *
 * This is not `Effect.raceFirst` or `Effect.timeout`: a race that is interrupted as it starts can wait for its own
 * children forever, and a race with a winner discards what the loser had already decided.
 */
import * as Effect from "effect/Effect"
import { sleepFor } from "../../unstable/Sleep.ts"
import { interruptNow, observe, type Running, unobserve } from "./fiber.ts"
import { forkInterruptible } from "./forking.ts"
import { closingUnderTestClock } from "./standstill.ts"

export const withAlarm = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  millis: number,
  ring: () => void
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      forkInterruptible(Effect.zipRight(sleepFor(millis), Effect.sync(ring))),
      (alarm) => Effect.ensuring(restore(effect), Effect.sync(() => interruptNow(alarm)))
    )
  )

/**
 * Waits until the fibers of what closes have ended, but no longer than that. Answers whether they have. It ends in time
 * where nothing can be interrupted, as in a finalizer, and under a TestClock that nobody moves.
 */
export const awaitAllWithin = (
  fibers: ReadonlyArray<Running<unknown>>,
  millis: number
): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const over = Effect.unsafeMakeLatch(fibers.length === 0)
    let missing = fibers.length
    const onEnd = () => {
      missing -= 1
      if (missing === 0) over.unsafeOpen()
    }
    for (const fiber of fibers) observe(fiber, onEnd)
    const end = () => over.unsafeOpen()
    return Effect.map(closingUnderTestClock(withAlarm(over.await, millis, end), end), () => {
      for (const fiber of fibers) unobserve(fiber, onEnd)
      return missing === 0
    })
  })

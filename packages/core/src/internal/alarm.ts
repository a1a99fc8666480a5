/**
 * Runs an effect with an alarm that rings if it takes too long. Ringing must make the effect end.
 *
 * This is not `Effect.raceFirst` or `Effect.timeout`: a race that is interrupted in the moment it starts can wait for
 * its own children for ever, and one that has a winner forgets what the loser had already decided.
 */
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"

/** @internal */
export const withAlarm = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  millis: number,
  ring: () => void
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(Effect.zipRight(Effect.sleep(millis), Effect.sync(ring)))),
      (alarm) => Effect.ensuring(restore(effect), Effect.sync(() => alarm.unsafeInterruptAsFork(FiberId.none)))
    )
  )

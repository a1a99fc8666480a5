/**
 * Waits of any length. A timer of JavaScript has 31 bits: Effect's Clock never ends a sleep of more than 24.8 days.
 *
 * Not stable: what `@sluice/sql` and `@sluice/http` are built on, and may change in any release.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * Timers of JavaScript cannot sleep longer; a longer time is slept in parts.
 *
 * @since 0.1.0
 * @category constants
 */
export const longestSleepMillis = 2 ** 31 - 1

/**
 * Milliseconds that only ever grow: the wall clock may jump back, and what waits for a time would wait for as long.
 *
 * @since 0.1.0
 * @category time
 */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1_000_000

/**
 * Sleeps for so many milliseconds, in parts where they are many; for ever where they are infinite.
 *
 * @since 0.1.0
 * @category time
 */
export const sleepFor = (millis: number): Effect.Effect<void> => {
  if (millis <= longestSleepMillis) return Effect.sleep(millis)
  if (millis === Infinity) return Effect.never
  return Clock.clockWith((clock) => {
    const until = monotonicMillis(clock) + millis
    const sleep: Effect.Effect<void> = Effect.suspend(() => {
      const left = until - monotonicMillis(clock)
      return left <= 0 ? Effect.void : Effect.zipRight(Effect.sleep(Math.min(left, longestSleepMillis)), sleep)
    })
    return sleep
  })
}

/**
 * Like `Effect.timeoutOption`, for a time of any length.
 *
 * @since 0.1.0
 * @category time
 */
export const timeoutOption = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  millis: number
): Effect.Effect<Option.Option<A>, E, R> =>
  millis <= longestSleepMillis
    ? Effect.timeoutOption(effect, millis)
    : Effect.raceFirst(Effect.asSome(effect), Effect.as(sleepFor(millis), Option.none()))

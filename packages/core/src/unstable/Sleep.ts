/**
 * Waits of any length. A timer of JavaScript has 31 bits: Effect's Clock never ends a sleep of more than 24.8 days.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * The longest sleep of a JavaScript timer, in milliseconds. A longer sleep is split into parts.
 *
 * @since 0.1.0
 * @category constants
 */
export const longestSleepMillis = 2 ** 31 - 1

/**
 * Milliseconds of a monotonic clock. The wall clock may jump back, which would extend every wait.
 *
 * @since 0.1.0
 * @category time
 */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1_000_000

/**
 * Sleeps for a number of milliseconds, in parts if they are many, and forever if they are infinite.
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

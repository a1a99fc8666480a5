/**
 * Sleeping for as long as somebody has asked for.
 */
import * as Effect from "effect/Effect"

/**
 * Timers of JavaScript cannot sleep longer, and the clock of Effect never wakes whoever asks for more.
 * @internal
 */
export const longestSleepMillis = 2 ** 31 - 1

/**
 * Sleeps in parts where that is needed; for ever where the time is infinite.
 * @internal
 */
export const sleepLong = (millis: number): Effect.Effect<void> =>
  millis <= longestSleepMillis
    ? Effect.sleep(millis)
    : Effect.zipRight(Effect.sleep(longestSleepMillis), Effect.suspend(() => sleepLong(millis - longestSleepMillis)))

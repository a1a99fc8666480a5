/**
 * Checks of options. Each fails with an `InvalidOption` that names field, value and limit.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { InvalidOption } from "../QueueError.ts"

/** @internal */
export type Check = Effect.Effect<void, InvalidOption>

/** @internal */
export const check = (holds: boolean, queue: string, field: string, value: unknown, limit: string): Check =>
  holds ? Effect.void : Effect.fail(new InvalidOption({ queue, field, value, limit }))

/** @internal */
export const positiveInteger = (queue: string, field: string, value: number): Check =>
  check(Number.isSafeInteger(value) && value >= 1, queue, field, value, "an integer of at least 1")

/** @internal */
export const durationLimit = "a duration that is not negative, such as \"1 second\" or 500 (milliseconds)"

/**
 * What comes out of a configuration or out of JavaScript may be no duration at all, and `Duration` takes NaN and
 * negative numbers for zero.
 * @internal
 */
export const isDuration = (value: unknown): boolean =>
  (typeof value !== "number" || value >= 0) && Option.isSome(Duration.decodeUnknown(value))

/**
 * A duration in milliseconds, not negative.
 * @internal
 */
export const millis = (
  queue: string,
  field: string,
  value: Duration.DurationInput
): Effect.Effect<number, InvalidOption> =>
  isDuration(value)
    ? Effect.succeed(Duration.toMillis(value))
    : Effect.fail(new InvalidOption({ queue, field, value, limit: durationLimit }))

/** @internal */
export const name = (module: string, value: string): Check =>
  check(typeof value === "string" && value.trim() !== "", module, "name", value, "a name that is not blank")

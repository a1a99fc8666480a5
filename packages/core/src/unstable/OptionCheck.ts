/**
 * Checks of options. Each fails with an `InvalidOption` that names the queue, the field, the value and the limit.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { InvalidOption } from "../QueueError.ts"

/**
 * Succeeds if an option is valid.
 *
 * @since 0.1.0
 * @category models
 */
export type Check = Effect.Effect<void, InvalidOption>

/**
 * Any condition.
 *
 * @since 0.1.0
 * @category checks
 */
export const check = (holds: boolean, queue: string, field: string, value: unknown, limit: string): Check =>
  holds ? Effect.void : Effect.fail(new InvalidOption({ queue, field, value, limit }))

/**
 * The requirement on a duration, in words.
 *
 * @since 0.1.0
 * @category constants
 */
export const durationLimit = "a duration that is not negative, such as \"1 second\" or 500 (milliseconds)"

/**
 * A value from a configuration or from JavaScript may not be a duration at all, and `Duration` treats NaN and negative
 * numbers as zero.
 *
 * @since 0.1.0
 * @category checks
 */
export const isDuration = (value: unknown): boolean =>
  (typeof value !== "number" || value >= 0) && Option.isSome(Duration.decodeUnknown(value))

/**
 * A duration in milliseconds, not negative.
 *
 * @since 0.1.0
 * @category checks
 */
export const millis = (
  queue: string,
  field: string,
  value: Duration.DurationInput
): Effect.Effect<number, InvalidOption> =>
  isDuration(value)
    ? Effect.succeed(Duration.toMillis(value))
    : Effect.fail(new InvalidOption({ queue, field, value, limit: durationLimit }))

const requiredFunction = (queue: string, field: string, value: unknown): Check =>
  check(typeof value === "function", queue, field, value, "a function")

/**
 * A function, or undefined.
 *
 * @since 0.1.0
 * @category checks
 */
export const optionalFunction = (queue: string, field: string, value: unknown): Check =>
  check(value === undefined || typeof value === "function", queue, field, value, "a function, or absent")

/**
 * An object with these functions, and optionally with those.
 *
 * @since 0.1.0
 * @category checks
 */
export const withFunctions = (
  queue: string,
  field: string,
  value: unknown,
  required: ReadonlyArray<string>,
  optional: ReadonlyArray<string> = []
): Check => {
  if (typeof value !== "object" || value === null) {
    return check(false, queue, field, value, `an object with ${required.join(", ")}`)
  }
  const fields = value as Readonly<Record<string, unknown>>
  return Effect.zipRight(
    Effect.forEach(required, (name) => requiredFunction(queue, `${field}.${name}`, fields[name]), { discard: true }),
    Effect.forEach(optional, (name) => optionalFunction(queue, `${field}.${name}`, fields[name]), { discard: true })
  )
}

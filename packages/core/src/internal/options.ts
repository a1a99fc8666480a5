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

/**
 * A duration in milliseconds, not negative.
 * @internal
 */
export const millis = (
  queue: string,
  field: string,
  value: Duration.DurationInput
): Effect.Effect<number, InvalidOption> =>
  // What comes out of a configuration or out of JavaScript may be no duration at all.
  Effect.mapError(
    Option.match(Duration.decodeUnknown(value), {
      onNone: () => Effect.fail(undefined),
      onSome: (duration) => Effect.succeed(Duration.toMillis(duration))
    }),
    () => new InvalidOption({ queue, field, value, limit: "a duration, such as \"1 second\" or 500 (milliseconds)" })
  )

/** @internal */
export const name = (module: string, value: string): Check =>
  check(typeof value === "string" && value.trim() !== "", module, "name", value, "a name that is not blank")

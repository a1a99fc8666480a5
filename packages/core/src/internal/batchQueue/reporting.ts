/**
 * What a durable queue reports by itself: in the log, if the user handles no errors, and in the span of a batch.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Batch } from "../../Batch.ts"
import type { Repeats } from "./repeats.ts"

const again = (repeats: number): string => repeats === 0 ? "" : `, and did so ${repeats} times since this was told last`

export const logProcessError =
  (name: string, repeats: Repeats) => (cause: Cause.Cause<unknown>, { attempt, items }: Batch<unknown>) => {
    const count = repeats.note("process", cause)
    return count === undefined
      ? Effect.void
      : Effect.logWarning(`${name}: attempt ${attempt} at ${items.length} items failed${again(count)}`, cause)
  }

export const logInternalError =
  (name: string, repeats: Repeats) => (cause: Cause.Cause<unknown>, operation: string) => {
    const count = repeats.note(operation, cause)
    return count === undefined ? Effect.void : Effect.logError(`${name}: ${operation} failed${again(count)}`, cause)
  }

/** If an error handler dies, that is logged and has no other effect. */
export const guarded = <Args extends ReadonlyArray<any>>(
  queue: string,
  field: string,
  handler: (...args: Args) => Effect.Effect<void, never, any>
) =>
(...args: Args): Effect.Effect<void> =>
  Effect.catchAllDefect(
    Effect.suspend(() => handler(...args)) as Effect.Effect<void>,
    (defect) => Effect.logError(`${queue}: ${field} died`, Cause.die(defect))
  )

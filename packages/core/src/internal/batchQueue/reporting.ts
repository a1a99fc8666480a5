/**
 * What a durable queue reports by itself: in the log, if the user handles no errors, and in the span of a batch.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Batch } from "../../Batch.ts"
import { failureOf, withMessages } from "../fibers/failure.ts"
import { messageOf } from "../shapes/messageOf.ts"
import type { Repeats } from "./repeats.ts"

const again = (repeats: number): string => repeats === 0 ? "" : `, and did so ${repeats} times since this was told last`

/** How many errors of a partial failure are told. */
const mostErrors = 10

export const logProcessError =
  (name: string, repeats: Repeats) => (cause: Cause.Cause<unknown>, { attempt, items: { length } }: Batch<unknown>) => {
    const { errors, indexes } = failureOf(cause, length)
    const told = withMessages(errors === undefined ? cause : together(errors))
    const count = repeats.note("process", told)
    const some = indexes === undefined ? "" : ` for ${indexes.length} of them`
    return count === undefined
      ? Effect.void
      : Effect.logWarning(`${name}: attempt ${attempt} at ${length} items failed${some}${again(count)}`, told)
  }

/** Each error once. */
const together = (errors: ReadonlyArray<unknown>): Cause.Cause<unknown> => {
  const different = new Map(errors.map((error) => [messageOf(error), error]))
  const causes: Array<Cause.Cause<unknown>> = Array.from(different.values(), Cause.fail).slice(0, mostErrors)
  const left = different.size - causes.length
  if (left > 0) causes.push(Cause.fail(`and ${left} other errors`))
  return causes.reduce(Cause.parallel, Cause.empty)
}

export const logInternalError =
  (name: string, repeats: Repeats) => (cause: Cause.Cause<unknown>, operation: string) => {
    const count = repeats.note(operation, cause)
    return count === undefined
      ? Effect.void
      : Effect.logError(`${name}: ${operation} failed${again(count)}`, withMessages(cause))
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
    (defect) => Effect.logError(`${queue}: ${field} died`, withMessages(Cause.die(defect)))
  )

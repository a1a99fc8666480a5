/**
 * What a failed handler means for its batch.
 */
import * as Cause from "effect/Cause"
import * as Either from "effect/Either"
import { HandlerDefect, PartialFailure } from "../QueueError.ts"

/**
 * What a retry schedule is told, and which items have failed: all of them, or those at `indexes`, each with its own of
 * `errors`.
 * @internal
 */
export const failureOf = (
  cause: Cause.Cause<unknown>,
  size: number
): {
  readonly error: unknown
  readonly indexes?: ReadonlyArray<number>
  readonly errors?: ReadonlyArray<unknown>
} => {
  const failure = Cause.failureOrCause(cause)
  if (Either.isRight(failure)) return { error: new HandlerDefect({ defect: Cause.squash(failure.right) }) }
  const error = failure.left
  if (!(error instanceof PartialFailure)) return { error }
  // Beside a defect, an interruption or another failure nobody knows what became of the rest.
  const known = Cause.size(cause) === 1
    && new Set(error.indexes).size === error.indexes.length
    && error.indexes.every((index) => Number.isInteger(index) && index >= 0 && index < size)
    && (error.errors === undefined || error.errors.length === error.indexes.length)
  const { errors = error.indexes.map(() => error.error), indexes } = error
  return known ? { error: error.error, indexes, errors } : { error: new HandlerDefect({ defect: error }) }
}

/**
 * What a failed handler means for its batch.
 */
import * as Cause from "effect/Cause"
import * as Either from "effect/Either"
import { HandlerDefect, PartialFailure } from "../../QueueError.ts"
import { messageBesideName, messageOf } from "../shapes/messageOf.ts"

/**
 * The same cause, whose errors say in their message what they would leave out: the fields of one without a message, and
 * what their own causes say. For the log, which prints messages.
 */
export const withMessages = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> =>
  Cause.match(cause, {
    onEmpty: Cause.empty as Cause.Cause<unknown>,
    onFail: (error) => Cause.fail(withMessage(error)),
    onDie: (defect) => Cause.die(withMessage(defect)),
    onInterrupt: Cause.interrupt,
    onSequential: Cause.sequential,
    onParallel: Cause.parallel
  })

const withMessage = (error: unknown): unknown => {
  if (!(error instanceof Error)) return error
  const message = messageBesideName(error)
  try {
    if (message === "" || message === error.message) return error
    const { name, stack = "" } = error
    const calls = stack.split("\n").filter((line) => /^\s+at /.test(line))
    // Everything else about it, such as its span, is as it was.
    return Object.create(error, {
      message: { value: message },
      stack: { value: [`${name}: ${message}`, ...calls].join("\n") }
    })
  } catch {
    return error
  }
}

/**
 * A cause as text. An error of the user's may be one that there is no text of, such as a plain object with a `bigint` in
 * it, or one with a getter that throws: its queue must not die of that.
 */
export const prettyOf = (cause: Cause.Cause<unknown>): string => {
  try {
    return Cause.pretty(withMessages(cause))
  } catch {
    return `Error: ${messageOf(Cause.squash(cause))}`
  }
}

/**
 * What a retry schedule is told, and which items have failed: all of them, or those at `indexes`, each with its own of
 * `errors`.
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
  // Beside a defect, an interruption or another failure, the outcome of the rest is unknown.
  const known = Cause.size(cause) === 1
    && new Set(error.indexes).size === error.indexes.length
    && error.indexes.every((index) => Number.isInteger(index) && index >= 0 && index < size)
    && (error.errors === undefined || error.errors.length === error.indexes.length)
  const { errors = error.indexes.map(() => error.error), indexes } = error
  return known ? { error: error.error, indexes, errors } : { error: new HandlerDefect({ defect: error }) }
}

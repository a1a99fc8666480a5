/**
 * What can go wrong with a transaction as a whole, besides a store that is not available (`StoreUnavailable` of core).
 *
 * @since 0.1.0
 */
import type { StoreUnavailable } from "@sluice/core/QueueError"
import * as Data from "effect/Data"

const reasonOf = (cause: unknown): string => {
  // The driver's own words are in the cause of the SqlError.
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return inner instanceof Error ? inner.message : String(inner)
}

/**
 * The database refused a step of the transaction, which is rolled back: nothing of it is written. For `"commit"` that is
 * most often a constraint that is checked only there. Running the same again makes sense only if what broke it changes.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionFailed extends Data.TaggedError("TransactionFailed")<{
  readonly store: string
  readonly step: "begin" | "savepoint" | "commit"
  readonly cause: unknown
}> {
  override get message(): string {
    return `${this.store}: ${this.step} failed, everything is rolled back: ${reasonOf(this.cause)}`
  }
}

/**
 * The transaction is over.
 *
 * - `"finished"`: it had been committed or rolled back before this statement came, from a fiber that was forked inside.
 * - `"ended-inside"`: a statement within it ended it (`INSERT OR ROLLBACK`, a full disk, ...), so nothing of it is
 *   written. `cause` is the error of that statement.
 * - `"timeout"`: the write that it belongs to took too long and was rolled back.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionEnded extends Data.TaggedError("TransactionEnded")<{
  readonly store: string
  readonly reason: "finished" | "ended-inside" | "timeout"
  readonly cause?: unknown
}> {
  override get message(): string {
    switch (this.reason) {
      case "finished":
        return `${this.store}: the transaction has been committed or rolled back already`
      case "timeout":
        return `${this.store}: the write took too long and was rolled back`
      case "ended-inside":
        return `${this.store}: the transaction was ended from inside, nothing of it is written: ${reasonOf(this.cause)}`
    }
  }
}

/**
 * Everything that a transaction can fail with besides the errors of what runs in it.
 *
 * @since 0.1.0
 * @category models
 */
export type TransactionError = StoreUnavailable | TransactionFailed | TransactionEnded

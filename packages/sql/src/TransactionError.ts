/**
 * The errors of a transaction as a whole, besides an unavailable store (`StoreUnavailable` of core).
 *
 * @since 0.1.0
 */
import type { StoreUnavailable } from "@sluice/core/QueueError"
import { messageOf } from "@sluice/core/unstable/ErrorText"
import * as Data from "effect/Data"

const reasonOf = (cause: unknown): string => {
  // The message of the driver is in the cause of the SqlError.
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return messageOf(inner)
}

/**
 * The database refused a step of the transaction. The transaction is rolled back, and nothing is written. For
 * `"commit"` the cause is usually a constraint that is only checked there. A retry only succeeds if that cause has
 * changed.
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
 * - `"finished"`: it had been committed or rolled back before this statement arrived, from a fiber that was forked
 *   inside.
 * - `"ended-inside"`: a statement within it ended it (`INSERT OR ROLLBACK`, a full disk, ...), so nothing is written.
 *   `cause` is the error of that statement.
 * - `"timeout"`: its write took too long and was rolled back.
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
 * The errors of a transaction, in addition to those of the effect that runs in it.
 *
 * @since 0.1.0
 * @category models
 */
export type TransactionError = StoreUnavailable | TransactionFailed | TransactionEnded

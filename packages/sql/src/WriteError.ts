/**
 * The errors of a write, besides its own and those of the transaction.
 *
 * @since 0.1.0
 */
import type { TransactionError } from "./TransactionError.ts"
import { prettyOf } from "@sluice/core/unstable/ErrorText"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"

/**
 * The coordinator is closing or closed. The write did not run. A retry on the same coordinator cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class CoordinatorClosed extends Data.TaggedError("CoordinatorClosed")<{
  /** The name of the coordinator. */
  readonly queue: string
}> {
  override get message(): string {
    return `the write coordinator "${this.queue}" is closed`
  }
}

/**
 * The write took longer than `writeTimeout`, or than `drainTimeout` while the coordinator closed. It is rolled back,
 * and its further statements are refused. A retry may succeed if the reason for the delay is temporary.
 *
 * @since 0.1.0
 * @category errors
 */
export class WriteTimeout extends Data.TaggedError("WriteTimeout")<{
  /** The name of the coordinator. */
  readonly queue: string
  /** The name of the write. */
  readonly write: string
  readonly timeoutMillis: number
}> {
  override get message(): string {
    return `${this.queue}: the write "${this.write}" took more than ${this.timeoutMillis} ms, and is rolled back`
  }
}

/**
 * The write died, or interrupted itself. It is rolled back. A retry cannot succeed: this is a bug in the write.
 *
 * @since 0.1.0
 * @category errors
 */
export class WriteDied extends Data.TaggedError("WriteDied")<{
  /** The name of the write. */
  readonly write: string
  readonly cause: Cause.Cause<never>
}> {
  override get message(): string {
    return `the write "${this.write}" died: ${prettyOf(this.cause)}`
  }
}

/**
 * The errors that `submit` adds to those of the write.
 *
 * @since 0.1.0
 * @category models
 */
export type WriteError = CoordinatorClosed | WriteTimeout | WriteDied | TransactionError

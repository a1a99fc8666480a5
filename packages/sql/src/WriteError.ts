/**
 * What a write can fail with besides its own errors and those of the transaction.
 *
 * @since 0.1.0
 */
import type { TransactionError } from "./TransactionError.ts"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"

/**
 * The coordinator is closing or closed. The write did not run. Retrying on the same coordinator makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class CoordinatorClosed extends Data.TaggedError("CoordinatorClosed")<{
  readonly coordinator: string
}> {
  override get message(): string {
    return `the write coordinator "${this.coordinator}" is closed`
  }
}

/**
 * The write took longer than `writeTimeout`, or than `drainTimeout` while the coordinator closed. What it wrote is
 * rolled back, and what it still tries to write is refused. A retry makes sense if it was slow for a reason that passes.
 *
 * @since 0.1.0
 * @category errors
 */
export class WriteTimeout extends Data.TaggedError("WriteTimeout")<{
  readonly coordinator: string
  /** The name of the write. */
  readonly write: string
  readonly timeoutMillis: number
}> {
  override get message(): string {
    return `${this.coordinator}: the write "${this.write}" took more than ${this.timeoutMillis} ms, and is rolled back`
  }
}

/**
 * The write died, or interrupted itself. What it wrote is rolled back. Retrying makes no sense: it is a bug of the
 * write.
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
    return `the write "${this.write}" died: ${Cause.pretty(this.cause)}`
  }
}

/**
 * Everything that submitting a write can add to the errors of the write.
 *
 * @since 0.1.0
 * @category models
 */
export type WriteError = CoordinatorClosed | WriteTimeout | WriteDied | TransactionError

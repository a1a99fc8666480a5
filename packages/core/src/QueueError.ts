/**
 * All errors of Sluice: one class for each case that a caller handles differently.
 *
 * A refused offer's error carries the item and, for `offerAll`, every item that was not taken, so a failure loses
 * nothing. These errors are made on hot paths, so they have no stack trace.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import { messageOf } from "./internal/shapes/messageOf.ts"

/**
 * An invalid option, found when a queue, a coordinator or a store is made. A retry cannot succeed: change the option.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  /** The name of the queue, coordinator or store, or the module if it has no name yet. */
  readonly queue: string
  /** The invalid option. */
  readonly field: string
  /** Its value. */
  readonly value: unknown
  /** What the value must be. */
  readonly limit: string
}> {
  override get message(): string {
    return `${this.queue}: option "${this.field}" is ${describe(this.value)}, but must be ${this.limit}`
  }
}

const describe = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  if (typeof value === "object" && value !== null) return "an object"
  if (typeof value === "function") return "a function"
  return String(value)
}

/**
 * The fields of every refused offer's error.
 *
 * @since 0.1.0
 * @category models
 */
export interface Refusal<A> {
  /** The name of the queue. */
  readonly queue: string
  /** The item that was refused. It is not in the queue. */
  readonly item: A
  /** How many items of the same `offerAll` were taken before it; 0 for `offer`. */
  readonly taken: number
  /** Every item of the call that was not taken, `item` first. */
  readonly notTaken: ReadonlyArray<A>
}

/**
 * When a retry may succeed.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryLater {
  /**
   * How long to wait before a retry, in milliseconds, from 1 to 60,000: the time until there will be room after all
   * callers refused before, at the rate at which the queue drained recently (at most the last 30 seconds). If nothing
   * drains, as long as the queue has stood still. Undefined if nothing has left the queue yet, because then the rate is
   * unknown.
   */
  readonly retryAfterMillis?: number | undefined
}

/**
 * The queue has no room and its policy refuses. A retry may succeed later.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueFull<out A = unknown> extends Data.TaggedError("QueueFull")<Refusal<any> & RetryLater> {
  declare readonly item: A
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    return `queue "${this.queue}" is full`
  }
}

/**
 * The offer waited for room for as long as its policy allows. A retry may succeed later.
 *
 * @since 0.1.0
 * @category errors
 */
export class OfferTimeout<out A = unknown> extends Data.TaggedError("OfferTimeout")<
  Refusal<any> & RetryLater & { /** The policy's timeout. */ readonly timeoutMillis: number }
> {
  declare readonly item: A
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    return `queue "${this.queue}" had no room for ${this.timeoutMillis} ms`
  }
}

/**
 * The queue is closing or closed and accepts no more items. A retry on the same queue cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueClosed<out A = never> extends Data.TaggedError("QueueClosed")<{
  readonly queue: string
  readonly taken: number
  readonly notTaken: ReadonlyArray<any>
}> {
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    return `queue "${this.queue}" is closed`
  }
}

/**
 * The weight of an item is not an integer of at least 1, or exceeds the whole capacity, so the item could never be
 * taken. A retry cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidWeight<out A = unknown> extends Data.TaggedError("InvalidWeight")<
  Refusal<any> & { readonly weight: number; readonly capacity: number }
> {
  declare readonly item: A
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    return `queue "${this.queue}": an item weighs ${this.weight}, but must weigh an integer from 1 to ${this.capacity}`
  }
}

/**
 * An all-or-none offer has more items than the queue can hold, or than one offer may have. None of them is in. A retry
 * cannot succeed: offer fewer items at a time.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyItems<out A = unknown> extends Data.TaggedError("TooManyItems")<
  Refusal<any> & {
    /**
     * How many items an all-or-none offer may have: the capacity of the queue, but at most `PolicyQueue.mostAllOrNone`.
     */
    readonly capacity: number
  }
> {
  declare readonly item: A
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    return `queue "${this.queue}" can never take ${this.notTaken.length} items at once, but at most ${this.capacity}`
  }
}

/**
 * The errors of an offer.
 *
 * @since 0.1.0
 * @category models
 */
export type OfferError<A> = QueueFull<A> | OfferTimeout<A> | QueueClosed<A> | InvalidWeight<A> | InvalidKey<A>

/**
 * The errors of an all-or-none offer.
 *
 * @since 0.1.0
 * @category models
 */
export type AllOrNoneError<A> = QueueFull<A> | TooManyItems<A> | QueueClosed<A> | InvalidWeight<A> | InvalidKey<A>

/**
 * A handler completed part of its batch: the items at `indexes` failed, each with its own error, and the rest is done.
 * Made by `Batch.failSome`.
 *
 * @since 0.1.0
 * @category errors
 */
export class PartialFailure<out E = unknown> extends Data.TaggedError("PartialFailure")<{
  readonly indexes: ReadonlyArray<number>
  /** The error of the first failed item. */
  readonly error: any
  /** The error of each failed item, in the order of `indexes`. Default: `error` for all of them. */
  readonly errors?: ReadonlyArray<any>
}> {
  declare readonly error: E
  override get message(): string {
    const { length } = this.indexes
    if (length === 0) return "0 items of the batch failed"
    const failed = length === 1
      ? "1 item of the batch failed: "
      : `${length} items of the batch failed, the first with: `
    return failed + messageOf(this.errors === undefined ? this.error : this.errors[0])
  }
}

/**
 * A handler died, interrupted itself, or returned an invalid result. This counts as a failure of its batch, and is the
 * error that the retry schedule receives.
 *
 * @since 0.1.0
 * @category errors
 */
export class HandlerDefect extends Data.TaggedError("HandlerDefect")<{ readonly defect: unknown }> {
  override get message(): string {
    return `the handler died: ${messageOf(this.defect)}`
  }
}

/**
 * Why a store is unavailable.
 *
 * - `"locked"`: another process or connection held the lock for longer than the limit. A retry may succeed later.
 * - `"full"`: the disk is full. A retry succeeds once there is space.
 * - `"io"`: reading or writing the disk failed. If a commit failed with it, a crash of the machine may still bring the
 *   transaction back.
 * - `"read-only"`, `"permission"`, `"missing-directory"`, `"missing-file"`, `"cannot-open"`, `"not-a-database"`,
 *   `"corrupt"`: the store itself must be repaired first, or its path is wrong.
 * - `"moved"`: the open file is no longer at its path: it was deleted, renamed or replaced. A retry succeeds once the
 *   file is back; otherwise the store must be opened again.
 * - `"unreachable"`: the server could not be reached, or the connection to it broke. A retry may succeed. If a commit
 *   failed with it, the transaction may have been committed all the same.
 * - `"timeout"`: the server did not answer in time. A retry may succeed. For a commit, the same as for `"unreachable"`.
 * - `"exhausted"`: no connection of the pool became free in time, or the server has too many. A retry may succeed.
 * - `"missing-database"`, `"unsupported"`: there is no such database on the server; the server is too old, or has a
 *   setting that the store cannot work with.
 * - `"closed"`: the connection is closed. A retry on the same client cannot succeed.
 * - `"memory"`: there was not enough memory.
 * - `"driver"`: the driver of the database is not installed, or does not fit this version of Node. The message says what
 *   to run. A retry in the same process cannot succeed.
 * - `"failed"`: any other error, which is in `cause`: for example, a missing table.
 *
 * @since 0.1.0
 * @category models
 */
export type UnavailableReason =
  | "locked"
  | "full"
  | "io"
  | "read-only"
  | "permission"
  | "missing-directory"
  | "missing-file"
  | "cannot-open"
  | "not-a-database"
  | "corrupt"
  | "moved"
  | "unreachable"
  | "timeout"
  | "exhausted"
  | "missing-database"
  | "unsupported"
  | "closed"
  | "memory"
  | "driver"
  | "failed"

/**
 * The store could not be opened, read or written. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<{
  /** The store: the path of a file, or the address of a server. */
  readonly store: string
  readonly reason: UnavailableReason
  readonly cause: unknown
}> {
  override get message(): string {
    const detail = this.cause instanceof Error ? `: ${messageOf(this.cause)}` : ""
    return `the store ${JSON.stringify(this.store)} is not available (${this.reason})${detail}`
  }
}

/**
 * The lease of a batch was lost: it had expired, and another worker may have the batch by now. The operation did not
 * change that batch. A retry cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseLost extends Data.TaggedError("LeaseLost")<{
  readonly queue: string
  /** The leases that were lost. Other leases of the same batch are not affected. */
  readonly claims: ReadonlyArray<{ readonly sequence: number; readonly token: number }>
}> {
  override get message(): string {
    return `queue "${this.queue}": the lease of ${this.claims.length} batches was lost`
  }
}

/**
 * What is wrong with an item.
 *
 * - `"type"`: it does not fit the schema.
 * - `"text"`: it contains text that is not well-formed, which a store would not return unchanged.
 * - `"too-deep"`: it is nested too deeply.
 * - `"too-large"`: it has too many bytes.
 * - `"unsupported"`: it contains a value that the format cannot carry, such as NaN in JSON.
 *
 * @since 0.1.0
 * @category models
 */
export type Malformation = "type" | "text" | "too-deep" | "too-large" | "unsupported"

/**
 * An item cannot be stored. It is not in the queue. A retry cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class MalformedItem<out A = unknown> extends Data.TaggedError("MalformedItem")<
  Refusal<any> & {
    readonly reason: Malformation
    /** Where in the item, such as `address.lines[2]`. Empty for the item as a whole, and if the schema refuses it. */
    readonly path: string
    readonly detail: string
  }
> {
  declare readonly item: A
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    const where = this.path === "" ? "an item" : `"${this.path}" of an item`
    return `queue "${this.queue}": ${where} cannot be stored (${this.reason}): ${this.detail}`
  }
}

/**
 * An invalid key. A key must be well-formed text of at most 512 bytes without NUL, or a finite number, and must have a
 * shard. A retry cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidKey<out A = never> extends Data.TaggedError("InvalidKey")<{
  readonly queue: string
  readonly key: unknown
  /** What it must be. */
  readonly limit: string
  /** The item or command with the key; undefined for a `KeyedBatch`, which has none. */
  readonly item: any
  /** How many items of the same `offerAll` were taken before it; 0 otherwise. */
  readonly taken: number
  /** Every item of the call that was not taken. */
  readonly notTaken: ReadonlyArray<any>
}> {
  declare readonly item: A
  declare readonly notTaken: ReadonlyArray<A>
  override get message(): string {
    return `"${this.queue}": a key is ${describe(this.key)}, but must be ${this.limit}`
  }
}

/**
 * The pool is draining or closed and accepts no more commands. `command` is not in it. A retry on the same pool cannot
 * succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class PoolClosed<out C = unknown> extends Data.TaggedError("PoolClosed")<{
  /** The name of the pool. */
  readonly queue: string
  readonly command: any
}> {
  declare readonly command: C
  override get message(): string {
    return `pool "${this.queue}" is closed`
  }
}

/**
 * A command was dropped: by the policy of the pool (it has not run, and a retry may succeed later), or because the pool
 * was closed before the command had ended (`reason` is `"shutdown"`).
 *
 * @since 0.1.0
 * @category errors
 */
export class CommandDropped<out C = unknown> extends Data.TaggedError("CommandDropped")<{
  /** The name of the pool. */
  readonly queue: string
  readonly command: any
  /** Why it was dropped: see `QueueEvent.DropReason`. */
  readonly reason: string
  /** Whether the command had begun to run. If so, its outcome is unknown. */
  readonly started: boolean
}> {
  declare readonly command: C
  override get message(): string {
    return `pool "${this.queue}" dropped a command ${
      this.started ? "that was running" : "that waited"
    } (${this.reason})`
  }
}

/**
 * The version of a command is already taken: another process has written to the same key. Fail with it in `execute` of
 * a `ShardPool`, with the key of the command. The pool then asks for the current version again and runs the command
 * once more.
 *
 * @since 0.1.0
 * @category errors
 */
export class VersionConflict extends Data.TaggedError("VersionConflict")<{
  readonly key: string | number
  /** The version that the command tried to write. */
  readonly version: number
}> {
  override get message(): string {
    return `version ${this.version} of ${describe(this.key)} is taken`
  }
}

/**
 * A command that a pool still held when the drain timed out.
 *
 * @since 0.1.0
 * @category models
 */
export interface Undrained<out C> {
  readonly command: C
  readonly key: string | number
  readonly shard: number
  readonly state: "running" | "waiting"
}

/**
 * A pool could not run all of its commands within the timeout. They are not abandoned: the remaining commands keep
 * running until the scope of the pool is closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class DrainTimeout<out C = unknown> extends Data.TaggedError("DrainTimeout")<{
  /** The name of the pool. */
  readonly queue: string
  readonly timeoutMillis: number
  /** The remaining commands, shard by shard: first the running ones, then the waiting ones, oldest first. */
  readonly left: ReadonlyArray<Undrained<any>>
}> {
  declare readonly left: ReadonlyArray<Undrained<C>>
  override get message(): string {
    const running = this.left.filter(({ state }) => state === "running").length
    return `pool "${this.queue}" was not drained in ${this.timeoutMillis} ms: `
      + `${running} commands run, ${this.left.length - running} wait`
  }
}

/**
 * The processor is closing or closed and accepts no more operations. This operation has not run. A retry on the same
 * processor cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProcessorClosed extends Data.TaggedError("ProcessorClosed")<{
  /** The name of the processor. */
  readonly queue: string
}> {
  override get message(): string {
    return `processor "${this.queue}" is closed`
  }
}

/**
 * The errors of what is closed, or is closing: what was asked for has not happened, and retrying with the same one
 * cannot succeed. Those of a `WriteCoordinator` are `WriteError.CoordinatorClosed`. Each has in `queue` the name of
 * what is closed.
 *
 * @since 0.1.0
 * @category errors
 */
export type Closed = QueueClosed<unknown> | PoolClosed<unknown> | ProcessorClosed

/**
 * A batch took longer than `maxDuration` and was aborted.
 *
 * - `"load"`, `"operations"`: nothing was saved. A retry may succeed.
 * - `"save"`: whether the resource was saved is unknown.
 * - `"waiting"`: an aborted batch of the same key has been interrupted but does not end. The operation has waited for
 *   at most `maxDuration`, and has not run.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchTimeout extends Data.TaggedError("BatchTimeout")<{
  /** The name of the processor. */
  readonly queue: string
  readonly key: string | number
  /** The phase in which the batch was aborted. */
  readonly phase: "load" | "operations" | "save" | "waiting"
  readonly timeoutMillis: number
}> {
  override get message(): string {
    const unknown = this.phase === "save" ? "; whether it was saved is unknown" : ""
    return `processor "${this.queue}": the batch of ${describe(this.key)} took longer than `
      + `${this.timeoutMillis} ms (${this.phase})${unknown}`
  }
}

/**
 * The errors of an offer to a durable queue.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchOfferError<A> = QueueFull<A> | OfferTimeout<A> | QueueClosed<A> | MalformedItem<A> | InvalidKey<A>

/**
 * An item whose caller waited for it was dropped: by the policy, or because the merged item cannot be stored
 * (`"malformed"`; callers of other items in its batch get the same error, and their items may be stored), or because
 * the queue was closed before the store had answered (`"shutdown"`; the item may still be stored).
 *
 * @since 0.1.0
 * @category errors
 */
export class ItemDropped<out A = unknown> extends Data.TaggedError("ItemDropped")<{
  readonly queue: string
  readonly item: any
  /** Why: see `QueueEvent.DropReason`. */
  readonly reason: string
}> {
  declare readonly item: A
  override get message(): string {
    return `queue "${this.queue}" dropped an item (${this.reason})`
  }
}

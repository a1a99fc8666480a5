/**
 * The one taxonomy of errors: one class for each thing that a caller does differently.
 *
 * Refusals of an offer carry the item and, for `offerAll`, everything that was not taken, so that nothing is lost by
 * failing. They are made on hot paths, so they have no stack trace.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Inspectable from "effect/Inspectable"

/**
 * An option that cannot work, found when a queue, a coordinator or a store is made. Retrying makes no sense: change the
 * option.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Data.TaggedError("InvalidOption")<{
  /** The name of what was to be made, or the module where there is none yet. */
  readonly queue: string
  /** The option at fault. */
  readonly field: string
  /** What it was. */
  readonly value: unknown
  /** What it must be. */
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
 * What every refusal of an offer says.
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
   * How long to wait before a retry, in milliseconds, from 1 to 60,000: until there will be room behind all those who
   * were refused before, should the queue drain on as it did of late (at most half a minute). Where nothing has moved
   * since, as long again as it has been so. Undefined where nothing has left the queue yet, so that nothing is known.
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
 * The offer waited for room as long as its policy allows. A retry may succeed later.
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
 * The queue is closing or closed and takes nothing more. Retrying on the same queue makes no sense.
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
 * An item's weight is no integer of at least 1, or is more than the whole capacity, so that the item could never be
 * taken. Retrying makes no sense.
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
 * Items that are to be taken all or none are more than the queue can hold, or than can be put in at one go. None of them
 * is in. Retrying makes no sense: offer fewer at a time.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyItems<out A = unknown> extends Data.TaggedError("TooManyItems")<
  Refusal<any> & {
    /** How many can be offered all or none at most: what the queue can hold, but never more than `PolicyQueue.mostAllOrNone`. */
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
 * Everything that an offer can fail with.
 *
 * @since 0.1.0
 * @category models
 */
export type OfferError<A> = QueueFull<A> | OfferTimeout<A> | QueueClosed<A> | InvalidWeight<A> | InvalidKey<A>

/**
 * What an offer of all or none fails with.
 *
 * @since 0.1.0
 * @category models
 */
export type AllOrNoneError<A> = QueueFull<A> | TooManyItems<A> | QueueClosed<A> | InvalidWeight<A> | InvalidKey<A>

/**
 * A handler wrote part of its batch: the items at `indexes` failed, each with its own error, the rest is done.
 * Made by `Batch.failSome`.
 *
 * @since 0.1.0
 * @category errors
 */
export class PartialFailure<out E = unknown> extends Data.TaggedError("PartialFailure")<{
  readonly indexes: ReadonlyArray<number>
  /** What the first of them failed with. */
  readonly error: any
  /** What each of them failed with, in the order of `indexes`. Default: all with `error`. */
  readonly errors?: ReadonlyArray<any>
}> {
  declare readonly error: E
  override get message(): string {
    return `${this.indexes.length} items of the batch failed`
  }
}

/**
 * A handler died, interrupted itself, or answered nonsense. It counts as a failure of its batch; this is what a retry
 * schedule sees of it.
 *
 * @since 0.1.0
 * @category errors
 */
export class HandlerDefect extends Data.TaggedError("HandlerDefect")<{ readonly defect: unknown }> {
  override get message(): string {
    // Not `String`, which throws for an object without a prototype.
    const reason = this.defect instanceof Error ? this.defect.message : Inspectable.toStringUnknown(this.defect, 0)
    return `the handler died: ${reason}`
  }
}

/**
 * Why a store cannot be used.
 *
 * - `"locked"`: somebody else held its lock for longer than the bound. A retry may succeed later.
 * - `"full"`: the disk is full. A retry succeeds once there is space.
 * - `"io"`: reading or writing the disk failed. After a commit that failed so, a crash of the machine may still bring
 *   the transaction back.
 * - `"read-only"`, `"permission"`, `"missing-directory"`, `"missing-file"`, `"cannot-open"`, `"not-a-database"`,
 *   `"corrupt"`: the store itself has to be mended first, or its path is wrong.
 * - `"moved"`: the file that is open is not at its path any more: it was deleted, renamed or replaced while it was open.
 *   A retry succeeds once it is back there; otherwise the store has to be opened anew.
 * - `"closed"`: the connection is closed. Retrying on the same client makes no sense.
 * - `"memory"`: there was no memory for it.
 * - `"failed"`: it answered with an error of another kind, which is in `cause`: a table is missing, for example.
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
  | "closed"
  | "memory"
  | "failed"

/**
 * The store could not be opened, or not be written to. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<{
  /** Which one: the path of a file, or where a server is. */
  readonly store: string
  readonly reason: UnavailableReason
  readonly cause: unknown
}> {
  override get message(): string {
    const detail = this.cause instanceof Error ? `: ${this.cause.message}` : ""
    return `the store ${JSON.stringify(this.store)} is not available (${this.reason})${detail}`
  }
}

/**
 * The lease of a batch was lost: it had run out, and somebody else may have the batch by now. Nothing was done about it.
 * Retrying makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseLost extends Data.TaggedError("LeaseLost")<{
  readonly queue: string
  /** The leases that were lost. Another lease of the same batch is not meant by it. */
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
 * - `"text"`: it contains text that is not well-formed, which no store would give back as it was.
 * - `"too-deep"`: it is nested too deeply.
 * - `"too-large"`: it has too many bytes.
 * - `"unsupported"`: it contains a value that the format cannot carry, such as NaN in JSON.
 *
 * @since 0.1.0
 * @category models
 */
export type Malformation = "type" | "text" | "too-deep" | "too-large" | "unsupported"

/**
 * An item cannot be stored. Retrying makes no sense. It is not in the queue.
 *
 * @since 0.1.0
 * @category errors
 */
export class MalformedItem<out A = unknown> extends Data.TaggedError("MalformedItem")<
  Refusal<any> & {
    readonly reason: Malformation
    /** Where in the item, such as `address.lines[2]`; empty for the item as a whole, and where the schema refuses. */
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
 * A key that no queue takes: it must be well-formed text of at most 512 bytes, without NUL, or a finite number, and
 * have a shard. Retrying makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidKey<out A = never> extends Data.TaggedError("InvalidKey")<{
  readonly queue: string
  readonly key: unknown
  /** What it must be. */
  readonly limit: string
  /** The item or command that has the key; undefined of a `KeyedBatch`, which has none. */
  readonly item: any
  /** How many items of the same `offerAll` were taken before; 0 otherwise. */
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
 * The pool is draining or closed and takes no more commands. `command` is not in it. Retrying on the same pool makes no
 * sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class PoolClosed<out C = unknown> extends Data.TaggedError("PoolClosed")<{
  readonly pool: string
  readonly command: any
}> {
  declare readonly command: C
  override get message(): string {
    return `pool "${this.pool}" is closed`
  }
}

/**
 * A command was dropped: by the policy of the pool (it has not run, and a retry may succeed later), or because the pool
 * was closed before it had ended (`reason` is `"shutdown"`).
 *
 * @since 0.1.0
 * @category errors
 */
export class CommandDropped<out C = unknown> extends Data.TaggedError("CommandDropped")<{
  readonly pool: string
  readonly command: any
  /** Why: see `QueueEvent.DropReason`. */
  readonly reason: string
  /** Whether it had begun to run. Then its outcome is unknown. */
  readonly started: boolean
}> {
  declare readonly command: C
  override get message(): string {
    return `pool "${this.pool}" dropped a command ${this.started ? "that was running" : "that waited"} (${this.reason})`
  }
}

/**
 * The version that a command was given is taken already: somebody else has written to the same key. Fail with it in
 * `execute` of a `ShardPool`, with the key of the command, which then asks for the current version again and runs the
 * command once more.
 *
 * @since 0.1.0
 * @category errors
 */
export class VersionConflict extends Data.TaggedError("VersionConflict")<{
  readonly key: string | number
  /** The version that was to be written. */
  readonly version: number
}> {
  override get message(): string {
    return `version ${this.version} of ${describe(this.key)} is taken`
  }
}

/**
 * A command that a pool still held when the time to drain it was over.
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
 * A pool could not run everything it held in the time it was given. Nothing is given up by that: what is left goes on,
 * until the scope of the pool is closed.
 *
 * @since 0.1.0
 * @category errors
 */
export class DrainTimeout<out C = unknown> extends Data.TaggedError("DrainTimeout")<{
  readonly pool: string
  readonly timeoutMillis: number
  /** What is left, shard by shard: first what runs, then what waits, oldest first. */
  readonly left: ReadonlyArray<Undrained<any>>
}> {
  declare readonly left: ReadonlyArray<Undrained<C>>
  override get message(): string {
    const running = this.left.filter(({ state }) => state === "running").length
    return `pool "${this.pool}" was not drained in ${this.timeoutMillis} ms: `
      + `${running} commands run, ${this.left.length - running} wait`
  }
}

/**
 * The processor is closing or closed and takes no more operations. This one has not run. Retrying on the same processor
 * makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProcessorClosed extends Data.TaggedError("ProcessorClosed")<{
  readonly processor: string
}> {
  override get message(): string {
    return `processor "${this.processor}" is closed`
  }
}

/**
 * A batch took longer than `maxDuration` and was aborted.
 *
 * - `"load"`, `"operations"`: nothing was saved. A retry may succeed.
 * - `"save"`: whether the resource was saved is unknown.
 * - `"waiting"`: an aborted batch of the same key does not end, although it was interrupted; the operation has waited for
 *   at most that long, and has not run.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchTimeout extends Data.TaggedError("BatchTimeout")<{
  readonly processor: string
  readonly key: string | number
  /** What the batch was at. */
  readonly phase: "load" | "operations" | "save" | "waiting"
  readonly timeoutMillis: number
}> {
  override get message(): string {
    const unknown = this.phase === "save" ? "; whether it was saved is unknown" : ""
    return `processor "${this.processor}": the batch of ${describe(this.key)} took longer than `
      + `${this.timeoutMillis} ms (${this.phase})${unknown}`
  }
}

/**
 * Everything that an offer to a durable queue can fail with.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchOfferError<A> = QueueFull<A> | OfferTimeout<A> | QueueClosed<A> | MalformedItem<A> | InvalidKey<A>

/**
 * An item that somebody waited for was dropped: by the policy, or because what it was merged into cannot be stored
 * (`"malformed"`; others of its batch are told the same, and may be stored), or because the queue was closed before the
 * store had answered (`"shutdown"`; it may be stored nevertheless).
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

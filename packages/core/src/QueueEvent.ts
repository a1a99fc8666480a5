/**
 * All events of Sluice. The `events` stream of a queue reports what happens to items and batches; the counts in its
 * `metrics` report the same in numbers.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type { Trigger } from "./Batch.ts"

/**
 * The outcome of an offered item that was not refused.
 *
 * - `accepted`: it is in the queue.
 * - `coalesced`: it replaced, or was merged into, a waiting item of the same key.
 * - `dropped`: the policy dropped it.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = "accepted" | "coalesced" | "dropped"

/**
 * The result of `unsafeOffer`: the outcome, or why the item was refused.
 *
 * @since 0.1.0
 * @category models
 */
export type UnsafeOutcome = Outcome | "full" | "closed" | "invalid-weight" | "invalid-key"

/**
 * Why an item was dropped. A policy of your own may add reasons.
 *
 * - `drop-newest`: it arrived when the queue was full, under `dropNewest`.
 * - `drop-oldest`: it was the oldest item when a newer one arrived at the full queue, under `dropOldest`.
 * - `retries-exhausted`: its batch failed, and the retry schedule ended.
 * - `shutdown`: it was still held when draining timed out.
 * - `malformed`: the merged item cannot be stored, or the buffer threw.
 * - `discarded`: its handler failed, and `decide` returned `Decision.discard`.
 *
 * @since 0.1.0
 * @category models
 */
export type DropReason =
  | "drop-newest"
  | "drop-oldest"
  | "retries-exhausted"
  | "shutdown"
  | "malformed"
  | "discarded"
  | (string & {})

/**
 * What every event says: where it happened, and when.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stamp {
  /** The name of the queue, as in metrics and errors. */
  readonly queue: string
  /** In milliseconds of Effect's Clock. */
  readonly atMillis: number
}

/**
 * An item was dropped: it will not be handled. `cause` is why it or its batch failed, if a handler was given it.
 *
 * @since 0.1.0
 * @category events
 */
export interface Dropped<out A> extends Stamp {
  readonly _tag: "Dropped"
  readonly item: A
  readonly reason: DropReason
  readonly cause?: Cause.Cause<unknown>
}

/**
 * An offered item replaced, or was merged into, a waiting one of the same key.
 *
 * @since 0.1.0
 * @category events
 */
export interface Coalesced<out A> extends Stamp {
  readonly _tag: "Coalesced"
  /** The item that was waiting. */
  readonly replaced: A
  /** The item that was offered. */
  readonly item: A
}

/**
 * An offer was interrupted while it waited for room. The items in `notTaken` are not in the queue. The `taken` items
 * before them are; these can be all of the items if room became free at the moment of the interruption.
 *
 * @since 0.1.0
 * @category events
 */
export interface OfferInterrupted<out A> extends Stamp {
  readonly _tag: "OfferInterrupted"
  readonly taken: number
  readonly notTaken: ReadonlyArray<A>
}

/**
 * A batch is about to be handled.
 *
 * @since 0.1.0
 * @category events
 */
export interface Flushed extends Stamp {
  readonly _tag: "Flushed"
  readonly shard: number
  readonly size: number
  readonly trigger: Trigger
  readonly attempt: number
}

/**
 * Items of a batch are done: all of them, or those that a partial failure did not name.
 *
 * @since 0.1.0
 * @category events
 */
export interface Settled extends Stamp {
  readonly _tag: "Settled"
  readonly shard: number
  readonly size: number
  readonly attempt: number
  readonly durationMillis: number
}

/**
 * A batch failed and will be retried after `delayMillis`. After `Batch.failSome`, `cause` is the error of the first item.
 *
 * @since 0.1.0
 * @category events
 */
export interface Retried extends Stamp {
  readonly _tag: "Retried"
  readonly shard: number
  readonly size: number
  /** The attempt that failed. */
  readonly attempt: number
  readonly delayMillis: number
  readonly cause: Cause.Cause<unknown>
}

/**
 * A batch was stored: its items survive this process if the store does.
 *
 * @since 0.1.0
 * @category events
 */
export interface Stored extends Stamp {
  readonly _tag: "Stored"
  readonly size: number
  readonly trigger: Trigger
}

/**
 * The lease of a batch: its place in the queue, and a token that rises with every claim of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  readonly sequence: number
  readonly token: number
}

/**
 * A worker has claimed batches, under a lease.
 *
 * @since 0.1.0
 * @category events
 */
export interface Claimed extends Stamp {
  readonly _tag: "Claimed"
  /** The worker. */
  readonly shard: number
  readonly claims: ReadonlyArray<Lease>
  /** How many items are in them. */
  readonly size: number
}

/**
 * A worker has put batches back, to be claimed again after `delayMillis`: the delay is longer than a worker waits, or
 * the queue is closing, or another version of Sluice must read them.
 *
 * @since 0.1.0
 * @category events
 */
export interface Released extends Stamp {
  readonly _tag: "Released"
  readonly shard: number
  readonly claims: ReadonlyArray<Lease>
  readonly delayMillis: number
}

/**
 * An item, or a batch that cannot be read, was set aside. It can be inspected, redriven and discarded.
 *
 * @since 0.1.0
 * @category events
 */
export interface DeadLettered extends Stamp {
  readonly _tag: "DeadLettered"
  readonly shard: number
  /** Its id among the dead letters. */
  readonly sequence: number
  readonly size: number
  readonly reason: DeadLetterReason
  readonly error: string
}

/**
 * Why an item or a batch was set aside.
 *
 * - `retries-exhausted`: it failed, and its retry schedule has ended.
 * - `deliveries-exhausted`: it was delivered `maxDeliveries` times, and each time it failed or its worker died.
 * - `rejected`: `decide` returned `Decision.deadLetter`.
 * - `undecodable`: it cannot be read: the schema has changed, or its format is unknown.
 * - `corrupt`: its bytes are not those that were stored.
 *
 * @since 0.1.0
 * @category models
 */
export type DeadLetterReason =
  | "retries-exhausted"
  | "deliveries-exhausted"
  | "rejected"
  | "undecodable"
  | "corrupt"

/**
 * A worker has lost the leases of batches: another process may have them, and they may be handled twice.
 *
 * @since 0.1.0
 * @category events
 */
export interface LeaseWasLost extends Stamp {
  readonly _tag: "LeaseWasLost"
  readonly shard: number
  readonly claims: ReadonlyArray<Lease>
}

/**
 * A command begins to run, with the next version of its key.
 *
 * @since 0.1.0
 * @category events
 */
export interface Dispatched<out C> extends Stamp {
  readonly _tag: "Dispatched"
  readonly shard: number
  readonly key: string | number
  readonly version: number
  readonly command: C
}

/**
 * A command has succeeded: its version is taken.
 *
 * @since 0.1.0
 * @category events
 */
export interface Succeeded<out C> extends Stamp {
  readonly _tag: "Succeeded"
  readonly shard: number
  readonly key: string | number
  readonly version: number
  readonly command: C
}

/**
 * `execute` rejected a command, and nothing has happened: its version is given back.
 *
 * @since 0.1.0
 * @category events
 */
export interface Rejected<out C, out E = unknown> extends Stamp {
  readonly _tag: "Rejected"
  readonly shard: number
  readonly key: string | number
  readonly command: C
  readonly error: E
}

/**
 * A command died, was interrupted, or failed in a way that leaves its outcome unknown; or the version of its key could
 * not be determined, and it has not run.
 *
 * @since 0.1.0
 * @category events
 */
export interface Failed<out C> extends Stamp {
  readonly _tag: "Failed"
  readonly shard: number
  readonly key: string | number
  readonly command: C
  readonly cause: Cause.Cause<unknown>
}

/**
 * A command was withdrawn, because its caller was interrupted while it waited. It has not run.
 *
 * @since 0.1.0
 * @category events
 */
export interface Cancelled<out C> extends Stamp {
  readonly _tag: "Cancelled"
  readonly command: C
}

/**
 * A subscriber was too slow, and has lost this many events before the next one.
 *
 * @since 0.1.0
 * @category events
 */
export interface Missed extends Stamp {
  readonly _tag: "Missed"
  readonly events: number
}

/**
 * The events of a durable queue. Here, `shard` is the number of the worker.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchQueueEvent<A> =
  | QueueEvent<A>
  | Stored
  | Claimed
  | Released
  | DeadLettered
  | LeaseWasLost

/**
 * The events of a pool whose commands fail with `E`.
 *
 * @since 0.1.0
 * @category models
 */
export type ShardPoolEvent<C, E = unknown> =
  | Dispatched<C>
  | Succeeded<C>
  | Rejected<C, E>
  | Failed<C>
  | Cancelled<C>
  | Dropped<C>
  | OfferInterrupted<C>
  | Missed

/**
 * The events of a queue.
 *
 * @since 0.1.0
 * @category models
 */
export type QueueEvent<A> = Dropped<A> | Coalesced<A> | OfferInterrupted<A> | Flushed | Settled | Retried | Missed

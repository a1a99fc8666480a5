/**
 * The one vocabulary of events. A queue's `events` stream tells what became of items and batches; the counts in its
 * `metrics` tell the same in numbers.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type { Trigger } from "./Batch.ts"

/**
 * What became of an offered item that was not refused.
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
 * What an `unsafeOffer` answers: the outcome, or why the item was refused.
 *
 * @since 0.1.0
 * @category models
 */
export type UnsafeOutcome = Outcome | "full" | "closed" | "invalid-weight" | "invalid-key"

/**
 * Why an item was dropped. A policy of your own may name reasons of its own.
 *
 * - `drop-newest`: it came when the queue was full, under `dropNewest`.
 * - `drop-oldest`: it was the oldest when a newer one came, under `dropOldest`.
 * - `retries-exhausted`: its batch failed, and the retry schedule ended.
 * - `shutdown`: it was still held when the time to drain was over.
 * - `malformed`: what it was merged into cannot be stored, or the buffer threw.
 * - `discarded`: its handler failed, and `decide` said so.
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
 * An item was dropped: it will not be handled. `cause` is why its batch failed, where there was one.
 *
 * @since 0.1.0
 * @category events
 */
export interface Dropped<out A> {
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
export interface Coalesced<out A> {
  readonly _tag: "Coalesced"
  /** What was waiting. */
  readonly replaced: A
  /** What was offered. */
  readonly item: A
}

/**
 * An offer was interrupted while it waited for room. `notTaken` is out; the `taken` items before it are in, which can
 * be all of them when room came in the same moment as the interruption.
 *
 * @since 0.1.0
 * @category events
 */
export interface OfferInterrupted<out A> {
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
export interface Flushed {
  readonly _tag: "Flushed"
  readonly shard: number
  readonly size: number
  readonly trigger: Trigger
  readonly attempt: number
}

/**
 * Items of a batch are done: all of them, or those that a partial failure left out.
 *
 * @since 0.1.0
 * @category events
 */
export interface Settled {
  readonly _tag: "Settled"
  readonly shard: number
  readonly size: number
  readonly attempt: number
  readonly durationMillis: number
}

/**
 * A batch failed and will be tried again after `delayMillis`.
 *
 * @since 0.1.0
 * @category events
 */
export interface Retried {
  readonly _tag: "Retried"
  readonly shard: number
  readonly size: number
  /** The attempt that failed. */
  readonly attempt: number
  readonly delayMillis: number
  readonly cause: Cause.Cause<unknown>
}

/**
 * A batch was stored: what is in it survives this process, where the store does.
 *
 * @since 0.1.0
 * @category events
 */
export interface Stored {
  readonly _tag: "Stored"
  readonly size: number
  readonly trigger: Trigger
}

/**
 * The lease of a batch: its place in the queue, and a token that every claim of it makes higher.
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
export interface Claimed {
  readonly _tag: "Claimed"
  /** The worker. */
  readonly shard: number
  readonly claims: ReadonlyArray<Lease>
  /** How many items are in them. */
  readonly size: number
}

/**
 * A worker has put batches back, to be claimed again after `delayMillis`: their retries wait for longer than a worker
 * does, or the queue is closing, or another version of Sluice has to read them.
 *
 * @since 0.1.0
 * @category events
 */
export interface Released {
  readonly _tag: "Released"
  readonly shard: number
  readonly claims: ReadonlyArray<Lease>
  readonly delayMillis: number
}

/**
 * An item was set aside, or a batch that cannot be read. It can be looked at, redriven and discarded.
 *
 * @since 0.1.0
 * @category events
 */
export interface DeadLettered {
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
 * - `retries-exhausted`: it has failed, and its retry schedule has ended.
 * - `deliveries-exhausted`: it has failed, or taken its worker with it, as many times as it may.
 * - `rejected`: `decide` said so.
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
 * A worker has lost the lease of batches: another process may have them, and they may be handled twice.
 *
 * @since 0.1.0
 * @category events
 */
export interface LeaseWasLost {
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
export interface Dispatched<out C> {
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
export interface Completed<out C> {
  readonly _tag: "Completed"
  readonly shard: number
  readonly key: string | number
  readonly version: number
  readonly command: C
}

/**
 * A command was refused by the code that runs it, and nothing has happened: its version is given back.
 *
 * @since 0.1.0
 * @category events
 */
export interface Rejected<out C> {
  readonly _tag: "Rejected"
  readonly shard: number
  readonly key: string | number
  readonly command: C
  readonly error: unknown
}

/**
 * A command died, was interrupted, or failed in a way that leaves its outcome unknown; or the version of its key could
 * not be found out, and it has not run.
 *
 * @since 0.1.0
 * @category events
 */
export interface Failed<out C> {
  readonly _tag: "Failed"
  readonly shard: number
  readonly key: string | number
  readonly command: C
  readonly cause: Cause.Cause<unknown>
}

/**
 * A command was taken out, because its caller was interrupted while it waited. It has not run.
 *
 * @since 0.1.0
 * @category events
 */
export interface Cancelled<out C> {
  readonly _tag: "Cancelled"
  readonly command: C
}

/**
 * A subscriber was too slow, and this many events before the next one were not kept for it.
 *
 * @since 0.1.0
 * @category events
 */
export interface Missed {
  readonly _tag: "Missed"
  readonly events: number
}

/**
 * Everything a durable queue announces. What `shard` says is the worker here.
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
 * Everything a pool announces.
 *
 * @since 0.1.0
 * @category models
 */
export type ShardPoolEvent<C> =
  | Dispatched<C>
  | Completed<C>
  | Rejected<C>
  | Failed<C>
  | Cancelled<C>
  | Dropped<C>
  | OfferInterrupted<C>
  | Missed

/**
 * Everything a queue announces.
 *
 * @since 0.1.0
 * @category models
 */
export type QueueEvent<A> = Dropped<A> | Coalesced<A> | OfferInterrupted<A> | Flushed | Settled | Retried | Missed

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
 * Why an item was dropped. A policy of your own may name reasons of its own.
 *
 * - `drop-newest`: it came when the queue was full, under `dropNewest`.
 * - `drop-oldest`: it was the oldest when a newer one came, under `dropOldest`.
 * - `retries-exhausted`: its batch failed, and the retry schedule ended.
 * - `shutdown`: it was still held when the time to drain was over.
 *
 * @since 0.1.0
 * @category models
 */
export type DropReason = "drop-newest" | "drop-oldest" | "retries-exhausted" | "shutdown" | (string & {})

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
 * Everything a queue announces.
 *
 * @since 0.1.0
 * @category models
 */
export type QueueEvent<A> = Dropped<A> | Coalesced<A> | OfferInterrupted<A> | Flushed | Settled | Retried | Missed

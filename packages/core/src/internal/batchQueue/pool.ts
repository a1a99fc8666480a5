/**
 * What the workers of a queue share: their options, their state, and their observers.
 */
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import type { Batch } from "../../Batch.ts"
import type { Buffer } from "../../Buffer.ts"
import type { Codec } from "../../Codec.ts"
import type { Decision } from "../../Decision.ts"
import type { DeadLetterReason } from "../../QueueEvent.ts"
import type { Claim, ClaimedBatch, QueueStore } from "../../QueueStore.ts"
import type { Breaks } from "../fibers/breaks.ts"
import type { Backlog } from "./backlog.ts"
import type { Heartbeat } from "./heartbeat.ts"
import type { Turns } from "./turns.ts"
import type { Judge } from "./verdict.ts"

/** Who is told what becomes of batches. It must not throw. */
export interface Observer<in A> {
  readonly claimed: (worker: number, batches: ReadonlyArray<ClaimedBatch>) => void
  readonly handling: (worker: number, batch: Batch<A>) => void
  /** The number of finished items, and of the items that had been merged into them when they were claimed. */
  readonly settled: (worker: number, size: number, merged: number, batch: Batch<A>, durationMillis: number) => void
  readonly retried: (
    worker: number,
    size: number,
    attempt: number,
    delayMillis: number,
    cause: Cause.Cause<unknown>
  ) => void
  readonly released: (worker: number, claims: ReadonlyArray<Claim>, delayMillis: number) => void
  readonly deadLettered: (worker: number, id: number, items: number, reason: DeadLetterReason, error: string) => void
  readonly discarded: (item: A, cause: Cause.Cause<unknown>) => void
  readonly leaseLost: (worker: number, claims: ReadonlyArray<Claim>) => Effect.Effect<void>
  readonly handled: (durationMillis: number) => void
  /** An attempt has failed: the user's handler of errors. */
  readonly processFailed: (cause: Cause.Cause<unknown>, batch: Batch<A>) => Effect.Effect<void>
  readonly failed: (operation: Operation, cause: Cause.Cause<unknown>) => Effect.Effect<void>
}

/**
 * What was to be done when it failed: what the store was asked for, or the user's schedule of retries, or what decides.
 */
export type Operation =
  | "append"
  | "claim"
  | "extend"
  | "settle"
  | "divide"
  | "release"
  | "deadLetter"
  | "forgive"
  | "hold"
  | "retry"
  | "decide"

export interface Options<in out A> {
  readonly store: QueueStore
  readonly backlog: Backlog
  readonly codec: Codec<A>
  readonly buffer: Buffer<A, any> | undefined
  readonly workers: number
  /** How many batches a worker claims at once. */
  readonly batches: number
  readonly process: (batch: Batch<A>) => Effect.Effect<void, unknown>
  readonly decide: ((error: unknown) => Decision) | undefined
  readonly isolate: "bisect" | "each" | undefined
  readonly judge: Judge
  readonly inlineDelayMillis: number
  readonly maxDeliveries: number
  readonly leaseMillis: number
  readonly pollMillis: number
  readonly observer: Observer<A>
  readonly clock: Clock.Clock
  readonly breaks: Breaks
}

/** What a worker has in common with the others of its queue. */
export interface Pool<in out A> {
  readonly options: Options<A>
  readonly heartbeat: Heartbeat
  readonly turns: Turns
  /** Changes whenever there may be something to claim that was not there before. */
  readonly version: number
  readonly mayClaim: boolean
  readonly isStopping: boolean
  /** Whether handlers have been interrupted, because the time to end was over. */
  readonly isInterrupting: boolean
  /** Whether waiting for the store has ended. */
  readonly isOver: boolean
  /** There may be this many more batches to claim. */
  readonly wake: (batches: number) => void
  /** Waits until there may be something to claim that was not there at this version. */
  readonly park: (version: number) => Effect.Effect<void>
  /** Others append, and their leases run out, without a word. */
  readonly lookAgainAt: (atMillis: number | undefined) => void
  /** Waits, unless the queue is closing. */
  readonly pause: (millis: number) => Effect.Effect<void>
  /** Waits for a store that has failed, unless waiting has ended. */
  readonly pauseForStore: (millis: number) => Effect.Effect<void>
}

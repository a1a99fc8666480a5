/**
 * Where a `BatchQueue` keeps its batches: the durable seam. A store knows nothing of items. It keeps bytes, hands them
 * out under leases, and forgets them when they are settled.
 *
 * A batch's life here: `append` puts it at the end; `claim` leases it and counts a delivery; `settle` deletes it,
 * `divide` deletes a part of it, `release` puts it back, `deadLetter` sets it aside, until `redrive` or `discard`. A
 * lease that runs out puts it back as well. What is fresh and what comes back take turns at the claim, so that what
 * fails holds up nothing.
 *
 * Every time is in milliseconds of Effect's Clock, which the store reads itself. Where a fiber calls inside a
 * transaction of the store's database, what it does is a part of that transaction.
 *
 * `@sluice/core/testing` has the laws of a store, to run on one of your own.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { makeMemoryStore } from "./internal/store/memoryStore.ts"
import type { StoreUnavailable } from "./QueueError.ts"
import type { QueueStore } from "./QueueStore.ts"

/**
 * A store, for any number of queues.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchStore {
  /** Which one, for errors and logs: the path of a file, or where a server is. */
  readonly name: string
  /** Whether what is stored outlives the process. */
  readonly persistent: boolean
  /**
   * The part of the store that belongs to the queue of this name. Queues of other names never see its batches. Asking
   * what is there makes nothing in the store: a queue of a name that is misspelt is empty, until something is written to
   * it.
   */
  readonly queue: (name: string) => Effect.Effect<QueueStore, StoreUnavailable>
  /**
   * How long an operation may have to wait for its turn to write, in milliseconds, as far as that is bounded and known:
   * leases must be at least three times as long. Default: it does not wait.
   */
  readonly longestWaitMillis?: number | undefined
  /**
   * Told how long the leases of a queue are, so that whoever wants to hold the store for too long can be refused. Answers
   * what takes it back. Default: nobody can hold it.
   */
  readonly registerLease?: ((leaseMillis: number, queue: string) => () => void) | undefined
}

/**
 * The tag of the store.
 *
 * @since 0.1.0
 * @category tags
 */
export const BatchStore: Context.Tag<BatchStore, BatchStore> = Context.GenericTag<BatchStore>("@sluice/core/BatchStore")

export type {
  Amount,
  Append,
  Appended,
  Claim,
  Claimed,
  ClaimedBatch,
  ClaimOptions,
  DeadLetter,
  DeadLetterFilter,
  Failure,
  NewBatch,
  Part,
  Portion,
  Portioned,
  QueueStore,
  ReleaseOptions,
  Stats,
  StoreTransaction,
  Turn
} from "./QueueStore.ts"

/**
 * A store in the memory of the process, which ends with the layer.
 *
 * @example
 * ```ts
 * import { BatchStore } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* BatchStore.BatchStore
 *   const orders = yield* store.queue("orders")
 *   return yield* orders.stats
 * }).pipe(Effect.provide(BatchStore.layerMemory))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<BatchStore> = Layer.sync(BatchStore, makeMemoryStore)

/**
 * The store of a `BatchQueue`. A store knows nothing about items: it keeps bytes, hands them out under leases, and
 * deletes them when they are settled.
 *
 * The life of a batch: `append` puts it at the end. `claim` leases it and counts a delivery. `settle` deletes it,
 * `divide` deletes a part of it, `release` puts it back, and `deadLetter` sets it aside until `redrive` or `discard`.
 * An expired lease puts it back as well. Fresh and returned batches take turns at the claim, so that failing batches do
 * not block others.
 *
 * All times are in milliseconds of Effect's Clock, which the store reads itself. A call inside a transaction of the
 * store's database joins that transaction.
 *
 * `@sluice/core/testing` has the laws of a store, to check your own store.
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
  /** The name for errors and logs: the path of a file, or the address of a server. */
  readonly name: string
  /** Whether stored batches outlive the process. */
  readonly persistent: boolean
  /**
   * The part of the store that belongs to the queue of this name. Queues of other names never see its batches. Queries
   * create nothing in the store: a queue with a misspelt name is empty until the first write to it.
   */
  readonly queue: (name: string) => Effect.Effect<QueueStore, StoreUnavailable>
  /**
   * How long an operation may have to wait for its turn to write, in milliseconds, if that is bounded and known. Leases
   * must be at least three times as long. Default: 0.
   */
  readonly longestWaitMillis?: number | undefined
  /**
   * Called with the length of the leases of a queue, so that the store can refuse a writer that could hold it for too
   * long. Returns a function that unregisters the lease. Default: no writer can hold the store.
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

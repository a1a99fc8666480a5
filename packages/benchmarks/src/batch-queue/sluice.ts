/** Ours: a `BatchQueue` on a file, with nothing set but what the case is about. */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import { BatchQueue, BatchStore } from "@sluice/core"
import type { StoreUnavailable } from "@sluice/core/QueueError"
import type { QueueStore } from "@sluice/core/QueueStore"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { expectLevel, type Level, type Query } from "../files.ts"
import { decodeBatch, encodeBatch, expectIntact, Item, itemOf, Seen } from "./items.ts"

/** What a queue is called: each has a file of its own. */
export const name = "benchmark"
export const leaseMillis = 60_000

/** Opens a file as an app does. */
const storeLayer = (filename: string, level: Level) =>
  SqlBatchStore.layer().pipe(
    Layer.provideMerge(SqliteStore.layer({ filename, durable: level === "FULL" })),
    Layer.provide(Reactivity.layer)
  )

export const openStore = (filename: string, level: Level) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(storeLayer(filename, level))
    const sql = Context.get(context, SqlClient)
    // In a transaction, because outside of it a query that only reads has another connection.
    const query: Query = (text) => Effect.orDie(sql.withTransaction(sql.unsafe(text)))
    const batches = yield* Context.get(context, BatchStore.BatchStore).queue(name)
    return { context, query, batches }
  })

/** A queue that only offers, and what is in its file. */
export const openOffering = (filename: string, level: Level, size: number) =>
  Effect.gen(function*() {
    const { batches, context, query } = yield* openStore(filename, level)
    const queue = yield* BatchQueue.make({
      name,
      schema: Item,
      flush: { size },
      workers: 0,
      process: () => Effect.void
    }).pipe(Effect.provide(context))
    return { batches, query, queue }
  })

/** How many batches are appended, or claimed, at once by those who are not measured. */
export const batchesAtOnce = 1_000

/** Takes out everything that is pending. */
export const takeOut = (batches: QueueStore, seen: Seen) =>
  Effect.gen(function*() {
    while (true) {
      const claimed = yield* batches.claim({ limit: batchesAtOnce, leaseMillis })
      if (claimed.batches.length === 0) return
      for (const { payload } of claimed.batches) {
        const items = decodeBatch(payload)
        expectIntact(items)
        seen.seeAll(items)
      }
      yield* batches.settle(claimed.batches)
    }
  })

/** A queue that stores, and that nobody takes from. */
export interface Storing {
  readonly offerAll: (items: ReadonlyArray<Item>) => Effect.Effect<void>
  readonly offerStored: (item: Item) => Effect.Effect<void>
  /** Fails unless exactly the items 0 to `count` are in the file, and takes them out. */
  readonly check: (count: number) => Effect.Effect<void>
}

export const storing = (
  filename: string,
  level: Level,
  size: number
): Effect.Effect<Storing, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { batches, query, queue } = yield* openOffering(filename, level, size)
    const seen = new Seen()
    return {
      offerAll: (items: ReadonlyArray<Item>) =>
        Effect.orDie(Effect.gen(function*() {
          for (const item of items) yield* queue.offer(item)
          yield* queue.flush
        })),
      offerStored: (item: Item) => Effect.orDie(Effect.asVoid(queue.offerStored(item))),
      check: (count: number) =>
        expectLevel(query, level).pipe(
          Effect.zipRight(Effect.orDie(takeOut(batches, seen))),
          Effect.zipRight(seen.expect(filename, count))
        )
    }
  }).pipe(Effect.orDie)

/** Lets everybody else go on, timers and I/O included. */
export const nextTurn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** A queue with one worker. */
export interface Handling {
  /** Offers the items, and waits until all of them are settled. */
  readonly handleAll: (items: ReadonlyArray<Item>) => Effect.Effect<void>
  /** Fails unless exactly the items 0 to `count` have been handled, each so many times, and nothing is left. */
  readonly check: (count: number, times: number) => Effect.Effect<void>
}

export const handling = (
  filename: string,
  level: Level,
  size: number
): Effect.Effect<Handling, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { batches, context, query } = yield* openStore(filename, level)
    const seen = new Seen()
    const queue = yield* BatchQueue.make({
      name,
      schema: Item,
      flush: { size },
      process: ({ items }) => {
        seen.seeAll(items)
        return Effect.void
      }
    }).pipe(Effect.provide(context))
    return {
      handleAll: (items: ReadonlyArray<Item>) =>
        Effect.orDie(Effect.gen(function*() {
          const { settled } = yield* queue.metrics
          for (const item of items) yield* queue.offer(item)
          yield* queue.flush
          while ((yield* queue.metrics).settled < settled + items.length) yield* nextTurn
        })),
      check: (count: number, times: number) =>
        Effect.orDie(Effect.gen(function*() {
          yield* expectLevel(query, level)
          yield* seen.expect(filename, count, times)
          const { dead, pending } = yield* batches.stats
          if (pending.items + dead.items > 0) {
            throw new Error(`${filename}: ${pending.items + dead.items} items are left`)
          }
        }))
    }
  }).pipe(Effect.orDie)

/** Stores so many items, one to a batch: the most rows that they can be. */
export const append = (batches: QueueStore, count: number): Effect.Effect<void, StoreUnavailable> =>
  Effect.gen(function*() {
    for (let first = 0; first < count; first += batchesAtOnce) {
      const here = Arr.makeBy(Math.min(count - first, batchesAtOnce), (index) => itemOf(first + index))
      yield* batches.append({
        batches: Arr.map(here, (item) => ({
          payload: encodeBatch([item]),
          items: 1,
          oldestAtMillis: 0
        }))
      })
    }
  })

/** Fills a file with so many pending items. */
export const fill = (filename: string, count: number): Effect.Effect<void> =>
  Effect.flatMap(openStore(filename, "NORMAL"), ({ batches }) => append(batches, count)).pipe(
    Effect.scoped,
    Effect.orDie
  )

/**
 * Opens a file, makes a queue, and answers how long that took until a handler has the first item, in milliseconds. The
 * handler is then interrupted and its item put back: the file is as it was.
 */
export const firstHandled = (filename: string, level: Level, pending: number): Effect.Effect<number> =>
  Effect.gen(function*() {
    const startedAt = performance.now()
    let endedAt = 0
    const seen = new Seen()
    const handled = yield* Effect.makeLatch()
    const context = yield* Layer.build(storeLayer(filename, level))
    const queue = yield* BatchQueue.make({
      name,
      schema: Item,
      drainTimeout: 0,
      process: ({ items }) => {
        endedAt = performance.now()
        seen.seeAll(items)
        return Effect.zipRight(handled.open, Effect.never)
      }
    }).pipe(Effect.provide(context))
    yield* handled.await
    yield* seen.expect(filename, 1)
    const stats = yield* queue.stats
    if (stats.pending.items !== pending) {
      throw new Error(`${stats.pending.items} items are pending instead of ${pending}`)
    }
    return endedAt - startedAt
  }).pipe(Effect.scoped, Effect.orDie)

import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import { PostgresStore, SqlBatchStore } from "@sluice/sql"
import { Context, Effect, Layer, Redacted } from "effect"
import { batch } from "./batchStores.ts"
import { addressOf, connect, hasServer, temporaryDatabase } from "./postgres.ts"

/** A process: a store with connections of its own. */
const open = (database: string) =>
  Effect.map(
    Layer.build(
      SqlBatchStore.layer().pipe(Layer.provideMerge(
        PostgresStore.layer({ url: Redacted.make(addressOf(database)), durable: false })
      ))
    ),
    Context.get(BatchStore.BatchStore)
  )

describe.skipIf(!await hasServer())("groups of several processes on one PostgreSQL", () => {
  it.scopedLive("do not wait for each other where they append to the same queues in other orders", () =>
    Effect.gen(function*() {
      const database = yield* temporaryDatabase
      const names = ["one", "two", "three", "four"]
      const first = yield* open(database)
      const stores = [first, yield* open(database), yield* open(database)]
      const rounds = 50
      const append = (queue: BatchStore.QueueStore) => queue.append({ batches: [batch(1)], maxPendingItems: 1e6 })
      yield* Effect.forEach(stores, (store, index) =>
        Effect.gen(function*() {
          const queues = yield* Effect.forEach(names, store.queue)
          const inOrder = index % 2 === 0 ? queues : [...queues].reverse()
          for (let round = 0; round < rounds; round++) {
            // While the first one is under way, the others become a group.
            yield* Effect.forEach([inOrder[0], ...inOrder], append, { concurrency: "unbounded" })
          }
        }), { concurrency: "unbounded" })
      for (const [index, name] of names.entries()) {
        const { pending } = yield* Effect.flatMap(first.queue(name), ({ stats }) => stats)
        const twice = (index === 0 ? 2 : 0) + (index === 3 ? 1 : 0)
        expect(pending.batches).toBe(rounds * (3 + twice))
      }
      const sql = yield* connect("postgres", 1)
      const [{ deadlocks }] = yield* sql.unsafe<{ readonly deadlocks: string }>(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = $1",
        [database]
      )
      expect(Number(deadlocks)).toBe(0)
    }))

  it.scopedLive("may all be the first", () =>
    Effect.gen(function*() {
      const database = yield* temporaryDatabase
      const stores = yield* Effect.forEach(Array.from({ length: 8 }), () => open(database), {
        concurrency: "unbounded"
      })
      yield* Effect.forEach(
        stores,
        (store) => Effect.flatMap(store.queue("one"), (queue) => queue.append({ batches: [batch(1)] })),
        { concurrency: "unbounded" }
      )
      const { pending } = yield* Effect.flatMap(stores[0].queue("one"), ({ stats }) => stats)
      expect(pending.batches).toBe(stores.length)
    }))
})

// Offers to the queues of core, and prints what became of it.
import { Backpressure, BatchQueue, BatchStore, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { Deferred, Effect, Schema } from "effect"

const program = Effect.gen(function*() {
  const flushed = []
  yield* Effect.scoped(Effect.gen(function*() {
    const queue = yield* WriteBehind.make({
      name: "readings",
      capacity: 10,
      policy: Backpressure.coalesceByKey(({ sensor }) => sensor),
      flush: ({ items }) => Effect.sync(() => void flushed.push(...items.map(({ celsius }) => celsius)))
    })
    yield* queue.offerAll([{ sensor: "roof", celsius: 21 }, { sensor: "cellar", celsius: 12 }])
    yield* queue.offer({ sensor: "roof", celsius: 22 })
  }))

  const handled = yield* Effect.scoped(Effect.gen(function*() {
    const done = yield* Deferred.make()
    const queue = yield* BatchQueue.make({
      name: "emails",
      schema: Schema.String,
      process: ({ items }) => Deferred.succeed(done, items)
    })
    yield* queue.offerStored("ada")
    return yield* Deferred.await(done)
  })).pipe(Effect.provide(BatchStore.layerMemory))

  const stocks = yield* KeyedBatch.make({ name: "stocks", load: () => Effect.succeed(2), save: () => Effect.void })
  const buy = stocks.modify("kettle", (stock) => stock > 0 ? ["bought", stock - 1] : ["sold out", stock])
  const answers = yield* Effect.all([buy, buy, buy], { concurrency: "unbounded" })

  const pool = yield* ShardPool.make({
    name: "accounts",
    key: () => "a",
    execute: (n, { version }) => Effect.succeed(n * version)
  })
  const products = yield* Effect.forEach([10, 10], (n) => pool.submit(n))

  return { flushed, handled, answers, products }
})

Effect.runPromise(Effect.scoped(program)).then((result) => console.log(JSON.stringify(result)))

/**
 * A durable queue that is closed inside a transaction of the database that it is stored in: that has the one writer, so
 * that nothing of what closing waits for can be done before it is over.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore } from "@sluice/core"
import { SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Schema, Scope, Stream, TestClock } from "effect"
import { store } from "./batchStores.ts"

const { withTransaction } = SqlTransaction

type Settings = Partial<BatchQueue.Options<number, number, never, SqlTransaction.SqlTransaction>>

/** A queue of numbers in a scope of its own: `close` closes it, and `ended` waits until it has told its last event. */
const numbers = (settings: Settings = {}) =>
  Effect.gen(function*() {
    const dropped: Array<number> = []
    const failed: Array<string> = []
    const scope = yield* Scope.make()
    const queue = yield* BatchQueue.make<number, number, never, SqlTransaction.SqlTransaction>({
      name: "orders",
      schema: Schema.Number,
      workers: 0,
      process: () => Effect.void,
      flush: { size: 1000 },
      onDrop: (item) => void dropped.push(item),
      onInternalError: (_, operation) => Effect.sync(() => void failed.push(operation)),
      metrics: false,
      ...settings
    }).pipe(Scope.extend(scope))
    const events = yield* Effect.fork(Stream.runDrain(queue.events))
    yield* Effect.yieldNow()
    return { queue, dropped, failed, scope, close: Scope.close(scope, Exit.void), ended: Fiber.join(events) }
  })

/** Runs with a store in a fresh file. */
const onStore = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(store(), ({ context }) => Effect.provide(effect, context))

/** Ends a transaction in either way. */
const endings = [["committed", Effect.void], ["rolled back", Effect.fail("no")]] as const

const pendingItems = (queue: BatchQueue.BatchQueue<number>) => Effect.map(queue.stats, ({ pending }) => pending.items)

/** Every item that was offered is done, or in the store. */
const isAccounted = (queue: BatchQueue.BatchQueue<number>) =>
  Effect.zipWith(queue.metrics, pendingItems(queue), (metrics, pending) => {
    expect(metrics).toMatchObject({ dropped: 0, held: 0, buffered: 0, inFlight: 0 })
    expect(metrics.refused + metrics.duplicates + metrics.settled + pending).toBe(metrics.offered)
  })

for (const [ending, end] of endings) {
  describe(`closed inside a transaction that is ${ending}`, () => {
    it.scopedLive("what is buffered is a part of it, or stored afterwards", () =>
      Effect.gen(function*() {
        const { close, dropped, ended, queue } = yield* numbers()
        yield* Effect.exit(withTransaction(Effect.gen(function*() {
          yield* queue.offerAll([1, 2, 3])
          yield* close
          // Still inside.
          expect(yield* pendingItems(queue)).toBe(3)
          expect(yield* queue.metrics).toMatchObject({ stored: 0, buffered: 3 })
          expect((yield* Effect.flip(queue.offer(4)))._tag).toBe("QueueClosed")
          expect((yield* Effect.flip(queue.offerStored(4)))._tag).toBe("QueueClosed")
          expect((yield* Effect.flip(queue.flush))._tag).toBe("QueueClosed")
          yield* close
          yield* end
        })))
        yield* ended
        yield* close
        expect(dropped).toEqual([])
        expect(yield* pendingItems(queue)).toBe(3)
        expect(yield* queue.metrics).toMatchObject({ offered: 5, refused: 2, stored: 3 })
        yield* isAccounted(queue)
      }).pipe(onStore))

    it.scopedLive("what the queue's own fiber is about to store is stored afterwards", () =>
      Effect.gen(function*() {
        const { close, ended, queue } = yield* numbers({ flush: { size: 1 }, maxPending: 1 })
        yield* Effect.exit(withTransaction(Effect.gen(function*() {
          yield* queue.offer(1)
          while ((yield* queue.metrics).depth > 0) yield* Effect.yieldNow()
          // That fiber waits for the writer by now.
          yield* queue.offerAll([2, 3])
          yield* close
          expect(yield* pendingItems(queue)).toBe(2)
          yield* end
        })))
        yield* ended
        expect(yield* pendingItems(queue)).toBe(3)
        expect(yield* queue.metrics).toMatchObject({ offered: 3, stored: 3 })
        yield* isAccounted(queue)
      }).pipe(onStore))

    for (const when of ["before", "after"] as const) {
      it.scopedLive(`a handler that is done ${when} its end is not waited for, and settles`, () =>
        Effect.gen(function*() {
          const started = yield* Deferred.make<void>()
          const go = yield* Deferred.make<void>()
          const done = yield* Deferred.make<void>()
          const { close, ended, queue } = yield* numbers({
            workers: 1,
            process: () =>
              Effect.zipRight(
                Deferred.succeed(started, undefined),
                Effect.zipRight(Deferred.await(go), Deferred.succeed(done, undefined))
              )
          })
          yield* queue.offerStored(1)
          yield* Deferred.await(started)
          yield* Effect.exit(withTransaction(Effect.gen(function*() {
            yield* queue.offer(2)
            yield* close
            expect(yield* queue.metrics).toMatchObject({ inFlight: 1, buffered: 1, settled: 0 })
            if (when === "before") {
              yield* Deferred.succeed(go, undefined)
              yield* Deferred.await(done)
            }
            yield* end
          })))
          if (when === "after") yield* Deferred.succeed(go, undefined)
          yield* ended
          expect(yield* queue.metrics).toMatchObject({ offered: 2, stored: 2, settled: 1 })
          yield* isAccounted(queue)
          // No lease is left behind.
          const batches = yield* Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("orders"))
          const claimed = yield* batches.claim({ limit: 10, leaseMillis: 1000 })
          expect(claimed.batches).toMatchObject([{ sequence: 2, deliveries: 1 }])
        }).pipe(onStore))
    }

    it.scopedLive("several queues, by a write of a coordinator, and by a layer", () =>
      Effect.gen(function*() {
        const one = yield* numbers({ name: "one" })
        const two = yield* numbers({ name: "two" })
        class Three extends Context.Tag("test/Three")<Three, BatchQueue.BatchQueue<number>>() {}
        const layer = BatchQueue.layer(Three, {
          name: "three",
          schema: Schema.Number,
          process: () => Effect.void,
          workers: 0,
          flush: { size: 1000 }
        })
        const scope = yield* Scope.make()
        const three = Context.get(yield* Layer.buildWithScope(layer, scope), Three)
        const threeEnded = yield* Effect.fork(Stream.runDrain(three.events))
        const queues = [one.queue, two.queue, three]
        for (const queue of queues) yield* queue.offerAll([1, 2])
        const writes = yield* WriteCoordinator.make({ name: "writes" })
        const write = Effect.gen(function*() {
          yield* one.close
          yield* two.close
          yield* Scope.close(scope, Exit.void)
          expect(yield* Effect.forEach(queues, pendingItems)).toEqual([2, 2, 2])
          yield* end
        })
        yield* Effect.exit(writes.submit(write, { name: "close" }))
        yield* Effect.all([one.ended, two.ended, Fiber.join(threeEnded)])
        expect(yield* Effect.forEach(queues, pendingItems)).toEqual([2, 2, 2])
        for (const queue of queues) yield* isAccounted(queue)
      }).pipe(onStore))

    it.scopedLive("whoever waits outside for what is flushed is answered once it is over", () =>
      Effect.gen(function*() {
        const { close, ended, queue } = yield* numbers({ flush: { size: 1000 } })
        const closed = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        yield* queue.offer(1)
        const inside = yield* Effect.fork(withTransaction(Effect.gen(function*() {
          yield* queue.flush
          yield* queue.offer(2)
          yield* Deferred.succeed(closed, undefined)
          yield* Deferred.await(go)
          yield* close
          yield* end
        })))
        yield* Deferred.await(closed)
        const flushing = yield* Effect.fork(queue.flush)
        const storing = yield* Effect.fork(queue.offerStored(3))
        yield* Effect.yieldNow()
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.await(inside)
        yield* Fiber.join(flushing)
        expect(yield* Fiber.join(storing)).toBe("stored")
        yield* ended
        expect(yield* queue.metrics).toMatchObject({ offered: 3, stored: 3 })
        yield* isAccounted(queue)
      }).pipe(onStore))

    it.scopedLive("by the handler that is in it", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const offer = yield* Deferred.make<Effect.Effect<unknown, unknown>>()
        const closing = Effect.zipRight(Effect.flatten(Deferred.await(offer)), Scope.close(scope, Exit.void))
        const { close, ended, queue } = yield* numbers({
          workers: 1,
          process: () => Effect.ignore(withTransaction(Effect.zipRight(closing, end)))
        })
        yield* Scope.addFinalizer(scope, close)
        yield* Deferred.succeed(offer, queue.offer(2))
        yield* queue.offerStored(1)
        yield* ended
        expect(yield* queue.metrics).toMatchObject({ offered: 2, stored: 2, settled: 1 })
        yield* isAccounted(queue)
      }).pipe(onStore))
  })
}

describe("closed inside a savepoint that is rolled back", () => {
  it.scoped("its time begins once the whole transaction is over", () =>
    Effect.gen(function*() {
      const { close, dropped, ended, queue } = yield* numbers({ drainTimeout: 0 })
      yield* withTransaction(Effect.gen(function*() {
        yield* queue.offerAll([1, 2, 3])
        yield* Effect.exit(withTransaction(Effect.zipRight(close, Effect.fail("no"))))
        yield* TestClock.adjust("1 hour")
        expect(dropped).toEqual([])
        expect(yield* queue.metrics).toMatchObject({ stored: 0, buffered: 3 })
      }))
      yield* ended
      expect(dropped).toEqual([])
      expect(yield* pendingItems(queue)).toBe(3)
      yield* isAccounted(queue)
    }).pipe(onStore))
})

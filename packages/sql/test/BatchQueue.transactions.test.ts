/**
 * A durable queue that is used inside a transaction of the database that it is stored in.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, Codec, type QueueError } from "@sluice/core"
import { SqlTransaction } from "@sluice/sql"
import { Deferred, Effect, Exit, Fiber, FiberId, Option, Schema, Stream } from "effect"
import { store } from "./batchStores.ts"

const { withTransaction } = SqlTransaction

/** A queue of numbers that nobody takes from, in a fresh file. */
const numbers = (options: Partial<BatchQueue.Options<number, number, never, never>> = {}) =>
  Effect.gen(function*() {
    const { context } = yield* store()
    const queue = yield* BatchQueue.make({
      name: "orders",
      schema: Schema.Number,
      workers: 0,
      process: () => Effect.void,
      flush: { size: 1000 },
      ...options
    }).pipe(Effect.provide(context))
    return { queue, context }
  })

const rolledBack = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.exit(withTransaction(Effect.zipRight(effect, Effect.fail("no"))))

const stored = (queue: BatchQueue.BatchQueue<number>) => Effect.map(queue.stats, ({ pending }) => pending.items)

describe("inside a transaction", () => {
  it.scopedLive("an item is stored with it, and rolled back with it", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers({ flush: { size: 1 } })
      yield* Effect.gen(function*() {
        expect(yield* withTransaction(queue.offerStored(1, { id: "a" }))).toBe("stored")
        expect(Exit.isFailure(yield* rolledBack(queue.offerStored(2, { id: "b" })))).toBe(true)
        expect(yield* stored(queue)).toBe(1)
        expect(yield* withTransaction(queue.offerStored(1, { id: "a" }))).toBe("duplicate")
        // What was rolled back is not remembered.
        expect(yield* withTransaction(queue.offerStored(2, { id: "b" }))).toBe("stored")
        expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 1, duplicates: 1, stored: 2 })
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("flush takes everything along that is not being stored yet, and gives it back where it is rolled back", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers({ capacity: 5000, flush: { size: 3000 } })
      const offer = (count: number) => queue.offerAll(Array.from({ length: count }, (_, n) => n))
      const isBeingStored = Effect.map(queue.metrics, ({ depth }) => depth === 0)
      yield* Effect.gen(function*() {
        yield* withTransaction(Effect.gen(function*() {
          // The fiber that stores is at these, and waits for the transaction: what comes next is left to `flush`.
          yield* offer(3000)
          yield* Effect.repeat(Effect.zipRight(Effect.sleep(0), isBeingStored), { until: (is) => is })
          yield* offer(5000)
          yield* queue.flush
          expect(yield* queue.metrics).toMatchObject({ depth: 0, stored: 0, buffered: 8000 })
          expect(yield* stored(queue)).toBe(5000)
        }))
        yield* queue.flush
        expect(yield* queue.metrics).toMatchObject({ stored: 8000, buffered: 0 })
        yield* rolledBack(Effect.zipRight(queue.offer(1), queue.flush))
        yield* queue.flush
        expect(yield* stored(queue)).toBe(8001)
        expect(yield* queue.metrics).toMatchObject({ offered: 8001, stored: 8001, buffered: 0 })
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("an interrupted flush stores nothing twice", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        for (let n = 0; n < 200; n++) {
          yield* queue.offer(n)
          yield* Effect.ignore(withTransaction(Effect.timeoutOption(queue.flush, 0)))
        }
        yield* queue.flush
        expect(yield* stored(queue)).toBe(200)
        expect(yield* queue.metrics).toMatchObject({ offered: 200, stored: 200 })
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("who waits outside for an id that only this transaction has is not told that it is in", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const inside = yield* Effect.fork(rolledBack(Effect.gen(function*() {
          yield* queue.offerStored(7, { id: "a" })
          yield* Deferred.succeed(begun, undefined)
          yield* Effect.sleep("50 millis")
          yield* queue.flush
        })))
        yield* Deferred.await(begun)
        const outside = yield* Effect.fork(queue.offerStored(7, { id: "a" }))
        yield* Fiber.join(inside)
        expect(yield* Fiber.join(outside)).toBe("stored")
        expect(yield* stored(queue)).toBe(1)
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("flush outside waits for what a transaction has taken along", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        const taken = yield* Deferred.make<void>()
        yield* queue.offer(1)
        const inside = yield* Effect.fork(rolledBack(Effect.gen(function*() {
          yield* queue.flush
          yield* Deferred.succeed(taken, undefined)
          yield* Effect.sleep("50 millis")
        })))
        yield* Deferred.await(taken)
        yield* queue.flush
        expect(yield* stored(queue)).toBe(1)
        expect(Exit.isFailure(yield* Fiber.join(inside))).toBe(true)
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive(
    "offers that find no room make it themselves, instead of waiting for the transaction",
    () =>
      Effect.gen(function*() {
        const { context, queue } = yield* numbers({ capacity: 10, flush: { size: 1 } })
        yield* Effect.gen(function*() {
          yield* withTransaction(Effect.gen(function*() {
            const taken = yield* queue.offerAll(Array.from({ length: 100 }, (_, n) => n))
            expect(taken).toEqual({ accepted: 100, coalesced: 0, dropped: 0 })
            for (let n = 100; n < 150; n++) yield* queue.offer(n)
          }))
          yield* queue.flush
          expect(yield* stored(queue)).toBe(150)
        }).pipe(Effect.provide(context))
      })
  )

  it.scopedLive("an item of many that is refused is told by its place among all of them", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers({
        capacity: 2,
        policy: Backpressure.coalesceByKey((n) => n === 6 ? NaN : n)
      })
      const offered = queue.offerAll([1, 2, 3, 4, 5, 6, 7, Infinity])
      const error = yield* Effect.provide(withTransaction(Effect.flip(offered)), context)
      expect(error).toMatchObject({ _tag: "InvalidKey", item: 6, taken: 5, notTaken: [6, 7, Infinity] })
      expect(yield* queue.metrics).toMatchObject({ offered: 8, refused: 3 })
    }))

  it.scopedLive("many that are interrupted are counted and told whole, also those that were not come to", () =>
    Effect.gen(function*() {
      let interrupt = (): void => {}
      const { context, queue } = yield* numbers({
        capacity: 2,
        policy: Backpressure.coalesceByKey((n) => {
          if (n === 3) interrupt()
          return n
        })
      })
      const told = yield* Effect.fork(
        Stream.runHead(Stream.filter(queue.events, ({ _tag }) => _tag === "OfferInterrupted"))
      )
      yield* Effect.repeat(Effect.sleep(1), { times: 5 })
      const offered = Effect.withFiberRuntime<unknown, QueueError.BatchOfferError<number>>((fiber) => {
        interrupt = () => fiber.unsafeInterruptAsFork(FiberId.none)
        return queue.offerAll([1, 2, 3, 4, 5, 6, 7])
      })
      const exit = yield* Effect.exit(Effect.provide(withTransaction(offered), context))
      expect(Exit.isInterrupted(exit)).toBe(true)
      // Those that were offered together with the third are in.
      expect(yield* queue.metrics).toMatchObject({ offered: 7, refused: 3 })
      const event = Option.getOrThrow(yield* Fiber.join(told))
      expect(event).toMatchObject({ taken: 4, notTaken: [5, 6, 7] })
    }))

  it.scopedLive("many of which one finds no room in the store are counted as refused from that one on", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers({ maxPending: 2 })
      const offered = queue.offerStoredAllOrNone([1, 2, 3, 4, 5])
      const error = yield* Effect.provide(withTransaction(Effect.flip(offered)), context)
      expect(error).toMatchObject({ _tag: "QueueFull", item: 3, taken: 2, notTaken: [3, 4, 5] })
      expect(yield* queue.metrics).toMatchObject({ offered: 5, refused: 3, stored: 2 })
    }))

  it.scopedLive("an item that the user's format throws at is dropped, and told", () =>
    Effect.gen(function*() {
      const dropped: Array<readonly [number, string]> = []
      const { context, queue } = yield* numbers({
        onDrop: (item, reason) => dropped.push([item, reason]),
        format: {
          ...Codec.json,
          name: "broken",
          encode: () => {
            throw new Error("broken")
          }
        }
      })
      const error = yield* Effect.flip(withTransaction(queue.offerStored(1))).pipe(Effect.provide(context))
      expect(error).toMatchObject({ _tag: "ItemDropped", item: 1, reason: "malformed" })
      expect(dropped).toEqual([[1, "malformed"]])
      expect(yield* queue.metrics).toMatchObject({ offered: 1, dropped: 1, stored: 0 })
    }))

  it.scopedLive("a queue is not made, because it would outlive it", () =>
    Effect.gen(function*() {
      const { context } = yield* store()
      const made = Effect.scoped(
        BatchQueue.make({ name: "late", schema: Schema.Number, process: () => Effect.void })
      )
      const error = yield* Effect.flip(withTransaction(made)).pipe(Effect.provide(context))
      expect(error).toMatchObject({ _tag: "InvalidOption", queue: "late" })
    }))

  it.scopedLive("what is redriven and discarded counts once that is committed", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers({ flush: { size: 1 } })
      yield* Effect.gen(function*() {
        yield* queue.offerStored(1)
        const batches = yield* Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("orders"))
        const { batches: claimed } = yield* batches.claim({ limit: 1, leaseMillis: 1000 })
        yield* batches.deadLetter(claimed, {
          reason: "some",
          failure: { attempts: 1, failedAtMillis: 1, error: "it failed" }
        })
        yield* rolledBack(queue.deadLetters.redrive("all"))
        expect(yield* queue.metrics).toMatchObject({ redriven: 0 })
        expect(Option.isSome(yield* queue.deadLetters.inspect(1))).toBe(true)
        yield* withTransaction(queue.deadLetters.redrive("all"))
        expect(yield* queue.metrics).toMatchObject({ redriven: 1 })
        expect(yield* queue.stats).toMatchObject({ pending: { items: 1 }, dead: { items: 0 } })
      }).pipe(Effect.provide(context))
    }))
})

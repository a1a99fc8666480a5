/**
 * An item is what it was in the moment of its offer, whatever becomes of the object afterwards.
 */
import { describe, expect, it } from "@effect/vitest"
import type { BatchQueue } from "@sluice/core"
import { Backpressure, BatchStore, Buffer, Codec, Result } from "@sluice/core"
import { Effect, Fiber, Schema } from "effect"
import { claimAll, settleDown, storing } from "./support/batchQueue.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

interface Count {
  route: string
  count: { total: number }
}
const Count = Schema.Struct({ route: Schema.String, count: Schema.Struct({ total: Schema.Number }) }) as Schema.Schema<
  any,
  any
>

type Options = Partial<BatchQueue.Options<any, any, never, never>>

const queueOf = (schema: Schema.Schema<any, any>, options?: Options) =>
  storing(schema, { flush: { size: 100 }, ...options })

const codec = Codec.make(Schema.Unknown)

const stored = Effect.gen(function*() {
  const stores = yield* BatchStore.BatchStore
  const { batches } = yield* claimAll(yield* stores.queue("test"), 1000)
  return batches.flatMap(({ payload }) => Result.getOrThrow(codec.readBatch(payload)).values)
})

const given = (): Count => ({ route: "a", count: { total: 0 } })
const at = (total: number) => ({ route: "a", count: { total } })
const all = [1, 2, 3, 4, 5].map(at)

/** One object, which changes each time. */
function* changing(object: Count) {
  for (const total of [1, 2, 3, 4, 5]) {
    object.count.total = total
    yield object
  }
}

describe.each([["Unknown", Schema.Unknown], ["a struct", Count]])("with %s", (_, schema) => {
  const ways: ReadonlyArray<readonly [string, (queue: BatchQueue.BatchQueue<any>) => Effect.Effect<unknown, any>]> = [
    ["offer", (queue) => {
      const object = given()
      return Effect.forEach([1, 2, 3, 4, 5], (total) => {
        object.count.total = total
        return Effect.zipRight(queue.offer(object), Effect.sync(() => object.count.total = -1))
      })
    }],
    ["unsafeOffer", (queue) =>
      Effect.sync(() => {
        for (const object of changing(given())) queue.unsafeOffer(object)
      })],
    ["offerAll", (queue) => queue.offerAll(changing(given()))],
    ["offerStored", (queue) => {
      const object = given()
      return Effect.forEach([1, 2, 3, 4, 5], (total) =>
        Effect.gen(function*() {
          object.count.total = total
          const fiber = yield* Effect.fork(queue.offerStored(object))
          yield* Effect.yieldNow()
          object.count.total = -1
          yield* Fiber.join(fiber)
        }))
    }],
    ["offerAllOrNone", (queue) =>
      Effect.gen(function*() {
        for (const object of changing(given())) {
          yield* queue.offerAllOrNone([object])
          object.count.total = -1
        }
      })]
  ]

  it.scoped.each(ways)(
    "five offers by %s of an object that changes store five values",
    ([, offer]) =>
      Effect.gen(function*() {
        const queue = yield* queueOf(schema)
        yield* offer(queue)
        yield* queue.flush
        expect(yield* stored).toEqual(all)
      }).pipe(onMemory)
  )

  it.scoped("a handler that changes what it has offered back changes nothing of it", () =>
    Effect.gen(function*() {
      const queue: BatchQueue.BatchQueue<any> = yield* queueOf(schema, {
        workers: 1,
        process: (_, handle) => {
          const object = given()
          // Nobody claims what it offers.
          return Effect.zipRight(
            queue.pause,
            Effect.forEach([1, 2, 3, 4, 5], (total) => {
              object.count.total = total
              return handle.offer([object])
            }).pipe(Effect.orDie, Effect.asVoid)
          )
        }
      })
      yield* queue.offer(at(0))
      yield* queue.flush
      yield* settleDown
      yield* queue.flush
      expect(yield* stored).toEqual(all)
    }).pipe(onMemory))

  const merging: ReadonlyArray<readonly [string, Options]> = [
    ["a merging buffer", {
      buffer: Buffer.merging(
        ({ route }: Count) => route,
        (held, next) => ({ route: held.route, count: { total: held.count.total * 10 + next.count.total } })
      )
    }],
    ["a buffer that keeps every item", { buffer: Buffer.appending<any>() }],
    ["a policy that merges", {
      policy: Backpressure.coalesceByKey(({ route }: Count) => route, {
        merge: (held, next) => ({ route: held.route, count: { total: held.count.total * 10 + next.count.total } })
      })
    }],
    ["a policy that keeps the last", { policy: Backpressure.coalesceByKey(({ route }: Count) => route) }]
  ]

  it.scoped.each(merging)("%s merges what was offered", ([name, options]) =>
    Effect.gen(function*() {
      const queue = yield* queueOf(schema, options)
      const object = given()
      for (const total of [1, 2, 3, 4, 5]) {
        object.count.total = total
        queue.unsafeOffer(object)
        object.count.total = -1
      }
      yield* queue.flush
      const expected = name.includes("every") ? all : [at(name.includes("last") ? 5 : 12345)]
      expect(yield* stored).toEqual(expected)
    }).pipe(onMemory))
})

describe("an item that the format throws at", () => {
  /** It says nothing before it throws. */
  const format: Codec.Format = {
    ...Codec.json,
    name: "unlucky",
    encode: (values) => {
      if (values.includes(13)) throw new Error("no thirteen")
      return Codec.json.encode(values)
    }
  }
  const numbers = (options?: Options) => {
    const dropped: Array<readonly [unknown, string]> = []
    const onDrop = (item: unknown, reason: string) => void dropped.push([item, reason])
    return Effect.map(queueOf(Schema.Number, { format, onDrop, ...options }), (queue) => ({ queue, dropped }))
  }
  const values = Effect.gen(function*() {
    const stores = yield* BatchStore.BatchStore
    const { batches } = yield* claimAll(yield* stores.queue("test"), 1000)
    const reader = Codec.make(Schema.Number, { format })
    return batches.map(({ items, payload }) => {
      const read = Result.getOrThrow(reader.readBatch(payload))
      expect([items, read.offeredAtMillis.length]).toEqual([read.values.length, items])
      return read.values
    })
  })

  it.scoped("is dropped, and its neighbours are stored", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* numbers()
      yield* queue.offerAll([1, 13, 2, 13, 3])
      yield* queue.flush
      expect(yield* values).toEqual([[1, 2, 3]])
      expect(dropped).toEqual([[13, "malformed"], [13, "malformed"]])
      const { dropped: count, offered, stored } = yield* queue.metrics
      expect([offered, count, stored]).toEqual([5, 2, 3])
    }).pipe(onMemory))

  it.scoped("is dropped by itself where none of its batch can be stored", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* numbers()
      yield* queue.offerAll([13, 13])
      yield* queue.flush
      expect(yield* values).toEqual([])
      expect(dropped).toHaveLength(2)
      expect((yield* queue.metrics).buffered).toBe(0)
    }).pipe(onMemory))

  it.scoped("is told to who waits for it, and to nobody else", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers()
      const result = yield* queue.offerStoredAllOrNone([1, 13, 2], { ids: ["a", "b", "c"] })
      expect(result).toEqual({ stored: 2, duplicates: 0, dropped: 1, droppedByReason: { malformed: 1 } })
      expect(yield* values).toEqual([[1, 2]])
      // The id of what was dropped is free, those of the others are not.
      const again = yield* queue.offerStoredAllOrNone([10, 11, 12], { ids: ["a", "b", "c"] })
      expect(again).toMatchObject({ stored: 1, duplicates: 2 })
    }).pipe(onMemory))

  it.scoped("is told to all whom a policy has merged into it", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((item: number) => item > 100 ? "large" : "small", {
        merge: (held, next) => held + next
      })
      const { queue } = yield* numbers({ policy })
      expect(yield* queue.offerStoredAllOrNone([6, 200, 7, 300])).toMatchObject({ stored: 2, dropped: 2 })
      expect(yield* values).toEqual([[500]])
    }).pipe(onMemory))

  it.scoped("out of a buffer is told to all who wait for its batch", () =>
    Effect.gen(function*() {
      const buffer = Buffer.merging((item: number) => item > 100 ? "large" : "small", (held, next) => held + next)
      const { dropped, queue } = yield* numbers({ buffer })
      expect(yield* queue.offerStoredAllOrNone([6, 200, 7])).toMatchObject({ dropped: 3 })
      expect(yield* values).toEqual([[200]])
      expect(dropped).toEqual([[13, "malformed"]])
      expect((yield* queue.metrics).buffered).toBe(0)
    }).pipe(onMemory))
})

describe("an item that a policy has merged, and that is too large by now", () => {
  const merged = "a23456a23456"
  const policy = Backpressure.coalesceByKey((item: string) => item[0], { merge: (held, next) => held + next })
  const strings = Effect.gen(function*() {
    const dropped: Array<readonly [unknown, string]> = []
    const queue = yield* queueOf(Schema.String, {
      policy,
      limits: { maxItemBytes: 10 },
      onDrop: (item, reason) => void dropped.push([item, reason])
    })
    return { queue, dropped }
  })

  it.scoped("is dropped, and its neighbours are stored", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* strings
      // In one step, before anything leaves the intake.
      for (const item of ["b", "a23456", "a23456", "c"]) queue.unsafeOffer(item)
      yield* queue.flush
      expect(yield* stored).toEqual(["b", "c"])
      expect(dropped).toEqual([[merged, "malformed"]])
      const expected = { offered: 4, coalesced: 1, dropped: 1, stored: 2, buffered: 0, held: 0 }
      expect(yield* queue.metrics).toMatchObject(expected)
    }).pipe(onMemory))

  it.scoped("is told to all who wait for it, and to nobody else", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* strings
      expect(yield* queue.offerStoredAllOrNone(["b", "a23456", "a23456"])).toMatchObject({ stored: 1, dropped: 2 })
      expect(yield* stored).toEqual(["b"])
      expect(dropped).toEqual([[merged, "malformed"]])
    }).pipe(onMemory))
})

/**
 * When each item was offered is stored with it.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchStore, Buffer, Codec, Result } from "@sluice/core"
import { Effect, Schema, TestClock } from "effect"
import { callingThrough, claimAll, numbers, type Options, settleDown } from "./support/batchQueue.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const codec = Codec.make(Schema.Number)

/** The stored batches: their values, and when each of them was offered. */
const stored = Effect.gen(function*() {
  const stores = yield* BatchStore.BatchStore
  const { batches } = yield* claimAll(yield* stores.queue("test"), 60_000)
  return batches.map(({ payload }) => {
    const { offeredAtMillis, values } = Result.getOrThrow(codec.readBatch(payload))
    return [values, offeredAtMillis]
  })
})

const idle = (options?: Options) => numbers({ workers: 0, ...options })

describe("the time of an offer", () => {
  it.scoped("is stored for each item, whichever way it came in", () =>
    Effect.gen(function*() {
      const { queue } = yield* idle({ flush: { size: 6 } })
      yield* TestClock.adjust(1000)
      yield* queue.offer(1)
      yield* queue.offer(2)
      yield* TestClock.adjust(5)
      queue.unsafeOffer(3)
      yield* queue.offerAll([4, 5])
      yield* TestClock.adjust(20)
      yield* queue.offerAllOrNone([6])
      yield* settleDown
      expect(yield* stored).toEqual([[[1, 2, 3, 4, 5, 6], [1000, 1000, 1005, 1005, 1005, 1025]]])
    }).pipe(onMemory))

  it.scoped("stays with its item where another of the batch was stored before", () =>
    Effect.gen(function*() {
      const free = yield* Effect.makeLatch(true)
      const { queue } = yield* Effect.provideServiceEffect(
        idle({ flush: { size: 100 } }),
        BatchStore.BatchStore,
        callingThrough(["append"], (append) => Effect.zipRight(free.await, append))
      )
      yield* queue.offerStored(1, { id: "b" })
      // What comes while the store is busy shares the next batch.
      yield* free.close
      yield* Effect.fork(queue.offerStored(2))
      for (const [item, id] of [[10, "a"], [11, "b"], [12, "c"]] as const) {
        yield* TestClock.adjust(100)
        yield* Effect.fork(queue.offerStored(item, { id }))
        yield* settleDown
      }
      yield* free.open
      yield* settleDown
      expect(yield* stored).toEqual([[[1], [0]], [[2], [0]], [[10, 12], [100, 300]]])
    }).pipe(onMemory))

  it.scoped("of merged items is that of the oldest of their batch", () =>
    Effect.gen(function*() {
      const buffer = Buffer.merging<number>((item) => item % 2, (held, next) => held + next)
      const { queue } = yield* idle({ buffer, flush: { pushes: 4 } })
      for (const item of [1, 2, 3, 4]) {
        yield* TestClock.adjust(10)
        yield* queue.offer(item)
      }
      yield* settleDown
      expect(yield* stored).toEqual([[[4, 6], [10, 10]]])
    }).pipe(onMemory))
})

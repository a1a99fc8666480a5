/**
 * A batch never has more bytes than it may have, unless one item alone has more.
 */
import { describe, expect, it } from "@effect/vitest"
import type { BatchQueue } from "@sluice/core"
import { Backpressure, BatchStore, Buffer, Codec, Result } from "@sluice/core"
import { Effect, FastCheck, Schema } from "effect"
import { claimAll, storing } from "./support/batchQueue.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

type Options = Partial<BatchQueue.Options<any, any, never, never>>

const idle = (bytes: number, options?: Options) => storing(Schema.Unknown, { flush: { bytes }, ...options })

const codec = Codec.make(Schema.Unknown)

/** What is stored of each batch, and how large it is without its envelope. */
const stored = Effect.gen(function*() {
  const stores = yield* BatchStore.BatchStore
  const { batches } = yield* claimAll(yield* stores.queue("test"), 1000)
  return batches.map(({ payload }) => {
    const { trigger, values } = Result.getOrThrow(codec.readBatch(payload))
    return { trigger, values, length: payload.length - payload.indexOf(10) - 1 }
  })
})

const items = FastCheck.array(
  FastCheck.oneof(
    FastCheck.jsonValue({ maxDepth: 2 }),
    FastCheck.string({
      unit: FastCheck.constantFrom("\"", "\\", "\n", "\u0001", "a", "ä", "\u{1f600}"),
      maxLength: 30
    }),
    FastCheck.double({ noNaN: true, noDefaultInfinity: true }),
    FastCheck.integer(),
    FastCheck.constantFrom<unknown>(null, true, false, [], {}, "")
  ),
  { maxLength: 30 }
)

describe("a batch of at most so many bytes", () => {
  it("is never larger as JSON, whatever is in it, and every item is in one", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(items, FastCheck.integer({ min: 1, max: 120 }), (items, bytes) =>
        Effect.runPromise(
          Effect.gen(function*() {
            const queue = yield* idle(bytes)
            const taken = items.filter((item) => queue.unsafeOffer(item) === "accepted")
            yield* queue.flush
            const batches = yield* stored
            for (const { length, values } of batches) if (values.length > 1) expect(length).toBeLessThanOrEqual(bytes)
            expect(JSON.stringify(batches.flatMap(({ values }) => values))).toBe(JSON.stringify(taken))
          }).pipe(Effect.scoped, onMemory)
        )),
      { seed: 31, numRuns: 150 }
    ))

  it.scoped("is stored before the item that it has no room for, and when it is full", () =>
    Effect.gen(function*() {
      // An item of 8 characters has 10, and its comma.
      const queue = yield* idle(23)
      for (const item of ["12345678", "abcdefgh", "x", "12345678"]) yield* queue.offer(item)
      yield* queue.flush
      expect(yield* stored).toEqual([
        { trigger: "bytes", values: ["12345678", "abcdefgh"], length: 23 },
        { trigger: "manual", values: ["x", "12345678"], length: 16 }
      ])
      yield* queue.offer("y")
      yield* queue.offer("1234567890")
      yield* queue.offer("12345678901234567890123456")
      yield* queue.flush
      expect(yield* stored).toEqual([
        { trigger: "bytes", values: ["y", "1234567890"], length: 18 },
        // By itself: it is larger than a batch may be.
        { trigger: "bytes", values: ["12345678901234567890123456"], length: 30 }
      ])
    }).pipe(onMemory))

  it.scoped("that merges counts all that went into it", () =>
    Effect.gen(function*() {
      const queue = yield* idle(23, { buffer: Buffer.merging((item: string) => item[0], (_, next) => next) })
      for (const item of ["a2345678", "a3456789", "a4567890", "a5678901", "b"]) yield* queue.offer(item)
      yield* queue.flush
      expect((yield* stored).map(({ values }) => values)).toEqual([["a3456789"], ["a5678901"], ["b"]])
    }).pipe(onMemory))

  it.scoped("that merges counts what the policy has merged before, too", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((item: string) => item[0], { merge: (_, next) => next })
      const queue = yield* idle(23, { policy, buffer: Buffer.appending<any>() })
      // In one step, before anything leaves the intake.
      for (const item of ["a2345678", "a3456789", "a4567890", "b"]) queue.unsafeOffer(item)
      yield* queue.flush
      expect((yield* stored).map(({ values }) => values)).toEqual([["a4567890"], ["b"]])
    }).pipe(onMemory))

  it.scoped("is one of at most 16 MiB, where it is not said", () =>
    Effect.gen(function*() {
      const queue = yield* idle(0, { flush: { size: 1000 }, limits: { maxItemBytes: 9 * 1024 * 1024 } })
      const large = "x".repeat(8 * 1024 * 1024 - 6)
      for (const item of [1, large, large, 2]) queue.unsafeOffer(item)
      yield* queue.flush
      expect((yield* stored).map(({ trigger, values }) => [trigger, values.length])).toEqual([
        ["bytes", 2],
        ["manual", 2]
      ])
    }).pipe(onMemory))
})

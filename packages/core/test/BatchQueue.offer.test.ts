import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, Buffer, Codec, type QueueError } from "@sluice/core"
import { Effect, Either, Exit, Fiber, Schema, TestClock } from "effect"
import { callingThrough, numbers, numbersInProcess, settleDown } from "./support/batchQueue.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const idle = { workers: 0, flush: { size: 100 } }

describe("offer", () => {
  it.scoped("stores a batch at the n-th item, at the interval, at so many bytes, and by hand", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ workers: 0, flush: { size: 3, linger: "1 second" } })
      yield* queue.offerAll([1, 2, 3, 4])
      yield* settleDown
      expect((yield* queue.metrics).storedByTrigger).toMatchObject({ size: 3, linger: 0 })
      yield* TestClock.adjust(999)
      expect((yield* queue.metrics).buffered).toBe(1)
      yield* TestClock.adjust(1)
      expect((yield* queue.metrics).storedByTrigger).toMatchObject({ size: 3, linger: 1 })
      yield* queue.offer(5)
      yield* queue.flush
      expect((yield* queue.metrics).storedByTrigger).toMatchObject({ size: 3, linger: 1, manual: 1 })
      const bytes = yield* numbers({ name: "bytes", workers: 0, flush: { bytes: 28 } })
      yield* bytes.queue.offerAll([1, 2, 3])
      yield* settleDown
      expect((yield* bytes.queue.metrics).storedByTrigger).toMatchObject({ bytes: 3 })
    }).pipe(onMemory))

  it.scoped("counts pushes apart from what is left after merging", () =>
    Effect.gen(function*() {
      const buffer = Buffer.merging((n: number) => n % 2, (a, b) => a + b)
      const { queue } = yield* numbers({ workers: 0, flush: { pushes: 4 }, buffer })
      yield* queue.offerAll([1, 2, 3, 4, 5])
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ coalesced: 2, stored: 2, buffered: 1 })
      expect((yield* queue.metrics).storedByTrigger).toMatchObject({ pushes: 2 })
    }).pipe(onMemory))

  it.scoped("follows the policy of the intake while the store is full", () =>
    Effect.gen(function*() {
      const full = (name: string, policy: BatchQueue.IntakePolicy<number>) =>
        Effect.gen(function*() {
          const made = yield* numbers({ name, workers: 0, capacity: 2, maxPending: 1, policy })
          yield* made.queue.offerStored(0)
          // One more is on its way into the store, and waits there.
          yield* made.queue.offer(1)
          yield* settleDown
          const outcomes = yield* Effect.forEach(
            [2, 3, 4],
            (n) => Effect.merge(Effect.mapError(made.queue.offer(n), ({ _tag }) => _tag))
          )
          return { ...made, outcomes }
        })
      const rejecting = yield* full("reject", Backpressure.reject)
      expect(rejecting.outcomes).toEqual(["accepted", "accepted", "QueueFull"])
      const newest = yield* full("newest", Backpressure.dropNewest)
      expect(newest.outcomes).toEqual(["accepted", "accepted", "dropped"])
      expect(newest.dropped).toEqual([[4, "drop-newest"]])
      const oldest = yield* full("oldest", Backpressure.dropOldest)
      expect(oldest.dropped).toEqual([[2, "drop-oldest"]])
      const latest = yield* full("latest", Backpressure.coalesceByKey((n) => n % 2))
      expect(latest.outcomes).toEqual(["accepted", "accepted", "coalesced"])
      expect((yield* latest.queue.metrics).coalesced).toBe(1)
      const hasty = yield* Effect.fork(full("hasty", Backpressure.suspend({ timeout: 50 })))
      // It takes turns with this fiber until it waits.
      for (let i = 0; i < 10; i++) yield* TestClock.adjust(50)
      expect((yield* Fiber.join(hasty)).outcomes).toEqual(["accepted", "accepted", "OfferTimeout"])
    }).pipe(onMemory))

  it.scoped("takes a prefix of many, and says how long it was", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ ...idle })
      const error = yield* Effect.flip(queue.offerAll([1, 2, Infinity, 4]))
      expect(error).toMatchObject({ _tag: "MalformedItem", reason: "unsupported", taken: 2, notTaken: [Infinity, 4] })
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 2 })
      expect(yield* queue.offerAll([5, 6])).toEqual({ accepted: 2, coalesced: 0, dropped: 0 })
    }).pipe(onMemory))

  it.scoped("that is refused carries what its caller has offered, also where the queue keeps copies of it", () =>
    Effect.gen(function*() {
      type Item = { readonly n: number }
      const queue = yield* BatchQueue.make({
        name: "copies",
        schema: Schema.Struct({ n: Schema.Number }),
        buffer: Buffer.merging(({ n }: Item) => n % 2, (_, next) => next),
        capacity: 2,
        policy: Backpressure.reject,
        workers: 0,
        flush: { size: 100 },
        process: () => Effect.void
      })
      const [a, b, c, d] = [1, 2, 3, 4].map((n): Item => ({ n }))
      const broken = { n: "5" } as unknown as Item
      const full = yield* Effect.flip(queue.offerAll([a, b, c, d, broken]))
      expect(full).toMatchObject({ _tag: "QueueFull", queue: "copies", taken: 2 })
      expect("item" in full && full.item).toBe(c)
      expect(full.notTaken.map((item, index) => item === [c, d, broken][index])).toEqual([true, true, true])
      const one = yield* Effect.flip(queue.offer(c))
      expect(one).toMatchObject({ _tag: "QueueFull", taken: 0 })
      expect(one.notTaken[0]).toBe(c)
      const none = yield* Effect.flip(queue.offerAllOrNone([c, d]))
      expect(none).toMatchObject({ _tag: "QueueFull", taken: 0 })
      expect(none.notTaken.map((item, index) => item === [c, d][index])).toEqual([true, true])
    }).pipe(onMemory))

  it.scoped("that is dropped before it is stored carries what its caller has offered", () =>
    Effect.gen(function*() {
      type Item = { readonly n: number }
      const queue = yield* BatchQueue.make({
        name: "dropped",
        schema: Schema.Struct({ n: Schema.Number }),
        buffer: Buffer.merging(({ n }: Item) => n, (_, next) => next),
        workers: 0,
        format: {
          ...Codec.json,
          name: "broken",
          encode: () => {
            throw new Error("broken")
          }
        },
        process: () => Effect.void
      })
      const item: Item = { n: 1 }
      const error = yield* Effect.flip(queue.offerStored(item))
      expect(error).toMatchObject({ _tag: "ItemDropped", reason: "malformed" })
      expect("item" in error && error.item).toBe(item)
    }).pipe(onMemory))

  it.scoped("at once answers what became of the item", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ ...idle, capacity: 1 })
      expect([queue.unsafeOffer(1), queue.unsafeOffer(2), queue.unsafeOffer(NaN)]).toEqual([
        "accepted",
        "full",
        "malformed"
      ])
      expect(yield* queue.metrics).toMatchObject({ offered: 3, refused: 2, depth: 1 })
    }).pipe(onMemory))

  it.scoped("that is interrupted while it waits leaves the item out", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ workers: 0, capacity: 1, maxPending: 1 })
      yield* queue.offerStored(0)
      yield* queue.offerAll([1, 2])
      yield* settleDown
      const waiting = yield* Effect.fork(queue.offer(3))
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ depth: 1, held: 3 })
      yield* Fiber.interrupt(waiting)
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 1, depth: 1 })
    }).pipe(onMemory))
})

describe("offerStored", () => {
  it.scoped("answers once the item is stored, without waiting for more items", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      yield* queue.offer(1)
      expect(yield* queue.offerStored(2)).toBe("stored")
      expect((yield* queue.stats).pending).toEqual({ batches: 1, items: 2 })
    }).pipe(onMemory))

  it.scoped("lets callers share a batch and a commit", () =>
    Effect.gen(function*() {
      let appends = 0
      const counting = yield* callingThrough(["append"], (append) => {
        appends += 1
        return append
      })
      const { queue } = yield* Effect.provideService(numbers(idle), BatchStore.BatchStore, counting)
      yield* Effect.forEach(Array.from({ length: 64 }, (_, n) => n), (n) => queue.offerStored(n), {
        concurrency: "unbounded"
      })
      expect(appends).toBeLessThanOrEqual(2)
      expect((yield* queue.stats).pending).toMatchObject({ items: 64 })
    }).pipe(onMemory))

  it.scoped("counts an id once, at the same time, later, and after a restart, until the window is over", () =>
    Effect.gen(function*() {
      const options = { ...idle, idWindow: "1 minute" as const }
      const first = yield* numbersInProcess(options)
      const twice = yield* Effect.all([
        first.queue.offerStored(1, { id: "a" }),
        first.queue.offerStored(1, { id: "a" }),
        first.queue.offerStored(2, { id: "b" })
      ], { concurrency: "unbounded" })
      expect(twice).toEqual(["stored", "duplicate", "stored"])
      expect(yield* first.queue.offerStored(1, { id: "a" })).toBe("duplicate")
      yield* first.stop
      const second = yield* numbersInProcess(options)
      const mixed = yield* Effect.all([
        second.queue.offerStored(3, { id: "c" }),
        second.queue.offerStored(1, { id: "a" }),
        second.queue.offerStored(4)
      ], { concurrency: "unbounded" })
      expect(mixed).toEqual(["stored", "duplicate", "stored"])
      expect((yield* second.queue.stats).pending.items).toBe(4)
      expect(yield* second.queue.metrics).toMatchObject({ offered: 3, duplicates: 1, stored: 2 })
      yield* TestClock.adjust("1 minute")
      expect(yield* second.queue.offerStored(1, { id: "a" })).toBe("stored")
      const other = yield* numbersInProcess({ ...options, name: "other" })
      expect(yield* other.queue.offerStored(1, { id: "a" })).toBe("stored")
      yield* second.stop
      yield* other.stop
    }).pipe(onMemory))

  it.scoped("keeps items with an id out of the merging of a buffer, and in order", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        flush: { size: 100 },
        buffer: Buffer.merging((n) => n, (a, b) => a + b)
      })
      yield* queue.pause
      yield* queue.offerStored(1, { id: "a" })
      yield* Effect.all([
        queue.offer(1),
        Effect.forkScoped(queue.offerStored(1, { id: "a" })),
        Effect.forkScoped(queue.offerStored(1, { id: "b" })),
        queue.offer(1)
      ], { discard: true })
      yield* settleDown
      yield* queue.flush
      expect((yield* queue.metrics).duplicates).toBe(1)
      yield* queue.resume
      yield* settleDown
      expect(sink.items.flat()).toEqual([1, 2, 1])
    }).pipe(onMemory))

  it.scoped("refuses an id that a store would not give back as it was", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      for (const id of ["", "a\0b", "\ud800", "x".repeat(513)]) {
        expect(yield* Effect.flip(queue.offerStored(1, { id }))).toMatchObject({
          _tag: "MalformedItem",
          reason: "text"
        })
      }
      expect(yield* queue.offerStored(1, { id: "x".repeat(512) })).toBe("stored")
    }).pipe(onMemory))

  it.scoped("answers where the buffer makes nothing of the items", () =>
    Effect.gen(function*() {
      const buffer: Buffer.Buffer<number, Array<number>> = {
        ...Buffer.appending<number>(),
        items: (state) => state.reduce((sum, n) => sum + n, 0) === 0 ? [] : state
      }
      const { queue } = yield* numbers({ ...idle, buffer })
      const both = yield* Effect.all([queue.offerStored(1), queue.offerStored(-1)], { concurrency: "unbounded" })
      expect(both).toEqual(["stored", "stored"])
      expect((yield* queue.stats).pending.items).toBe(0)
      expect(yield* queue.metrics).toMatchObject({ offered: 2, coalesced: 2 })
    }).pipe(onMemory))

  it.scoped("fails where the policy drops the item", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({
        workers: 0,
        capacity: 1,
        maxPending: 1,
        policy: Backpressure.dropOldest
      })
      yield* queue.offerStored(0)
      const waiting = yield* Effect.forEach([1, 2, 3], (n) =>
        Effect.zipLeft(Effect.fork(Effect.either(queue.offerStored(n))), settleDown))
      const ended = yield* Fiber.join(waiting[1])
      expect(Either.flip(ended)).toMatchObject(Either.right({ _tag: "ItemDropped", item: 2, reason: "drop-oldest" }))
      expect(waiting[0].unsafePoll()).toBeNull()
    }).pipe(onMemory))

  it.scoped("that is interrupted once the item is in leaves it in", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ workers: 0, maxPending: 1 })
      yield* queue.offerStored(0)
      const waiting = yield* Effect.fork(queue.offerStored(1))
      yield* settleDown
      yield* Fiber.interrupt(waiting)
      expect(yield* queue.metrics).toMatchObject({ offered: 2, refused: 0, buffered: 1 })
    }).pipe(onMemory))
})

describe("maxPending", () => {
  it.scoped("keeps what is over in memory, until something is settled", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ maxPending: 3, flush: { size: 2 } })
      yield* queue.pause
      yield* queue.offerAll([1, 2, 3, 4, 5, 6])
      yield* settleDown
      expect((yield* queue.stats).pending.items).toBe(2)
      expect((yield* queue.metrics).held).toBe(4)
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[1, 2], [3, 4], [5, 6]])
    }).pipe(onMemory))

  it.scoped("notices within `pollInterval` that others have made room", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ workers: 0, maxPending: 1, pollInterval: 700 })
      yield* queue.offerAll([1, 2])
      yield* settleDown
      const other = yield* numbers()
      yield* TestClock.adjust(699)
      expect(other.sink.items).toEqual([[1]])
      yield* TestClock.adjust(1001)
      expect(other.sink.items).toEqual([[1], [2]])
    }).pipe(onMemory))

  it.scoped("rejects, where that is asked for, and takes offers again when there is room", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ maxPending: { items: 2, whenFull: "reject" } })
      yield* queue.pause
      yield* queue.offerStored(1)
      yield* queue.offerStored(2)
      expect(yield* Effect.flip(queue.offer(3))).toMatchObject({ _tag: "QueueFull", item: 3 })
      expect(yield* Effect.flip(queue.offerStored(3))).toMatchObject({ _tag: "QueueFull" })
      expect(queue.unsafeOffer(3)).toBe("full")
      expect(yield* Effect.flip(queue.offerAll([3, 4]))).toMatchObject({
        _tag: "QueueFull",
        taken: 0,
        notTaken: [3, 4]
      })
      yield* queue.resume
      yield* settleDown
      expect(yield* queue.offerStored(3)).toBe("stored")
      expect(yield* queue.metrics).toMatchObject({ offered: 8, refused: 5 })
    }).pipe(onMemory))
})

describe("flush", () => {
  it.scoped("waits for everything that was offered before, also for offers that wait", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ ...idle, capacity: 2 })
      yield* queue.offerAll([1, 2])
      const waiting = yield* Effect.fork(queue.offerAll([3, 4, 5]))
      yield* Effect.yieldNow()
      yield* queue.flush
      yield* Fiber.join(waiting)
      yield* queue.flush
      expect((yield* queue.stats).pending.items).toBe(5)
      yield* queue.flush
    }).pipe(onMemory))
})

describe("an item that cannot be stored", () => {
  const Deep: Schema.Schema<any> = Schema.Any
  const tryItem = (item: unknown, limits?: Partial<Codec.Limits>) =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        name: "any",
        schema: Deep,
        workers: 0,
        limits,
        process: () => Effect.void
      })
      const exit = yield* Effect.exit(queue.offerStored(item))
      const { pending } = yield* queue.stats
      if (Exit.isSuccess(exit)) return "stored"
      expect(pending.items).toBe(0)
      const error = yield* Effect.flip(exit as Exit.Exit<never, QueueError.MalformedItem>)
      expect(error._tag).toBe("MalformedItem")
      expect(error.item).toBe(item)
      return [error.reason, error.path]
    }).pipe(Effect.scoped, onMemory)

  it.effect("is refused with what is wrong and where, and nothing is stored", () =>
    Effect.gen(function*() {
      const nested = (depth: number): unknown => depth === 0 ? 1 : [nested(depth - 1)]
      expect(yield* tryItem(nested(64))).toBe("stored")
      expect((yield* tryItem(nested(65)))[0]).toBe("too-deep")
      expect((yield* tryItem(nested(5000)))[0]).toBe("too-deep")
      expect(yield* tryItem({ a: ["fine", { b: "half \ud83d" }] })).toEqual(["text", "a[1].b"])
      expect(yield* tryItem({ ["\udc00"]: 1 })).toEqual(["text", ""])
      expect(yield* tryItem("a \u{1f600} is whole")).toBe("stored")
      expect(yield* tryItem({ n: NaN })).toEqual(["unsupported", "n"])
      expect(yield* tryItem([1n])).toEqual(["unsupported", "[0]"])
      expect(yield* tryItem({ d: new Date() })).toEqual(["unsupported", "d"])
      expect(yield* tryItem([undefined])).toEqual(["unsupported", "[0]"])
      expect(yield* tryItem({ f: () => {} })).toEqual(["unsupported", "f"])
      expect(yield* tryItem(JSON.parse("{\"__proto__\": {\"a\": 1}}"))).toEqual(["unsupported", ""])
      expect(yield* tryItem("x".repeat(98), { maxItemBytes: 100 })).toBe("stored")
      expect((yield* tryItem("x".repeat(99), { maxItemBytes: 100 }))[0]).toBe("too-large")
      expect((yield* tryItem("é".repeat(50), { maxItemBytes: 100 }))[0]).toBe("too-large")
      expect((yield* tryItem("x".repeat(1024 * 1024)))[0]).toBe("too-large")
    }))

  it.scoped("does not fit the schema", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        name: "orders",
        schema: Schema.Struct({
          id: Schema.NonEmptyString,
          tags: Schema.Record({ key: Schema.String, value: Schema.Int })
        }),
        workers: 0,
        process: () => Effect.void
      })
      expect(yield* Effect.flip(queue.offer({ id: "", tags: {} }))).toMatchObject({ reason: "type" })
      expect(yield* Effect.flip(queue.offer({ id: "a", tags: { x: 1.5 } }))).toMatchObject({ reason: "type" })
      const proto = JSON.parse("{\"id\":\"a\",\"tags\":{\"__proto__\":1}}")
      expect(yield* Effect.flip(queue.offer(proto))).toMatchObject({ reason: "unsupported" })
      expect(yield* queue.offer({ id: "a", tags: { x: 1 } })).toBe("accepted")
    }).pipe(onMemory))

  it.scoped("was made by merging: it is dropped, told, and the others are stored", () =>
    Effect.gen(function*() {
      const buffer = Buffer.merging((n: number) => n % 2, (a, b) => a === 3 ? NaN : a + b)
      const { dropped, queue } = yield* numbers({ ...idle, buffer })
      yield* queue.offerAll([3, 5, 2, 4])
      yield* queue.flush
      expect(dropped).toEqual([[NaN, "malformed"]])
      expect(yield* queue.metrics).toMatchObject({ offered: 4, coalesced: 2, dropped: 1, stored: 1 })
    }).pipe(onMemory))

  it.scoped("makes the user's merge throw: it alone is dropped", () =>
    Effect.gen(function*() {
      const buffer = Buffer.merging((n: number) => n % 2, (a, b) => {
        if (b === 5) throw new Error("no five")
        return a + b
      })
      const { dropped, queue } = yield* numbers({ ...idle, buffer })
      yield* queue.offerAll([3, 5, 7])
      yield* queue.flush
      expect(dropped).toEqual([[5, "malformed"]])
      expect(yield* queue.metrics).toMatchObject({ offered: 3, coalesced: 1, dropped: 1, stored: 1 })
    }).pipe(onMemory))

  it.scoped("makes a format throw: the batch is dropped, and the queue goes on", () =>
    Effect.gen(function*() {
      const format: Codec.Format = {
        name: "picky",
        encode: (values) => {
          if (values.includes(2)) throw new Error("no two")
          return new TextEncoder().encode(values.join())
        },
        decode: (bytes) => new TextDecoder().decode(bytes).split(",").map(Number)
      }
      const { dropped, queue, sink } = yield* numbers({ format })
      yield* queue.offerAll([1, 2, 3])
      yield* settleDown
      expect(dropped).toEqual([[2, "malformed"]])
      expect(sink.items).toEqual([[1], [3]])
      expect(yield* Effect.flip(queue.offerStored(2))).toMatchObject({ _tag: "ItemDropped", reason: "malformed" })
    }).pipe(onMemory))
})

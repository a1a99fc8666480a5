/**
 * Several items that are offered to a durable queue together: all of them or none.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchStore } from "@sluice/core"
import { Effect, type Either, Fiber, TestClock } from "effect"
import { callingThrough, numbers, numbersInProcess, type Options, settleDown } from "./support/batchQueue.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const idle = { workers: 0, flush: { size: 100 } }

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.zipLeft(Effect.fork(effect), settleDown)

/** The appends of each queue go through `around`. */
const withAppend = <A, E, R>(
  effect: Effect.Effect<A, E, R | BatchStore.BatchStore>,
  around: <B, E2>(append: Effect.Effect<B, E2>) => Effect.Effect<B, E2>
) => Effect.provideServiceEffect(effect, BatchStore.BatchStore, callingThrough(["append"], around))

describe("offerAllOrNone", () => {
  describe.each([1, 2, 3])("with an intake of capacity %i", (capacity) => {
    it.scoped.each([Backpressure.suspend(), Backpressure.reject])(
      "under $_tag takes all where there is room for all, and none where there is not",
      (policy) =>
        Effect.gen(function*() {
          for (const held of range(0, capacity + 1)) {
            for (const count of range(0, capacity + 2)) {
              const { queue } = yield* numbers({ ...idle, name: `${held} and ${count}`, capacity, policy })
              // In the same step, before anything of it is on its way into the store.
              for (const item of range(0, held)) queue.unsafeOffer(item)
              const items = range(10, 10 + count)
              const result = Effect.runSync(Effect.either(queue.offerAllOrNone(items)))
              const isIn = held + count <= capacity
              if (isIn || count === 0) {
                expect(result).toMatchObject({ right: { accepted: count, coalesced: 0, dropped: 0 } })
              } else {
                expect(result).toMatchObject({
                  left: {
                    _tag: count > capacity ? "TooManyItems" : "QueueFull",
                    queue: `${held} and ${count}`,
                    item: 10,
                    taken: 0,
                    notTaken: items
                  }
                })
              }
              const taken = isIn ? held + count : held
              expect(yield* queue.metrics).toMatchObject({ offered: held + count, refused: held + count - taken })
              yield* queue.flush
              expect(yield* queue.metrics).toMatchObject({ stored: taken, held: 0, buffered: 0 })
            }
          }
        }).pipe(onMemory)
    )
  })

  it.scoped("refuses all of them for one that cannot be stored, which the error names", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      for (const items of [[1, NaN, 3], [Infinity, 2, 3], [1, 2, -Infinity]]) {
        const malformed = items.find((item) => !Number.isFinite(item))
        expect(yield* Effect.flip(queue.offerAllOrNone(items))).toMatchObject({
          _tag: "MalformedItem",
          reason: "unsupported",
          item: malformed,
          taken: 0,
          notTaken: items
        })
      }
      yield* queue.flush
      expect(yield* queue.metrics).toMatchObject({ offered: 9, refused: 9, stored: 0 })
    }).pipe(onMemory))

  it.scoped("goes by the room that a maxPending that rejects leaves, with what is not stored yet", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ ...idle, maxPending: { items: 4, whenFull: "reject" } })
      yield* queue.offerStored(1)
      expect(yield* queue.offerAllOrNone([2])).toMatchObject({ accepted: 1 })
      expect(yield* Effect.flip(queue.offerAllOrNone([3, 4, 5]))).toMatchObject({
        _tag: "QueueFull",
        item: 3,
        taken: 0,
        notTaken: [3, 4, 5]
      })
      expect(yield* Effect.flip(queue.offerAllOrNone([3, 4, 5, 6, 7]))).toMatchObject({
        _tag: "TooManyItems",
        capacity: 4,
        notTaken: [3, 4, 5, 6, 7]
      })
      expect(yield* queue.offerAllOrNone([3, 4])).toMatchObject({ accepted: 2 })
      expect((yield* Effect.flip(queue.offerAllOrNone([5])))._tag).toBe("QueueFull")
      expect(yield* queue.offerAllOrNone([])).toMatchObject({ accepted: 0 })
      yield* queue.flush
      expect((yield* queue.stats).pending.items).toBe(4)
      expect(yield* queue.metrics).toMatchObject({ offered: 13, refused: 9, stored: 4 })
    }).pipe(onMemory))

  it.scoped("follows a policy that drops or coalesces, and counts what became of each", () =>
    Effect.gen(function*() {
      const of = (name: string, policy: Options["policy"]) =>
        Effect.gen(function*() {
          const { dropped, queue } = yield* numbers({ ...idle, name, capacity: 2, policy })
          const taken = Effect.runSync(queue.offerAllOrNone([1, 2, 3, 5]))
          yield* queue.flush
          return { taken, dropped, stored: (yield* queue.metrics).stored }
        })
      expect(yield* of("newest", Backpressure.dropNewest)).toEqual({
        taken: { accepted: 2, coalesced: 0, dropped: 2 },
        dropped: [[3, "drop-newest"], [5, "drop-newest"]],
        stored: 2
      })
      expect(yield* of("oldest", Backpressure.dropOldest)).toEqual({
        taken: { accepted: 4, coalesced: 0, dropped: 0 },
        dropped: [[1, "drop-oldest"], [2, "drop-oldest"]],
        stored: 2
      })
      expect(yield* of("latest", Backpressure.coalesceByKey((n) => n % 2, { whenFull: Backpressure.reject }))).toEqual({
        taken: { accepted: 2, coalesced: 2, dropped: 0 },
        dropped: [],
        stored: 2
      })
    }).pipe(onMemory))

  it.scoped("under coalesceByKey counts a new key once, and replaces nothing where one has no room", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((n: number) => n % 10, { whenFull: Backpressure.reject })
      const { queue, sink } = yield* numbers({ flush: { size: 100 }, capacity: 2, policy })
      const results = Effect.runSync(
        Effect.forEach([[1, 2, 11], [21, 3], [1, 2, 3, 4], [22]], (items) => Effect.either(queue.offerAllOrNone(items)))
      )
      expect(results).toMatchObject([
        { right: { accepted: 2, coalesced: 1 } },
        { left: { _tag: "QueueFull", notTaken: [21, 3] } },
        { left: { notTaken: [1, 2, 3, 4] } },
        { right: { accepted: 0, coalesced: 1 } }
      ])
      yield* queue.flush
      yield* settleDown
      expect(sink.items).toEqual([[11, 22]])
    }).pipe(onMemory))

  it.scoped("does not overtake offers that wait for room", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ capacity: 2, maxPending: 2 })
      yield* queue.pause
      yield* queue.offerStoredAllOrNone([-1, 0])
      yield* queue.offer(1)
      yield* settleDown
      yield* queue.offerAll([2, 3])
      const waiting = yield* start(queue.offer(4))
      expect((yield* Effect.flip(queue.offerAllOrNone([5])))._tag).toBe("QueueFull")
      yield* queue.resume
      yield* settleDown
      yield* Fiber.join(waiting)
      yield* queue.offerAllOrNone([5, 6])
      yield* settleDown
      expect(sink.items.flat()).toEqual([-1, 0, 1, 2, 3, 4, 5, 6])
    }).pipe(onMemory))
})

describe("offerStoredAllOrNone", () => {
  it.scoped("answers once all of them are stored, in one commit, without waiting for more items", () =>
    Effect.gen(function*() {
      let appends = 0
      const { queue } = yield* withAppend(numbers({ workers: 0, flush: { size: 3 } }), (append) => {
        appends += 1
        return append
      })
      expect(yield* queue.offerStoredAllOrNone(range(0, 7))).toEqual({
        stored: 7,
        duplicates: 0,
        dropped: 0,
        droppedByReason: {}
      })
      expect(appends).toBe(1)
      expect((yield* queue.stats).pending).toEqual({ batches: 3, items: 7 })
      expect(yield* queue.metrics).toMatchObject({ offered: 7, stored: 7, buffered: 0 })
    }).pipe(onMemory))

  it.scoped("of no items answers at once, and counts nothing", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      const nothing = { stored: 0, duplicates: 0, dropped: 0, droppedByReason: {} }
      expect(yield* queue.offerStoredAllOrNone([])).toEqual(nothing)
      expect(yield* queue.offerStoredAllOrNone([], { ids: [] })).toEqual(nothing)
      expect((yield* queue.metrics).offered).toBe(0)
    }).pipe(onMemory))

  it.scoped("does not answer before the commit, and answers after one that failed at first", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      let failures = 1
      const { internal, queue } = yield* withAppend(
        numbers(idle),
        <B, E>(append: Effect.Effect<B, E>) =>
          Effect.zipRight(
            gate.await,
            Effect.suspend(() => failures-- > 0 ? Effect.die("no disk") as Effect.Effect<B, E> : append)
          )
      )
      const waiting = yield* start(queue.offerStoredAllOrNone([1, 2]))
      expect(waiting.unsafePoll()).toBeNull()
      yield* gate.open
      yield* settleDown
      expect(internal).toEqual(["append"])
      expect(waiting.unsafePoll()).toBeNull()
      yield* TestClock.adjust("10 seconds")
      expect(yield* Fiber.join(waiting)).toMatchObject({ stored: 2 })
      expect((yield* queue.stats).pending.items).toBe(2)
    }).pipe(onMemory))

  it.scoped("counts an id once: within the call, in another one, and after a restart", () =>
    Effect.gen(function*() {
      const first = yield* numbersInProcess(idle)
      expect(yield* first.queue.offerStoredAllOrNone([1, 2, 1, 3], { ids: ["a", "b", "a", "c"] })).toEqual({
        stored: 3,
        duplicates: 1,
        dropped: 0,
        droppedByReason: {}
      })
      const both = yield* Effect.all([
        first.queue.offerStoredAllOrNone([4, 5], { ids: ["d", "e"] }),
        first.queue.offerStoredAllOrNone([5, 6, 1], { ids: ["e", "f", "a"] }),
        first.queue.offerStored(4, { id: "d" })
      ], { concurrency: "unbounded" })
      expect(both).toMatchObject([{ stored: 2, duplicates: 0 }, { stored: 1, duplicates: 2 }, "duplicate"])
      expect(yield* first.queue.metrics).toMatchObject({ offered: 10, stored: 6, duplicates: 4 })
      yield* first.stop
      const second = yield* numbersInProcess(idle)
      const all = ["a", "b", "c", "d", "e", "f"]
      expect(yield* second.queue.offerStoredAllOrNone(all.map(() => 0), { ids: all })).toMatchObject({
        stored: 0,
        duplicates: 6
      })
      expect((yield* second.queue.stats).pending.items).toBe(6)
      yield* second.stop
    }).pipe(onMemory))

  it.scoped("offered again after a part of it was stored, stores the rest", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      yield* queue.offerStored(2, { id: "b" })
      expect(yield* queue.offerStoredAllOrNone([1, 2, 3], { ids: ["a", "b", "c"] })).toMatchObject({
        stored: 2,
        duplicates: 1
      })
      expect((yield* queue.stats).pending.items).toBe(3)
    }).pipe(onMemory))

  it.scoped("refuses all of them for one id that is none, or that is missing", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      const invalid = ["", "a\0b", "\ud800", "x".repeat(513)]
      for (const id of invalid) {
        expect(yield* Effect.flip(queue.offerStoredAllOrNone([1, 2, 3], { ids: ["a", id, "c"] }))).toMatchObject({
          _tag: "MalformedItem",
          reason: "text",
          item: 2,
          taken: 0,
          notTaken: [1, 2, 3]
        })
      }
      expect(yield* Effect.flip(queue.offerStoredAllOrNone([1, 2], { ids: ["a"] }))).toMatchObject({
        _tag: "MalformedItem",
        item: 2
      })
      expect(yield* queue.metrics).toMatchObject({ offered: 14, refused: 14, stored: 0, duplicates: 0 })
      // What was refused is not remembered.
      expect(yield* queue.offerStoredAllOrNone([1, 2], { ids: ["a", "c"] })).toMatchObject({ stored: 2 })
    }).pipe(onMemory))

  it.scoped("refuses all of them for one in the middle that cannot be stored", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers(idle)
      expect(yield* Effect.flip(queue.offerStoredAllOrNone([1, NaN, 3], { ids: ["a", "b", "c"] }))).toMatchObject({
        _tag: "MalformedItem",
        reason: "unsupported",
        taken: 0,
        notTaken: [1, NaN, 3]
      })
      yield* queue.flush
      expect((yield* queue.stats).pending.items).toBe(0)
      expect(yield* queue.offerStored(1, { id: "a" })).toBe("stored")
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 3 })
    }).pipe(onMemory))

  it.scoped("fails at once where a maxPending that rejects, or the intake, has no room for all", () =>
    Effect.gen(function*() {
      const bounded = yield* numbers({ ...idle, maxPending: { items: 3, whenFull: "reject" } })
      yield* bounded.queue.offerStoredAllOrNone([1, 2])
      expect((yield* Effect.flip(bounded.queue.offerStoredAllOrNone([3, 4])))._tag).toBe("QueueFull")
      expect(yield* Effect.flip(bounded.queue.offerStoredAllOrNone([3, 4, 5, 6]))).toMatchObject({
        _tag: "TooManyItems",
        capacity: 3
      })
      expect(yield* bounded.queue.offerStoredAllOrNone([3])).toMatchObject({ stored: 1 })
      const narrow = yield* numbers({ ...idle, name: "narrow", capacity: 2 })
      expect(yield* Effect.flip(narrow.queue.offerStoredAllOrNone([1, 2, 3]))).toMatchObject({
        _tag: "TooManyItems",
        capacity: 2,
        notTaken: [1, 2, 3]
      })
      expect(yield* narrow.queue.offerStoredAllOrNone([1, 2])).toMatchObject({ stored: 2 })
      expect(yield* narrow.queue.metrics).toMatchObject({ offered: 5, refused: 3 })
    }).pipe(onMemory))

  it.scoped("tells how many of them the policy has dropped, and stores the others", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* numbers({ ...idle, capacity: 2, policy: Backpressure.dropNewest })
      expect(yield* queue.offerStoredAllOrNone([1, 2, 3])).toEqual({
        stored: 2,
        duplicates: 0,
        dropped: 1,
        droppedByReason: { "drop-newest": 1 }
      })
      expect(dropped).toEqual([[3, "drop-newest"]])
    }).pipe(onMemory))

  it.scoped("tells of those that later offers have driven out, while the store is full", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink } = yield* numbers({
        capacity: 2,
        maxPending: 2,
        policy: Backpressure.dropOldest
      })
      yield* queue.pause
      yield* queue.offerStoredAllOrNone([-1, 0])
      // This one is on its way into the store, and no policy touches it any more.
      yield* queue.offer(1)
      yield* settleDown
      const waiting = yield* start(queue.offerStoredAllOrNone([2, 3]))
      yield* queue.offer(4)
      yield* settleDown
      expect(dropped).toEqual([[2, "drop-oldest"]])
      expect(waiting.unsafePoll()).toBeNull()
      yield* queue.offer(5)
      expect(yield* Fiber.join(waiting)).toEqual({
        stored: 0,
        duplicates: 0,
        dropped: 2,
        droppedByReason: { "drop-oldest": 2 }
      })
      const last = yield* start(queue.offerStoredAllOrNone([6]))
      yield* queue.resume
      yield* settleDown
      expect(yield* Fiber.join(last)).toMatchObject({ stored: 1 })
      expect(sink.items.flat()).toEqual([-1, 0, 1, 5, 6])
    }).pipe(onMemory))

  it.scoped("counts one that was coalesced as what became of the one in its place", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((n: number) => n % 10)
      const { queue } = yield* numbers({ ...idle, policy })
      const answer = yield* queue.offerStoredAllOrNone([1, 2, 11])
      expect(answer).toMatchObject({ stored: 3, dropped: 0 })
      expect((yield* queue.stats).pending.items).toBe(2)
      expect(yield* queue.metrics).toMatchObject({ offered: 3, coalesced: 1, stored: 2 })
    }).pipe(onMemory))

  it.effect("is refused by a queue that was closed", () =>
    Effect.gen(function*() {
      const { queue, stop } = yield* numbersInProcess(idle)
      yield* stop
      const offers: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        queue.offerAllOrNone([1, 2]),
        queue.offerStoredAllOrNone([1, 2]),
        queue.offerStoredAllOrNone([1, 2], { ids: ["a", "b"] })
      ]
      for (const offer of offers) {
        expect(yield* Effect.flip(offer)).toMatchObject({ _tag: "QueueClosed", taken: 0, notTaken: [1, 2] })
      }
      expect(yield* queue.metrics).toMatchObject({ offered: 6, refused: 6, stored: 0 })
    }).pipe(onMemory))

  it.effect("that waits when the queue is closed is answered once it is stored", () =>
    Effect.gen(function*() {
      const { queue, stop } = yield* numbersInProcess({ workers: 0, maxPending: 1 })
      yield* queue.offerStored(0)
      const waiting = yield* start(queue.offerStoredAllOrNone([1]))
      expect(waiting.unsafePoll()).toBeNull()
      yield* stop
      expect(yield* Fiber.join(waiting)).toMatchObject({ stored: 1, dropped: 0 })
      expect((yield* queue.stats).pending.items).toBe(2)
    }).pipe(onMemory))

  it.effect("whose store does not answer until the queue is closed, ends as dropped", () =>
    Effect.gen(function*() {
      const { dropped, queue, stop } = yield* withAppend(
        numbersInProcess({ ...idle, drainTimeout: "1 second" }),
        <B, E>(): Effect.Effect<B, E> => Effect.never
      )
      const waiting = yield* start(queue.offerStoredAllOrNone([1, 2]))
      const late = yield* start(queue.offerStoredAllOrNone([3]))
      const stopping = yield* Effect.fork(stop)
      yield* TestClock.adjust("30 seconds")
      yield* Fiber.join(stopping)
      expect(yield* Fiber.join(waiting)).toEqual({
        stored: 0,
        duplicates: 0,
        dropped: 2,
        droppedByReason: { shutdown: 2 }
      })
      expect(yield* Fiber.join(late)).toMatchObject({ dropped: 1 })
      expect(dropped).toEqual([[1, "shutdown"], [2, "shutdown"], [3, "shutdown"]])
      expect(yield* queue.metrics).toMatchObject({ offered: 3, dropped: 3 })
    }).pipe(onMemory))

  it.scoped("that is interrupted leaves the items in", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const { queue } = yield* withAppend(numbers(idle), (append) => Effect.zipRight(gate.await, append))
      const waiting = yield* start(queue.offerStoredAllOrNone([1, 2], { ids: ["a", "b"] }))
      yield* Fiber.interrupt(waiting)
      expect(yield* queue.metrics).toMatchObject({ offered: 2, refused: 0, buffered: 2, stored: 0 })
      yield* gate.open
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ stored: 2, buffered: 0 })
      const again: Either.Either<unknown, unknown> = yield* Effect.either(
        queue.offerStoredAllOrNone([1, 2], { ids: ["a", "b"] })
      )
      expect(again).toMatchObject({ right: { stored: 0, duplicates: 2 } })
    }).pipe(onMemory))

  it.scoped("may be more than a maxPending that suspends: they wait in memory", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ workers: 0, capacity: 10, maxPending: 1 })
      expect(yield* queue.offerAll([1, 2])).toMatchObject({ accepted: 2 })
      expect(yield* queue.offerAllOrNone([3, 4])).toMatchObject({ accepted: 2 })
    }).pipe(onMemory))
})

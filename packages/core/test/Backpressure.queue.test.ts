import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { Chunk, Effect, Exit, Fiber, Option, Queue, Stream, TestClock } from "effect"

interface Entry {
  readonly key: string
  readonly value: number
}

const start = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.tap(Effect.fork(effect), () => Effect.yieldNow({ priority: 1 }))

const policies: ReadonlyArray<Backpressure.Policy<number>> = [
  Backpressure.suspend(),
  Backpressure.reject,
  Backpressure.dropNewest,
  Backpressure.dropOldest,
  Backpressure.coalesceByKey((item: number) => item),
  Backpressure.coalesceByKey((item: number) => item, { whenFull: Backpressure.suspend() })
]

describe.each(policies)("an Effect Queue under $_tag", (policy) => {
  it.effect("is one in the eyes of Effect, with its capacity", () =>
    Effect.gen(function*() {
      const queue = yield* Backpressure.queue<number>(policy, { capacity: 3 })
      expect(Queue.isQueue(queue)).toBe(true)
      expect(Queue.capacity(queue)).toBe(3)
    }))

  it.effect("works with take, takeUpTo, takeBetween, takeAll and poll", () =>
    Effect.gen(function*() {
      const queue = yield* Backpressure.queue<number>(policy, { capacity: 10 })
      expect(yield* Queue.offerAll(queue, [1, 2, 3, 4, 5, 6, 7])).toBe(true)
      expect(yield* Queue.size(queue)).toBe(7)
      expect(yield* Queue.take(queue)).toBe(1)
      expect(Chunk.toReadonlyArray(yield* Queue.takeUpTo(queue, 2))).toEqual([2, 3])
      expect(Chunk.toReadonlyArray(yield* Queue.takeBetween(queue, 1, 2))).toEqual([4, 5])
      expect(yield* Queue.poll(queue)).toEqual(Option.some(6))
      expect(Chunk.toReadonlyArray(yield* Queue.takeAll(queue))).toEqual([7])
      expect(yield* Queue.poll(queue)).toEqual(Option.none())
      expect(yield* Queue.isEmpty(queue)).toBe(true)
    }))

  it.effect.each([0, -1, 0.5, 1.5, Number.NaN])(
    "takeUpTo %f takes what Effect's own queues take",
    (limit) =>
      Effect.gen(function*() {
        const queue = yield* Backpressure.queue<number>(policy, { capacity: 10 })
        const other = yield* Queue.bounded<number>(10)
        yield* Queue.offerAll(queue, [1, 2, 3])
        yield* Queue.offerAll(other, [1, 2, 3])
        const [taken, expected] = [yield* Queue.takeUpTo(queue, limit), yield* Queue.takeUpTo(other, limit)]
        expect(Chunk.toReadonlyArray(taken)).toEqual(Chunk.toReadonlyArray(expected))
      })
  )

  it.effect("feeds a Stream, which ends at the shutdown", () =>
    Effect.gen(function*() {
      const queue = yield* Backpressure.queue<number>(policy, { capacity: 4 })
      const fiber = yield* start(Stream.runCollect(Stream.fromQueue(queue)))
      for (let item = 1; item <= 9; item++) {
        yield* Queue.offer(queue, item)
        yield* Effect.yieldNow({ priority: 1 })
      }
      yield* Queue.shutdown(queue)
      expect(Chunk.toReadonlyArray(yield* Fiber.join(fiber))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    }))

  it.effect("gives an item to a consumer that waits, and each only to one", () =>
    Effect.gen(function*() {
      const queue = yield* Backpressure.queue<number>(policy, { capacity: 1 })
      const fibers = yield* Effect.forEach([1, 2, 3], () => start(Queue.take(queue)))
      expect(yield* Queue.size(queue)).toBe(-3)
      yield* Queue.offerAll(queue, [1, 2, 3])
      expect(yield* Effect.forEach(fibers, Fiber.join)).toEqual([1, 2, 3])
    }))

  it.effect("reports what is left at the shutdown once, and takes nothing more", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const queue = yield* Backpressure.queue<number>(policy, {
        capacity: 3,
        onDrop: (item, reason) => dropped.push([item, reason])
      })
      yield* Queue.offerAll(queue, [1, 2])
      yield* Queue.shutdown(queue)
      yield* Queue.shutdown(queue)
      expect(dropped).toEqual([[1, "shutdown"], [2, "shutdown"]])
      expect(Exit.isInterrupted(yield* Effect.exit(Queue.offer(queue, 3)))).toBe(true)
      expect(Queue.unsafeOffer(queue, 3)).toBe(false)
    }))
})

describe("Queue.offer on a full Effect Queue", () => {
  const full = (policy: Backpressure.Policy<number>, onDrop?: (item: number, reason: string) => void) =>
    Effect.tap(Backpressure.queue<number>(policy, { capacity: 2, onDrop }), (queue) => Queue.offerAll(queue, [1, 2]))

  it.effect("answers false under reject, and offerAll takes a prefix", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.reject)
      expect(yield* Queue.offer(queue, 3)).toBe(false)
      yield* Queue.take(queue)
      expect(yield* Queue.offerAll(queue, [4, 5])).toBe(false)
      expect(Chunk.toReadonlyArray(yield* Queue.takeAll(queue))).toEqual([2, 4])
    }))

  it.effect("answers false under dropNewest, and onDrop says what was dropped", () =>
    Effect.gen(function*() {
      const dropped: Array<number> = []
      const queue = yield* full(Backpressure.dropNewest, (item) => dropped.push(item))
      expect(yield* Queue.offer(queue, 3)).toBe(false)
      expect(yield* Queue.offerAll(queue, [4, 5])).toBe(false)
      expect(dropped).toEqual([3, 4, 5])
    }))

  it.effect("answers true under dropOldest, and onDrop says what was dropped", () =>
    Effect.gen(function*() {
      const dropped: Array<number> = []
      const queue = yield* full(Backpressure.dropOldest, (item) => dropped.push(item))
      expect(yield* Queue.offer(queue, 3)).toBe(true)
      expect(yield* Queue.offerAll(queue, [4, 5])).toBe(true)
      expect(dropped).toEqual([1, 2, 3])
    }))

  it.effect("waits under suspend, first come first served", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.suspend())
      const one = yield* start(Queue.offer(queue, 3))
      const more = yield* start(Queue.offerAll(queue, [4, 5]))
      expect(yield* Queue.size(queue)).toBe(4)
      expect(Queue.unsafeOffer(queue, 6)).toBe(false)
      expect(Chunk.toReadonlyArray(yield* Queue.takeN(queue, 5))).toEqual([1, 2, 3, 4, 5])
      expect([yield* Fiber.join(one), yield* Fiber.join(more)]).toEqual([true, true])
    }))

  it.effect("answers false when the timeout of suspend is over, and the item is not in", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.suspend({ timeout: "10 millis" }))
      const fiber = yield* start(Queue.offer(queue, 3))
      yield* TestClock.adjust("9 millis")
      expect(fiber.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(fiber)).toBe(false)
      expect(Chunk.toReadonlyArray(yield* Queue.takeAll(queue))).toEqual([1, 2])
      expect(yield* Queue.size(queue)).toBe(0)
    }))

  it.effect("is interrupted by the shutdown where it waits, as in Effect's own queues", () =>
    Effect.gen(function*() {
      const dropped: Array<number> = []
      const queue = yield* full(Backpressure.suspend(), (item) => dropped.push(item))
      const fiber = yield* start(Queue.offer(queue, 3))
      yield* Queue.shutdown(queue)
      expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(true)
      expect(dropped).toEqual([1, 2])
    }))

  it.effect("leaves nothing behind when it is interrupted", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.suspend())
      const fiber = yield* start(Queue.offerAll(queue, [3, 4]))
      yield* Fiber.interrupt(fiber)
      expect(yield* Queue.size(queue)).toBe(2)
      expect(Chunk.toReadonlyArray(yield* Queue.takeAll(queue))).toEqual([1, 2])
    }))

  it.effect("an older value that waits does not overwrite a newer one", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((item: Entry) => item.key, { whenFull: Backpressure.suspend() })
      const queue = yield* Backpressure.queue<Entry>(policy, { capacity: 1 })
      yield* Queue.offer(queue, { key: "a", value: 0 })
      for (const [key, value] of [["k", 0], ["b", 0], ["k", 1]] as const) {
        yield* start(Queue.offer(queue, { key, value }))
      }
      yield* Queue.take(queue)
      expect(yield* Queue.offer(queue, { key: "k", value: 2 })).toBe(true)
      expect(Chunk.toReadonlyArray(yield* Queue.takeN(queue, 2))).toEqual([{ key: "k", value: 2 }, {
        key: "b",
        value: 0
      }])
    }))
})

describe("an impossible weight on an Effect Queue", () => {
  const weighed: ReadonlyArray<Backpressure.Policy<number>> = [
    Backpressure.suspend(),
    Backpressure.suspend({ timeout: "1 second" }),
    Backpressure.reject,
    Backpressure.dropNewest,
    Backpressure.dropOldest
  ]

  describe.each(weighed)("under $_tag", (policy) => {
    it.effect.each([0, -1, 1.5, Number.NaN, Infinity, 4])(
      "of %f is answered false, and nothing is dropped for it",
      (bad) =>
        Effect.gen(function*() {
          const dropped: Array<number> = []
          const queue = yield* Backpressure.queue<number>(policy, {
            capacity: 3,
            weigh: (item) => item,
            onDrop: (item) => dropped.push(item)
          })
          expect(yield* Queue.offer(queue, bad)).toBe(false)
          yield* Queue.offer(queue, 2)
          expect(Queue.unsafeOffer(queue, bad)).toBe(false)
          expect(yield* Queue.offer(queue, bad)).toBe(false)
          expect(yield* Queue.offerAll(queue, [bad])).toBe(false)
          expect(yield* Queue.offer(queue, 1)).toBe(true)
          expect(dropped).toEqual([])
          expect(Chunk.toReadonlyArray(yield* Queue.takeAll(queue))).toEqual([2, 1])
        })
    )
  })
})

import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { Clock, Effect, Fiber, TestClock } from "effect"
import { accounted, failing, Sink } from "./support/sink.ts"

const range = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i + 1)

const makeQueue = <A>(sink: Sink<A>, options?: Partial<WriteBehind.Options<A, unknown, never>>) =>
  WriteBehind.make<A, unknown, never>({ name: "test", capacity: 100, flush: sink.flush, ...options })

const keyOf = ([key]: readonly [string, number]) => key

/** Lets every fiber run, without moving the clock. */
const settle = TestClock.adjust(0)

describe("when a batch is due", () => {
  it.scoped("flushes exactly batchSize items, at the offer that makes them so many", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 3 })
      yield* queue.offerAll([1, 2])
      yield* settle
      expect(sink.items).toEqual([])
      yield* queue.offer(3)
      yield* settle
      expect(sink.items).toEqual([[1, 2, 3]])
      expect(sink.triggers).toEqual(["size"])
    }))

  it.scoped("flushes a partial batch when the interval after its first item is over, once", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 3 })
      yield* TestClock.adjust("10 seconds")
      yield* queue.offer(1)
      yield* TestClock.adjust("600 millis")
      yield* queue.offer(2)
      yield* TestClock.adjust("399 millis")
      expect(sink.items).toEqual([])
      yield* TestClock.adjust("1 millis")
      expect(sink.items).toEqual([[1, 2]])
      expect(sink.attempts[0]).toMatchObject({ trigger: "linger", attempt: 1, openedAt: 10_000, oldestAt: 10_000 })
      yield* TestClock.adjust("1 hour")
      expect(sink.items).toEqual([[1, 2]])
    }))

  it.scoped("starts the interval anew for each batch, from its own first item", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 2 })
      yield* queue.offer(1)
      yield* TestClock.adjust("900 millis")
      yield* queue.offer(2)
      yield* settle
      yield* TestClock.adjust("50 millis")
      yield* queue.offer(3)
      yield* TestClock.adjust("999 millis")
      expect(sink.items).toEqual([[1, 2]])
      yield* TestClock.adjust("1 millis")
      expect(sink.items).toEqual([[1, 2], [3]])
    }))

  it.scoped("counts the interval of what a full batch leaves behind from when that came in", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 2 })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("500 millis")
      yield* queue.offer(3)
      yield* TestClock.adjust("700 millis")
      yield* gate.open
      yield* TestClock.adjust("299 millis")
      expect(sink.items).toEqual([[1, 2]])
      yield* TestClock.adjust("1 millis")
      expect(sink.items).toEqual([[1, 2], [3]])
      expect(sink.attempts[1]).toMatchObject({ openedAt: 500, oldestAt: 500 })
    }))

  it.scoped("never calls flush for nothing", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink)
      yield* queue.offerAll([])
      yield* TestClock.adjust("1 day")
      expect(yield* queue.flushNow).toEqual({ settled: 0, dropped: 0 })
      expect(sink.attempts).toEqual([])
    }))

  it.scoped("flushes once when size and interval are reached in the same instant", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 2 })
      yield* queue.offer(1)
      yield* Effect.fork(Effect.zipRight(Effect.sleep("1 second"), queue.offer(2)))
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      expect(sink.items.flat()).toEqual([1, 2])
      expect(yield* queue.metrics).toMatchObject({ settled: 2, held: 0 })
      expect(sink.items.every((items) => items.length > 0)).toBe(true)
    }))

  it.scoped("makes no batch larger than batchSize, however much waits", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 4 })
      yield* queue.offerAll(range(11))
      yield* TestClock.adjust("1 second")
      expect(sink.items).toEqual([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]])
      expect(sink.triggers).toEqual(["size", "size", "linger"])
    }))

  it.scoped("flushes when an offer waits for room, although there are fewer than batchSize items", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { capacity: 2, policy: Backpressure.suspend() })
      yield* queue.offerAll([1, 2, 3])
      yield* settle
      expect(sink.items).toEqual([[1, 2]])
    }))

  it.scoped("flushes by size and by hand alone when the interval is zero", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 2, flushInterval: 0 })
      yield* queue.offer(1)
      yield* TestClock.adjust("1 day")
      expect(sink.items).toEqual([])
      expect(yield* queue.flushNow).toEqual({ settled: 1, dropped: 0 })
      expect(sink.triggers).toEqual(["manual"])
    }))

  it.scoped("is not put off by items that evict others", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { capacity: 2 })
      for (const item of range(10)) {
        yield* queue.offer(item)
        yield* TestClock.adjust("100 millis")
      }
      expect(sink.items).toEqual([[9, 10]])
    }))
})

describe("policies, when the queue is full", () => {
  const full = (policy: Backpressure.Policy<number>) =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const dropped: Array<readonly [number, string]> = []
      const queue = yield* makeQueue(sink, {
        capacity: 2,
        policy,
        onDrop: (item, reason) => dropped.push([item, reason])
      })
      return { sink, dropped, queue }
    })

  it.scoped("dropOldest keeps the last", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink } = yield* full(Backpressure.dropOldest)
      expect(yield* queue.offerAll([1, 2, 3])).toEqual({ accepted: 3, coalesced: 0, dropped: 0 })
      yield* queue.flushNow
      expect(sink.items).toEqual([[2, 3]])
      expect(dropped).toEqual([[1, "drop-oldest"]])
      expect(yield* queue.metrics).toMatchObject({
        offered: 3,
        dropped: 1,
        droppedByReason: { "drop-oldest": 1 },
        settled: 2,
        held: 0
      })
    }))

  it.scoped("dropNewest keeps the first", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink } = yield* full(Backpressure.dropNewest)
      expect(yield* queue.offerAll([1, 2, 3])).toEqual({ accepted: 2, coalesced: 0, dropped: 1 })
      yield* queue.flushNow
      expect(sink.items).toEqual([[1, 2]])
      expect(dropped).toEqual([[3, "drop-newest"]])
    }))

  it.scoped("reject fails with QueueFull, which carries the item", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* full(Backpressure.reject)
      const error = yield* Effect.flip(queue.offerAll([1, 2, 3, 4]))
      expect(error).toMatchObject({ _tag: "QueueFull", queue: "test", item: 3, taken: 2, notTaken: [3, 4] })
      expect(dropped).toEqual([])
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 2, depth: 2, held: 2 })
    }))

  it.scoped("suspend makes offers wait, and resumes them in order", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* full(Backpressure.suspend())
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("1 second")
      yield* queue.offerAll([3, 4])
      const resumed: Array<number> = []
      yield* Effect.forEach([5, 6, 7], (item) =>
        Effect.zipRight(queue.offer(item), Effect.sync(() => resumed.push(item))).pipe(Effect.fork))
      yield* settle
      expect(resumed).toEqual([])
      expect(yield* queue.metrics).toMatchObject({ offered: 7, depth: 2, inFlight: 2, held: 7 })
      yield* gate.open
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      expect(resumed).toEqual([5, 6, 7])
      expect(sink.items.flat()).toEqual([1, 2, 3, 4, 5, 6, 7])
    }))

  it.scoped("an offer that is interrupted while it waits is absent, and the capacity is unchanged", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* full(Backpressure.suspend())
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("1 second")
      yield* queue.offerAll([3, 4])
      const waiting = yield* Effect.fork(queue.offer(5))
      yield* settle
      yield* Fiber.interrupt(waiting)
      expect(yield* queue.metrics).toMatchObject({ offered: 5, refused: 1, held: 4 })
      yield* gate.open
      yield* TestClock.adjust("1 second")
      yield* queue.offerAll([6, 7])
      expect(yield* queue.depth).toBe(2)
      yield* queue.flushNow
      expect(sink.items.flat()).toEqual([1, 2, 3, 4, 6, 7])
    }))

  it.scoped("coalesceByKey keeps the latest of each key, in its place", () =>
    Effect.gen(function*() {
      const sink = new Sink<readonly [string, number]>()
      const queue = yield* makeQueue(sink, { policy: Backpressure.coalesceByKey(keyOf) })
      yield* queue.offerAll([["a", 1], ["b", 1], ["a", 2]])
      yield* queue.flushNow
      expect(sink.items).toEqual([[["a", 2], ["b", 1]]])
      expect(yield* queue.metrics).toMatchObject({ offered: 3, coalesced: 1, settled: 2 })
    }))

  it.scoped("a key that is updated while its batch is in flight and fails: the newer value is written last", () =>
    Effect.gen(function*() {
      const sink = new Sink<readonly [string, number]>()
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => Effect.zipRight(gate.await, Effect.fail("down")))
      const queue = yield* makeQueue(sink, { policy: Backpressure.coalesceByKey(keyOf), batchSize: 1 })
      yield* queue.offer(["a", 1])
      yield* settle
      expect(yield* queue.offer(["a", 2])).toBe("accepted")
      yield* gate.open
      yield* TestClock.adjust("1 second")
      expect(sink.items).toEqual([[["a", 1]], [["a", 1]], [["a", 2]]])
    }))

  it.scoped("weights bound what is held, and return to zero", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { capacity: 10, policy: Backpressure.reject, weigh: (item) => item })
      yield* queue.offerAll([4, 6])
      expect((yield* Effect.flip(queue.offer(1)))._tag).toBe("QueueFull")
      expect(yield* Effect.flip(queue.offer(11))).toMatchObject({ _tag: "InvalidWeight", weight: 11, capacity: 10 })
      yield* queue.flushNow
      yield* queue.offer(10)
      expect(yield* queue.depth).toBe(1)
    }))
})

describe("flushNow", () => {
  it.scoped("waits for what was offered before it, and counts nothing else", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 2 })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1, 2, 3])
      yield* settle
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* settle
      yield* queue.offerAll([4, 5, 6])
      yield* gate.open
      expect(yield* Fiber.join(flushing)).toEqual({ settled: 3, dropped: 0 })
      yield* settle
      expect(sink.items).toEqual([[1, 2], [3], [4, 5]])
    }))

  it.scoped("counts what is dropped, and honours a backoff", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink)
      for (let i = 0; i < 4; i++) sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2])
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* TestClock.adjust("699 millis")
      expect(yield* Fiber.poll(flushing)).toMatchObject({ _tag: "None" })
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(flushing)).toEqual({ settled: 0, dropped: 2 })
    }))

  it.scoped("sums up all shards, and counts evictions", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { shards: 4, shardBy: (item) => item, batchSize: 1, capacity: 2 })
      const gate = yield* Effect.makeLatch()
      for (let i = 0; i < 4; i++) sink.script.push(() => gate.await)
      yield* queue.offerAll(range(8))
      yield* settle
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* settle
      const before = yield* queue.metrics
      yield* queue.offerAll(range(40))
      yield* gate.open
      const flushed = yield* Fiber.join(flushing)
      expect(flushed.settled + flushed.dropped).toBe(before.held)
      expect(flushed.dropped).toBeGreaterThan(0)
    }))

  it.scoped("counts offers that wait for room as offered before it", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { capacity: 1, batchSize: 1, policy: Backpressure.suspend() })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1])
      yield* settle
      yield* queue.offer(2)
      yield* Effect.fork(queue.offer(3))
      yield* settle
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* settle
      yield* gate.open
      expect(yield* Fiber.join(flushing)).toEqual({ settled: 3, dropped: 0 })
    }))
})

describe("flushNow that is interrupted", () => {
  it.scoped("ends only its own waiting, and hurries nothing any more", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink, { batchSize: 2 })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1, 2, 3])
      yield* settle
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* settle
      yield* Fiber.interrupt(flushing)
      yield* gate.open
      yield* TestClock.adjust("999 millis")
      expect(sink.items).toEqual([[1, 2]])
      yield* TestClock.adjust("1 millis")
      expect(sink.triggers).toEqual(["size", "linger"])
    }))
})

describe("awaitIdle", () => {
  it.scoped("waits until nothing is held, and hurries nothing", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const queue = yield* makeQueue(sink)
      yield* queue.awaitIdle
      yield* queue.offer(1)
      const idle = yield* Effect.fork(queue.awaitIdle)
      yield* TestClock.adjust("999 millis")
      expect(yield* Fiber.poll(idle)).toMatchObject({ _tag: "None" })
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(idle)
      expect(yield* queue.inFlight).toBe(0)
    }))
})

describe("shards", () => {
  it.scoped("items of one key are flushed in the order offered, also across retries", () =>
    Effect.gen(function*() {
      const written: Array<readonly [string, number]> = []
      const queue = yield* WriteBehind.make<readonly [string, number], string, never>({
        name: "test",
        capacity: 100,
        batchSize: 3,
        shards: 4,
        shardBy: ([key]) => key,
        flush: (batch) =>
          Effect.suspend(() => {
            if (batch.attempt < 1 + batch.items[0][1] % 4) return Effect.fail("down")
            written.push(...batch.items)
            return Effect.void
          })
      })
      for (const n of range(12)) yield* queue.offerAll([["a", n], ["b", n], ["c", n], ["d", n]])
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* TestClock.adjust("10 seconds")
      expect((yield* Fiber.join(flushing)).settled).toBe(48)
      for (const key of ["a", "b", "c", "d"]) {
        expect(written.filter(([k]) => k === key).map(([, n]) => n)).toEqual(range(12))
      }
    }))

  it.scoped("a shard that hangs holds up no other", () =>
    Effect.gen(function*() {
      const written: Array<number> = []
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "test",
        capacity: 100,
        batchSize: 1,
        shards: 2,
        // "a" and "c" are in different shards.
        shardBy: (item) => item % 2 === 0 ? "a" : "c",
        drainTimeout: 0,
        flush: ({ items }) => items[0] % 2 === 0 ? Effect.never : Effect.sync(() => void written.push(...items))
      })
      yield* queue.offerAll(range(6))
      yield* TestClock.adjust("1 second")
      expect(written).toEqual([1, 3, 5])
    }))

  it.scoped("with coalesceByKey the policy's key finds the shard", () =>
    Effect.gen(function*() {
      const sink = new Sink<readonly [string, number]>()
      const queue = yield* makeQueue(sink, { shards: 8, policy: Backpressure.coalesceByKey(keyOf) })
      yield* queue.offerAll(range(50).flatMap((n) => [["a", n], ["b", n]] as const))
      expect(yield* queue.metrics).toMatchObject({ offered: 100, coalesced: 98, depth: 2 })
    }))

  it.scoped("capacity is for each shard", () =>
    Effect.gen(function*() {
      const sink = new Sink<string>()
      const queue = yield* makeQueue(sink, {
        shards: 2,
        capacity: 1,
        shardBy: (item) => item,
        policy: Backpressure.reject
      })
      // "a" and "c" are in different shards.
      yield* queue.offerAll(["a", "c"])
      expect((yield* Effect.flip(queue.offer("a")))._tag).toBe("QueueFull")
      const metrics = yield* queue.metrics
      expect(metrics.offered).toBe(accounted(metrics))
    }))
})

describe("flushNow under a policy that drops what is not the oldest", () => {
  /** Drops the item that came second to last. */
  const dropMiddle: Backpressure.Policy<unknown> = {
    _tag: "dropMiddle",
    pair: <A>(options: Backpressure.PairOptions<A>) => {
      const items: Array<A> = []
      const { backing, strategy } = Backpressure.reject.pair<A>(options)
      backing.length = () => items.length
      backing.poll = (otherwise) => items.length === 0 ? otherwise : items.shift()!
      backing.pollUpTo = (limit) => items.splice(0, limit)
      backing.offer = (item) => {
        items.push(item)
        if (items.length > options.capacity) options.report.dropped(items.splice(-2, 1)[0], "middle")
        return true
      }
      return { backing, strategy }
    }
  }

  it.scoped("does not return before everything offered before it is settled or dropped", () =>
    Effect.gen(function*() {
      const sink = new Sink<string>()
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      const queue = yield* makeQueue(sink, { capacity: 3, batchSize: 3, flushInterval: 0, policy: dropMiddle })
      yield* queue.offer("P")
      const first = yield* Effect.fork(queue.flushNow)
      yield* settle
      yield* queue.offerAll(["A", "B"])
      const second = yield* Effect.fork(queue.flushNow)
      yield* settle
      yield* queue.offerAll(["C", "D"])
      yield* gate.open
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      expect(sink.items.flat().slice(0, 3)).toEqual(["P", "A", "B"])
      expect(yield* queue.metrics).toMatchObject({ offered: 5, dropped: 1 })
    }))
})

describe("a wall clock that jumps back", () => {
  it.scoped("does not put off a batch that is open", () =>
    Effect.gen(function*() {
      const real = yield* Effect.clock
      let jump = 0
      const jumping: Clock.Clock = {
        [Clock.ClockTypeId]: Clock.ClockTypeId,
        unsafeCurrentTimeMillis: () => real.unsafeCurrentTimeMillis() + jump,
        currentTimeMillis: Effect.map(real.currentTimeMillis, (millis) => millis + jump),
        unsafeCurrentTimeNanos: () => real.unsafeCurrentTimeNanos(),
        currentTimeNanos: real.currentTimeNanos,
        sleep: (duration) => real.sleep(duration)
      }
      const sink = new Sink<number>()
      const queue = yield* Effect.withClock(makeQueue(sink), jumping)
      yield* TestClock.adjust("2 hours")
      yield* queue.offer(1)
      yield* TestClock.adjust("500 millis")
      jump = -3_600_000
      yield* TestClock.adjust("500 millis")
      expect(sink.items).toEqual([[1]])
    }))
})

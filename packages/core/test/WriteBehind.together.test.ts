/**
 * Several items that are offered together: all of them or none, and waited for until each has ended.
 */
import { describe, expect, it } from "@effect/vitest"
import { BackingQueue, Backpressure, Batch, Sharding, Strategy, WriteBehind } from "@sluice/core"
import {
  Cause,
  Effect,
  Either,
  Exit,
  Fiber,
  Logger,
  LogLevel,
  Random,
  Schedule,
  Scope,
  TestClock,
  type Tracer
} from "effect"
import { accounted, failing, failingSome, Sink } from "./support/sink.ts"
import { recording } from "./support/tracing.ts"
import { atLeast, forSeeds } from "./support/campaigns.ts"

/** Told apart by identity, as `offerSettled` wants it. */
interface Item {
  readonly key: string
  readonly value: number
}

const of = (text: string): ReadonlyArray<Item> =>
  Array.from(text.split(" "), (each) => ({ key: each[0], value: Number(each.slice(1)) }))

const keyOf = ({ key }: Item) => key
const byKey = (options?: Parameters<typeof Backpressure.coalesceByKey<Item>>[1]) =>
  Backpressure.coalesceByKey(keyOf, options)

/** A queue that flushes only by hand, in a scope of its own, which the test closes. */
const setup = <A = number>(options?: Partial<WriteBehind.Options<NoInfer<A>, unknown, never>>) =>
  Effect.gen(function*() {
    const sink = new Sink<A>()
    const dropped: Array<readonly [A, string]> = []
    const scope = yield* Scope.make()
    const queue = yield* WriteBehind.make<A, unknown, never>({
      name: "test",
      capacity: 10,
      flushInterval: 0,
      flush: sink.flush,
      onDrop: (item, reason) => dropped.push([item, reason]),
      ...options
    }).pipe(Scope.extend(scope))
    return { close: Scope.close(scope, Exit.void), dropped, queue, sink }
  })

/** Lets everything happen that needs no time. */
const settleDown = TestClock.adjust(0)

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** Whether anything of those who wait, or have waited, is remembered. */
const isAnybodyAwaited = (queue: WriteBehind.WriteBehind<any>): boolean => (queue as any).tally.settlements.areAwaited

const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.zipLeft(Effect.fork(effect), settleDown)

/** What the fiber has answered, if it has. */
const answerOf = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): A | undefined => {
  const exit = fiber.unsafePoll()
  return exit !== null && Exit.isSuccess(exit) ? exit.value : undefined
}

/** Keeps the items of the highest value: what is evicted is the lowest, be it the new one. */
const keepHighest: Backpressure.Policy<number> = {
  _tag: "keepHighest",
  pair: <B extends number>(options: Backpressure.PairOptions<B>): Backpressure.Pair<B> => {
    const items: Array<B> = []
    const backing: BackingQueue.BackingQueue<B> = {
      capacity: () => options.capacity,
      length: () => items.length,
      poll: (otherwise) => items.length === 0 ? otherwise : items.shift()!,
      pollUpTo: (limit) => items.splice(0, limit),
      offer: (item) => {
        items.push(item)
        if (items.length <= options.capacity) return true
        const lowest = items.reduce((a, b) => b <= a ? b : a)
        items.splice(items.indexOf(lowest), 1)
        options.report.dropped(lowest, "too-low")
        return lowest !== item
      },
      offerAll: (offered) => Array.from(offered).filter((item) => !backing.offer(item))
    }
    return { backing, strategy: Strategy.answering({ backing, report: options.report }) }
  }
}

/** Refuses odd numbers, whatever room there is. */
const onlyEven: Backpressure.Policy<number> = {
  _tag: "onlyEven",
  pair: (options) => {
    const pair = Backpressure.reject.pair(options)
    const offer = pair.backing.offer.bind(pair.backing)
    pair.backing.offer = (item) => item % 2 === 0 && offer(item)
    return pair
  }
}

describe("offerAllOrNone", () => {
  describe.each([1, 2, 3])("with capacity %i", (capacity) => {
    it.effect.each([Backpressure.suspend(), Backpressure.suspend({ timeout: "1 second" }), Backpressure.reject])(
      "under $_tag takes all where there is room for all, and none where there is not",
      (policy) =>
        Effect.gen(function*() {
          for (const held of range(0, capacity + 1)) {
            for (const count of range(1, capacity + 3)) {
              const { close, dropped, queue, sink } = yield* setup({ capacity, policy })
              const before = range(0, held)
              const items = range(10, 10 + count)
              yield* queue.offerAll(before)
              const result = yield* Effect.either(queue.offerAllOrNone(items))
              const isIn = held + count <= capacity
              if (isIn) expect(result).toMatchObject({ right: { accepted: count, coalesced: 0, dropped: 0 } })
              else {
                expect(result).toMatchObject({
                  left: {
                    _tag: count > capacity ? "TooManyItems" : "QueueFull",
                    queue: "test",
                    item: 10,
                    taken: 0,
                    notTaken: items
                  }
                })
              }
              const metrics = yield* queue.metrics
              expect(metrics).toMatchObject({
                offered: held + count,
                refused: isIn ? 0 : count,
                held: isIn ? held + count : held,
                depth: isIn ? held + count : held
              })
              expect(accounted(metrics)).toBe(metrics.offered)
              yield* close
              expect(sink.items.flat()).toEqual(isIn ? [...before, ...items] : before)
              expect(dropped).toEqual([])
            }
          }
        })
    )

    it.effect("under dropNewest takes the call, and drops those of its items that do not fit", () =>
      Effect.gen(function*() {
        const { close, dropped, queue, sink } = yield* setup({ capacity, policy: Backpressure.dropNewest })
        yield* queue.offer(0)
        const items = range(10, 10 + capacity + 1)
        expect(yield* queue.offerAllOrNone(items)).toEqual({ accepted: capacity - 1, coalesced: 0, dropped: 2 })
        expect(dropped).toEqual(items.slice(capacity - 1).map((item) => [item, "drop-newest"]))
        const metrics = yield* queue.metrics
        expect(metrics).toMatchObject({ offered: capacity + 2, refused: 0, dropped: 2, held: capacity })
        yield* close
        expect(sink.items.flat()).toEqual([0, ...items.slice(0, capacity - 1)])
      }))

    it.effect("under dropOldest takes them all, and drops the oldest, be they its own", () =>
      Effect.gen(function*() {
        const { close, dropped, queue, sink } = yield* setup({ capacity, policy: Backpressure.dropOldest })
        yield* queue.offer(0)
        const items = range(10, 10 + capacity + 1)
        expect(yield* queue.offerAllOrNone(items)).toEqual({ accepted: capacity + 1, coalesced: 0, dropped: 0 })
        expect(dropped).toEqual([[0, "drop-oldest"], [10, "drop-oldest"]])
        const metrics = yield* queue.metrics
        expect(metrics).toMatchObject({ offered: capacity + 2, refused: 0, dropped: 2, held: capacity })
        yield* close
        expect(sink.items.flat()).toEqual(items.slice(1))
      }))
  })

  it.effect("says in the error what the limit is, and what to do about it", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup({ capacity: 2, policy: Backpressure.suspend() })
      const error = yield* Effect.flip(queue.offerAllOrNone([1, 2, 3]))
      expect(error).toMatchObject({ _tag: "TooManyItems", capacity: 2, item: 1, taken: 0, notTaken: [1, 2, 3] })
      expect(error.message).toBe("queue \"test\" can never take 3 items at once, but at most 2")
    }))

  it.effect.each([
    Backpressure.suspend(),
    Backpressure.reject,
    Backpressure.dropNewest,
    Backpressure.dropOldest,
    Backpressure.coalesceByKey((n: number) => n, { whenFull: Backpressure.reject })
  ])(
    "takes no items at all under $_tag, also where the queue is full, and counts nothing",
    (policy) =>
      Effect.gen(function*() {
        const { dropped, queue, sink } = yield* setup({ capacity: 1, policy })
        yield* queue.offer(1)
        expect(yield* queue.offerAllOrNone([])).toEqual({ accepted: 0, coalesced: 0, dropped: 0 })
        expect(yield* queue.metrics).toMatchObject({ offered: 1, refused: 0, held: 1, dropped: 0 })
        expect([dropped, sink.items]).toEqual([[], []])
      })
  )

  it.effect("offers anew each time that its effect is run, and not before", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup({ capacity: 3, policy: Backpressure.reject })
      const offer = queue.offerAllOrNone([1, 2])
      expect((yield* queue.metrics).offered).toBe(0)
      yield* offer
      expect((yield* Effect.flip(offer))._tag).toBe("QueueFull")
      yield* queue.flushNow
      yield* offer
      expect(yield* queue.metrics).toMatchObject({ offered: 6, refused: 2, settled: 2, held: 2 })
    }))

  it.effect("makes a batch due like every other offer", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup({ batchSize: 2, flushInterval: "1 second" })
      yield* queue.offerAllOrNone([1, 2, 3])
      yield* settleDown
      expect(sink.items).toEqual([[1, 2]])
      yield* TestClock.adjust("1 second")
      expect(sink.items).toEqual([[1, 2], [3]])
      expect(sink.triggers).toEqual(["size", "linger"])
    }))

  describe("with weights", () => {
    const weigh = (n: number) => n

    it.effect.each([Backpressure.suspend(), Backpressure.reject])(
      "under $_tag adds them up, and tells what is too much now from what always will be",
      (policy) =>
        Effect.gen(function*() {
          const { close, queue, sink } = yield* setup({ capacity: 6, policy, weigh })
          yield* queue.offer(2)
          expect((yield* Effect.flip(queue.offerAllOrNone([1, 1, 3])))._tag).toBe("QueueFull")
          expect((yield* Effect.flip(queue.offerAllOrNone([3, 3])))._tag).toBe("QueueFull")
          expect(yield* Effect.flip(queue.offerAllOrNone([3, 3, 1]))).toMatchObject({
            _tag: "TooManyItems",
            capacity: 6
          })
          expect(yield* queue.offerAllOrNone([1, 3])).toMatchObject({ accepted: 2 })
          expect(yield* queue.metrics).toMatchObject({ offered: 11, refused: 8, held: 3 })
          yield* close
          expect(sink.items.flat()).toEqual([2, 1, 3])
        })
    )

    it.effect.each([
      Backpressure.suspend(),
      Backpressure.reject,
      Backpressure.dropNewest,
      Backpressure.dropOldest
    ])(
      "under $_tag refuses them all where one has a weight that is none, and drops nothing for them",
      (policy) =>
        Effect.gen(function*() {
          for (const invalid of [0, -1, 1.5, NaN, Infinity, 4]) {
            const { close, dropped, queue, sink } = yield* setup({ capacity: 3, policy, weigh })
            yield* queue.offer(2)
            expect(yield* Effect.flip(queue.offerAllOrNone([1, invalid, 2]))).toMatchObject({
              _tag: "InvalidWeight",
              item: invalid,
              weight: invalid,
              taken: 0,
              notTaken: [1, invalid, 2]
            })
            expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 3, dropped: 0, held: 1 })
            yield* close
            expect(sink.items).toEqual([[2]])
            expect(dropped).toEqual([])
          }
        })
    )

    it.effect("under dropNewest takes a lighter item behind one that does not fit", () =>
      Effect.gen(function*() {
        const { close, queue, sink } = yield* setup({ capacity: 3, policy: Backpressure.dropNewest, weigh })
        expect(yield* queue.offerAllOrNone([2, 3, 1])).toEqual({ accepted: 2, coalesced: 0, dropped: 1 })
        yield* close
        expect(sink.items).toEqual([[2, 1]])
      }))
  })

  describe("under coalesceByKey", () => {
    it.effect.each([Backpressure.suspend(), Backpressure.reject])(
      "and $_tag when full needs room for each new key once, and none for a key that waits",
      (whenFull) =>
        Effect.gen(function*() {
          const { close, queue, sink } = yield* setup<Item>({ capacity: 3, policy: byKey({ whenFull }) })
          const [a0, b1, b2, a3, c4, c5, a6] = of("a0 b1 b2 a3 c4 c5 a6")
          yield* queue.offer(a0)
          expect(yield* queue.offerAllOrNone([b1, b2, a3])).toEqual({ accepted: 1, coalesced: 2, dropped: 0 })
          expect(yield* queue.offerAllOrNone([c4, c5, a6])).toEqual({ accepted: 1, coalesced: 2, dropped: 0 })
          const metrics = yield* queue.metrics
          expect(metrics).toMatchObject({ offered: 7, refused: 0, coalesced: 4, dropped: 0, held: 3 })
          yield* close
          expect(sink.items).toEqual([[a6, b2, c5]])
          expect(sink.items[0][0]).toBe(a6)
        })
    )

    it.effect.each([Backpressure.suspend(), Backpressure.reject])(
      "and $_tag when full replaces nothing where there is no room for a new key",
      (whenFull) =>
        Effect.gen(function*() {
          const { close, queue, sink } = yield* setup<Item>({ capacity: 2, policy: byKey({ whenFull }) })
          const [a0, b0, a1, c1] = of("a0 b0 a1 c1")
          yield* queue.offerAll([a0, b0])
          expect(yield* Effect.flip(queue.offerAllOrNone([a1, c1]))).toMatchObject({
            _tag: "QueueFull",
            item: a1,
            notTaken: [a1, c1]
          })
          expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 2, coalesced: 0, held: 2 })
          // Keys that wait need no room.
          expect(yield* queue.offerAllOrNone([a1])).toEqual({ accepted: 0, coalesced: 1, dropped: 0 })
          yield* close
          expect(sink.items).toEqual([[a1, b0]])
        })
    )

    it.effect.each([Backpressure.suspend(), Backpressure.reject])(
      "and $_tag when full can never take more keys than its capacity, and any number of items of those",
      (whenFull) =>
        Effect.gen(function*() {
          const { queue } = yield* setup<Item>({ capacity: 2, policy: byKey({ whenFull }) })
          expect(yield* Effect.flip(queue.offerAllOrNone(of("a0 b0 c0")))).toMatchObject({
            _tag: "TooManyItems",
            capacity: 2
          })
          expect(yield* queue.offerAllOrNone(of("a0 b0 a1 b1 a2"))).toEqual({ accepted: 2, coalesced: 3, dropped: 0 })
          expect(yield* queue.metrics).toMatchObject({ offered: 8, refused: 3, coalesced: 3, held: 2 })
        })
    )

    it.effect("and dropNewest when full drops the new keys of the call that do not fit", () =>
      Effect.gen(function*() {
        const policy = byKey({ whenFull: Backpressure.dropNewest })
        const { close, dropped, queue, sink } = yield* setup<Item>({ capacity: 2, policy })
        const [a0, a1, b1, c1, b2, c2] = of("a0 a1 b1 c1 b2 c2")
        yield* queue.offer(a0)
        expect(yield* queue.offerAllOrNone([a1, b1, c1, b2, c2])).toEqual({ accepted: 1, coalesced: 2, dropped: 2 })
        expect(dropped).toEqual([[c1, "drop-newest"], [c2, "drop-newest"]])
        yield* close
        expect(sink.items).toEqual([[a1, b2]])
      }))

    it.effect("and dropOldest when full drops the oldest keys, be they of the call", () =>
      Effect.gen(function*() {
        const { close, dropped, queue, sink } = yield* setup<Item>({ capacity: 2, policy: byKey() })
        const [a0, a1, b1, c1, d1] = of("a0 a1 b1 c1 d1")
        yield* queue.offer(a0)
        expect(yield* queue.offerAllOrNone([a1, b1, c1, d1])).toEqual({ accepted: 3, coalesced: 1, dropped: 0 })
        expect(dropped).toEqual([[a1, "drop-oldest"], [b1, "drop-oldest"]])
        expect(yield* queue.metrics).toMatchObject({ offered: 5, coalesced: 1, dropped: 2, held: 2 })
        yield* close
        expect(sink.items).toEqual([[c1, d1]])
      }))

    it.effect("forgets the keys that have been flushed, and those that have been dropped", () =>
      Effect.gen(function*() {
        const policy = byKey({ whenFull: Backpressure.reject })
        const { queue } = yield* setup<Item>({ capacity: 2, policy })
        yield* queue.offerAllOrNone(of("a0 b0"))
        yield* queue.flushNow
        expect(yield* queue.offerAllOrNone(of("a1"))).toEqual({ accepted: 1, coalesced: 0, dropped: 0 })
        expect((yield* Effect.flip(queue.offerAllOrNone(of("b1 c1"))))._tag).toBe("QueueFull")
      }))
  })

  describe("over several shards", () => {
    const shards = 3
    /** The first keys that belong to each shard. */
    const keys = range(0, shards).map((shard) => range(0, 100).filter((key) => Sharding.shardOf(key, shards) === shard))

    it.effect.each([Backpressure.suspend(), Backpressure.reject])(
      "under $_tag takes nothing into any shard where one of them has no room",
      (policy) =>
        Effect.gen(function*() {
          for (const full of range(0, shards)) {
            const { close, queue, sink } = yield* setup({ capacity: 2, shards, shardBy: (n) => n, policy })
            const held = keys[full].slice(0, 1)
            yield* queue.offerAll(held)
            const items = [...keys[0].slice(1, 3), ...keys[1].slice(1, 3), ...keys[2].slice(1, 3)]
            expect(yield* Effect.flip(queue.offerAllOrNone(items))).toMatchObject({
              _tag: "QueueFull",
              taken: 0,
              notTaken: items
            })
            const metrics = yield* queue.metrics
            expect(metrics).toMatchObject({ offered: 7, refused: 6, depth: 1, held: 1 })
            const fitting = items.filter((item) => item !== keys[full][2])
            expect(yield* queue.offerAllOrNone(fitting)).toMatchObject({ accepted: 5 })
            expect(accounted(yield* queue.metrics)).toBe(12)
            yield* close
            expect(sink.items.flat().sort((a, b) => a - b)).toEqual([...held, ...fitting].sort((a, b) => a - b))
          }
        })
    )

    it.effect("can never take more for one shard than that holds, whatever room the others have", () =>
      Effect.gen(function*() {
        const { queue, sink, close } = yield* setup({
          capacity: 2,
          shards,
          shardBy: (n) => n,
          policy: Backpressure.reject
        })
        const items = [...keys[0].slice(0, 1), ...keys[1].slice(0, 3)]
        expect(yield* Effect.flip(queue.offerAllOrNone(items))).toMatchObject({
          _tag: "TooManyItems",
          capacity: 2,
          taken: 0,
          notTaken: items
        })
        expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 4, held: 0 })
        yield* close
        expect(sink.items).toEqual([])
      }))

    it.effect("refuses all of them for one weight that is none, in whichever shard", () =>
      Effect.gen(function*() {
        const { queue } = yield* setup({
          capacity: 5,
          shards,
          shardBy: (n) => n,
          weigh: (n) => n === keys[2][0] ? 6 : 1,
          policy: Backpressure.dropOldest
        })
        const items = [keys[0][0], keys[1][0], keys[2][0]]
        expect(yield* Effect.flip(queue.offerAllOrNone(items))).toMatchObject({
          _tag: "InvalidWeight",
          item: keys[2][0],
          weight: 6,
          notTaken: items
        })
        expect(yield* queue.metrics).toMatchObject({ offered: 3, refused: 3, held: 0 })
      }))
  })

  describe("while others wait for room", () => {
    it.effect("under suspend does not overtake them, though it would fit", () =>
      Effect.gen(function*() {
        const gate = yield* Effect.makeLatch()
        const weigh = (n: number) => n < 10 ? 1 : 3
        const { close, queue, sink } = yield* setup({ capacity: 4, policy: Backpressure.suspend(), weigh })
        sink.script.push(() => gate.await)
        yield* queue.offer(0)
        const flushing = yield* start(queue.flushNow)
        yield* queue.offerAll([1, 2])
        const waiting = yield* start(queue.offer(10))
        // There is room for two of them, but somebody waits for that.
        expect((yield* Effect.flip(queue.offerAllOrNone([3])))._tag).toBe("QueueFull")
        expect((yield* Effect.flip(queue.offerAllOrNone([3, 4])))._tag).toBe("QueueFull")
        expect(yield* queue.offerAllOrNone([])).toMatchObject({ accepted: 0 })
        const metrics = yield* queue.metrics
        expect(metrics).toMatchObject({ offered: 7, refused: 3, held: 4, depth: 2 })
        yield* gate.open
        yield* Fiber.join(flushing)
        yield* Fiber.join(waiting)
        yield* queue.flushNow
        expect(yield* queue.offerAllOrNone([3, 4])).toMatchObject({ accepted: 2 })
        yield* close
        expect(sink.items.flat()).toEqual([0, 1, 2, 10, 3, 4])
        expect(accounted(yield* queue.metrics)).toBe(9)
      }))

    it.effect("in one shard takes nothing into another one either", () =>
      Effect.gen(function*() {
        const gate = yield* Effect.makeLatch()
        const [a, b, c] = range(0, 100).filter((key) => Sharding.shardOf(key, 2) === 0)
        const [other] = range(0, 100).filter((key) => Sharding.shardOf(key, 2) === 1)
        const { close, queue, sink } = yield* setup({
          capacity: 4,
          shards: 2,
          shardBy: (n) => n,
          weigh: (n) => n === c ? 3 : 1,
          policy: Backpressure.suspend()
        })
        sink.script.push(() => gate.await)
        yield* queue.offer(a)
        const flushing = yield* start(queue.flushNow)
        yield* queue.offerAll([a, b])
        const waiting = yield* start(queue.offer(c))
        expect(yield* Effect.flip(queue.offerAllOrNone([other, a]))).toMatchObject({ _tag: "QueueFull", taken: 0 })
        expect(yield* queue.metrics).toMatchObject({ offered: 6, refused: 2, depth: 2, held: 4 })
        yield* gate.open
        yield* Fiber.join(flushing)
        yield* Fiber.join(waiting)
        yield* close
        expect(sink.items.flat()).toEqual([a, a, b, c])
      }))

    it.effect("whose offer has given up, takes the room that they waited for", () =>
      Effect.gen(function*() {
        const gate = yield* Effect.makeLatch()
        const weigh = (n: number) => n < 10 ? 1 : 3
        const { close, queue, sink } = yield* setup({ capacity: 4, policy: Backpressure.suspend(), weigh })
        sink.script.push(() => gate.await)
        yield* queue.offer(0)
        const flushing = yield* start(queue.flushNow)
        yield* queue.offerAll([1, 2])
        const waiting = yield* Effect.fork(queue.offer(10))
        yield* Effect.yieldNow()
        expect((yield* Effect.flip(queue.offerAllOrNone([3, 4])))._tag).toBe("QueueFull")
        yield* Fiber.interrupt(waiting)
        expect(yield* queue.offerAllOrNone([3, 4])).toMatchObject({ accepted: 2 })
        yield* gate.open
        yield* Fiber.join(flushing)
        yield* close
        expect(sink.items.flat()).toEqual([0, 1, 2, 3, 4])
        expect(yield* queue.metrics).toMatchObject({ offered: 8, refused: 3, settled: 5, held: 0 })
      }))

    it.effect("under coalesceByKey takes keys that are in at once, and no new ones", () =>
      Effect.gen(function*() {
        const gate = yield* Effect.makeLatch()
        const policy = byKey({ whenFull: Backpressure.suspend() })
        const { close, queue, sink } = yield* setup<Item>({ capacity: 2, batchSize: 2, policy })
        const [z0, y0, a0, b0, c0, a1, b1, a2, d2, c3] = of("z0 y0 a0 b0 c0 a1 b1 a2 d2 c3")
        sink.script.push(() => gate.await)
        yield* queue.offerAll([z0, y0])
        yield* settleDown
        yield* queue.offerAll([a0, b0])
        const waiting = yield* start(queue.offer(c0))
        expect(yield* queue.offerAllOrNone([a1, b1])).toEqual({ accepted: 0, coalesced: 2, dropped: 0 })
        expect((yield* Effect.flip(queue.offerAllOrNone([a2, d2])))._tag).toBe("QueueFull")
        // Its key waits outside: it is not in.
        expect((yield* Effect.flip(queue.offerAllOrNone([c3])))._tag).toBe("QueueFull")
        expect(accounted(yield* queue.metrics)).toBe(10)
        yield* gate.open
        yield* Fiber.join(waiting)
        yield* close
        expect(sink.items).toEqual([[z0, y0], [a1, b1], [c0]])
      }))
  })

  describe("on a queue that is closing or closed", () => {
    it.effect("fails with QueueClosed, which carries the items, while it drains and afterwards", () =>
      Effect.gen(function*() {
        const { close, queue, sink } = yield* setup({ capacity: 2 })
        const gate = yield* Effect.makeLatch()
        sink.script.push(() => gate.await)
        yield* queue.offer(0)
        const closing = yield* start(close)
        for (let i = 0; i < 2; i++) {
          expect(yield* Effect.flip(queue.offerAllOrNone([1, 2, 3]))).toMatchObject({
            _tag: "QueueClosed",
            queue: "test",
            taken: 0,
            notTaken: [1, 2, 3]
          })
          expect((yield* Effect.flip(queue.offerSettled([1, 2, 3])))._tag).toBe("QueueClosed")
          yield* gate.open
          yield* Fiber.join(closing)
        }
        expect(yield* queue.metrics).toMatchObject({ offered: 13, refused: 12, settled: 1, held: 0 })
        expect(sink.items).toEqual([[0]])
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))
  })

  describe("under a policy of a user's own", () => {
    it.effect("goes by the length and the capacity of its queue", () =>
      Effect.gen(function*() {
        const { close, dropped, queue, sink } = yield* setup({ capacity: 3, policy: keepHighest })
        expect(yield* queue.offerAllOrNone([5, 1])).toEqual({ accepted: 2, coalesced: 0, dropped: 0 })
        expect((yield* Effect.flip(queue.offerAllOrNone([7, 8])))._tag).toBe("QueueFull")
        expect(yield* Effect.flip(queue.offerAllOrNone([6, 7, 8, 9]))).toMatchObject({
          _tag: "TooManyItems",
          capacity: 3
        })
        expect(yield* queue.offerAllOrNone([3])).toMatchObject({ accepted: 1 })
        expect(yield* queue.metrics).toMatchObject({ offered: 9, refused: 6, dropped: 0, held: 3 })
        yield* close
        expect([dropped, sink.items]).toEqual([[], [[5, 1, 3]]])
      }))

    it.effect("that refuses what there is room for, says how many are in, and each is counted", () =>
      Effect.gen(function*() {
        const { close, queue, sink } = yield* setup({ capacity: 5, policy: onlyEven })
        // What refuses is a ring of ours, made stricter: it has room for all of them.
        expect(yield* Effect.flip(queue.offerAllOrNone([2, 4, 5, 6]))).toMatchObject({
          _tag: "QueueFull",
          item: 5,
          taken: 2,
          notTaken: [5, 6]
        })
        const metrics = yield* queue.metrics
        expect(metrics).toMatchObject({ offered: 4, refused: 2, held: 2 })
        expect((yield* Effect.flip(queue.offerSettled([8, 7])))._tag).toBe("QueueFull")
        expect(isAnybodyAwaited(queue)).toBe(false)
        yield* close
        expect(sink.items).toEqual([[2, 4, 8]])
        expect(accounted(yield* queue.metrics)).toBe(6)
      }))
  })

  it.effect("dies of what the policy's key throws, and nothing is in", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((n: number) => {
        if (n === 13) throw new Error("no key")
        return n
      }, { whenFull: Backpressure.reject })
      const { close, queue, sink } = yield* setup({ policy })
      expect(Cause.pretty(yield* Effect.flip(Effect.sandbox(queue.offerAllOrNone([1, 13]))))).toContain("no key")
      expect((yield* queue.metrics).held).toBe(0)
      yield* close
      expect(sink.items).toEqual([])
    }))
})

describe("offerSettled", () => {
  it.effect("answers once each of its items is settled, and hurries nothing", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup({ batchSize: 2, flushInterval: "1 second" })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      const waiting = yield* start(queue.offerSettled([1, 2, 3]))
      expect(sink.items).toEqual([[1, 2]])
      yield* gate.open
      yield* TestClock.adjust(999)
      expect(waiting.unsafePoll()).toBeNull()
      yield* TestClock.adjust(1)
      expect(sink.items).toEqual([[1, 2], [3]])
      expect(yield* Fiber.join(waiting)).toEqual({ settled: 3, coalesced: 0, dropped: 0, droppedByReason: {} })
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("of no items answers at once", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup()
      expect(yield* queue.offerSettled([])).toEqual({ settled: 0, coalesced: 0, dropped: 0, droppedByReason: {} })
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("answers for its own items alone, whatever else is in their batch", () =>
    Effect.gen(function*() {
      const retry = Schedule.stop
      const { queue, sink } = yield* setup({ batchSize: 6, retry })
      sink.script.push(failingSome([0, 3, 5], "some"))
      yield* queue.offer(1)
      const first = yield* start(queue.offerSettled([2, 3]))
      const second = yield* start(queue.offerSettled([4, 5]))
      yield* queue.offer(6)
      yield* settleDown
      expect(yield* Fiber.join(first)).toEqual({ settled: 2, coalesced: 0, dropped: 0, droppedByReason: {} })
      expect(yield* Fiber.join(second)).toEqual({
        settled: 1,
        coalesced: 0,
        dropped: 1,
        droppedByReason: { "retries-exhausted": 1 }
      })
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("waits for the retries of what has failed, and tells what was given up after them", () =>
    Effect.gen(function*() {
      const retry = Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(2))
      const { dropped, queue, sink } = yield* setup({ batchSize: 4, retry })
      sink.script.push(failingSome([0, 2, 3], "some"), failingSome([2, 0], "some"), failing("down"))
      const waiting = yield* start(queue.offerSettled([1, 2, 3, 4]))
      expect(sink.items).toEqual([[1, 2, 3, 4]])
      yield* TestClock.adjust("1 second")
      expect(sink.items.slice(1)).toEqual([[1, 3, 4]])
      yield* TestClock.adjust(999)
      expect(waiting.unsafePoll()).toBeNull()
      yield* TestClock.adjust(1)
      expect(sink.items.slice(2)).toEqual([[1, 4]])
      expect(yield* Fiber.join(waiting)).toEqual({
        settled: 2,
        coalesced: 0,
        dropped: 2,
        droppedByReason: { "retries-exhausted": 2 }
      })
      expect(dropped).toEqual([[1, "retries-exhausted"], [4, "retries-exhausted"]])
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("counts a flush that succeeds in the end as settled", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup({ batchSize: 2 })
      sink.script.push(failing("down"), () => Effect.die("bug"))
      const waiting = yield* start(queue.offerSettled([1, 2]))
      yield* TestClock.adjust("300 millis")
      expect(sink.attempts.length).toBe(3)
      expect(yield* Fiber.join(waiting)).toMatchObject({ settled: 2, dropped: 0 })
    }))

  describe("under coalesceByKey", () => {
    it.effect("tells who was replaced, at once, and who was settled, later", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup<Item>({ policy: byKey() })
        const [a0, b0, a1, a2] = of("a0 b0 a1 a2")
        const first = yield* start(queue.offerSettled([a0, b0]))
        const second = yield* start(queue.offerSettled([a1]))
        expect(answerOf(second)).toBeUndefined()
        yield* queue.offer(a2)
        expect(yield* Fiber.join(second)).toEqual({ settled: 0, coalesced: 1, dropped: 0, droppedByReason: {} })
        expect(first.unsafePoll()).toBeNull()
        yield* queue.flushNow
        expect(yield* Fiber.join(first)).toEqual({ settled: 1, coalesced: 1, dropped: 0, droppedByReason: {} })
        expect(sink.items).toEqual([[a2, b0]])
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("counts an item of the call that replaces another one of it", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup<Item>({ policy: byKey() })
        const items = of("a0 b0 a1 a2")
        const waiting = yield* start(queue.offerSettled(items))
        yield* queue.flushNow
        expect(yield* Fiber.join(waiting)).toEqual({ settled: 2, coalesced: 2, dropped: 0, droppedByReason: {} })
        expect(sink.items).toEqual([[items[3], items[1]]])
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("counts both as coalesced where they are merged, and nobody is told of what came of them", () =>
      Effect.gen(function*() {
        const merge = (a: Item, b: Item) => ({ ...b, value: a.value + b.value })
        const { queue, sink } = yield* setup<Item>({ policy: byKey({ merge }) })
        const [a1, b1, a2, a4] = of("a1 b1 a2 a4")
        const first = yield* start(queue.offerSettled([a1, b1]))
        const second = yield* start(queue.offerSettled([a2]))
        expect(answerOf(second)).toEqual({ settled: 0, coalesced: 1, dropped: 0, droppedByReason: {} })
        expect(yield* queue.offerSettled([a4])).toEqual({ settled: 0, coalesced: 1, dropped: 0, droppedByReason: {} })
        yield* queue.flushNow
        expect(yield* Fiber.join(first)).toEqual({ settled: 1, coalesced: 1, dropped: 0, droppedByReason: {} })
        expect(sink.items).toEqual([[{ key: "a", value: 7 }, b1]])
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("counts them as coalesced where the merging keeps one of the two", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup<Item>({ policy: byKey({ merge: (a) => a }) })
        const [a1, a2] = of("a1 a2")
        const first = yield* start(queue.offerSettled([a1]))
        expect(yield* queue.offerSettled([a2])).toMatchObject({ coalesced: 1 })
        expect(yield* Fiber.join(first)).toMatchObject({ coalesced: 1 })
        expect(isAnybodyAwaited(queue)).toBe(false)
        yield* queue.flushNow
        expect(sink.items).toEqual([[a1]])
      }))
  })

  it.effect("under dropOldest tells who was dropped for others, and for items of the same call", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup({ capacity: 2, policy: Backpressure.dropOldest })
      const first = yield* start(queue.offerSettled([1, 2, 3]))
      const second = yield* start(queue.offerSettled([4]))
      yield* queue.offer(5)
      expect(yield* Fiber.join(first)).toEqual({
        settled: 0,
        coalesced: 0,
        dropped: 3,
        droppedByReason: { "drop-oldest": 3 }
      })
      expect(second.unsafePoll()).toBeNull()
      yield* queue.flushNow
      expect(yield* Fiber.join(second)).toMatchObject({ settled: 1, dropped: 0 })
      expect(sink.items).toEqual([[4, 5]])
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("under dropNewest answers at once where all of them are dropped", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup({ capacity: 1, policy: Backpressure.dropNewest })
      yield* queue.offer(0)
      expect(yield* queue.offerSettled([1, 2])).toEqual({
        settled: 0,
        coalesced: 0,
        dropped: 2,
        droppedByReason: { "drop-newest": 2 }
      })
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("has the drop reasons of a policy of a user's own", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup({ capacity: 2, policy: keepHighest })
      const waiting = yield* start(queue.offerSettled([5, 1]))
      yield* queue.offer(3)
      yield* queue.flushNow
      expect(yield* Fiber.join(waiting)).toEqual({
        settled: 1,
        coalesced: 0,
        dropped: 1,
        droppedByReason: { "too-low": 1 }
      })
    }))

  it.effect("that is refused fails as offerAllOrNone does, and nobody is waited for", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup({ capacity: 3, policy: Backpressure.suspend(), weigh: (n) => n })
      const first = yield* start(queue.offerSettled([1]))
      expect(yield* Effect.flip(queue.offerSettled([1, 2]))).toMatchObject({ _tag: "QueueFull", notTaken: [1, 2] })
      expect(yield* Effect.flip(queue.offerSettled([1, 1, 2]))).toMatchObject({ _tag: "TooManyItems", capacity: 3 })
      expect(yield* Effect.flip(queue.offerSettled([1, 4]))).toMatchObject({ _tag: "InvalidWeight", weight: 4 })
      expect(yield* queue.metrics).toMatchObject({ offered: 8, refused: 7, held: 1 })
      yield* queue.flushNow
      expect(yield* Fiber.join(first)).toMatchObject({ settled: 1 })
      expect(sink.items).toEqual([[1]])
      expect(isAnybodyAwaited(queue)).toBe(false)
    }))

  it.effect("over several shards answers when the last of them is done", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup({ batchSize: 2, shards: 2, shardBy: (n) => n, flushInterval: "1 second" })
      const shard = (of: number) => range(0, 100).filter((n) => Sharding.shardOf(n, 2) === of)
      const [a, b] = shard(0)
      const [c] = shard(1)
      const waiting = yield* start(queue.offerSettled([a, c, b]))
      expect(sink.items).toEqual([[a, b]])
      expect(waiting.unsafePoll()).toBeNull()
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(waiting)).toMatchObject({ settled: 3 })
    }))

  describe("while the queue is closed", () => {
    it.effect("answers what the drain has settled", () =>
      Effect.gen(function*() {
        const { close, queue, sink } = yield* setup({ batchSize: 2 })
        const waiting = yield* start(queue.offerSettled([1, 2, 3]))
        yield* close
        expect(sink.items).toEqual([[1, 2], [3]])
        expect(yield* Fiber.join(waiting)).toEqual({ settled: 3, coalesced: 0, dropped: 0, droppedByReason: {} })
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("answers what it has not, in flight and behind it, as dropped", () =>
      Effect.gen(function*() {
        const { close, queue, sink } = yield* setup({ batchSize: 1, drainTimeout: "1 second" })
        sink.script.push(() => Effect.void, () => Effect.never)
        const waiting = yield* start(queue.offerSettled([1, 2, 3]))
        const closing = yield* Effect.fork(close)
        yield* TestClock.adjust(999)
        expect(waiting.unsafePoll()).toBeNull()
        yield* TestClock.adjust(1)
        yield* Fiber.join(closing)
        expect(yield* Fiber.join(waiting)).toEqual({
          settled: 1,
          coalesced: 0,
          dropped: 2,
          droppedByReason: { shutdown: 2 }
        })
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("is told of the drop of items whose handler ends later, and not again", () =>
      Effect.gen(function*() {
        const { close, queue, sink } = yield* setup({ batchSize: 2, drainTimeout: "1 second" })
        const late = yield* Effect.makeLatch()
        sink.script.push(() => Effect.uninterruptible(late.await))
        const waiting = yield* start(queue.offerSettled([1, 2]))
        const closing = yield* Effect.fork(close)
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
        yield* late.open
        yield* settleDown
        expect(yield* Fiber.join(waiting)).toMatchObject({ settled: 0, dropped: 2 })
      }))

    it.effect("by a fiber of it that died, is told of the drop", () =>
      Effect.gen(function*() {
        let isBroken = false
        const breaking: Backpressure.Policy<number> = {
          _tag: "breaking",
          pair: (options) => {
            const pair = Backpressure.dropOldest.pair(options)
            const pollUpTo = pair.backing.pollUpTo.bind(pair.backing)
            pair.backing.pollUpTo = (limit) => {
              if (isBroken) throw new Error("no such slot")
              return pollUpTo(limit)
            }
            return pair
          }
        }
        const { queue } = yield* setup({ policy: breaking, flushInterval: "1 second" }).pipe(
          Logger.withMinimumLogLevel(LogLevel.None)
        )
        const waiting = yield* start(queue.offerSettled([1, 2]))
        isBroken = true
        yield* TestClock.adjust("1 second")
        isBroken = false
        expect(yield* Fiber.join(waiting)).toMatchObject({ settled: 0, dropped: 2, droppedByReason: { shutdown: 2 } })
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))
  })

  describe("that is interrupted", () => {
    it.effect("leaves its items in, and nothing else behind", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup()
        const waiting = yield* start(queue.offerSettled([1, 2, 1]))
        expect(isAnybodyAwaited(queue)).toBe(true)
        yield* Fiber.interrupt(waiting)
        expect(isAnybodyAwaited(queue)).toBe(false)
        expect(yield* queue.metrics).toMatchObject({ offered: 3, refused: 0, held: 3 })
        yield* queue.flushNow
        expect(sink.items).toEqual([[1, 2, 1]])
        expect(yield* queue.metrics).toMatchObject({ settled: 3, held: 0 })
      }))

    it.effect("after some of its items have ended leaves nothing behind either", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup({ batchSize: 2 })
        const waiting = yield* start(queue.offerSettled([1, 2, 3]))
        expect(sink.items).toEqual([[1, 2]])
        yield* Fiber.interrupt(waiting)
        expect(isAnybodyAwaited(queue)).toBe(false)
        yield* queue.flushNow
        expect(sink.items).toEqual([[1, 2], [3]])
      }))

    it.effect("does not end the waiting of others for equal numbers", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup({ batchSize: 1 })
        const gates = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch(), Effect.makeLatch()])
        for (const gate of gates) sink.script.push(() => gate.await)
        const fibers = yield* Effect.forEach([1, 1, 1], (n) => start(queue.offerSettled([n])))
        yield* Fiber.interrupt(fibers[1])
        yield* gates[0].open
        yield* settleDown
        expect(answerOf(fibers[0])).toMatchObject({ settled: 1 })
        yield* gates[1].open
        yield* settleDown
        // That was the one of the fiber that has gone.
        expect(answerOf(fibers[2])).toBeUndefined()
        yield* gates[2].open
        yield* settleDown
        expect(answerOf(fibers[2])).toMatchObject({ settled: 1 })
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))
  })

  describe("of numbers that are in the queue already", () => {
    /** Each flush of one item waits until it is let go. */
    const oneByOne = (options?: Partial<WriteBehind.Options<number, unknown, never>>) =>
      Effect.gen(function*() {
        const gates = yield* Effect.replicateEffect(Effect.makeLatch(), 10)
        const made = yield* setup({ batchSize: 1, policy: Backpressure.suspend(), ...options })
        for (const gate of gates) made.sink.script.push(() => gate.await)
        let next = 0
        return { ...made, step: Effect.suspend(() => Effect.zipRight(gates[next++].open, settleDown)) }
      })

    it.effect("waits for its own, not for equal ones before, in between or after", () =>
      Effect.gen(function*() {
        const { queue, step } = yield* oneByOne()
        yield* queue.offerAll([7, 7])
        yield* settleDown
        const first = yield* start(queue.offerSettled([7]))
        yield* queue.offerAll([7])
        const second = yield* start(queue.offerSettled([7, 8, 7]))
        yield* queue.offerAll([7])
        // 7 in flight, then 7, first, 7, second, (8), second, 7
        const answered: Array<ReadonlyArray<boolean>> = []
        for (let i = 0; i < 8; i++) {
          yield* step
          answered.push([answerOf(first) !== undefined, answerOf(second) !== undefined])
        }
        expect(answered).toEqual([
          [false, false],
          [false, false],
          [true, false],
          [true, false],
          [true, false],
          [true, false],
          [true, true],
          [true, true]
        ])
        expect(answerOf(second)).toEqual({ settled: 3, coalesced: 0, dropped: 0, droppedByReason: {} })
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("is not disturbed by a call in between that was refused", () =>
      Effect.gen(function*() {
        const { queue, step } = yield* oneByOne({ capacity: 3 })
        yield* queue.offer(7)
        yield* settleDown
        yield* queue.offer(7)
        expect((yield* Effect.flip(queue.offerSettled([7, 7, 7])))._tag).toBe("QueueFull")
        expect(isAnybodyAwaited(queue)).toBe(false)
        const first = yield* start(queue.offerSettled([7]))
        expect((yield* Effect.flip(queue.offerSettled([7, 7])))._tag).toBe("QueueFull")
        const second = yield* start(queue.offerSettled([7]))
        yield* step
        yield* step
        expect([answerOf(first), answerOf(second)]).toEqual([undefined, undefined])
        yield* step
        expect([answerOf(first)?.settled, answerOf(second)]).toEqual([1, undefined])
        yield* step
        expect(answerOf(second)?.settled).toBe(1)
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))

    it.effect("tells the drop of the oldest to whoever offered that", () =>
      Effect.gen(function*() {
        const { queue, sink } = yield* setup({ capacity: 3, policy: Backpressure.dropOldest })
        yield* queue.offer(7)
        const first = yield* start(queue.offerSettled([7]))
        const second = yield* start(queue.offerSettled([7]))
        yield* queue.offer(8)
        expect([answerOf(first), answerOf(second)]).toEqual([undefined, undefined])
        yield* queue.offer(8)
        yield* settleDown
        expect([answerOf(first)?.dropped, answerOf(second)]).toEqual([1, undefined])
        yield* queue.flushNow
        expect(yield* Fiber.join(second)).toMatchObject({ settled: 1, dropped: 0 })
        expect(sink.items).toEqual([[7, 8, 8]])
      }))

    it.effect("tells NaN and texts apart like any other item", () =>
      Effect.gen(function*() {
        const { queue } = yield* setup<unknown>({ policy: Backpressure.reject })
        yield* queue.offerAll([NaN, "NaN", undefined])
        const waiting = yield* start(queue.offerSettled([NaN, "NaN", undefined, null]))
        yield* queue.flushNow
        expect(yield* Fiber.join(waiting)).toMatchObject({ settled: 4 })
        expect(isAnybodyAwaited(queue)).toBe(false)
      }))
  })

  it.effect("of objects that look alike waits for those that were offered", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<Item>({ batchSize: 1 })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => Effect.void, () => gate.await)
      const [first, second] = yield* Effect.forEach([of("a0"), of("a0")], (items) => start(queue.offerSettled(items)))
      expect([answerOf(first)?.settled, answerOf(second)]).toEqual([1, undefined])
      yield* gate.open
      expect(yield* Fiber.join(second)).toMatchObject({ settled: 1 })
    }))

  it.effect("is linked to the span of its flush, as offerAllOrNone is", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      yield* Effect.gen(function*() {
        const { queue } = yield* setup()
        yield* Effect.withSpan(queue.offerAllOrNone([1, 2]), "together")
        yield* start(Effect.withSpan(queue.offerSettled([3]), "settled"))
        yield* queue.flushNow
        yield* settleDown
      }).pipe(Effect.withTracer(tracer))
      const flushes = spans.filter(({ name }) => name === "WriteBehind.flush")
      expect(flushes.map(({ links }) => links.map(({ span }) => (span as Tracer.Span).name))).toEqual([
        ["together", "settled"]
      ])
    }))
})

// --- over random sequences --------------------------------------------------------------------------------------------

const between = (min: number, max: number) => Random.nextIntBetween(min, max + 1)
const chance = (percent: number) => Effect.map(Random.nextIntBetween(0, 100), (n) => n < percent)

interface Parcel {
  readonly key: number
  readonly weight: number
}

const parcelKey = ({ key }: Parcel) => key
/** What it makes is nobody's own. */
const merge = (a: Parcel, b: Parcel): Parcel => ({ key: a.key, weight: Math.max(a.weight, b.weight) })

const policies: ReadonlyArray<Backpressure.Policy<Parcel>> = [
  Backpressure.suspend(),
  Backpressure.reject,
  Backpressure.dropNewest,
  Backpressure.dropOldest,
  ...[Backpressure.suspend(), Backpressure.reject, Backpressure.dropNewest, Backpressure.dropOldest].flatMap(
    (whenFull) => [
      Backpressure.coalesceByKey(parcelKey, { whenFull }),
      Backpressure.coalesceByKey(parcelKey, { whenFull, merge })
    ]
  )
]

const ends = ["settled", "coalesced", "dropped"] as const

/**
 * The model: an item that was dropped is dropped; one that was written is settled; and one that is gone and was neither
 * was coalesced.
 */
const outcomes = Effect.gen(function*() {
  const policy = policies[yield* between(0, policies.length - 1)]
  const isCoalescing = policy._tag === "coalesceByKey"
  const weighs = !isCoalescing && (yield* chance(40))
  const capacity = yield* between(1, 4)
  const shards = yield* between(1, 3)
  const written = new Set<Parcel>()
  const dropped = new Map<Parcel, string>()
  const answers: Array<readonly [ReadonlyArray<Parcel>, WriteBehind.Settlement]> = []
  const seen = { settled: 0, coalesced: 0, dropped: 0, refused: 0, partly: 0, interrupted: 0 }
  const flush = (batch: Batch.Batch<Parcel>): Effect.Effect<void, unknown> =>
    Effect.gen(function*() {
      if (yield* chance(50)) yield* Effect.sleep(yield* between(0, 30))
      const outcome = yield* between(0, 6)
      if (outcome === 0) return yield* Effect.fail("down")
      if (outcome === 1) return yield* Effect.die("bug")
      const failed: Array<number> = []
      for (const index of batch.items.keys()) if (outcome === 2 && (yield* chance(50))) failed.push(index)
      for (const [index, item] of batch.items.entries()) if (!failed.includes(index)) written.add(item)
      if (failed.length > 0) return yield* Batch.failSome(failed, "some")
    })
  const scope = yield* Scope.make()
  const queue = yield* WriteBehind.make<Parcel, unknown, never>({
    name: "seeded",
    capacity,
    batchSize: yield* between(1, 4),
    flushInterval: yield* between(1, 20),
    drainTimeout: yield* between(0, 100),
    shards,
    shardBy: parcelKey,
    weigh: weighs ? ({ weight }) => weight : undefined,
    policy,
    flush,
    retry: Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(2)),
    onDrop: (item, reason) => dropped.set(item, reason)
  }).pipe(Scope.extend(scope))

  const make = (count: number): Effect.Effect<ReadonlyArray<Parcel>> =>
    Effect.forEach(range(0, count), () => Effect.all({ key: between(0, 5), weight: between(1, 3) }))
  const balanced = Effect.map(queue.metrics, (metrics) => {
    expect(accounted(metrics)).toBe(metrics.offered)
    return metrics
  })
  /** In one step of its own, so that nobody comes in between. */
  const allOrNone = (items: ReadonlyArray<Parcel>) =>
    Effect.sync(() => {
      const before = Effect.runSync(queue.metrics)
      const exit = Effect.runSyncExit(Effect.either(queue.offerAllOrNone(items)))
      const after = Effect.runSync(queue.metrics)
      const result = Exit.getOrElse(exit, (cause) => {
        throw Cause.squash(cause)
      })
      if (Either.isLeft(result)) {
        expect(result.left.taken).toBe(0)
        expect(result.left.notTaken).toEqual(items)
        expect(after).toEqual({
          ...before,
          offered: before.offered + items.length,
          refused: before.refused + items.length
        })
        seen.refused += 1
      } else {
        const { accepted, coalesced, dropped } = result.right
        expect(accepted + coalesced + dropped).toBe(items.length)
        expect(after.offered - before.offered).toBe(items.length)
        expect(after.refused).toBe(before.refused)
        expect(after.coalesced - before.coalesced).toBe(coalesced)
      }
      expect(accounted(after)).toBe(after.offered)
    })
  const wait = (items: ReadonlyArray<Parcel>) =>
    Effect.matchEffect(queue.offerSettled(items), {
      onFailure: (error) =>
        Effect.sync(() => {
          seen.refused += 1
          expect(error.taken).toBe(0)
          for (const item of items) expect(written.has(item) || dropped.has(item)).toBe(false)
        }),
      onSuccess: (settlement) => Effect.sync(() => void answers.push([items, settlement]))
    })
  const producer = Effect.gen(function*() {
    const waiting: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
    for (let step = 0; step < 10; step++) {
      const kind = yield* between(0, 6)
      if (kind <= 2) waiting.push(yield* Effect.fork(wait(yield* make(yield* between(0, 3)))))
      if (kind === 3) yield* allOrNone(yield* make(yield* between(0, 3)))
      if (kind === 4) yield* Effect.fork(Effect.ignore(queue.offerAll(yield* make(2))))
      if (kind === 5) yield* Effect.sleep(yield* between(0, 20))
      if (kind === 6 && waiting.length > 0 && (yield* chance(30))) {
        seen.interrupted += 1
        yield* Fiber.interrupt(waiting.pop()!)
      }
      yield* balanced
    }
    yield* Fiber.awaitAll(waiting)
  })
  const work = yield* Effect.fork(Effect.all([producer, producer, producer], { concurrency: "unbounded" }))
  if (yield* chance(50)) yield* Fiber.join(work)
  else yield* Effect.sleep(yield* between(0, 60))
  yield* Scope.close(scope, Exit.void)
  yield* Fiber.join(work)

  expect((yield* balanced).held).toBe(0)
  expect(isAnybodyAwaited(queue)).toBe(false)
  for (const [items, settlement] of answers) {
    const truth = { settled: 0, coalesced: 0, dropped: 0, droppedByReason: {} as Record<string, number> }
    for (const item of items) {
      const reason = dropped.get(item)
      if (reason !== undefined) {
        truth.dropped += 1
        truth.droppedByReason[reason] = (truth.droppedByReason[reason] ?? 0) + 1
      } else truth[written.has(item) ? "settled" : "coalesced"] += 1
    }
    expect(settlement).toEqual(truth)
    if (!isCoalescing) expect(settlement.coalesced).toBe(0)
    for (const end of ends) seen[end] += settlement[end]
    if (ends.filter((end) => settlement[end] > 0).length > 1) seen.partly += 1
  }
  return seen
})

/**
 * The model: where the oldest is always the first to end, the n-th of equal numbers that came in is the n-th of them that
 * ends, although they cannot be told apart.
 */
const equalNumbers = Effect.gen(function*() {
  /** The calls by which each number came in, and the endings of each, in order. */
  const calls: ReadonlyArray<Array<number>> = [[], []]
  const endings: ReadonlyArray<Array<string>> = [[], []]
  const scope = yield* Scope.make()
  const queue = yield* WriteBehind.make<number, unknown, never>({
    name: "equal",
    capacity: yield* between(1, 5),
    batchSize: yield* between(1, 3),
    flushInterval: yield* between(1, 20),
    drainTimeout: Infinity,
    policy: (yield* chance(50)) ? Backpressure.suspend() : Backpressure.reject,
    retry: Schedule.recurs(1),
    flush: (batch) =>
      Effect.gen(function*() {
        yield* Effect.sleep(yield* between(0, 10))
        if (yield* chance(50)) return yield* Effect.fail("down")
        for (const item of batch.items) endings[item].push("settled")
      }),
    onDrop: (item) => endings[item].push("dropped")
  }).pipe(Scope.extend(scope))
  const seen = { settled: 0, dropped: 0, refused: 0, interrupted: 0 }
  const waiting: Array<readonly [call: number, fiber: Fiber.RuntimeFiber<WriteBehind.Settlement, unknown>]> = []
  for (let call = 0; call < 25; call++) {
    const items = yield* Effect.replicateEffect(between(0, 1), yield* between(1, 3))
    const kind = yield* between(0, 5)
    if (kind <= 2) {
      const before = yield* queue.metrics
      const fiber = yield* Effect.fork(queue.offerSettled(items))
      // Nobody else offers.
      while ((yield* queue.metrics).offered === before.offered) yield* Effect.yieldNow()
      if ((yield* queue.metrics).refused > before.refused) seen.refused += 1
      else {
        for (const item of items) calls[item].push(call)
        waiting.push([call, fiber])
      }
    }
    if (kind === 3) { for (const item of items) if (queue.unsafeOffer(item) === "accepted") calls[item].push(call) }
    if (kind === 4) yield* Effect.sleep(yield* between(0, 15))
    if (kind === 5 && waiting.length > 0) yield* Fiber.interrupt(waiting[waiting.length - 1][1])
  }
  yield* Scope.close(scope, Exit.void)
  expect(endings.map(({ length }) => length)).toEqual(calls.map(({ length }) => length))
  expect(isAnybodyAwaited(queue)).toBe(false)
  for (const [call, fiber] of waiting) {
    const exit = yield* Fiber.await(fiber)
    if (Exit.isFailure(exit)) {
      expect(Exit.isInterrupted(exit)).toBe(true)
      seen.interrupted += 1
      continue
    }
    const own = [0, 1].flatMap((item) => endings[item].filter((_, place) => calls[item][place] === call))
    const [settled, dropped] = ["settled", "dropped"].map((ending) => own.filter((each) => each === ending).length)
    expect(exit.value).toMatchObject({ settled, dropped, coalesced: 0 })
    seen.settled += settled
    seen.dropped += dropped
  }
  return seen
})

describe("over random sequences of offers, failures, interruptions and a close", () => {
  const add = (sums: Record<string, number>, counts: Record<string, number>) => {
    for (const name in counts) sums[name] = (sums[name] ?? 0) + counts[name]
  }

  it(
    "offerSettled answers what became of its own items, offerAllOrNone changes nothing where it fails, and nothing hangs",
    async () => {
      const seen: Record<string, number> = {}
      await forSeeds(outcomes, { runs: 500, yieldProbability: 0.1 }, ({ exit, leftFibers, leftTimers }) => {
        if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
        expect(leftFibers).toEqual([])
        expect(leftTimers).toBe(0)
        add(seen, exit.value)
      })
      // The sequences are only worth something while they reach every outcome.
      for (const count of Object.values(seen)) expect(count).toBeGreaterThanOrEqual(atLeast(100))
    }
  )

  it("offerSettled of equal numbers answers in the order in which they came in", async () => {
    const seen: Record<string, number> = {}
    await forSeeds(equalNumbers, { runs: 300, yieldProbability: 0.1 }, ({ exit }) => {
      if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
      add(seen, exit.value)
    })
    for (const count of Object.values(seen)) expect(count).toBeGreaterThanOrEqual(atLeast(100))
  })
})

describe("offers of all or none, at their edges", () => {
  it.scoped("leaves nobody waiting where the key of an item throws", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<number>({
        policy: Backpressure.coalesceByKey((n: number) => {
          if (n === 13) throw new Error("key")
          return n
        }, { whenFull: Backpressure.reject })
      })
      yield* Effect.exit(queue.offerSettled([1, 13]))
      const waiting = yield* Effect.fork(queue.offerSettled([1]))
      yield* settleDown
      yield* queue.flushNow
      expect(sink.items).toEqual([[1]])
      expect(waiting.unsafePoll()).not.toBeNull()
    }))

  it.scoped("tells that there are more keys than can ever be in, counting those that wait already", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup<number>({
        capacity: 2,
        batchSize: 10,
        policy: Backpressure.coalesceByKey((n: number) => n, { whenFull: Backpressure.reject })
      })
      yield* queue.offerAll([1, 2])
      expect(yield* Effect.flip(queue.offerAllOrNone([1, 2, 3]))).toMatchObject({ _tag: "TooManyItems" })
    }))

  it.scoped("tells of several shards what makes no sense to be tried again", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup<number>({
        capacity: 1,
        batchSize: 10,
        shards: 2,
        shardBy: (n) => n % 2,
        policy: Backpressure.reject
      })
      yield* queue.offer(2)
      expect(yield* Effect.flip(queue.offerAllOrNone([2, 1, 1]))).toMatchObject({ _tag: "TooManyItems" })
    }))

  it.scoped("counts a reason of any name", () =>
    Effect.gen(function*() {
      const policy: Backpressure.Policy<unknown> = {
        _tag: "odd",
        pair: (options) => {
          const backing = BackingQueue.droppingNewest({
            ...options,
            report: { ...options.report, dropped: (item) => options.report.dropped(item, "constructor") }
          })
          return { backing, strategy: Strategy.answering({ backing, report: options.report }) }
        }
      }
      const { queue } = yield* setup<number>({ capacity: 1, batchSize: 10, policy })
      yield* queue.offer(1)
      expect(yield* queue.offerSettled([2])).toMatchObject({ dropped: 1, droppedByReason: { constructor: 1 } })
    }))

  it.scoped("does not take -0 for another number than 0", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<number>({ batchSize: 1, policy: Backpressure.reject })
      const gates = [yield* Effect.makeLatch(), yield* Effect.makeLatch()]
      sink.script.push(() => gates[0].await, () => gates[1].await)
      yield* queue.offer(0)
      const waiting = yield* Effect.fork(queue.offerSettled([-0]))
      yield* settleDown
      yield* gates[0].open
      yield* settleDown
      const isEarly = waiting.unsafePoll() !== null
      yield* gates[1].open
      yield* settleDown
      expect(sink.items).toEqual([[0], [-0]])
      expect(isEarly).toBe(false)
    }))

  it.scoped("goes on when the caller uses its array again", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<number>({ batchSize: 10 })
      const buffer = [1, 2]
      const waiting = yield* Effect.fork(queue.offerSettled(buffer))
      yield* settleDown
      buffer.length = 0
      yield* queue.flushNow
      expect(sink.items).toEqual([[1, 2]])
      expect(waiting.unsafePoll()).not.toBeNull()
    }))

  it.scoped("dies of a merge that throws in the middle: those before are in, and every item is counted", () =>
    Effect.gen(function*() {
      const { queue } = yield* setup<number>({
        policy: Backpressure.coalesceByKey((n: number) => n % 2, {
          whenFull: Backpressure.reject,
          merge: (_, offered) => {
            if (offered === 13) throw new Error("merge")
            return offered
          }
        })
      })
      const exit = yield* Effect.exit(queue.offerAllOrNone([2, 1, 13, 5]))
      expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 2, held: 2 })
    }))
})

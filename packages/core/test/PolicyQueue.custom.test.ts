import { describe, expect, it } from "@effect/vitest"
import { BackingQueue, type Backpressure, PolicyQueue, Strategy } from "@sluice/core"
import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
import { Chunk, Effect, Fiber, Queue } from "effect"
import { ofEffect } from "./support/effectStrategy.ts"

/** Keeps the items of the highest value: what is evicted is the lowest, be it the new one. */
class Highest<A> implements BackingQueue.BackingQueue<A> {
  private items: Array<A> = []
  private readonly options: Backpressure.PairOptions<A>
  private readonly valueOf: (item: A) => number

  constructor(options: Backpressure.PairOptions<A>, valueOf: (item: A) => number) {
    this.options = options
    this.valueOf = valueOf
  }

  offer(item: A): boolean {
    this.items.push(item)
    if (this.items.length <= this.options.capacity) return true
    const lowest = this.items.reduce((a, b) => this.valueOf(b) <= this.valueOf(a) ? b : a)
    this.items.splice(this.items.indexOf(lowest), 1)
    this.options.report.dropped(lowest, "too-low")
    return lowest !== item
  }

  offerAll(items: Iterable<A>): ReadonlyArray<A> {
    return Array.from(items).filter((item) => !this.offer(item))
  }

  poll<Default>(whenEmpty: Default): A | Default {
    return this.items.length === 0 ? whenEmpty : this.items.shift()!
  }

  pollUpTo(limit: number): ReadonlyArray<A> {
    return this.items.splice(0, limit)
  }

  capacity(): number {
    return this.options.capacity
  }

  length(): number {
    return this.items.length
  }
}

const keepHighest = <A>(valueOf: (item: A) => number): Backpressure.Policy<A> => ({
  _tag: "keepHighest",
  pair: (options) => {
    const backing = new Highest(options, valueOf)
    return { backing, strategy: Strategy.answering({ backing, report: options.report }) }
  }
})

/** Waits as Effect's bounded queue does. */
const bounded: Backpressure.Policy<unknown> = {
  _tag: "bounded",
  pair: <A>(options: Backpressure.PairOptions<A>): Backpressure.Pair<A> => {
    const backing = BackingQueue.refusing(options)
    return { backing, strategy: ofEffect(Queue.backPressureStrategy<A>(), backing) }
  }
}

const start = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.tap(Effect.fork(effect), () => Effect.yieldNow({ priority: 1 }))

describe("a policy of one's own", () => {
  it("keeps the laws", () => {
    const policy = keepHighest((item: PolicyLaws.Item) => item.value)
    for (const capacity of [1, 2, 3]) PolicyLaws.all({ policy, capacity, items: PolicyLaws.items() }, { runs: 300 })
  })

  it.effect("has its outcomes, counts and drop reasons", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const queue = yield* PolicyQueue.make<number>({
        policy: keepHighest((item: number) => item),
        capacity: 2,
        onDrop: (item, reason) => dropped.push([item, reason])
      })
      expect(yield* queue.offerAll([5, 1, 3, 2])).toEqual({ accepted: 3, coalesced: 0, dropped: 1 })
      expect(dropped).toEqual([[1, "too-low"], [2, "too-low"]])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, dropped: 2, held: 2, droppedByReason: { "too-low": 2 } })
      yield* queue.shutdown
      expect(dropped.slice(2)).toEqual([[5, "shutdown"], [3, "shutdown"]])
    }))

  it.effect("may name a reason as an object would name a property of its own", () =>
    Effect.gen(function*() {
      const policy: Backpressure.Policy<unknown> = {
        _tag: "odd",
        pair: (options) => {
          const backing = BackingQueue.droppingNewest({
            ...options,
            report: { ...options.report, dropped: (item) => options.report.dropped(item, "__proto__") }
          })
          return { backing, strategy: Strategy.answering({ backing, report: options.report }) }
        }
      }
      const queue = yield* PolicyQueue.make<number>({ policy, capacity: 1 })
      yield* queue.offerAll([1, 2, 3])
      expect(Object.entries(queue.unsafeCounts().droppedByReason)).toEqual([["__proto__", 2]])
    }))
})

describe("a strategy of one's own that makes offers wait", () => {
  it.effect("lets them in when there is room", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<number>({ policy: bounded, capacity: 1 })
      const fiber = yield* start(queue.offerAll([1, 2, 3]))
      expect(queue.unsafeCounts()).toMatchObject({ offered: 2, held: 2, taken: 0 })
      expect(Chunk.toReadonlyArray(yield* Queue.takeN(queue.dequeue, 3))).toEqual([1, 2, 3])
      expect(yield* Fiber.join(fiber)).toEqual({ accepted: 3, coalesced: 0, dropped: 0 })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, taken: 3, held: 0 })
    }))

  it.effect("an interrupted offer is told with how many were taken", () =>
    Effect.gen(function*() {
      const interruptions: Array<unknown> = []
      const queue = yield* PolicyQueue.make<number>({
        policy: bounded,
        capacity: 1,
        onInterrupt: (taken, notTaken) => interruptions.push({ taken, notTaken })
      })
      const fiber = yield* start(queue.offerAll([1, 2, 3]))
      yield* Fiber.interrupt(fiber)
      expect(interruptions).toEqual([{ taken: 1, notTaken: [2, 3] }])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 2, held: 1, taken: 0 })
      expect(queue.unsafeTakeUpTo(5)).toEqual([1])
    }))

  it.effect("a waiting offer fails with QueueClosed at the shutdown", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<number>({ policy: bounded, capacity: 1 })
      yield* queue.offer(1)
      const fiber = yield* start(Effect.flip(queue.offerAll([2, 3])))
      yield* queue.shutdown
      expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "QueueClosed", taken: 0, notTaken: [2, 3] })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 2 })
    }))

  it.effect("one that answers false refuses with QueueFull", () =>
    Effect.gen(function*() {
      const policy: Backpressure.Policy<unknown> = {
        _tag: "refusing",
        pair: <A>(options: Backpressure.PairOptions<A>): Backpressure.Pair<A> => {
          const backing = BackingQueue.refusing(options)
          return { backing, strategy: ofEffect(Queue.droppingStrategy<A>(), backing) }
        }
      }
      const queue = yield* PolicyQueue.make<number>({ policy, capacity: 1 })
      yield* queue.offer(1)
      expect(yield* Effect.flip(queue.offerAll([2, 3]))).toMatchObject({ _tag: "QueueFull", item: 2, notTaken: [2, 3] })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 2, held: 1 })
    }))
})

import { it } from "@effect/vitest"
import { Backpressure, PolicyQueue, QueueError, WriteBehind } from "@sluice/core"
import { Effect, FastCheck, Queue } from "effect"
import { expect } from "vitest"
import { keepHighest } from "../src/policies/KeepHighest.ts"

interface Item {
  readonly id: number
  readonly priority: number
}

const policy = keepHighest((item: Item) => item.priority)

/** The same, by going through everything: O(n) an offer. */
class Model {
  waiting: Array<Item> = []
  readonly dropped: Array<readonly [number, string]> = []
  private readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  offer(item: Item): void {
    this.waiting.push(item)
    if (this.waiting.length <= this.capacity) return
    const lowest = this.waiting.reduce((a, b) => b.priority <= a.priority ? b : a)
    this.waiting = this.waiting.filter((other) => other !== lowest)
    this.dropped.push([lowest.id, lowest === item ? "drop-newest" : "drop-lowest"])
  }
}

it.effect.prop(
  "keeps what going through everything keeps, and lets it leave in the order in which it came",
  {
    capacity: FastCheck.integer({ min: 1, max: 5 }),
    // A number is an offer of that priority; null takes one.
    steps: FastCheck.array(FastCheck.option(FastCheck.integer({ min: 0, max: 6 })), { maxLength: 60 })
  },
  ({ capacity, steps }) =>
    Effect.gen(function*() {
      const model = new Model(capacity)
      const dropped: Array<readonly [number, string]> = []
      const queue = yield* PolicyQueue.make<Item>({
        policy,
        capacity,
        onDrop: (item, reason) => dropped.push([item.id, reason])
      })
      for (const [id, priority] of steps.entries()) {
        if (priority === null) {
          expect(queue.unsafeTakeUpTo(1)).toEqual(model.waiting.splice(0, 1))
        } else {
          model.offer({ id, priority })
          queue.unsafeOffer({ id, priority })
        }
        expect(queue.unsafeLength()).toBe(model.waiting.length)
      }
      expect(dropped).toEqual(model.dropped)
      const { coalesced, dropped: droppedCount, held, offered, refused, taken } = queue.unsafeCounts()
      expect(offered).toBe(refused + coalesced + droppedCount + taken + held)
      expect(queue.unsafeTakeUpTo(capacity)).toEqual(model.waiting)
    }),
  { fastCheck: { numRuns: 150 } }
)

it.effect("a priority that is no number is the lowest", () =>
  Effect.gen(function*() {
    const queue = yield* PolicyQueue.make<Item>({ policy, capacity: 1 })
    expect(yield* queue.offer({ id: 1, priority: NaN })).toBe("accepted")
    expect(yield* queue.offer({ id: 2, priority: NaN })).toBe("dropped")
    expect(yield* queue.offer({ id: 3, priority: -5 })).toBe("accepted")
    expect(queue.unsafeTakeUpTo(2)).toEqual([{ id: 3, priority: -5 }])
  }))

it.effect("whoever is told of a drop may offer again", () =>
  Effect.gen(function*() {
    const again: Array<string> = []
    const queue: PolicyQueue.PolicyQueue<Item> = yield* PolicyQueue.make<Item>({
      policy,
      capacity: 2,
      onDrop: (item) => {
        if (item.id === 1) again.push(queue.unsafeOffer({ id: item.id + 10, priority: 4 }))
      }
    })
    yield* queue.offerAll([{ id: 1, priority: 1 }, { id: 2, priority: 2 }, { id: 3, priority: 3 }])
    expect(again).toEqual(["accepted"])
    expect(queue.unsafeTakeUpTo(2).map(({ id }) => id)).toEqual([3, 11])
  }))

it.effect("makes a true Effect Queue, which gives items to those who wait for them", () =>
  Effect.gen(function*() {
    const queue = yield* Backpressure.queue<Item>(policy, { capacity: 2 })
    expect(yield* Queue.offerAll(queue, [1, 2, 3].map((id) => ({ id, priority: id })))).toBe(true)
    expect(Array.from(yield* Queue.takeAll(queue), ({ id }) => id)).toEqual([2, 3])
    const taker = yield* Effect.fork(Queue.take(queue))
    yield* Effect.yieldNow()
    yield* Queue.offer(queue, { id: 4, priority: 0 })
    expect(yield* taker).toEqual({ id: 4, priority: 0 })
  }))

it.effect("does not weigh items", () =>
  Effect.gen(function*() {
    const made = PolicyQueue.make<Item>({ policy, capacity: 2, weigh: () => 1 })
    expect(yield* Effect.flip(made)).toBeInstanceOf(QueueError.InvalidOption)
  }))

it.effect("a WriteBehind under it writes the highest, and reports all others", () =>
  Effect.gen(function*() {
    const written: Array<number> = []
    const dropped: Array<number> = []
    yield* Effect.scoped(Effect.gen(function*() {
      const queue = yield* WriteBehind.make({
        name: "items",
        capacity: 3,
        policy,
        flushInterval: 0,
        flush: ({ items }) => Effect.sync(() => written.push(...items.map(({ id }) => id))),
        onDrop: ({ id }) => dropped.push(id)
      })
      yield* queue.offerAll([5, 1, 4, 2, 3, 9].map((id) => ({ id, priority: id })))
    }))
    expect(written).toEqual([5, 4, 9])
    expect(dropped).toEqual([1, 2, 3])
  }))

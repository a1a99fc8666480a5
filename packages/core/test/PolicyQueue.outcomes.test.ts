import { describe, expect, it } from "@effect/vitest"
import { Backpressure, PolicyQueue, QueueError } from "@sluice/core"
import { Effect, Exit, Queue } from "effect"

interface Entry {
  readonly key: string
  readonly value: number
}

const full = (policy: Backpressure.Policy<number>, onDrop?: (item: number, reason: string) => void) =>
  Effect.tap(
    PolicyQueue.make<number>({ name: "numbers", policy, capacity: 2, onDrop }),
    (queue) => queue.offerAll([1, 2])
  )

const held = <A>(queue: PolicyQueue.PolicyQueue<A>) => queue.unsafeTakeUpTo(Infinity)

describe("a queue with room", () => {
  it.effect.each([
    Backpressure.suspend(),
    Backpressure.reject,
    Backpressure.dropNewest,
    Backpressure.dropOldest,
    Backpressure.coalesceByKey((item: number) => item)
  ])("accepts under $_tag", (policy) =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<number>({ policy, capacity: 5 })
      expect(yield* queue.offer(1)).toBe("accepted")
      expect(queue.unsafeOffer(2)).toBe("accepted")
      expect(yield* queue.offerAll([3, 4])).toEqual({ accepted: 2, coalesced: 0, dropped: 0 })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, refused: 0, held: 4, taken: 0 })
      expect(held(queue)).toEqual([1, 2, 3, 4])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, taken: 4, held: 0 })
    }))
})

describe("an offer in a generator", () => {
  it.effect("is made anew each time that its effect is run", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<number>({ policy: Backpressure.reject, capacity: 3 })
      const offer = queue.offer(1)
      expect(queue.unsafeCounts().offered).toBe(0)
      expect([yield* offer, yield* offer, yield* Effect.exit(offer)]).toEqual([
        "accepted",
        "accepted",
        Exit.succeed("accepted")
      ])
      expect(yield* Effect.flip(offer)).toMatchObject({ _tag: "QueueFull" })
      expect(held(queue)).toEqual([1, 1, 1])
    }))

  it.effect("gives way to other fibers now and then", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<number>({ policy: Backpressure.dropOldest, capacity: 3 })
      let ranAt: number | undefined
      let item = 0
      yield* Effect.fork(Effect.sync(() => {
        ranAt = item
      }))
      for (; item < 10_000; item++) yield* queue.offer(item)
      expect(ranAt).toBeLessThan(10_000)
      expect(queue.unsafeCounts()).toMatchObject({ offered: 10_000, dropped: 9_997, held: 3 })
    }))
})

describe("a full queue", () => {
  it.effect("under reject, fails with QueueFull, which carries the item", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.reject)
      const error = yield* Effect.flip(queue.offer(3))
      expect(error).toBeInstanceOf(QueueError.QueueFull)
      expect(error).toMatchObject({ _tag: "QueueFull", queue: "numbers", item: 3, taken: 0, notTaken: [3] })
      expect(queue.unsafeOffer(4)).toBe("full")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, refused: 2, dropped: 0, held: 2 })
      expect(held(queue)).toEqual([1, 2])
    }))

  it.effect("under reject, takes a prefix of offerAll, and the error carries the rest", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.reject)
      queue.unsafeTakeUpTo(1)
      const error = yield* Effect.flip(queue.offerAll([3, 4, 5]))
      expect(error).toMatchObject({ _tag: "QueueFull", item: 4, taken: 1, notTaken: [4, 5] })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 5, refused: 2, taken: 1, held: 2 })
      expect(held(queue)).toEqual([2, 3])
    }))

  it.effect("under dropNewest, drops the new item", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const queue = yield* full(Backpressure.dropNewest, (item, reason) => dropped.push([item, reason]))
      expect(yield* queue.offer(3)).toBe("dropped")
      expect(queue.unsafeOffer(4)).toBe("dropped")
      expect(yield* queue.offerAll([5, 6])).toEqual({ accepted: 0, coalesced: 0, dropped: 2 })
      expect(dropped).toEqual([3, 4, 5, 6].map((item) => [item, "drop-newest"]))
      expect(queue.unsafeCounts()).toMatchObject({ dropped: 4, droppedByReason: { "drop-newest": 4 }, refused: 0 })
      expect(held(queue)).toEqual([1, 2])
    }))

  it.effect("under dropOldest, drops the oldest and accepts the new one", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const queue = yield* full(Backpressure.dropOldest, (item, reason) => dropped.push([item, reason]))
      expect(yield* queue.offer(3)).toBe("accepted")
      expect(queue.unsafeOffer(4)).toBe("accepted")
      expect(yield* queue.offerAll([5, 6, 7])).toEqual({ accepted: 3, coalesced: 0, dropped: 0 })
      expect(dropped).toEqual([1, 2, 3, 4, 5].map((item) => [item, "drop-oldest"]))
      expect(queue.unsafeCounts()).toMatchObject({ offered: 7, dropped: 5, held: 2, taken: 0 })
      expect(held(queue)).toEqual([6, 7])
    }))

  it.effect("under suspend, unsafeOffer answers full and counts the item as refused", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.suspend())
      expect(queue.unsafeOffer(3)).toBe("full")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 1, held: 2 })
      expect(held(queue)).toEqual([1, 2])
    }))
})

describe("a full queue that coalesces", () => {
  const a0 = { key: "a", value: 0 }
  const b0 = { key: "b", value: 0 }
  const make = (options?: Parameters<typeof Backpressure.coalesceByKey<Entry>>[1]) =>
    Effect.gen(function*() {
      const coalesced: Array<readonly [Entry, Entry]> = []
      const dropped: Array<readonly [Entry, string]> = []
      const queue = yield* PolicyQueue.make<Entry>({
        policy: Backpressure.coalesceByKey((entry) => entry.key, options),
        capacity: 2,
        onCoalesce: (replaced, item) => coalesced.push([replaced, item]),
        onDrop: (item, reason) => dropped.push([item, reason])
      })
      yield* queue.offerAll([a0, b0])
      return { coalesced, dropped, queue }
    })

  it.effect("replaces an item of the same key in its place, and reports it as coalesced, not as dropped", () =>
    Effect.gen(function*() {
      const { coalesced, dropped, queue } = yield* make()
      const a1 = { key: "a", value: 1 }
      expect(yield* queue.offer(a1)).toBe("coalesced")
      expect(coalesced).toEqual([[a0, a1]])
      expect(dropped).toEqual([])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, coalesced: 1, dropped: 0, held: 2 })
      expect(held(queue)).toEqual([a1, b0])
    }))

  it.effect("merges where it is told how", () =>
    Effect.gen(function*() {
      const { queue } = yield* make({ merge: (held, next) => ({ key: held.key, value: held.value + next.value }) })
      const more = [1, 2, 3].map((value) => ({ key: "b", value }))
      expect(yield* queue.offerAll(more)).toEqual({ accepted: 0, coalesced: 3, dropped: 0 })
      expect(held(queue)).toEqual([a0, { key: "b", value: 6 }])
    }))

  it.effect("drops the oldest for a new key by default, and its key is forgotten", () =>
    Effect.gen(function*() {
      const { dropped, queue } = yield* make()
      expect(queue.unsafeOffer({ key: "c", value: 0 })).toBe("accepted")
      expect(dropped).toEqual([[a0, "drop-oldest"]])
      // The head has moved: neither of these may hit a stale place.
      expect(queue.unsafeOffer({ key: "b", value: 1 })).toBe("coalesced")
      expect(queue.unsafeOffer({ key: "a", value: 1 })).toBe("accepted")
      expect(held(queue)).toEqual([{ key: "c", value: 0 }, { key: "a", value: 1 }])
    }))

  it.effect("rejects a new key where it is told so, but goes on coalescing", () =>
    Effect.gen(function*() {
      const { queue } = yield* make({ whenFull: Backpressure.reject })
      expect(yield* Effect.flip(queue.offer({ key: "c", value: 0 }))).toMatchObject({ _tag: "QueueFull" })
      expect(yield* queue.offer({ key: "b", value: 1 })).toBe("coalesced")
      expect(held(queue)).toEqual([a0, { key: "b", value: 1 }])
    }))

  it.effect("drops a new key where it is told so, but goes on coalescing", () =>
    Effect.gen(function*() {
      const { queue } = yield* make({ whenFull: Backpressure.dropNewest })
      const more = [{ key: "c", value: 0 }, { key: "a", value: 1 }]
      expect(yield* queue.offerAll(more)).toEqual({ accepted: 0, coalesced: 1, dropped: 1 })
      expect(held(queue)).toEqual([{ key: "a", value: 1 }, b0])
    }))
})

describe("weights", () => {
  interface Load {
    readonly id: string
    readonly weight: number
  }
  const load = (id: string, weight: number): Load => ({ id, weight })
  const weighed = (policy: Backpressure.Policy<Load>) =>
    PolicyQueue.make<Load>({ name: "loads", policy, capacity: 5, weigh: (item) => item.weight })
  const policies: ReadonlyArray<Backpressure.Policy<Load>> = [
    Backpressure.suspend(),
    Backpressure.reject,
    Backpressure.dropNewest,
    Backpressure.dropOldest
  ]

  describe.each(policies)("under $_tag", (policy) => {
    it.effect.each([0, -1, 1.5, Number.NaN, Infinity, 6])(
      "an item that weighs %f is refused",
      (weight) =>
        Effect.gen(function*() {
          const queue = yield* weighed(policy)
          yield* queue.offer(load("first", 4))
          const item = load("bad", weight)
          const error = yield* Effect.flip(queue.offer(item))
          expect(error).toBeInstanceOf(QueueError.InvalidWeight)
          expect(error).toMatchObject({ item, taken: 0, notTaken: [item], weight, capacity: 5, queue: "loads" })
          expect(queue.unsafeOffer(item)).toBe("invalid-weight")
          const rest = [load("ok", 1), item, load("after", 1)]
          expect(yield* Effect.flip(queue.offerAll(rest))).toMatchObject({ taken: 1, notTaken: rest.slice(1) })
          expect(queue.unsafeCounts()).toMatchObject({ offered: 6, refused: 4, dropped: 0, held: 2 })
          expect(held(queue).map(({ id }) => id)).toEqual(["first", "ok"])
        })
    )

    it.effect("an item may weigh the whole capacity, again and again", () =>
      Effect.gen(function*() {
        const queue = yield* weighed(policy)
        for (let i = 0; i < 3; i++) {
          expect(yield* queue.offer(load("whole", 5))).toBe("accepted")
          expect(held(queue)).toHaveLength(1)
        }
      }))
  })

  it.effect("under dropOldest, as many are dropped as the new item needs, and each is reported", () =>
    Effect.gen(function*() {
      const dropped: Array<string> = []
      const queue = yield* PolicyQueue.make<Load>({
        policy: Backpressure.dropOldest,
        capacity: 5,
        weigh: (item) => item.weight,
        onDrop: (item) => dropped.push(item.id)
      })
      yield* queue.offerAll([load("a", 2), load("b", 1), load("c", 2)])
      expect(yield* queue.offer(load("d", 3))).toBe("accepted")
      expect(dropped).toEqual(["a", "b"])
      expect(held(queue).map(({ id }) => id)).toEqual(["c", "d"])
    }))

  it.effect("a weight that changes while the item waits does not unsettle the total", () =>
    Effect.gen(function*() {
      const item = { id: "changing", weight: 1 }
      const queue = yield* PolicyQueue.make<{ readonly id: string; weight: number }>({
        policy: Backpressure.reject,
        capacity: 3,
        weigh: (item) => item.weight
      })
      yield* queue.offer(item)
      item.weight = 3
      expect(held(queue)).toEqual([item])
      expect(yield* queue.offer(item)).toBe("accepted")
      item.weight = 1
      expect(held(queue)).toEqual([item])
      yield* queue.offerAll([item, item, item])
      expect(queue.unsafeOffer(item)).toBe("full")
    }))
})

describe("options that cannot work", () => {
  const wrong: ReadonlyArray<number> = [0, -1, 1.5, Number.NaN, Infinity, 2 ** 53]

  it.effect.each(wrong)(
    "capacity %f is an InvalidOption that names field, value and limit",
    (capacity) =>
      Effect.gen(function*() {
        const expected = { queue: "numbers", field: "capacity", value: capacity, limit: "an integer of at least 1" }
        const options = { name: "numbers", policy: Backpressure.dropOldest, capacity }
        for (const make of [PolicyQueue.make<number>(options), Backpressure.queue<number>(options.policy, options)]) {
          const error = yield* Effect.flip<unknown, QueueError.InvalidOption, never>(make)
          expect(error).toBeInstanceOf(QueueError.InvalidOption)
          expect(error).toMatchObject(expected)
          expect(error.message).toBe(`numbers: option "capacity" is ${capacity}, but must be an integer of at least 1`)
        }
      })
  )

  it.effect("weigh together with coalesceByKey is an InvalidOption", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((item: number) => item)
      for (const whenFull of [undefined, Backpressure.suspend(), Backpressure.reject, Backpressure.dropNewest]) {
        const error = yield* Effect.flip(PolicyQueue.make<number>({
          policy: Backpressure.coalesceByKey((item: number) => item, { whenFull }),
          capacity: 1,
          weigh: () => 1
        }))
        expect(error).toMatchObject({ _tag: "InvalidOption", field: "weigh" })
        expect(error.limit).toContain("absent with coalesceByKey")
      }
      const raw = Backpressure.queue<number>(policy, { capacity: 1, weigh: () => 1 })
      expect(yield* Effect.flip<unknown, QueueError.InvalidOption, never>(raw)).toMatchObject({ field: "weigh" })
    }))

  it.effect("a policy that throws something else is a defect", () =>
    Effect.gen(function*() {
      const policy: Backpressure.Policy<number> = {
        _tag: "buggy",
        pair: () => {
          throw new TypeError("a bug")
        }
      }
      const exit = yield* Effect.exit(PolicyQueue.make<number>({ policy, capacity: 1 }))
      expect(exit).toEqual(Exit.die(new TypeError("a bug")))
    }))
})

describe("a closed queue", () => {
  it.effect.each([
    Backpressure.suspend(),
    Backpressure.reject,
    Backpressure.dropNewest,
    Backpressure.dropOldest,
    Backpressure.coalesceByKey((item: number) => item)
  ])("refuses every offer under $_tag, and what is held can still be taken", (policy) =>
    Effect.gen(function*() {
      const queue = yield* full(policy)
      yield* queue.close
      yield* queue.close
      expect(yield* Effect.flip(queue.offer(3))).toMatchObject({
        _tag: "QueueClosed",
        queue: "numbers",
        taken: 0,
        notTaken: [3]
      })
      expect(yield* Effect.flip(queue.offerAll([4, 5]))).toMatchObject({ taken: 0, notTaken: [4, 5] })
      expect(queue.unsafeOffer(6)).toBe("closed")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 6, refused: 4, held: 2 })
      expect(yield* Queue.take(queue.dequeue)).toBe(1)
      expect(held(queue)).toEqual([2])
      expect(queue.unsafeCounts()).toMatchObject({ taken: 2, held: 0 })
    }))

  it.effect("drops what is held at the shutdown, once, with reason \"shutdown\"", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const queue = yield* full(Backpressure.suspend(), (item, reason) => dropped.push([item, reason]))
      yield* queue.shutdown
      yield* queue.shutdown
      expect(dropped).toEqual([[1, "shutdown"], [2, "shutdown"]])
      expect(queue.unsafeCounts()).toMatchObject({ droppedByReason: { shutdown: 2 }, dropped: 2, held: 0, taken: 0 })
      expect(queue.unsafeOffer(3)).toBe("closed")
      expect(yield* Queue.isShutdown(queue.dequeue)).toBe(true)
    }))
})

describe("a queue whose consumer has shut the Effect Queue down", () => {
  it.effect("is closed: offers fail with QueueClosed, and not with an error that asks to try again", () =>
    Effect.gen(function*() {
      const queue = yield* full(Backpressure.dropOldest)
      yield* Queue.shutdown(queue.dequeue)
      expect(yield* Effect.flip(queue.offer(3))).toMatchObject({ _tag: "QueueClosed", notTaken: [3] })
      expect(queue.unsafeOffer(4)).toBe("closed")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, refused: 2, dropped: 2, held: 0 })
    }))
})

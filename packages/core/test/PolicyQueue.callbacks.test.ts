import { describe, expect, it } from "@effect/vitest"
import { Backpressure, PolicyQueue } from "@sluice/core"
import { Cause, Effect, Exit, HashMap, Logger, Queue } from "effect"

interface Entry {
  readonly key: string
  readonly value: number
}

const accounted = ({ coalesced, dropped, held, refused, taken }: PolicyQueue.Counts) =>
  refused + coalesced + dropped + taken + held

/** Runs an effect, and answers what was logged as well. */
const logged = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make(({ cause, logLevel, message }) => {
      lines.push(`${logLevel.label} ${String(message)} ${Cause.pretty(cause).split("\n")[0]}`)
    })
    return Effect.map(
      Effect.provide(effect, Logger.replace(Logger.defaultLogger, logger)),
      (value) => ({ lines, value })
    )
  })

describe("a callback that throws", () => {
  it.effect("onDrop is logged, and disturbs neither the queue nor the offer", () =>
    Effect.gen(function*() {
      const { lines, value } = yield* logged(Effect.gen(function*() {
        const queue = yield* PolicyQueue.make<number>({
          name: "noisy",
          policy: Backpressure.dropOldest,
          capacity: 2,
          onDrop: (item) => {
            throw new Error(`cannot drop ${item}`)
          }
        })
        expect(yield* queue.offerAll([1, 2, 3])).toEqual({ accepted: 3, coalesced: 0, dropped: 0 })
        expect(queue.unsafeOffer(4)).toBe("accepted")
        yield* queue.shutdown
        yield* Effect.yieldNow({ priority: 1 })
        return queue.unsafeCounts()
      }))
      expect(value).toMatchObject({ offered: 4, dropped: 4, held: 0, taken: 0 })
      expect(lines).toEqual([1, 2, 3, 4].map((item) => `ERROR noisy: onDrop threw Error: cannot drop ${item}`))
    }))

  it.effect("onDrop of an Effect Queue is logged too, and every item is reported", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const { lines } = yield* logged(Effect.gen(function*() {
        const queue = yield* Backpressure.queue<number>(Backpressure.dropOldest, {
          capacity: 2,
          onDrop: (item, reason) => {
            dropped.push([item, reason])
            throw new Error("noise")
          }
        })
        expect(yield* Queue.offerAll(queue, [1, 2, 3])).toBe(true)
        yield* Queue.shutdown(queue)
        yield* Effect.yieldNow({ priority: 1 })
      }))
      expect(dropped).toEqual([[1, "drop-oldest"], [2, "shutdown"], [3, "shutdown"]])
      expect(lines).toHaveLength(3)
    }))

  it.effect("onCoalesce and onInterrupt are logged", () =>
    Effect.gen(function*() {
      const fail = () => {
        throw new Error("noise")
      }
      const { lines } = yield* logged(Effect.gen(function*() {
        const queue = yield* PolicyQueue.make<Entry>({
          policy: Backpressure.coalesceByKey((item: Entry) => item.key, { whenFull: Backpressure.suspend() }),
          capacity: 1,
          onCoalesce: fail,
          onInterrupt: fail
        })
        yield* queue.offer({ key: "a", value: 0 })
        expect(yield* queue.offer({ key: "a", value: 1 })).toBe("coalesced")
        yield* Effect.raceFirst(queue.offer({ key: "b", value: 0 }), Effect.yieldNow({ priority: 1 }))
        yield* Effect.yieldNow({ priority: 1 })
        expect(queue.unsafeCounts()).toMatchObject({ offered: 3, coalesced: 1, refused: 1, held: 1 })
      }))
      expect(lines).toEqual([
        "ERROR queue: onCoalesce threw Error: noise",
        "ERROR queue: onInterrupt threw Error: noise"
      ])
    }))

  it.effect("is logged with the annotations of the fiber that made the queue", () =>
    Effect.gen(function*() {
      const annotations: Array<unknown> = []
      const logger = Logger.make((options) => annotations.push(HashMap.toEntries(options.annotations)))
      yield* Effect.gen(function*() {
        const queue = yield* PolicyQueue.make<number>({
          policy: Backpressure.dropNewest,
          capacity: 1,
          onDrop: () => {
            throw new Error("noise")
          }
        })
        queue.unsafeOffer(1)
        queue.unsafeOffer(2)
        yield* Effect.yieldNow({ priority: 1 })
      }).pipe(
        Effect.annotateLogs("app", "test"),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      expect(annotations).toEqual([[["app", "test"]]])
    }))
})

describe("onDrop that offers to the same queue", () => {
  it.effect.each([1, 2, 3])(
    "keeps bounds, counts and outcomes right under dropOldest with capacity %i",
    (capacity) =>
      Effect.gen(function*() {
        const dropped: Array<number> = []
        const outcomes: Array<PolicyQueue.UnsafeOutcome> = []
        const queue: PolicyQueue.PolicyQueue<number> = yield* PolicyQueue.make<number>({
          policy: Backpressure.dropOldest,
          capacity,
          onDrop: (item) => {
            dropped.push(item)
            const counts = queue.unsafeCounts()
            expect(counts.taken).toBe(0)
            expect(accounted(counts)).toBe(counts.offered)
            expect(queue.unsafeLength()).toBeLessThanOrEqual(capacity)
            // Once for each item that was offered from outside.
            if (item < 100) outcomes.push(queue.unsafeOffer(item + 100))
          }
        })
        for (const item of [1, 2, 3, 4, 5]) expect(yield* queue.offer(item)).toBe("accepted")
        expect(outcomes.every((outcome) => outcome === "accepted")).toBe(true)
        expect(new Set(dropped).size).toBe(dropped.length)
        const counts = queue.unsafeCounts()
        expect(counts).toMatchObject({
          offered: 5 + outcomes.length,
          dropped: dropped.length,
          held: capacity,
          taken: 0
        })
        expect(queue.unsafeTakeUpTo(Infinity)).toHaveLength(capacity)
      })
  )

  it.effect("under dropNewest answers the outer offer what became of the outer item", () =>
    Effect.gen(function*() {
      const outcomes: Array<PolicyQueue.UnsafeOutcome> = []
      const queue: PolicyQueue.PolicyQueue<number> = yield* PolicyQueue.make<number>({
        policy: Backpressure.dropNewest,
        capacity: 1,
        onDrop: (item) => {
          if (item >= 100) return
          queue.unsafeTakeUpTo(1)
          outcomes.push(queue.unsafeOffer(item + 100))
        }
      })
      expect(yield* queue.offer(1)).toBe("accepted")
      expect(yield* queue.offer(2)).toBe("dropped")
      expect(outcomes).toEqual(["accepted"])
      expect(queue.unsafeTakeUpTo(1)).toEqual([102])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, dropped: 1, taken: 2, held: 0 })
    }))

  it.effect("and coalesces there: the outer offer is still answered by its own outcome", () =>
    Effect.gen(function*() {
      const queue: PolicyQueue.PolicyQueue<Entry> = yield* PolicyQueue.make<Entry>({
        policy: Backpressure.coalesceByKey((item: Entry) => item.key),
        capacity: 1,
        onDrop: (item) => {
          if (item.value === 0) expect(queue.unsafeOffer({ key: "b", value: 9 })).toBe("coalesced")
        },
        onCoalesce: (_, item) => {
          if (item.value === 1) expect(queue.unsafeOffer({ key: "c", value: 8 })).toBe("accepted")
        }
      })
      expect(yield* queue.offer({ key: "a", value: 0 })).toBe("accepted")
      expect(yield* queue.offer({ key: "b", value: 0 })).toBe("accepted")
      expect(queue.unsafeTakeUpTo(1)).toEqual([{ key: "b", value: 9 }])
      expect(yield* queue.offer({ key: "a", value: 0.5 })).toBe("accepted")
      expect(yield* queue.offer({ key: "a", value: 1 })).toBe("coalesced")
      expect(queue.unsafeTakeUpTo(1)).toEqual([{ key: "c", value: 8 }])
      const counts = queue.unsafeCounts()
      expect(counts).toMatchObject({ offered: 6, coalesced: 2, dropped: 2, taken: 2, held: 0 })
    }))

  it.effect("at the shutdown is refused, and sees counts that add up", () =>
    Effect.gen(function*() {
      const outcomes: Array<PolicyQueue.UnsafeOutcome> = []
      const taken: Array<number> = []
      const queue: PolicyQueue.PolicyQueue<number> = yield* PolicyQueue.make<number>({
        policy: Backpressure.reject,
        capacity: 3,
        onDrop: (item) => {
          taken.push(queue.unsafeCounts().taken)
          outcomes.push(queue.unsafeOffer(item))
        }
      })
      yield* queue.offerAll([1, 2, 3])
      yield* queue.shutdown
      expect(outcomes).toEqual(["closed", "closed", "closed"])
      expect(taken).toEqual([0, 0, 0])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 6, refused: 3, dropped: 3, taken: 0, held: 0 })
    }))
})

describe("the user's functions", () => {
  const throwing = Backpressure.coalesceByKey((item: Entry) => {
    if (item.key === "no key") throw new Error("no key")
    return item.key
  }, {
    merge: (held, next) => {
      if (next.value === 13) throw new Error("unlucky")
      return { key: held.key, value: held.value + next.value }
    }
  })

  it.effect("where key or merge throws, the offer dies, the item is refused, and the queue is as it was", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<Entry>({ policy: throwing, capacity: 2 })
      yield* queue.offer({ key: "a", value: 1 })
      expect(yield* Effect.exit(queue.offer({ key: "a", value: 13 }))).toEqual(Exit.die(new Error("unlucky")))
      expect(() => queue.unsafeOffer({ key: "no key", value: 1 })).toThrow("no key")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 2, coalesced: 0, taken: 0, held: 1 })
      expect(yield* queue.offer({ key: "a", value: 1 })).toBe("coalesced")
      expect(queue.unsafeTakeUpTo(2)).toEqual([{ key: "a", value: 2 }])
    }))

  it.effect("where weigh throws, the offer dies and nothing is counted or kept", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<number>({
        policy: Backpressure.dropOldest,
        capacity: 2,
        weigh: () => {
          throw new Error("no scales")
        }
      })
      expect(yield* Effect.exit(queue.offer(1))).toEqual(Exit.die(new Error("no scales")))
      expect(queue.unsafeCounts()).toMatchObject({ offered: 0, held: 0, taken: 0 })
    }))
})

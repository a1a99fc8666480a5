import { describe, expect, it } from "@effect/vitest"
import { Backpressure, PolicyQueue, type QueueError } from "@sluice/core"
import { Chunk, Duration, Effect, Exit, Fiber, Queue, TestClock } from "effect"

interface Interruption<A> {
  readonly taken: number
  readonly notTaken: ReadonlyArray<A>
}

const make = <A>(options?: Partial<PolicyQueue.Options<A>>) =>
  Effect.gen(function*() {
    const interruptions: Array<Interruption<A>> = []
    const queue = yield* PolicyQueue.make<A>({
      policy: Backpressure.suspend(),
      capacity: 1,
      onInterrupt: (taken, notTaken) => interruptions.push({ taken, notTaken }),
      ...options
    })
    return { interruptions, queue }
  })

/** Forks an effect, and lets it run until it waits. */
const start = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.tap(Effect.fork(effect), () => Effect.yieldNow({ priority: 1 }))

const isWaiting = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) => fiber.unsafePoll() === null

const accounted = ({ coalesced, dropped, held, refused, taken }: PolicyQueue.Counts) =>
  refused + coalesced + dropped + taken + held

describe("an offer that waits", () => {
  it.effect("gets in when there is room, first come first served", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>()
      yield* queue.offer(0)
      const fibers = yield* Effect.forEach([1, 2, 3], (item) => start(queue.offer(item)))
      expect(queue.unsafeWaiting()).toBe(3)
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, held: 4, taken: 0 })
      for (const item of [0, 1, 2, 3]) expect(yield* Queue.take(queue.dequeue)).toBe(item)
      for (const fiber of fibers) expect(yield* Fiber.join(fiber)).toBe("accepted")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, held: 0, taken: 4 })
    }))

  it.effect("is not overtaken by an offer that comes when there is room", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>()
      yield* queue.offer(0)
      yield* start(queue.offer(1))
      expect(queue.unsafeTakeUpTo(1)).toEqual([0])
      // The room is taken already.
      expect(queue.unsafeOffer(2)).toBe("full")
      expect(queue.unsafeTakeUpTo(2)).toEqual([1])
    }))

  it.effect("leaves nothing behind when it is interrupted, and the capacity is as before", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* make<number>()
      yield* queue.offer(0)
      const fiber = yield* start(queue.offer(1))
      const next = yield* start(queue.offer(2))
      yield* Fiber.interrupt(fiber)
      expect(interruptions).toEqual([{ taken: 0, notTaken: [1] }])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 1, held: 2 })
      expect(queue.unsafeTakeUpTo(5)).toEqual([0])
      expect(queue.unsafeTakeUpTo(5)).toEqual([2])
      expect(yield* Fiber.join(next)).toBe("accepted")
      expect(yield* queue.offer(3)).toBe("accepted")
      expect(queue.unsafeOffer(4)).toBe("full")
    }))

  it.effect("stays in when room came before the interruption, and the interruption says so", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* make<number>()
      yield* queue.offer(0)
      const fiber = yield* start(queue.offer(1))
      // Both in one step, so that the fiber cannot run in between.
      const exit = yield* Effect.suspend(() => {
        expect(queue.unsafeTakeUpTo(1)).toEqual([0])
        return Fiber.interrupt(fiber)
      })
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(interruptions).toEqual([{ taken: 1, notTaken: [] }])
      expect(queue.unsafeTakeUpTo(1)).toEqual([1])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 2, refused: 0, taken: 2, held: 0 })
    }))

  it.effect("of an uninterruptible caller goes on waiting when it is interrupted, and answers", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* make<number>()
      yield* queue.offer(0)
      let answer: string | undefined
      const offer = Effect.tap(queue.offer(1), (outcome) =>
        Effect.sync(() => {
          answer = outcome
        }))
      const fiber = yield* start(Effect.uninterruptible(offer))
      yield* Fiber.interruptFork(fiber)
      yield* Effect.yieldNow({ priority: 1 })
      expect(isWaiting(fiber)).toBe(true)
      expect(queue.unsafeTakeUpTo(1)).toEqual([0])
      yield* Fiber.await(fiber)
      expect(answer).toBe("accepted")
      expect(interruptions).toEqual([])
    }))

  it.effect("is woken by close with QueueClosed, and what is held can still be taken", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* make<number>()
      yield* queue.offer(0)
      const one = yield* start(queue.offer(1))
      const more = yield* start(queue.offerAll([2, 3]))
      yield* queue.close
      expect(yield* Effect.flip(Fiber.join(one))).toMatchObject({ _tag: "QueueClosed", taken: 0, notTaken: [1] })
      expect(yield* Effect.flip(Fiber.join(more))).toMatchObject({ _tag: "QueueClosed", taken: 0, notTaken: [2, 3] })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, refused: 3, held: 1 })
      expect(queue.unsafeTakeUpTo(5)).toEqual([0])
      expect(queue.unsafeTakeUpTo(5)).toEqual([])
      expect(interruptions).toEqual([])
    }))

  it.effect("is woken by shutdown with QueueClosed, and only what was in is dropped", () =>
    Effect.gen(function*() {
      const dropped: Array<unknown> = []
      const { queue } = yield* make<number>({ onDrop: (item, reason) => dropped.push([item, reason]) })
      yield* queue.offer(0)
      const fiber = yield* start(queue.offer(1))
      yield* queue.shutdown
      expect(yield* Effect.flip(Fiber.join(fiber))).toMatchObject({ _tag: "QueueClosed", notTaken: [1] })
      expect(dropped).toEqual([[0, "shutdown"]])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 2, refused: 1, dropped: 1, held: 0, taken: 0 })
    }))
})

describe("an offerAll that waits", () => {
  it.effect("takes its items one after the other, and answers the counts", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>({ capacity: 2 })
      const fiber = yield* start(queue.offerAll([1, 2, 3, 4, 5]))
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, held: 3 })
      expect(Chunk.toReadonlyArray(yield* Queue.takeN(queue.dequeue, 5))).toEqual([1, 2, 3, 4, 5])
      expect(yield* Fiber.join(fiber)).toEqual({ accepted: 5, coalesced: 0, dropped: 0 })
    }))

  it.effect("says when it is interrupted how many were taken, and the rest counts as refused", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* make<number>({ capacity: 2 })
      const fiber = yield* start(queue.offerAll([1, 2, 3, 4, 5]))
      yield* Fiber.interrupt(fiber)
      expect(interruptions).toEqual([{ taken: 2, notTaken: [3, 4, 5] }])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 5, refused: 3, held: 2 })
      expect(queue.unsafeTakeUpTo(9)).toEqual([1, 2])
    }))

  it.effect("says when it is interrupted as room comes that this item is in, and takes no more", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* make<number>()
      const fiber = yield* start(queue.offerAll([1, 2, 3, 4]))
      const exit = yield* Effect.suspend(() => {
        expect(queue.unsafeTakeUpTo(1)).toEqual([1])
        return Fiber.interrupt(fiber)
      })
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(interruptions).toEqual([{ taken: 2, notTaken: [3, 4] }])
      expect(queue.unsafeTakeUpTo(9)).toEqual([2])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, refused: 2, taken: 2, held: 0 })
    }))

  it.effect("fails at its timeout with how many were taken", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>({ policy: Backpressure.suspend({ timeout: "50 millis" }) })
      const fiber = yield* start(Effect.flip(queue.offerAll([1, 2, 3])))
      yield* TestClock.adjust("49 millis")
      expect(queue.unsafeTakeUpTo(1)).toEqual([1])
      yield* Effect.yieldNow({ priority: 1 })
      // Each item may wait as long.
      yield* TestClock.adjust("49 millis")
      expect(isWaiting(fiber)).toBe(true)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "OfferTimeout", item: 3, taken: 2, notTaken: [3] })
      expect(queue.unsafeCounts()).toMatchObject({ offered: 3, refused: 1, taken: 1, held: 1 })
    }))
})

describe("a timeout", () => {
  const timed = (timeout: Duration.DurationInput) =>
    make<number>({ name: "timed", policy: Backpressure.suspend({ timeout }) })

  it.effect("ends the wait exactly when it is over, and the error carries the item, which is not in", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* timed("50 millis")
      yield* queue.offer(0)
      const fiber = yield* start(Effect.flip(queue.offer(1)))
      yield* TestClock.adjust("49 millis")
      expect(isWaiting(fiber)).toBe(true)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(fiber)).toMatchObject({
        _tag: "OfferTimeout",
        queue: "timed",
        item: 1,
        taken: 0,
        notTaken: [1],
        timeoutMillis: 50
      })
      expect(queue.unsafeWaiting()).toBe(0)
      expect(queue.unsafeCounts()).toMatchObject({ offered: 2, refused: 1, held: 1 })
      expect(queue.unsafeTakeUpTo(5)).toEqual([0])
      expect(queue.unsafeTakeUpTo(5)).toEqual([])
      expect(interruptions).toEqual([])
    }))

  it.effect("does nothing to an offer that got in before", () =>
    Effect.gen(function*() {
      const { queue } = yield* timed("50 millis")
      yield* queue.offer(0)
      const fiber = yield* start(queue.offer(1))
      yield* TestClock.adjust("49 millis")
      queue.unsafeTakeUpTo(1)
      yield* TestClock.adjust("10 millis")
      expect(yield* Fiber.join(fiber)).toBe("accepted")
      expect(queue.unsafeTakeUpTo(1)).toEqual([1])
    }))

  it.effect("lets those in who waited behind", () =>
    Effect.gen(function*() {
      interface Load {
        readonly weight: number
      }
      const { queue } = yield* make<Load>({
        capacity: 3,
        weigh: (item) => item.weight,
        policy: Backpressure.suspend({ timeout: "50 millis" })
      })
      yield* queue.offer({ weight: 2 })
      const heavy = yield* start(Effect.flip(queue.offer({ weight: 2 })))
      yield* TestClock.adjust("20 millis")
      const light = yield* start(queue.offer({ weight: 1 }))
      expect(isWaiting(light)).toBe(true)
      yield* TestClock.adjust("30 millis")
      expect(yield* Fiber.join(heavy)).toMatchObject({ _tag: "OfferTimeout" })
      expect(yield* Fiber.join(light)).toBe("accepted")
    }))

  it.effect("that is infinite never ends the wait", () =>
    Effect.gen(function*() {
      const { queue } = yield* timed(Duration.infinity)
      yield* queue.offer(0)
      const fiber = yield* start(queue.offer(1))
      yield* TestClock.adjust("1000 days")
      expect(isWaiting(fiber)).toBe(true)
      queue.unsafeTakeUpTo(1)
      expect(yield* Fiber.join(fiber)).toBe("accepted")
    }))

  it.effect("of an offer that is interrupted does not fail it later", () =>
    Effect.gen(function*() {
      const { interruptions, queue } = yield* timed("50 millis")
      yield* queue.offer(0)
      const fiber = yield* start(queue.offer(1))
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("1 second")
      expect(interruptions).toEqual([{ taken: 0, notTaken: [1] }])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 2, refused: 1 })
    }))
})

describe("a heavy offer at the head", () => {
  interface Load {
    readonly id: string
    readonly weight: number
  }
  const load = (id: string, weight: number): Load => ({ id, weight })
  const weighed = make<Load>({ capacity: 4, weigh: (item) => item.weight })

  it.effect("keeps lighter ones waiting behind it, though there is room for them", () =>
    Effect.gen(function*() {
      const { queue } = yield* weighed
      yield* queue.offerAll([load("a", 2), load("b", 1)])
      const heavy = yield* start(queue.offer(load("heavy", 3)))
      const light = yield* start(queue.offer(load("light", 1)))
      expect(queue.unsafeOffer(load("lightest", 1))).toBe("full")
      expect([heavy, light].map(isWaiting)).toEqual([true, true])
      expect(queue.unsafeTakeUpTo(1)).toEqual([load("a", 2)])
      // A weight of 3 fits beside b's, and then nothing more.
      expect(yield* Fiber.join(heavy)).toBe("accepted")
      yield* Effect.yieldNow({ priority: 1 })
      expect(isWaiting(light)).toBe(true)
      expect(queue.unsafeTakeUpTo(9).map(({ id }) => id)).toEqual(["b", "heavy"])
      expect(yield* Fiber.join(light)).toBe("accepted")
    }))

  it.effect("lets the lighter ones in when it is interrupted", () =>
    Effect.gen(function*() {
      const { queue } = yield* weighed
      yield* queue.offer(load("a", 2))
      const heavy = yield* start(queue.offer(load("heavy", 3)))
      const light = yield* Effect.forEach(["b", "c"], (id) => start(queue.offer(load(id, 1))))
      yield* Fiber.interrupt(heavy)
      for (const fiber of light) expect(yield* Fiber.join(fiber)).toBe("accepted")
      expect(queue.unsafeTakeUpTo(9).map(({ id }) => id)).toEqual(["a", "b", "c"])
    }))
})

describe("coalescing while offers wait", () => {
  interface Entry {
    readonly key: string
    readonly value: number
  }
  const entry = (key: string, value: number): Entry => ({ key, value })
  const coalescing = (options?: Partial<PolicyQueue.Options<Entry>>) =>
    make<Entry>({
      policy: Backpressure.coalesceByKey((item: Entry) => item.key, { whenFull: Backpressure.suspend() }),
      ...options
    })

  it.effect("an item of a queued key needs no room and waits for nobody", () =>
    Effect.gen(function*() {
      const { queue } = yield* coalescing()
      yield* queue.offer(entry("a", 0))
      yield* start(queue.offer(entry("b", 0)))
      expect(yield* queue.offer(entry("a", 1))).toBe("coalesced")
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("a", 1)])
    }))

  it.effect("an item of a key that waits, waits behind it", () =>
    Effect.gen(function*() {
      const { queue } = yield* coalescing()
      yield* queue.offer(entry("a", 0))
      yield* start(queue.offer(entry("k", 0)))
      expect(queue.unsafeOffer(entry("k", 1))).toBe("full")
    }))

  it.effect("a newer value of a key is not overwritten by an older one that waited, with another key in between", () =>
    Effect.gen(function*() {
      const { queue } = yield* coalescing()
      yield* queue.offer(entry("a", 0))
      const oldest = yield* start(queue.offer(entry("k", 0)))
      const other = yield* start(queue.offer(entry("b", 0)))
      const older = yield* start(queue.offer(entry("k", 1)))
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("a", 0)])
      // k is in; its second value must be too, or it would overwrite this one later.
      expect(yield* queue.offer(entry("k", 2))).toBe("coalesced")
      expect(yield* Fiber.join(oldest)).toBe("accepted")
      expect(yield* Fiber.join(older)).toBe("coalesced")
      expect(isWaiting(other)).toBe(true)
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("k", 2)])
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("b", 0)])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 5, coalesced: 2, taken: 3, held: 0 })
    }))

  it.effect("who is told of a coalescing may offer a still newer value, and sees counts that add up", () =>
    Effect.gen(function*() {
      const counts: Array<PolicyQueue.Counts> = []
      const { queue } = yield* coalescing({
        onCoalesce: (_, item) => {
          counts.push(queue.unsafeCounts())
          if (item.value < 3) expect(queue.unsafeOffer(entry("k", 3))).toBe("coalesced")
          // Somebody waits for what room there is.
          expect(queue.unsafeOffer(entry("new", 0))).toBe("full")
        }
      })
      yield* queue.offer(entry("a", 0))
      for (const value of [0, 1, 2]) yield* start(queue.offer(entry("k", value)))
      const other = yield* start(queue.offer(entry("b", 0)))
      queue.unsafeTakeUpTo(1)
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("k", 3)])
      expect(yield* Fiber.join(other)).toBe("accepted")
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("b", 0)])
      for (const at of counts) expect(accounted(at)).toBe(at.offered)
    }))

  it.effect("a merge that throws when room comes kills the offer that waited, and not who made the room", () =>
    Effect.gen(function*() {
      const { queue } = yield* coalescing({
        policy: Backpressure.coalesceByKey((item: Entry) => item.key, {
          whenFull: Backpressure.suspend(),
          merge: (held, next) => {
            if (next.value === 13) throw new Error("unlucky")
            return { key: held.key, value: held.value + next.value }
          }
        })
      })
      yield* queue.offer(entry("a", 0))
      yield* start(queue.offer(entry("k", 1)))
      const unlucky = yield* start(queue.offer(entry("k", 13)))
      const lucky = yield* start(queue.offer(entry("k", 2)))
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("a", 0)])
      expect(yield* Fiber.await(unlucky)).toEqual(Exit.die(new Error("unlucky")))
      expect(yield* Fiber.join(lucky)).toBe("coalesced")
      expect(queue.unsafeTakeUpTo(1)).toEqual([entry("k", 3)])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, refused: 1, coalesced: 1, taken: 2, held: 0 })
    }))
})

describe("a consumer that waits", () => {
  it.effect("gets the item past the backing queue, and the counts add up", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>()
      const fiber = yield* start(Queue.take(queue.dequeue))
      expect(queue.unsafeOffer(1)).toBe("accepted")
      expect(queue.unsafeCounts()).toMatchObject({ offered: 1, taken: 1, held: 0 })
      expect(yield* Fiber.join(fiber)).toBe(1)
      const two = yield* start(Queue.takeN(queue.dequeue, 2))
      expect(yield* queue.offerAll([2, 3, 4])).toEqual({ accepted: 3, coalesced: 0, dropped: 0 })
      expect(Chunk.toReadonlyArray(yield* Fiber.join(two))).toEqual([2, 3])
      expect(queue.unsafeCounts()).toMatchObject({ offered: 4, taken: 3, held: 1 })
    }))

  it.effect("does not make a weight be forgotten or an impossible one be taken", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>({ capacity: 2, weigh: (item) => item })
      const fiber = yield* start(Queue.take(queue.dequeue))
      const error: QueueError.OfferError<number> = yield* Effect.flip(queue.offer(3))
      expect(error).toMatchObject({ _tag: "InvalidWeight", weight: 3 })
      expect(yield* queue.offer(2)).toBe("accepted")
      expect(yield* Fiber.join(fiber)).toBe(2)
      // What went past the queue has left no weight in it.
      expect(yield* queue.offer(2)).toBe("accepted")
    }))

  it.effect("is interrupted by shutdown, not by close", () =>
    Effect.gen(function*() {
      const { queue } = yield* make<number>()
      const fiber = yield* start(Queue.take(queue.dequeue))
      yield* queue.close
      yield* Effect.yieldNow({ priority: 1 })
      expect(isWaiting(fiber)).toBe(true)
      yield* queue.shutdown
      expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(true)
    }))
})

import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, DrainRate, type QueueError, ShardPool, WriteBehind } from "@sluice/core"
import { Effect, Schema, TestClock } from "effect"
import { settleDown } from "./support/batchQueue.ts"

describe("a drain rate", () => {
  const timed = () => {
    const clock = { now: 0 }
    return { clock, rate: DrainRate.make(() => clock.now) }
  }
  const after = (millis: number, drained: number) => {
    const { clock, rate } = timed()
    rate.note(0)
    clock.now = millis
    rate.note(drained)
    return { clock, rate }
  }

  it("knows nothing where nothing has drained yet", () => {
    const { clock, rate } = timed()
    expect(rate.retryAfterMillis(1)).toBe(undefined)
    rate.note(0)
    clock.now = 5000
    rate.note(0)
    expect(rate.retryAfterMillis(1)).toBe(undefined)
  })

  it("tells each when there will be room behind those who were refused before", () => {
    const { clock, rate } = after(1000, 50)
    expect(rate.perSecond).toBe(50)
    expect([rate.retryAfterMillis(1), rate.retryAfterMillis(10), rate.retryAfterMillis(1)]).toEqual([20, 220, 240])
    clock.now += 200
    expect(rate.retryAfterMillis(1)).toBe(60)
  })

  it("answers at least 1 and at most a minute", () => {
    expect(after(1000, 1e9).rate.retryAfterMillis(1)).toBe(1)
    const { rate } = after(1000, 1)
    const told = Array.from({ length: 200 }, () => rate.retryAfterMillis(10)!)
    expect(Math.max(...told)).toBe(60_000)
    // Those who are told the longest do not come back together.
    expect(new Set(told.slice(100)).size).toBeGreaterThan(10)
  })

  it("tells to wait as long again as nothing has moved", () => {
    const { clock, rate } = after(1000, 50)
    clock.now += 40_000
    rate.note(50)
    expect(rate.perSecond).toBe(0)
    const told = rate.retryAfterMillis(1)!
    expect(told).toBeGreaterThanOrEqual(20_000)
    expect(told).toBeLessThanOrEqual(40_000)
    clock.now += 1e9
    expect(rate.retryAfterMillis(1)).toBeLessThanOrEqual(60_000)
  })

  it("forgets how fast it was half a minute ago", () => {
    const { clock, rate } = after(1000, 1000)
    for (let second = 1; second <= 30; second++) {
      clock.now += 1000
      rate.note(1000 + second)
    }
    expect(rate.perSecond).toBe(1)
  })

  it("is not measured over moments", () => {
    const { clock, rate } = timed()
    for (let n = 0; n <= 10_000; n++) {
      rate.note(n)
      clock.now += 1
    }
    expect(rate.perSecond).toBeCloseTo(1000)
  })
})

describe("QueueFull says when a retry may succeed:", () => {
  const full = (error: { readonly _tag: string }) => {
    expect(error._tag).toBe("QueueFull")
    return (error as QueueError.QueueFull).retryAfterMillis
  }

  /** Two items a second. */
  const twoASecond = {
    name: "q",
    capacity: 4,
    batchSize: 2,
    drainTimeout: 0,
    policy: Backpressure.reject,
    flush: () => Effect.sleep("1 second")
  }

  it.scoped("a WriteBehind", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>(twoASecond)
      const five = [1, 2, 3, 4].map(queue.unsafeOffer)
      expect(five).toEqual(["accepted", "accepted", "accepted", "accepted"])
      expect(full(yield* Effect.flip(queue.offerAllOrNone([5])))).toBe(undefined)
      for (let second = 0; second < 10; second++) {
        yield* TestClock.adjust("1 second")
        yield* Effect.ignore(queue.offerAll([1, 2, 3, 4]))
      }
      yield* TestClock.adjust("1 minute")
      for (let second = 0; second < 10; second++) {
        yield* Effect.ignore(queue.offerAll([1, 2, 3, 4]))
        yield* TestClock.adjust("1 second")
      }
      yield* queue.offerAll([1, 2])
      expect(full(yield* Effect.flip(queue.offer(1)))).toBe(500)
      expect(full(yield* Effect.flip(queue.offer(1)))).toBe(1000)
      expect(full(yield* Effect.flip(queue.offerAllOrNone([1, 2])))).toBe(2000)
    }))

  it.scoped("a WriteBehind whose policy has a timeout, with OfferTimeout", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        ...twoASecond,
        capacity: 1,
        batchSize: 1,
        policy: Backpressure.suspend({ timeout: 100 }),
        flush: () => Effect.sleep("10 seconds")
      })
      yield* queue.offerAll([1, 2])
      const offer = yield* Effect.fork(Effect.flip(queue.offer(3)))
      yield* TestClock.adjust("100 millis")
      expect(yield* offer).toMatchObject({ _tag: "OfferTimeout", timeoutMillis: 100, retryAfterMillis: 100 })
    }))

  it.scoped("a ShardPool", () =>
    Effect.gen(function*() {
      const pool = yield* ShardPool.make({
        name: "p",
        shards: 1,
        capacity: 1,
        drainTimeout: 0,
        policy: Backpressure.reject,
        key: (command: string) => command,
        execute: () => Effect.sleep("1 second")
      })
      for (let second = 0; second < 10; second++) {
        yield* pool.offer("a")
        yield* TestClock.adjust("1 second")
      }
      yield* pool.offer("a")
      yield* settleDown
      yield* pool.offer("a")
      expect(full(yield* Effect.flip(pool.submit("a")))).toBe(Math.ceil(10_000 / 11))
    }))

  it.scoped("a BatchQueue whose store has as many items as it may", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        name: "q",
        schema: Schema.Number,
        maxPending: { items: 10, whenFull: "reject" },
        drainTimeout: 0,
        process: () => Effect.sleep("1 second")
      })
      const ten = Array.from({ length: 10 }, (_, n) => n)
      expect(yield* Effect.either(queue.offerAll(ten))).toMatchObject({ _tag: "Right" })
      expect(full(yield* Effect.flip(queue.offer(1)))).toBe(undefined)
      yield* settleDown
      yield* TestClock.adjust("5 seconds")
      yield* settleDown
      yield* queue.offerAll(ten.slice(0, 5))
      expect(full(yield* Effect.flip(queue.offer(1)))).toBe(1000)
      expect(full(yield* Effect.flip(queue.offerAllOrNone([1, 2])))).toBe(3000)
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})

/**
 * Waits of more than 24.8 days, which a timer of JavaScript cannot make in one piece: Effect's Clock never ends them.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, ShardPool, WriteBehind } from "@sluice/core"
import { Clock, Duration, Effect, Exit, Fiber, Schedule, Schema, Scope } from "effect"

/** It jumps from one time to another, and sleeps as the live one does: what is too long for a timer never ends. */
class JumpingClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  private now = 0
  private readonly sleepers = new Set<{ readonly until: number; readonly wake: () => void }>()
  readonly currentTimeMillis = Effect.sync(() => this.now)
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())
  readonly unsafeCurrentTimeMillis = () => this.now
  readonly unsafeCurrentTimeNanos = () => BigInt(this.now) * 1_000_000n
  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Duration.toMillis(duration)
    if (millis > 2 ** 31 - 1) return Effect.never
    if (millis === 0) return Effect.yieldNow()
    return Effect.async((resume) => {
      const sleeper = { until: this.now + millis, wake: () => resume(Effect.void) }
      this.sleepers.add(sleeper)
      return Effect.sync(() => this.sleepers.delete(sleeper))
    })
  }
  jumpTo(now: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.now = now
      for (const sleeper of this.sleepers) {
        if (sleeper.until > now) continue
        this.sleepers.delete(sleeper)
        sleeper.wake()
      }
      return settleDown
    })
  }
}

/** Lets everything happen that needs no time. */
const settleDown = Effect.promise(async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
})

const clock = () => Effect.map(Effect.clock, (clock) => clock as JumpingClock)

const month = 30 * 24 * 3600 * 1000
const twoMonths = 2 * month

/** Passes two months but for a millisecond, looks, and then passes that one. */
const passTwoMonths = (look: () => void) =>
  Effect.gen(function*() {
    yield* settleDown
    const jumping = yield* clock()
    yield* jumping.jumpTo(month)
    yield* jumping.jumpTo(twoMonths - 1)
    look()
    yield* jumping.jumpTo(twoMonths)
  })

/** Runs something, which must end after two months, and not before. */
const lastsTwoMonths = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* passTwoMonths(() => expect(fiber.unsafePoll()).toBe(null))
    expect(fiber.unsafePoll()).not.toBe(null)
    return yield* Fiber.join(fiber)
  })

const inProcess = <A, E, R>(make: Effect.Effect<A, E, R | Scope.Scope>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const made = yield* Scope.extend(make, scope)
    return { made, stop: Scope.close(scope, Exit.void) as Effect.Effect<void> }
  })

const jumping = <A, E>(effect: Effect.Effect<A, E, Scope.Scope | BatchStore.BatchStore>) =>
  effect.pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory), Effect.withClock(new JumpingClock()))

const failingOnce = () => {
  let calls = 0
  return Effect.suspend(() => ++calls === 1 ? Effect.fail("once" as const) : Effect.void)
}

const leaseDuration = 20 * twoMonths

describe("a wait of two months", () => {
  it.live("is what a retry of a WriteBehind waits", () =>
    Effect.gen(function*() {
      const handle = failingOnce()
      const queue = yield* WriteBehind.make<number, "once", never>({
        name: "q",
        capacity: 1,
        batchSize: 1,
        retry: Schedule.spaced(twoMonths),
        flush: () => handle
      })
      yield* queue.offer(1)
      yield* lastsTwoMonths(queue.awaitIdle)
      expect((yield* queue.metrics).settled).toBe(1)
    }).pipe(jumping))

  it.live("is what an inline retry of a BatchQueue waits", () =>
    Effect.gen(function*() {
      const handle = failingOnce()
      const queue = yield* BatchQueue.make({
        name: "q",
        schema: Schema.Number,
        metrics: false,
        retry: Schedule.spaced(twoMonths),
        inlineDelay: twoMonths,
        leaseDuration,
        onProcessError: () => Effect.void,
        process: () => handle
      })
      yield* queue.offerStored(1)
      yield* settleDown
      yield* passTwoMonths(() => expect(Effect.runSync(queue.metrics).settled).toBe(0))
      expect((yield* queue.metrics).settled).toBe(1)
    }).pipe(jumping))

  it.live("is what an offer waits for room", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "q",
        capacity: 1,
        batchSize: 1,
        policy: Backpressure.suspend({ timeout: twoMonths }),
        flush: () => Effect.never,
        drainTimeout: 0
      })
      yield* queue.offerAll([1, 2])
      const error = yield* lastsTwoMonths(Effect.flip(queue.offer(3)))
      expect(error._tag).toBe("OfferTimeout")
    }).pipe(jumping))

  it.live("is what closing a WriteBehind takes at most", () =>
    Effect.gen(function*() {
      const { made, stop } = yield* inProcess(WriteBehind.make<number, never, never>({
        name: "q",
        capacity: 1,
        batchSize: 1,
        flush: () => Effect.never,
        drainTimeout: twoMonths
      }))
      yield* made.offer(1)
      yield* settleDown
      yield* lastsTwoMonths(stop)
      expect((yield* made.metrics).droppedByReason).toMatchObject({ shutdown: 1 })
    }).pipe(jumping))

  it.live("is what closing a BatchQueue takes at most", () =>
    Effect.gen(function*() {
      const { made, stop } = yield* inProcess(BatchQueue.make({
        name: "q",
        schema: Schema.Number,
        metrics: false,
        process: () => Effect.never,
        leaseDuration,
        drainTimeout: twoMonths
      }))
      yield* made.offerStored(1)
      yield* settleDown
      yield* lastsTwoMonths(stop)
    }).pipe(jumping))

  it.live("is what closing a ShardPool takes at most", () =>
    Effect.gen(function*() {
      const { made, stop } = yield* inProcess(ShardPool.make<string, never, never, never, never>({
        name: "p",
        shards: 1,
        drainTimeout: twoMonths,
        key: (command) => command,
        execute: () => Effect.never
      }))
      yield* Effect.fork(made.submit("a"))
      yield* settleDown
      yield* lastsTwoMonths(stop)
    }).pipe(jumping))

  it.live("passes between two beats of a lease that is long enough", () =>
    Effect.gen(function*() {
      const stores = yield* BatchStore.BatchStore
      let beats = 0
      const counting: BatchStore.BatchStore = {
        ...stores,
        queue: (name) =>
          Effect.map(stores.queue(name), (store) =>
            Object.assign(Object.create(store), {
              extend: (...args: Parameters<typeof store.extend>) =>
                Effect.zipRight(Effect.sync(() => beats++), store.extend(...args))
            }))
      }
      const queue = yield* BatchQueue.make({
        name: "q",
        schema: Schema.Number,
        metrics: false,
        leaseDuration: 3 * twoMonths,
        drainTimeout: 0,
        process: () => Effect.never
      }).pipe(Effect.provideService(BatchStore.BatchStore, counting))
      yield* queue.offerStored(1)
      yield* passTwoMonths(() => expect(beats).toBe(0))
      expect(beats).toBe(1)
    }).pipe(jumping))
})

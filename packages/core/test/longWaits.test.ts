/**
 * Waits of more than 24.8 days, which a timer of JavaScript cannot make in one piece: Effect's Clock never ends them.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, Decision, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { timeoutOption } from "@sluice/core/unstable/Sleep"
import { Clock, Duration, Effect, Exit, Fiber, Option, Schedule, Schema, Scope } from "effect"

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

const numbers = { name: "q", schema: Schema.Number, metrics: false } as const

const commands = { name: "p", shards: 1, drainTimeout: 0, key: (command: string) => command } as const

describe("a wait of two months", () => {
  it.live("is what a timeout waits, and it takes an answer that comes before", () =>
    Effect.gen(function*() {
      expect(yield* lastsTwoMonths(timeoutOption(Effect.never, twoMonths))).toEqual(Option.none())
      expect(yield* timeoutOption(Effect.succeed(1), twoMonths)).toEqual(Option.some(1))
    }).pipe(jumping))

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

  it.live("is what an offer to a BatchQueue waits for room", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        ...numbers,
        capacity: 1,
        workers: 0,
        maxPending: 1,
        policy: Backpressure.suspend({ timeout: twoMonths }),
        process: () => Effect.void
      })
      yield* queue.offerStored(1)
      yield* queue.offer(2)
      yield* settleDown
      yield* queue.offer(3)
      const error = yield* lastsTwoMonths(Effect.flip(Effect.forever(queue.offer(4))))
      expect(error._tag).toBe("OfferTimeout")
    }).pipe(jumping))

  it.live("is what a command waits for room", () =>
    Effect.gen(function*() {
      const pool = yield* ShardPool.make<string, never, never, never, never>({
        ...commands,
        capacity: 1,
        policy: Backpressure.suspend({ timeout: twoMonths }),
        execute: () => Effect.never
      })
      yield* pool.offer("a")
      yield* settleDown
      yield* pool.offer("a")
      const error = yield* lastsTwoMonths(Effect.flip(pool.offer("a")))
      expect(error._tag).toBe("OfferTimeout")
    }).pipe(jumping))

  it.live("is what a drain of a ShardPool takes at most", () =>
    Effect.gen(function*() {
      const pool = yield* ShardPool.make<string, never, never, never, never>({
        ...commands,
        execute: () => Effect.never
      })
      yield* pool.offer("a")
      yield* settleDown
      const error = yield* lastsTwoMonths(Effect.flip(pool.drain(twoMonths)))
      expect(error).toMatchObject({ _tag: "DrainTimeout", left: [{ command: "a" }] })
    }).pipe(jumping))

  it.live("is how long a ShardPool knows a key", () =>
    Effect.gen(function*() {
      const pool = yield* ShardPool.make({
        ...commands,
        idleTimeToLive: twoMonths,
        currentVersion: () => Effect.succeed(0),
        execute: () => Effect.void
      })
      yield* pool.submit("a")
      yield* passTwoMonths(() => expect(Effect.runSync(pool.metrics).keys).toBe(1))
      yield* (yield* clock()).jumpTo(2 * twoMonths)
      expect((yield* pool.metrics).keys).toBe(0)
    }).pipe(jumping))

  it.live("is how long a keyed batch takes operations", () =>
    Effect.gen(function*() {
      const counts = yield* KeyedBatch.make({ name: "k", initial: () => 0, minDuration: twoMonths })
      expect(yield* lastsTwoMonths(counts.modify("a", (count) => [count, count + 1]))).toBe(0)
    }).pipe(jumping))

  it.live("is how long a keyed batch may take", () =>
    Effect.gen(function*() {
      const counts = yield* KeyedBatch.make({
        name: "k",
        load: (): Effect.Effect<number> => Effect.never,
        minDuration: 0,
        maxDuration: twoMonths
      })
      const error = yield* lastsTwoMonths(Effect.flip(counts.modify("a", (count) => [count, count])))
      expect(error._tag).toBe("BatchTimeout")
    }).pipe(jumping))

  it.live("is the interval at which a WriteBehind flushes", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "q",
        capacity: 2,
        flushInterval: twoMonths,
        flush: () => Effect.void
      })
      yield* queue.offer(1)
      yield* lastsTwoMonths(queue.awaitIdle)
    }).pipe(jumping))

  it.live("is how long a batch of a BatchQueue stays open", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({ ...numbers, flush: { linger: twoMonths }, process: () => Effect.void })
      yield* queue.offer(1)
      yield* passTwoMonths(() => expect(Effect.runSync(queue.metrics).settled).toBe(0))
      expect((yield* queue.metrics).settled).toBe(1)
    }).pipe(jumping))

  it.live("is what the other side has asked for", () =>
    Effect.gen(function*() {
      const handle = failingOnce()
      const queue = yield* BatchQueue.make({
        ...numbers,
        // Nobody looks in between.
        pollInterval: 10 * twoMonths,
        decide: () => Decision.retryAfter(twoMonths),
        onProcessError: () => Effect.void,
        process: () => handle
      })
      yield* queue.offerStored(1)
      yield* settleDown
      yield* passTwoMonths(() => expect(Effect.runSync(queue.metrics).settled).toBe(0))
      expect((yield* queue.metrics).settled).toBe(1)
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

describe("a wait for ever", () => {
  it.live("before a retry ends the retries of a WriteBehind: nothing behind it is held up", () =>
    Effect.gen(function*() {
      const handle = failingOnce()
      const queue = yield* WriteBehind.make<number, "once", never>({
        name: "q",
        capacity: 2,
        batchSize: 1,
        retry: Schedule.spaced(Duration.infinity),
        flush: () => handle
      })
      yield* queue.offerAll([1, 2])
      yield* queue.awaitIdle
      expect(yield* queue.metrics).toMatchObject({ settled: 1, droppedByReason: { "retries-exhausted": 1 } })
    }).pipe(jumping))

  it.live("before a retry of a BatchQueue is a dead letter", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        ...numbers,
        retry: Schedule.spaced(Duration.infinity),
        onProcessError: () => Effect.void,
        process: () => Effect.fail("always")
      })
      yield* queue.offerStored(1)
      yield* settleDown
      expect(yield* queue.deadLetters.list()).toMatchObject([{ reason: "retries-exhausted" }])
    }).pipe(jumping))

  it.live("for room ends with the room", () =>
    Effect.gen(function*() {
      const flushing = yield* Effect.makeLatch()
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "q",
        capacity: 1,
        batchSize: 1,
        policy: Backpressure.suspend({ timeout: Duration.infinity }),
        flushInterval: Duration.infinity,
        flush: () => flushing.await
      })
      yield* queue.offerAll([1, 2])
      const waiting = yield* Effect.fork(queue.offer(3))
      yield* (yield* clock()).jumpTo(twoMonths)
      expect(waiting.unsafePoll()).toBe(null)
      yield* flushing.open
      expect(yield* Fiber.join(waiting)).toBe("accepted")
    }).pipe(jumping))

  it.live("is what closing may take, and it ends with the work", () =>
    Effect.gen(function*() {
      const working = yield* Effect.makeLatch()
      const drainTimeout = Duration.infinity
      const writeBehind = yield* inProcess(WriteBehind.make<number, never, never>({
        name: "q",
        capacity: 1,
        batchSize: 1,
        drainTimeout,
        flush: () => working.await
      }))
      const pool = yield* inProcess(ShardPool.make({
        ...commands,
        idleTimeToLive: Duration.infinity,
        drainTimeout,
        execute: () => working.await
      }))
      const keyed = yield* inProcess(KeyedBatch.make({
        name: "k",
        load: () => Effect.as(working.await, 0),
        minDuration: 0,
        maxDuration: Duration.infinity
      }))
      yield* writeBehind.made.offer(1)
      yield* pool.made.offer("a")
      yield* Effect.fork(keyed.made.modify("a", (count) => [count, count]))
      yield* settleDown
      const stops = yield* Effect.forEach([writeBehind, pool, keyed], ({ stop }) => Effect.fork(stop))
      yield* (yield* clock()).jumpTo(twoMonths)
      expect(stops.map((stop) => stop.unsafePoll())).toEqual([null, null, null])
      yield* working.open
      yield* Fiber.joinAll(stops)
    }).pipe(jumping))
})

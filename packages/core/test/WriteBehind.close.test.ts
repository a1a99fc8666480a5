import { describe, expect, it } from "@effect/vitest"
import { Backpressure, type QueueEvent, WriteBehind } from "@sluice/core"
import { Cause, Chunk, Deferred, Effect, Exit, Fiber, Logger, LogLevel, Scope, Stream, TestClock } from "effect"
import { ownBackPressure } from "./support/backPressure.ts"
import { accounted, failing, Sink } from "./support/sink.ts"
import { campaign } from "./support/campaigns.ts"

/** A queue in a scope of its own, which the test closes. */
const setup = (options?: Partial<WriteBehind.Options<number, unknown, never>>) =>
  Effect.gen(function*() {
    const sink = new Sink<number>()
    const dropped: Array<readonly [number, string]> = []
    const scope = yield* Scope.make()
    const queue = yield* WriteBehind.make<number, unknown, never>({
      name: "test",
      capacity: 10,
      batchSize: 2,
      flush: sink.flush,
      onDrop: (item, reason) => dropped.push([item, reason]),
      ...options
    }).pipe(Scope.extend(scope))
    return { close: Scope.close(scope, Exit.void), dropped, queue, sink }
  })

describe("closing the scope", () => {
  it.effect("flushes what is held in batches", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup({ batchSize: 4 })
      yield* queue.offerAll([1, 2, 3, 4, 5, 6])
      yield* close
      expect(sink.items).toEqual([[1, 2, 3, 4], [5, 6]])
      expect(sink.triggers).toEqual(["size", "shutdown"])
      expect(yield* queue.metrics).toMatchObject({ offered: 6, settled: 6, held: 0 })
    }))

  it.effect("refuses every later call that waits, and closing twice does nothing", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup()
      yield* close
      yield* close
      expect(yield* Effect.flip(queue.offer(1))).toMatchObject({ _tag: "QueueClosed", taken: 0, notTaken: [1] })
      expect(yield* Effect.flip(queue.offerAll([1, 2]))).toMatchObject({ _tag: "QueueClosed", notTaken: [1, 2] })
      expect(queue.unsafeOffer(1)).toBe("closed")
      expect((yield* Effect.flip(queue.flushNow))._tag).toBe("QueueClosed")
      expect((yield* Effect.flip(queue.awaitIdle))._tag).toBe("QueueClosed")
      expect(sink.attempts).toEqual([])
      const metrics = yield* queue.metrics
      expect(metrics).toMatchObject({ offered: 4, refused: 4 })
    }))

  it.effect("wakes waiting offers with QueueClosed, which carries what was not taken", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup({ capacity: 2, policy: Backpressure.suspend() })
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust(0)
      yield* queue.offerAll([3, 4])
      const waiting = yield* Effect.fork(Effect.flip(queue.offerAll([5, 6])))
      yield* TestClock.adjust(0)
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust(0)
      expect(yield* Fiber.join(waiting)).toMatchObject({ _tag: "QueueClosed", taken: 0, notTaken: [5, 6] })
      yield* gate.open
      yield* Fiber.join(closing)
      expect(sink.items).toEqual([[1, 2], [3, 4]])
      const metrics = yield* queue.metrics
      expect(metrics).toMatchObject({ offered: 6, refused: 2, settled: 4 })
    }))

  it.effect("cuts a running backoff short for one attempt at once, and honours the later ones", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup()
      sink.script.push(failing("down"), failing("down"))
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("10 millis")
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust(0)
      expect(sink.attempts.length).toBe(2)
      yield* TestClock.adjust("199 millis")
      expect(sink.attempts.length).toBe(2)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      expect(yield* queue.metrics).toMatchObject({ settled: 2, dropped: 0 })
    }))

  it.effect("with a sink that hangs ends after drainTimeout, and reports what is left", () =>
    Effect.gen(function*() {
      const { close, dropped, queue, sink } = yield* setup({ drainTimeout: "5 seconds" })
      sink.script.push(() => Effect.never)
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust(0)
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("4999 millis")
      expect(yield* Fiber.poll(closing)).toMatchObject({ _tag: "None" })
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      expect(dropped).toEqual([[1, "shutdown"], [2, "shutdown"], [3, "shutdown"]])
      const metrics = yield* queue.metrics
      expect(metrics).toMatchObject({ dropped: 3, droppedByReason: { shutdown: 3 }, held: 0 })
    }))

  it.effect("does not wait for a sink that cannot be interrupted, and ignores what it answers later", () =>
    Effect.gen(function*() {
      const { close, dropped, queue, sink } = yield* setup({ drainTimeout: "1 second" })
      const late = yield* Deferred.make<void>()
      sink.script.push(() => Effect.uninterruptible(Deferred.await(late)))
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust(0)
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      yield* Deferred.succeed(late, undefined)
      yield* TestClock.adjust("1 second")
      expect(dropped.length).toBe(2)
      expect(yield* queue.metrics).toMatchObject({ settled: 0, dropped: 2, held: 0 })
    }))

  it.effect("under an endless retry schedule ends after drainTimeout", () =>
    Effect.gen(function*() {
      const { close, dropped, queue, sink } = yield* setup()
      for (let i = 0; i < 1000; i++) sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2, 3])
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("30 seconds")
      yield* Fiber.join(closing)
      expect(dropped.map(([item]) => item)).toEqual([1, 2, 3])
    }))

  it.effect("ends a flushNow that is running with what became of its items", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup({ drainTimeout: "1 second" })
      sink.script.push(() => Effect.never)
      yield* queue.offerAll([1, 2, 3])
      const flushing = yield* Effect.fork(queue.flushNow)
      yield* TestClock.adjust(0)
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      expect(yield* Fiber.join(flushing)).toEqual({ settled: 0, dropped: 3 })
    }))

  it.effect("ends the event stream after the last event", () =>
    Effect.gen(function*() {
      const { close, queue } = yield* setup()
      const events = yield* Effect.fork(Stream.runCollect(queue.events))
      yield* TestClock.adjust(0)
      yield* queue.offer(1)
      yield* close
      const tags = Chunk.toReadonlyArray(yield* Fiber.join(events)).map((event: QueueEvent.QueueEvent<number>) =>
        event._tag
      )
      expect(tags).toEqual(["Flushed", "Settled"])
      expect(Chunk.size(yield* Stream.runCollect(queue.events))).toBe(0)
    }))

  it.effect("while producers race it: each offer is delivered or refused", () =>
    Effect.gen(function*() {
      for (const policy of [Backpressure.suspend(), Backpressure.reject]) {
        const { close, queue, sink } = yield* setup({ capacity: 3, policy })
        const taken: Array<number> = []
        const producers = yield* Effect.fork(
          Effect.forEach(Array.from({ length: 20 }, (_, producer) => producer), (producer) =>
            Effect.forEach(
              Array.from({ length: 10 }, (_, i) => producer * 10 + i),
              (item) =>
                queue.offer(item).pipe(
                  Effect.tap(() => taken.push(item)),
                  Effect.ignore,
                  Effect.zipLeft(Effect.yieldNow())
                )
            ), { concurrency: "unbounded" })
        )
        yield* Effect.yieldNow()
        yield* Effect.yieldNow()
        yield* close
        yield* Fiber.join(producers)
        const metrics = yield* queue.metrics
        expect(sink.items.flat().sort((a, b) => a - b)).toEqual(taken.sort((a, b) => a - b))
        expect(metrics).toMatchObject({ offered: 200, held: 0, dropped: 0 })
        expect(accounted(metrics)).toBe(200)
      }
    }))

  it.effect("again and again leaks no fiber", () =>
    Effect.gen(function*() {
      const self = yield* Effect.withFiberRuntime<Fiber.RuntimeFiber<unknown, unknown>>((fiber) =>
        Effect.succeed(fiber as any)
      )
      const running = () => Fiber.unsafeRoots().length + Array.from((self as any)._children ?? []).length
      const cycle = Effect.gen(function*() {
        const { close, queue } = yield* setup({ shards: 2, shardBy: (item) => item, policy: Backpressure.suspend() })
        yield* queue.offerAll([1, 2, 3])
        yield* close
      })
      yield* cycle
      yield* Effect.yieldNow()
      const before = running()
      for (let i = 0; i < campaign(1000); i++) yield* cycle
      yield* TestClock.adjust(0)
      expect(running()).toBeLessThanOrEqual(before)
    }))
})

describe("a fiber of the queue that dies", () => {
  it.effect("while draining is told to whoever closes the scope", () =>
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
      const { close, queue } = yield* setup({ policy: breaking }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
      yield* queue.offer(1)
      isBroken = true
      expect(Cause.pretty(yield* Effect.flip(Effect.sandbox(close)))).toContain("no such slot")
    }))

  it.effect("is told to everybody who waits and to whoever closes the scope, and nothing hangs", () =>
    Effect.gen(function*() {
      const broken: Backpressure.Policy<number> = {
        _tag: "broken",
        pair: (options) => {
          const pair = Backpressure.dropOldest.pair(options)
          pair.backing.pollUpTo = () => {
            throw new Error("no such slot")
          }
          return pair
        }
      }
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push([logLevel.label, String(message)]))
      const { close, queue } = yield* setup({ policy: broken }).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      yield* queue.offer(1)
      const causeOf = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.map(Effect.flip(Effect.sandbox(effect)), Cause.pretty)
      expect(yield* causeOf(queue.flushNow)).toContain("no such slot")
      expect(yield* causeOf(queue.awaitIdle)).toContain("no such slot")
      expect((yield* Effect.flip(queue.offer(2)))._tag).toBe("QueueClosed")
      expect(yield* causeOf(close)).toContain("no such slot")
      expect(logged).toEqual([["FATAL", expect.stringContaining("test: a fiber of the queue died")]])
    }))
})

describe("a policy of a user's own whose offers wait", () => {
  it.effect("is served to the last item", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup({ capacity: 2, batchSize: 2, policy: ownBackPressure })
      const offers = yield* Effect.fork(
        Effect.forEach([1, 2, 3, 4, 5, 6, 7], (item) => queue.offer(item), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(offers)
      yield* close
      expect(sink.items.flat().sort()).toEqual([1, 2, 3, 4, 5, 6, 7])
      expect(yield* queue.metrics).toMatchObject({ offered: 7, settled: 7, held: 0 })
    }))

  it.effect("that dies of its shutdown leaves no fiber behind", () =>
    Effect.gen(function*() {
      const dying: Backpressure.Policy<number> = {
        _tag: "dying",
        pair: (options) => {
          const pair = Backpressure.dropOldest.pair(options)
          Object.assign(pair.strategy, { shutdown: Effect.die("no end") })
          return pair
        }
      }
      let interrupted = false
      const { close, queue, sink } = yield* setup({ policy: dying, drainTimeout: 0 })
      sink.script.push(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true))))
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust(0)
      const closing = yield* Effect.fork(Effect.exit(close))
      yield* TestClock.adjust(0)
      expect(String(yield* Fiber.join(closing))).toContain("no end")
      expect(interrupted).toBe(true)
    }))

  it.effect("does not leave flushNow or awaitIdle hanging after the close", () =>
    Effect.gen(function*() {
      const { close, queue, sink } = yield* setup({
        capacity: 1,
        batchSize: 1,
        policy: ownBackPressure,
        drainTimeout: "10 millis"
      })
      sink.script.push(() => Effect.never)
      yield* queue.offer(1)
      yield* TestClock.adjust(0)
      yield* queue.offer(2)
      const waiting = yield* Effect.fork(Effect.exit(queue.offer(3)))
      yield* TestClock.adjust(0)
      const flushing = yield* Effect.fork(queue.flushNow)
      const idle = yield* Effect.fork(queue.awaitIdle)
      yield* TestClock.adjust(0)
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("10 millis")
      yield* Fiber.joinAll([closing, idle])
      expect((yield* Fiber.join(flushing)).settled).toBe(0)
      expect(Exit.isFailure(yield* Fiber.join(waiting))).toBe(true)
    }))
})

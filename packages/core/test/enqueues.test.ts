/** The views that producers of Effect Queues offer to. */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import { Cause, Chunk, Effect, Exit, Fiber, Option, Queue, Schema, Scope, Stream, Take, TestClock } from "effect"

const held = { name: "numbers", capacity: 2, batchSize: 10, flushInterval: "1 hour", flush: () => Effect.void } as const

describe("a stream that is run into a WriteBehind", () => {
  it.scoped("is offered in order, and its end leaves the queue open", () =>
    Effect.gen(function*() {
      const flushed: Array<number> = []
      const flush = ({ items }: { readonly items: ReadonlyArray<number> }) =>
        Effect.sync(() => void flushed.push(...items))
      const queue = yield* WriteBehind.make<number>({ ...held, capacity: 1000, flush })
      yield* Stream.runIntoQueue(Stream.rechunk(Stream.range(1, 9), 4), queue.enqueueTakes)
      yield* Effect.scoped(Stream.runIntoQueueScoped(Stream.make(10), queue.enqueueTakes))
      expect(yield* queue.offer(11)).toBe("accepted")
      yield* queue.flushNow
      expect(flushed).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    }))

  it.scoped("is asked for no more while there is no room", () =>
    Effect.gen(function*() {
      const flushing = yield* Effect.makeLatch()
      const queue = yield* WriteBehind.make<number>({
        ...held,
        batchSize: 2,
        policy: Backpressure.suspend(),
        flush: () => flushing.await
      })
      let asked = 0
      const stream = Stream.rechunk(Stream.range(1, 100), 1).pipe(Stream.tap(() => Effect.sync(() => asked++)))
      const view = queue.enqueueTakes
      const running = yield* Effect.fork(Stream.runIntoQueue(stream, view))
      yield* TestClock.adjust("1 minute")
      expect(asked).toBeLessThan(10)
      expect(yield* Queue.size(view)).toBe(3)
      expect(yield* Queue.isFull(view)).toBe(true)
      yield* flushing.open
      yield* Fiber.join(running)
      expect(asked).toBe(100)
      yield* queue.flushNow
      expect(yield* queue.metrics).toMatchObject({ offered: 100, settled: 100, refused: 0 })
      expect(yield* Queue.size(view)).toBe(0)
    }))

  it.scoped("goes on after an item was refused, which is counted", () =>
    Effect.gen(function*() {
      const weigh = (n: number) => n === 2 ? 99 : 1
      const queue = yield* WriteBehind.make<number>({ ...held, capacity: 3, policy: Backpressure.reject, weigh })
      yield* Stream.runIntoQueue(Stream.range(1, 5), queue.enqueueTakes)
      expect(yield* queue.metrics).toMatchObject({ offered: 5, refused: 2, held: 3 })
    }))

  it.scoped("ends the call with a defect of the stream", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number>(held)
      const broken = Stream.concat(Stream.make(1), Stream.die("broken"))
      const exit = yield* Effect.exit(Stream.runIntoQueue(broken, queue.enqueueTakes))
      expect(Exit.isFailure(exit) && Array.from(Cause.defects(exit.cause))).toEqual(["broken"])
      const view = queue.enqueueTakes
      expect(() => view.unsafeOffer(Take.die("broken"))).toThrow("broken")
      expect(view.unsafeOffer(Take.end)).toBe(true)
      expect(view.unsafeOffer(Take.chunk(Chunk.make(2, 3)))).toBe(true)
      expect(yield* queue.metrics).toMatchObject({ offered: 3, dropped: 1, held: 2 })
    }))

  it.effect("is interrupted once the queue is closed, and what it offers then counts as refused", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const queue = yield* Scope.extend(WriteBehind.make<number>(held), scope)
      const view = queue.enqueueTakes
      const waiting = yield* Effect.fork(Queue.awaitShutdown(view))
      yield* TestClock.adjust("1 second")
      expect(waiting.unsafePoll()).toBeNull()
      expect(yield* Queue.isShutdown(view)).toBe(false)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(waiting)
      expect(yield* Queue.isShutdown(view)).toBe(true)
      const exit = yield* Effect.exit(Stream.runIntoQueue(Stream.make(1), view))
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(view.unsafeOffer(Take.chunk(Chunk.make(1)))).toBe(false)
      expect(yield* queue.metrics).toMatchObject({ offered: 2, refused: 2 })
    }))
})

describe("a producer that offers to a WriteBehind as to an Effect Queue", () => {
  it.scoped("is told whether all of its items are in", () =>
    Effect.gen(function*() {
      const dropping = (yield* WriteBehind.make<number>({ ...held, policy: Backpressure.dropNewest })).enqueue
      expect(yield* Queue.offer(dropping, 1)).toBe(true)
      expect(yield* Queue.offerAll(dropping, [2, 3])).toBe(false)
      expect(dropping.unsafeOffer(4)).toBe(false)

      const refusing = yield* WriteBehind.make<number>({ ...held, policy: Backpressure.reject })
      expect(yield* Queue.isEmpty(refusing.enqueue)).toBe(true)
      expect(yield* Queue.offerAll(refusing.enqueue, [1, 2])).toBe(true)
      expect(yield* Queue.offer(refusing.enqueue, 3)).toBe(false)
      expect(refusing.enqueue.unsafeOffer(4)).toBe(false)
      expect(yield* refusing.metrics).toMatchObject({ offered: 4, refused: 2, held: 2 })
      expect(Queue.capacity(refusing.enqueue)).toBe(2)

      const coalescing = yield* WriteBehind.make<number>({ ...held, policy: Backpressure.coalesceByKey((n) => n) })
      expect(yield* Queue.offerAll(coalescing.enqueue, [1, 1])).toBe(true)
      expect(coalescing.enqueue.unsafeOffer(1)).toBe(true)

      const shards = yield* WriteBehind.make<number>({ ...held, shards: 3, shardBy: (n) => n })
      expect(Queue.capacity(shards.enqueue)).toBe(6)
    }))

  it.scoped("dies of what the policy throws", () =>
    Effect.gen(function*() {
      const policy = Backpressure.coalesceByKey((item: number): number => {
        throw `no key of ${item}`
      })
      const { enqueue } = yield* WriteBehind.make<number>({ ...held, policy })
      const exit = yield* Effect.exit(Queue.offer(enqueue, 1))
      expect(Exit.isFailure(exit) && Array.from(Cause.defects(exit.cause))).toEqual(["no key of 1"])
    }))

  it.scoped("shuts down its own view only: who waits goes on, and later offers are interrupted", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number>({ ...held, capacity: 1, policy: Backpressure.suspend() })
      const { enqueue } = queue
      const others = queue.enqueue
      yield* Queue.offer(enqueue, 1)
      const waiting = yield* Effect.fork(Queue.offer(enqueue, 2))
      const ending = yield* Effect.fork(Queue.awaitShutdown(enqueue))
      const unasked = yield* Effect.fork(Queue.awaitShutdown(enqueue))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(unasked)
      yield* Queue.shutdown(enqueue)
      yield* Fiber.join(ending)
      expect(yield* Queue.isShutdown(enqueue)).toBe(true)
      expect(enqueue.isActive()).toBe(false)
      expect(enqueue.unsafeSize()).toEqual(Option.none())
      expect(Exit.isInterrupted(yield* Effect.exit(Queue.size(enqueue)))).toBe(true)
      expect(Exit.isInterrupted(yield* Effect.exit(Queue.offer(enqueue, 3)))).toBe(true)
      expect(enqueue.unsafeOffer(3)).toBe(false)
      yield* Queue.awaitShutdown(enqueue)

      expect(yield* Queue.isShutdown(others)).toBe(false)
      yield* queue.flushNow
      expect(yield* Fiber.join(waiting)).toBe(true)
      yield* queue.flushNow
      expect(yield* Queue.offer(others, 4)).toBe(true)
      expect(yield* queue.metrics).toMatchObject({ offered: 3, settled: 2, held: 1 })
    }))
})

describe("a BatchQueue", () => {
  it.scoped("stores what it is offered through its views, and counts what is malformed", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        name: "numbers",
        schema: Schema.Positive,
        capacity: 3,
        process: () => Effect.void
      })
      yield* queue.pause
      yield* Stream.runIntoQueue(Stream.range(1, 50), queue.enqueueTakes)
      expect(yield* Queue.offer(queue.enqueue, 51)).toBe(true)
      expect(yield* Queue.offerAll(queue.enqueue, [52, -1, 53])).toBe(false)
      yield* queue.flush
      expect(queue.enqueue.unsafeOffer(-1)).toBe(false)
      expect(queue.enqueue.unsafeOffer(54)).toBe(true)
      yield* queue.flush
      expect((yield* queue.stats).pending.items).toBe(54)
      expect(yield* queue.metrics).toMatchObject({ offered: 56, refused: 2 })
      expect(Queue.capacity(queue.enqueue)).toBe(3)
      expect(yield* Queue.size(queue.enqueue)).toBe(0)
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.effect("interrupts producers once it is closed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const made = BatchQueue.make({ name: "numbers", schema: Schema.Positive, process: () => Effect.void })
      const queue = yield* Scope.extend(made, scope)
      const ending = yield* Effect.fork(Queue.awaitShutdown(queue.enqueue))
      yield* TestClock.adjust("1 second")
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(ending)
      expect(Exit.isInterrupted(yield* Effect.exit(Queue.offer(queue.enqueue, 1)))).toBe(true)
      expect(yield* queue.metrics).toMatchObject({ offered: 1, refused: 1 })
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})

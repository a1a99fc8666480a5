/**
 * A handler that uses its own queue: it must not wait for room that only its own end can make.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, type BatchQueue, BatchStore } from "@sluice/core"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { numbers, numbersInProcess, type Options, settleDown } from "./support/batchQueue.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

/** offered = refused + coalesced + duplicates + dropped + settled + dead + discarded + held */
const accounted = (metrics: BatchQueue.Metrics, inStore: number): number => {
  const { coalesced, discarded, dropped, duplicates, refused } = metrics
  return refused + coalesced + duplicates + dropped + discarded + metrics.settled + inStore + metrics.held
}

/**
 * A queue that is full: item 0 is in the hands of the one handler, 1 waits for room in the store, and 2 fills the
 * intake. `inside` is what the handler does with the queue once `go` is called; it answers what became of it.
 */
const full = <B, E>(
  inside: (queue: BatchQueue.BatchQueue<number>) => Effect.Effect<B, E>,
  options: Options = {}
) =>
  Effect.gen(function*() {
    const go = yield* Deferred.make<void>()
    const answer = yield* Deferred.make<B, E>()
    const made = yield* numbers({ capacity: 1, maxPending: 1, ...options })
    made.sink.script.push(() =>
      Effect.zipRight(Deferred.await(go), Effect.intoDeferred(Effect.suspend(() => inside(made.queue)), answer))
    )
    yield* made.queue.offerStored(0)
    yield* settleDown
    yield* made.queue.offer(1)
    yield* settleDown
    yield* made.queue.offer(2)
    yield* settleDown
    expect(yield* made.queue.metrics).toMatchObject({ inFlight: 1, buffered: 1, held: 2 })
    const run = Effect.gen(function*() {
      yield* Deferred.succeed(go, undefined)
      yield* settleDown
      // Where it waits, it is not done.
      expect(yield* Deferred.isDone(answer)).toBe(true)
      return yield* Deferred.await(answer)
    })
    return { ...made, run }
  })

describe("a handler of a queue that is full", () => {
  const cases: ReadonlyArray<
    readonly [string, (queue: BatchQueue.BatchQueue<number>) => Effect.Effect<unknown, unknown>, unknown, number]
  > = [
    ["offer", (queue) => queue.offer(10), "accepted", 1],
    [
      "offer in a generator",
      (queue) =>
        Effect.gen(function*() {
          return yield* queue.offer(10)
        }),
      "accepted",
      1
    ],
    ["offerAll", (queue) => queue.offerAll([10, 11, 12]), { accepted: 3, coalesced: 0, dropped: 0 }, 3],
    ["offerStored", (queue) => queue.offerStored(10), "stored", 1],
    ["offerStored with an id", (queue) => queue.offerStored(10, { id: "a" }), "stored", 1],
    [
      "offerStoredAllOrNone",
      (queue) => queue.offerStoredAllOrNone([10, 11, 12]),
      { stored: 3, duplicates: 0, dropped: 0, droppedByReason: {} },
      3
    ],
    ["flush", (queue) => queue.flush, undefined, 0],
    [
      "offerStored in a fiber that it forks",
      (queue) => Effect.flatMap(Effect.fork(queue.offerStored(10)), Fiber.join),
      "stored",
      1
    ],
    [
      "offer in a fiber that outlives it",
      (queue) => Effect.flatMap(Effect.forkDaemon(queue.offer(10)), Fiber.join),
      "accepted",
      1
    ]
  ]
  for (const [name, inside, expected, added] of cases) {
    it.scoped(`does not wait in ${name}`, () =>
      Effect.gen(function*() {
        const { queue, run, sink } = yield* full(inside)
        expect(yield* run).toEqual(expected)
        yield* settleDown
        expect(sink.items.flat().sort((a, b) => a - b).slice(0, 3)).toEqual([0, 1, 2])
        expect(yield* queue.metrics).toMatchObject({ offered: 3 + added, settled: 3 + added, dropped: 0, refused: 0 })
        expect(accounted(yield* queue.metrics, 0)).toBe(3 + added)
      }).pipe(onMemory))
  }

  it.scoped("has stored what was offered before its flush, and does not wait for what comes later", () =>
    Effect.gen(function*() {
      for (const [size, isInIntake] of [[1, false], [1, true], [100, false], [100, true]] as const) {
        const go = yield* Deferred.make<void>()
        const stored = yield* Deferred.make<number>()
        const { queue, sink } = yield* numbers({ name: `${size} ${isInIntake}`, maxPending: 10, flush: { size } })
        sink.script.push(() =>
          Effect.gen(function*() {
            yield* Deferred.await(go)
            const flush = isInIntake
              ? Effect.zipRight(Effect.sync(() => queue.unsafeOffer(13)), queue.flush)
              : Effect.zipRight(queue.offer(13), Effect.zipRight(Effect.yieldNow(), queue.flush))
            const flushing = yield* Effect.fork(flush)
            yield* Effect.yieldNow()
            if (!isInIntake) yield* Effect.yieldNow()
            // Before the fiber that stores has its turn.
            expect(queue.unsafeOffer(14)).toBe("accepted")
            yield* Fiber.join(flushing)
            yield* Deferred.succeed(stored, (yield* queue.stats).pending.items)
          })
        )
        yield* queue.offerAll([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        if (size === 100) yield* queue.flush
        yield* settleDown
        yield* queue.offerAll([10, 11, 12])
        yield* settleDown
        yield* Deferred.succeed(go, undefined)
        yield* settleDown
        expect(yield* Deferred.isDone(stored)).toBe(true)
        expect(yield* Deferred.await(stored)).toBe(14)
      }
    }).pipe(onMemory))

  it.scoped("may flush however much is buffered", () =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const stored = yield* Deferred.make<number>()
      const { queue, sink } = yield* numbers({ capacity: 3000, maxPending: 1 })
      sink.script.push(() =>
        Effect.gen(function*() {
          yield* Deferred.await(go)
          yield* queue.flush
          yield* Deferred.succeed(stored, (yield* queue.stats).pending.items)
        })
      )
      yield* queue.offerStored(0)
      yield* queue.offerAll(Array.from({ length: 2999 }, (_, n) => n + 1))
      yield* settleDown
      yield* Deferred.succeed(go, undefined)
      expect(yield* Deferred.await(stored)).toBe(3000)
    }).pipe(onMemory))

  it.scoped("counts an id once that another waits with for room", () =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<"stored" | "duplicate", unknown>()
      const { queue, sink } = yield* numbers({ maxPending: 1 })
      sink.script.push(() =>
        Effect.zipRight(
          Deferred.await(go),
          Effect.intoDeferred(Effect.suspend(() => queue.offerStored(7, { id: "a" })), answer)
        )
      )
      yield* queue.offerStored(0)
      const outside = yield* Effect.fork(queue.offerStored(7, { id: "a" }))
      yield* settleDown
      expect(outside.unsafePoll()).toBeNull()
      yield* Deferred.succeed(go, undefined)
      yield* settleDown
      expect(yield* Deferred.isDone(answer)).toBe(true)
      expect(yield* Deferred.await(answer)).toBe("duplicate")
      expect(yield* Fiber.join(outside)).toBe("stored")
      yield* settleDown
      expect(sink.items).toEqual([[0], [7]])
      expect(yield* queue.metrics).toMatchObject({ offered: 3, duplicates: 1, settled: 2 })
    }).pipe(onMemory))

  it.scoped("still is refused where `maxPending` rejects", () =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<ReadonlyArray<string>>()
      const { queue, sink } = yield* numbers({ maxPending: { items: 1, whenFull: "reject" } })
      const tag = Effect.match({ onFailure: (e: { readonly _tag: string }) => e._tag, onSuccess: () => "in" })
      sink.script.push(() =>
        Effect.zipRight(
          Deferred.await(go),
          Effect.intoDeferred(
            Effect.all([tag(queue.offer(1)), tag(queue.offerAll([1])), tag(queue.offerStored(1))]),
            answer
          )
        )
      )
      yield* queue.offerStored(0)
      yield* settleDown
      yield* Deferred.succeed(go, undefined)
      yield* settleDown
      expect(yield* Deferred.await(answer)).toEqual(["QueueFull", "QueueFull", "QueueFull"])
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 3, settled: 1 })
    }).pipe(onMemory))

  it.scoped("follows a policy that does not wait", () =>
    Effect.gen(function*() {
      for (
        const [policy, outcome] of [[Backpressure.dropNewest, "dropped"], [Backpressure.reject, "QueueFull"]] as const
      ) {
        const { run } = yield* full(
          (queue) => Effect.merge(Effect.mapError(queue.offer(10), ({ _tag }) => _tag)),
          { policy, name: outcome }
        )
        expect(yield* run).toBe(outcome)
      }
    }).pipe(onMemory))
})

describe("who is no handler", () => {
  it.scoped("still waits for room", () =>
    Effect.gen(function*() {
      const { queue, run } = yield* full((queue) => queue.offerStored(10))
      const offers: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        queue.offer(3),
        queue.offerAll([4, 5]),
        queue.offerStored(6),
        queue.flush
      ]
      const outside = yield* Effect.forEach(offers, (offer) => Effect.fork(offer))
      yield* settleDown
      expect(outside.map((fiber) => fiber.unsafePoll())).toEqual([null, null, null, null])
      yield* run
      expect((yield* Effect.forEach(outside, (fiber) => fiber.await)).every(Exit.isSuccess)).toBe(true)
    }).pipe(onMemory))

  it.scoped("still waits for room in a handler of another queue", () =>
    Effect.gen(function*() {
      const { queue, run } = yield* full(() => Effect.void)
      const waits = yield* Deferred.make<Fiber.RuntimeFiber<unknown, unknown>>()
      const other = yield* numbers({ name: "other" })
      other.sink.script.push(() => Effect.flatMap(Effect.forkDaemon(queue.offer(3)), (f) => Deferred.succeed(waits, f)))
      yield* other.queue.offerStored(1)
      yield* settleDown
      expect((yield* Deferred.await(waits)).unsafePoll()).toBeNull()
      yield* Fiber.interrupt(yield* Deferred.await(waits))
      yield* run
    }).pipe(onMemory))
})

describe("a handler that closes its own queue", () => {
  it.scoped("is not waited for, and settles what it has", () =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<Effect.Effect<void>>()
      const closed = yield* Deferred.make<void>()
      const other = yield* Deferred.make<void>()
      const { queue, sink, stop } = yield* numbersInProcess({ workers: 2, flush: { size: 1 } })
      sink.script.push(
        () => Effect.zipRight(Effect.flatten(Deferred.await(go)), Deferred.succeed(closed, undefined)),
        () => Deferred.await(other)
      )
      yield* queue.offerAll([1, 2])
      yield* settleDown
      expect((yield* queue.metrics).inFlight).toBe(2)
      yield* Deferred.succeed(go, Effect.zipRight(Effect.ignore(queue.offer(3)), stop))
      yield* settleDown
      // The other handler is waited for.
      expect(yield* Deferred.isDone(closed)).toBe(false)
      expect(yield* queue.metrics).toMatchObject({ stored: 3, settled: 0 })
      yield* Deferred.succeed(other, undefined)
      yield* settleDown
      expect(yield* Deferred.isDone(closed)).toBe(true)
      expect(yield* queue.metrics).toMatchObject({ offered: 3, stored: 3, settled: 2, dropped: 0, buffered: 0 })
      expect((yield* queue.stats).pending.items).toBe(1)
    }).pipe(onMemory))
})

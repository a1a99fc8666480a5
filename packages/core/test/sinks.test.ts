/** Streams that are run into a queue. */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import { Context, Effect, Exit, Fiber, Layer, Schema, Stream, TestClock } from "effect"

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** A stream of items, one for each chunk, and how many of them it was asked for. */
const counted = (to: number) => {
  const asked = { items: 0 }
  const stream = Stream.rechunk(Stream.range(0, to - 1), 1).pipe(Stream.tap(() => Effect.sync(() => asked.items++)))
  return { asked, stream }
}

const Item = Schema.Number

describe("the sink of a WriteBehind", () => {
  it.scoped("offers in order, and says what became of the items", () =>
    Effect.gen(function*() {
      const flushed: Array<number> = []
      const flush = ({ items }: { readonly items: ReadonlyArray<number> }) =>
        Effect.sync(() => void flushed.push(...items))
      const queue = yield* WriteBehind.make<number>({ name: "numbers", capacity: 1000, flush })
      expect(yield* Stream.run(Stream.rechunk(Stream.range(0, 99), 7), queue.sink)).toEqual({
        accepted: 100,
        coalesced: 0,
        dropped: 0
      })
      yield* queue.flushNow
      expect(flushed).toEqual(range(0, 100))
    }))

  it.scoped("counts what is dropped and what is coalesced, and nothing for a stream without items", () =>
    Effect.gen(function*() {
      const options = { name: "numbers", capacity: 2, flushInterval: "1 hour", flush: () => Effect.void } as const
      const dropping = yield* WriteBehind.make<number>({ ...options, batchSize: 10, policy: Backpressure.dropNewest })
      expect(yield* Stream.run(Stream.range(1, 5), dropping.sink)).toEqual({ accepted: 2, coalesced: 0, dropped: 3 })
      const policy = Backpressure.coalesceByKey((n: number) => n % 2)
      const coalescing = yield* WriteBehind.make<number>({ ...options, batchSize: 10, policy })
      expect(yield* Stream.run(Stream.range(1, 5), coalescing.sink)).toEqual({ accepted: 2, coalesced: 3, dropped: 0 })
      expect(yield* Stream.run(Stream.empty, coalescing.sink)).toEqual({ accepted: 0, coalesced: 0, dropped: 0 })
    }))

  it.scoped("asks the stream for no more while there is no room", () =>
    Effect.gen(function*() {
      const flushing = yield* Effect.makeLatch()
      const queue = yield* WriteBehind.make<number>({
        name: "numbers",
        capacity: 2,
        batchSize: 2,
        policy: Backpressure.suspend(),
        flush: () => flushing.await
      })
      const { asked, stream } = counted(100)
      const running = yield* Effect.fork(Stream.run(stream, queue.sink))
      yield* TestClock.adjust("1 minute")
      // Two are flushed, two wait in the queue, and one waits for room.
      expect(asked.items).toBe(5)
      yield* flushing.open
      expect(yield* Fiber.join(running)).toEqual({ accepted: 100, coalesced: 0, dropped: 0 })
      expect(asked.items).toBe(100)
    }))

  it.scoped("fails as an offer does, and withdraws what waits if it is interrupted", () =>
    Effect.gen(function*() {
      const options = { name: "numbers", capacity: 2, flushInterval: "1 hour", flush: () => Effect.void } as const
      const refusing = yield* WriteBehind.make<number>({ ...options, batchSize: 10, policy: Backpressure.reject })
      const refused = yield* Effect.flip(Stream.run(Stream.rechunk(Stream.range(1, 5), 3), refusing.sink))
      expect(refused).toMatchObject({ _tag: "QueueFull", item: 3, taken: 2, notTaken: [3] })

      const suspending = yield* WriteBehind.make<number>({
        ...options,
        batchSize: 2,
        policy: Backpressure.suspend(),
        flush: () => Effect.never,
        drainTimeout: 0
      })
      const { asked, stream } = counted(100)
      const running = yield* Effect.fork(Stream.run(stream, suspending.sink))
      yield* TestClock.adjust("1 minute")
      expect(Exit.isInterrupted(yield* Fiber.interrupt(running))).toBe(true)
      expect(yield* suspending.metrics).toMatchObject({ offered: asked.items, refused: 1, held: asked.items - 1 })
    }))

  it.effect("makes a layer that runs a stream into a queue, which is drained after it", () =>
    Effect.gen(function*() {
      const flushed: Array<number> = []
      class Numbers extends Context.Tag("test/Numbers")<Numbers, WriteBehind.WriteBehind<number>>() {}
      const NumbersLive = WriteBehind.layer(Numbers, {
        name: "numbers",
        capacity: 1000,
        flushInterval: "1 hour",
        flush: ({ items }) => Effect.sync(() => void flushed.push(...items))
      })
      const Feed = Layer.scopedDiscard(Effect.gen(function*() {
        const numbers = yield* Numbers
        yield* Effect.forkScoped(Stream.run(Stream.concat(Stream.range(1, 3), Stream.never), numbers.sink))
      }))
      yield* Effect.provide(TestClock.adjust("1 second"), Layer.provide(Feed, NumbersLive))
      expect(flushed).toEqual([1, 2, 3])
    }))
})

it.scoped("the sink of a BatchQueue offers in order; after a flush, all is stored", () =>
  Effect.gen(function*() {
    const queue = yield* BatchQueue.make({
      name: "numbers",
      schema: Item,
      capacity: 3,
      policy: Backpressure.suspend(),
      process: () => Effect.void
    })
    yield* queue.pause
    const { stream } = counted(50)
    expect(yield* Stream.run(stream, queue.sink)).toEqual({ accepted: 50, coalesced: 0, dropped: 0 })
    yield* queue.flush
    expect((yield* queue.stats).pending.items).toBe(50)
  }).pipe(Effect.provide(BatchStore.layerMemory)))

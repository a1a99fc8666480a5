/**
 * Several queues of one name in one process: no gauge is written by two of them.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { Effect, Exit, Layer, Metric, Schema, Scope, TestClock } from "effect"
import { settleDown } from "./support/batchQueue.ts"

/** The gauge of each queue of a name, by its replica. */
const gauges = (name: string, queue: string) =>
  Object.fromEntries(
    Metric.unsafeSnapshot().flatMap(({ metricKey, metricState }) => {
      const tags = new Map(metricKey.tags.map(({ key, value }) => [key, value]))
      return metricKey.name === name && tags.get("queue") === queue
        ? [[tags.get("replica") ?? "1", (metricState as unknown as { readonly value: number }).value]]
        : []
    })
  )

const published = Effect.zipRight(settleDown, Effect.zipRight(TestClock.adjust("2 seconds"), settleDown))

/** Makes a queue that holds so many items, in a scope of its own. */
type Make = (name: string, held: number) => Effect.Effect<unknown, unknown, Scope.Scope>

const range = (count: number) => Array.from({ length: count }, (_, n) => n)

const systems: Readonly<Record<string, { readonly gauge: string; readonly make: Make }>> = {
  WriteBehind: {
    gauge: "sluice_depth_items",
    make: (name, held) =>
      Effect.gen(function*() {
        const queue = yield* WriteBehind.make<number, never, never>({
          name,
          capacity: 100,
          flushInterval: 0,
          drainTimeout: 0,
          flush: () => Effect.void
        })
        yield* queue.offerAll(range(held))
        yield* settleDown
        // What it holds is told when it has had something to do.
        yield* Effect.fork(queue.awaitIdle)
      })
  },
  ShardPool: {
    gauge: "sluice_depth_items",
    make: (name, held) =>
      Effect.gen(function*() {
        const pool = yield* ShardPool.make({
          name,
          shards: 1,
          drainTimeout: 0,
          key: (command: number) => command,
          execute: () => Effect.never
        })
        yield* Effect.forEach(range(held + 1), pool.offer, { discard: true })
      })
  },
  KeyedBatch: {
    gauge: "sluice_held_items",
    make: (name, held) =>
      Effect.gen(function*() {
        const processor = yield* KeyedBatch.make({
          name,
          load: () => Effect.never,
          minDuration: 0,
          maxDuration: 60_000
        })
        yield* Effect.forEach(range(held), (key) => Effect.forkDaemon(processor.mutate(key, () => 0)))
      })
  },
  BatchQueue: {
    gauge: "sluice_pending_items",
    make: (name, held) =>
      Effect.gen(function*() {
        const queue = yield* BatchQueue.make({
          name,
          schema: Schema.Number,
          workers: 0,
          process: () => Effect.void
        })
        yield* queue.offerStoredAllOrNone(range(held))
      }).pipe(Effect.provide(Layer.fresh(BatchStore.layerMemory)))
  }
}

for (const [system, { gauge, make }] of Object.entries(systems)) {
  describe(`queues of one name: ${system}`, () => {
    it.effect("have gauges of their own, and a name is free again when its queue is closed", () =>
      Effect.gen(function*() {
        const name = `replicas ${system}`
        const open = (held: number) =>
          Effect.gen(function*() {
            const scope = yield* Scope.make()
            yield* Scope.extend(make(name, held), scope)
            yield* published
            return Effect.zipRight(
              Effect.fork(Scope.close(scope, Exit.void)),
              Effect.zipRight(TestClock.adjust("2 minutes"), settleDown)
            )
          })
        const closeFirst = yield* open(3)
        const closeSecond = yield* open(5)
        expect(gauges(gauge, name)).toEqual({ 1: 3, 2: 5 })
        yield* closeFirst
        const closeThird = yield* open(7)
        expect(gauges(gauge, name)).toMatchObject({ 1: 7 })
        expect(Object.keys(gauges(gauge, name))).toEqual(["1", "2"])
        yield* Effect.all([closeSecond, closeThird])
        const closeFourth = yield* open(2)
        expect(gauges(gauge, name)).toMatchObject({ 1: 2 })
        yield* closeFourth
      }))
  })
}

it.scoped("BatchQueues of one name and one store are one queue, and share their metrics", () =>
  Effect.gen(function*() {
    const make = BatchQueue.make({
      name: "replicas of one store",
      schema: Schema.Number,
      workers: 0,
      process: () => Effect.void
    })
    const queues = yield* Effect.all([make, make])
    yield* queues[0].offerStored(1)
    yield* queues[1].offerStored(2)
    yield* published
    expect(gauges("sluice_pending_items", "replicas of one store")).toEqual({ 1: 2 })
  }).pipe(Effect.provide(BatchStore.layerMemory)))

it.scoped("BatchQueues of one name that have other tags are told apart by these alone", () =>
  Effect.gen(function*() {
    const make = (part: string) =>
      BatchQueue.make({
        name: "replicas with tags",
        schema: Schema.Number,
        workers: 0,
        metrics: { tags: { part } },
        process: () => Effect.void
      }).pipe(Effect.provide(Layer.fresh(BatchStore.layerMemory)))
    yield* Effect.all([make("a"), make("b")])
    yield* published
    const replicas = Metric.unsafeSnapshot().filter(({ metricKey }) =>
      metricKey.tags.some(({ value }) => value === "replicas with tags")
      && metricKey.tags.some(({ key }) => key === "replica")
    )
    expect(replicas).toEqual([])
  }))

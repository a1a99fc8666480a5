/**
 * Producers that wait for room, under `suspend`.
 */
import { Backpressure, PolicyQueue, WriteBehind } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { type Case, type Plan, timed, timesAsFast } from "../Benchmark.ts"
import { batchSize, expectCount, makeItems } from "./items.ts"

const items = makeItems(batchSize)
const batches = 100
const operations = batches * batchSize

const makeQueue = (capacity: number) =>
  Effect.orDie(PolicyQueue.make<unknown>({ policy: Backpressure.suspend(), capacity }))

const produce = (offer: (item: unknown) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    for (let batch = 0; batch < batches; batch++) {
      for (const item of items) yield* offer(item)
    }
  })

/** One fiber offers, without making way, and another takes until it has everything. */
const race = (
  name: string,
  offer: (item: unknown) => Effect.Effect<unknown, unknown>,
  take: Effect.Effect<number>
): Case =>
  timed(
    name,
    operations,
    Effect.gen(function*() {
      const producer = yield* Effect.fork(Effect.orDie(produce(offer)))
      let taken = 0
      while (taken < operations) taken += yield* take
      yield* Fiber.join(producer)
      expectCount(name, taken, operations)
    })
  )

const takeOne = <A>(queue: Queue.Dequeue<A>) => Effect.as(Queue.take(queue), 1)
const takeMany = <A>(queue: Queue.Dequeue<A>) =>
  Effect.map(Queue.takeBetween(queue, 1, batchSize), (taken) => taken.length)

/** `WriteBehind` takes by itself: a batch whenever it is full. */
const throughWriteBehind = Effect.gen(function*() {
  let flushed = 0
  const queue = yield* Effect.orDie(WriteBehind.make<unknown, never, never>({
    name: "benchmark-waiting",
    capacity: batchSize,
    policy: Backpressure.suspend(),
    batchSize,
    flush: (batch) => {
      flushed += batch.items.length
      return Effect.void
    }
  }))
  return timed(
    "WriteBehind offer, capacity 100",
    operations,
    Effect.gen(function*() {
      flushed = 0
      yield* Effect.orDie(produce(queue.offer))
      yield* Effect.orDie(queue.flushNow)
      expectCount("flushed", flushed, operations)
    })
  )
})

export const waiting: Effect.Effect<Plan, never, Scope.Scope> = Effect.gen(function*() {
  const one = yield* makeQueue(1)
  const many = yield* makeQueue(batchSize)
  const boundedOne = yield* Queue.bounded<unknown>(1)
  const boundedMany = yield* Queue.bounded<unknown>(batchSize)
  return {
    cases: [
      race("suspend, capacity 1", one.offer.bind(one), takeOne(one.dequeue)),
      race("Queue.bounded, capacity 1", (item) => Queue.offer(boundedOne, item), takeOne(boundedOne)),
      race("suspend, capacity 100", many.offer.bind(many), takeMany(many.dequeue)),
      race("Queue.bounded, capacity 100", (item) => Queue.offer(boundedMany, item), takeMany(boundedMany)),
      yield* throughWriteBehind
    ],
    ratios: [
      timesAsFast(
        "offers that wait, capacity 1, take by take, against Queue.bounded",
        "suspend, capacity 1",
        "Queue.bounded, capacity 1"
      ),
      timesAsFast(
        "offers that wait, capacity 100, takeBetween, against Queue.bounded",
        "suspend, capacity 100",
        "Queue.bounded, capacity 100"
      ),
      timesAsFast(
        "offers that wait, WriteBehind of capacity 100, against Queue.bounded",
        "WriteBehind offer, capacity 100",
        "Queue.bounded, capacity 100"
      )
    ]
  }
})

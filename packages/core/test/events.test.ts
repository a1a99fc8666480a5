/** Every event says whose it is, and when it happened. */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, KeyedBatch, type QueueEvent, ShardPool, WriteBehind } from "@sluice/core"
import { Chunk, Effect, Fiber, Schema, Stream, TestClock } from "effect"
import * as EventHub from "../src/unstable/EventHub.ts"

/** The time at which everything happens. */
const now = 5000

/** What is told while something runs. */
const told = <E extends { readonly _tag: string }>(
  events: Stream.Stream<E>,
  run: Effect.Effect<unknown, unknown>
): Effect.Effect<ReadonlyArray<E>> =>
  Effect.scoped(
    Effect.gen(function*() {
      yield* TestClock.setTime(now)
      const all: Array<E> = []
      yield* Effect.forkScoped(Stream.runForEach(events, (event) => Effect.sync(() => all.push(event))))
      yield* TestClock.adjust(0)
      yield* Effect.zip(Effect.orDie(run), TestClock.adjust(0), { concurrent: true })
      yield* TestClock.adjust(0)
      return all
    })
  )

const stamps = (events: ReadonlyArray<QueueEvent.Stamp & { readonly _tag: string }>) =>
  events.map(({ _tag, atMillis, queue }) => [_tag, queue, atMillis])

describe("the events of", () => {
  it.scoped("a WriteBehind", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number>({ name: "numbers", capacity: 1, flush: () => Effect.void })
      const events = yield* told(queue.events, Effect.zipRight(queue.offerAll([1, 2]), queue.flushNow))
      expect(stamps(events)).toEqual([
        ["Dropped", "numbers", now],
        ["Flushed", "numbers", now],
        ["Settled", "numbers", now]
      ])
    }))

  it.scoped("a BatchQueue", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({ name: "mails", schema: Schema.String, process: () => Effect.void })
      const events = yield* told(queue.events, queue.offerStored("a"))
      expect(stamps(events)).toEqual([
        ["Stored", "mails", now],
        ["Claimed", "mails", now],
        ["Flushed", "mails", now],
        ["Settled", "mails", now]
      ])
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.scoped("a ShardPool", () =>
    Effect.gen(function*() {
      const queue = yield* ShardPool.make({
        name: "commands",
        key: (command: string) => command,
        execute: () => Effect.void
      })
      const events = yield* told(queue.events, queue.submit("a"))
      expect(stamps(events)).toEqual([["Dispatched", "commands", now], ["Succeeded", "commands", now]])
    }))

  it.scoped("a KeyedBatch", () =>
    Effect.gen(function*() {
      const queue = yield* KeyedBatch.make<string, number>({ name: "totals", initial: () => 0, minDuration: 0 })
      const events = yield* told(queue.events, queue.modify("a", (n) => [n, n + 1]))
      expect(stamps(events)).toEqual([["Batch", "totals", now]])
    }))
})

it.scoped("those that were missed are told at the time of the next one", () =>
  Effect.gen(function*() {
    const hub = yield* EventHub.make<QueueEvent.Missed>("numbers")
    const first = yield* Effect.fork(Stream.runCollect(Stream.take(hub.stream, 2)))
    yield* TestClock.adjust(now)
    for (let n = 0; n <= EventHub.capacity; n++) hub.emit({ _tag: "Missed", events: -n })
    yield* TestClock.adjust(0)
    expect(Chunk.toReadonlyArray(yield* Fiber.join(first))).toEqual([
      { _tag: "Missed", queue: "numbers", atMillis: now, events: 1 },
      { _tag: "Missed", queue: "numbers", atMillis: now, events: -1 }
    ])
  }))

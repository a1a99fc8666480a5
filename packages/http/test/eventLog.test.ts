/** The events that the server keeps. */
import { expect, it } from "@effect/vitest"
import { HttpQueue } from "@sluice/http"
import { WriteBehind } from "@sluice/core"
import { Effect, Schema, Stream, TestClock } from "effect"
import { make } from "../src/internal/eventLog.ts"

const queueOf = (queue: WriteBehind.WriteBehind<number>) => HttpQueue.fromWriteBehind(queue, { schema: Schema.Number })

it.scoped("an event is kept with the name of its queue and the time at which it happened", () =>
  Effect.gen(function*() {
    const queue = yield* WriteBehind.make<number>({ name: "numbers", capacity: 1, flush: () => Effect.void })
    const log = yield* make([queueOf(queue)], 10)
    yield* TestClock.adjust("5 seconds")
    yield* queue.offerAll([1, 2])
    yield* TestClock.adjust(0)
    expect(log.recent("numbers", 1)).toEqual([
      { number: 1, queue: "numbers", atMillis: 5000, event: { _tag: "Dropped", reason: "drop-oldest" } }
    ])
  }))

it.scoped("an event of a queue of one's own has its own time, or else that of the server", () =>
  Effect.gen(function*() {
    const queue = yield* WriteBehind.make<number>({ name: "numbers", capacity: 1, flush: () => Effect.void })
    const events = Stream.make<Array<HttpQueue.Told>>({ _tag: "Hello", atMillis: 1 }, { _tag: "Hello" })
    yield* TestClock.adjust("5 seconds")
    const log = yield* make([{ ...queueOf(queue), events }], 10)
    yield* TestClock.adjust(0)
    expect(log.recent("numbers", 2)).toEqual([
      { number: 1, queue: "numbers", atMillis: 1, event: { _tag: "Hello" } },
      { number: 2, queue: "numbers", atMillis: 5000, event: { _tag: "Hello" } }
    ])
  }))

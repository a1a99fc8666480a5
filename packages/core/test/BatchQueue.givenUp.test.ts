/**
 * What a queue has given up, because a fiber of ours died, it does not store any more: also where that was while the
 * batches were being encoded, and others had their turn in between.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchStore, Codec, FlushPolicy, Result } from "@sluice/core"
import type { QueueStore } from "@sluice/core/QueueStore"
import { Clock, Effect, Fiber, Schema } from "effect"
import { Appender } from "../src/internal/batchQueue/appender.ts"
import { Backlog } from "../src/internal/batchQueue/backlog.ts"
import { Breaks } from "../src/internal/fibers/breaks.ts"
import { Entry } from "../src/internal/batchQueue/entry.ts"
import { makeImpl } from "../src/internal/intake/policyQueue.ts"
import { Macrotask } from "../src/unstable/Macrotask.ts"

describe("what is given up while it is encoded", () => {
  it.live("is told as dropped, once, and is not stored", () =>
    Effect.gen(function*() {
      let now = 0
      const turns: Array<() => void> = []
      const clock: Clock.Clock = Object.assign(Object.create(Clock.make()), { unsafeCurrentTimeMillis: () => now })
      const macrotask = (task: () => void) => void turns.push(task)
      let appends = 0
      const dropped: Array<number> = []
      const store: QueueStore = yield* Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("q"))
      const codec = Codec.make(Schema.Number, {
        // Each takes as long as the event loop may be held up.
        format: { ...Codec.json, name: "slow", encode: (values) => (now += 20, Codec.json.encode(values)) }
      })
      const intake = yield* makeImpl<Entry<number>, number>({
        name: "q",
        capacity: 10,
        policy: Backpressure.reject,
        itemOf: ({ offered }) => offered
      })
      const appender = new Appender<number>({
        intake,
        store: Object.assign(Object.create(store), {
          append: () => Effect.sync(() => ({ appended: ++appends, duplicates: [] }))
        }),
        backlog: new Backlog(),
        codec,
        buffer: undefined,
        flushPolicy: FlushPolicy.make({ size: 1 }),
        mostInBatch: 10,
        mostClosed: 10,
        maxPendingItems: undefined,
        idWindowMillis: 1000,
        pollMillis: 1000,
        observer: {
          stored: () => {},
          coalesced: () => {},
          duplicate: () => {},
          dropped: (item) => dropped.push(item),
          failed: () => Effect.void
        },
        clock,
        breaks: new Breaks(clock, macrotask)
      })
      for (let n = 0; n < 6; n++) intake.unsafeOffer(new Entry(n, 0, Result.getOrThrow(codec.encodeItem(n)), {}))
      const turn = Effect.suspend(() => {
        for (const task of turns.splice(0)) task()
        return Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      })
      const running = yield* Effect.fork(appender.run)
      yield* turn
      // Some are encoded, and nothing is stored yet.
      expect([now > 0, appends, dropped]).toEqual([true, 0, []])
      const givingUp = yield* Effect.fork(appender.abandon)
      for (let n = 0; n < 20; n++) yield* turn
      yield* Fiber.join(givingUp)
      yield* Fiber.join(running)
      expect([appends, dropped]).toEqual([0, [0, 1, 2, 3, 4, 5]])
      expect(appender.held).toBe(0)
    }).pipe(
      Effect.provideService(Macrotask, (task) => void setImmediate(task)),
      Effect.provide(BatchStore.layerMemory)
    ))
})

import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore } from "@sluice/core"
import { SeededRun } from "@sluice/core/testing"
import { Effect, Exit, Fiber, Schedule, Schema, Scope, TestClock } from "effect"
import { claimAll, numbers, numbersInProcess, settleDown } from "./support/batchQueue.ts"
import { failing } from "./support/sink.ts"
import { campaign } from "./support/campaigns.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const testStore = Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("test"))

describe("closing", () => {
  it.effect("stores what is buffered, and refuses what comes later", () =>
    Effect.gen(function*() {
      const { queue, sink, stop } = yield* numbersInProcess({ flush: { size: 100 } })
      yield* queue.offerAll([1, 2, 3])
      yield* stop
      expect((yield* Effect.flip(queue.offer(4)))._tag).toBe("QueueClosed")
      expect((yield* Effect.flip(queue.offerAll([4])))._tag).toBe("QueueClosed")
      expect((yield* Effect.flip(queue.offerStored(4)))._tag).toBe("QueueClosed")
      expect(queue.unsafeOffer(4)).toBe("closed")
      expect((yield* Effect.flip(queue.flush))._tag).toBe("QueueClosed")
      expect(sink.items).toEqual([])
      expect(yield* queue.metrics).toMatchObject({
        offered: 7,
        refused: 4,
        stored: 3,
        storedByTrigger: { shutdown: 3 },
        buffered: 0
      })
      expect((yield* queue.stats).pending).toEqual({ batches: 1, items: 3 })
    }).pipe(onMemory))

  it.effect("wakes those who wait for room, and answers those who wait for the commit", () =>
    Effect.gen(function*() {
      const { queue, stop } = yield* numbersInProcess({ capacity: 1, maxPending: 1, workers: 0 })
      yield* queue.offerStored(1)
      // The store is full: these wait in memory, and then for room there.
      const waiting = yield* Effect.forEach([2, 3, 4, 5], (n) => Effect.fork(Effect.exit(queue.offerStored(n))))
      yield* settleDown
      yield* stop
      const exits = yield* Effect.forEach(waiting, Fiber.join)
      const stored = exits.filter(Exit.isSuccess).length
      expect(stored).toBeGreaterThan(0)
      for (const exit of exits) if (Exit.isFailure(exit)) expect(String(exit.cause)).toContain("closed")
      expect((yield* queue.stats).pending.items).toBe(1 + stored)
    }).pipe(onMemory))

  it.effect("lets a handler finish, and claims nothing more", () =>
    Effect.gen(function*() {
      const { queue, sink, stop } = yield* numbersInProcess()
      sink.script.push(() => Effect.sleep("5 seconds"))
      yield* queue.offerAll([1, 2])
      yield* settleDown
      const stopping = yield* Effect.fork(stop)
      yield* TestClock.adjust(4999)
      expect(stopping.unsafePoll()).toBeNull()
      yield* TestClock.adjust(1)
      yield* Fiber.join(stopping)
      expect(sink.items).toEqual([[1]])
      expect(yield* queue.metrics).toMatchObject({ settled: 1 })
      // No lease is left behind.
      const { batches } = yield* claimAll(yield* testStore, 1000)
      expect(batches).toMatchObject([{ sequence: 2, deliveries: 1 }])
    }).pipe(onMemory))

  it.effect("interrupts a handler after `drainTimeout`, and puts its batch back without a delivery", () =>
    Effect.gen(function*() {
      const { queue, sink, stop } = yield* numbersInProcess({ drainTimeout: "2 seconds", workers: 2 })
      sink.script.push(() => Effect.never, () => Effect.never)
      yield* queue.offerAll([1, 2, 3])
      yield* settleDown
      const stopping = yield* Effect.fork(stop)
      yield* TestClock.adjust(1999)
      expect(stopping.unsafePoll()).toBeNull()
      yield* TestClock.adjust(1)
      yield* Fiber.join(stopping)
      const { batches } = yield* claimAll(yield* testStore, 1000)
      expect(batches.map(({ attempts, deliveries, sequence }) => [sequence, deliveries, attempts])).toEqual([
        [1, 1, 0],
        [2, 1, 0],
        [3, 1, 0]
      ])
      expect(yield* queue.metrics).toMatchObject({ batchesFailed: 0, settled: 0, inFlight: 0 })
    }).pipe(onMemory))

  it.effect("does not wait for a handler that cannot be interrupted", () =>
    Effect.gen(function*() {
      const { queue, sink, stop } = yield* numbersInProcess({ drainTimeout: "2 seconds" })
      sink.script.push(() => Effect.uninterruptible(Effect.never))
      yield* queue.offer(1)
      yield* settleDown
      const stopping = yield* Effect.fork(stop)
      yield* TestClock.adjust("20 seconds")
      yield* Fiber.join(stopping)
    }).pipe(onMemory))

  it.effect("puts a batch back whose retry a worker waits for, with what it has counted", () =>
    Effect.gen(function*() {
      const { queue, sink, stop } = yield* numbersInProcess({ retry: Schedule.spaced(900) })
      sink.script.push(failing("no"))
      yield* queue.offer(1)
      yield* TestClock.adjust(400)
      yield* stop
      const store = yield* testStore
      expect(yield* claimAll(store, 1000)).toMatchObject({ batches: [], nextAtMillis: 900 })
      yield* TestClock.adjust(500)
      expect((yield* claimAll(store, 1000)).batches).toMatchObject([{ attempts: 1, deliveries: 2 }])
    }).pipe(onMemory))

  it.effect("stores what a handler offers back meanwhile", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let own: BatchQueue.Handle<number> | undefined
      const queue = yield* Scope.extend(
        BatchQueue.make({
          name: "test",
          schema: Schema.Number,
          flush: { size: 100 },
          process: (batch, handle) =>
            Effect.suspend(() => {
              own = handle
              return Effect.zipRight(Effect.sleep("1 second"), handle.offer(batch.items.map((n) => n + 10)))
            })
        }),
        scope
      )
      yield* queue.offerAll([1, 2])
      yield* queue.flush
      yield* settleDown
      const stopping = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stopping)
      expect((yield* queue.stats).pending).toEqual({ batches: 1, items: 2 })
      const late = yield* Effect.exit(own!.offer([99]))
      expect(String(late)).toContain("QueueClosed")
      expect(yield* queue.metrics).toMatchObject({ offered: 5, refused: 1, settled: 2, stored: 4 })
    }).pipe(onMemory))

  it("again and again leaves no fiber and no timer behind", () => {
    const once = Effect.scoped(Effect.gen(function*() {
      const { queue } = yield* numbers({ leaseDuration: 1000 })
      yield* queue.offerStored(1)
      yield* queue.offer(2)
    }))
    const run = SeededRun.run(Effect.repeatN(once, campaign(1000) - 1).pipe(onMemory), {
      seed: 1,
      maxSteps: 10_000_000
    })
    expect(Exit.isSuccess(run.exit)).toBe(true)
    expect(run.leftFibers).toEqual([])
    expect(run.leftTimers).toBe(0)
  })
})

import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import { Effect, Schedule, Stream, TestClock } from "effect"
import { Heartbeat } from "../src/internal/batchQueue/heartbeat.ts"
import { callingThrough, numbers, numbersInProcess, settleDown } from "./support/batchQueue.ts"
import { failing } from "./support/sink.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const testStore = Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("test"))

describe("a lease", () => {
  it.scoped("is renewed while the handler runs, so that nobody else gets the batch", () =>
    Effect.gen(function*() {
      const slow = yield* numbers({ leaseDuration: "1 second" })
      const other = yield* numbers({ leaseDuration: "1 second", pollInterval: 100 })
      slow.sink.script.push(() => Effect.sleep("1 minute"))
      other.sink.script.push(() => Effect.sleep("1 minute"))
      yield* slow.queue.offerStored(1)
      yield* TestClock.adjust("61 seconds")
      expect(slow.sink.items.length + other.sink.items.length).toBe(1)
      expect((yield* slow.queue.stats).pending.batches).toBe(0)
      expect((yield* slow.queue.metrics).leasesLost).toBe(0)
    }).pipe(onMemory))

  it.scoped("of a process that has died runs out, and its batches are delivered again, in order", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const { queue, sink } = yield* numbers({ pollInterval: "1 hour", flush: { size: 2 } })
      yield* queue.pause
      yield* queue.offerAll([1, 2, 3, 4, 5, 6])
      yield* queue.flush
      yield* store.claim({ limit: 2, leaseMillis: 5000 })
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[5, 6]])
      yield* TestClock.adjust(4999)
      expect(sink.items).toEqual([[5, 6]])
      yield* TestClock.adjust(1)
      expect(sink.items).toEqual([[5, 6], [1, 2], [3, 4]])
    }).pipe(onMemory))

  it.scoped("of others is not touched when a queue is opened", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const producer = yield* numbers({ workers: 0 })
      yield* producer.queue.offerStored(1)
      const { batches } = yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      const { sink } = yield* numbers({ pollInterval: "10 seconds" })
      yield* TestClock.adjust(59_999)
      expect(sink.items).toEqual([])
      yield* store.settle(batches)
      yield* TestClock.adjust("10 seconds")
      expect(sink.items).toEqual([])
    }).pipe(onMemory))

  it.scoped("that is lost interrupts the handler, and is told as LeaseLost; the worker goes on", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const { internal, queue, sink } = yield* numbers({ leaseDuration: 300 })
      const events: Array<unknown> = []
      yield* Effect.forkScoped(
        Stream.runForEach(
          Stream.filter(queue.events, ({ _tag }) => _tag === "LeaseWasLost"),
          (event) => Effect.sync(() => events.push(event))
        )
      )
      yield* settleDown
      let interrupted = false
      sink.script.push(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted = true)))
      yield* queue.offerStored(1)
      yield* settleDown
      // What a process that stood still for too long comes back to: somebody else has the batch.
      const [claim] = sink.attempts.map(() => ({ sequence: 1, token: 1 }))
      yield* store.release([claim], {})
      const stolen = yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      expect(stolen.batches).toMatchObject([{ sequence: 1, token: 2 }])
      yield* TestClock.adjust(100)
      expect(interrupted).toBe(true)
      expect(internal).toEqual(["lease"])
      expect(events).toMatchObject([{ _tag: "LeaseWasLost", shard: 0, claims: [{ sequence: 1, token: 1 }] }])
      yield* queue.offerStored(2)
      yield* settleDown
      expect(sink.items).toEqual([[1], [2]])
      expect(yield* queue.metrics).toMatchObject({ settled: 1, leasesLost: 1, inFlight: 0 })
      // The other one still has it.
      yield* store.settle(stolen.batches)
    }).pipe(onMemory))

  it.scoped("that is lost for a part of what was claimed puts the other batches back at once", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const { queue, sink } = yield* numbers({
        leaseDuration: 300,
        batches: 2,
        pollInterval: "1 hour",
        drainTimeout: 0
      })
      yield* queue.pause
      yield* queue.offerStored(1)
      yield* queue.offerStored(2)
      const released: Array<unknown> = []
      yield* Effect.forkScoped(
        Stream.runForEach(
          Stream.filter(queue.events, ({ _tag }) => _tag === "Released"),
          (event) => Effect.sync(() => released.push(event))
        )
      )
      yield* settleDown
      sink.script.push(() => Effect.never)
      yield* queue.resume
      yield* settleDown
      yield* store.release([{ sequence: 1, token: 1 }], {})
      yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      yield* queue.pause
      yield* TestClock.adjust(100)
      const { batches } = yield* store.claim({ limit: 9, leaseMillis: 1000 })
      expect(batches).toMatchObject([{ sequence: 2, token: 2 }])
      expect(released).toMatchObject([{
        _tag: "Released",
        shard: 0,
        claims: [{ sequence: 2, token: 1 }],
        delayMillis: 0
      }])
    }).pipe(onMemory))

  it.scoped("that could not be renewed for longer than it lasts is not taken by a claim of its own process", () =>
    Effect.gen(function*() {
      const gate = Effect.unsafeMakeLatch(true)
      // Claims and renewals wait for their turn to write, first come first served.
      const busy = yield* callingThrough(["claim", "extend"], (call) => Effect.zipRight(gate.await, call))
      const { internal, queue, sink } = yield* numbers({ leaseDuration: 300, workers: 2, pollInterval: 50 }).pipe(
        Effect.provideService(BatchStore.BatchStore, busy)
      )
      const done = yield* Effect.makeLatch()
      let interrupted = 0
      sink.whenever = () => Effect.onInterrupt(done.await, () => Effect.sync(() => interrupted += 1))
      yield* queue.offerStored(1)
      yield* settleDown
      yield* gate.close
      // The other worker wants to claim, long before the renewal is due.
      yield* TestClock.adjust(60)
      yield* TestClock.adjust(2000)
      yield* gate.open
      yield* TestClock.adjust(100)
      expect([sink.items, interrupted, internal]).toEqual([[[1]], 0, []])
      yield* done.open
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ settled: 1, leasesLost: 0 })
    }).pipe(onMemory))

  it.scoped("is renewed however long the handler of errors takes that is told of a renewal that failed", () =>
    Effect.gen(function*() {
      const stores = yield* BatchStore.BatchStore
      const store = FaultyStore.make(stores, FaultyStore.at(1, { _tag: "Fails" }, "extend"))
      const { queue, sink } = yield* numbers({
        leaseDuration: 300,
        pollInterval: "1 hour",
        onInternalError: () => Effect.never
      }).pipe(Effect.provideService(BatchStore.BatchStore, store))
      const done = yield* Effect.makeLatch()
      sink.whenever = () => done.await
      yield* queue.offerStored(1)
      yield* TestClock.adjust(2000)
      // Somebody else looks for leases that have run out.
      const elsewhere = yield* stores.queue("test")
      expect((yield* elsewhere.claim({ limit: 1, leaseMillis: 1000 })).batches).toEqual([])
      yield* done.open
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ settled: 1, leasesLost: 0 })
    }).pipe(onMemory))

  it.scoped("that is lost while the handler of errors runs ends that, and nothing more is tried", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      let interrupted = false
      const { queue, sink } = yield* numbers({
        leaseDuration: 300,
        flush: { size: 2 },
        isolate: "each",
        pollInterval: "1 hour",
        onProcessError: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted = true))
      })
      sink.whenever = failing("no")
      yield* queue.offerAll([1, 2])
      yield* settleDown
      yield* store.release([{ sequence: 1, token: 1 }], {})
      yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      yield* TestClock.adjust(100)
      expect([interrupted, sink.items]).toEqual([true, [[1, 2]]])
      expect(yield* queue.metrics).toMatchObject({ leasesLost: 1, inFlight: 0 })
    }).pipe(onMemory))

  it.scoped("that is lost to a process that was quicker is not counted against the batch", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const { queue, sink } = yield* numbers({ leaseDuration: 300, maxDeliveries: 2, pollInterval: "1 hour" })
      sink.script.push(() => Effect.never)
      yield* queue.offerStored(1)
      yield* settleDown
      yield* store.release([{ sequence: 1, token: 1 }], {})
      const stolen = yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      expect(stolen.batches).toMatchObject([{ deliveries: 2 }])
      yield* TestClock.adjust(100)
      expect(yield* queue.metrics).toMatchObject({ leasesLost: 1, deadLettered: 0 })
      // The other one dies. Of its claim and the next there are two deliveries.
      yield* store.release(stolen.batches, { failure: { attempts: 0, failedAtMillis: 0, error: "" } })
      const again = yield* store.claim({ limit: 1, leaseMillis: 1000 })
      expect(again.batches).toMatchObject([{ deliveries: 2 }])
    }).pipe(onMemory))

  it.effect("is told as lost to whoever holds it by that claim, and to nobody who holds the batch by a later one", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      yield* store.append({ batches: [{ payload: new Uint8Array(), items: 1, oldestAtMillis: 0 }] })
      const first = yield* store.claim({ limit: 1, leaseMillis: 1000 })
      yield* store.release(first.batches, {})
      const second = yield* store.claim({ limit: 1, leaseMillis: 1000 })
      const told: Array<string> = []
      const heartbeat = new Heartbeat(store, 300, () => 0, () => Effect.void)
      const hold = (who: string, claims: ReadonlyArray<BatchStore.Claim>) =>
        heartbeat.add({ claims, onLost: (lost) => Effect.sync(() => told.push(`${who} ${lost[0].token}`)) })
      hold("late", first.batches)
      hold("current", second.batches)
      yield* Effect.fork(heartbeat.run)
      yield* TestClock.adjust(100)
      expect(told).toEqual(["late 1"])
    }).pipe(onMemory))

  it.scoped("that is lost before settling is no success", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const { internal, queue, sink } = yield* numbers()
      sink.script.push(() =>
        Effect.gen(function*() {
          yield* store.release([{ sequence: 1, token: 1 }], {})
          yield* store.claim({ limit: 1, leaseMillis: 60_000 })
        }).pipe(Effect.orDie)
      )
      yield* queue.offerStored(1)
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ settled: 0, leasesLost: 1 })
      expect(internal).toEqual(["lease"])
      expect((yield* queue.stats).pending.batches).toBe(1)
    }).pipe(onMemory))

  it.scoped("that is lost before a failure is noted leaves the batch to others", () =>
    Effect.gen(function*() {
      const store = yield* testStore
      const steal = Effect.gen(function*() {
        yield* store.release([{ sequence: 1, token: 1 }], {})
        return yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      }).pipe(Effect.orDie)
      const { queue, sink } = yield* numbers({ retry: Schedule.spaced(10) })
      sink.script.push(() => Effect.zipRight(steal, failing("no")()))
      yield* queue.offerStored(1)
      yield* TestClock.adjust("10 seconds")
      expect(sink.items).toEqual([[1]])
      expect(yield* queue.metrics).toMatchObject({ settled: 0, leasesLost: 1, inFlight: 0 })
    }).pipe(onMemory))
})

describe("a restart", () => {
  it.scoped("delivers everything that was stored, in order", () =>
    Effect.gen(function*() {
      const first = yield* numbersInProcess({ workers: 0, flush: { size: 3, linger: 10 } })
      yield* first.queue.offerAll([1, 2, 3, 4, 5, 6, 7])
      yield* first.stop
      const second = yield* numbersInProcess()
      yield* settleDown
      expect(second.sink.items).toEqual([[1, 2, 3], [4, 5, 6], [7]])
      yield* second.stop
    }).pipe(onMemory))
})

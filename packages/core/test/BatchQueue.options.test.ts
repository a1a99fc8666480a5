import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, type QueueError } from "@sluice/core"
import { Config, ConfigProvider, Context, Effect, Layer, Metric, Schedule, Schema, Stream, TestClock } from "effect"
import { numbers, settleDown } from "./support/batchQueue.ts"
import { failing } from "./support/sink.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

type Options = BatchQueue.Options<number, number, never, never>

const valid: Options = { name: "test", schema: Schema.Number, process: () => Effect.void }

describe("an invalid option", () => {
  const cases: ReadonlyArray<readonly [field: string, value: unknown, options: object]> = [
    ["name", " ", { name: " " }],
    ["name", "a\0b", { name: "a\0b" }],
    ["name", "\ud800", { name: "\ud800" }],
    ["name", "é".repeat(257), { name: "é".repeat(257) }],
    ["capacity", 0, { capacity: 0 }],
    ["capacity", 1.5, { capacity: 1.5 }],
    ["workers", -1, { workers: -1 }],
    ["workers", NaN, { workers: NaN }],
    ["batches", 0, { batches: 0 }],
    ["flush.size", -1, { flush: { size: -1 } }],
    ["flush.pushes", 0.5, { flush: { pushes: 0.5 } }],
    ["flush.bytes", Infinity, { flush: { bytes: Infinity } }],
    ["flush.linger", -1, { flush: { linger: -1 } }],
    ["inlineDelay", NaN, { inlineDelay: NaN }],
    ["cooldown", Infinity, { cooldown: Infinity }],
    ["maxDeliveries", 0, { maxDeliveries: 0 }],
    ["leaseDuration", 0, { leaseDuration: 0 }],
    ["pollInterval", 0, { pollInterval: 0 }],
    ["idWindow", 0, { idWindow: 0 }],
    ["drainTimeout", "soon", { drainTimeout: "soon" }],
    ["maxPending", 0, { maxPending: 0 }],
    ["maxPending", -3, { maxPending: { items: -3, whenFull: "reject" } }],
    ["format.name", "my format", { format: { name: "my format" } }],
    ["limits.maxDepth", 0, { limits: { maxDepth: 0 } }],
    ["limits.maxItemBytes", -1, { limits: { maxItemBytes: -1 } }],
    ["policy.timeout", -1, { policy: Backpressure.suspend({ timeout: -1 }) }]
  ]
  for (const [field, value, options] of cases) {
    it.effect(`is told by field, value and limit: ${field} = ${JSON.stringify(value)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(BatchQueue.make({ ...valid, ...options }))
        expect(error).toMatchObject({ _tag: "InvalidOption", field, value })
        expect((error as QueueError.InvalidOption).limit).not.toBe("")
      }).pipe(Effect.scoped, onMemory))
  }
})

describe("the defaults", () => {
  it.scoped("store each item by itself, with one worker that claims one batch", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers()
      yield* queue.offerAll([1, 2, 3])
      yield* settleDown
      expect(sink.items).toEqual([[1], [2], [3]])
      expect((yield* queue.metrics).storedByTrigger.size).toBe(3)
    }).pipe(onMemory))

  it.scoped("have no limit of size where another limit is given", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({ workers: 0, flush: { linger: "1 minute" } })
      yield* queue.offerAll([1, 2, 3])
      yield* settleDown
      expect((yield* queue.metrics).buffered).toBe(3)
    }).pipe(onMemory))
})

class Numbers extends Context.Tag("test/Numbers")<Numbers, BatchQueue.BatchQueue<number>>() {}

describe("layers", () => {
  it.effect("fill a tag, and close the queue when they are torn down", () =>
    Effect.gen(function*() {
      const queue = yield* Effect.provide(
        Effect.tap(Numbers, (queue) => queue.offer(1)),
        BatchQueue.layer(Numbers, { ...valid, workers: 0, flush: { size: 10 } })
      )
      expect(yield* queue.metrics).toMatchObject({ offered: 1, stored: 1, buffered: 0 })
    }).pipe(onMemory))

  it.effect("take options from a configuration, which wins, and are checked", () =>
    Effect.gen(function*() {
      const layer = BatchQueue.layerConfig(Numbers, { ...valid, capacity: 7 }, {
        capacity: Config.integer("CAPACITY"),
        leaseDuration: Config.duration("LEASE").pipe(Config.withDefault("1 second"))
      })
      const withCapacity = (capacity: string) =>
        Effect.flip(Effect.provide(
          Numbers,
          Layer.provide(layer, Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["CAPACITY", capacity]]))))
        ))
      expect(yield* withCapacity("0")).toMatchObject({ _op: "InvalidData" })
      expect(String(yield* withCapacity("many"))).toContain("CAPACITY")
    }).pipe(onMemory))
})

describe("events", () => {
  it.scoped("tell what becomes of items and batches", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 2 }, retry: Schedule.recurs(1), maxDeliveries: 1 })
      const seen: Array<{ readonly _tag: string }> = []
      yield* Effect.forkScoped(Stream.runForEach(queue.events, (event) => Effect.sync(() => seen.push(event))))
      yield* settleDown
      sink.script.push(failing("a"), failing("b"))
      yield* queue.offerAll([1, 2, 3])
      yield* queue.flush
      yield* settleDown
      expect(seen.map((event) => ({ ...event, cause: undefined, durationMillis: undefined }))).toMatchObject([
        { _tag: "Stored", size: 2, trigger: "size" },
        { _tag: "Stored", size: 1, trigger: "manual" },
        { _tag: "Claimed", shard: 0, claims: [{ sequence: 1, token: 1 }], size: 2 },
        { _tag: "Flushed", size: 2, trigger: "size", attempt: 1 },
        { _tag: "Retried", size: 2, attempt: 1, delayMillis: 0 },
        { _tag: "Flushed", size: 2, trigger: "size", attempt: 2 },
        // Each item by itself: the second gets a place of its own.
        { _tag: "DeadLettered", sequence: 1, size: 1, reason: "retries-exhausted", error: "Error: b" },
        { _tag: "DeadLettered", sequence: 3, size: 1, reason: "retries-exhausted", error: "Error: b" },
        { _tag: "Claimed", claims: [{ sequence: 2, token: 1 }], size: 1 },
        { _tag: "Flushed", size: 1, attempt: 1 },
        { _tag: "Settled", size: 1, attempt: 1 }
      ])
    }).pipe(onMemory))
})

describe("metrics", () => {
  it.scoped("are published under the names of the one scheme, with the tags and the boundaries that were asked for", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        name: "measured",
        flush: { size: 2 },
        retry: Schedule.recurs(1),
        metrics: { tags: { team: "blue" }, boundaries: [1, 10, "100 millis"] }
      })
      sink.script.push(failing("no"), () => Effect.sleep(50))
      yield* queue.offerAll([1, 2, 3])
      yield* queue.flush
      yield* settleDown
      yield* queue.pause
      yield* TestClock.adjust(1000)
      yield* TestClock.adjust(1000)
      const all = (yield* Metric.snapshot).filter(({ metricKey }) =>
        metricKey.tags.some(({ key, value }) => key === "queue" && value === "measured")
      )
      const read = (name: string, trigger?: string): any =>
        all.find(({ metricKey }) =>
          metricKey.name === `sluice_${name}`
          && (trigger === undefined || metricKey.tags.some(({ key, value }) => key === "trigger" && value === trigger))
        )?.metricState
      expect(read("items_offered_total").count).toBe(3)
      expect(read("items_stored_total", "size").count).toBe(2)
      expect(read("items_stored_total", "manual").count).toBe(1)
      expect(read("items_settled_total").count).toBe(2)
      expect(read("batches_failed_total").count).toBe(1)
      expect(read("pending_batches").value).toBe(1)
      expect(read("pending_items").value).toBe(1)
      expect(read("oldest_age_seconds").value).toBe(2)
      expect(read("batch_duration_seconds").count).toBe(2)
      expect(read("batch_duration_seconds").buckets.map(([boundary]: [number]) => boundary).slice(0, 3)).toEqual([
        0.001,
        0.01,
        0.1
      ])
      expect([read("newer_batches").value, read("hold_seconds").value]).toEqual([0, 0])
      for (const { metricKey } of all) {
        const tags = Object.fromEntries(metricKey.tags.map(({ key, value }) => [key, value]))
        expect(tags).toMatchObject({ queue: "measured", system: "batch_queue", team: "blue" })
      }
    }).pipe(onMemory))

  it.scoped.each(["system", "queue", "replica", "outcome", "reason", "trigger"])(
    "have no tag %s of the user's: it is one of the scheme",
    (tag) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(numbers({ name: "tagged", metrics: { tags: { [tag]: "mine" } } }))
        expect(error).toMatchObject({ _tag: "InvalidOption", queue: "tagged", field: "metrics" })
      }).pipe(onMemory)
  )

  it.scoped("say what only a newer version can read, and for how long the queue is held yet", () =>
    Effect.gen(function*() {
      const store = yield* Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("held"))
      const batch = { payload: new Uint8Array(1), items: 1, oldestAtMillis: 0 }
      yield* store.append({ batches: [batch, batch] })
      const { batches } = yield* store.claim({ limit: 2, leaseMillis: 1000 })
      yield* store.release(batches, { version: 99, delayMillis: 60_000 })
      yield* store.hold(10_500)
      yield* numbers({ name: "held", metrics: {} })
      const read = Effect.map(Metric.snapshot, (all) =>
        ["newer_batches", "hold_seconds"].map((name) => {
          const found: any = all.find(({ metricKey }) =>
            metricKey.name === `sluice_${name}` && metricKey.tags.some(({ value }) => value === "held")
          )
          return found?.metricState.value
        }))
      yield* settleDown
      expect(yield* read).toEqual([2, 10.5])
      yield* TestClock.adjust(1000)
      expect(yield* read).toEqual([2, 9.5])
      yield* TestClock.adjust(10_000)
      expect(yield* read).toEqual([2, 0])
    }).pipe(onMemory))
})

import { describe, expect, it } from "@effect/vitest"
import { Backpressure, Batch, WriteBehind } from "@sluice/core"
import {
  Cause,
  Chunk,
  Config,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Schedule,
  Stream,
  TestClock,
  type Tracer
} from "effect"
import { failing, Sink } from "./support/sink.ts"
import { recording } from "./support/tracing.ts"

class Numbers extends Context.Tag("test/Numbers")<Numbers, WriteBehind.WriteBehind<number>>() {}

describe("events", () => {
  it.scoped("tell what becomes of items and batches, in order", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      sink.script.push(failing("down"))
      const queue = yield* WriteBehind.make({ name: "test", capacity: 2, batchSize: 2, flush: sink.flush })
      const events = yield* Effect.fork(Stream.runCollect(Stream.take(queue.events, 5)))
      yield* TestClock.adjust(0)
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("1 second")
      expect(Chunk.toReadonlyArray(yield* Fiber.join(events))).toMatchObject([
        { _tag: "Dropped", item: 1, reason: "drop-oldest" },
        { _tag: "Flushed", shard: 0, size: 2, trigger: "size", attempt: 1 },
        { _tag: "Retried", size: 2, attempt: 1, delayMillis: 100, cause: { error: "down" } },
        { _tag: "Flushed", size: 2, attempt: 2 },
        { _tag: "Settled", size: 2, attempt: 2, durationMillis: 0 }
      ])
    }))

  it.scoped("tell why each item has failed, by its own error", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      sink.whenever = ({ items }) => Batch.failSome(items.map((item, index) => [index, `no ${item}`] as const))
      const queue = yield* WriteBehind.make({
        name: "test",
        capacity: 2,
        batchSize: 2,
        retry: Schedule.recurs(1),
        flush: sink.flush
      })
      const events = yield* Effect.fork(Stream.runCollect(Stream.take(queue.events, 5)))
      yield* TestClock.adjust(0)
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("1 second")
      const told = Chunk.toReadonlyArray(yield* Fiber.join(events)).filter(({ _tag }) => _tag !== "Flushed")
      expect(told).toMatchObject([
        { _tag: "Retried", shard: 0, size: 2, attempt: 1, delayMillis: 0, cause: Cause.fail("no 1") },
        { _tag: "Dropped", item: 1, reason: "retries-exhausted", cause: Cause.fail("no 1") },
        { _tag: "Dropped", item: 2, reason: "retries-exhausted", cause: Cause.fail("no 2") }
      ])
    }))

  it.scoped("tell of coalescing and of interrupted offers", () =>
    Effect.gen(function*() {
      const sink = new Sink<readonly [string, number]>()
      const queue = yield* WriteBehind.make({
        name: "test",
        capacity: 1,
        batchSize: 1,
        policy: Backpressure.coalesceByKey(([key]: readonly [string, number]) => key, {
          whenFull: Backpressure.suspend()
        }),
        drainTimeout: 0,
        flush: sink.flush
      })
      sink.script.push(() => Effect.never)
      const events = yield* Effect.fork(
        Stream.runCollect(Stream.take(Stream.filter(queue.events, ({ _tag }) => _tag !== "Flushed"), 3))
      )
      yield* TestClock.adjust(0)
      yield* queue.offer(["a", 1])
      yield* TestClock.adjust(0)
      yield* queue.offerAll([["b", 1], ["b", 2]])
      const waiting = yield* Effect.fork(queue.offerAll([["b", 3], ["c", 1], ["d", 1]]))
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(waiting)
      yield* TestClock.adjust(0)
      const collected = Chunk.toReadonlyArray(yield* Fiber.join(events))
      expect(collected).toEqual([
        { _tag: "Coalesced", queue: "test", atMillis: 0, replaced: ["b", 1], item: ["b", 2] },
        { _tag: "Coalesced", queue: "test", atMillis: 0, replaced: ["b", 2], item: ["b", 3] },
        { _tag: "OfferInterrupted", queue: "test", atMillis: 0, taken: 1, notTaken: [["c", 1], ["d", 1]] }
      ])
      expect(yield* queue.metrics).toMatchObject({ offered: 6, coalesced: 2, refused: 2, held: 2 })
    }))

  it.scoped("a subscriber that is too slow slows nothing down, and is told how many it has missed", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "test",
        capacity: 1,
        batchSize: 10,
        flushInterval: 0,
        flush: () => Effect.void
      })
      const gate = yield* Effect.makeLatch()
      const seen: Array<{ readonly _tag: string; readonly events?: number }> = []
      const slow = yield* Effect.fork(
        Stream.runForEach(queue.events, (event) => Effect.zipRight(gate.await, Effect.sync(() => seen.push(event))))
      )
      yield* TestClock.adjust(0)
      for (let i = 0; i < 50; i++) {
        for (let j = 0; j < 1000; j++) queue.unsafeOffer(j)
        yield* TestClock.adjust(0)
      }
      yield* gate.open
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(slow)
      const missed = seen.flatMap((event) => event._tag === "Missed" ? [event.events!] : [])
      const told = seen.filter((event) => event._tag === "Dropped").length
      expect(missed.length).toBeGreaterThan(0)
      expect(told + missed.reduce((sum, n) => sum + n, 0)).toBe(49_999)
    }))
})

describe("metrics", () => {
  const read = (name: string, tags: Record<string, string>) =>
    Effect.map(Metric.snapshot, (pairs) =>
      pairs.find(({ metricKey }) =>
        metricKey.name === name
        && Object.entries(tags).every(([key, value]) =>
          metricKey.tags.some((tag) => tag.key === key && tag.value === value)
        )
      )?.metricState as { readonly count?: number | bigint; readonly value?: number } | undefined)

  it.effect("are published through Effect's Metric, with units in their names", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      sink.script.push(failing("down"))
      yield* Effect.scoped(
        Effect.gen(function*() {
          const queue = yield* WriteBehind.make({ name: "published", capacity: 2, batchSize: 2, flush: sink.flush })
          yield* queue.offerAll([1, 2, 3])
          yield* TestClock.adjust("1 second")
          yield* queue.offer(4)
          yield* TestClock.adjust("1 second")
        })
      )
      const tags = { queue: "published", system: "write_behind" }
      expect(yield* read("sluice_items_offered_total", tags)).toMatchObject({ count: 4 })
      expect(yield* read("sluice_items_settled_total", { ...tags, outcome: "succeeded" })).toMatchObject({ count: 3 })
      expect(yield* read("sluice_items_dropped_total", { ...tags, reason: "drop-oldest" })).toMatchObject({ count: 1 })
      expect(yield* read("sluice_batches_total", { ...tags, trigger: "size" })).toMatchObject({ count: 1 })
      expect(yield* read("sluice_batches_total", { ...tags, trigger: "linger" })).toMatchObject({ count: 1 })
      expect(yield* read("sluice_batch_retries_total", tags)).toMatchObject({ count: 1 })
      expect(yield* read("sluice_batch_duration_seconds", tags)).toMatchObject({ count: 2 })
      expect(yield* read("sluice_depth_items", tags)).toMatchObject({ value: 0 })
      expect(yield* read("sluice_in_flight_items", tags)).toMatchObject({ value: 0 })
      expect(yield* read("sluice_oldest_age_seconds", tags)).toMatchObject({ value: 0 })
    }))

  it.scoped("are published every second while the sink hangs", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "stuck",
        capacity: 2,
        batchSize: 1,
        drainTimeout: 0,
        policy: Backpressure.reject,
        flush: () => Effect.never
      })
      yield* queue.offer(0)
      yield* TestClock.adjust(0)
      yield* Effect.ignore(queue.offerAll([1, 2, 3, 4]))
      yield* TestClock.adjust("3 seconds")
      const tags = { queue: "stuck" }
      expect(yield* read("sluice_items_refused_total", tags)).toMatchObject({ count: 2 })
      expect(yield* read("sluice_depth_items", tags)).toMatchObject({ value: 2 })
      expect(yield* read("sluice_in_flight_items", tags)).toMatchObject({ value: 1 })
      expect(yield* read("sluice_oldest_age_seconds", tags)).toMatchObject({ value: 3 })
    }))

  for (const flushInterval of ["1 hour", 0, Infinity] as const) {
    it.scoped(`are published within a second while items wait, with a flushInterval of ${flushInterval}`, () =>
      Effect.gen(function*() {
        const queue = yield* WriteBehind.make<readonly [key: string, n: number], never, never>({
          name: `waiting ${flushInterval}`,
          capacity: 3,
          flushInterval,
          policy: Backpressure.coalesceByKey(([key]) => key),
          flush: () => Effect.void
        })
        const tags = { queue: `waiting ${flushInterval}` }
        yield* queue.offer(["a", 1])
        yield* TestClock.adjust("1 second")
        expect(yield* read("sluice_depth_items", tags)).toMatchObject({ value: 1 })
        yield* TestClock.adjust("1 second")
        yield* queue.offer(["a", 2])
        yield* TestClock.adjust("1 second")
        expect(yield* read("sluice_items_coalesced_total", tags)).toMatchObject({ count: 1 })
        expect(yield* read("sluice_oldest_age_seconds", tags)).toMatchObject({ value: 3 })
        yield* queue.offer(["b", 1])
        yield* TestClock.adjust("1 second")
        expect(yield* read("sluice_items_offered_total", tags)).toMatchObject({ count: 3 })
        expect(yield* read("sluice_depth_items", tags)).toMatchObject({ value: 2 })
      }))
  }

  it.scoped("are published while nothing is flushed, when items are dropped", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "hanging",
        capacity: 1,
        batchSize: 1,
        drainTimeout: 0,
        flush: () => Effect.never
      })
      yield* queue.offer(0)
      yield* TestClock.adjust("1 second")
      for (let i = 0; i < 1000; i++) queue.unsafeOffer(i)
      const state = yield* read("sluice_items_dropped_total", { queue: "hanging", reason: "drop-oldest" })
      expect(Number(state?.count)).toBeGreaterThan(700)
      expect(yield* read("sluice_oldest_age_seconds", { queue: "hanging" })).toMatchObject({ value: 1 })
    }))
})

describe("tracing", () => {
  it.effect("makes a span for each flush, linked to the spans of the offers", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      const sink = new Sink<number>()
      sink.script.push(failing("down"))
      yield* Effect.scoped(
        Effect.gen(function*() {
          const queue = yield* WriteBehind.make({ name: "traced", capacity: 2, batchSize: 2, flush: sink.flush })
          yield* Effect.withSpan(queue.offer(1), "first")
          yield* Effect.withSpan(queue.offerAll([2]), "second")
          yield* TestClock.adjust("1 second")
          yield* Effect.withSpan(queue.offer(3), "third")
          yield* TestClock.adjust("1 second")
        })
      ).pipe(Effect.withTracer(tracer))
      const flushes = spans.filter(({ name }) => name === "WriteBehind.flush")
      const linked = flushes.map(({ links }) => links.map(({ span }) => (span as Tracer.Span).name))
      expect(linked).toEqual([["first", "second"], ["first", "second"], ["third"]])
      expect(flushes.map((span) => span.attributes.get("sluice.batch.attempt"))).toEqual([1, 2, 1])
      expect(flushes.map((span) => Option.isNone(span.parent))).toEqual([true, true, true])
      expect(flushes[0].attributes.get("sluice.queue")).toBe("traced")
    }))

  it.effect("links the spans of offers that waited, with the batch that their items are in", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      const sink = new Sink<number>()
      const gate = yield* Effect.makeLatch()
      sink.script.push(() => gate.await)
      yield* Effect.scoped(
        Effect.gen(function*() {
          const policy = Backpressure.suspend()
          const queue = yield* WriteBehind.make({
            name: "traced",
            capacity: 1,
            batchSize: 1,
            policy,
            flush: sink.flush
          })
          yield* Effect.withSpan(queue.offer(1), "first")
          yield* TestClock.adjust(0)
          yield* Effect.withSpan(queue.offer(2), "second")
          yield* Effect.fork(Effect.withSpan(queue.offer(3), "third"))
          yield* TestClock.adjust(0)
          yield* gate.open
          yield* TestClock.adjust("1 second")
        })
      ).pipe(Effect.withTracer(tracer))
      const linked = spans
        .filter(({ name }) => name === "WriteBehind.flush")
        .map(({ links }) => links.map(({ span }) => (span as Tracer.Span).name))
      expect(linked).toEqual([["first"], ["second"], ["third"]])
    }))

  it.effect("does not link the spans of offers whose items were evicted", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      const sink = new Sink<number>()
      yield* Effect.scoped(
        Effect.gen(function*() {
          const queue = yield* WriteBehind.make({ name: "traced", capacity: 1, flush: sink.flush })
          yield* Effect.withSpan(queue.offer(1), "first")
          yield* Effect.withSpan(queue.offer(2), "second")
        })
      ).pipe(Effect.withTracer(tracer))
      const [flush] = spans.filter(({ name }) => name === "WriteBehind.flush")
      expect(flush.links.map(({ span }) => (span as Tracer.Span).name)).toEqual(["second"])
    }))

  it.effect("is off without a tracer of the user: no span is made", () =>
    Effect.gen(function*() {
      let spanInFlush: unknown
      yield* Effect.scoped(
        Effect.flatMap(
          WriteBehind.make<number, never, never>({
            name: "untraced",
            capacity: 1,
            flush: () => Effect.map(Effect.option(Effect.currentSpan), (span) => void (spanInFlush = span))
          }),
          (queue) => queue.offer(1)
        )
      )
      expect(spanInFlush).toEqual(Option.none())
    }))
})

describe("options", () => {
  const invalid = (options: Partial<WriteBehind.Options<number, never, never>>) =>
    Effect.scoped(Effect.flip(WriteBehind.make<number, never, never>({
      name: "test",
      capacity: 1,
      flush: () => Effect.void,
      ...options
    })))

  it.effect.each(
    [
      [{ name: " " }, "name"],
      [{ capacity: 0 }, "capacity"],
      [{ capacity: 1.5 }, "capacity"],
      [{ capacity: NaN }, "capacity"],
      [{ batchSize: 0 }, "batchSize"],
      [{ shards: 0 }, "shards"],
      [{ shards: 2 }, "shardBy"],
      [{ flushInterval: "soon" as never }, "flushInterval"],
      [{ flushInterval: NaN }, "flushInterval"],
      [{ flushInterval: -1 }, "flushInterval"],
      [{ drainTimeout: {} as never }, "drainTimeout"],
      [{ drainTimeout: NaN }, "drainTimeout"],
      [{ policy: Backpressure.suspend({ timeout: -1 }) }, "policy.timeout"],
      [{ policy: Backpressure.suspend({ timeout: "soon" as never }) }, "policy.timeout"],
      [{ policy: Backpressure.coalesceByKey(String), weigh: () => 1 }, "weigh"]
    ] satisfies ReadonlyArray<readonly [Partial<WriteBehind.Options<number, never, never>>, string]>
  )("%o is an InvalidOption", ([options, field]) =>
    Effect.gen(function*() {
      const error = yield* invalid(options)
      expect(error).toMatchObject({ _tag: "InvalidOption", field })
      expect(error.message).toContain(`"${field}"`)
      expect(error.message).toContain("must be")
    }))
})

describe("layers", () => {
  it.effect("layer fills a tag, and drains when it is torn down", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const NumbersLive = WriteBehind.layer(Numbers, { name: "numbers", capacity: 10, flush: sink.flush })
      yield* Effect.flatMap(Numbers, (numbers) => numbers.offerAll([1, 2])).pipe(Effect.provide(NumbersLive))
      expect(sink.items).toEqual([[1, 2]])
    }))

  it.effect("layerConfig takes numbers and durations from the configuration", () =>
    Effect.gen(function*() {
      const sink = new Sink<number>()
      const NumbersLive = WriteBehind.layerConfig(
        Numbers,
        { name: "numbers", capacity: 1000, flush: sink.flush },
        { batchSize: Config.integer("BATCH"), flushInterval: Config.duration("INTERVAL") }
      )
      const provider = ConfigProvider.fromMap(new Map([["BATCH", "2"], ["INTERVAL", "5 seconds"]]))
      yield* Effect.gen(function*() {
        const numbers = yield* Numbers
        yield* numbers.offerAll([1, 2, 3])
        yield* TestClock.adjust("4999 millis")
        expect(sink.items).toEqual([[1, 2]])
        yield* TestClock.adjust("1 millis")
        expect(sink.items).toEqual([[1, 2], [3]])
      }).pipe(Effect.provide(Layer.provide(NumbersLive, Layer.setConfigProvider(provider))))
    }))

  it.effect("layerConfig fails with a typed error where the configuration is missing or makes no sense", () =>
    Effect.gen(function*() {
      const build = (config: ReadonlyMap<string, string>) =>
        Effect.exit(Effect.scoped(Layer.build(WriteBehind.layerConfig(
          Numbers,
          { name: "numbers", flush: () => Effect.void },
          { capacity: Config.integer("CAPACITY") }
        )))).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(config))))
      const missing = yield* build(new Map())
      expect(Exit.isFailure(missing)).toBe(true)
      expect(String(missing)).toContain("CAPACITY")
      const senseless = yield* build(new Map([["CAPACITY", "0"]]))
      expect(String(senseless)).toContain("InvalidData")
    }))
})

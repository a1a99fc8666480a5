import { describe, expect, it } from "@effect/vitest"
import { KeyedBatch, type QueueError, type Sharding } from "@sluice/core"
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
  Stream,
  TestClock,
  type Tracer
} from "effect"
import { accounted, add, calling, failureOf, gated, numbers, numbersInScope, settleDown } from "./support/keyedBatch.ts"
import { recording } from "./support/tracing.ts"

class Sums extends Context.Tag("test/Sums")<Sums, KeyedBatch.KeyedBatch<string, number>>() {}

describe("events", () => {
  /** What is told of everything that a function does with a processor. */
  const told = (
    options: Parameters<typeof numbersInScope>[0],
    use: (made: Effect.Effect.Success<ReturnType<typeof numbersInScope>>) => Effect.Effect<unknown, unknown>
  ) =>
    Effect.gen(function*() {
      const made = yield* numbersInScope(options)
      const telling = yield* calling(Stream.runCollect(made.processor.events))
      yield* use(made)
      yield* made.close
      return Chunk.toReadonlyArray(yield* Fiber.join(telling))
    })

  it.effect("tell of each batch when it began, of what, of how many operations, and how long its steps took", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust(1000)
      const records = yield* told(
        { minDuration: 20, maxDuration: 1000 },
        ({ processor, table }) =>
          Effect.gen(function*() {
            table.loads.push(() => Effect.sleep(5))
            table.saves.push(() => Effect.sleep(7))
            const calls = yield* calling(Effect.all(
              [
                processor.modify("a", add(1)),
                processor.modify("a", add(1)),
                Effect.exit(processor.modifyEffect("a", () => Effect.fail("own")))
              ],
              { concurrency: "unbounded" }
            ))
            yield* TestClock.adjust(5)
            yield* TestClock.adjust(15)
            yield* TestClock.adjust(7)
            yield* Fiber.join(calls)
          })
      )
      expect(records).toEqual([{
        _tag: "Batch",
        queue: "test",
        atMillis: 1027,
        startMillis: 1000,
        key: "a",
        operations: 3,
        loadMillis: 5,
        saveMillis: 7,
        totalMillis: 27
      }])
    }))

  it.effect("tell that nothing was saved by a duration of zero", () =>
    Effect.gen(function*() {
      const records = yield* told({ minDuration: 20 }, ({ processor }) =>
        Effect.gen(function*() {
          const call = yield* calling(Effect.exit(processor.modifyEffect("a", () => Effect.fail("own"))))
          yield* TestClock.adjust(20)
          yield* Fiber.join(call)
        }))
      expect(records).toEqual([
        {
          _tag: "Batch",
          queue: "test",
          atMillis: 20,
          startMillis: 0,
          key: "a",
          operations: 1,
          loadMillis: 0,
          saveMillis: 0,
          totalMillis: 20
        }
      ])
    }))

  it.effect("tell why a batch failed as a whole: its save, its maxDuration", () =>
    Effect.gen(function*() {
      const records = yield* told({ minDuration: 10, maxDuration: 30 }, ({ processor, table }) =>
        Effect.gen(function*() {
          table.saves.push(() => Effect.zipRight(Effect.sleep(4), Effect.fail("full")), () => Effect.never)
          const first = yield* calling(Effect.exit(processor.modify("a", add(1))))
          yield* TestClock.adjust(10)
          yield* TestClock.adjust(4)
          yield* Fiber.join(first)
          const second = yield* calling(Effect.exit(processor.modify("b", add(1))))
          yield* TestClock.adjust(30)
          yield* Fiber.join(second)
        }))
      expect(records).toMatchObject([
        { key: "a", operations: 1, loadMillis: 0, saveMillis: 4, totalMillis: 14, error: Cause.fail("full") },
        { key: "b", operations: 1, loadMillis: 0, saveMillis: 20, totalMillis: 30 }
      ])
      const { error } = records[1] as KeyedBatch.BatchRecord<string>
      expect(Option.getOrThrow(Cause.failureOption(error!))).toMatchObject({ _tag: "BatchTimeout", phase: "save" })
    }))

  it.effect("tell the time of a load that failed, and that nothing was saved", () =>
    Effect.gen(function*() {
      const records = yield* told({ minDuration: 10, maxDuration: 30 }, ({ processor, table }) =>
        Effect.gen(function*() {
          table.loads.push(() => Effect.zipRight(Effect.sleep(5), Effect.fail("down")), () => Effect.never)
          const first = yield* calling(Effect.exit(processor.modify("a", add(1))))
          yield* TestClock.adjust(5)
          yield* Fiber.join(first)
          const second = yield* calling(Effect.exit(processor.modify("b", add(1))))
          yield* TestClock.adjust(30)
          yield* Fiber.join(second)
          const third = yield* calling(Effect.exit(processor.modifyEffect("c", () => Effect.never)))
          yield* TestClock.adjust(30)
          yield* Fiber.join(third)
        }))
      expect(records).toMatchObject([
        { key: "a", operations: 1, loadMillis: 5, saveMillis: 0, totalMillis: 5, error: Cause.fail("down") },
        { key: "b", operations: 1, loadMillis: 30, saveMillis: 0, totalMillis: 30 },
        { key: "c", operations: 1, loadMillis: 0, saveMillis: 0, totalMillis: 30 }
      ])
    }))

  it.scoped("tell of the batches that begin after the subscription, to everybody who listens", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const loading = gated()
      table.loads.push(() => loading.run)
      const first = yield* calling(processor.modify("a", add(1)))
      const listening = yield* Effect.forEach(
        [1, 2],
        () => calling(Stream.runCollect(Stream.take(processor.events, 1)))
      )
      yield* loading.end
      yield* Fiber.join(first)
      yield* processor.modify("b", add(1))
      for (const fiber of listening) {
        expect(Chunk.toReadonlyArray(yield* Fiber.join(fiber))).toMatchObject([{ key: "b", operations: 1 }])
      }
    }))

  it.effect("end with the processor, and are empty after that", () =>
    Effect.gen(function*() {
      const { close, processor } = yield* numbersInScope({ minDuration: "1 hour" })
      const telling = yield* calling(Stream.runCollect(processor.events))
      const call = yield* calling(processor.modify("a", add(1)))
      yield* close
      yield* Fiber.join(call)
      expect(Chunk.toReadonlyArray(yield* Fiber.join(telling))).toMatchObject([{ key: "a" }])
      expect(Chunk.size(yield* Stream.runCollect(processor.events))).toBe(0)
    }))

  it.scoped(
    "slow nothing down where a subscriber is slow, and tell it how many it has missed",
    () =>
      Effect.gen(function*() {
        const { processor } = yield* numbers({ batchSize: 1, save: undefined })
        const gate = yield* Effect.makeLatch()
        let records = 0
        let missed = 0
        const slow = yield* calling(
          Stream.runForEach(processor.events, (record) =>
            Effect.zipRight(
              gate.await,
              Effect.sync(() => {
                if (record._tag === "Missed") missed += record.events
                else records += 1
              })
            ))
        )
        for (let round = 0; round < 6; round++) {
          yield* Effect.all(Array.from({ length: 2000 }, () => processor.modify("a", add(1))), {
            concurrency: "unbounded",
            discard: true
          })
        }
        yield* gate.open
        yield* settleDown
        yield* Fiber.interrupt(slow)
        expect(missed).toBeGreaterThan(0)
        expect(records).toBeGreaterThan(0)
        expect(records + missed).toBe(12_000)
      })
  )
})

describe("metrics", () => {
  const read = (series: string, queue: string) =>
    Effect.map(Metric.snapshot, (pairs) =>
      pairs.find(({ metricKey }) =>
        metricKey.name === series.split(" ")[0]
        && (metricKey.tags.find(({ key }) => key === "outcome")?.value === series.split(" ")[1])
        && metricKey.tags.some(({ key, value }) => key === "queue" && value === queue)
        && metricKey.tags.some(({ key, value }) => key === "system" && value === "keyed_batch")
      )?.metricState as { readonly count?: number | bigint; readonly value?: number } | undefined)

  it.effect("are published through Effect's Metric when the processor is closed", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ name: "published" })
      table.loads.push(() => Effect.fail("down"))
      yield* Effect.exit(processor.modify("a", add(1)))
      yield* Effect.all([processor.modify("a", add(1)), processor.modify("a", add(1))], { concurrency: 2 })
      yield* Effect.exit(processor.modify("\0", add(1)))
      const loading = gated()
      table.loads.push(() => loading.run)
      const gone = yield* calling(processor.modify("a", add(1)))
      yield* Fiber.interrupt(gone)
      yield* loading.end
      yield* close
      const counts = {
        sluice_items_offered_total: 5,
        sluice_items_refused_total: 1,
        sluice_items_cancelled_total: 1,
        "sluice_items_settled_total succeeded": 2,
        "sluice_items_settled_total failed": 1,
        sluice_batches_total: 3,
        sluice_batches_failed_total: 1,
        sluice_loads_total: 3,
        sluice_saves_total: 1
      }
      for (const [name, count] of Object.entries(counts)) {
        expect([name, Number((yield* read(name, "published"))?.count)]).toEqual([name, count])
      }
      expect(yield* read("sluice_held_items", "published")).toMatchObject({ value: 0 })
    }))

  it.scoped("are published within a second of every change, also where nothing else happens", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ name: "hanging" })
      const loading = gated()
      table.loads.push(() => loading.run)
      const gone = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust("1 second")
      expect(yield* read("sluice_held_items", "hanging")).toMatchObject({ value: 1 })
      yield* Fiber.interrupt(gone)
      yield* TestClock.adjust("1 second")
      expect(yield* read("sluice_held_items", "hanging")).toMatchObject({ value: 0 })
      expect(Number((yield* read("sluice_items_cancelled_total", "hanging"))?.count)).toBe(1)
      yield* loading.end
    }))

  it.scoped("tell within a second of an operation that it runs, and of a save that it has begun", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ name: "slow" })
      const [loading, saving] = [gated(), gated()]
      table.loads.push(() => loading.run)
      table.saves.push(() => saving.run)
      const call = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust("1 second")
      expect(yield* read("sluice_depth_items", "slow")).toMatchObject({ value: 1 })
      expect(yield* read("sluice_in_flight_items", "slow")).toMatchObject({ value: 0 })
      yield* loading.end
      yield* TestClock.adjust("1 second")
      expect(yield* read("sluice_depth_items", "slow")).toMatchObject({ value: 0 })
      expect(yield* read("sluice_in_flight_items", "slow")).toMatchObject({ value: 1 })
      expect(Number((yield* read("sluice_saves_total", "slow"))?.count)).toBe(1)
      yield* saving.end
      yield* Fiber.join(call)
    }))

  it.scoped("are published where an operation ends without its batch", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ name: "waiting", minDuration: 500, maxDuration: 1000 })
      const loading = gated()
      table.loads.push(() => Effect.uninterruptible(loading.run))
      yield* calling(Effect.exit(processor.modify("a", add(1))))
      yield* TestClock.adjust(1000)
      yield* calling(Effect.exit(processor.modify("a", add(1))))
      yield* TestClock.adjust(1000)
      expect((yield* processor.metrics).held).toBe(0)
      yield* TestClock.adjust(2000)
      expect(yield* read("sluice_held_items", "waiting")).toMatchObject({ value: 0 })
      expect(Number((yield* read("sluice_items_settled_total failed", "waiting"))?.count)).toBe(2)
      yield* loading.end
    }))

  it.scoped("tell what waits for its batch from what waits for the end of it", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const [loading, saving] = [gated(), gated()]
      table.loads.push(() => loading.run)
      table.saves.push(() => saving.run)
      yield* calling(processor.modify("a", add(1)))
      const gone = yield* calling(processor.modify("a", add(1)))
      yield* calling(Effect.exit(processor.modifyEffect("a", () => Effect.fail("no"))))
      expect(yield* processor.metrics).toMatchObject({ held: 3, depth: 3, inFlight: 0 })
      yield* Fiber.interrupt(gone)
      expect(yield* processor.metrics).toMatchObject({ held: 2, depth: 2, inFlight: 0 })
      yield* loading.end
      yield* saving.begun
      yield* calling(processor.modify("a", add(1)))
      expect(yield* processor.metrics).toMatchObject({ settled: 0, held: 3, depth: 1, inFlight: 2 })
      yield* saving.end
      yield* settleDown
      expect(yield* processor.metrics).toMatchObject({ settled: 3, succeeded: 2, failed: 1, depth: 0, inFlight: 0 })
    }))

  it.scoped("account for every operation at every moment", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 5, batchSize: 3 })
      for (let i = 0; i < 10; i++) {
        table.loads.push(() => Effect.zipRight(Effect.sleep(i), i % 3 === 0 ? Effect.fail("down") : Effect.void))
      }
      for (let i = 0; i < 20; i++) {
        const call = yield* Effect.fork(Effect.exit(processor.modify(i % 2, add(1))))
        yield* TestClock.adjust(1)
        if (i % 4 === 0) yield* Effect.fork(Fiber.interrupt(call))
        const metrics = yield* processor.metrics
        expect(accounted(metrics)).toBe(metrics.offered)
      }
      yield* TestClock.adjust("1 second")
      const metrics = yield* processor.metrics
      expect(metrics).toMatchObject({ offered: 20, held: 0, keys: 0 })
      expect(accounted(metrics)).toBe(20)
    }))
})

describe("tracing", () => {
  it.effect("has an operation that is an Effect run within the span of its caller", () =>
    Effect.gen(function*() {
      const { tracer } = yield* recording
      const parent = yield* Effect.scoped(Effect.gen(function*() {
        const { processor } = yield* numbers()
        return yield* Effect.withSpan(
          processor.modifyEffect("a", (sum) => Effect.map(Effect.currentSpan, ({ name }) => [name, sum] as const)),
          "caller"
        )
      })).pipe(Effect.withTracer(tracer))
      expect(parent).toBe("caller")
    }))

  it.effect("makes a span for each load and each save, linked to the spans of the operations", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      yield* Effect.scoped(Effect.gen(function*() {
        const { processor, table } = yield* numbers({ name: "traced" })
        const loading = gated()
        table.loads.push(() => loading.run)
        const first = yield* calling(Effect.withSpan(processor.modify("a", add(1)), "first"))
        const second = yield* calling(Effect.withSpan(processor.modify("a", add(1)), "second"))
        yield* calling(processor.modify("a", add(1)))
        yield* loading.end
        yield* Fiber.join(Fiber.zip(first, second))
        yield* Effect.withSpan(Effect.exit(processor.modifyEffect("a", () => Effect.fail("own"))), "third")
      })).pipe(Effect.withTracer(tracer))
      const of = (name: string) => spans.filter((span) => span.name === name)
      const linked = (name: string) => of(name).map(({ links }) => links.map(({ span }) => (span as Tracer.Span).name))
      // Those that came during the load have not been there when it began.
      expect(linked("KeyedBatch.load")).toEqual([["first"], ["third"]])
      expect(linked("KeyedBatch.save")).toEqual([["first", "second"]])
      expect(of("KeyedBatch.save")[0].attributes.get("sluice.batch.operations")).toBe(3)
      expect(of("KeyedBatch.save")[0].attributes.get("sluice.queue")).toBe("traced")
      for (const span of [...of("KeyedBatch.load"), ...of("KeyedBatch.save")]) {
        expect(Option.isNone(span.parent)).toBe(true)
      }
    }))

  it.scoped("is off without a tracer of the user: no span is made", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const look = Effect.map(Effect.option(Effect.currentSpan), (span) => void seen.push(span))
      const { processor } = yield* numbers({
        load: () => Effect.as(look, 0),
        save: () => look
      })
      yield* Effect.withSpan(processor.modify("a", add(1)), "mine")
      expect(seen).toEqual([Option.none(), Option.none()])
    }))
})

describe("options", () => {
  type Options = KeyedBatch.Options<Sharding.Key, number, never, never>
  const base = { name: "test", initial: () => 0 }

  // Where both durations are the same, a batch would be given up before it could be saved.
  it.effect.each(
    [
      [{ name: " " }, "name"],
      [{ name: undefined }, "name"],
      [{ initial: undefined }, "load"],
      [{ minDuration: -1 }, "minDuration"],
      [{ minDuration: NaN }, "minDuration"],
      [{ minDuration: "soon" }, "minDuration"],
      [{ minDuration: Infinity }, "minDuration"],
      [{ maxDuration: -1 }, "maxDuration"],
      [{ maxDuration: NaN }, "maxDuration"],
      [{ maxDuration: {} }, "maxDuration"],
      [{ maxDuration: 99 }, "maxDuration"],
      [{ minDuration: 20, maxDuration: 19 }, "maxDuration"],
      [{ minDuration: 20, maxDuration: 20 }, "maxDuration"],
      [{ batchSize: 0 }, "batchSize"],
      [{ batchSize: 1.5 }, "batchSize"],
      [{ batchSize: NaN }, "batchSize"],
      [{ batchSize: -1 }, "batchSize"],
      [{ shards: 0 }, "shards"],
      [{ shards: 1.5 }, "shards"],
      [{ shards: NaN }, "shards"],
      [{ shards: Infinity }, "shards"],
      [{ shardOf: 7 }, "shardOf"]
    ] satisfies ReadonlyArray<readonly [Record<string, unknown>, string]>
  )("%o is an InvalidOption", ([options, field]) =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.scoped(KeyedBatch.make({ ...base, ...options } as unknown as Options)))
      const error = failureOf(exit) as QueueError.InvalidOption
      expect(error).toMatchObject({ _tag: "InvalidOption", field, value: (options as any)[field] })
      expect(error.message).toContain(`"${field}"`)
      expect(error.message).toContain("must be")
    }))

  // Or every batch would die of a TypeError.
  it.effect.each([["load"], ["save"], ["initial"]])(
    "%s that is no function is an InvalidOption",
    ([field]) =>
      Effect.gen(function*() {
        const options = { ...(field === "load" ? { name: "test" } : base), [field]: 7 } as unknown as Options
        const exit = yield* Effect.exit(Effect.scoped(KeyedBatch.make(options)))
        expect(failureOf(exit)).toMatchObject({ _tag: "InvalidOption", field, value: 7 })
      })
  )

  it.scoped("that are undefined have their defaults", () =>
    Effect.gen(function*() {
      const processor = yield* KeyedBatch.make({
        ...base,
        save: undefined,
        minDuration: undefined,
        maxDuration: undefined,
        batchSize: undefined,
        shards: undefined,
        shardOf: undefined
      })
      expect(processor.queueName).toBe("test")
      const call = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust(100)
      expect(yield* Fiber.join(call)).toBe(1)
    }))
})

describe("layers", () => {
  it.effect("layer fills a tag, and saves when it is torn down", () =>
    Effect.gen(function*() {
      const saved: Array<readonly [string, number]> = []
      const SumsLive = KeyedBatch.layer(Sums, {
        name: "sums",
        initial: () => 0,
        save: (key, sum) => Effect.sync(() => void saved.push([key, sum])),
        minDuration: "1 hour"
      })
      const call = yield* Effect.flatMap(Sums, (sums) =>
        Effect.map(Effect.forkDaemon(sums.modify("a", add(1))), (fiber) => ({ fiber }))).pipe(
          Effect.zipLeft(settleDown),
          Effect.provide(SumsLive)
        )
      expect(yield* Fiber.join(call.fiber)).toBe(1)
      expect(saved).toEqual([["a", 1]])
    }))

  it.effect("layerConfig takes numbers and durations from the configuration, which wins", () =>
    Effect.gen(function*() {
      let saves = 0
      const SumsLive = KeyedBatch.layerConfig(
        Sums,
        {
          name: "sums",
          initial: () => 0,
          save: () => Effect.sync(() => void (saves += 1)),
          minDuration: "1 hour",
          batchSize: 100
        },
        { minDuration: Config.duration("MIN"), batchSize: Config.integer("BATCH_SIZE") }
      )
      const provider = ConfigProvider.fromMap(new Map([["MIN", "5 millis"], ["BATCH_SIZE", "2"]]))
      yield* Effect.gen(function*() {
        const sums = yield* Sums
        const calls = yield* calling(
          Effect.all([1, 2, 3].map((amount) => sums.modify("a", add(amount))), { concurrency: 3 })
        )
        expect(saves).toBe(1)
        yield* TestClock.adjust(5)
        expect(yield* Fiber.join(calls)).toEqual([1, 3, 3])
      }).pipe(Effect.provide(Layer.provide(SumsLive, Layer.setConfigProvider(provider))))
    }))

  it.effect("layerConfig fails with a typed error where the configuration is missing or makes no sense", () =>
    Effect.gen(function*() {
      const build = (config: ReadonlyMap<string, string>) =>
        Effect.exit(Effect.scoped(Layer.build(KeyedBatch.layerConfig(
          Sums,
          { name: "sums", initial: () => 0 },
          { shards: Config.integer("SHARDS") }
        )))).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(config))))
      const missing = yield* build(new Map())
      expect(Exit.isFailure(missing)).toBe(true)
      expect(String(missing)).toContain("SHARDS")
      expect(String(yield* build(new Map([["SHARDS", "0"]])))).toContain("InvalidData")
    }))
})

/** Queues as services of `Effect.Tag` and `Effect.Service`, whose accessors are what the queue has. */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { Effect, Layer, Schema } from "effect"

const flush = () => Effect.void
const queueOptions = { name: "lines", capacity: 10, flush }
const batchOptions = { name: "mails", schema: Schema.String, process: flush }
const poolOptions = {
  name: "commands",
  key: (command: string) => command,
  execute: (command: string) => Effect.succeed(command.length)
}
const keyedOptions = { name: "totals", initial: () => 0, minDuration: 0 }

/** What a queue has, as a user sees it, and whether the class of the tag has the like itself. */
const hidden = (tag: object, queue: object): ReadonlyArray<string> => Object.keys(queue).filter((key) => key in tag)

describe("Effect.Tag", () => {
  it.effect("has accessors for a WriteBehind", () => {
    class Lines extends Effect.Tag("test/Lines")<Lines, WriteBehind.WriteBehind<string>>() {}
    return Effect.gen(function*() {
      expect(yield* Lines.offer("a")).toBe("accepted")
      expect(yield* Lines.unsafeOffer("b")).toBe("accepted")
      expect(yield* Lines.depth).toBe(2)
      expect(yield* Lines.flushNow).toEqual({ settled: 2, dropped: 0 })
      expect(yield* Lines.queueName).toBe("lines")
      expect(Lines.name).toBe("Lines")
      expect(hidden(Lines, yield* Lines)).toEqual([])
    }).pipe(Effect.provide(WriteBehind.layer(Lines, queueOptions)))
  })

  it.effect("has accessors for a BatchQueue", () => {
    class Mails extends Effect.Tag("test/Mails")<Mails, BatchQueue.BatchQueue<string>>() {}
    return Effect.gen(function*() {
      yield* Mails.pause
      expect(yield* Mails.isPaused).toBe(true)
      expect(yield* Mails.offerStored("a", { id: "1" })).toBe("stored")
      expect(yield* Mails.offerStored("a", { id: "1" })).toBe("duplicate")
      expect((yield* Mails.stats).pending.items).toBe(1)
      expect(yield* Mails.queueName).toBe("mails")
      expect(hidden(Mails, yield* Mails)).toEqual([])
    }).pipe(Effect.provide(BatchQueue.layer(Mails, batchOptions)), Effect.provide(BatchStore.layerMemory))
  })

  it.effect("has accessors for a ShardPool", () => {
    class Commands extends Effect.Tag("test/Commands")<Commands, ShardPool.ShardPool<string, number>>() {}
    return Effect.gen(function*() {
      expect(yield* Commands.submit("abc")).toBe(3)
      expect(yield* Commands.queueName).toBe("commands")
      expect(hidden(Commands, yield* Commands)).toEqual([])
    }).pipe(Effect.provide(ShardPool.layer(Commands, poolOptions)))
  })

  it.effect("has accessors for a KeyedBatch, and use for its generic methods", () => {
    // @effect-diagnostics-next-line unsupportedServiceAccessors:off
    class Totals extends Effect.Tag("test/Totals")<Totals, KeyedBatch.KeyedBatch<string, number>>() {}
    return Effect.gen(function*() {
      expect(yield* Totals.use((totals) => totals.modify("a", (n) => [n, n + 1]))).toBe(0)
      expect((yield* Totals.metrics).settled).toBe(1)
      expect(yield* Totals.queueName).toBe("totals")
      expect(hidden(Totals, yield* Totals)).toEqual([])
    }).pipe(Effect.provide(KeyedBatch.layer(Totals, keyedOptions)))
  })
})

describe("accessors of Effect.Service", () => {
  class Lines extends Effect.Service<Lines>()("test/Lines", {
    accessors: true,
    scoped: WriteBehind.make<string>(queueOptions)
  }) {}
  class Mails extends Effect.Service<Mails>()("test/Mails", {
    accessors: true,
    scoped: BatchQueue.make(batchOptions),
    dependencies: [BatchStore.layerMemory]
  }) {}
  class Commands extends Effect.Service<Commands>()("test/Commands", {
    accessors: true,
    scoped: ShardPool.make(poolOptions)
  }) {}
  class Totals extends Effect.Service<Totals>()("test/Totals", {
    accessors: true,
    scoped: KeyedBatch.make<string, number>(keyedOptions)
  }) {}

  it.effect("are what each queue has", () =>
    Effect.gen(function*() {
      expect(yield* Lines.offer("a")).toBe("accepted")
      expect(yield* Lines.flushNow).toEqual({ settled: 1, dropped: 0 })
      expect(yield* Mails.offerStored("a")).toBe("stored")
      expect(yield* Commands.submit("abc")).toBe(3)
      expect(yield* Totals.use((totals) => totals.modify("a", (n) => [n, n + 1]))).toBe(0)
      const names = Effect.all([Lines.queueName, Mails.queueName, Commands.queueName, Totals.queueName])
      expect(yield* names).toEqual(["lines", "mails", "commands", "totals"])
    }).pipe(Effect.provide(Layer.mergeAll(Lines.Default, Mails.Default, Commands.Default, Totals.Default))))
})

import {
  Backpressure,
  type Batch,
  BatchQueue,
  type BatchStore,
  Decision,
  KeyedBatch,
  type QueueError,
  ShardPool,
  WriteBehind
} from "@sluice/core"
import { type Cause, Config, type ConfigError, Context, Effect, type Layer, Schedule, Schema, type Scope } from "effect"
import { describe, expect, it } from "tstyche"

class Database extends Context.Tag("Database")<Database, { readonly write: Effect.Effect<void, Locked> }>() {}
class Locked {
  readonly _tag = "Locked"
}

class Lines extends Context.Tag("app/Lines")<Lines, WriteBehind.WriteBehind<string>>() {}
class Mails extends Context.Tag("app/Mails")<Mails, BatchQueue.BatchQueue<string>>() {}
class Counts extends Context.Tag("app/Counts")<Counts, ShardPool.ShardPool<string, void, Locked>>() {}

const write = () => Effect.flatMap(Database, (database) => database.write)
const flush = (_batch: Batch.Batch<string>) => write()
const load = (_key: string) => Effect.as(write(), 0)

const whileLocked = Schedule.recurWhile((error: Locked | QueueError.HandlerDefect) => error._tag === "Locked")
const decide = (error: Locked | QueueError.HandlerDefect) =>
  error._tag === "Locked" ? Decision.retry : Decision.deadLetter
const onProcessError = (_cause: Cause.Cause<Locked>, _batch: Batch.Batch<string>) => Effect.void
const isRetried = (error: Locked | QueueError.HandlerDefect) => error._tag === "Locked"
const isRejection = (error: Locked) => error._tag === "Locked"

const shards = Config.integer("SHARDS")

describe("options that are constants, beside functions that are written in place", () => {
  const weigh = (_item: string) => 1
  const name = "queue"
  const schema = Schema.String
  const key = (command: string) => command

  it("leave the errors and the requirements of make as they are", () => {
    expect(WriteBehind.make({ name, capacity: 1, weigh, flush: (_batch) => write(), retry: whileLocked })).type.toBe<
      Effect.Effect<WriteBehind.WriteBehind<string>, QueueError.InvalidOption, Database | Scope.Scope>
    >()
    type Made = Effect.Effect<
      BatchQueue.BatchQueue<string>,
      QueueError.InvalidOption | QueueError.StoreUnavailable,
      Database | BatchStore.BatchStore | Scope.Scope
    >
    expect(BatchQueue.make({ name, schema, process: (_batch) => write(), retry: whileLocked })).type.toBe<Made>()
    expect(BatchQueue.make({ name, schema, process: (_batch) => write(), decide })).type.toBe<Made>()
    expect(BatchQueue.make({ name, schema, process: (_batch) => write(), onProcessError })).type.toBe<Made>()
    expect(ShardPool.make({ name, key, execute: (_command) => write(), isRejection })).type.toBe<
      Effect.Effect<ShardPool.ShardPool<string, void, Locked>, QueueError.InvalidOption, Database | Scope.Scope>
    >()
  })

  it("leave those of layer and layerConfig as they are", () => {
    const lines = { name, capacity: 1 }
    expect(WriteBehind.layer(Lines, { ...lines, flush: (_batch) => write(), retry: whileLocked })).type.toBe<
      Layer.Layer<Lines, QueueError.InvalidOption, Database>
    >()
    expect(WriteBehind.layerConfig(Lines, { ...lines, flush: (_batch) => write(), retry: whileLocked }, { shards }))
      .type.toBe<Layer.Layer<Lines, QueueError.InvalidOption | ConfigError.ConfigError, Database>>()
    type Failure = QueueError.InvalidOption | QueueError.StoreUnavailable
    expect(BatchQueue.layer(Mails, { name, schema, process: (_batch) => write(), decide, onProcessError })).type.toBe<
      Layer.Layer<Mails, Failure, Database | BatchStore.BatchStore>
    >()
    expect(BatchQueue.layerConfig(Mails, { name, schema, process: (_batch) => write(), decide }, { workers: shards }))
      .type.toBe<Layer.Layer<Mails, Failure | ConfigError.ConfigError, Database | BatchStore.BatchStore>>()
    expect(ShardPool.layer(Counts, { name, key, execute: (_command) => write(), isRejection })).type.toBe<
      Layer.Layer<Counts, QueueError.InvalidOption, Database>
    >()
    expect(ShardPool.layerConfig(Counts, { name, key, execute: (_command) => write(), isRejection }, { shards }))
      .type.toBe<Layer.Layer<Counts, QueueError.InvalidOption | ConfigError.ConfigError, Database>>()
  })

  it("are refused if they do not take every error", () => {
    const narrow = Schedule.recurWhile((error: QueueError.HandlerDefect) => error._tag === "HandlerDefect")
    expect(WriteBehind.layer).type.toBeCallableWith(Lines, { name, capacity: 1, flush, retry: whileLocked })
    expect(WriteBehind.layer).type.not.toBeCallableWith(Lines, { name, capacity: 1, flush, retry: narrow })
    expect(BatchQueue.layer).type.toBeCallableWith(Mails, { name, schema, process: flush, retry: whileLocked })
    expect(BatchQueue.layer).type.not.toBeCallableWith(Mails, { name, schema, process: flush, retry: narrow })
    expect(ShardPool.layer).type.toBeCallableWith(Counts, { name, key, execute: write, isRejection })
    expect(ShardPool.layer).type.not.toBeCallableWith(Counts, {
      name,
      key,
      execute: write,
      isRejection: (error: 1) => error === 1
    })
  })
})

describe("the errors that are retried", () => {
  const options = { name: "queue", capacity: 1, schema: Schema.String }

  it("are those of the handler that is written in place, without an annotation", () => {
    expect(WriteBehind.make({
      ...options,
      flush: (_batch: Batch.Batch<string>) => write(),
      while: (error) => {
        expect(error).type.toBe<Locked | QueueError.HandlerDefect>()
        return error._tag === "Locked"
      }
    })).type.toBe<Effect.Effect<WriteBehind.WriteBehind<string>, QueueError.InvalidOption, Database | Scope.Scope>>()
    expect(WriteBehind.layer(Lines, {
      ...options,
      flush: (_batch) => write(),
      while: (error) => error._tag === "Locked"
    })).type.toBe<Layer.Layer<Lines, QueueError.InvalidOption, Database>>()
    expect(BatchQueue.layer(Mails, {
      ...options,
      process: (_batch) => write(),
      while: (error) => {
        expect(error).type.toBe<Locked | QueueError.HandlerDefect>()
        return error._tag === "Locked"
      }
    })).type.toBe<
      Layer.Layer<Mails, QueueError.InvalidOption | QueueError.StoreUnavailable, Database | BatchStore.BatchStore>
    >()
  })

  it("are told by a function that takes all of them, and answers a boolean", () => {
    const { capacity, name, schema } = options
    expect(WriteBehind.layer).type.toBeCallableWith(Lines, { name, capacity, flush, while: isRetried })
    expect(WriteBehind.layer).type.not.toBeCallableWith(Lines, { name, capacity, flush, while: isRejection })
    expect(WriteBehind.layer).type.not.toBeCallableWith(Lines, { name, capacity, flush, while: () => Effect.void })
    expect(BatchQueue.layer).type.toBeCallableWith(Mails, { name, schema, process: flush, while: isRetried })
    expect(BatchQueue.layer).type.not.toBeCallableWith(Mails, { name, schema, process: flush, while: isRejection })
  })
})

describe("a configuration", () => {
  const name = "queue"
  const count = Config.option(Config.integer("COUNT"))
  const policy = Backpressure.config("POLICY")
  const text = Config.string("TEXT")

  it("may leave an option as it is, with undefined, or with an Option", () => {
    const rest = { name, capacity: 1, flush }
    expect(WriteBehind.layerConfig).type.toBeCallableWith(Lines, rest, {
      capacity: count,
      batchSize: undefined,
      flushInterval: Config.option(Config.duration("INTERVAL")),
      batchBytesLimit: count,
      shards: Config.succeed(undefined)
    })
    expect(BatchQueue.layerConfig).type.toBeCallableWith(Mails, { name, schema: Schema.String, process: flush }, {
      workers: count,
      flush: { size: count, linger: undefined },
      limits: Config.option(Config.all({ maxDepth: Config.integer("DEPTH") })),
      isolate: Config.option(Config.literal("each", "bisect")("ISOLATE"))
    })
    expect(ShardPool.layerConfig).type.toBeCallableWith(Counts, { name, key: String, execute: write }, {
      shards: count,
      capacity: undefined
    })
    class Totals extends Context.Tag("app/Totals")<Totals, KeyedBatch.KeyedBatch<string, number>>() {}
    expect(KeyedBatch.layerConfig).type.toBeCallableWith(Totals, { name, initial: () => 0 }, {
      shards: count,
      minDuration: undefined
    })
  })

  it("may have the policy", () => {
    expect(WriteBehind.layerConfig).type.toBeCallableWith(Lines, { name, flush }, { capacity: count, policy })
    expect(WriteBehind.layerConfig).type.toBeCallableWith(Lines, { name, flush }, { policy: Config.option(policy) })
    expect(BatchQueue.layerConfig).type.toBeCallableWith(Mails, { name, schema: Schema.String, process: flush }, {
      policy
    })
    expect(ShardPool.layerConfig).type.toBeCallableWith(Counts, { name, key: String, execute: write }, { policy })
    // One of the options is for the items of the queue, whatever the configuration may say.
    const byLine = Backpressure.coalesceByKey((line: string) => line)
    expect(WriteBehind.layerConfig).type.toBeCallableWith(Lines, { name, flush, policy: byLine }, { policy })
  })

  it("has nothing of another type, and no function", () => {
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Lines, { name, flush }, { capacity: text })
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Lines, { name, flush }, { capacity: Config.option(text) })
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Lines, { name, flush }, { policy: text })
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Lines, { name, flush }, { onDrop: text })
    expect(BatchQueue.layerConfig).type.not.toBeCallableWith(Mails, { name, schema: Schema.String, process: flush }, {
      flush: { size: text }
    })
  })
})

describe("several services that a queue requires", () => {
  class Clerk extends Context.Tag("Clerk")<Clerk, { readonly file: Effect.Effect<void> }>() {}
  const both = (_batch: Batch.Batch<string>) => Effect.zipRight(write(), Effect.flatMap(Clerk, ({ file }) => file))
  const loadBoth = (_key: string) => Effect.as(both(null!), 0)
  const give = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.provideService(Clerk, { file: Effect.void }),
      Effect.provideService(Database, { write: Effect.void })
    )

  it("can be provided one by one", () => {
    type Needs<Made> = Made extends Effect.Effect<any, any, infer R> ? R : unknown
    const lines = give(WriteBehind.make({ name: "lines", capacity: 1, flush: both }))
    expect<Needs<typeof lines>>().type.toBe<Scope.Scope>()
    const mails = give(BatchQueue.make({ name: "mails", schema: Schema.String, process: both }))
    expect<Needs<typeof mails>>().type.toBe<BatchStore.BatchStore | Scope.Scope>()
    const counts = give(ShardPool.make({ name: "counts", key: String, execute: both }))
    expect<Needs<typeof counts>>().type.toBe<Scope.Scope>()
    const totals = give(KeyedBatch.make({ name: "totals", load: loadBoth }))
    expect<Needs<typeof totals>>().type.toBe<Scope.Scope>()
  })
})

describe("Effect.Service", () => {
  it("requires what the queue does", () => {
    class LinesService extends Effect.Service<LinesService>()("app/Lines", {
      scoped: WriteBehind.make({ name: "lines", capacity: 1, flush })
    }) {}
    expect(LinesService.Default).type.toBe<Layer.Layer<LinesService, QueueError.InvalidOption, Database>>()

    class MailsService extends Effect.Service<MailsService>()("app/Mails", {
      scoped: BatchQueue.make({ name: "mails", schema: Schema.String, process: flush })
    }) {}
    expect(MailsService.Default).type.toBe<
      Layer.Layer<
        MailsService,
        QueueError.InvalidOption | QueueError.StoreUnavailable,
        Database | BatchStore.BatchStore
      >
    >()

    class CountsService extends Effect.Service<CountsService>()("app/Counts", {
      scoped: ShardPool.make({ name: "counts", key: (command: string) => command, execute: write })
    }) {}
    expect(CountsService.Default).type.toBe<Layer.Layer<CountsService, QueueError.InvalidOption, Database>>()

    class TotalsService extends Effect.Service<TotalsService>()("app/Totals", {
      scoped: KeyedBatch.make({ name: "totals", load, save: write })
    }) {}
    expect(TotalsService.Default).type.toBe<Layer.Layer<TotalsService, QueueError.InvalidOption, Database>>()
  })
})

// Queues whose options come from the environment. What is not set there is as if it was not given.
import { Backpressure, BatchQueue, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Config, Context, Effect, Layer, Schema } from "effect"

/** A number, or nothing. That it is one the option takes is checked by the queue, whose error names the variable. */
const number = (name: string) => Config.option(Config.integer(name))

export class Audit extends Context.Tag("app/Audit")<Audit, WriteBehind.WriteBehind<string>>() {}

const AuditLive = WriteBehind.layerConfig(
  Audit,
  { name: "audit", flush: () => Effect.void },
  {
    capacity: Config.withDefault(Config.integer("AUDIT_CAPACITY"), 1000), // the one option without a default
    policy: Config.option(Backpressure.config("AUDIT_POLICY")),
    batchSize: number("AUDIT_BATCH_SIZE"),
    flushInterval: Config.option(Config.duration("AUDIT_FLUSH_INTERVAL"))
  }
)

export class Emails extends Context.Tag("app/Emails")<Emails, BatchQueue.BatchQueue<string>>() {}

const EmailsLive = BatchQueue.layerConfig(
  Emails,
  { name: "emails", schema: Schema.String, process: () => Effect.void },
  { workers: number("EMAILS_WORKERS"), maxPending: number("EMAILS_MAX_PENDING") }
)

export class Orders extends Context.Tag("app/Orders")<Orders, ShardPool.ShardPool<string, number>>() {}

const OrdersLive = ShardPool.layerConfig(
  Orders,
  { name: "orders", key: (order) => order, execute: (_, { version }) => Effect.as(Effect.yieldNow(), version) },
  { capacity: number("ORDERS_CAPACITY"), policy: Config.option(Backpressure.config("ORDERS_POLICY")) }
)

export class Stocks extends Context.Tag("app/Stocks")<Stocks, KeyedBatch.KeyedBatch<string, number>>() {}

const StocksLive = KeyedBatch.layerConfig(
  Stocks,
  { name: "stocks", initial: () => 0 },
  {
    minDuration: Config.option(Config.duration("STOCKS_MIN_DURATION")),
    batchSize: number("STOCKS_BATCH_SIZE")
  }
)

const StoreLive = SqlBatchStore.layer().pipe(
  Layer.provide(SqliteStore.layerConfig({ filename: Config.withDefault(Config.string("DATABASE"), ":memory:") }))
)

export const QueuesLive = Layer.mergeAll(AuditLive, Layer.provide(EmailsLive, StoreLive), OrdersLive, StocksLive)

// An app that has each of the five as a layer, and runs with them as with their doubles.
import { SqlClient } from "@effect/sql"
import { Backpressure, BatchQueue, KeyedBatch, PolicyQueue, ShardPool, WriteBehind } from "@sluice/core"
import { HttpQueue, HttpQueues } from "@sluice/http"
import { SqlBatchStore, SqliteStore, SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Effect, Layer, Schema } from "effect"
import { Accounts, Books, Doubles, Emails, type Order, Orders, Writes } from "./doubles.js"

const OrderSchema = Schema.Struct({ key: Schema.String, amount: Schema.Number })

const Store = SqlBatchStore.layer().pipe(Layer.provideMerge(SqliteStore.layer({ filename: "app.db" })))

export const OrdersLive = WriteBehind.layer(Orders, {
  name: "orders",
  capacity: 1000,
  policy: Backpressure.coalesceByKey((order: Order) => order.key),
  flush: (batch) => Effect.log(batch.items.length)
})

export const EmailsLive = BatchQueue.layer(Emails, {
  name: "emails",
  schema: OrderSchema,
  capacity: 1000,
  process: (batch) => Effect.log(batch.items.length)
})

export const AccountsLive = KeyedBatch.layer(Accounts, { name: "accounts", initial: () => ({ balance: 0 }) })

export const BooksLive = ShardPool.layer(Books, {
  name: "books",
  key: ({ key }: Order) => key,
  execute: ({ amount }) => Effect.succeed(amount)
})

export const WritesLive = WriteCoordinator.layer(Writes, { name: "writes" })

export const SqlLive = WriteCoordinator.layerSqlClient(Writes)

export const QueuesLive = HttpQueues.layer([HttpQueue.writeBehind(Orders, { schema: OrderSchema })])

export const Live = Layer.mergeAll(OrdersLive, EmailsLive, AccountsLive, BooksLive, WritesLive).pipe(
  Layer.provideMerge(Store)
)

export const queue = PolicyQueue.make<Order>({ policy: Backpressure.reject, capacity: 1 })

export const app = Effect.gen(function*() {
  const order: Order = { key: "a", amount: 1 }
  const accepted = yield* (yield* Orders).offer(order)
  const stored = yield* (yield* Emails).offerStored(order, { id: "a" })
  const balance = yield* (yield* Accounts).modify("a", ({ balance }) => [balance, { balance: balance + 1 }])
  const amount = yield* (yield* Books).submit(order)
  const written = yield* (yield* Writes).submit(Effect.succeed(1), { name: "one" })
  return { accepted, stored, balance, amount, written }
})

export const inTransaction = SqlTransaction.withTransaction(
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1`)
)

export const tested = Effect.provide(app, Doubles)
export const run = Effect.scoped(Effect.provide(app, Live))

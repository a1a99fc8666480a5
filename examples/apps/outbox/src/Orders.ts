import { SqlClient } from "@effect/sql"
import { Batch, BatchQueue, Retry } from "@sluice/core"
import { SqlBatchStore, SqliteStore, SqlTransaction } from "@sluice/sql"
import { Config, Context, Effect, Layer, Schema } from "effect"

export class Order extends Schema.Class<Order>("Order")({
  id: Schema.String,
  product: Schema.String
}) {}

/** What is still to be sent. It is in the file of the orders, so that an order and its message are stored together. */
export class Outbox extends Context.Tag("outbox/Outbox")<Outbox, BatchQueue.BatchQueue<Order>>() {}

export const DatabaseLive = SqliteStore.layerConfig({
  filename: Config.string("DATABASE"),
  // How long a caller waits for the other processes. A lease must be at least three times as long.
  busyTimeout: Config.succeed("1 second")
})

/** The outbox, with a handler: `workers: 0` makes a process that only offers. */
export const outboxLive = <E, R>(options: {
  readonly workers: number
  readonly send: (order: Order) => Effect.Effect<unknown, E, R>
}) =>
  BatchQueue.layer(Outbox, {
    name: "orders",
    schema: Order,
    workers: options.workers,
    leaseDuration: "3 seconds", // how soon the orders of a process that was killed are sent by another one
    retry: Retry.exponential({ base: "100 millis", cap: "1 minute" }),
    process: (batch) => Batch.forEach(batch, options.send)
  }).pipe(Layer.provide(SqlBatchStore.layer()))

/** Stores an order and its message, or neither. */
export const placeOrder = (order: Order) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const outbox = yield* Outbox
    yield* SqlTransaction.withTransaction(Effect.gen(function*() {
      yield* sql`INSERT INTO orders ${sql.insert({ id: order.id, product: order.product })}`
      yield* outbox.offerStored(order, { id: order.id })
    }))
  })

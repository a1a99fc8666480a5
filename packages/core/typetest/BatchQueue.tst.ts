import { Backpressure, type Batch, BatchQueue, type BatchStore, type QueueError } from "@sluice/core"
import { type Cause, Context, Effect, type Layer, Schedule, Schema, type Scope } from "effect"
import { describe, expect, it } from "tstyche"

interface Order {
  readonly id: string
  readonly at: Date
}

const schema = Schema.Struct({ id: Schema.String, at: Schema.Date })

class Database extends Context.Tag("Database")<Database, { readonly write: Effect.Effect<void> }>() {}
class Budget extends Context.Tag("Budget")<Budget, { readonly left: Effect.Effect<number> }>() {}
class Pager extends Context.Tag("Pager")<Pager, { readonly page: Effect.Effect<void> }>() {}
class DatabaseError {
  readonly _tag = "DatabaseError"
}
class Orders extends Context.Tag("app/Orders")<Orders, BatchQueue.BatchQueue<Order>>() {}

const writing = (_batch: Batch.Batch<Order>) =>
  Effect.flatMap(Database, ({ write }) => Effect.zipRight(write, Effect.fail(new DatabaseError())))
declare const spending: Schedule.Schedule<unknown, unknown, Budget>

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

type Failure = QueueError.InvalidOption | QueueError.StoreUnavailable

describe("make", () => {
  it("needs a store, a scope, and what the handler, the schedule and the handlers of errors need", () => {
    expect(BatchQueue.make({ name: "orders", schema, process: writing })).type.toBe<
      Effect.Effect<BatchQueue.BatchQueue<Order>, Failure, Database | BatchStore.BatchStore | Scope.Scope>
    >()
    expect(
      BatchQueue.make({
        name: "orders",
        schema,
        process: writing,
        retry: spending,
        onProcessError: () => Effect.flatMap(Pager, ({ page }) => page)
      })
    ).type.toBe<
      Effect.Effect<
        BatchQueue.BatchQueue<Order>,
        Failure,
        Database | Budget | Pager | BatchStore.BatchStore | Scope.Scope
      >
    >()
  })

  it("gives the handler items as the schema has them, and its own queue", () => {
    const made = BatchQueue.make({
      name: "orders",
      schema,
      process: (batch, queue) => {
        expect(batch.items[0]).type.toBe<Order>()
        expect(queue).type.toBe<BatchQueue.Handle<Order>>()
        return Effect.void
      }
    })
    expect(made).type.toBeAssignableTo<Effect.Effect<BatchQueue.BatchQueue<Order>, unknown, unknown>>()
  })

  it("tells the schedule and the handler of errors the handler's own error", () => {
    const made = BatchQueue.make({
      name: "orders",
      schema,
      process: writing,
      retry: Schedule.recurWhile((_error: DatabaseError | QueueError.HandlerDefect) => true),
      onProcessError: (cause) => {
        expect(cause).type.toBe<Cause.Cause<DatabaseError>>()
        return Effect.void
      }
    })
    expect(made).type.toBeAssignableTo<Effect.Effect<BatchQueue.BatchQueue<Order>, unknown, unknown>>()
    expect(boxed(BatchQueue.make<Order, typeof schema.Encoded, DatabaseError, Database>)).type.not.toBeCallableWith({
      name: "orders",
      schema,
      process: writing,
      retry: Schedule.recurWhile((_error: QueueError.HandlerDefect) => true)
    })
  })

  it("requires the name, the schema and the handler, and a schema that needs nothing", () => {
    expect(boxed(BatchQueue.make)).type.toBeCallableWith({ name: "orders", schema, process: writing })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({ schema, process: writing })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({ name: "orders", process: writing })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({ name: "orders", schema })
    const needing = Schema.transformOrFail(Schema.String, Schema.String, {
      strict: true,
      decode: (text) => Effect.as(Database, text),
      encode: (text) => Effect.succeed(text)
    })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({
      name: "texts",
      schema: needing,
      process: () => Effect.void
    })
  })

  it("takes the policies of an intake, for its items only", () => {
    const options = { name: "orders", schema, process: writing }
    expect(boxed(BatchQueue.make<Order, typeof schema.Encoded, DatabaseError, Database>)).type.toBeCallableWith({
      ...options,
      policy: Backpressure.coalesceByKey((order: Order) => order.id)
    })
    expect(boxed(BatchQueue.make<Order, typeof schema.Encoded, DatabaseError, Database>)).type.not.toBeCallableWith({
      ...options,
      policy: Backpressure.coalesceByKey((date: Date) => date.getTime())
    })
  })
})

describe("layer", () => {
  it("fills a tag of the same items", () => {
    expect(BatchQueue.layer(Orders, { name: "orders", schema, process: writing })).type.toBe<
      Layer.Layer<Orders, Failure, Database | BatchStore.BatchStore>
    >()
    expect(boxed(BatchQueue.layer)).type.not.toBeCallableWith(Orders, {
      name: "orders",
      schema: Schema.String,
      process: () => Effect.void
    })
  })
})

describe("offers", () => {
  it("say everything that they can fail with", () => {
    const queue = {} as BatchQueue.BatchQueue<Order>
    const order: Order = { id: "a", at: new Date() }
    expect(queue.offer(order)).type.toBe<
      Effect.Effect<"accepted" | "coalesced" | "dropped", BatchQueue.BatchOfferError<Order>>
    >()
    expect(queue.offerStored(order)).type.toBe<
      Effect.Effect<
        "stored" | "duplicate",
        BatchQueue.BatchOfferError<Order> | QueueError.ItemDropped<Order> | QueueError.StoreUnavailable
      >
    >()
  })
})

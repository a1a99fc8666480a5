import { Backpressure, Batch, BatchQueue, type BatchStore, Decision, type QueueError } from "@sluice/core"
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

  it("requires the name, the schema and the handler", () => {
    expect(boxed(BatchQueue.make)).type.toBeCallableWith({ name: "orders", schema, process: writing })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({ schema, process: writing })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({ name: "orders", process: writing })
    expect(boxed(BatchQueue.make)).type.not.toBeCallableWith({ name: "orders", schema })
  })

  it("needs what the schema needs, and offers need nothing", () => {
    const sealed = Schema.Struct({
      id: Schema.String,
      at: Schema.transformOrFail(Schema.String, Schema.DateFromSelf, {
        strict: true,
        decode: (text) => Effect.as(Database, new Date(text)),
        encode: (at) => Effect.as(Budget, at.toISOString())
      })
    })
    const made = BatchQueue.make({
      name: "orders",
      schema: sealed,
      process: (_batch: Batch.Batch<Order>) => Effect.void
    })
    expect(made).type.toBe<
      Effect.Effect<BatchQueue.BatchQueue<Order>, Failure, Database | Budget | BatchStore.BatchStore | Scope.Scope>
    >()
    expect(BatchQueue.layer(Orders, { name: "orders", schema: sealed, process: () => Effect.void })).type.toBe<
      Layer.Layer<Orders, Failure, Database | Budget | BatchStore.BatchStore>
    >()
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

describe("decide", () => {
  it("is told the errors of the handler, those in a partial failure, and of defects", () => {
    const whole = BatchQueue.make({
      name: "orders",
      schema,
      process: writing,
      decide: (error) => {
        expect(error).type.toBe<DatabaseError | QueueError.HandlerDefect>()
        return Decision.retryAfter("1 second", { pause: true })
      }
    })
    const inPart = BatchQueue.make({
      name: "orders",
      schema,
      process: (batch: Batch.Batch<Order>) => Batch.failSome([[0, `${batch.items.length}` as const]]),
      decide: (error) => {
        expect(error).type.toBe<`${number}` | QueueError.HandlerDefect>()
        return Decision.deadLetter
      }
    })
    type Made = Effect.Effect<BatchQueue.BatchQueue<Order>, Failure, any>
    expect(whole).type.toBeAssignableTo<Made>()
    expect(inPart).type.toBeAssignableTo<Made>()
  })

  it("answers a decision", () => {
    expect(boxed(BatchQueue.make<Order, Schema.Schema.Encoded<typeof schema>, never, never>)).type.not.toBeCallableWith(
      {
        name: "orders",
        schema,
        process: () => Effect.void,
        decide: () => "retry"
      }
    )
  })
})

describe("failSome", () => {
  it("has one error for all, or one for each", () => {
    type Failed = Effect.Effect<never, QueueError.PartialFailure<"locked">>
    expect(Batch.failSome([0, 1], "locked" as const)).type.toBeAssignableTo<Failed>()
    expect(Batch.failSome(new Map([[0, "locked" as const]]))).type.toBeAssignableTo<Failed>()
    expect(boxed(Batch.failSome)).type.not.toBeCallableWith([0, 1])
  })
})

describe("forEach", () => {
  it("fails with the errors of the items, and needs what they need", () => {
    const each = (_batch: Batch.Batch<Order>) =>
      Batch.forEach(
        _batch,
        (_order, _index) => Effect.fail("locked" as const) as Effect.Effect<number, "locked", Budget>
      )
    expect(each).type.toBe<
      (_batch: Batch.Batch<Order>) => Effect.Effect<void, QueueError.PartialFailure<"locked">, Budget>
    >()
    expect(Batch.forEach).type.not.toBeCallableWith([], () => Effect.void)
  })

  it("is a handler, whose items are those of the queue", () => {
    const send = (_order: Order) => Effect.fail("locked" as const) as Effect.Effect<number, "locked", Budget>
    expect(Batch.forEach(send, { concurrency: 10 })).type.toBe<
      (batch: Batch.Batch<Order>) => Effect.Effect<void, QueueError.PartialFailure<"locked">, Budget>
    >()
    type Made = Effect.Effect<
      BatchQueue.BatchQueue<string>,
      Failure,
      BatchStore.BatchStore | Scope.Scope
    >
    const fail = (line: string) => Effect.fail(line.length)
    const options = { name: "lines", schema: Schema.String } as const
    expect(BatchQueue.make({ ...options, process: Batch.forEach(fail) })).type.toBe<Made>()
    expect(BatchQueue.make({ ...options, process: Batch.forEach((line) => fail(line)) })).type.toBe<Made>()
    const process = Batch.forEach(fail, { concurrency: 10 })
    expect(BatchQueue.make({ ...options, process, while: (error) => error === 1 })).type.toBe<Made>()
  })

  it("takes a batch where another option reads its errors", () => {
    const fail = (line: string) => Effect.fail(line.length)
    const made = BatchQueue.make({
      name: "lines",
      schema: Schema.String,
      process: (batch) => Batch.forEach(batch, fail),
      while: (error) => error === 1
    })
    expect<Effect.Effect.Success<typeof made>>().type.toBe<BatchQueue.BatchQueue<string>>()
  })
})

describe("dead letters", () => {
  it("are meant by ids, all, or what they are like", () => {
    type Which = BatchQueue.WhichLetters
    expect<Which>().type.toBeAssignableFrom<readonly [1, 2]>()
    expect<Which>().type.toBeAssignableFrom<"all">()
    expect<Which>().type.toBeAssignableFrom<{ readonly reason: "corrupt"; readonly olderThan: "1 day" }>()
    expect<Which>().type.not.toBeAssignableFrom<{ readonly reason: "whatever" }>()
  })
})

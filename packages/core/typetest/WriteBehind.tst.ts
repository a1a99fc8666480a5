import { Backpressure, Batch, type PolicyQueue, type QueueError, WriteBehind } from "@sluice/core"
import { Config, type ConfigError, Context, Effect, type Layer, Schedule, type Scope } from "effect"
import { describe, expect, it } from "tstyche"

interface Order {
  readonly id: string
  readonly total: number
}

class Database extends Context.Tag("Database")<Database, { readonly write: Effect.Effect<void> }>() {}
class Budget extends Context.Tag("Budget")<Budget, { readonly left: Effect.Effect<number> }>() {}
class DatabaseError {
  readonly _tag = "DatabaseError"
}
class Orders extends Context.Tag("app/Orders")<Orders, WriteBehind.WriteBehind<Order>>() {}

const writing = (_batch: Batch.Batch<Order>) =>
  Effect.flatMap(Database, ({ write }) => Effect.zipRight(write, Effect.fail(new DatabaseError())))
declare const spending: Schedule.Schedule<unknown, unknown, Budget>

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

describe("make", () => {
  it("needs a scope, what flush needs, and what the retry schedule needs", () => {
    expect(WriteBehind.make({ name: "orders", capacity: 1, flush: writing })).type.toBe<
      Effect.Effect<WriteBehind.WriteBehind<Order>, QueueError.InvalidOption, Database | Scope.Scope>
    >()
    expect(WriteBehind.make({ name: "orders", capacity: 1, flush: writing, retry: spending })).type.toBe<
      Effect.Effect<WriteBehind.WriteBehind<Order>, QueueError.InvalidOption, Database | Budget | Scope.Scope>
    >()
    expect(WriteBehind.make({ name: "orders", capacity: 1, flush: (_batch: Batch.Batch<Order>) => Effect.void })).type
      .toBe<
        Effect.Effect<WriteBehind.WriteBehind<Order>, QueueError.InvalidOption, Scope.Scope>
      >()
  })

  it("requires the capacity, the name and flush", () => {
    expect(boxed(WriteBehind.make)).type.toBeCallableWith({ name: "orders", capacity: 1, flush: writing })
    expect(boxed(WriteBehind.make)).type.not.toBeCallableWith({ name: "orders", flush: writing })
    expect(boxed(WriteBehind.make)).type.not.toBeCallableWith({ capacity: 1, flush: writing })
    expect(boxed(WriteBehind.make)).type.not.toBeCallableWith({ name: "orders", capacity: 1 })
  })

  it("takes a policy for its items only", () => {
    const dates = Backpressure.coalesceByKey((date: Date) => date.getTime())
    const byId = Backpressure.coalesceByKey((order: Order) => order.id)
    expect(boxed(WriteBehind.make<Order, never, never>)).type.toBeCallableWith({
      name: "orders",
      capacity: 1,
      policy: byId,
      flush: () => Effect.void
    })
    expect(boxed(WriteBehind.make<Order, never, never>)).type.not.toBeCallableWith({
      name: "orders",
      capacity: 1,
      policy: dates,
      flush: () => Effect.void
    })
  })
})

describe("the retry schedule", () => {
  const schedule = <In>() => null! as Schedule.Schedule<unknown, In>
  const options = { name: "orders", capacity: 1, flush: writing } as const

  it("is told the error of flush, or that it died", () => {
    expect<WriteBehind.RetryInput<DatabaseError>>().type.toBe<DatabaseError | QueueError.HandlerDefect>()
    expect<WriteBehind.RetryInput<never>>().type.toBe<QueueError.HandlerDefect>()
    expect(boxed(WriteBehind.make)).type.toBeCallableWith({
      ...options,
      retry: schedule<DatabaseError | QueueError.HandlerDefect>()
    })
    expect(boxed(WriteBehind.make)).type.toBeCallableWith({ ...options, retry: schedule<unknown>() })
    expect(boxed(WriteBehind.make)).type.not.toBeCallableWith({ ...options, retry: schedule<DatabaseError>() })
    expect(boxed(WriteBehind.make)).type.not.toBeCallableWith({ ...options, retry: schedule<Error>() })
  })

  it("is told the error in a partial failure, and not the partial failure", () => {
    expect<WriteBehind.RetryInput<QueueError.PartialFailure<"locked"> | DatabaseError>>().type.toBe<
      "locked" | DatabaseError | QueueError.HandlerDefect
    >()
    const partial = (_batch: Batch.Batch<Order>) => Batch.failSome([0], "locked" as const)
    expect(boxed(WriteBehind.make)).type.toBeCallableWith({
      name: "orders",
      capacity: 1,
      flush: partial,
      retry: schedule<"locked" | QueueError.HandlerDefect>()
    })
  })

  it("is beside a while that compares the error in a partial failure, and others", () => {
    const partial = (_batch: Batch.Batch<Order>) =>
      null! as Effect.Effect<void, "offline" | QueueError.PartialFailure<"locked">>
    expect(WriteBehind.make({
      name: "orders",
      capacity: 1,
      flush: partial,
      while: (error) => {
        expect(error).type.toBe<"locked" | "offline" | QueueError.HandlerDefect>()
        return error === "locked" || error === "offline"
      }
    })).type.toBe<Effect.Effect<WriteBehind.WriteBehind<Order>, QueueError.InvalidOption, Scope.Scope>>()
  })

  it("can look at the error where it is written in place", () => {
    expect(WriteBehind.make({
      ...options,
      retry: Schedule.recurWhile((error: DatabaseError | QueueError.HandlerDefect) => error._tag === "DatabaseError")
    })).type.toBe<Effect.Effect<WriteBehind.WriteBehind<Order>, QueueError.InvalidOption, Database | Scope.Scope>>()
  })
})

describe("flush", () => {
  it("may fail with Batch.failSome beside other effects", () => {
    const flush = (batch: Batch.Batch<Order>) =>
      Effect.gen(function*() {
        if (batch.items[0].total < 0) return yield* Batch.failSome([0], "negative" as const)
        yield* Effect.void
      })
    expect(WriteBehind.make({ name: "orders", capacity: 1, flush })).type.toBe<
      Effect.Effect<WriteBehind.WriteBehind<Order>, QueueError.InvalidOption, Scope.Scope>
    >()
    expect(Batch.failSome([0], "negative" as const)).type.toBeAssignableTo<
      Effect.Effect<never, QueueError.PartialFailure<"negative">>
    >()
  })

  it("is given a batch that is not empty", () => {
    expect<Batch.Batch<Order>["items"][0]>().type.toBe<Order>()
  })
})

describe("a queue", () => {
  const queue = null! as WriteBehind.WriteBehind<Order>

  it("answers outcomes, and fails with errors that carry items", () => {
    expect(queue.offer).type.toBe<
      (item: Order) => Effect.Effect<"accepted" | "coalesced" | "dropped", QueueError.OfferError<Order>>
    >()
    expect(queue.offerAll).type.toBe<
      (items: Iterable<Order>) => Effect.Effect<PolicyQueue.Taken, QueueError.OfferError<Order>>
    >()
    expect(queue.unsafeOffer({ id: "1", total: 1 })).type.toBe<PolicyQueue.UnsafeOutcome>()
  })

  it("has no requirements in its methods", () => {
    expect(queue.flushNow).type.toBe<Effect.Effect<WriteBehind.Flushed, QueueError.QueueClosed>>()
    expect(queue.awaitIdle).type.toBe<Effect.Effect<void, QueueError.QueueClosed>>()
    expect(queue.depth).type.toBe<Effect.Effect<number>>()
    expect(queue.metrics).type.toBe<Effect.Effect<WriteBehind.Metrics>>()
  })
})

describe("layer", () => {
  it("needs no scope, and keeps the other requirements", () => {
    expect(WriteBehind.layer(Orders, { name: "orders", capacity: 1, flush: writing })).type.toBe<
      Layer.Layer<Orders, QueueError.InvalidOption, Database>
    >()
    expect(WriteBehind.layer(Orders, { name: "orders", capacity: 1, flush: writing, retry: spending })).type.toBe<
      Layer.Layer<Orders, QueueError.InvalidOption, Database | Budget>
    >()
  })

  it("knows the type of the items from the tag", () => {
    expect(WriteBehind.layer(Orders, {
      name: "orders",
      capacity: 1,
      shardBy: (order) => order.id,
      flush: (batch) => Effect.log(batch.items[0].total)
    })).type.toBe<Layer.Layer<Orders, QueueError.InvalidOption>>()
  })

  it("rejects a tag of another service, and a flush of other items", () => {
    const flush = (_batch: Batch.Batch<Order>) => Effect.void
    expect(WriteBehind.layer).type.toBeCallableWith(Orders, { name: "orders", capacity: 1, flush })
    expect(WriteBehind.layer).type.not.toBeCallableWith(Database, { name: "orders", capacity: 1, flush })
    expect(WriteBehind.layer).type.not.toBeCallableWith(Orders, {
      name: "orders",
      capacity: 1,
      flush: (_batch: Batch.Batch<Date>) => Effect.void
    })
  })
})

describe("layerConfig", () => {
  const options = { name: "orders", flush: writing } as const

  it("may also fail with a ConfigError", () => {
    expect(WriteBehind.layerConfig(Orders, options, { capacity: Config.integer("CAPACITY") })).type.toBe<
      Layer.Layer<Orders, QueueError.InvalidOption | ConfigError.ConfigError, Database>
    >()
    expect(
      WriteBehind.layerConfig(Orders, { ...options, retry: spending }, { flushInterval: Config.duration("INTERVAL") })
    ).type.toBe<Layer.Layer<Orders, QueueError.InvalidOption | ConfigError.ConfigError, Database | Budget>>()
  })

  it("takes numbers and durations from the configuration, and no functions", () => {
    expect(WriteBehind.layerConfig).type.toBeCallableWith(Orders, options, { capacity: Config.integer("CAPACITY") })
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Orders, options, { capacity: Config.string("CAPACITY") })
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Orders, options, { flush: Config.string("FLUSH") })
    expect(WriteBehind.layerConfig).type.not.toBeCallableWith(Database, options, {
      capacity: Config.integer("CAPACITY")
    })
  })
})

/**
 * What the compiler says of the usual mistakes. The first line names what is wrong, in the words of the option.
 */
import { Backpressure, type Batch, BatchQueue, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { type Cause, Context, Effect, Schedule, Schema, type Scope } from "effect"
import { expect, test } from "tstyche"

interface Order {
  readonly id: string
}

class Refused {
  readonly _tag = "Refused"
}

class Orders extends Context.Tag("app/Orders")<Orders, WriteBehind.WriteBehind<Order>>() {}
class Mails extends Context.Tag("app/Mails")<Mails, BatchQueue.BatchQueue<Order>>() {}

/** An Effect that is made for its type alone. */
declare const unused: (effect: unknown) => void

const name = "orders"
const capacity = 1
const schema = Schema.String
const flush = (_batch: Batch.Batch<Order>) => Effect.fail(new Refused())
const process = () => Effect.fail(new Refused())

test("a policy for other items is named with them", () => {
  const policy = Backpressure.coalesceByKey((date: Date) => date.getTime())
  // @ts-expect-error Type 'CoalesceByKey<Date>' is not assignable to type 'Policy<NoInfer<Order>>'
  WriteBehind.layer(Orders, { name, capacity, policy, flush })
})

test("a schedule that does not take every error is named with those that it is told", () => {
  const retry = Schedule.recurWhile((error: Refused) => error._tag === "Refused")
  // @ts-expect-error Type 'Schedule<Refused, Refused, never>' is not assignable to type 'Schedule<unknown, ...RetryInput<
  WriteBehind.layer(Orders, { name, capacity, flush, retry })
  // @ts-expect-error Type 'Schedule<Refused, Refused, never>' is not assignable to type 'Schedule<unknown, ...RetryInput<
  unused(BatchQueue.make({ name, schema, process, retry }))
})

test("a schema of other items than those of the tag is named", () => {
  // @ts-expect-error Type 'typeof String$' is not assignable to type 'Schema<NoInfer<Order>
  BatchQueue.layer(Mails, { name, schema, process })
})

test("a handler of errors that does not take those of the handler is named with them", () => {
  const onProcessError = (_cause: Cause.Cause<string>) => Effect.void
  // @ts-expect-error is not assignable to type '(cause: Cause<NoInfer<Refused>>, batch: Batch<string>) => Effect<void
  unused(BatchQueue.make({ name, schema, process, onProcessError }))
})

test("a required option that is missing is named", () => {
  // @ts-expect-error Property 'capacity' is missing
  WriteBehind.layer(Orders, { name, flush })
  // @ts-expect-error Property 'process' is missing
  unused(BatchQueue.make({ name, schema }))
  // @ts-expect-error Property 'key' is missing
  unused(ShardPool.make({ name, execute: () => Effect.void }))
  // @ts-expect-error Argument of type '{ name: string; }' is not assignable
  unused(KeyedBatch.make({ name }))
})

test("an option that another system has is named", () => {
  // @ts-expect-error 'linger' does not exist in type 'Options<NoInfer<Order>, Refused
  WriteBehind.layer(Orders, { name, capacity, flush, linger: "1 second" })
})

test("a service that is missing is in the type by its name", () => {
  class Database extends Context.Tag("app/Database")<Database, { readonly write: Effect.Effect<void> }>() {}
  const made = WriteBehind.make({
    name,
    capacity,
    flush: (_batch: Batch.Batch<Order>) => Effect.flatMap(Database, ({ write }) => write)
  })
  expect<Effect.Effect.Context<typeof made>>().type.toBe<Database | Scope.Scope>()
})

test("the items are those of any option that says which they are", () => {
  const policy = Backpressure.coalesceByKey((order: Order) => order.id)
  const byPolicy = WriteBehind.make({ name, capacity, policy, flush: (batch) => Effect.log(batch.items[0].id) })
  expect<Effect.Effect.Success<typeof byPolicy>>().type.toBe<WriteBehind.WriteBehind<Order>>()
  const byCallback = WriteBehind.make({
    name,
    capacity,
    onDrop: (_order: Order) => {},
    flush: (batch) => Effect.log(batch.items[0].id)
  })
  expect<Effect.Effect.Success<typeof byCallback>>().type.toBe<WriteBehind.WriteBehind<Order>>()
  const named = WriteBehind.make<Order>({ name, capacity, flush: (batch) => Effect.log(batch.items[0].id) })
  expect<Effect.Effect.Success<typeof named>>().type.toBe<WriteBehind.WriteBehind<Order>>()
})

/** Doubles of a user's own, in place of what a store or a coordinator provides. */
import { describe, expect, it } from "@effect/vitest"
import { SqlBatchStore, SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Context, Effect, Layer, Stream } from "effect"
import { withStore } from "./database.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const coordinator: WriteCoordinator.WriteCoordinator = {
  queueName: "double",
  submit: (write) => write,
  changes: Stream.empty,
  metrics: Effect.die("nobody asks")
}

const transaction: SqlTransaction.SqlTransaction = {
  store: "double",
  withTransaction: (effect) => effect,
  isInside: Effect.succeed(false)
}

const withDouble = Effect.provideService(SqlTransaction.SqlTransaction, transaction)

const refused = { _tag: "InvalidOption", field: "SqlTransaction", value: transaction }

describe("a double of the transactions", () => {
  it.effect("does for what only calls it", () =>
    Effect.gen(function*() {
      expect(yield* withDouble(SqlTransaction.withTransaction(Effect.succeed(1)))).toBe(1)
    }))

  it.scoped("is an invalid option for what writes to the database itself", () =>
    withStore(Effect.gen(function*() {
      const made = Effect.flip(withDouble(WriteCoordinator.make({ name: "writes" })))
      expect(yield* made).toMatchObject({ ...refused, queue: "writes" })
      expect(yield* Effect.flip(withDouble(SqlBatchStore.make()))).toMatchObject({ ...refused, queue: "SqlBatchStore" })
      const client = Layer.build(WriteCoordinator.layerSqlClient(Writes)).pipe(
        Effect.provideService(Writes, coordinator)
      )
      expect(yield* Effect.flip(withDouble(client))).toMatchObject({ ...refused, queue: "layerSqlClient" })
    })))

  it.scoped("may wrap that of a store, which is the real one then", () =>
    withStore(Effect.gen(function*() {
      const real = yield* SqlTransaction.SqlTransaction
      const wrapped = { ...real, isInside: Effect.succeed(false) }
      const made = Effect.provideService(
        WriteCoordinator.make({ name: "writes" }),
        SqlTransaction.SqlTransaction,
        wrapped
      )
      expect(yield* (yield* made).submit(Effect.succeed(1), { name: "one" })).toBe(1)
    })))
})

it.scoped("a double of a coordinator is an invalid option for a client whose writes go through it", () =>
  withStore(Effect.gen(function*() {
    const client = Effect.provideService(Layer.build(WriteCoordinator.layerSqlClient(Writes)), Writes, coordinator)
    expect(yield* Effect.flip(client)).toMatchObject({
      _tag: "InvalidOption",
      queue: "layerSqlClient",
      field: "coordinator",
      value: coordinator
    })
  })))

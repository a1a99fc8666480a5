import type { SqlClient, SqlError } from "@effect/sql"
import type { SqliteClient } from "@effect/sql-sqlite-node"
import type { QueueError, QueueEvent } from "@sluice/core"
import {
  SqliteStore,
  SqlTransaction,
  type TransactionError,
  type Write,
  WriteCoordinator,
  type WriteError
} from "@sluice/sql"
import { Config, type ConfigError, Context, Effect, type Layer, type Scope, type Stream } from "effect"
import { describe, expect, it } from "tstyche"

class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}
class Mailer extends Context.Tag("app/Mailer")<Mailer, { readonly queue: Effect.Effect<void> }>() {}
class Taken {
  readonly _tag = "Taken"
}

declare const writes: WriteCoordinator.WriteCoordinator
declare const sql: SqlClient.SqlClient
declare const booking: Effect.Effect<number, Taken, Mailer>

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

describe("submit", () => {
  it("adds its own errors to those of the write, and requires what the write does", () => {
    expect(writes.submit(booking, { name: "booking" })).type.toBe<
      Effect.Effect<number, Taken | WriteError.WriteError, Mailer>
    >()
  })

  it("takes a statement and answers its rows", () => {
    expect(writes.submit(sql<{ id: number }>`SELECT 1 AS id`, { name: "read" })).type.toBe<
      Effect.Effect<ReadonlyArray<{ id: number }>, SqlError.SqlError | WriteError.WriteError>
    >()
  })

  it("requires a name", () => {
    expect(boxed(writes.submit)).type.toBeCallableWith(booking, { name: "booking", payload: 1, retryable: true })
    expect(boxed(writes.submit)).type.not.toBeCallableWith(booking)
    expect(boxed(writes.submit)).type.not.toBeCallableWith(booking, {})
  })

  it("takes the keys of queries as Reactivity does", () => {
    expect(boxed(writes.submit)).type.toBeCallableWith(booking, { name: "a", reactivityKeys: ["users", 1] })
    expect(boxed(writes.submit)).type.toBeCallableWith(booking, { name: "a", reactivityKeys: { users: [1, 2] } })
    expect(boxed(writes.submit)).type.not.toBeCallableWith(booking, { name: "a", reactivityKeys: "users" })
  })
})

describe("the errors of submit", () => {
  it("are these, and no others", () => {
    expect<WriteError.WriteError["_tag"]>().type.toBe<
      | "CoordinatorClosed"
      | "WriteTimeout"
      | "WriteDied"
      | "StoreUnavailable"
      | "TransactionFailed"
      | "TransactionEnded"
    >()
  })
})

describe("changes", () => {
  it("are changes, and how many were missed", () => {
    expect(writes.changes).type.toBe<Stream.Stream<Write.WriteChange | QueueEvent.Missed>>()
  })
})

describe("layers", () => {
  it("need the transactions of a database, and fail with what is wrong with the options", () => {
    expect(WriteCoordinator.layer(Writes, { name: "writes" })).type.toBe<
      Layer.Layer<Writes, QueueError.InvalidOption, SqlTransaction.SqlTransaction>
    >()
    expect(WriteCoordinator.make({ name: "writes" })).type.toBe<
      Effect.Effect<
        WriteCoordinator.WriteCoordinator,
        QueueError.InvalidOption,
        SqlTransaction.SqlTransaction | Scope.Scope
      >
    >()
  })

  it("from a configuration can also fail with its errors", () => {
    expect(WriteCoordinator.layerConfig(Writes, { name: "writes" }, { batchSize: Config.integer("BATCH_SIZE") })).type
      .toBe<Layer.Layer<Writes, QueueError.InvalidOption | ConfigError.ConfigError, SqlTransaction.SqlTransaction>>()
  })

  it("take nothing from a configuration with undefined, and with an Option that is none", () => {
    expect(WriteCoordinator.layerConfig).type.toBeCallableWith(Writes, { name: "writes" }, {
      batchSize: Config.option(Config.integer("BATCH_SIZE")),
      drain: undefined
    })
    expect(SqliteStore.layerConfig).type.toBeCallableWith({
      filename: Config.string("FILE"),
      durable: Config.option(Config.boolean("DURABLE")),
      busyTimeout: undefined
    })
    expect(boxed(SqliteStore.layerConfig)).type.not.toBeCallableWith({ durable: Config.boolean("DURABLE") })
  })

  it("do not take a name or a topic from a configuration", () => {
    expect(boxed(WriteCoordinator.layerConfig)).type.not.toBeCallableWith(Writes, { name: "writes" }, {
      name: Config.string("NAME")
    })
  })

  it("of a SqlClient need the coordinator, and can fail of a double", () => {
    expect(WriteCoordinator.layerSqlClient(Writes)).type.toBe<
      Layer.Layer<SqlClient.SqlClient, QueueError.InvalidOption, Writes | SqlTransaction.SqlTransaction>
    >()
  })

  it("of a SqlClient take an Effect.Service that is a coordinator, and none that is not", () => {
    class Service extends Effect.Service<Service>()("app/Service", {
      scoped: WriteCoordinator.make({ name: "service" })
    }) {}
    class Other extends Effect.Service<Other>()("app/Other", { succeed: { name: "other" } }) {}
    expect(WriteCoordinator.layerSqlClient(Service)).type.toBe<
      Layer.Layer<SqlClient.SqlClient, QueueError.InvalidOption, Service | SqlTransaction.SqlTransaction>
    >()
    expect(boxed(WriteCoordinator.layerSqlClient)).type.not.toBeCallableWith(Other)
    expect(boxed(WriteCoordinator.layerSqlClient)).type.not.toBeCallableWith(Mailer)
  })

  it("take a tag of a coordinator only", () => {
    expect(boxed(WriteCoordinator.layer)).type.not.toBeCallableWith(Mailer, { name: "writes" })
  })
})

describe("Effect.Tag and Effect.Service", () => {
  // @effect-diagnostics-next-line unsupportedServiceAccessors:off
  class Tagged extends Effect.Tag("app/Tagged")<Tagged, WriteCoordinator.WriteCoordinator>() {}
  // @effect-diagnostics-next-line unsupportedServiceAccessors:off
  class Service extends Effect.Service<Service>()("app/Service", {
    accessors: true,
    scoped: WriteCoordinator.make({ name: "writes" })
  }) {}

  it("have accessors for what a coordinator has, but for its generic submit", () => {
    expect(Tagged.metrics).type.toBe<Effect.Effect<WriteCoordinator.Metrics, never, Tagged>>()
    expect(Tagged.queueName).type.toBe<Effect.Effect<string, never, Tagged>>()
    expect(Service.queueName).type.toBe<Effect.Effect<string, never, Service>>()
    expect(Tagged).type.not.toHaveProperty("submit")
    expect(Tagged.use((_) => _.submit(booking, { name: "booking" }))).type.toBe<
      Effect.Effect<number, Taken | WriteError.WriteError, Mailer | Tagged>
    >()
    expect(Service.Default).type.toBe<Layer.Layer<Service, QueueError.InvalidOption, SqlTransaction.SqlTransaction>>()
  })
})

describe("withTransaction", () => {
  it("adds the errors of the transaction", () => {
    expect(SqlTransaction.withTransaction(booking)).type.toBe<
      Effect.Effect<number, Taken | TransactionError.TransactionError, Mailer | SqlTransaction.SqlTransaction>
    >()
  })
})

describe("SqliteStore", () => {
  it("provides a client, transactions and itself", () => {
    expect(SqliteStore.layer({ filename: "a.db" })).type.toBe<
      Layer.Layer<
        SqlClient.SqlClient | SqliteClient.SqliteClient | SqlTransaction.SqlTransaction | SqliteStore.SqliteStore,
        QueueError.InvalidOption | QueueError.StoreUnavailable
      >
    >()
  })

  it("requires a filename", () => {
    expect(boxed(SqliteStore.layer)).type.not.toBeCallableWith({})
    expect(boxed(SqliteStore.layer)).type.not.toBeCallableWith({ filename: "a.db", durable: "yes" })
  })
})

import { describe, expect, it } from "@effect/vitest"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { BatchStore } from "@sluice/core"
import { PostgresStore, SqlBatchStore, SqlTransaction } from "@sluice/sql"
import { Config, ConfigProvider, Context, Deferred, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { tagOf } from "./database.ts"
import { batch } from "./batchStores.ts"
import { addressOf, hasServer, temporaryDatabase } from "./postgres.ts"

const options = { url: Redacted.make(addressOf("postgres")), maxConnections: 4 }

const hasPostgres = await hasServer()

let next = 0

const ours = (more: Partial<PostgresStore.Options>) => PostgresStore.layer({ ...options, ...more })

/** The client of an app, as it is. */
const stock = ({ maxConnections, ...more }: Partial<PostgresStore.Options>) =>
  SqlTransaction.layer(more).pipe(
    Layer.provide(PgClient.layer({ ...options, ...maxConnections && { maxConnections } }))
  )

const insert = (table: string, v: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(`INSERT INTO ${table} VALUES ($1)`, [v]))

const values = (table: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql.unsafe<{ v: string }>(`SELECT v FROM ${table} ORDER BY v`),
      (rows) => rows.map(({ v }) => v)
    ))

for (const [name, open] of [["a pool of our own", ours], ["the client of an app", stock]] as const) {
  /** Runs with a table of its own, which is dropped with the scope. */
  const withStore = <A, E>(
    run: (table: string) => Effect.Effect<A, E, PostgresStore.Services>,
    more: Partial<PostgresStore.Options> = {}
  ) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const table = `t_${process.pid}_${next++}`
      yield* Effect.acquireRelease(
        sql.unsafe(`CREATE TABLE ${table} (v TEXT UNIQUE)`),
        () => Effect.orDie(sql.unsafe(`DROP TABLE ${table}`))
      )
      return yield* run(table)
    }).pipe(Effect.scoped, Effect.provide(open(more)))

  describe.skipIf(!hasPostgres)(`transactions on PostgreSQL, with ${name}`, () => {
    it.live("an error says what the server said, also outside of them", () =>
      withStore((table) =>
        Effect.gen(function*() {
          yield* insert(table, "a")
          const error = yield* Effect.flip(insert(table, "a"))
          expect(error.message).toContain("duplicate key value")
        })
      ))

    it.live("commit what succeeds, and roll back what fails", () =>
      withStore((table) =>
        Effect.gen(function*() {
          yield* SqlTransaction.withTransaction(insert(table, "a"))
          const failed = yield* Effect.exit(
            SqlTransaction.withTransaction(Effect.zipRight(insert(table, "b"), Effect.fail("no")))
          )
          expect(tagOf(failed)).toBe("no")
          expect(yield* values(table)).toStrictEqual(["a"])
        })
      ))

    it.live("run side by side", () =>
      withStore((table) =>
        Effect.gen(function*() {
          const here = yield* Deferred.make<void>()
          const there = yield* Deferred.make<void>()
          // Each waits for the other, within its transaction.
          const one = SqlTransaction.withTransaction(
            Effect.zipRight(
              insert(table, "a"),
              Effect.zipRight(Deferred.succeed(here, undefined), Deferred.await(there))
            )
          )
          const other = SqlTransaction.withTransaction(
            Effect.zipRight(
              insert(table, "b"),
              Effect.zipRight(Deferred.succeed(there, undefined), Deferred.await(here))
            )
          )
          yield* Effect.all([one, other], { concurrency: 2 })
          expect(yield* values(table)).toStrictEqual(["a", "b"])
        })
      ))

    it.live("a statement that failed and was caught leaves nothing to commit", () =>
      withStore((table) =>
        Effect.gen(function*() {
          yield* insert(table, "a")
          const exit = yield* Effect.exit(
            SqlTransaction.withTransaction(
              Effect.zipRight(insert(table, "b"), Effect.ignore(insert(table, "a")))
            )
          )
          expect(tagOf(exit)).toBe("TransactionEnded")
          expect(yield* values(table)).toStrictEqual(["a"])
        })
      ))

    it.live("a savepoint that failed takes only its own part with it", () =>
      withStore((table) =>
        Effect.gen(function*() {
          yield* insert(table, "a")
          yield* SqlTransaction.withTransaction(
            Effect.gen(function*() {
              yield* insert(table, "b")
              const inner = yield* Effect.exit(SqlTransaction.withTransaction(insert(table, "a")))
              expect(tagOf(inner)).toBe("SqlError")
              const caught = yield* Effect.exit(SqlTransaction.withTransaction(Effect.ignore(insert(table, "a"))))
              expect(tagOf(caught)).toBe("TransactionEnded")
              yield* SqlTransaction.withTransaction(insert(table, "c"))
            })
          )
          expect(yield* values(table)).toStrictEqual(["a", "b", "c"])
        })
      ))

    it.live("a connection that is cut fails its transaction, and the next one works", () =>
      withStore((table) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const exit = yield* Effect.exit(
            SqlTransaction.withTransaction(
              Effect.gen(function*() {
                yield* insert(table, "a")
                yield* sql`SELECT pg_terminate_backend(pg_backend_pid())`
              })
            )
          )
          expect(tagOf(exit)).toBe("SqlError")
          yield* SqlTransaction.withTransaction(insert(table, "b"))
          expect(yield* values(table)).toStrictEqual(["b"])
        })
      ))

    it.live("where the pool has no connection left, a transaction fails in time", () =>
      withStore((table) =>
        Effect.gen(function*() {
          const go = yield* Deferred.make<void>()
          const ready = yield* Effect.all([0, 1, 2].map(() => Deferred.make<void>()))
          const busy = yield* Effect.forEach(ready, (ready, n) =>
            Effect.fork(SqlTransaction.withTransaction(
              Effect.zipRight(
                insert(table, String(n)),
                Effect.zipRight(Deferred.succeed(ready, undefined), Deferred.await(go))
              )
            )))
          yield* Effect.forEach(ready, Deferred.await)
          const exit = yield* Effect.exit(SqlTransaction.withTransaction(insert(table, "d")))
          expect(Exit.isFailure(exit) && exit.cause).toMatchObject({
            error: { _tag: "StoreUnavailable", reason: "exhausted" }
          })
          yield* Deferred.succeed(go, undefined)
          yield* Effect.forEach(busy, Fiber.join)
          // None of them was lost.
          yield* Effect.all([0, 1, 2].map((n) => SqlTransaction.withTransaction(insert(table, `again ${n}`))), {
            concurrency: 3
          })
          expect((yield* values(table)).length).toBe(6)
        }), { maxConnections: 3, acquireTimeout: "300 millis" }))
  })
}

describe.skipIf(!hasPostgres)("a server that cannot be used", () => {
  const refusal = (more: Partial<PostgresStore.Options>) =>
    Effect.flip(Effect.scoped(Layer.build(PostgresStore.layer({ acquireTimeout: "3 seconds", ...more }))))

  const at = (text: string) => ({ url: Redacted.make(text) })

  it.live("is unreachable", () =>
    Effect.map(refusal(at("postgres://app:secret@127.0.0.1:1/app")), (error) => {
      expect(error).toMatchObject({ reason: "unreachable", store: "postgres://127.0.0.1:1/app" })
      expect(error.message).not.toContain("secret")
    }))

  it.live("has no such database", () =>
    Effect.map(
      refusal(at(addressOf("is_not_there"))),
      (error) => expect(error).toMatchObject({ reason: "missing-database" })
    ))
})

describe.skipIf(!hasPostgres)("the client of an app", () => {
  it.live("is that of a server, or is refused", () =>
    Effect.map(
      Effect.flip(Effect.scoped(Layer.build(
        SqlTransaction.layer().pipe(Layer.provide(SqliteClient.layer({ filename: ":memory:" })))
      ))),
      (error) => expect(error).toMatchObject({ _tag: "InvalidOption", field: "SqlClient" })
    ))

  it.live("keeps its statements out of the transactions of another database", () =>
    Effect.gen(function*() {
      const other = yield* Layer.build(stock({}))
      const sql = Context.get(other, SqlClient.SqlClient)
      const [here, there] = yield* SqlTransaction.withTransaction(
        Effect.all([
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT pg_backend_pid() AS pid`),
          sql`SELECT pg_backend_pid() AS pid`
        ])
      )
      expect(here[0]).not.toStrictEqual(there[0])
    }).pipe(Effect.scoped, Effect.provide(ours({}))))
})

describe.skipIf(!hasPostgres)("the time of a lease", () => {
  const dueAt = (clock: "client" | "server") =>
    Effect.gen(function*() {
      const database = yield* temporaryDatabase
      const context = yield* Layer.build(
        SqlBatchStore.layer().pipe(
          Layer.provideMerge(PostgresStore.layer({ url: Redacted.make(addressOf(database)), durable: false, clock }))
        )
      )
      const queue = yield* Context.get(context, BatchStore.BatchStore).queue("orders")
      yield* queue.append({ batches: [batch(1)] })
      yield* queue.claim({ limit: 1, leaseMillis: 60_000 })
      const sql = Context.get(context, SqlClient.SqlClient)
      const [row] = yield* sql<{ due_ms: string }>`SELECT due_ms FROM sluice_batches`
      return Number(row.due_ms)
    })

  // Our clock stands at the beginning of 1970.
  it.scoped("is that of the server", () =>
    Effect.map(dueAt("server"), (due) => expect(due).toBeGreaterThan(Date.UTC(2020, 0, 1))))

  it.scoped("is ours if it is to be", () => Effect.map(dueAt("client"), (due) => expect(due).toBe(60_000)))
})

describe.skipIf(!hasPostgres)("the options of a database", () => {
  it.live("come from a configuration, which may leave them out", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const [{ name }] = yield* sql<{ name: string }>`SELECT current_setting('application_name') AS name`
      expect(name).toBe("orders of the app")
    }).pipe(
      Effect.provide(PostgresStore.layerConfig({
        url: Config.redacted("URL"),
        applicationName: Config.option(Config.string("NAME")),
        maxConnections: Config.option(Config.integer("MOST"))
      })),
      Effect.withConfigProvider(
        ConfigProvider.fromMap(new Map([["URL", addressOf("postgres")], ["NAME", "orders of the app"]]))
      )
    ))

  it.live("name the variable that is wrong", () =>
    Effect.map(
      Effect.flip(Effect.scoped(Layer.build(PostgresStore.layerConfig({ maxConnections: Config.integer("MOST") }))))
        .pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["MOST", "1"]])))
        ),
      (error) => expect(String(error)).toContain("MOST")
    ))
})

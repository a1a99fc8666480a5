import { describe, expect, it } from "@effect/vitest"
import { SqlClient } from "@effect/sql"
import { PostgresStore, SqlTransaction } from "@sluice/sql"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { tagOf } from "./database.ts"
import { addressOf, hasServer } from "./postgres.ts"

const options = { url: Redacted.make(addressOf("postgres")), maxConnections: 4 }

const hasPostgres = await hasServer()

let next = 0

/** A schema of its own, which is dropped with the scope. */
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
  }).pipe(Effect.scoped, Effect.provide(PostgresStore.layer({ ...options, ...more })))

const insert = (table: string, v: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(`INSERT INTO ${table} VALUES ($1)`, [v]))

const values = (table: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql.unsafe<{ v: string }>(`SELECT v FROM ${table} ORDER BY v`),
      (rows) => rows.map(({ v }) => v)
    ))

describe.skipIf(!hasPostgres)("transactions on PostgreSQL", () => {
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
          Effect.zipRight(insert(table, "a"), Effect.zipRight(Deferred.succeed(here, undefined), Deferred.await(there)))
        )
        const other = SqlTransaction.withTransaction(
          Effect.zipRight(insert(table, "b"), Effect.zipRight(Deferred.succeed(there, undefined), Deferred.await(here)))
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

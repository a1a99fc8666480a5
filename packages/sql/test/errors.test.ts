/**
 * What errors say: the text of the driver is in their message, wherever they are told.
 */
import { SqlClient, SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue } from "@sluice/core"
import { SqlBatchStore, SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Cause, Context, Effect, Logger, Schedule, Schema } from "effect"
import { createTable, foreign, insert, withStore } from "./database.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const unique = "UNIQUE constraint failed: t.v"

const twice = Effect.zipRight(insert("a"), insert("a"))

const saying = (text: string) => expect.objectContaining({ message: expect.stringContaining(text) })

describe("a SqlError says what the driver says", () => {
  const ways = (sql: SqlClient.SqlClient) => {
    const again = sql`INSERT INTO t VALUES ('a')`
    return {
      alone: again,
      raw: again.raw,
      values: again.values,
      unprepared: again.unprepared
    }
  }
  for (const way of ["alone", "raw", "values", "unprepared"] as const) {
    for (const where of ["by itself", "in a transaction"] as const) {
      it.live(`${where}: ${way}`, () =>
        withStore(Effect.gen(function*() {
          yield* createTable
          yield* insert("a")
          const sql = yield* SqlClient.SqlClient
          const run: Effect.Effect<unknown, SqlError.SqlError> = ways(sql)[way]
          const error = yield* Effect.flip(where === "by itself" ? run : sql.withTransaction(run))
          expect(error).toBeInstanceOf(SqlError.SqlError)
          expect(error.message).toBe(`Failed to execute statement: ${unique}`)
          expect(error.cause).toMatchObject({ message: unique })
        })))
    }
  }

  it.live("of a statement that cannot be prepared", () =>
    withStore(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const run of [sql`SELECT * FROM missing`, sql`INSERT INTO missing VALUES (1)`]) {
        const error: SqlError.SqlError = yield* Effect.flip(run)
        expect(error.message).toContain("no such table: missing")
      }
      expect((yield* Effect.flip(sql`INSERT INTO missing VALUES (1)`.values)).message).toContain(
        "no such table: missing"
      )
      expect((yield* Effect.flip(sql`SELECT * FROM missing`.unprepared)).message).toContain("no such table: missing")
    })))

  it.live("of a coordinator and of its client", () =>
    withStore(
      Effect.gen(function*() {
        yield* createTable
        const writes = yield* Writes
        expect(yield* Effect.flip(writes.submit(twice, { name: "twice" }))).toEqual(saying(unique))
        const died = yield* Effect.flip(writes.submit(Effect.orDie(twice), { name: "twice" }))
        expect(died).toMatchObject({ _tag: "WriteDied" })
        expect(died).toEqual(saying(unique))
        const client = Effect.provide(twice, WriteCoordinator.layerSqlClient(Writes))
        expect(yield* Effect.flip(client)).toEqual(saying(unique))
      }).pipe(Effect.provide(WriteCoordinator.layer(Writes, { name: "writes" }))),
      { durable: false }
    ))
})

it.live("a store that is locked says so", () =>
  withStore(
    Effect.scoped(Effect.gen(function*() {
      yield* createTable
      const sql = yield* SqlClient.SqlClient
      const [{ file }] = yield* sql<{ file: string }>`PRAGMA database_list`
      const other = yield* foreign(file)
      other.exec("BEGIN IMMEDIATE")
      const locked = yield* Effect.flip(SqlTransaction.withTransaction(insert("a")))
      expect(locked).toMatchObject({ _tag: "StoreUnavailable", reason: "locked" })
      expect(locked).toEqual(saying("database is locked"))
      expect(yield* Effect.flip(insert("a"))).toEqual(saying("database is locked"))
    })),
    { busyTimeout: 50 }
  ))

it.live("a handler that fails with a SqlError says it in its dead letter, and in the log", () =>
  withStore(
    Effect.scoped(Effect.gen(function*() {
      yield* createTable
      const logged: Array<string> = []
      const logger = Logger.make(({ cause }) => logged.push(...Cause.prettyErrors(cause).map(({ message }) => message)))
      const sql = yield* SqlClient.SqlClient
      const queue = yield* BatchQueue.make({
        name: "visits",
        schema: Schema.String,
        retry: Schedule.stop,
        metrics: false,
        process: () => Effect.provideService(twice, SqlClient.SqlClient, sql)
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      yield* queue.offerStored("x")
      const [letter] = yield* Effect.repeat(queue.deadLetters.list(), { until: ({ length }) => length > 0 })
      expect(letter.error.split("\n")[0]).toBe(`SqlError: Failed to execute statement: ${unique}`)
      expect(logged).toEqual([`Failed to execute statement: ${unique}`])
    })).pipe(Effect.provide(SqlBatchStore.layer())),
    { durable: false }
  ))

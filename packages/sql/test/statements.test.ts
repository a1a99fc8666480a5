/**
 * Statements that are kept prepared: of what they must not remember, and how many there are.
 */
import { SqlClient } from "@effect/sql"
import type { Connection } from "@effect/sql/SqlConnection"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Stream } from "effect"
import { SqliteStore, SqlTransaction } from "../src/index.ts"
import { sqliteConnection } from "../src/internal/sqlite/connection.ts"
import { foreign, insert, temporaryFile, values, withStore } from "./database.ts"

/** A connection that notes what it prepares, and answers the parameters of a statement once it may. */
const noting = (answer: Effect.Effect<void> = Effect.void) => {
  const prepared: Array<string> = []
  const stock = {
    executeUnprepared: (sql: string, params: ReadonlyArray<unknown>) => {
      prepared.push(sql)
      return Effect.zipRight(
        Effect.suspend(() => sql.includes("wait") ? answer : Effect.void),
        Effect.sync(() => [{ params: [...params] }])
      )
    }
  } as unknown as Connection
  return { prepared, stock }
}

const run = (connection: Connection, sql: string, ...params: ReadonlyArray<unknown>) =>
  connection.execute(sql, params, undefined)

describe("a statement that is kept prepared", () => {
  it.scoped("has the columns that its table has now, whoever has changed them, in a transaction and outside", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { withTransaction } = yield* SqlTransaction.SqlTransaction
        const all = sql`SELECT * FROM t`
        const both = Effect.all([all, withTransaction(all)])
        yield* sql`CREATE TABLE t (a)`
        yield* sql`INSERT INTO t VALUES (1)`
        expect(yield* both).toEqual([[{ a: 1 }], [{ a: 1 }]])
        yield* sql`ALTER TABLE t ADD COLUMN b DEFAULT 2`
        expect(yield* both).toEqual([[{ a: 1, b: 2 }], [{ a: 1, b: 2 }]])
        const other = yield* foreign(filename)
        yield* Effect.sync(() => other.exec("ALTER TABLE t RENAME COLUMN a TO c"))
        expect(yield* both).toEqual([[{ c: 1, b: 2 }], [{ c: 1, b: 2 }]])
      }).pipe(Effect.provide(SqliteStore.layer({ filename })))
    }))

  it.effect("works again once its table is back, with the columns that it has then", () =>
    withStore(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const write = sql`INSERT INTO t VALUES (1)`
      const all = sql`SELECT * FROM t`
      const failed = Effect.map(
        Effect.all([Effect.exit(write), Effect.exit(all)]),
        (exits) => exits.map(Exit.isFailure)
      )
      expect(yield* failed).toEqual([true, true])
      yield* sql`CREATE TABLE t (a)`
      yield* write
      expect(yield* all).toEqual([{ a: 1 }])
      yield* sql`DROP TABLE t`
      expect(yield* failed).toEqual([true, true])
      yield* sql`CREATE TABLE t (b UNIQUE)`
      yield* write
      expect(yield* all).toEqual([{ b: 1 }])
      expect(Exit.isFailure(yield* Effect.exit(write))).toBe(true)
      yield* sql`DELETE FROM t`
      yield* write
      expect(yield* all).toEqual([{ b: 1 }])
    })))

  it.effect("is another one for who comes while it runs, and has the parameters of each", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { prepared, stock } = noting(Deferred.await(gate))
      const connection = sqliteConnection(stock, 10)
      const fibers = yield* Effect.forEach([1, 2, 3], (n) => Effect.fork(run(connection, "wait", n)))
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      expect(prepared).toHaveLength(3)
      yield* Deferred.succeed(gate, undefined)
      expect(yield* Fiber.join(Fiber.all(fibers))).toEqual([1, 2, 3].map((n) => [{ params: [n] }]))
      // Of the three one is kept, and is free again.
      for (const n of [4, 5]) expect(yield* run(connection, "wait", n)).toEqual([{ params: [n] }])
      expect(prepared).toHaveLength(3)
    }))

  it.effect("is another one after one whose caller was interrupted while it ran", () =>
    Effect.gen(function*() {
      const { prepared, stock } = noting(Effect.never)
      const connection = sqliteConnection(stock, 10)
      for (const n of [1, 2]) {
        const fiber = yield* Effect.fork(run(connection, "wait", n))
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        yield* Fiber.interrupt(fiber)
        expect(prepared).toHaveLength(n)
      }
    }))
})

describe("statements that are kept prepared", () => {
  it.effect("are no more than may be, however many texts there are: the oldest are prepared again", () =>
    Effect.gen(function*() {
      const { prepared, stock } = noting()
      const connection = sqliteConnection(stock, 3)
      const text = (n: number) => `SELECT ${n}`
      for (let n = 0; n < 100; n++) yield* run(connection, text(n))
      expect(prepared).toHaveLength(100)
      for (const n of [97, 98, 99, 97]) yield* run(connection, text(n))
      expect(prepared).toHaveLength(100)
      // Each of these takes the place of the one that is asked for next.
      for (const n of [96, 97, 98, 99]) yield* run(connection, text(n))
      expect(prepared.slice(100)).toEqual([96, 97, 98, 99].map(text))
    }))

  it.effect("are so many of those with safe integers, and so many others", () =>
    Effect.gen(function*() {
      const { prepared, stock } = noting()
      const connection = sqliteConnection(stock, 1)
      const safely = Effect.provideService(SqlClient.SafeIntegers, true)
      for (let n = 0; n < 5; n++) {
        yield* run(connection, "SELECT 1")
        yield* safely(run(connection, "SELECT 1"))
      }
      expect(prepared).toHaveLength(2)
    }))
})

describe("a stream of rows that is not read to its end", () => {
  it.effect("keeps nobody from the same statement, nor from writing", () =>
    withStore(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const { withTransaction } = yield* SqlTransaction.SqlTransaction
      yield* sql`CREATE TABLE t (v TEXT)`
      for (const v of ["a", "b", "c"]) yield* insert(v)
      const rows = sql<{ v: string }>`SELECT v FROM t ORDER BY rowid`
      yield* withTransaction(Effect.scoped(Effect.gen(function*() {
        const pull = yield* Stream.toPull(Stream.rechunk(rows.stream, 1))
        yield* pull
        yield* insert("d")
        expect(yield* rows).toHaveLength(4)
      })))
      expect(yield* values).toEqual(["a", "b", "c", "d"])
    })))
})

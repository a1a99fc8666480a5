/**
 * SQL that asks for what belongs to a connection, or sets it, in an app that has gained the Layer.
 */
import { SqlClient, SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteDialect, SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Context, Effect, Layer } from "effect"
import * as path from "node:path"
import { createTable, temporaryFile } from "./database.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const open = (options: SqliteStore.Options) =>
  WriteCoordinator.layerSqlClient(Writes).pipe(
    Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes" })),
    Layer.provideMerge(SqliteStore.layer(options))
  )

/** Runs with a client whose writes go through a coordinator, in a file. */
const inFile = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.flatMap(
      temporaryFile,
      (filename) => Effect.provide(Effect.zipRight(createTable, effect), open({ filename }))
    )
  )

/** Sends a statement as it is. */
const send = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))

const failsWith = (run: Effect.Effect<unknown, unknown, SqlClient.SqlClient>, message: string) =>
  Effect.map(Effect.flip(run), (error) => {
    expect(error).toBeInstanceOf(SqlError.SqlError)
    expect((error as SqlError.SqlError).message).toContain(message)
  })

const { misplaced } = SqliteDialect.dialect

describe("what tells of the last statement of a connection", () => {
  const questions = [
    "SELECT last_insert_rowid()",
    "SELECT changes() AS n",
    "select Total_Changes ( ) FROM t",
    "VALUES (changes())",
    "WITH x AS (SELECT changes() AS n) SELECT n FROM x",
    "INSERT INTO t SELECT last_insert_rowid()",
    "UPDATE t SET v = changes /* of what? */ ()",
    "/* of the last */ SELECT last_insert_rowid\n()"
  ]

  it.effect("is refused by itself, with what to do instead", () =>
    inFile(Effect.gen(function*() {
      yield* send("INSERT INTO t VALUES ('a')")
      for (const text of questions) {
        yield* failsWith(send(text), "tells of a connection that others write on too: use RETURNING")
      }
      expect(yield* send("SELECT v FROM t")).toEqual([{ v: "a" }])
    })))

  it.effect("is refused as a single statement of a group as well", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      const write = writes.submit(sql`INSERT INTO t SELECT last_insert_rowid()`, { name: "last" })
      yield* failsWith(write, "use RETURNING")
    })))

  it.effect("is right in the transaction that writes", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      yield* send("INSERT INTO t VALUES ('a')")
      const written = Effect.gen(function*() {
        yield* sql`INSERT INTO t (rowid, v) VALUES (77, 'b')`
        const asked = yield* sql`SELECT last_insert_rowid() AS id, changes() AS changes`
        yield* sql`DELETE FROM t WHERE rowid = 77`
        return asked
      })
      const answer = [{ id: 77, changes: 1 }]
      expect(yield* sql.withTransaction(written)).toEqual(answer)
      expect(yield* writes.submit(written, { name: "written" })).toEqual(answer)
      expect(yield* sql`INSERT INTO t VALUES ('c') RETURNING rowid AS id`).toEqual([{ id: 2 }])
    })))

  it.effect("is told from texts, names, comments, and triggers that ask when they run", () =>
    inFile(Effect.gen(function*() {
      yield* send("CREATE TABLE changes (v TEXT, total_changes INTEGER)")
      yield* send("CREATE TABLE log (id INTEGER)")
      yield* send(
        "CREATE TRIGGER logged AFTER INSERT ON changes BEGIN INSERT INTO log VALUES (last_insert_rowid()); END"
      )
      yield* send("INSERT INTO changes (v) VALUES ('last_insert_rowid()')")
      yield* send(`INSERT INTO changes(v, total_changes) VALUES ('it''s changes()', 1) -- changes()`)
      yield* send("UPDATE changes SET total_changes = 2 /* changes() */ WHERE v = 'changes()'")
      expect(yield* send("SELECT 'changes()' AS a, total_changes AS \"changes()\" FROM changes LIMIT 1"))
        .toEqual([{ "a": "changes()", "changes()": null }])
      expect(yield* send("SELECT v AS [changes()], v AS `last_insert_rowid()` FROM changes LIMIT 1")).toHaveLength(1)
      expect(yield* send("SELECT id FROM log")).toHaveLength(2)
    })))
})

describe("pragmas", () => {
  it.effect("that the store relies on are refused, with what to do instead, unless they change nothing", () =>
    inFile(Effect.gen(function*() {
      yield* failsWith(send("PRAGMA synchronous = NORMAL"), "option durable")
      yield* failsWith(send("pragma main.synchronous(off)"), "option durable")
      yield* failsWith(send("PRAGMA journal_mode = 'DELETE'"), "the store relies on it")
      yield* failsWith(send("PRAGMA locking_mode=EXCLUSIVE"), "other processes")
      yield* failsWith(send("PRAGMA query_only = 1"), "the store relies on it")
      yield* failsWith(send("PRAGMA busy_timeout = 5000"), "option busyTimeout")
      expect(yield* send("PRAGMA journal_mode = WAL")).toEqual([{ journal_mode: "wal" }])
      yield* send("PRAGMA synchronous = \"FULL\"")
      expect(yield* send("PRAGMA synchronous")).toEqual([{ synchronous: 2 }])
      expect(yield* send("PRAGMA locking_mode")).toEqual([{ locking_mode: "normal" }])
    })))

  it.effect("that change what a SELECT finds hold for the next one", () =>
    inFile(Effect.gen(function*() {
      const finds = send("SELECT 'a' LIKE 'A' AS found")
      expect(yield* finds).toEqual([{ found: 1 }])
      yield* send("PRAGMA case_sensitive_like = ON")
      expect(yield* finds).toEqual([{ found: 0 }])
      expect(yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(finds))).toEqual([{ found: 0 }])
    })))

  it.effect("that last for a transaction work in one, and are refused outside", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* send("CREATE TABLE child (v TEXT REFERENCES t (v))")
      yield* failsWith(send("PRAGMA defer_foreign_keys = ON"), "inside of withTransaction")
      yield* sql.withTransaction(Effect.all([
        send("PRAGMA defer_foreign_keys = ON"),
        send("INSERT INTO child VALUES ('a')"),
        send("INSERT INTO t VALUES ('a')")
      ]))
      expect(yield* send("SELECT v FROM child")).toEqual([{ v: "a" }])
    })))
})

describe("what begins and ends transactions", () => {
  it.effect("is refused as a statement", () =>
    inFile(Effect.gen(function*() {
      for (const text of ["BEGIN", "begin immediate", "COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a"]) {
        yield* failsWith(send(text), "begun and ended by withTransaction")
      }
    })))
})

describe("what is temporary", () => {
  const makes = [
    "CREATE TEMP TABLE x (v TEXT)",
    "create temporary view x AS SELECT 1",
    "CREATE TABLE IF NOT EXISTS temp.x (v TEXT)",
    "/* for now */ CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END"
  ]

  it.effect("is refused by itself, where a SELECT would not see it", () =>
    inFile(Effect.gen(function*() {
      for (const text of makes) yield* failsWith(send(text), "within one withTransaction")
      // What only looks like it.
      yield* send("CREATE TABLE temp_x (temp TEXT)")
      yield* send("CREATE TABLE \"TEMP TABLE\" (temp TEXT)")
    })))

  it.effect("works within a transaction; a SELECT behind it says why it sees nothing", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const used = Effect.gen(function*() {
        yield* sql`CREATE TEMP TABLE x AS SELECT 1 AS n`
        return yield* sql`SELECT n FROM x`
      })
      expect(yield* sql.withTransaction(used)).toEqual([{ n: 1 }])
      yield* failsWith(send("SELECT n FROM x"), "no such table: x: outside of a transaction a SELECT reads")
    })))

  it.effect("works by itself in memory, where there is one connection", () =>
    Effect.gen(function*() {
      yield* send("CREATE TEMP TABLE x AS SELECT 1 AS n")
      expect(yield* send("SELECT n FROM x")).toEqual([{ n: 1 }])
      yield* failsWith(send("SELECT last_insert_rowid()"), "use RETURNING")
    }).pipe(Effect.provide(open({ filename: ":memory:" }))))
})

describe("another database that is attached", () => {
  it.scoped("is written to and read", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const other = path.join(path.dirname(filename), "other.db")
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`ATTACH ${other} AS other`
        yield* sql`CREATE TABLE other.u (v TEXT)`
        yield* sql`INSERT INTO other.u VALUES ('a')`
        expect(yield* sql`SELECT v FROM other.u`).toEqual([{ v: "a" }])
        yield* sql`DETACH other`
        yield* failsWith(send("SELECT v FROM other.u"), "no such table")
      }).pipe(Effect.provide(open({ filename })))
    }))

  it.effect("in memory is read in a transaction, and a SELECT by itself says so", () =>
    inFile(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* send("ATTACH ':memory:' AS m")
      yield* send("CREATE TABLE m.u (v TEXT)")
      yield* failsWith(send("SELECT v FROM m.u"), "read it in withTransaction")
      expect(yield* sql.withTransaction(send("SELECT v FROM m.u"))).toEqual([])
    })))
})

describe("looking at a text", () => {
  it("takes time in proportion to its length, whatever is left open in it", () => {
    for (const part of ["'", "\"", "`", "[", "/*", "--", "changes(", "'a' ", "/**/"]) {
      expect(misplaced(`SELECT ${part.repeat(200_000)}`, true)).toBeUndefined()
    }
    expect(misplaced(`SELECT '${"x".repeat(1_000_000)}', changes()`, true)).toContain("RETURNING")
  })
})

/** Copies of an open database, through Effect's client of SQLite. */
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, SqlTransaction } from "@sluice/sql"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { createTable, foreign, insert, temporaryFile, values, withStore } from "./database.ts"

const valuesIn = (file: string) =>
  Effect.map(foreign(file), (db) => db.prepare("SELECT v FROM t ORDER BY rowid").all().map((row: any) => row.v))

/** Lets the event loop turn once, as the copy needs it. */
const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

describe("SqliteClient of a store", () => {
  it.scoped("is its client", () =>
    withStore(Effect.gen(function*() {
      const sqlite = yield* SqliteClient.SqliteClient
      yield* sqlite`CREATE TABLE t (v TEXT UNIQUE)`
      yield* sqlite.withTransaction(insert("a"))
      expect(yield* values).toEqual(["a"])
      expect(sqlite).toBe(yield* SqlClient.SqlClient)
      expect(SqliteClient.TypeId in sqlite).toBe(true)
    })))

  it.scoped("backs up and exports what is committed, while others write", () =>
    withStore(Effect.gen(function*() {
      const sqlite = yield* SqliteClient.SqliteClient
      const destination = yield* temporaryFile
      const exported = yield* temporaryFile
      yield* createTable
      const texts = Array.from({ length: 2000 }, (_, n) => `${n} ${"x".repeat(1000)}`)
      yield* SqlTransaction.withTransaction(Effect.forEach(texts, insert, { discard: true }))
      let hasEnded = false
      const copying = Effect.ensuring(sqlite.backup(destination), Effect.sync(() => void (hasEnded = true)))
      let written = 0
      const writing = Effect.whileLoop({
        while: () => !hasEnded,
        body: () => Effect.zipRight(turn, insert(`later ${written++}`)),
        step: () => {}
      })
      yield* Effect.zip(copying, writing, { concurrent: true })
      expect(written).toBeGreaterThan(0)
      const copied = yield* valuesIn(destination)
      expect(copied.slice(0, texts.length)).toEqual(texts)
      // Not what was committed after it had begun, and whole.
      expect(copied.length).toBeLessThan(texts.length + written)
      writeFileSync(exported, yield* sqlite.export)
      expect((yield* valuesIn(exported)).length).toBe(texts.length + written)
    })))

  it.scoped("sees nothing of a transaction that is open, not even within it", () =>
    withStore(Effect.gen(function*() {
      const sqlite = yield* SqliteClient.SqliteClient
      const destination = yield* temporaryFile
      yield* createTable
      yield* insert("a")
      yield* SqlTransaction.withTransaction(Effect.zipRight(insert("b"), sqlite.backup(destination)))
      expect(yield* valuesIn(destination)).toEqual(["a"])
      expect(yield* values).toEqual(["a", "b"])
    })))

  it.scoped("does not back a file up to itself, fails where it cannot be written, and loads no extensions", () =>
    Effect.flatMap(temporaryFile, (filename) =>
      Effect.gen(function*() {
        const sqlite = yield* SqliteClient.SqliteClient
        yield* createTable
        yield* insert("a")
        expect(yield* Effect.flip(sqlite.backup(filename))).toMatchObject({ _tag: "SqlError" })
        expect(yield* Effect.flip(sqlite.backup(`${filename}/nowhere/test.db`))).toMatchObject({ _tag: "SqlError" })
        expect(yield* Effect.flip(sqlite.loadExtension("any"))).toMatchObject({ _tag: "SqlError" })
        expect(yield* values).toEqual(["a"])
      }).pipe(Effect.provide(SqliteStore.layer({ filename })))))

  it.scoped("copies a database in memory, too", () =>
    Effect.gen(function*() {
      const sqlite = yield* SqliteClient.SqliteClient
      const destination = yield* temporaryFile
      yield* createTable
      yield* insert("a")
      yield* sqlite.backup(destination)
      expect(yield* valuesIn(destination)).toEqual(["a"])
    }).pipe(Effect.provide(SqliteStore.layer({ filename: ":memory:" }))))
})

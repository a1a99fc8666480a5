/**
 * Databases for tests: files in a folder that is removed with the scope.
 */
import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import Sqlite from "better-sqlite3"
import { Cause, Effect, Exit, Layer, Option, type Scope } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SqliteStore } from "../src/index.ts"

/** The path of a database that is not there yet. */
export const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-sql-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => join(folder, "test.db")
)

/** Opens a file as somebody else would, who knows nothing of Sluice. */
export const foreign = (file: string): Effect.Effect<Sqlite.Database, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Sqlite(file)),
    (db) => Effect.sync(() => db.close())
  )

/** Runs with a store of its own, in a fresh file. */
export const withStore = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Partial<SqliteStore.Options> = {}
) =>
  Effect.scoped(
    Effect.flatMap(temporaryFile, (filename) => Effect.provide(effect, SqliteStore.layer({ filename, ...options })))
  )

/** The same with the client as it comes, which waits for the disk as ours does. */
export const withStockClient = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.flatMap(temporaryFile, (filename) =>
      Effect.provide(
        effect,
        Layer.tap(
          SqliteClient.layer({ filename }),
          (context) =>
            Effect.provide(Effect.flatMap(SqlClient.SqlClient, (sql) => sql`PRAGMA synchronous = FULL`), context)
        )
      ))
  )

/** After this, opening a store waits for nothing but the file. */
export const loadDriver = Effect.scoped(Layer.build(SqliteStore.layer({ filename: ":memory:" })))

/** The values of the column `v` of the table `t`, in order. */
export const values = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.map(sql<{ v: string }>`SELECT v FROM t ORDER BY rowid`, (rows) => rows.map(({ v }) => v))
)

/** Makes the table `t`, whose values are unique. */
export const createTable = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE t (v TEXT UNIQUE)`)

export const insert = (v: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO t VALUES (${v})`)

/** How something ended, in a word: the tag of its error, or its error where that is a string. */
export const tagOf = (exit: Exit.Exit<unknown, { readonly _tag: string } | string>): string =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "defect",
        onSome: (error) => typeof error === "string" ? error : error._tag
      })
  })

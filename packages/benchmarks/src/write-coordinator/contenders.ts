/** Who writes: one row a write, each answered once it is committed. */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import Sqlite from "better-sqlite3"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Level, Query } from "../files.ts"
import type { Writes } from "../submitting.ts"
import { createTable, valueOf } from "./table.ts"

/** An open file, and how a submitter writes to it. */
export interface Database extends Writes<SqlClient> {
  readonly query: Query
}

export type Contender = (filename: string, level: Level) => Effect.Effect<Database, never, Scope.Scope>

const insert = (sql: SqlClient, id: number) => sql`INSERT INTO writes (id, value) VALUES (${id}, ${valueOf(id)})`
const insertFromContext = (id: number) => Effect.flatMap(SqlClient, (sql) => insert(sql, id))

const asQuery = (run: (sql: string) => Effect.Effect<ReadonlyArray<object>, unknown>) => (sql: string) =>
  Effect.orDie(run(sql)) as ReturnType<Query>

const options = { name: "insert" }

/** A coordinator with nothing set, on a store of its own. */
const coordinator = (
  write: (writes: WriteCoordinator.WriteCoordinator, sql: SqlClient, id: number) => ReturnType<Database["write"]>
): Contender =>
(filename, level) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      Layer.merge(SqliteStore.layer({ filename, durable: level === "FULL" }), Reactivity.layer)
    )
    const sql = Context.get(context, SqlClient)
    const writes = yield* Effect.provide(WriteCoordinator.make({ name: "benchmark" }), context)
    // In a transaction, because outside of it a query that only reads has another connection.
    const query = asQuery((text) => sql.withTransaction(sql.unsafe(text)))
    yield* query(createTable)
    return { query, context, write: (id: number) => write(writes, sql, id) }
  }).pipe(Effect.orDie)

export const submitEffect: Contender = coordinator((writes, _, id) => writes.submit(insertFromContext(id), options))
export const submitStatement: Contender = coordinator((writes, sql, id) => writes.submit(insert(sql, id), options))

/** The stock client as it comes, but for the pragmas that say when a commit is answered. */
export const withTransaction: Contender = (filename, level) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(SqliteClient.layer({ filename }))
    const sql = Context.get(context, SqlClient)
    const query = asQuery((text) => sql.unsafe(text))
    yield* query(`PRAGMA synchronous = ${level}`)
    if (level === "FULL") yield* query("PRAGMA fullfsync = 1")
    yield* query(createTable)
    return { query, context, write: (id: number) => sql.withTransaction(insert(sql, id)) }
  }).pipe(Effect.orDie)

/** How many rows a transaction of the driver has. */
const rowsPerTransaction = 100

/** The driver alone, in a loop that waits for nothing: the least that a row can cost. */
export const driver = (
  filename: string,
  level: Level
): Effect.Effect<{ readonly query: Query; readonly writeAll: (count: number) => void }, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.sync(() => new Sqlite(filename)), (db) => Effect.sync(() => db.close())),
    (db) => {
      db.pragma("journal_mode = WAL")
      db.pragma(`synchronous = ${level}`)
      if (level === "FULL") db.pragma("fullfsync = 1")
      db.exec(createTable)
      const begin = db.prepare("BEGIN IMMEDIATE")
      const insertRow = db.prepare<[number, string]>("INSERT INTO writes (id, value) VALUES (?, ?)")
      const commit = db.prepare("COMMIT")
      return {
        query: asQuery((text) =>
          Effect.sync(() => {
            const statement = db.prepare<[], object>(text)
            if (statement.reader) return statement.all()
            statement.run()
            return []
          })
        ),
        writeAll: (count) => {
          for (let first = 0; first < count; first += rowsPerTransaction) {
            begin.run()
            for (let id = first; id < Math.min(count, first + rowsPerTransaction); id++) insertRow.run(id, valueOf(id))
            commit.run()
          }
        }
      }
    }
  )

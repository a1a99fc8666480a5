/**
 * Copies of a database: what Effect's client of SQLite has besides a SqlClient.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqliteClient, SqliteClientConfig, StockConnection } from "./driver.ts"
import { fileAt } from "./file.ts"

type Copy = <A>(run: (stock: StockConnection) => Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>

/** As Effect's module has it, which is not loaded here. */
const typeId = Symbol.for("@effect/sql-sqlite-node/SqliteClient") as SqliteClient[keyof SqliteClient & symbol] & symbol

/**
 * Copies from a connection of its own, which sees what is committed when it begins: writers do not wait for the copy,
 * and the copy does not begin anew with each of their commits.
 */
export const copyOfFile = (open: Effect.Effect<StockConnection, unknown, Scope.Scope>): Copy => (run) =>
  Effect.gen(function*() {
    const stock = yield* Effect.mapError(open, (cause) => new SqlError({ cause, message: "cannot open the database" }))
    yield* stock.executeUnprepared("BEGIN", [], undefined)
    yield* stock.executeUnprepared("SELECT count(*) FROM sqlite_schema", [], undefined)
    return yield* run(stock)
  }).pipe(Effect.scoped, Effect.uninterruptible)

/** The client of a store as Effect's client of SQLite. */
export const withCopies = (client: SqlClient, config: SqliteClientConfig, copy: Copy): SqliteClient => {
  const own = () => fileAt(config.filename)
  const refused = (message: string) => Effect.fail(new SqlError({ cause: new Error(message), message }))
  return Object.assign(client as SqliteClient, {
    [typeId]: typeId,
    config,
    export: copy((stock) => stock.export),
    backup: (destination: string) =>
      Effect.suspend(() =>
        own() !== undefined && own() === fileAt(destination)
          ? refused("a database cannot be backed up to itself")
          : copy((stock) => stock.backup(destination))
      ),
    loadExtension: () => refused("a store has several connections, and loads no extensions")
  })
}

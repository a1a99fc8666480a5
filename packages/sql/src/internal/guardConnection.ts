/**
 * A connection whose every statement goes through a function first.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** @internal */
export type Guard = <X>(sql: string, run: Effect.Effect<X, SqlError>) => Effect.Effect<X, SqlError>

/** @internal */
export const guardConnection = (connection: Connection, guard: Guard): Connection => ({
  execute: (sql, params, transformRows) => guard(sql, connection.execute(sql, params, transformRows)),
  executeRaw: (sql, params) => guard(sql, connection.executeRaw(sql, params)),
  executeValues: (sql, params) => guard(sql, connection.executeValues(sql, params)),
  executeUnprepared: (sql, params, transformRows) =>
    guard(sql, connection.executeUnprepared(sql, params, transformRows)),
  // All rows at once: an open cursor would hold the connection, and a reader that is open lets the log grow.
  executeStream: (sql, params, transformRows) =>
    Stream.fromIterableEffect(guard(sql, connection.execute(sql, params, transformRows)))
})

/**
 * A connection that passes every statement through a function first.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

export type Transform = <A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>

export type Guard = <X>(sql: string, run: Effect.Effect<X, SqlError>) => Effect.Effect<X, SqlError>

export class GuardedConnection implements Connection {
  private readonly connection: Connection
  private readonly guard: Guard

  constructor(connection: Connection, guard: Guard) {
    this.connection = connection
    this.guard = guard
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform | undefined) {
    return this.guard(sql, this.connection.execute(sql, params, transformRows))
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.guard(sql, this.connection.executeRaw(sql, params))
  }

  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.guard(sql, this.connection.executeValues(sql, params))
  }

  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform | undefined) {
    return this.guard(sql, this.connection.executeUnprepared(sql, params, transformRows))
  }

  // All rows at once: an open cursor would hold the connection, and a reader that is open lets the log grow.
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform | undefined) {
    return Stream.fromIterableEffect(this.execute(sql, params, transformRows))
  }
}

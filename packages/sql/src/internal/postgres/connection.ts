/**
 * One connection of a pool to a server, for one user of it.
 *
 * What the stock connection leaves open is settled here: a statement that never ends is cut off, with its connection, and
 * a connection on which a transaction may be open never goes back to the pool.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import { dialect } from "../../PostgresDialect.ts"
import { GuardedConnection } from "../writer/guardedConnection.ts"
import { withReason } from "../writer/withReason.ts"

/** Under this a connection has what it is when each of its statements is bounded. */
const boundedKey: unique symbol = Symbol.for("@sluice/sql/postgres/bounded")

/** A connection on which every statement has to end in time. */
export const boundedOf = (connection: Connection): Connection =>
  (connection as { readonly [boundedKey]?: Connection })[boundedKey] ?? connection

/** The socket of a stock connection, as node-postgres has it. */
const socketOf = (stock: Connection): { destroy: (error: Error) => void } | undefined =>
  (stock as { readonly pg?: { readonly connection?: { readonly stream?: { destroy: (error: Error) => void } } } }).pg
    ?.connection?.stream

export class ServerConnection extends GuardedConnection {
  readonly [boundedKey]: Connection
  private readonly stock: Connection
  private readonly store: string
  private readonly timeoutMillis: number
  /** Whether a transaction may be open. */
  private isOpen = false

  constructor(stock: Connection, store: string, timeoutMillis: number) {
    super(
      stock,
      (sql, run) => Effect.mapError(this.isControl(sql) ? this.control(sql, this.within(run)) : run, withReason)
    )
    this.stock = stock
    this.store = store
    this.timeoutMillis = timeoutMillis
    this[boundedKey] = new GuardedConnection(
      stock,
      (sql, run) =>
        Effect.mapError(this.isControl(sql) ? this.control(sql, this.within(run)) : this.within(run), withReason)
    )
  }

  /** To be called when its user is done with it. A server rolls back what was open on a connection that is gone. */
  unsafeEnd(): void {
    if (this.isOpen) this.unsafeDestroy(new Error("a transaction could not be ended"))
  }

  private isControl(sql: string): boolean {
    return sql === dialect.begin || sql === dialect.commit || sql === dialect.rollback
  }

  private control<X>(sql: string, run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return Effect.suspend(() => {
      if (sql === dialect.begin) this.isOpen = true
      return Effect.tap(run, () => {
        if (sql !== dialect.begin) this.isOpen = false
      })
    })
  }

  /** Cuts off what takes too long. Time is that of the network: a timer of Node, and not the Clock of a test. */
  private within<X>(run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return Effect.suspend(() => {
      let isOver = false
      const timer = setTimeout(() => {
        isOver = true
        this.unsafeDestroy(new Error(`the server did not answer within ${this.timeoutMillis} ms`))
      }, this.timeoutMillis)
      return Effect.mapError(
        Effect.ensuring(run, Effect.sync(() => clearTimeout(timer))),
        (error) => isOver ? this.timedOut(error) : error
      )
    })
  }

  private timedOut(error: SqlError): SqlError {
    const cause = new StoreUnavailable({ store: this.store, reason: "timeout", cause: error.cause })
    return new SqlError({ cause, message: cause.message })
  }

  /** The statement that is running fails then, and the pool takes another connection in place of this one. */
  private unsafeDestroy(why: Error): void {
    socketOf(this.stock)?.destroy(why)
  }
}

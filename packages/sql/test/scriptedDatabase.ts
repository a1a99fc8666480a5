/**
 * A database in memory whose connection does what a test says: somebody else locks it, or a statement fails.
 */
import { type SqlConnection, SqlError, Statement } from "@effect/sql"
import Sqlite from "better-sqlite3"
import { Effect, Stream } from "effect"
import { makeBreaks } from "@sluice/core/unstable/Fibers"
import { Transactions } from "../src/internal/writer/transactions.ts"
import { SqliteDialect } from "../src/index.ts"

const driverError = (code: string) => Object.assign(new Error(code), { code })

export class Script {
  /** Every statement that was tried, in order. */
  readonly tried: Array<string> = []
  /** Somebody else has a lock. */
  locked = false
  /** With what code a statement fails, if it does. */
  fails: (sql: string) => string | undefined = () => undefined
  readonly db: Sqlite.Database = new Sqlite(":memory:")

  constructor() {
    this.db.exec("CREATE TABLE t (v TEXT)")
  }

  /** What is in the table: also what is not committed. */
  get rows(): ReadonlyArray<unknown> {
    return this.db.prepare("SELECT v FROM t ORDER BY rowid").pluck().all()
  }

  get isInTransaction(): boolean {
    return this.db.inTransaction
  }

  readonly execute = (sql: string): Effect.Effect<ReadonlyArray<any>, SqlError.SqlError> =>
    Effect.try({
      try: () => {
        this.tried.push(sql)
        if (this.locked && !this.db.inTransaction && sql !== "ROLLBACK") throw driverError("SQLITE_BUSY")
        const code = this.fails(sql)
        if (code !== undefined) throw driverError(code)
        const statement = this.db.prepare(sql)
        if (statement.reader) return statement.all()
        statement.run()
        return []
      },
      catch: (cause) => new SqlError.SqlError({ cause, message: "failed" })
    })

  readonly connection: SqlConnection.Connection = {
    execute: this.execute,
    executeRaw: this.execute,
    executeValues: this.execute as any,
    executeUnprepared: this.execute,
    executeStream: (sql) => Stream.fromIterableEffect(this.execute(sql))
  }
}

export const insertInto = (v: string) => (connection: SqlConnection.Connection) =>
  connection.execute(`INSERT INTO t VALUES ('${v}')`, [], undefined)

/** A database whose writer and reader are the connection of a script. */
export const scripted = (busyTimeoutMillis: number) =>
  Effect.gen(function*() {
    const script = yield* Effect.acquireRelease(
      Effect.sync(() => new Script()),
      ({ db }) => Effect.sync(() => db.close())
    )
    const transactions = new Transactions(
      {
        store: "scripted",
        dialect: SqliteDialect.dialect,
        busyTimeoutMillis,
        writer: Effect.succeed(script.connection),
        reader: script.connection,
        watch: undefined,
        client: { compiler: Statement.makeCompilerSqlite(), transformRows: undefined, spanAttributes: [] }
      },
      yield* makeBreaks
    )
    return { script, transactions }
  })

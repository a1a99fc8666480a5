/**
 * Transactions on the pool of a client for PostgreSQL, and what is checked before the first of them.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable, type UnavailableReason } from "@sluice/core/QueueError"
import { forkUninterruptible, makeBreaks } from "@sluice/core/unstable/Fibers"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { dialect } from "../../PostgresDialect.ts"
import { Transactions } from "../writer/transactions.ts"
import { boundedOf, ServerConnection } from "./connection.ts"
import { unavailableReason } from "./driverErrors.ts"

/** The oldest version that the statements are written for. */
const oldest = 13

export interface Server {
  /** The host and the database, for errors. */
  readonly store: string
  readonly client: SqlClient
  /** Whether a commit has to wait for the disk. */
  readonly durable: boolean
  readonly acquireTimeoutMillis: number
  readonly operationTimeoutMillis: number
}

/** Why a server cannot be used. An error that does not come from it is a bug, and stays a defect. */
export const unavailable = (store: string, error: SqlError): StoreUnavailable => {
  const { cause } = error
  if (cause instanceof StoreUnavailable) return cause
  return new StoreUnavailable({ store, reason: unavailableReason(cause) ?? "failed", cause: cause ?? error })
}

const refused = (store: string, reason: UnavailableReason, why: string) =>
  new StoreUnavailable({ store, reason, cause: new Error(why) })

/** What the server says of itself. */
interface Answers {
  readonly version: string
  readonly commits: string
  readonly fsync: string
  readonly read_only: string
}

const question =
  `SELECT current_setting('server_version_num') AS version, current_setting('synchronous_commit') AS commits,
  current_setting('fsync') AS fsync, current_setting('transaction_read_only') AS read_only`

/** Refuses a server that cannot keep what is promised. */
const check = ({ durable, store }: Server, { commits, fsync, read_only, version }: Answers) => {
  const major = Math.floor(Number(version) / 10_000)
  if (major < oldest) {
    return Effect.fail(refused(store, "unsupported", `PostgreSQL ${major} is too old: ${oldest} or later is needed`))
  }
  if (read_only === "on") {
    return Effect.fail(
      refused(store, "read-only", "the server takes no writes: it is a replica, or is set to read only")
    )
  }
  if (durable && (commits === "off" || fsync === "off")) {
    const setting = fsync === "off" ? "fsync" : "synchronous_commit"
    const why =
      `${setting} is off, so a crash of the server takes commits: set it to on, or the option durable to false`
    return Effect.fail(refused(store, "unsupported", why))
  }
  return Effect.void
}

/**
 * Takes a connection out of the pool, within a time. The wait of the stock client goes on after that, in a fiber of its
 * own: interrupted, it would lose the connection that it gets in the end.
 */
const acquire = (server: Server): Effect.Effect<Connection, SqlError, Scope.Scope> => {
  const { acquireTimeoutMillis, client, operationTimeoutMillis, store } = server
  return Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      // A finalizer that comes when it is closed already runs at once.
      const scope = yield* Scope.make()
      const giveBack = Scope.close(scope, Exit.void)
      const acquired = yield* Deferred.make<Connection, SqlError>()
      const timer = setTimeout(() => {
        const why = `no connection of the pool became free within ${acquireTimeoutMillis} ms`
        const cause = refused(store, "exhausted", why)
        Deferred.unsafeDone(acquired, Effect.fail(new SqlError({ cause, message: cause.message })))
      }, acquireTimeoutMillis)
      yield* forkUninterruptible(
        Effect.map(Effect.exit(Scope.extend(client.reserve, scope)), (exit) => {
          clearTimeout(timer)
          Deferred.unsafeDone(acquired, exit)
        })
      )
      const stock = yield* Effect.onError(restore(Deferred.await(acquired)), () => giveBack)
      const connection = new ServerConnection(stock, store, operationTimeoutMillis)
      yield* Effect.addFinalizer(() => {
        connection.unsafeEnd()
        return giveBack
      })
      return connection
    })
  )
}

/** The same, with what is wrong with the server said. */
const asUnavailable = (store: string) => (error: SqlError): StoreUnavailable => unavailable(store, error)

/** Checks the server, and answers the transactions on it. */
export const openServer = (server: Server): Effect.Effect<Transactions, StoreUnavailable> =>
  Effect.gen(function*() {
    const { acquireTimeoutMillis, client, operationTimeoutMillis, store } = server
    const writer = acquire(server)
    const asked = Effect.scoped(
      Effect.flatMap(writer, (connection) => boundedOf(connection).execute(question, [], undefined))
    )
    const [answers] = yield* Effect.mapError(asked, asUnavailable(store))
    yield* check(server, answers)
    return new Transactions({
      store,
      dialect,
      // Of a queue that renews a lease: it waits for a connection, and then for the answer.
      busyTimeoutMillis: acquireTimeoutMillis + operationTimeoutMillis,
      sideBySide: true,
      bounded: boundedOf,
      writer,
      reader: undefined,
      watch: undefined,
      client
    }, yield* makeBreaks)
  })

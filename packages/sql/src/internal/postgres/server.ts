/**
 * Transactions on the pool of a client for PostgreSQL, and what is checked before the first of them.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable, type UnavailableReason } from "@sluice/core/QueueError"
import { forkScoped, forkUninterruptible, makeBreaks } from "@sluice/core/unstable/Fibers"
import { withMessages } from "@sluice/core/unstable/ErrorText"
import { sleepFor } from "@sluice/core/unstable/Sleep"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { dialect } from "../../PostgresDialect.ts"
import type { SqlTransaction } from "../writer/sqlTransaction.ts"
import type { Checked } from "../server/options.ts"
import { makeTransaction } from "../writer/behind.ts"
import { stockAcquirer, wrapClient } from "../writer/stockClient.ts"
import { toSqlError } from "../writer/transaction.ts"
import { Transactions } from "../writer/transactions.ts"
import { boundedOf, ServerConnection } from "./connection.ts"
import { unavailableReason } from "./driverErrors.ts"

/** The oldest version that the statements are written for. */
const oldest = 13

export interface Server {
  /** The host and the database, for errors. */
  readonly store: string
  readonly client: SqlClient
  readonly options: Checked
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
  readonly encoding: string
}

const question =
  `SELECT current_setting('server_version_num') AS version, current_setting('synchronous_commit') AS commits,
  current_setting('fsync') AS fsync, current_setting('transaction_read_only') AS read_only,
  current_setting('server_encoding') AS encoding`

/** Refuses a server that cannot keep what is promised. */
const check = ({ options: { durable }, store }: Server, { commits, encoding, fsync, read_only, version }: Answers) => {
  const major = Math.floor(Number(version) / 10_000)
  if (major < oldest) {
    return Effect.fail(refused(store, "unsupported", `PostgreSQL ${major} is too old: ${oldest} or later is needed`))
  }
  if (encoding !== "UTF8") {
    return Effect.fail(refused(store, "unsupported", `the encoding of the database is ${encoding}, and must be UTF8`))
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
  const { client, options: { acquireTimeoutMillis, operationTimeoutMillis }, store } = server
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

/** How often the difference of the clocks is measured at first, and how often later. */
const measuresAtFirst = 3
const measureEveryMillis = 60_000

/** How far the clock of the server is ahead of ours, and how long it took to ask. */
const measure = (connection: Connection): Effect.Effect<{ readonly offset: number; readonly took: number }, SqlError> =>
  Effect.gen(function*() {
    const before = yield* Clock.currentTimeMillis
    const [row] = yield* connection.execute(time, [], undefined)
    const after = yield* Clock.currentTimeMillis
    return { offset: Number(row.now) - (before + after) / 2, took: after - before }
  })

const time = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now"

/** The difference of the clocks, measured now and then until the scope closes. The shortest answer is the best. */
const watchClock = (measured: Effect.Effect<{ readonly offset: number; readonly took: number }, SqlError>) =>
  Effect.gen(function*() {
    const first = yield* Effect.replicateEffect(measured, measuresAtFirst)
    let { offset } = first.reduce((best, one) => one.took < best.took ? one : best)
    // Any failure: otherwise it would never be measured again, and nobody would know. The last difference counts on.
    const again = Effect.catchAllCause(
      Effect.map(measured, (now) => {
        offset = now.offset
      }),
      (cause) => Effect.logWarning("the clock of the server could not be asked", withMessages(cause))
    )
    yield* forkScoped(Effect.forever(Effect.zipRight(sleepFor(measureEveryMillis), again)))
    return () => offset
  })

/** Checks the server, and answers the transactions on it. */
export const openServer = (server: Server): Effect.Effect<Transactions, StoreUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const { client, options: { acquireTimeoutMillis, clock, operationTimeoutMillis }, store } = server
    const writer = acquire(server)
    const asking = <A>(ask: (connection: Connection) => Effect.Effect<A, SqlError>) =>
      Effect.scoped(Effect.flatMap(writer, (connection) => ask(boundedOf(connection))))
    const asUnavailable = Effect.mapError((error: SqlError) => unavailable(store, error))
    const [answers] = yield* asUnavailable(asking((connection) => connection.execute(question, [], undefined)))
    yield* check(server, answers)
    const offsetMillis = clock === "server" ? yield* asUnavailable(watchClock(asking(measure))) : undefined
    return new Transactions({
      store,
      dialect,
      // Of a queue that renews a lease: it waits for a connection, and then for the answer.
      busyTimeoutMillis: acquireTimeoutMillis + operationTimeoutMillis,
      sideBySide: true,
      bounded: boundedOf,
      offsetMillis,
      writer,
      reader: undefined,
      watch: undefined,
      client
    }, yield* makeBreaks)
  })

/** The client of an app whose transactions are ours, and these. */
export interface Services {
  readonly client: SqlClient
  readonly transaction: SqlTransaction
}

/** Both of a server, until the scope closes. */
export const openServices = (
  server: Server
): Effect.Effect<Services, StoreUnavailable, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function*() {
    const { client: stock } = server
    const transactions = yield* openServer(server)
    const reactivity = yield* Reactivity.Reactivity
    yield* Effect.acquireRelease(
      Effect.sync(() => transactions.listen(reactivity)),
      (unlisten) => Effect.sync(unlisten)
    )
    const client = wrapClient(
      stock,
      transactions,
      stockAcquirer(stock),
      (effect) => transactions.withTransaction(effect, toSqlError)
    )
    return { client, transaction: makeTransaction(transactions, reactivity) }
  })

/**
 * Reliable transactions. Every write to a SQLite file goes through its one writer, first come, first served. On a server
 * transactions run side by side.
 *
 * In SQLite a transaction waits for its turn and begins with the write lock. Everywhere it gives its effect a connection
 * that only works until the transaction ends. A nested transaction is a savepoint. A commit has typed errors, and a
 * transaction that does not commit always rolls back. Between the statements of a long loop, timers and I/O can run.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import { InvalidOption, type StoreUnavailable } from "@sluice/core/QueueError"
import * as Table from "@sluice/core/unstable/OptionTable"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { openServices } from "./internal/postgres/server.ts"
import { module, type Options, table } from "./internal/server/options.ts"
import { storeOf } from "./internal/server/storeOf.ts"
import { SqlTransaction } from "./internal/writer/sqlTransaction.ts"
import type { TransactionError } from "./TransactionError.ts"

export { type Options, SqlTransaction }

/**
 * Runs an effect in a transaction of the database in the context.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { SqlTransaction } from "@sluice/sql"
 * import { Effect } from "effect"
 *
 * const transfer = (from: string, to: string, amount: number) =>
 *   SqlTransaction.withTransaction(
 *     Effect.gen(function*() {
 *       const sql = yield* SqlClient.SqlClient
 *       yield* sql`UPDATE accounts SET balance = balance - ${amount} WHERE id = ${from}`
 *       yield* sql`UPDATE accounts SET balance = balance + ${amount} WHERE id = ${to}`
 *     })
 *   )
 * ```
 *
 * @since 0.1.0
 * @category transactions
 */
export const withTransaction = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | TransactionError, R | SqlTransaction> =>
  Effect.flatMap(SqlTransaction, (transaction) => transaction.withTransaction(effect))

/**
 * Transactions on the client that an app has: a `PgClient` with its own pool, for example. Provides its `SqlClient` anew:
 * `withTransaction` of that one is this one, and so are the transactions that queues, coordinators and your own
 * statements share. Code that still has the client as it was writes outside of them.
 *
 * **Waits** for the server, at most `acquireTimeout` and `operationTimeout`. **Errors**: `InvalidOption`, also for a
 * client of another database; `StoreUnavailable` with the reasons of `PostgresStore.layer`.
 *
 * @example
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { SqlBatchStore, SqlTransaction } from "@sluice/sql"
 * import { Layer, Redacted } from "effect"
 *
 * const Database = SqlTransaction.layer().pipe(
 *   Layer.provideMerge(PgClient.layer({ url: Redacted.make("postgres://app@localhost/app") }))
 * )
 *
 * const Store = SqlBatchStore.layer().pipe(Layer.provideMerge(Database))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<SqlTransaction | SqlClient, InvalidOption | StoreUnavailable, SqlClient> =>
  Layer.provide(
    Layer.scopedContext(Effect.gen(function*() {
      const checked = yield* Table.check(table, module, options)
      const client = yield* SqlClient
      const refused = () =>
        new InvalidOption({
          queue: module,
          field: "SqlClient",
          value: client,
          limit: "a client of PostgreSQL; for SQLite use SqliteStore.layer"
        })
      yield* client.onDialectOrElse({ pg: () => Effect.void, orElse: () => Effect.fail(refused()) })
      const services = yield* openServices({ store: storeOf(client), client, options: checked })
      return Context.make(SqlClient, services.client).pipe(Context.add(SqlTransaction, services.transaction))
    })),
    Reactivity.layer
  )

/**
 * Transactions that hold. Everything that writes to a database goes through its one writer, first come, first served.
 *
 * A transaction waits for its turn, begins with the lock for writing, and gives what runs in it a connection that only
 * works until the transaction ends. A transaction within it is a savepoint. It commits with typed errors, and where it
 * does not commit it always rolls back. Between the statements of a long loop, timers and I/O get their turn.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { TransactionError } from "./TransactionError.ts"

/**
 * The transactions of one database. Provided by the layer that opens it, such as `SqliteStore.layer`.
 *
 * A double of your own does for what only calls it. What writes through the one writer itself (`WriteCoordinator.make`
 * and `layerSqlClient`, `SqlBatchStore.make`) needs that of a store, and fails with an `InvalidOption` otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqlTransaction {
  /** Which database: the path of the file, or where the server is. */
  readonly store: string
  /**
   * Runs an effect in a transaction of its own; inside another transaction of the same database, in a savepoint of that.
   * The statements of `SqlClient` in it belong to the transaction. Those of another database do not.
   *
   * **Waits** for every write that came before, and for a lock that another process holds, up to the `busyTimeout` of
   * the store. **Errors**: those of the effect, after a rollback. `StoreUnavailable`, `TransactionFailed` and
   * `TransactionEnded`: nothing is written. **Interruption** rolls back; during the commit it waits for the commit.
   *
   * A fiber that is forked inside and outlives the transaction can no longer use its connection: its statements fail.
   */
  readonly withTransaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | TransactionError, R>
  /** Whether the calling fiber is in a transaction of this database that has not ended. */
  readonly isInside: Effect.Effect<boolean>
}

/**
 * The tag of the transactions of a database.
 *
 * @since 0.1.0
 * @category tags
 */
export const SqlTransaction: Context.Tag<SqlTransaction, SqlTransaction> = Context.GenericTag<SqlTransaction>(
  "@sluice/sql/SqlTransaction"
)

/**
 * Runs an effect in a transaction of the database that the context has.
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

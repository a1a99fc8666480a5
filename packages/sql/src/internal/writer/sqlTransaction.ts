/**
 * The transactions of a database and their tag, which `SqlTransaction` exports: what makes them needs them too.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { TransactionError } from "../../TransactionError.ts"

/**
 * The transactions of one database. Provided by the layer that opens it, such as `SqliteStore.layer`.
 *
 * A test double is enough for code that only calls it. Code that uses the writer directly (`WriteCoordinator.make` and
 * `layerSqlClient`, `SqlBatchStore.make`) needs the `SqlTransaction` of a store, and otherwise fails with
 * `InvalidOption`.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqlTransaction {
  /** The database: the path of the file, or the address of the server. */
  readonly store: string
  /**
   * Runs an effect in its own transaction, or, inside another transaction of the same database, in a savepoint of it.
   * Statements of this database's `SqlClient` inside the effect belong to the transaction; statements of other
   * databases do not.
   *
   * **Waits** for every earlier write, and for a lock that another process holds, up to the `busyTimeout` of the store.
   * **Errors**: those of the effect, after a rollback. `StoreUnavailable`, `TransactionFailed` and `TransactionEnded`:
   * nothing is written. **Interruption** rolls back; during the commit it waits for the commit to end.
   *
   * A fiber that is forked inside and outlives the transaction can no longer use the connection: its statements fail.
   */
  readonly withTransaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | TransactionError, R>
  /** Whether the calling fiber is in an open transaction of this database. */
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

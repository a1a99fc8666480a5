/**
 * Stores the batches of queues in a SQL database: the one that `SqliteStore.layer` opens.
 *
 * Operations that wait at the same time, from several fibers, share one transaction and one commit. An operation inside
 * a transaction of the same database joins that transaction instead: an append there is only stored if it commits. Any
 * process that opens the file may claim its batches.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as BatchStore from "@sluice/core/BatchStore"
import * as Table from "@sluice/core/unstable/OptionTable"
import { InvalidOption, type StoreUnavailable } from "@sluice/core/QueueError"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { BatchStoreDialect } from "./BatchStoreDialect.ts"
import { makeGroupCommit } from "./internal/store/groupCommit.ts"
import { migrate } from "./internal/store/migrate.ts"
import { module, type Options, table } from "./internal/store/options.ts"
import { SqlQueue } from "./internal/store/sqlQueue.ts"
import { behindFor } from "./internal/writer/realTransaction.ts"
import * as PostgresBatchStore from "./PostgresBatchStore.ts"
import * as SqliteBatchStore from "./SqliteBatchStore.ts"
import { SqliteStore } from "./SqliteStore.ts"
import { SqlTransaction } from "./SqlTransaction.ts"

export type { Options }

/** The dialects that have a store. */
const dialects: ReadonlyArray<BatchStoreDialect> = [SqliteBatchStore.dialect, PostgresBatchStore.dialect]

const findDialect = (name: string): Effect.Effect<BatchStoreDialect, InvalidOption> => {
  const dialect = dialects.find((dialect) => dialect.name === name)
  const limit = `one of ${dialects.map(({ name }) => JSON.stringify(name)).join(", ")}`
  return dialect === undefined
    ? Effect.fail(new InvalidOption({ queue: module, field: "dialect", value: name, limit }))
    : Effect.succeed(dialect)
}

/**
 * Makes a store in a scope, and migrates its tables. When the scope closes, operations that have begun are completed.
 * Every other operation fails with `StoreUnavailable`, reason `"closed"`, including those that wait for the lock of
 * another process.
 *
 * **Waits** for a lock that another process holds, up to the `busyTimeout` of the database. **Errors**:
 * `InvalidOption`, which names the field, its value and the limit, also if the `SqlTransaction` is a double.
 * `StoreUnavailable`: the tables could not be created, and none was.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<
  BatchStore.BatchStore,
  InvalidOption | StoreUnavailable,
  SqlTransaction | SqlClient | Scope.Scope
> =>
  Effect.gen(function*() {
    const { prefix } = yield* Table.check(table, module, options)
    const { store: name } = yield* SqlTransaction
    const { transactions } = yield* behindFor(module)
    const dialect = yield* findDialect(transactions.database.dialect.name)
    yield* migrate(transactions, dialect, prefix)
    const file = yield* Effect.serviceOption(SqliteStore)
    const group = yield* makeGroupCommit(transactions)
    const operations = dialect.operations(prefix)
    return {
      name,
      persistent: Option.match(file, { onNone: () => name !== ":memory:", onSome: ({ persistent }) => persistent }),
      // No lease can outlast an unlimited wait.
      get longestWaitMillis() {
        return Number.isFinite(transactions.longestWaitMillis) ? transactions.longestWaitMillis : undefined
      },
      registerLease: (leaseMillis, queue) => transactions.registerLease(leaseMillis, queue),
      queue: (name) =>
        Effect.suspend(() => {
          const queue = new SqlQueue(name, transactions, group, operations)
          return Effect.as(queue.find, queue)
        })
    }
  })

/**
 * A store in the database that `SqliteStore.layer` opens.
 *
 * @example
 * ```ts
 * import { BatchStore } from "@sluice/core"
 * import { SqlBatchStore, SqliteStore } from "@sluice/sql"
 * import { Effect, Layer } from "effect"
 *
 * const Store = SqlBatchStore.layer().pipe(
 *   Layer.provideMerge(SqliteStore.layer({ filename: "queues.db" }))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* BatchStore.BatchStore
 *   const orders = yield* store.queue("orders")
 *   return yield* orders.stats
 * }).pipe(Effect.provide(Store))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options?: Options
): Layer.Layer<BatchStore.BatchStore, InvalidOption | StoreUnavailable, SqlTransaction | SqlClient> =>
  Layer.scoped(BatchStore.BatchStore, make(options))

/**
 * Like `layer`, with options from a `Config`.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. Also those of `layer`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Table.Configs<Options>
): Layer.Layer<
  BatchStore.BatchStore,
  InvalidOption | StoreUnavailable | ConfigError.ConfigError,
  SqlTransaction | SqlClient
> => Layer.scoped(BatchStore.BatchStore, Effect.flatMap(Table.withConfigs<Options, Options>(table, {}, config), make))

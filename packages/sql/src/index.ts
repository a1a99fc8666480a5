/**
 * One writer for SQL databases: reliable transactions, and group commit.
 *
 * @since 0.1.0
 */

/** What the store of batches needs from a database. @since 0.1.0 */
export * as BatchStoreDialect from "./BatchStoreDialect.ts"
/** What the package needs to know about a database. @since 0.1.0 */
export * as Dialect from "./Dialect.ts"
/** The store of batches in PostgreSQL. @since 0.1.0 */
export * as PostgresBatchStore from "./PostgresBatchStore.ts"
/** PostgreSQL. @since 0.1.0 */
export * as PostgresDialect from "./PostgresDialect.ts"
/** Opens a database of PostgreSQL. @since 0.1.0 */
export * as PostgresStore from "./PostgresStore.ts"
/** Stores the batches of queues in a SQL database. @since 0.1.0 */
export * as SqlBatchStore from "./SqlBatchStore.ts"
/** The store of batches in SQLite. @since 0.1.0 */
export * as SqliteBatchStore from "./SqliteBatchStore.ts"
/** SQLite. @since 0.1.0 */
export * as SqliteDialect from "./SqliteDialect.ts"
/** MessagePack as the format of a queue. @since 0.1.0 */
export * as MessagePack from "./MessagePack.ts"
/** Opens a SQLite file. @since 0.1.0 */
export * as SqliteStore from "./SqliteStore.ts"
/** Reliable transactions. @since 0.1.0 */
export * as SqlTransaction from "./SqlTransaction.ts"
/** The errors of a transaction. @since 0.1.0 */
export * as TransactionError from "./TransactionError.ts"
/** The options of a write. @since 0.1.0 */
export * as Write from "./Write.ts"
/** All writes through one fiber, many in one transaction. @since 0.1.0 */
export * as WriteCoordinator from "./WriteCoordinator.ts"
/** The errors of a write. @since 0.1.0 */
export * as WriteError from "./WriteError.ts"

/**
 * What the rest of the package needs to know about a database. A dialect is one value of this type, in one file.
 *
 * @since 0.1.0
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type { UnavailableReason } from "@sluice/core/QueueError"
import type * as Effect from "effect/Effect"

/**
 * A dialect.
 *
 * @since 0.1.0
 * @category models
 */
export interface Dialect {
  readonly name: string
  /** Begins a transaction that holds the write lock from the start, if the database has one. */
  readonly begin: string
  readonly commit: string
  readonly rollback: string
  readonly savepoint: (name: string) => string
  readonly release: (name: string) => string
  readonly rollbackTo: (name: string) => string
  /**
   * Whether a statement runs in one step of this process and leaves nothing behind if it fails. If so, it needs neither
   * a savepoint nor a timeout.
   */
  readonly atomicStatements: boolean
  /**
   * Whether a statement that fails makes the savepoint that it is in useless, or the transaction outside of a savepoint:
   * it can only be rolled back.
   */
  readonly failureAborts: boolean
  /** What an error says about the store; undefined if the statement is at fault. */
  readonly unavailable: (error: SqlError) => UnavailableReason | undefined
  /** Whether an error says that nothing was done because another connection holds a lock. */
  readonly isBusy: (error: SqlError) => boolean
  /** Whether an error says that there is no transaction to roll back. */
  readonly isNoTransaction: (error: SqlError) => boolean
  /** Whether a transaction is open on the connection, after this error of a statement in it. */
  readonly isOpen: (connection: Connection, error: unknown) => Effect.Effect<boolean>
  /** Classifies some SQL. */
  readonly kindOf: (sql: string) => SqlKind
  /**
   * Why some SQL would not do what it says outside of a transaction, given that others use the same connections and
   * that reads and writes may use different ones; undefined if it works. Called for every statement.
   */
  readonly misplaced: (sql: string, hasReader: boolean) => string | undefined
  /** Whether some SQL of the kind `"outside"` must run on each connection. */
  readonly isForAllConnections: (sql: string) => boolean
  /** What to add to an error of the read-only connection; undefined if the error is clear by itself. */
  readonly hintForReader: (error: SqlError) => string | undefined
}

/**
 * What some SQL does.
 *
 * - `"read"`: it cannot write, so it may run on a read-only connection. When in doubt, SQL counts as a write.
 * - `"transaction"`: it begins or ends a transaction.
 * - `"savepoint"`: it concerns a part of a transaction; outside of a transaction it would begin one.
 * - `"outside"`: inside a transaction it would do nothing, or something else.
 * - `"write"`: everything else.
 *
 * @since 0.1.0
 * @category models
 */
export type SqlKind = "read" | "transaction" | "savepoint" | "outside" | "write"

/**
 * The first word of some SQL, in capitals, after blanks and comments.
 *
 * @since 0.1.0
 * @category helpers
 */
export const firstWord = (sql: string): string => leading.exec(sql)?.[1].toUpperCase() ?? ""

// Each part can end in one place only. Otherwise a line of dashes would be tried in every possible split.
const leading = /^(?:\s|;|--[^\n]*(?:\n|$)|\/\*(?:[^*]|\*(?!\/))*\*\/)*([A-Za-z]+)/

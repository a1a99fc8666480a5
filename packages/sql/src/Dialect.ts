/**
 * What the rest of the package has to know of a database: a dialect is one value of this type, in one file.
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
  /** Begins a transaction that holds the lock for writing from the start, where there is one. */
  readonly begin: string
  readonly commit: string
  readonly rollback: string
  readonly savepoint: (name: string) => string
  readonly release: (name: string) => string
  readonly rollbackTo: (name: string) => string
  /**
   * Whether a statement is done in one step of this process, and one that fails leaves nothing behind: then it needs
   * neither a savepoint nor a timeout.
   */
  readonly atomicStatements: boolean
  /** What an error says about the store; undefined where the fault is with the statement. */
  readonly unavailable: (error: SqlError) => UnavailableReason | undefined
  /** Whether an error says that nothing was done because somebody else holds a lock. */
  readonly isBusy: (error: SqlError) => boolean
  /** Whether an error says that there is no transaction to roll back. */
  readonly isNoTransaction: (error: SqlError) => boolean
  /** Whether a transaction is open on the connection. */
  readonly isOpen: (connection: Connection) => Effect.Effect<boolean>
  /** What some SQL does. */
  readonly kindOf: (sql: string) => SqlKind
  /**
   * Why some SQL would not do what it says outside of a transaction, where others use the same connections, and one that
   * reads may be another one than that which writes; undefined where nothing is wrong with it. Asked for every statement.
   */
  readonly misplaced: (sql: string, hasReader: boolean) => string | undefined
  /** Whether some SQL of the kind `"outside"` has to be done on each connection. */
  readonly isForAllConnections: (sql: string) => boolean
  /** What to say of an error of a connection that only reads; undefined where it says it itself. */
  readonly hintForReader: (error: SqlError) => string | undefined
}

/**
 * What some SQL does.
 *
 * - `"read"`: it cannot write, so that it may run on a connection that only reads. When in doubt, it can.
 * - `"transaction"`: it begins or ends a transaction.
 * - `"savepoint"`: it is about a part of a transaction; outside of one it would begin one.
 * - `"outside"`: it does nothing, or something else, inside of a transaction.
 * - `"write"`: everything else.
 *
 * @since 0.1.0
 * @category models
 */
export type SqlKind = "read" | "transaction" | "savepoint" | "outside" | "write"

/**
 * The first word of some SQL, in capitals, behind blanks and comments.
 *
 * @since 0.1.0
 * @category helpers
 */
export const firstWord = (sql: string): string => leading.exec(sql)?.[1].toUpperCase() ?? ""

// Each part can end in one place only: otherwise a line of dashes would be tried in every way there is to split it.
const leading = /^(?:\s|;|--[^\n]*(?:\n|$)|\/\*(?:[^*]|\*(?!\/))*\*\/)*([A-Za-z]+)/

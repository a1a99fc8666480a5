/**
 * SQLite, through better-sqlite3.
 *
 * @since 0.1.0
 */
import type { UnavailableReason } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import { type Dialect, firstWord, type SqlKind } from "./Dialect.ts"
import * as Errors from "./internal/sqlite/driverErrors.ts"
import { isForAllConnections, isOfTransaction, whyMisplaced } from "./internal/sqlite/session.ts"

/**
 * Whether an error comes from SQLite.
 *
 * @since 0.1.0
 * @category errors
 */
export const isDriverError: (error: unknown) => boolean = Errors.isDriverError

/**
 * What an error of better-sqlite3 says about the file, or the driver; undefined if neither is at fault.
 *
 * @since 0.1.0
 * @category errors
 */
export const unavailableReason: (error: unknown) => UnavailableReason | undefined = Errors.unavailableReason

/**
 * The dialect.
 *
 * @since 0.1.0
 * @category dialects
 */
export const dialect: Dialect = {
  name: "sqlite",
  // A deferred transaction takes the lock at its first write, and fails at once if another connection has written since.
  begin: "BEGIN IMMEDIATE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
  savepoint: (name) => `SAVEPOINT ${name}`,
  release: (name) => `RELEASE ${name}`,
  rollbackTo: (name) => `ROLLBACK TO ${name}`,
  atomicStatements: true,
  failureAborts: false,
  unavailable: (error) => unavailableReason(error.cause),
  isBusy: (error) => unavailableReason(error.cause) === "locked",
  isNoTransaction: (error) => Errors.driverMessageOf(error).includes("no transaction is active"),
  // No statement tells this. A second BEGIN is refused inside a transaction, and changes nothing there.
  isOpen: (connection) =>
    Effect.matchEffect(connection.execute("BEGIN", [], undefined), {
      onFailure: (error) => Effect.succeed(Errors.driverMessageOf(error).includes("within a transaction")),
      onSuccess: () => Effect.as(Effect.ignore(connection.execute("ROLLBACK", [], undefined)), false)
    }),
  kindOf: (sql) => {
    // Called for every statement: INSERT, UPDATE and DELETE need no closer look.
    const first = sql.charCodeAt(0) | 0x20
    if (first === insert || first === update || first === delete_ && (sql.charCodeAt(2) | 0x20) !== detach) {
      return "write"
    }
    const kind = kinds.get(firstWord(sql))
    if (kind === undefined) return "write"
    if (kind === "outside" && isOfTransaction(sql)) return "write"
    return kind === "transaction" && rollbackTo.test(sql) ? "savepoint" : kind
  },
  misplaced: whyMisplaced,
  isForAllConnections,
  hintForReader: (error) =>
    /^(no such table|unknown database)/.test(Errors.driverMessageOf(error))
      ? "outside of a transaction a SELECT reads on a connection of its own, which sees nothing temporary, and no database "
        + "in memory that was attached: read it in withTransaction"
      : undefined
}

// DETACH begins as DELETE does.
const [insert, update, delete_, detach] = Array.from("iudt", (letter) => letter.charCodeAt(0))

// WITH may lead to an INSERT.
const kinds = new Map<string, SqlKind>([
  ["SELECT", "read"],
  ["VALUES", "read"],
  ["BEGIN", "transaction"],
  ["COMMIT", "transaction"],
  ["END", "transaction"],
  ["ROLLBACK", "transaction"],
  ["SAVEPOINT", "savepoint"],
  ["RELEASE", "savepoint"],
  ["PRAGMA", "outside"],
  ["VACUUM", "outside"],
  ["ATTACH", "outside"],
  ["DETACH", "outside"]
])

const rollbackTo = /\bROLLBACK(\s+TRANSACTION)?\s+TO\b/i

/**
 * PostgreSQL, through node-postgres.
 *
 * @since 0.1.0
 */
import { SqlError } from "@effect/sql/SqlError"
import type { UnavailableReason } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import { type Dialect, firstWord, type SqlKind } from "./Dialect.ts"
import * as Errors from "./internal/postgres/driverErrors.ts"
import { whyMisplaced } from "./internal/postgres/session.ts"

/**
 * What an error of the driver says about the server; undefined if the statement is at fault.
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
  name: "postgres",
  // Whatever the default of the database is: the statements of the store are written for this level.
  begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
  commit: "COMMIT",
  rollback: "ROLLBACK",
  savepoint: (name) => `SAVEPOINT ${name}`,
  release: (name) => `RELEASE SAVEPOINT ${name}`,
  rollbackTo: (name) => `ROLLBACK TO SAVEPOINT ${name}`,
  atomicStatements: false,
  failureAborts: true,
  unavailable: (error) => unavailableReason(error.cause),
  // A server waits for locks by itself.
  isBusy: () => false,
  // It warns only.
  isNoTransaction: () => false,
  isOpen: (_, error) => Effect.succeed(!(error instanceof SqlError && Errors.isBroken(error))),
  kindOf: (sql) => {
    const kind = kinds.get(firstWord(sql))
    if (kind === undefined) return alone.test(sql) ? "outside" : "write"
    return kind === "transaction" && rollbackTo.test(sql) ? "savepoint" : kind
  },
  misplaced: whyMisplaced,
  isForAllConnections: () => false,
  hintForReader: () => undefined
}

// WITH may lead to an INSERT.
const kinds = new Map<string, SqlKind>([
  ["SELECT", "read"],
  ["VALUES", "read"],
  ["TABLE", "read"],
  ["SHOW", "read"],
  ["BEGIN", "transaction"],
  ["START", "transaction"],
  ["COMMIT", "transaction"],
  ["END", "transaction"],
  ["ROLLBACK", "transaction"],
  ["ABORT", "transaction"],
  ["SAVEPOINT", "savepoint"],
  ["RELEASE", "savepoint"],
  ["VACUUM", "outside"]
])

const rollbackTo = /\b(?:ROLLBACK|ABORT)(?:\s+(?:WORK|TRANSACTION))?\s+TO\b/i

/** What PostgreSQL refuses inside a transaction. */
const alone =
  /^[\s;]*(?:(?:CREATE|DROP)\s+(?:DATABASE|TABLESPACE)\b|ALTER\s+SYSTEM\b|(?:CREATE|DROP|REINDEX)\b[^;]*\bCONCURRENTLY\b)/i

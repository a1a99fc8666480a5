/**
 * What the errors of the driver mean: those of better-sqlite3, and those of Effect's client on top of it.
 */
import { SqlError } from "@effect/sql/SqlError"
import type { UnavailableReason } from "@sluice/core/QueueError"
import { withReason } from "../writer/withReason.ts"
import { DriverUnusable } from "./driverFaults.ts"

/** SQLite has extended error codes: SQLITE_IOERR_WRITE is a kind of SQLITE_IOERR. */
const reasons: ReadonlyArray<readonly [code: string, reason: UnavailableReason]> = [
  ["SQLITE_BUSY", "locked"],
  ["SQLITE_LOCKED", "locked"],
  // Too many other connections were about to read the log.
  ["SQLITE_PROTOCOL", "locked"],
  ["SQLITE_FULL", "full"],
  ["SQLITE_READONLY_DBMOVED", "moved"],
  ["SQLITE_READONLY", "read-only"],
  ["SQLITE_CORRUPT", "corrupt"],
  ["SQLITE_NOTADB", "not-a-database"],
  ["SQLITE_CANTOPEN", "cannot-open"],
  ["SQLITE_PERM", "permission"],
  ["SQLITE_NOMEM", "memory"],
  // The index of the log must grow when a file is opened.
  ["SQLITE_IOERR_SHMSIZE", "full"],
  ["SQLITE_IOERR", "io"]
]

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined

/** Whether an error comes from SQLite. */
export const isDriverError = (error: unknown): boolean => codeOf(error)?.startsWith("SQLITE_") ?? false

/** What an error of better-sqlite3 says about the file, or the driver; undefined if neither is at fault. */
export const unavailableReason = (error: unknown): UnavailableReason | undefined => {
  if (error instanceof DriverUnusable) return "driver"
  const code = codeOf(error)
  if (code !== undefined) {
    return reasons.find(([prefix]) => code === prefix || code.startsWith(`${prefix}_`))?.[1]
  }
  if (!(error instanceof Error)) return undefined
  // These two come from better-sqlite3 itself, as a TypeError without a code.
  if (error.message.includes("directory does not exist")) return "missing-directory"
  if (error.message.includes("database connection is not open")) return "closed"
  return undefined
}

/** The message of SQLite, if there is one. */
export const driverMessageOf = (error: SqlError): string => error.cause instanceof Error ? error.cause.message : ""

const notPreparedMessage = "Failed to prepare"

/** A statement that cannot be prepared, as Effect's client tells of it. */
export const notPrepared = (cause: unknown): SqlError =>
  withReason(new SqlError({ cause, message: `${notPreparedMessage} statement` }))

export const isNotPrepared = (error: SqlError): boolean => error.message.startsWith(notPreparedMessage)

/** A pragma did not take effect. The driver does not report that, so this looks like one of its errors. */
export class PragmaRefused extends Error {
  readonly code = "SQLITE_CANTOPEN"

  constructor(name: string, value: string, actual: unknown) {
    super(`PRAGMA ${name} = ${value} was refused: it is ${String(actual)}`)
  }
}

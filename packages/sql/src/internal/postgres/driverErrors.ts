/**
 * What the errors of the driver mean: those of PostgreSQL by their SQLSTATE, those of Node's sockets by their code, and
 * those of node-postgres, which has none, by their text.
 */
import type { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable, type UnavailableReason } from "@sluice/core/QueueError"

/** By the code, or by its class, which is its beginning. */
const reasons: ReadonlyArray<readonly [code: string, reason: UnavailableReason]> = [
  // The connection broke; the server shuts down, has crashed, or does not take connections yet.
  ["08", "unreachable"],
  ["57P", "unreachable"],
  // A statement was cancelled, as a rule because it took too long.
  ["57014", "timeout"],
  ["25P03", "timeout"],
  ["28", "permission"],
  ["42501", "permission"],
  ["3D000", "missing-database"],
  ["53300", "exhausted"],
  ["53100", "full"],
  ["53200", "memory"],
  ["25006", "read-only"],
  // Two transactions got in each other's way, and this one was given up.
  ["40001", "locked"],
  ["40P01", "locked"],
  ["55P03", "locked"],
  ["58", "io"],
  ["XX001", "corrupt"],
  ["XX002", "corrupt"]
]

/** What Node says of a socket, or of a name. */
const ofSockets = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
  "EACCES"
])

/** What node-postgres says without a code. */
const texts: ReadonlyArray<readonly [text: RegExp, reason: UnavailableReason]> = [
  [/^timeout exceeded when trying to connect/, "exhausted"],
  [/^Connection terminated|^Client has encountered a connection error|not queryable/, "unreachable"],
  [/^Cannot use a pool after calling end/, "closed"],
  [/password must be a string|SASL/, "permission"]
]

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined

/** What an error of the driver says about the server; undefined if the statement is at fault. */
export const unavailableReason = (error: unknown): UnavailableReason | undefined => {
  if (error instanceof StoreUnavailable) return error.reason
  const code = codeOf(error)
  if (code !== undefined) {
    if (ofSockets.has(code)) return "unreachable"
    // Of two that fit, the longer one is meant.
    const fitting = reasons.filter(([beginning]) => code.startsWith(beginning))
    return fitting.reduce<(typeof reasons)[number] | undefined>(
      (best, one) => best === undefined || one[0].length > best[0].length ? one : best,
      undefined
    )?.[1]
  }
  if (!(error instanceof Error)) return undefined
  return texts.find(([text]) => text.test(error.message))?.[1]
}

/** Whether the connection of an error is of no more use. */
export const isBroken = (error: SqlError): boolean => {
  const reason = unavailableReason(error.cause)
  return reason === "unreachable" || reason === "closed"
}

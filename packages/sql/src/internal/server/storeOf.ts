/**
 * What errors call the database of a client: host, port and name, and nothing that is secret.
 */
import type { SqlClient } from "@effect/sql/SqlClient"

interface Address {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly database?: string | undefined
}

/** Of clients for servers, which keep their configuration. */
export const storeOf = (client: SqlClient): string => {
  const { database, host, port }: Address = (client as { readonly config?: Address }).config ?? {}
  return addressOf("postgres", host ?? "localhost", port ?? 5432, database ?? "")
}

export const addressOf = (scheme: string, host: string, port: number | string, database: string): string =>
  `${scheme}://${host.startsWith("/") ? `[${host}]` : host}:${port}/${database}`

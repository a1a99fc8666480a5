/**
 * The driver of PostgreSQL: Effect's client on top of node-postgres. No other file imports it. `connection.ts` works
 * around the quirks of its connection. `driverErrors.ts` knows its errors, and can be imported without the driver.
 */
import type * as Reactivity from "@effect/experimental/Reactivity"
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Checked } from "./options.ts"

/** What is said to the server when a connection is made. */
const settings = ({ durable, operationTimeoutMillis }: Checked): string =>
  [
    `synchronous_commit=${durable ? "on" : "off"}`,
    // A transaction that its process has forgotten holds locks, and keeps all that is deleted meanwhile.
    `idle_in_transaction_session_timeout=${Math.min(2 ** 31 - 1, Math.ceil(idleFactor * operationTimeoutMillis))}`
  ].map((setting) => `-c ${setting}`).join(" ")

/** How many times as long as an operation a transaction of a user may do nothing. */
const idleFactor = 60

/**
 * Loaded when it is needed: an app that has another database need not have it. A bundler takes a package that is missing
 * for one that may be missing where that is caught right there.
 */
const load = Effect.tryPromise({
  try: () => Promise.all([import("@effect/sql-pg/PgClient").catch(missing), import("pg").catch(missing)]),
  catch: (cause) => new SqlError({ cause, message: "the packages @effect/sql-pg and pg are not installed" })
})

const missing = (cause: unknown) => Promise.reject(cause)

/** The stock client on a pool of its own, which ends with the scope. Nothing has been asked of the server yet. */
export const openStock = (
  options: Checked
): Effect.Effect<SqlClient, SqlError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.flatMap(load, ([PgClient, { default: Pg }]) =>
    PgClient.fromPool({
      spanAttributes: options.spanAttributes,
      transformResultNames: options.transformResultNames,
      transformQueryNames: options.transformQueryNames,
      acquire: Effect.acquireRelease(
        Effect.try({
          try: () => {
            const pool = new Pg.Pool({
              ...(options.url === undefined ? {} : { connectionString: Redacted.value(options.url) }),
              ...whereGiven({
                host: options.host,
                port: options.port,
                database: options.database,
                user: options.username,
                password: options.password && Redacted.value(options.password),
                ssl: options.ssl
              }),
              max: options.maxConnections,
              connectionTimeoutMillis: options.acquireTimeoutMillis,
              application_name: options.applicationName,
              options: settings(options)
            })
            // The loss of a connection that nobody uses is not worth an error: the next one is made when it is needed.
            pool.on("error", () => {})
            return pool
          },
          catch: (cause) => new SqlError({ cause, message: "the options of the connection are not valid" })
        }),
        (pool) => Effect.ignore(Effect.timeoutOption(Effect.interruptible(Effect.promise(() => pool.end())), endMillis))
      )
    }))

/** How long the end of the pool waits for connections that are still used. */
const endMillis = 5000

/** An option that is not given stays away: the driver looks for it in the environment then. */
const whereGiven = <A extends object>(options: A): Partial<{ [K in keyof A]: NonNullable<A[K]> }> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as any

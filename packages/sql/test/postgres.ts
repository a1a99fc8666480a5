/**
 * A PostgreSQL server for tests, where there is one, and databases of their own in it.
 *
 * Its address is that of `SLUICE_POSTGRES`; by default `postgres` on this machine, who may create databases.
 */
import { PgClient } from "@effect/sql-pg"
import * as Reactivity from "@effect/experimental/Reactivity"
import { Effect, Redacted } from "effect"
import { randomBytes } from "node:crypto"

const server = process.env["SLUICE_POSTGRES"] ?? "postgres://postgres@127.0.0.1:5432/postgres"

/** The address of a database on the server. */
export const addressOf = (database: string): string => {
  const url = new URL(server)
  url.pathname = `/${database}`
  return url.href
}

const open = (address: string, maxConnections: number) =>
  Effect.provide(PgClient.make({ url: Redacted.make(address), maxConnections }), Reactivity.layer)

/** A pool of connections to a database. */
export const connect = (database: string, maxConnections = 4) => open(addressOf(database), maxConnections)

const onServer = (statement: string) => Effect.scoped(Effect.flatMap(open(server, 1), (sql) => sql.unsafe(statement)))

/** Whether there is a server. Says so where there is none, which is a failure in CI. */
export const hasServer = (): Promise<boolean> =>
  onServer("SELECT 1").pipe(
    Effect.as(true),
    Effect.catchAll(() =>
      Effect.sync(() => {
        const isRequired = process.env["CI"] !== undefined
        const then = isRequired ? "its tests will fail" : "its tests are skipped"
        process.stderr.write(`no PostgreSQL at ${new URL(server).host}: ${then}\n`)
        return isRequired
      })
    ),
    Effect.runPromise
  )

/** An empty database of this test's own. It says nothing of power cuts, and waits for no disk. */
export const temporaryDatabase = Effect.acquireRelease(
  Effect.suspend(() => {
    const name = `sluice_test_${randomBytes(6).toString("hex")}`
    return onServer(`CREATE DATABASE ${name}`).pipe(
      Effect.zipRight(onServer(`ALTER DATABASE ${name} SET synchronous_commit = off`)),
      Effect.as(name)
    )
  }),
  (name) => Effect.orDie(onServer(`DROP DATABASE ${name} WITH (FORCE)`))
)

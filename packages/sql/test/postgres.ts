/**
 * A PostgreSQL server for tests, where there is one, and databases of their own in it.
 *
 * Its address is that of `PGHOST`, `PGPORT`, `PGUSER` and `PGPASSWORD`; by default `postgres` on this machine.
 */
import { PgClient } from "@effect/sql-pg"
import * as Reactivity from "@effect/experimental/Reactivity"
import { Effect, Option, Redacted } from "effect"
import { randomBytes } from "node:crypto"

const address = {
  host: process.env["PGHOST"] ?? "127.0.0.1",
  port: Number(process.env["PGPORT"] ?? 5432),
  username: process.env["PGUSER"] ?? "postgres",
  password: Option.getOrUndefined(Option.map(Option.fromNullable(process.env["PGPASSWORD"]), Redacted.make))
}

/** A pool of connections to a database. */
export const connect = (database: string, maxConnections = 4) =>
  Effect.provide(PgClient.make({ ...address, database, maxConnections }), Reactivity.layer)

const onServer = (statement: string) =>
  Effect.scoped(Effect.flatMap(connect("postgres", 1), (sql) => sql.unsafe(statement)))

/** Whether there is a server. Says so where there is none. */
export const hasServer = (): Promise<boolean> =>
  onServer("SELECT 1").pipe(
    Effect.as(true),
    Effect.catchAll(() =>
      Effect.as(
        Effect.sync(() =>
          process.stderr.write(`no PostgreSQL at ${address.host}:${address.port}: its tests are skipped\n`)
        ),
        false
      )
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

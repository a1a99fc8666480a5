import { describe, expect, it } from "@effect/vitest"
import { SqlClient } from "@effect/sql"
import { PostgresStore, WriteCoordinator } from "@sluice/sql"
import { Context, Effect, Exit, Layer, Redacted } from "effect"
import { tagOf } from "./database.ts"
import { addressOf, hasServer, temporaryDatabase } from "./postgres.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const open = (database: string, options: Partial<WriteCoordinator.Options> = {}) =>
  WriteCoordinator.layerSqlClient(Writes).pipe(
    Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes", ...options })),
    Layer.provide(PostgresStore.layer({ url: Redacted.make(addressOf(database)), durable: false }))
  )

/** Runs with a coordinator and a table of unique values. */
const withWrites = <A, E>(
  effect: Effect.Effect<A, E, Writes | SqlClient.SqlClient>,
  options?: Partial<WriteCoordinator.Options>
) =>
  Effect.flatMap(temporaryDatabase, (database) =>
    Effect.provide(
      Effect.zipRight(
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE t (v INTEGER UNIQUE)`),
        effect
      ),
      open(database, options)
    ))

const insert = (v: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO t VALUES (${v})`)

const count = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.map(sql<{ count: number }>`SELECT count(*)::integer AS count FROM t`, ([{ count }]) => count)
)

describe.skipIf(!await hasServer())("a coordinator on PostgreSQL", () => {
  it.scopedLive("writes many in one transaction, and rolls back alone what fails", () =>
    withWrites(Effect.gen(function*() {
      const writes = yield* Writes
      yield* insert(7)
      const before = yield* writes.metrics
      const exits = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, v) => v),
        (v) => Effect.exit(insert(v)),
        { concurrency: "unbounded" }
      )
      expect(exits.flatMap((exit, v) => Exit.isFailure(exit) ? [v] : [])).toStrictEqual([7])
      expect(yield* count).toBe(100)
      const after = yield* writes.metrics
      expect(after.batches - before.batches).toBeLessThan(20)
    })))

  it.scopedLive("cuts off a write that takes too long, and writes the others", () =>
    withWrites(
      Effect.gen(function*() {
        const writes = yield* Writes
        const sql = yield* SqlClient.SqlClient
        const slow = writes.submit(Effect.zipRight(insert(1), sql`SELECT pg_sleep(3600)`), { name: "slow" })
        const [ended] = yield* Effect.all([Effect.exit(slow), insert(2)], { concurrency: 2 })
        expect(tagOf(ended)).toBe("WriteTimeout")
        yield* insert(3)
        expect(yield* sql`SELECT v FROM t ORDER BY v`).toStrictEqual([{ v: 2 }, { v: 3 }])
      }),
      { writeTimeout: "300 millis" }
    ))
})

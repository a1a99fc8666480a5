/**
 * What goes through all rows does so in portions, between which others get their turn.
 */
import { SqlClient, type SqlConnection, SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import * as Macrotask from "@sluice/core/unstable/Macrotask"
import { SqlBatchStore, SqliteBatchStore, SqliteStore } from "@sluice/sql"
import Sqlite from "better-sqlite3"
import { Clock, Context, Effect, Layer, Stream } from "effect"
import { store } from "./batchStores.ts"
import { temporaryFile } from "./database.ts"

const span = 2 ** 40

/** Makes so many dead letters of the first queue, each with so many bytes, at once. */
const lettersOf = (count: number, bytes: number) =>
  `INSERT INTO sluice_dead (seq, items, oldest_ms, died_ms, reason, error, payload)
    WITH RECURSIVE places (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < ${count})
    SELECT ${span} + place, 1, 1, 1, 'rejected', 'error', zeroblob(${bytes}) FROM places`

/** The tables in memory, and a connection that notes how many rows a statement has answered or changed. */
const noted = Effect.map(
  Effect.acquireRelease(Effect.sync(() => new Sqlite(":memory:")), (db) => Effect.sync(() => db.close())),
  (db) => {
    let most = 0
    const execute = (sql: string, params: ReadonlyArray<unknown>) =>
      Effect.try({
        try: (): ReadonlyArray<any> => {
          const statement = db.prepare(sql)
          const rows = statement.reader ? statement.all(...params) : []
          most = Math.max(most, statement.reader ? rows.length : statement.run(...params).changes)
          return rows
        },
        catch: (cause) => new SqlError.SqlError({ cause, message: "failed" })
      })
    const connection: SqlConnection.Connection = {
      execute,
      executeRaw: execute,
      executeValues: execute as any,
      executeUnprepared: execute,
      executeStream: (sql, params) => Stream.fromIterableEffect(execute(sql, params))
    }
    return { connection, db, operations: SqliteBatchStore.dialect.operations("sluice"), takeMost: () => most }
  }
)

const makeTables = (db: Sqlite.Database, upTo?: string) => {
  for (const [name, steps] of Object.entries(SqliteBatchStore.dialect.migrations("sluice"))) {
    if (name === upTo) return
    for (const step of steps) if (typeof step === "string") db.exec(step)
  }
  db.exec("INSERT INTO sluice_queues (name) VALUES ('orders')")
}

describe("one statement", () => {
  it.scoped("lists at most 1,000 dead letters, and moves or deletes at most 500", () =>
    Effect.gen(function*() {
      const { connection, db, operations, takeMost } = yield* noted
      makeTables(db)
      db.exec(lettersOf(3000, 10))
      const all = { filter: {}, limit: 100_000 }
      const { last, letters } = yield* operations.deadLetters(connection, 1, all, 2, undefined)
      expect([letters.length, last]).toEqual([1000, 1000])
      expect(yield* operations.countDead(connection, 1, all, 2, undefined)).toMatchObject({ batches: 1000, last: 1000 })
      expect(yield* operations.redrive(connection, 1, all, 2, undefined))
        .toEqual({ batches: 500, items: 500, last: 500 })
      expect(yield* operations.discard(connection, 1, all, 2, undefined))
        .toEqual({ batches: 500, items: 500, last: 1000 })
      expect(takeMost()).toBe(1000)
    }))

  it.scoped("moves or deletes at most half a megabyte, or one letter that is larger", () =>
    Effect.gen(function*() {
      const { connection, db, operations } = yield* noted
      makeTables(db)
      db.exec(lettersOf(20, 100 * 1024))
      const all = { filter: {}, limit: 500 }
      const six = { batches: 6, items: 6 }
      expect(yield* operations.redrive(connection, 1, all, 2, undefined)).toEqual({ ...six, last: 6 })
      expect(yield* operations.discard(connection, 1, all, 2, undefined)).toEqual({ ...six, last: 12 })
      const ids = { filter: { ids: [13, 14, 15, 16, 17, 18, 19, 20] }, limit: 500 }
      expect(yield* operations.discard(connection, 1, ids, 2, undefined)).toEqual({ ...six, last: 18 })
      expect(yield* operations.discard(connection, 1, ids, 2, undefined))
        .toEqual({ batches: 2, items: 2, last: undefined })
      db.exec("DELETE FROM sluice_batches")
      db.exec(lettersOf(3, 1024 * 1024))
      expect(yield* operations.redrive(connection, 1, all, 2, undefined)).toEqual({ batches: 1, items: 1, last: 1 })
      expect(yield* operations.redrive(connection, 1, { ...all, after: 2 }, 2, undefined))
        .toEqual({ batches: 1, items: 1, last: undefined })
    }))

  it.scoped("of a migration moves at most 100 batches", () =>
    Effect.gen(function*() {
      const { connection, db, takeMost } = yield* noted
      makeTables(db, "0002_returns")
      db.exec(`INSERT INTO sluice_batches (seq, items, oldest_ms, payload, due_ms)
        WITH RECURSIVE places (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < 1050)
        SELECT ${span} + place, 1, 1, x'00', iif(place % 10 = 0, 5, ${-(2 ** 46)}) FROM places`)
      const run = (sql: string) => connection.execute(sql, [], undefined)
      for (const step of SqliteBatchStore.dialect.migrations("sluice")["0002_returns"]) {
        if (typeof step === "string") yield* run(step)
        else while ((yield* run(step.while)).length > 0) for (const statement of step.run) yield* run(statement)
      }
      expect(takeMost()).toBe(100)
      const counts = db.prepare(
        "SELECT (SELECT count(*) FROM sluice_batches) AS fresh, (SELECT count(*) FROM sluice_resting) AS leased"
      )
      expect(counts.get()).toEqual({ fresh: 945, leased: 105 })
    }))
})

/** A clock by which there is always a break due, and a count of the breaks that were taken. */
const breaks = Effect.sync(() => {
  let now = 1_000_000
  let taken = 0
  const clock: Clock.Clock = Object.assign(Object.create(Clock.make()), {
    unsafeCurrentTimeMillis: () => now += 20
  })
  const macrotask = (task: () => void) => {
    taken += 1
    setImmediate(task)
  }
  return {
    within: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.withClock(Effect.provideService(effect, Macrotask.Macrotask, macrotask), clock),
    takeCount: () => {
      const count = taken
      taken = 0
      return count
    }
  }
})

describe("others get their turn", () => {
  it.scopedLive("between the portions of a list", () =>
    Effect.gen(function*() {
      const { takeCount, within } = yield* breaks
      const { queue, sql } = yield* within(store())
      yield* queue.hold(0)
      yield* sql.unsafe(lettersOf(5000, 10))
      const ids = Array.from({ length: 5000 }, (_, i) => 5000 - i)
      for (const filter of [{}, { error: "none has this" }, { ids }]) {
        takeCount()
        const found = yield* within(queue.deadLetters({ filter, limit: 100_000 }))
        expect(found.map(({ id }) => id)).toEqual("error" in filter ? [] : [...ids].reverse())
        expect(takeCount()).toBeGreaterThanOrEqual(5)
      }
    }))

  it.scopedLive("in a list of ids that begins behind one of them, and ends at its limit", () =>
    Effect.gen(function*() {
      const { queue, sql } = yield* store()
      yield* queue.hold(0)
      yield* sql.unsafe(lettersOf(4000, 10))
      const ids = [...Array.from({ length: 4000 }, (_, i) => 4000 - i), 7, 9000]
      const found = yield* queue.deadLetters({ filter: { ids }, after: 1500, limit: 1700 })
      expect(found.map(({ id }) => id)).toEqual(Array.from({ length: 1700 }, (_, i) => 1501 + i))
    }))

  it.scopedLive("between the portions of a migration", () =>
    Effect.gen(function*() {
      const { takeCount, within } = yield* breaks
      const filename = yield* temporaryFile
      const db = new Sqlite(filename)
      makeTables(db, "0002_returns")
      db.exec(`CREATE TABLE sluice_migrations (
        migration_id integer PRIMARY KEY NOT NULL,
        created_at datetime NOT NULL DEFAULT current_timestamp,
        name VARCHAR(255) NOT NULL
      )`)
      db.exec("INSERT INTO sluice_migrations (migration_id, name) VALUES (1, 'batches')")
      db.exec(`INSERT INTO sluice_queues (name, next_place, pending_batches, pending_items)
        VALUES ('orders', 2001, 2000, 2000)`)
      db.exec(`INSERT INTO sluice_batches (seq, items, oldest_ms, payload)
        WITH RECURSIVE places (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < 2000)
        SELECT ${span} + place, 1, 1, x'00' FROM places`)
      db.close()
      const context = yield* within(Layer.build(
        SqlBatchStore.layer().pipe(Layer.provideMerge(SqliteStore.layer({ filename })))
      ))
      expect(takeCount()).toBeGreaterThanOrEqual(80)
      const queue = yield* Context.get(context, BatchStore.BatchStore).queue("orders")
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 2000, items: 2000 } })
      const sql = Context.get(context, SqlClient.SqlClient)
      expect(yield* sql`SELECT count(*) AS count FROM sluice_batches`).toEqual([{ count: 2000 }])
    }))
})

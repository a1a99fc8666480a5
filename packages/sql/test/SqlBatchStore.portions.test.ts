/**
 * What goes through all rows does so in portions, between which others get their turn.
 */
import { SqlClient, type SqlConnection, SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import * as Macrotask from "@sluice/core/unstable/Macrotask"
import { SqlBatchStore, SqliteBatchStore, SqliteStore } from "@sluice/sql"
import Sqlite from "better-sqlite3"
import { Clock, Context, Effect, Fiber, Layer, Stream, TestClock } from "effect"
import { batch, store } from "./batchStores.ts"
import { temporaryFile } from "./database.ts"

const span = 2 ** 40

/** Makes so many dead letters of the first queue, each with so many bytes, at once. */
const lettersOf = (count: number, bytes: number) =>
  `INSERT INTO sluice_dead (seq, items, oldest_ms, died_ms, reason, error, payload)
    WITH RECURSIVE places (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < ${count})
    SELECT ${span} + place, 1, 1, 1, 'rejected', 'error', zeroblob(${bytes}) FROM places`

/** Since when something rests, is leased or is remembered that comes from a clock that was ahead. */
const ahead = 1_000_000

const numbersTo = (count: number) =>
  `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${count})`

/** Makes 8,000 that rest, of three versions, with many that are due at once, and 4,000 that are leased. */
const lateBatches = [
  `INSERT INTO sluice_resting (seq, items, oldest_ms, due_ms, since_ms, leased, version, payload) ${numbersTo(8000)}
    SELECT ${span} + n, 1, 1, ${ahead} + 500 + (n * 7919) % 3, ${ahead}, 0, n % 3, x'00' FROM numbers`,
  `INSERT INTO sluice_batches (seq, items, oldest_ms, due_ms, since_ms, payload) ${numbersTo(4000)}
    SELECT ${span} + 8000 + n, 1, 1, ${ahead} + 500, ${ahead}, x'00' FROM numbers`
]

/** How many of them are as they would be if the clock had been right at that time, and how many are not. */
const clippedAt = (now: number) =>
  ["sluice_resting", "sluice_batches"].map((table) =>
    `SELECT count(*) FILTER (WHERE since_ms = ${now} AND due_ms - since_ms BETWEEN 500 AND 502) AS clipped,
      count(*) AS count FROM ${table}`
  ).join(" UNION ALL ")

const allClipped = [{ clipped: 8000, count: 8000 }, { clipped: 4000, count: 4000 }]
const noneClipped = [{ clipped: 0, count: 8000 }, { clipped: 0, count: 4000 }]

/** Makes 6,000 ids in the first bucket of 2^14 ms, and 6,000 in one that is ahead. */
const lateIds = ["current", "ahead"].map((which, bucket) =>
  `INSERT INTO sluice_ids (queue_id, bucket, id, at_ms) ${numbersTo(6000)}
    SELECT 1, ${14 * 2 ** 43 + 61 * bucket}, '${which} ' || n, ${bucket === 0 ? 9000 : ahead} FROM numbers`
)

const countIds = `SELECT bucket % ${2 ** 43} AS bucket, at_ms, count(*) AS count FROM sluice_ids GROUP BY 1, 2`

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

  it.scoped("of a clip looks at most at 1,000 rows, and changes at most half a megabyte, or one row that is larger", () =>
    Effect.gen(function*() {
      const { connection, db, operations, takeMost } = yield* noted
      makeTables(db)
      for (const statement of [...lateBatches, ...lateIds]) db.exec(statement)
      db.exec("UPDATE sluice_queues SET bucket_bits = 14")
      for (const clip of [operations.clip, operations.clipIds]) {
        let parts = 0
        let mark = yield* clip(connection, 1, undefined, 1000)
        for (; mark !== undefined; parts++) mark = yield* clip(connection, 1, mark, 1000)
        expect(parts).toBeGreaterThanOrEqual(11)
      }
      expect(takeMost()).toBe(1000)
      expect(db.prepare(clippedAt(1000)).all()).toEqual(allClipped)
      expect(db.prepare(countIds).all()).toEqual([{ bucket: 0, at_ms: 1000, count: 12_000 }])
      db.exec("UPDATE sluice_resting SET payload = zeroblob(1048576) WHERE version = 0 AND seq % 500 = 0")
      // Those are before the others, and are as they should be.
      db.exec(`INSERT INTO sluice_resting (seq, items, oldest_ms, due_ms, since_ms, leased, payload) ${numbersTo(2500)}
        SELECT ${span} + 20000 + n, 1, 1, 600, 400, 0, x'00' FROM numbers`)
      const bytes = db.prepare("SELECT total(length(payload)) FROM sluice_resting WHERE since_ms = 500").pluck()
      const changed: Array<number> = []
      let mark = yield* operations.clip(connection, 1, undefined, 500)
      while (mark !== undefined) {
        changed.push(Number(bytes.get()))
        mark = yield* operations.clip(connection, 1, mark, 500)
      }
      const most = changed.map((sum, index) => sum - (changed[index - 1] ?? 0))
      expect(Math.max(...most)).toBeLessThan(2 * 1024 * 1024)
      expect(db.prepare(clippedAt(500)).all()).toEqual([{ clipped: 8000, count: 10_500 }, {
        clipped: 4000,
        count: 4000
      }])
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

/** A clock by which a break is due at every second look, and a count of the turns that were asked for. */
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
        expect(takeCount()).toBeGreaterThanOrEqual(2)
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
      expect(takeCount()).toBeGreaterThanOrEqual(40)
      const queue = yield* Context.get(context, BatchStore.BatchStore).queue("orders")
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 2000, items: 2000 } })
      const sql = Context.get(context, SqlClient.SqlClient)
      expect(yield* sql`SELECT count(*) AS count FROM sluice_batches`).toEqual([{ count: 2000 }])
    }))
})

describe("where the clock was set back", () => {
  const lease = { limit: 1, leaseMillis: 1000 }

  const late = Effect.gen(function*() {
    yield* TestClock.setTime(1000)
    const made = yield* store()
    yield* made.queue.append({ batches: [batch(1, { ids: ["first"] })], idWindowMillis: 10_000 })
    yield* made.queue.claim({ ...lease, settle: (yield* made.queue.claim(lease)).batches })
    // Another process looks for the first time.
    const { queue, sql, withTransaction } = yield* store({ filename: made.filename })
    for (const statement of [...lateBatches, ...lateIds]) yield* sql.unsafe(statement)
    const append = (...ids: ReadonlyArray<string>) =>
      queue.append({ batches: [batch(2, { ids })], idWindowMillis: 10_000 })
    return { queue, sql, withTransaction, append }
  })

  it.scoped("everything is clipped, in many parts, also where several want it at once", () =>
    Effect.gen(function*() {
      const { append, queue, sql } = yield* late
      const claims = yield* Effect.all(Array.from({ length: 5 }, () => queue.claim(lease)), { concurrency: 5 })
      expect(claims.map(({ nextAtMillis }) => nextAtMillis)).toEqual(Array.from({ length: 5 }, () => 1500))
      expect(yield* sql.unsafe(clippedAt(1000))).toEqual(allClipped)
      const known = yield* Effect.all(["current 6000", "ahead 6000"].map((id) => append(id)), { concurrency: 2 })
      expect(known.map(({ duplicates }) => duplicates)).toEqual([["current 6000"], ["ahead 6000"]])
      expect(yield* sql.unsafe(countIds)).toEqual([{ bucket: 0, at_ms: 1000, count: 12_001 }])
    }))

  it.scoped("everything is clipped inside a transaction, and again after one that is rolled back", () =>
    Effect.gen(function*() {
      const { append, queue, sql, withTransaction } = yield* late
      const inside = Effect.gen(function*() {
        expect((yield* queue.claim(lease)).nextAtMillis).toBe(1500)
        expect((yield* append("ahead 6000")).duplicates).toEqual(["ahead 6000"])
        expect(yield* sql.unsafe(clippedAt(1000))).toEqual(allClipped)
        expect(yield* sql.unsafe(countIds)).toEqual([{ bucket: 0, at_ms: 1000, count: 12_001 }])
      })
      yield* Effect.flip(withTransaction(Effect.zipRight(inside, Effect.fail("rolled back"))))
      expect(yield* sql.unsafe(clippedAt(1000))).toEqual(noneClipped)
      expect(yield* sql.unsafe(countIds)).toHaveLength(3)
      yield* withTransaction(inside)
      expect(yield* sql.unsafe(clippedAt(1000))).toEqual(allClipped)
      expect((yield* queue.claim(lease)).nextAtMillis).toBe(1500)
    }))

  it.scoped("everything is clipped after a transaction that is rolled back", () =>
    Effect.gen(function*() {
      const { append, queue, sql, withTransaction } = yield* late
      const inside = Effect.zipRight(queue.claim(lease), append("ahead 6000"))
      yield* Effect.flip(withTransaction(Effect.zipRight(inside, Effect.fail("rolled back"))))
      expect((yield* queue.claim(lease)).nextAtMillis).toBe(1500)
      expect((yield* append("ahead 6000")).duplicates).toEqual(["ahead 6000"])
      expect(yield* sql.unsafe(clippedAt(1000))).toEqual(allClipped)
    }))

  it.scoped("others write between two parts", () =>
    Effect.gen(function*() {
      const { queue, sql } = yield* late
      const claim = yield* Effect.fork(queue.claim(lease))
      let clipped = 0
      while (clipped === 0) {
        yield* queue.hold(0)
        const rows = yield* sql.unsafe<{ readonly clipped: number }>(clippedAt(1000))
        clipped = rows.reduce((sum, { clipped }) => sum + clipped, 0)
      }
      expect(clipped).toBeLessThan(6000)
      yield* Fiber.join(claim)
      expect(yield* sql.unsafe(clippedAt(1000))).toEqual(allClipped)
    }))
})

describe("where the window of ids becomes wider", () => {
  const remembered = `INSERT INTO sluice_ids (queue_id, bucket, id, at_ms) ${numbersTo(12_000)}
    SELECT 1, ${14 * 2 ** 43}, 'id ' || n, 1000 FROM numbers`
  const buckets = `SELECT bucket / ${2 ** 43} AS bits, count(*) AS count FROM sluice_ids GROUP BY 1`
  const appendOf = (id: string, idWindowMillis: number): BatchStore.Append => ({
    batches: [batch(1, { ids: [id] })],
    idWindowMillis
  })

  it.scoped("all that is remembered moves, in many parts, also after a transaction that is rolled back", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1000)
      const { queue, sql, withTransaction } = yield* store()
      yield* queue.append(appendOf("id 0", 10_000))
      yield* sql.unsafe(remembered)
      const append = Effect.forEach(["id 0", "id 7000", "id 12000"], (id) => queue.append(appendOf(id, 100_000)))
      const inside = Effect.gen(function*() {
        expect((yield* append).flatMap(({ duplicates }) => duplicates)).toEqual(["id 0", "id 7000", "id 12000"])
        expect(yield* sql.unsafe(buckets)).toEqual([{ bits: 17, count: 12_001 }])
      })
      yield* Effect.flip(withTransaction(Effect.zipRight(inside, Effect.fail("rolled back"))))
      expect(yield* sql.unsafe(buckets)).toEqual([{ bits: 14, count: 12_001 }])
      yield* inside
    }))

  it.scoped("nobody appends with ids before all has moved, also where it was left half-way", () =>
    Effect.gen(function*() {
      const { connection, db, operations, takeMost } = yield* noted
      makeTables(db)
      db.exec("UPDATE sluice_queues SET bucket_bits = 14")
      db.exec(remembered)
      const append = (windowMillis: number) =>
        operations.appendWithIds(connection, 1, appendOf("id 12000", windowMillis), 1000)
      expect(yield* append(100_000)).toBeUndefined()
      expect(yield* append(100_000)).toBeUndefined()
      let mark = yield* operations.clipIds(connection, 1, undefined, 1000)
      expect(db.prepare(buckets).all()).toEqual([{ bits: 14, count: 11_000 }, { bits: 17, count: 1000 }])
      expect(yield* append(10_000)).toBeUndefined()
      while (mark !== undefined) mark = yield* operations.clipIds(connection, 1, mark, 1000)
      expect(takeMost()).toBe(1000)
      const known = { appended: 0, duplicates: ["id 12000"] }
      expect([yield* append(10_000), yield* append(100_000)]).toEqual([known, known])
    }))
})

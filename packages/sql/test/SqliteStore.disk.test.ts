/**
 * Disks that are full, and writes that the operating system refuses in the middle of a commit.
 */
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, SqlTransaction, WriteCoordinator } from "@sluice/sql"
import Database from "better-sqlite3"
import { Context, Effect, Either, Fiber, Layer, Schedule } from "effect"
import * as path from "node:path"
import { childAfter, temporaryDirectory } from "./children/spawn.ts"
import { canMount, smallDisk } from "./smallDisk.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const store = (filename: string) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      WriteCoordinator.layer(Writes, { name: "writes" }).pipe(Layer.provideMerge(SqliteStore.layer({ filename })))
    )
    const sql = Context.get(context, SqlClient.SqlClient)
    const writes = Context.get(context, Writes)
    yield* sql`CREATE TABLE IF NOT EXISTS rows (id TEXT, part INTEGER, data BLOB)`
    const runs: Array<string> = []
    const insert = (id: string, part: number, bytes: number) =>
      sql`INSERT INTO rows VALUES (${id}, ${part}, zeroblob(${bytes}))`
    const pair = (id: string, bytes: number) =>
      Effect.zipRight(
        Effect.sync(() => runs.push(id)),
        Effect.zipRight(insert(id, 0, bytes), insert(id, 1, bytes))
      )
    return {
      insert,
      pair,
      rows: Effect.map(
        sql<{ id: string; part: number }>`SELECT id, part FROM rows ORDER BY id, part`,
        (rows) => rows.map(({ id, part }) => `${id}.${part}`)
      ),
      /** What has run, in order, as often as it has. */
      runs,
      sql,
      store: Context.get(context, SqliteStore.SqliteStore),
      transactions: Context.get(context, SqlTransaction.SqlTransaction),
      /** Two rows, in two statements. */
      submitPair: (id: string, bytes: number, options?: { readonly retryable: boolean }) =>
        writes.submit(pair(id, bytes), { name: id, ...options }),
      submitStatement: (id: string, bytes: number) => writes.submit(insert(id, 0, bytes), { name: id }),
      writes
    }
  })

/** What a process that comes later finds in the file. */
const readFresh = (filename: string) => {
  const database = new Database(filename)
  try {
    expect(database.pragma("integrity_check", { simple: true })).toBe("ok")
    const rows = database.prepare("SELECT id, part FROM rows ORDER BY id, part").all()
    return (rows as Array<{ id: string; part: number }>).map(({ id, part }) => `${id}.${part}`)
  } finally {
    database.close()
  }
}

const full = (filename: string) => ({ _tag: "StoreUnavailable", store: filename, reason: "full" })

/** Bytes: more than is left of a full disk, and little beside an empty one. */
const some = 20_000

describe.skipIf(!canMount)("a full disk", () => {
  it.scopedLive(
    "fails every write of a group, leaves nothing of them, and is forgotten once there is space",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        yield* Effect.scoped(Effect.gen(function*() {
          const { rows, runs, submitPair, submitStatement } = yield* store(disk.filename)
          yield* submitPair("earlier", some)
          yield* disk.fill
          const group = [
            submitPair("a", some),
            submitStatement("b", some),
            submitPair("c", some),
            submitPair("again", some, { retryable: true })
          ].map((write) => Effect.flip(write))
          const errors = yield* Effect.all(group, { concurrency: "unbounded" })
          for (const error of errors) expect(error).toMatchObject(full(disk.filename))
          // Only what may run again did, and only once more.
          expect(runs).toEqual(["earlier", "a", "c", "again", "again"])
          expect(yield* rows).toEqual(["earlier.0", "earlier.1"])

          yield* disk.free
          yield* Effect.all([submitPair("d", some), submitStatement("e", some)], { concurrency: "unbounded" })
          expect(yield* rows).toEqual(["d.0", "d.1", "e.0", "earlier.0", "earlier.1"])
        }))
        expect(readFresh(disk.filename)).toEqual(["d.0", "d.1", "e.0", "earlier.0", "earlier.1"])
      })
  )

  it.scopedLive("keeps who tries again waiting no longer than it is full", () =>
    Effect.gen(function*() {
      const disk = yield* smallDisk
      const { rows, runs, submitPair } = yield* store(disk.filename)
      yield* disk.fill
      const fiber = yield* Effect.fork(
        Effect.retry(submitPair("a", some), {
          schedule: Schedule.spaced("5 millis"),
          while: (error) => error._tag === "StoreUnavailable" && error.reason === "full"
        })
      )
      yield* Effect.repeat(Effect.sleep("1 millis"), { until: () => runs.length >= 3 })
      expect(yield* rows).toEqual([])
      yield* disk.free
      yield* Fiber.join(fiber)
      expect(yield* rows).toEqual(["a.0", "a.1"])
    }))

  it.scopedLive(
    "that a statement meets before the commit ends its group; who had not run yet is not concerned",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        yield* Effect.scoped(Effect.gen(function*() {
          const { rows, sql, submitPair, writes } = yield* store(disk.filename)
          yield* submitPair("earlier", some)
          // Without room in memory a statement writes before the commit.
          yield* sql`PRAGMA cache_size = 5`
          yield* disk.fill
          const large = sql`
          WITH RECURSIVE parts (part) AS (SELECT 1 UNION ALL SELECT part + 1 FROM parts WHERE part < 200)
          INSERT INTO rows SELECT 'large', part, zeroblob(3000) FROM parts
        `
          const empty = sql`DELETE FROM rows WHERE id = 'no such'`
          const [before, own, after] = yield* Effect.all(
            [
              Effect.flip(submitPair("a", 100)),
              Effect.flip(writes.submit(large, { name: "large" })),
              // It writes nothing, and so needs no space.
              writes.submit(empty, { name: "empty" })
            ],
            { concurrency: "unbounded" }
          )
          expect(before).toMatchObject(full(disk.filename))
          expect(own).toMatchObject({ _tag: "SqlError", cause: { code: "SQLITE_FULL" } })
          expect(after).toEqual([])
          expect(yield* rows).toEqual(["earlier.0", "earlier.1"])

          yield* disk.free
          yield* submitPair("b", 100)
        }))
        expect(readFresh(disk.filename)).toEqual(["b.0", "b.1", "earlier.0", "earlier.1"])
      })
  )

  it.scopedLive(
    "fails transactions, single statements and checkpoints, each with its error",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        yield* Effect.scoped(Effect.gen(function*() {
          const { insert, pair, rows, sql, store: opened, submitPair, transactions } = yield* store(disk.filename)
          yield* submitPair("earlier", some)
          yield* disk.fill
          expect(yield* Effect.flip(transactions.withTransaction(pair("a", some)))).toMatchObject(full(disk.filename))
          expect(yield* Effect.flip(sql.withTransaction(pair("b", some)))).toMatchObject({
            _tag: "SqlError",
            cause: full(disk.filename)
          })
          expect(yield* Effect.flip(insert("c", 0, some))).toMatchObject({
            _tag: "SqlError",
            cause: { code: "SQLITE_FULL" }
          })
          expect(yield* Effect.flip(opened.checkpoint)).toMatchObject(full(disk.filename))
          expect(yield* rows).toEqual(["earlier.0", "earlier.1"])

          yield* disk.free
          yield* transactions.withTransaction(pair("d", some))
          yield* insert("e", 0, some)
          expect(yield* opened.checkpoint).toMatchObject({ cut: true })
        }))
        expect(readFresh(disk.filename)).toEqual(["d.0", "d.1", "e.0", "earlier.0", "earlier.1"])
      })
  )

  it.scopedLive("fails opening a new file, which works once there is space", () =>
    Effect.gen(function*() {
      const disk = yield* smallDisk
      yield* disk.fill
      const open = Effect.scoped(Layer.build(SqliteStore.layer({ filename: disk.filename })))
      expect(yield* Effect.flip(open)).toMatchObject(full(disk.filename))
      yield* disk.free
      expect(Either.isRight(yield* Effect.either(open))).toBe(true)
    }))

  // The index of the log finds no room, and SQLite has a code of its own for that: SQLITE_IOERR_SHMSIZE.
  it.scopedLive(
    "fails opening a file that was there before, which works once there is space",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        const open = Effect.scoped(Layer.build(SqliteStore.layer({ filename: disk.filename })))
        yield* open
        yield* disk.fill
        const error = yield* Effect.flip(open)
        yield* disk.free
        yield* open
        expect(error).toMatchObject(full(disk.filename))
      })
  )
})

interface Answer {
  readonly id: string
  readonly tag: string
  readonly reason?: string
  readonly code?: string
}

describe.skipIf(process.platform === "win32")("a file that may not grow", () => {
  it.scopedLive(
    "fails every write of the group whose commit needs more, leaves nothing of them, and later writes work",
    () =>
      Effect.gen(function*() {
        const filename = path.join(yield* temporaryDirectory, "limited.db")
        const database = new Database(filename)
        database.exec("CREATE TABLE rows (id TEXT, part INTEGER, data BLOB)")
        database.close()
        // In kilobytes. The write beyond it fails with EFBIG, which SQLite takes for an I/O error.
        const limited = yield* childAfter("trap \"\" XFSZ; ulimit -f 100", "limitedWriter", filename)
        yield* limited.endsWith("0")
        const answers = limited.lines.filter((line) => line.startsWith("{")).map((line): Answer => JSON.parse(line))
        const told = Object.fromEntries(answers.map(({ id, ...answer }) => [id, answer]))
        const refused = { tag: "StoreUnavailable", reason: "io", code: "SQLITE_IOERR_WRITE" }
        expect(told).toEqual({
          before: { tag: "ok" },
          "pair-a": refused,
          "statement-a": refused,
          "pair-b": refused,
          "statement-b": refused,
          "pair-c": refused,
          "statement-c": refused,
          after: { tag: "ok" },
          // Their group was ended by the statement that failed, ...
          small: refused,
          large: { tag: "SqlError", code: "SQLITE_IOERR_WRITE" },
          // ... and this one had not run yet.
          neighbour: { tag: "ok" },
          last: { tag: "ok" }
        })
        expect(readFresh(filename)).toEqual(
          ["after", "before", "last", "neighbour"].flatMap((id) => [`${id}.0`, `${id}.1`])
        )
      })
  )
})

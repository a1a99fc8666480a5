/**
 * What can stop a file from being opened, and how one that is open has been set up.
 */
import { SqliteClient } from "@effect/sql-sqlite-node"
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore } from "@sluice/sql"
import Database from "better-sqlite3"
import { Context, Effect, Exit, Fiber, Layer, type Scope } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { foreignLock, temporaryDirectory, ticking } from "./children/spawn.ts"

const inDirectory = (name: string) => Effect.map(temporaryDirectory, (directory) => path.join(directory, name))

/** Opens and closes. The error is that of the layer, and a defect is none. */
const open = (options: SqliteStore.Options) => Effect.scoped(Layer.build(SqliteStore.layer(options)))

const unavailable = (store: string, reason: string) => ({ _tag: "StoreUnavailable", store, reason })

const edit = <A>(filename: string, use: (database: Database.Database) => A) =>
  Effect.sync(() => {
    const database = new Database(filename)
    try {
      return use(database)
    } finally {
      database.close()
    }
  })

/** A file with a table and some pages. */
const database = Effect.tap(inDirectory("some.db"), (filename) =>
  edit(filename, (database) => {
    database.exec("CREATE TABLE rows (id TEXT)")
    for (let i = 0; i < 100; i++) database.prepare("INSERT INTO rows VALUES (?)").run("x".repeat(1000))
  }))

/** Writes over a part of a file. */
const overwrite = (filename: string, from: number, to: number) =>
  Effect.sync(() => {
    const file = fs.openSync(filename, "r+")
    fs.writeSync(file, Buffer.alloc(to - from, 0xA5), 0, to - from, from)
    fs.closeSync(file)
  })

const isRoot = process.geteuid?.() === 0
// In a thread one cannot become somebody else, and elsewhere only root can.
const canBeRefused = process.geteuid !== undefined && (!isRoot || process.seteuid !== undefined)

/** Permissions say nothing to root, so it becomes nobody meanwhile. */
const asNobody: Effect.Effect<void, never, Scope.Scope> = isRoot
  ? Effect.acquireRelease(
    Effect.sync(() => process.seteuid!(65534)),
    () => Effect.sync(() => process.seteuid!(0))
  )
  : Effect.void

const openAsNobody = (options: SqliteStore.Options) => Effect.scoped(Effect.zipRight(asNobody, open(options)))

/** Sets permissions, and lets the directory be removed again. */
const permit = (filename: string, mode: number) =>
  Effect.acquireRelease(
    Effect.sync(() => fs.chmodSync(filename, mode)),
    () => Effect.sync(() => fs.chmodSync(filename, 0o700))
  )

describe("a file that cannot be opened fails the layer with its path and the reason", () => {
  it.scopedLive("where its directory is missing", () =>
    Effect.gen(function*() {
      const filename = yield* inDirectory("missing/some.db")
      expect(yield* Effect.flip(open({ filename }))).toMatchObject(unavailable(filename, "missing-directory"))
    }))

  it.scopedLive("where it is a directory", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryDirectory
      expect(yield* Effect.flip(open({ filename }))).toMatchObject(unavailable(filename, "cannot-open"))
    }))

  it.scopedLive("where it is no database, and leaves it as it is", () =>
    Effect.gen(function*() {
      const filename = yield* inDirectory("notes.txt")
      const text = "what somebody wrote down, and would like to keep\n".repeat(100)
      yield* Effect.sync(() => fs.writeFileSync(filename, text))
      expect(yield* Effect.flip(open({ filename }))).toMatchObject(unavailable(filename, "not-a-database"))
      expect(fs.readFileSync(filename, "utf8")).toBe(text)
    }))

  it.scopedLive("where the schema is damaged", () =>
    Effect.gen(function*() {
      const filename = yield* database
      // Behind the header of the file comes the first page of the schema.
      yield* overwrite(filename, 100, 4096)
      expect(yield* Effect.flip(open({ filename }))).toMatchObject(unavailable(filename, "corrupt"))
    }))

  it.scopedLive("where its end is missing", () =>
    Effect.gen(function*() {
      const filename = yield* database
      yield* Effect.sync(() => fs.truncateSync(filename, 3 * 4096))
      expect(yield* Effect.flip(open({ filename }))).toMatchObject(unavailable(filename, "corrupt"))
    }))

  it.scopedLive.skipIf(!canBeRefused)("where it may only be read", () =>
    Effect.gen(function*() {
      const filename = yield* database
      yield* permit(path.dirname(filename), 0o777)
      yield* permit(filename, 0o444)
      expect(yield* Effect.flip(openAsNobody({ filename }))).toMatchObject(unavailable(filename, "read-only"))
    }))

  // SQLite finds out at the first page that is written: BEGIN IMMEDIATE alone succeeds.
  it.scopedLive.skipIf(!canBeRefused)(
    "where it may only be read, and has a log that is written ahead",
    () =>
      Effect.gen(function*() {
        const filename = yield* database
        yield* edit(filename, (database) => database.pragma("journal_mode = WAL"))
        yield* permit(path.dirname(filename), 0o777)
        yield* permit(filename, 0o444)
        expect(yield* Effect.flip(openAsNobody({ filename }))).toMatchObject(unavailable(filename, "read-only"))
      })
  )

  it.scopedLive.skipIf(!canBeRefused)(
    "where its directory may only be read, and so has no room for a log",
    () =>
      Effect.gen(function*() {
        const filename = yield* database
        yield* edit(filename, (database) => database.pragma("journal_mode = WAL"))
        yield* permit(path.dirname(filename), 0o555)
        yield* permit(filename, 0o666)
        expect(yield* Effect.flip(openAsNobody({ filename }))).toMatchObject(unavailable(filename, "read-only"))
      })
  )

  it.scopedLive.skipIf(!canBeRefused)("where it may not be read", () =>
    Effect.gen(function*() {
      const filename = yield* database
      yield* permit(path.dirname(filename), 0o755)
      yield* permit(filename, 0)
      expect(yield* Effect.flip(openAsNobody({ filename }))).toMatchObject(unavailable(filename, "cannot-open"))
    }))

  it.scopedLive.skipIf(!canBeRefused)("where it may not be made", () =>
    Effect.gen(function*() {
      const filename = yield* inDirectory("some.db")
      yield* permit(path.dirname(filename), 0o555)
      expect(yield* Effect.flip(openAsNobody({ filename }))).toMatchObject(unavailable(filename, "cannot-open"))
      expect(fs.existsSync(filename)).toBe(false)
    }))

  const locks: ReadonlyArray<readonly [what: string, statements: ReadonlyArray<string>]> = [
    ["writes", ["PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE"]],
    ["lets nobody read", ["PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE"]],
    ["keeps the file to itself", ["PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", "BEGIN EXCLUSIVE"]]
  ]
  for (const [what, statements] of locks) {
    it.scopedLive(`where a foreign process ${what} for longer than busyTimeout`, () =>
      Effect.gen(function*() {
        const filename = yield* database
        yield* foreignLock(filename, ...statements)
        expect(yield* Effect.flip(open({ filename, busyTimeout: 100 }))).toMatchObject(unavailable(filename, "locked"))
      }))

    it.scopedLive(
      `but not where a foreign process ${what} for less than busyTimeout: that stops no timer`,
      () =>
        Effect.gen(function*() {
          const filename = yield* database
          const lock = yield* foreignLock(filename, ...statements)
          const timer = yield* ticking(20)
          const fiber = yield* Effect.fork(Effect.exit(open({ filename, busyTimeout: "1 hour" })))
          yield* timer.ticks(50)
          expect(yield* Fiber.poll(fiber)).toMatchObject({ _tag: "None" })
          yield* lock.say("release")
          expect(Exit.isSuccess(yield* Fiber.join(fiber))).toBe(true)
        })
    )
  }
})

describe("an option that makes no sense is named, before anything is opened", () => {
  const cases: ReadonlyArray<readonly [field: string, what: string, options: Partial<SqliteStore.Options>]> = [
    ["filename", "empty", { filename: "" }],
    ["filename", "blank", { filename: "  " }],
    // The driver would take what follows for parameters, or cut it off.
    ["filename", "with a question mark", { filename: "some.db?mode=ro" }],
    ["filename", "with a zero byte", { filename: "some.db\0" }],
    ["busyTimeout", "negative", { busyTimeout: -1 }],
    ["busyTimeout", "no number", { busyTimeout: NaN }],
    ["checkpointInterval", "zero", { checkpointInterval: 0 }],
    ["checkpointInterval", "negative", { checkpointInterval: -1 }],
    ["prepareCacheSize", "zero", { prepareCacheSize: 0 }],
    ["prepareCacheSize", "no integer", { prepareCacheSize: 1.5 }]
  ]
  it.scopedLive.each(cases)("%s: %s", ([field, , options]) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const filename = options.filename === undefined
        ? path.join(directory, "some.db")
        : options.filename.replace("some.db", path.join(directory, "some.db"))
      expect(yield* Effect.flip(open({ ...options, filename }))).toMatchObject({
        _tag: "InvalidOption",
        queue: "SqliteStore",
        field
      })
      expect(fs.readdirSync(directory)).toEqual([])
    }))
})

/** What a layer's connection for writing says of itself. */
const pragma = (name: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql.unsafe<Record<string, unknown>>(`PRAGMA ${name}`)
    return Object.values(row)[0]
  })

const write = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS rows (id TEXT)`
  yield* sql`INSERT INTO rows VALUES ('some')`
})

const full = 2
const normal = 1

describe("a file that is open", () => {
  it.scopedLive("waits for the disk after every write and every reopening, where the stock layer soon no longer does", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const synchronous = pragma("synchronous")
      const threeTimes = Effect.all([synchronous, Effect.zipRight(write, synchronous)])
      const stock = SqliteClient.layer({ filename: path.join(directory, "stock.db") })
      expect(yield* Effect.provide(threeTimes, stock)).toEqual([full, normal])
      expect(yield* Effect.provide(threeTimes, stock)).toEqual([normal, normal])
      const ours = SqliteStore.layer({ filename: path.join(directory, "ours.db") })
      expect(yield* Effect.provide(threeTimes, ours)).toEqual([full, full])
      expect(yield* Effect.provide(threeTimes, ours)).toEqual([full, full])
    }))

  it.scopedLive("leaves it to the system when to write, where it need not be durable", () =>
    Effect.gen(function*() {
      const filename = yield* inDirectory("some.db")
      const both = Effect.all([
        Effect.map(SqliteStore.SqliteStore, ({ durable }) => durable),
        pragma("synchronous"),
        Effect.zipRight(write, pragma("synchronous"))
      ])
      expect(yield* Effect.provide(both, SqliteStore.layer({ filename, durable: false }))).toEqual([
        false,
        normal,
        normal
      ])
      expect(yield* Effect.provide(both, SqliteStore.layer({ filename }))).toEqual([true, full, full])
    }))

  it.scopedLive("has a log that is written ahead", () =>
    Effect.gen(function*() {
      const filename = yield* database
      const before = yield* edit(filename, (database) => database.pragma("journal_mode", { simple: true }))
      expect(before).toBe("delete")
      expect(yield* Effect.provide(pragma("journal_mode"), SqliteStore.layer({ filename }))).toBe("wal")
    }))

  it.scopedLive("leaves nothing beside the file when it is closed", () =>
    Effect.gen(function*() {
      const filename = yield* inDirectory("some.db")
      const whileOpen = Effect.zipRight(write, Effect.sync(() => fs.readdirSync(path.dirname(filename)).sort()))
      expect(yield* Effect.provide(whileOpen, SqliteStore.layer({ filename }))).toEqual([
        "some.db",
        "some.db-shm",
        "some.db-wal"
      ])
      expect(fs.readdirSync(path.dirname(filename))).toEqual(["some.db"])
      // What was in the log is in the file.
      expect(yield* edit(filename, (database) => database.prepare("SELECT id FROM rows").all())).toEqual([{
        id: "some"
      }])
    }))

  it.scopedLive("is another one each time in memory, and ends with its layer", () =>
    Effect.gen(function*() {
      const filesBefore = fs.readdirSync(".")
      const use = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE rows (id TEXT)`
        yield* sql.withTransaction(sql`INSERT INTO rows VALUES ('some')`)
        const store = yield* SqliteStore.SqliteStore
        return [store.persistent, yield* sql`SELECT id FROM rows`]
      })
      const layer = Layer.fresh(SqliteStore.layer({ filename: ":memory:" }))
      const first = yield* Layer.build(layer)
      expect(yield* Effect.provide(use, first)).toEqual([false, [{ id: "some" }]])
      expect(yield* Effect.provide(use, layer)).toEqual([false, [{ id: "some" }]])
      expect(yield* Context.get(first, SqlClient.SqlClient)`SELECT id FROM rows`).toEqual([{ id: "some" }])
      expect(fs.readdirSync(".")).toEqual(filesBefore)
    }))

  const descriptors = "/proc/self/fd"
  it.scopedLive.skipIf(!fs.existsSync(descriptors))(
    "is closed for good: 200 times, and 200 that fail, leak nothing",
    () =>
      Effect.gen(function*() {
        const filename = yield* inDirectory("some.db")
        const notes = path.join(path.dirname(filename), "notes.txt")
        yield* Effect.sync(() => fs.writeFileSync(notes, "no database ".repeat(100)))
        const openFiles = Effect.sync(() =>
          fs.readdirSync(descriptors).filter((descriptor) => {
            try {
              return fs.readlinkSync(path.join(descriptors, descriptor)).startsWith(path.dirname(filename))
            } catch {
              // That of the listing itself.
              return false
            }
          }).length
        )
        const use = Effect.zipRight(write, openFiles)
        // The log, its index, and the file twice: the count sees them.
        expect(yield* Effect.provide(use, SqliteStore.layer({ filename }))).toBeGreaterThanOrEqual(4)
        for (let i = 0; i < 200; i++) {
          yield* Effect.provide(write, SqliteStore.layer({ filename }))
          yield* Effect.flip(open({ filename: notes }))
        }
        expect(yield* openFiles).toBe(0)
      })
  )
})

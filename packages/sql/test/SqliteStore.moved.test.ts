/**
 * Files that are deleted, replaced or renamed while they are open.
 */
import { describe, expect, it } from "@effect/vitest"
import { SqlError } from "@effect/sql"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Context, Effect, Exit, Fiber, Layer, TestClock } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { add, pending, store, take, takeNumbers } from "./batchStores.ts"
import { temporaryFile } from "./database.ts"
import { openQueue } from "./openQueue.ts"

const moved = (store: string) => ({ _tag: "StoreUnavailable", store, reason: "moved" })

/** From now on it is looked at again. */
const later = TestClock.adjust("1 second")

/** A store with a table and a coordinator. */
const opened = (options?: Partial<SqliteStore.Options>) =>
  Effect.gen(function*() {
    const opened = yield* store(options)
    yield* opened.sql`CREATE TABLE t (v TEXT)`
    const writes = yield* Effect.provide(WriteCoordinator.make({ name: "writes" }), opened.context)
    const insert = opened.sql`INSERT INTO t VALUES ('x')`
    return { ...opened, writes, insert }
  })

const ways: ReadonlyArray<readonly [string, (filename: string) => void]> = [
  ["deleted", (filename) => fs.rmSync(filename)],
  ["renamed", (filename) => fs.renameSync(filename, `${filename}.old`)],
  ["replaced", (filename) => {
    fs.copyFileSync(filename, `${filename}.new`)
    fs.renameSync(`${filename}.new`, filename)
  }],
  ["taken away with its directory", (filename) => {
    fs.renameSync(path.dirname(filename), `${path.dirname(filename)}-old`)
    fs.renameSync(`${path.dirname(filename)}-old`, path.join(fs.mkdtempSync(path.dirname(filename)), "old"))
  }],
  ["left without its log", (filename) => fs.rmSync(`${filename}-wal`)],
  ["left without the index of its log", (filename) => fs.rmSync(`${filename}-shm`)]
]

describe("a file that is open is missed within a second, and nothing is told to be stored", () => {
  for (const [title, takeAway] of ways) {
    it.scoped(`where it is ${title}`, () =>
      Effect.gen(function*() {
        const { filename, insert, queue, sql, withTransaction, writes } = yield* opened()
        yield* add(queue, 1, 2)
        const claims = yield* take(queue, 1)
        yield* Effect.sync(() => takeAway(filename))
        yield* later
        const operations: Readonly<Record<string, Effect.Effect<unknown, unknown>>> = {
          append: add(queue, 3),
          claim: take(queue),
          settle: queue.settle(claims),
          extend: queue.extend(claims, { leaseMillis: 1000 }),
          stats: queue.stats,
          list: queue.deadLetters({ filter: {}, limit: 1 }),
          redrive: queue.redrive({ filter: {}, limit: 1 }),
          statement: writes.submit(insert, { name: "statement" }),
          write: writes.submit(Effect.zipRight(insert, insert), { name: "write" }),
          transaction: withTransaction(insert)
        }
        for (const [operation, run] of Object.entries(operations)) {
          expect([operation, yield* Effect.flip(run)]).toMatchObject([operation, moved(filename)])
        }
        for (const run of [insert, sql`SELECT * FROM t`, sql.withTransaction(insert)]) {
          const error = yield* Effect.flip(run)
          expect(error).toBeInstanceOf(SqlError.SqlError)
          expect(error.cause).toMatchObject(moved(filename))
        }
      }))
  }

  it.scoped("where the link to it leads to another one", () =>
    Effect.gen(function*() {
      const real = yield* temporaryFile
      const filename = `${real}.link`
      fs.symlinkSync(real, filename)
      const { queue } = yield* opened({ filename })
      fs.writeFileSync(`${real}.other`, "")
      fs.rmSync(filename)
      fs.symlinkSync(`${real}.other`, filename)
      yield* later
      expect(yield* Effect.flip(add(queue, 1))).toMatchObject(moved(filename))
    }))

  it.scoped("also at the end of what had begun before", () =>
    Effect.gen(function*() {
      const { filename, insert, sql, withTransaction, writes } = yield* opened()
      const takeAway = Effect.zipRight(Effect.sync(() => fs.renameSync(filename, `${filename}.old`)), later)
      const write = Effect.zipRight(insert, takeAway)
      expect(yield* Effect.flip(withTransaction(write))).toMatchObject(moved(filename))
      fs.renameSync(`${filename}.old`, filename)
      yield* later
      expect(yield* Effect.flip(writes.submit(write, { name: "write" }))).toMatchObject(moved(filename))
      fs.renameSync(`${filename}.old`, filename)
      yield* later
      expect(yield* sql`SELECT * FROM t`).toEqual([])
    }))
})

describe("what is told", () => {
  it.scoped("says which file it is, what has happened to it, and what to do", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* opened()
      fs.renameSync(filename, `${filename}.old`)
      yield* later
      const deleted = yield* Effect.flip(add(queue, 1))
      expect(deleted.message).toContain(`${filename} was deleted or renamed while it was open`)
      expect(deleted.message).toContain("Put it back to its place")
      fs.writeFileSync(filename, "")
      yield* later
      expect((yield* Effect.flip(add(queue, 1))).message).toContain(`${filename} was replaced by another file`)
    }))
})

describe("a file that is back at its place", () => {
  it.scoped("is used again, with all that was stored", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* opened()
      yield* add(queue, 1)
      fs.renameSync(filename, `${filename}.old`)
      yield* later
      expect(yield* Effect.flip(add(queue, 2))).toMatchObject(moved(filename))
      fs.renameSync(`${filename}.old`, filename)
      yield* later
      yield* add(queue, 3)
      expect(yield* takeNumbers(queue)).toEqual([1, 3])
    }))

  it.scoped("takes in the offers that have waited for it", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const { queue, told } = yield* openQueue({ filename })
      fs.renameSync(filename, `${filename}.old`)
      yield* later
      const offered = yield* Effect.fork(queue.offerStored("a"))
      const adjustUntil = (isTrue: () => boolean) => Effect.repeat(later, { until: () => isTrue() })
      yield* adjustUntil(() => told.errors.some(({ operation }) => operation === "append"))
      expect(told.errors.every(({ reason }) => reason === "moved")).toBe(true)
      expect(offered.unsafePoll()).toBeNull()
      fs.renameSync(`${filename}.old`, filename)
      yield* adjustUntil(() => offered.unsafePoll() !== null)
      expect(yield* Fiber.join(offered)).toBe("stored")
      yield* adjustUntil(() => told.handled.length > 0)
      expect(told.handled).toEqual(["a"])
    }))
})

describe("it is looked", () => {
  it.scoped("at most once a second, by the clock", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* opened()
      yield* TestClock.adjust("999 millis")
      fs.renameSync(filename, `${filename}.old`)
      yield* add(queue, 1)
      yield* TestClock.adjust("1 millis")
      expect(yield* Effect.flip(add(queue, 2))).toMatchObject(moved(filename))
      fs.renameSync(`${filename}.old`, filename)
      yield* TestClock.adjust("999 millis")
      expect(yield* Effect.flip(add(queue, 3))).toMatchObject(moved(filename))
      yield* TestClock.adjust("1 millis")
      yield* add(queue, 4)
      expect(yield* pending(queue)).toBe(2)
    }))

  it.scoped("also where the clock is set back", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(10_000_000)
      const { filename, queue } = yield* opened()
      fs.rmSync(filename)
      yield* TestClock.setTime(9_000_000)
      expect(yield* Effect.flip(add(queue, 1))).toMatchObject(moved(filename))
    }))

  it.scoped("not at all at a database in memory", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(SqliteStore.layer({ filename: ":memory:" }))
      const writes = yield* Effect.provide(WriteCoordinator.make({ name: "writes" }), context)
      yield* later
      expect(yield* Effect.exit(writes.submit(Effect.succeed(1), { name: "one" }))).toEqual(Exit.succeed(1))
      expect(Context.get(context, SqliteStore.SqliteStore).persistent).toBe(false)
    }))
})

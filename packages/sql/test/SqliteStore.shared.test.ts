/**
 * A file that is opened several times in one process.
 */
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Chunk, Context, Deferred, Effect, Exit, Fiber, Layer, Scope, Stream, TestClock } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { behindOf } from "../src/internal/writer/behind.ts"
import { foreign, temporaryFile } from "./database.ts"

/** Opens it by a build of its own, as another part of an app would. */
const open = (filename: string, options: Partial<SqliteStore.Options> = {}) =>
  Effect.map(Layer.build(SqliteStore.layer({ filename, busyTimeout: 0, ...options })), (context) => {
    const transaction = Context.get(context, SqlTransaction.SqlTransaction)
    return {
      context,
      sql: Context.get(context, SqlClient.SqlClient),
      transactions: behindOf(transaction)!.transactions,
      ...transaction
    }
  })

/** The same until `close` is run. */
const openUntil = (filename: string, options?: Partial<SqliteStore.Options>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const opened = yield* Scope.extend(open(filename, options), scope)
    return { ...opened, close: Scope.close(scope, Exit.void) }
  })

/** Files of SQLite that are there only while somebody has it open. */
const isOpen = (filename: string) => fs.existsSync(`${filename}-wal`)

describe("whoever opens a file that is open", () => {
  it.scoped("waits in one line with the others, and not for their lock", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const [one, other] = [yield* open(filename), yield* open(filename)]
      yield* one.sql`CREATE TABLE t (v TEXT)`
      const writes = yield* Effect.provide(WriteCoordinator.make({ name: "writes" }), other.context)
      const inside = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(one.withTransaction(
        one.sql`INSERT INTO t VALUES ('one')`.pipe(
          Effect.zipRight(Deferred.succeed(inside, undefined)),
          Effect.zipRight(Deferred.await(goOn))
        )
      ))
      yield* Deferred.await(inside)
      // With a lock of somebody else, and a bound of 0, each of these would fail at once.
      const waiting = yield* Effect.forEach([
        writes.submit(other.sql`INSERT INTO t VALUES ('two')`, { name: "two" }),
        other.withTransaction(other.sql`INSERT INTO t VALUES ('three')`),
        other.sql`INSERT INTO t VALUES ('four')`
      ], Effect.fork)
      yield* Effect.yieldNow()
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(holding)
      yield* Effect.forEach(waiting, Fiber.join)
      expect(yield* one.sql`SELECT count(*) AS count FROM t`).toEqual([{ count: 4 }])
    }))

  it.scoped("shares it, however the path is written", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const link = `${filename}.link`
      const folder = `${path.dirname(filename)}-link`
      const one = yield* open(filename)
      fs.symlinkSync(filename, link)
      yield* Effect.acquireRelease(
        Effect.sync(() => fs.symlinkSync(path.dirname(filename), folder)),
        () => Effect.sync(() => fs.rmSync(folder))
      )
      const paths = [
        path.relative(process.cwd(), filename),
        path.join(path.dirname(filename), ".", "x", "..", path.basename(filename)),
        link,
        path.join(folder, path.basename(filename))
      ]
      for (const path of paths) {
        const other = yield* open(path)
        expect(other.transactions).toBe(one.transactions)
        expect(Context.get(other.context, SqliteStore.SqliteStore).filename).toBe(path)
      }
    }))

  it.scoped("shares it also where nobody has made it yet, and all come at once", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const all = yield* Effect.all(Array.from({ length: 8 }, () => open(filename)), { concurrency: "unbounded" })
      expect(new Set(all.map(({ transactions }) => transactions)).size).toBe(1)
    }))

  it.scoped("is in the transaction of another, where it is called inside", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const [one, other] = [yield* open(filename), yield* open(filename)]
      yield* one.sql`CREATE TABLE t (v TEXT)`
      const both = Effect.zipRight(other.sql`INSERT INTO t VALUES ('a')`, Effect.fail("no"))
      expect(yield* Effect.flip(one.withTransaction(other.withTransaction(both)))).toBe("no")
      expect(yield* one.sql`SELECT * FROM t`).toEqual([])
    }))

  it.scoped("has its queries run again by the writes of all", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const [one, other] = [yield* open(filename), yield* open(filename)]
      yield* one.sql`CREATE TABLE t (v TEXT)`
      const writes = yield* Effect.provide(WriteCoordinator.make({ name: "writes" }), one.context)
      const first = yield* Deferred.make<void>()
      const seen = yield* Effect.fork(
        other.sql.reactive(["t"], other.sql<{ count: number }>`SELECT count(*) AS count FROM t`).pipe(
          Stream.tap(() => Deferred.succeed(first, undefined)),
          Stream.take(2),
          Stream.runCollect
        )
      )
      yield* Deferred.await(first)
      yield* writes.submit(one.sql`INSERT INTO t VALUES ('a')`, { name: "a", reactivityKeys: ["t"] })
      expect(Chunk.toReadonlyArray(yield* Fiber.join(seen))).toEqual([[{ count: 0 }], [{ count: 1 }]])
    }))
})

describe("a file that is shared", () => {
  it.scoped("is closed by the last one", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const one = yield* openUntil(filename)
      const other = yield* openUntil(filename)
      yield* one.sql`CREATE TABLE t (v TEXT)`
      yield* one.close
      yield* other.sql`INSERT INTO t VALUES ('a')`
      expect(isOpen(filename)).toBe(true)
      yield* other.close
      expect(isOpen(filename)).toBe(false)
      const again = yield* open(filename)
      expect(again.transactions).not.toBe(other.transactions)
      expect(yield* again.sql`SELECT * FROM t`).toEqual([{ v: "a" }])
    }))

  it.scoped("has the same options for all, and says which one differs", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const lower = (name: string) => name.toLowerCase()
      const options = { durable: false, busyTimeout: "2 seconds", spanAttributes: { app: "a" } } as const
      yield* open(filename, { ...options, transformResultNames: lower })
      // What is the same in other words.
      yield* open(filename, {
        durable: false,
        busyTimeout: 2000,
        checkpointInterval: "60 seconds",
        prepareCacheSize: 200,
        spanAttributes: { app: "a" },
        transformResultNames: lower,
        create: false
      })
      const others: ReadonlyArray<readonly [keyof SqliteStore.Options, Partial<SqliteStore.Options>]> = [
        ["durable", { durable: true }],
        ["busyTimeout", { busyTimeout: "3 seconds" }],
        ["checkpointInterval", { checkpointInterval: "1 hour" }],
        ["prepareCacheSize", { prepareCacheSize: 10 }],
        ["spanAttributes", { spanAttributes: { app: "b" } }],
        ["transformResultNames", { transformResultNames: undefined }],
        ["transformQueryNames", { transformQueryNames: lower }]
      ]
      for (const [field, different] of others) {
        const error = yield* Effect.flip(open(filename, { ...options, transformResultNames: lower, ...different }))
        expect(error).toMatchObject({ _tag: "InvalidOption", queue: "SqliteStore", field })
        expect(error.message).toContain("as where the same file is open in this process already")
      }
    }))

  it.scoped("may be opened otherwise once nobody has it open, also after a refusal in the same scope", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const one = yield* openUntil(filename, { durable: false })
      yield* Effect.flip(open(filename, { durable: true }))
      yield* one.close
      expect(isOpen(filename)).toBe(false)
      yield* open(filename, { durable: true })
    }))

  it.scoped("may be opened again in the same scope after that has failed", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const db = yield* foreign(filename)
      db.exec("BEGIN EXCLUSIVE")
      expect(yield* Effect.flip(open(filename))).toMatchObject({ _tag: "StoreUnavailable", reason: "locked" })
      db.exec("COMMIT")
      yield* open(filename)
    }))

  it.scoped("goes on for the others where the one who opens it is interrupted", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const db = yield* foreign(filename)
      db.exec("BEGIN EXCLUSIVE")
      const opening = Effect.fork(open(filename, { busyTimeout: "1 day" }))
      const one = yield* opening
      yield* Effect.yieldNow()
      const other = yield* opening
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(one)
      db.exec("COMMIT")
      yield* Effect.repeat(TestClock.adjust("1 second"), { until: () => other.unsafePoll() !== null })
      expect(yield* (yield* Fiber.join(other)).sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
    }))

  it.scoped("is another one once it was replaced", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* (yield* open(filename)).sql`CREATE TABLE t (v TEXT)`
      fs.renameSync(filename, `${filename}.old`)
      const { sql } = yield* open(filename)
      expect(yield* sql`SELECT name FROM sqlite_schema`).toEqual([])
    }))

  it.scoped("is never one in memory", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* open(":memory:"), yield* open(":memory:", { durable: false })]
      yield* one.sql`CREATE TABLE t (v TEXT)`
      expect(yield* other.sql`SELECT name FROM sqlite_schema`).toEqual([])
    }))
})

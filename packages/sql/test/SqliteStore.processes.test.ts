/**
 * Processes that share a file, and what their locks do to each other.
 */
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import Database from "better-sqlite3"
import { Context, type Duration, Effect, Fiber, Layer } from "effect"
import * as path from "node:path"
import { child, foreignLock, temporaryDirectory, ticking } from "./children/spawn.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const setup = (options?: { readonly busyTimeout?: Duration.DurationInput }) =>
  Effect.gen(function*() {
    const filename = path.join(yield* temporaryDirectory, "shared.db")
    const layer = WriteCoordinator.layer(Writes, { name: "writes" }).pipe(
      Layer.provideMerge(SqliteStore.layer({ filename, ...options }))
    )
    const context = yield* Layer.build(layer)
    const sql = Context.get(context, SqlClient.SqlClient)
    const writes = Context.get(context, Writes)
    yield* sql`CREATE TABLE rows (id TEXT)`
    const runs: Array<string> = []
    const insert = (id: string) =>
      Effect.zipRight(Effect.sync(() => runs.push(id)), sql`INSERT INTO rows VALUES (${id})`)
    return {
      filename,
      /** What has run, in order, as often as it has. */
      runs,
      sql,
      writes,
      submit: (id: string) => writes.submit(insert(id), { name: id }),
      submitStatement: (id: string) => writes.submit(sql`INSERT INTO rows VALUES (${id})`, { name: id }),
      transaction: (id: string) => sql.withTransaction(insert(id)),
      rows: Effect.map(sql<{ id: string }>`SELECT id FROM rows ORDER BY id`, (rows) => rows.map(({ id }) => id)),
      /** Waits until so many writes wait. */
      untilQueued: (count: number) =>
        Effect.repeat(Effect.zipRight(Effect.sleep("1 millis"), writes.metrics), {
          until: ({ depth }) => depth === count
        })
    }
  })

const ids = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${prefix}-${String(i).padStart(3, "0")}`)

const writeLock = (filename: string) => foreignLock(filename, "BEGIN IMMEDIATE")

describe("processes that share a file", () => {
  it.scopedLive(
    "lose no update when all of them read, look away and write, and none fails",
    () =>
      Effect.gen(function*() {
        const filename = path.join(yield* temporaryDirectory, "shared.db")
        const database = yield* Effect.acquireRelease(
          Effect.sync(() => new Database(filename)),
          (database) => Effect.sync(() => database.close())
        )
        database.exec("CREATE TABLE counter (value INTEGER); INSERT INTO counter VALUES (0)")
        const times = 150
        const children = yield* Effect.forEach(
          ["transactions", "transactions", "coordinator"],
          (through) => child("increments", filename, through, times)
        )
        yield* Effect.forEach(children, (child) => child.heard("open"))
        yield* Effect.forEach(children, (child) => child.say("go"))
        yield* Effect.forEach(children, (child) => child.endsWith("0"))
        expect(database.prepare("SELECT value FROM counter").get()).toEqual({ value: 3 * times })
      })
  )
})

describe("a write lock of a foreign process", () => {
  it.scopedLive(
    "that is held for long stops no timer, and every write that waited for it runs once",
    () =>
      Effect.gen(function*() {
        const { filename, rows, runs, sql, submit, submitStatement, transaction } = yield* setup({
          busyTimeout: "1 hour"
        })
        yield* submit("earlier")
        const lock = yield* writeLock(filename)
        let answered = 0
        const answer = Effect.sync(() => {
          answered += 1
        })
        const fiber = yield* Effect.forkScoped(
          Effect.all(
            [
              ...ids("effect", 20).map(submit),
              ...ids("statement", 20).map(submitStatement),
              ...ids("transaction", 5).map(transaction),
              ...ids("alone", 5).map((id) => sql`INSERT INTO rows VALUES (${id})`)
            ].map((write) => Effect.zipLeft(Effect.asVoid(write), answer)),
            { concurrency: "unbounded", discard: true }
          )
        )
        const timer = yield* ticking(20)
        yield* timer.ticks(100)
        expect(answered).toBe(0)
        // Whoever only reads waits for nobody.
        expect(yield* rows).toEqual(["earlier"])
        yield* lock.say("release")
        yield* Fiber.join(fiber)
        expect(answered).toBe(50)
        const effects = [...ids("effect", 20), ...ids("transaction", 5)]
        expect([...runs].sort()).toEqual(["earlier", ...effects])
        expect(yield* rows).toEqual([...ids("alone", 5), "earlier", ...effects, ...ids("statement", 20)].sort())
      })
  )

  it.scopedLive(
    "that is longer than busyTimeout: each write fails with it, did not run, and the next one works",
    () =>
      Effect.gen(function*() {
        const { filename, rows, runs, sql, submit, submitStatement, transaction } = yield* setup({ busyTimeout: 200 })
        const lock = yield* writeLock(filename)
        const locked = { _tag: "StoreUnavailable", store: filename, reason: "locked" }
        const [first, second] = yield* Effect.all([Effect.flip(submit("a")), Effect.flip(submitStatement("b"))], {
          concurrency: 2
        })
        expect(first).toMatchObject(locked)
        expect(second).toMatchObject(locked)
        // Those who only know SqlClient find it as the cause.
        const failed = { _tag: "SqlError", cause: locked }
        expect(yield* Effect.flip(transaction("c"))).toMatchObject(failed)
        expect(yield* Effect.flip(sql`INSERT INTO rows VALUES (${"d"})`)).toMatchObject(failed)
        expect(runs).toEqual([])
        expect(yield* rows).toEqual([])

        yield* lock.say("release")
        yield* lock.heard("released")
        yield* submit("e")
        yield* transaction("f")
        expect(runs).toEqual(["e", "f"])
        expect(yield* rows).toEqual(["e", "f"])
      })
  )

  it.scopedLive(
    "is waited for by writes that can be interrupted meanwhile: those do not run, and the others do",
    () =>
      Effect.gen(function*() {
        const { filename, rows, runs, submit, submitStatement, transaction, untilQueued, writes } = yield* setup()
        const lock = yield* writeLock(filename)
        const first = yield* Effect.fork(submit("a"))
        const second = yield* Effect.fork(submit("b"))
        const third = yield* Effect.fork(submitStatement("c"))
        const fourth = yield* Effect.fork(transaction("d"))
        const fifth = yield* Effect.fork(submit("e"))
        yield* untilQueued(4)
        // These would not come back if the interruption waited for the lock.
        yield* Fiber.interruptAll([second, third, fourth])
        expect(yield* writes.metrics).toMatchObject({ offered: 4, cancelled: 2, depth: 2, inFlight: 0 })
        expect(runs).toEqual([])

        yield* lock.say("release")
        yield* Fiber.joinAll([first, fifth])
        expect(runs).toEqual(["a", "e"])
        expect(yield* rows).toEqual(["a", "e"])
      })
  )

  it.scopedLive(
    "is waited for by writes of which none is left when it goes: nothing runs, and the next write works",
    () =>
      Effect.gen(function*() {
        const { filename, rows, submit, transaction, untilQueued } = yield* setup()
        const lock = yield* writeLock(filename)
        const fibers = yield* Effect.forEach(["a", "b"], (id) => Effect.fork(submit(id)))
        yield* untilQueued(2)
        yield* Fiber.interruptAll(fibers)
        yield* lock.say("release")
        // It comes after the coordinator, which still waits for the lock, though for nobody.
        yield* transaction("c")
        yield* submit("d")
        expect(yield* rows).toEqual(["c", "d"])
      })
  )

  it.scopedLive("goes with the process, also when that is killed", () =>
    Effect.gen(function*() {
      const { filename, rows, submit, untilQueued } = yield* setup()
      const lock = yield* foreignLock(filename, "BEGIN IMMEDIATE", "INSERT INTO rows VALUES ('foreign')")
      const fiber = yield* Effect.fork(submit("a"))
      yield* untilQueued(1)
      lock.unsafeKill()
      yield* Fiber.join(fiber)
      expect(yield* rows).toEqual(["a"])
    }))
})

/**
 * What the store of batches owes to being in a SQL database: files, other processes, groups.
 */
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import type { StoreUnavailable } from "@sluice/core/QueueError"
import { SqlBatchStore } from "@sluice/sql"
import type Database from "better-sqlite3"
import { Clock, Deferred, Effect, Exit, Fiber, Schedule, Scope } from "effect"
import { add, batch, failure, pending, store, take, takeNumbers } from "./batchStores.ts"
import { foreignLock, ticking } from "./children/spawn.ts"
import { foreign, tagOf, temporaryFile } from "./database.ts"

describe("a file", () => {
  it.scopedLive("keeps everything over a reopening", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.scoped(Effect.gen(function*() {
        const { batches, queue } = yield* store({ filename })
        expect([batches.name, batches.persistent]).toEqual([filename, true])
        yield* queue.append({ batches: [batch(1, { ids: ["a"] }), batch(2), batch(3)], idWindowMillis: 60_000 })
        const [first, second] = yield* take(queue, 2)
        yield* queue.deadLetter([first], { reason: "some", failure })
        yield* queue.release([second], { failure })
      }))
      const { queue } = yield* store({ filename })
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 2 }, dead: { batches: 1 } })
      expect(yield* queue.deadLetters({ filter: {}, limit: 9 })).toMatchObject([{
        reason: "some",
        error: failure.error
      }])
      expect(yield* queue.append({ batches: [batch(4, { ids: ["a"] })], idWindowMillis: 60_000 })).toEqual({
        appended: 0,
        duplicates: ["a"]
      })
      expect(yield* take(queue)).toMatchObject([{ deliveries: 1, token: 1 }])
      expect(yield* take(queue)).toMatchObject([{ deliveries: 2, attempts: 1, token: 2 }])
    }))

  it.scopedLive("has room for stores of several prefixes", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* store()
      const other = yield* Effect.provide(SqlBatchStore.make({ prefix: "other" }), context)
      const elsewhere = yield* other.queue("orders")
      yield* add(queue, 1)
      expect(yield* pending(elsewhere)).toBe(0)
      yield* add(elsewhere, 2)
      expect(yield* takeNumbers(queue)).toEqual([1])
      expect(yield* takeNumbers(elsewhere)).toEqual([2])
    }))

  it.scopedLive("gives no batch to two of those who have it open", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const both = yield* Effect.all([store({ filename }), store({ filename })], { concurrency: "unbounded" })
      const count = 200
      yield* add(both[0].queue, ...Array.from({ length: count }, (_, n) => n))
      const worker = ({ queue }: (typeof both)[number]) =>
        Effect.gen(function*() {
          const taken: Array<number> = []
          let settle: ReadonlyArray<BatchStore.Claim> = []
          while (true) {
            const claimed = yield* queue.claim({ limit: 3, leaseMillis: 60_000, settle })
            expect(claimed.lost).toEqual([])
            if (claimed.batches.length === 0) return taken
            taken.push(...claimed.batches.map(({ payload }) => payload[0]))
            settle = claimed.batches
            yield* Effect.yieldNow()
          }
        })
      const taken = yield* Effect.forEach([...both, ...both, ...both], worker, { concurrency: "unbounded" })
      expect(taken.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, n) => n))
      expect(yield* both[1].queue.stats).toMatchObject({ pending: { batches: 0, items: 0 } })
    }))

  it.scopedLive("that several open at once for the first time is made once", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const opened = yield* Effect.all(Array.from({ length: 3 }, () => store({ filename })), {
        concurrency: "unbounded"
      })
      for (const { queue } of opened) yield* add(queue, 1)
      const db = yield* foreign(filename)
      expect(db.prepare("SELECT migration_id, name FROM sluice_migrations").all()).toEqual([
        { migration_id: 1, name: "batches" },
        { migration_id: 2, name: "returns" }
      ])
      expect(yield* pending(opened[0].queue)).toBe(3)
    }))

  it.scopedLive("has integers wherever there are numbers", () =>
    Effect.gen(function*() {
      const { filename, queue, withTransaction } = yield* store()
      yield* queue.append({ batches: [batch(1, { ids: ["a"], oldestAtMillis: 5.5 }), batch(2)], maxPendingItems: 9 })
      yield* queue.append({ batches: [batch(3, { ids: ["b"] }), batch(4)], idWindowMillis: 7 })
      const [first, second] = yield* take(queue, 2)
      yield* queue.extend([first], { leaseMillis: 0.5, failure: { ...failure, failedAtMillis: 1.5 } })
      yield* queue.deadLetter([second], { reason: "some", failure })
      yield* withTransaction(queue.release([first], { delayMillis: 1000.5 }))
      const db = yield* foreign(filename)
      for (const table of ["queues", "batches", "resting", "dead", "ids"]) {
        const rows = db.prepare(`SELECT * FROM sluice_${table}`).all() as Array<Record<string, unknown>>
        for (const column of Object.keys(rows[0])) {
          const types = db.prepare(`SELECT DISTINCT typeof(${column}) AS type FROM sluice_${table}`).pluck().all()
          expect([table, column, types]).toEqual([
            table,
            column,
            [
              column === "payload"
                ? "blob"
                : ["name", "id", "error", "reason"].includes(column) && typeof rows[0][column] === "string"
                ? "text"
                : "integer"
            ]
          ])
        }
      }
    }))

  it.scopedLive("takes a clock that tells fractions", () =>
    Effect.gen(function*() {
      const { queue } = yield* store()
      yield* queue.append({ batches: [batch(1, { ids: ["a"] })], idWindowMillis: 10 })
      yield* queue.deadLetter(yield* take(queue), { reason: "some", failure })
      expect(yield* queue.deadLetters({ filter: {}, limit: 1 })).toMatchObject([{ diedAtMillis: 7 }])
    }).pipe(Effect.withClock(
      Object.assign(Object.create(Clock.make()), {
        currentTimeMillis: Effect.succeed(7.5),
        unsafeCurrentTimeMillis: () => 7.5
      })
    )))

  it.scopedLive("shows no dead letters of another queue", () =>
    Effect.gen(function*() {
      const { batches, queue } = yield* store()
      yield* add(queue, 1)
      yield* queue.deadLetter(yield* take(queue), { reason: "some", failure })
      const other = yield* batches.queue("other")
      for (const after of [-1, -(2 ** 40), -Infinity]) {
        expect(yield* other.deadLetters({ filter: {}, limit: 9, after })).toEqual([])
        expect(yield* queue.deadLetters({ filter: {}, limit: 9, after })).toHaveLength(1)
      }
    }))

  it.scopedLive("forgets ids whose window is over, a little with every append", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* store()
      const append = (n: number) =>
        queue.append({
          batches: [batch(1, { ids: Array.from({ length: 50 }, (_, i) => `${n}.${i}`) })],
          idWindowMillis: 2
        })
      for (let n = 0; n < 40; n++) yield* Effect.zipRight(append(n), Effect.sleep("2 millis"))
      const db = yield* foreign(filename)
      expect(db.prepare("SELECT count(*) FROM sluice_ids").pluck().get()).toBeLessThanOrEqual(200)
    }))

  it.scopedLive("gives out no sequence beyond those of its queue", () =>
    Effect.gen(function*() {
      const { queue, sql } = yield* store()
      yield* add(queue, 1)
      const last = 2 ** 40 - 1
      yield* sql`UPDATE sluice_queues SET next_place = ${last}`
      yield* add(queue, 2)
      expect(yield* Effect.flip(add(queue, 3))).toMatchObject({ _tag: "StoreUnavailable", reason: "failed" })
      expect(yield* Effect.flip(queue.append({ batches: [batch(4), batch(5)] }))).toMatchObject({ reason: "failed" })
      const taken = yield* take(queue)
      expect(taken[1].sequence).toBe(last)
      yield* queue.settle(taken)
      expect(yield* pending(queue)).toBe(0)
    }))

  it.scopedLive("keeps odd names, errors and leases, and the caller's safe integers out", () =>
    Effect.gen(function*() {
      const { batches } = yield* store()
      for (const name of ["", "'; DROP TABLE sluice_batches; --", "\"", "é", "e\u0301", "😀", "__proto__", "%"]) {
        const queue = yield* batches.queue(name)
        yield* Effect.provideService(
          Effect.gen(function*() {
            yield* add(queue, 1)
            const [claimed] = (yield* queue.claim({ limit: 1, leaseMillis: Infinity })).batches
            expect([claimed.sequence, claimed.token, claimed.deliveries].map((n) => typeof n)).toEqual([
              "number",
              "number",
              "number"
            ])
            const error = `\0 \ud800 ${"😀".repeat(5000)}`
            yield* queue.deadLetter([claimed], { reason: "\ud800", failure: { ...failure, error } })
            const [letter] = yield* queue.deadLetters({ filter: {}, limit: 2 })
            expect(letter.error.startsWith("\ufffd \ufffd 😀")).toBe(true)
            expect(letter.error.length).toBe(4096)
            expect(letter.reason).toBe("\ufffd")
            expect(typeof (yield* queue.stats).dead.items).toBe("number")
          }),
          SqlClient.SafeIntegers,
          true
        )
      }
      for (const name of ["\0", "\ud800"]) {
        expect(yield* Effect.flip(batches.queue(name))).toMatchObject({ _tag: "StoreUnavailable", reason: "failed" })
      }
      const queue = yield* batches.queue("ids")
      expect(yield* Effect.flip(queue.append({ batches: [batch(1, { ids: ["\ud800"] })] }))).toMatchObject({
        _tag: "StoreUnavailable"
      })
    }))
})

describe("what cannot be done fails with its reason", () => {
  const prefixes = ["", "1a", "a-b", "a b", "a;", "é", "a".repeat(33)]
  it.scopedLive.each(prefixes)("a prefix like %j", (prefix) =>
    Effect.gen(function*() {
      expect(yield* Effect.flip(store({}, prefix))).toMatchObject({
        _tag: "InvalidOption",
        queue: "SqlBatchStore",
        field: "prefix"
      })
    }))

  it.scopedLive("a table that is missing, and only that", () =>
    Effect.gen(function*() {
      const { batches, queue, sql } = yield* store()
      yield* sql`DROP TABLE sluice_dead`
      yield* add(queue, 1)
      for (
        const run of [
          queue.inspect(1),
          queue.deadLetters({ filter: {}, limit: 1 }),
          queue.redrive({ filter: {}, limit: 1 })
        ]
      ) {
        expect(yield* Effect.flip(Effect.asVoid(run as Effect.Effect<unknown, unknown>))).toMatchObject({
          _tag: "StoreUnavailable",
          reason: "failed",
          cause: { code: "SQLITE_ERROR" }
        })
      }
      yield* sql`DROP TABLE sluice_queues`
      expect(yield* Effect.flip(batches.queue("another"))).toMatchObject({ _tag: "StoreUnavailable" })
      expect(yield* Effect.flip(queue.stats)).toMatchObject({ _tag: "StoreUnavailable" })
    }))

  it.scopedLive("a schema that somebody else has begun", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const db = yield* foreign(filename)
      db.exec("CREATE TABLE sluice_batches (id)")
      expect(yield* Effect.flip(store({ filename }))).toMatchObject({ _tag: "StoreUnavailable", reason: "failed" })
      expect(db.prepare("SELECT name FROM sqlite_schema WHERE name LIKE '%queues'").all()).toEqual([])
      db.exec("DROP TABLE sluice_batches")
      yield* store({ filename })
    }))

  it.scopedLive("an operation of a group fails alone", () =>
    Effect.gen(function*() {
      const { queue } = yield* store()
      const exits = yield* Effect.forEach(
        [1, 2, 3, 4, 5],
        (n) => Effect.exit(queue.append({ batches: [batch(n, { items: n === 3 ? Number.NaN : 1 }), batch(n)] })),
        { concurrency: "unbounded" }
      )
      expect(exits.map(tagOf)).toEqual(["success", "success", "StoreUnavailable", "success", "success"])
      expect(yield* takeNumbers(queue)).toEqual([1, 1, 2, 2, 4, 4, 5, 5])
    }))

  it.scopedLive("a store that is closed", () =>
    Effect.gen(function*() {
      const { batches, queue } = yield* Effect.scoped(store())
      for (const run of [add(queue, 1), take(queue), queue.stats, batches.queue("b")]) {
        expect(yield* Effect.flip(Effect.asVoid(run as Effect.Effect<unknown, unknown>))).toMatchObject({
          _tag: "StoreUnavailable",
          reason: "closed"
        })
      }
    }))
})

describe("operations that wait at the same time", () => {
  /** How often the file has been committed to, as somebody else sees it. */
  const commits = (db: Database.Database) => db.pragma("data_version", { simple: true }) as number

  it.scopedLive("share one commit", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* store()
      yield* add(queue, 1, 2, 3)
      const claims = yield* take(queue, 3)
      const db = yield* foreign(filename)
      const before = db.prepare("SELECT count(*) FROM sluice_batches").pluck().get()
      const frames = () => db.pragma("wal_checkpoint(PASSIVE)") as Array<{ log: number }>
      yield* Effect.sync(frames)
      const version = commits(db)
      yield* Effect.all([
        ...Array.from({ length: 100 }, (_, n) => add(queue, n)),
        queue.settle(claims.slice(0, 1)),
        queue.extend(claims.slice(1), { leaseMillis: 5 }),
        queue.append({ batches: [batch(1), batch(2)] })
      ], { concurrency: "unbounded", discard: true })
      expect(commits(db)).toBe(version + 1)
      expect(before).toBe(3)
      expect(yield* pending(queue)).toBe(104)
    }))

  it.scopedLive("answer in the order asked, each with its own", () =>
    Effect.gen(function*() {
      const { queue } = yield* store()
      const answers = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, n) => n),
        (n) => queue.append({ batches: [batch(n)], maxPendingItems: 20 }),
        { concurrency: "unbounded" }
      )
      expect(answers.map(({ appended }) => appended)).toEqual(Array.from({ length: 30 }, (_, n) => n < 20 ? 1 : 0))
    }))

  it.scopedLive("can be taken back until they begin", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const inside = yield* Deferred.make<void>()
      const done = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(
        withTransaction(Effect.zipRight(Deferred.succeed(inside, undefined), Deferred.await(done)))
      )
      yield* Deferred.await(inside)
      const alone = yield* Effect.fork(add(queue, 1))
      yield* Effect.sleep("2 millis")
      const fibers = yield* Effect.forEach([2, 3, 4], (n) => Effect.fork(add(queue, n)))
      yield* Effect.sleep("2 millis")
      expect(tagOf(yield* Fiber.interrupt(alone))).toBe("interrupted")
      expect(tagOf(yield* Fiber.interrupt(fibers[1]))).toBe("interrupted")
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(holder)
      yield* Fiber.join(fibers[0])
      yield* Fiber.join(fibers[2])
      expect(yield* takeNumbers(queue)).toEqual([2, 4])
    }))

  it.scopedLive("are done, or not at all, whenever they are interrupted", () =>
    Effect.gen(function*() {
      const { queue } = yield* store()
      let answered = 0
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        (n) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.fork(Effect.tap(add(queue, n % 256), () => {
              answered += 1
            }))
            for (let i = 0; i < n % 7; i++) yield* Effect.yieldNow()
            yield* Fiber.interrupt(fiber)
          }),
        { concurrency: 10 }
      )
      expect(yield* pending(queue)).toBeGreaterThanOrEqual(answered)
      expect(yield* Effect.map(take(queue, 300), ({ length }) => length)).toBeLessThanOrEqual(200)
    }))

  it.scopedLive("are done, or refused and not done, where the store is closed meanwhile", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const fibers = yield* Effect.scoped(Effect.gen(function*() {
        const { queue } = yield* store({ filename })
        return yield* Effect.forEach(
          [1, 2, 3],
          (n) => Effect.zipLeft(Effect.forkDaemon(Effect.as(add(queue, n), n)), Effect.yieldNow())
        )
      }))
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      for (const exit of exits) {
        if (Exit.isFailure(exit)) expect(yield* Effect.flip(exit)).toMatchObject({ reason: "closed" })
      }
      const { queue } = yield* store({ filename })
      expect(yield* takeNumbers(queue)).toEqual(exits.filter(Exit.isSuccess).map(({ value }) => value))
    }))

  it.scopedLive("are not done after they were refused while they waited for somebody else's lock", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const db = yield* foreign(filename)
      const fiber = yield* Effect.scoped(Effect.gen(function*() {
        const { queue } = yield* store({ filename })
        db.exec("BEGIN IMMEDIATE")
        const fiber = yield* Effect.forkDaemon(add(queue, 1))
        yield* Effect.sleep("50 millis")
        return fiber
      }))
      db.exec("COMMIT")
      expect(yield* Effect.flip(Fiber.join(fiber))).toMatchObject({ reason: "closed" })
      yield* Effect.sleep("100 millis")
      expect(db.prepare("SELECT count(*) FROM sluice_batches").pluck().get()).toBe(0)
    }))
})

describe("a lock of somebody else", () => {
  it.scopedLive("is waited for, and the event loop goes on", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* store({ busyTimeout: "1 hour" })
      const locker = yield* foreignLock(filename, "BEGIN IMMEDIATE")
      const timer = yield* ticking(5)
      const appends = yield* Effect.fork(
        Effect.forEach([1, 2, 3], (n) => add(queue, n), { concurrency: "unbounded", discard: true })
      )
      yield* timer.ticks(50)
      expect(yield* pending(queue)).toBe(0)
      yield* locker.say("release")
      yield* Fiber.join(appends)
      expect(yield* takeNumbers(queue)).toEqual([1, 2, 3])
    }))

  it.scopedLive("that is too long fails those who wait, and the next ones work", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* store({ busyTimeout: "50 millis" })
      const locker = yield* foreignLock(filename, "BEGIN IMMEDIATE")
      const errors = yield* Effect.all([Effect.flip(add(queue, 1)), Effect.flip(add(queue, 2, 3))], {
        concurrency: "unbounded"
      })
      expect(errors).toMatchObject([{ reason: "locked" }, { reason: "locked" }])
      expect(yield* Effect.flip(add(queue, 4))).toMatchObject({ _tag: "StoreUnavailable", reason: "locked" })
      yield* locker.say("release")
      yield* Effect.retry(add(queue, 5), Schedule.spaced("10 millis"))
      expect(yield* takeNumbers(queue)).toEqual([5])
    }))

  it.scopedLive("keeps nobody who gives up, and no closing", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const outer = yield* Effect.scope
      const locker = yield* Effect.scoped(
        Effect.gen(function*() {
          const { queue } = yield* store({ filename })
          const locker = yield* foreignLock(filename, "BEGIN IMMEDIATE").pipe(Scope.extend(outer))
          const fibers = yield* Effect.forEach(
            [add(queue, 1), add(queue, 2, 3), take(queue)].map((run) =>
              Effect.asVoid<unknown, StoreUnavailable, never>(run)
            ),
            (run) => Effect.zipLeft(Effect.fork(run), Effect.sleep("30 millis"))
          )
          const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.interrupt(fiber))
          expect(exits.map(tagOf)).toEqual(["interrupted", "interrupted", "interrupted"])
          return locker
        })
      )
      yield* locker.say("release")
      const { queue } = yield* store({ filename })
      expect(yield* pending(queue)).toBe(0)
      yield* add(queue, 4)
    }))
})

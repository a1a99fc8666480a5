import { SqlClient } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import Sqlite from "better-sqlite3"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { describe, expect, it } from "vitest"
import { SqliteStore } from "../src/index.ts"
import { createTable, insert, temporaryFile, values, withStockClient, withStore } from "./database.ts"

// What goes wrong with the stock client and its `withTransaction`. Each case runs on both: on ours it must hold, and on
// the stock client it must not, or the case shows nothing.

const holds = <A, E>(
  behaviour: string,
  scenario: Effect.Effect<A, E, SqlClient.SqlClient>,
  expected: A
) =>
  describe(`${behaviour}`, () => {
    it("holds", async () => {
      expect(await Effect.runPromise(withStore(scenario))).toEqual(expected)
    })
    it("does not hold with the stock client", async () => {
      const exit = await Effect.runPromiseExit(withStockClient(scenario))
      expect(Exit.isSuccess(exit) ? exit.value : exit.cause).not.toEqual(expected)
    })
  })

const table = <A, E, R>(scenario: Effect.Effect<A, E, R>) => Effect.zipRight(createTable, scenario)

const tagsOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>) =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) => Cause.isDie(cause) ? "defect" : Array.from(Cause.failures(cause), ({ _tag }) => _tag).join()
  })

const messageOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) ? Cause.pretty(exit.cause, { renderErrorCause: true }) : ""

describe("a commit that fails", () => {
  holds(
    "is a typed error, and what is written after it is there",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* createTable
      yield* sql`PRAGMA foreign_keys = ON`
      yield* sql`CREATE TABLE child (v TEXT REFERENCES t (v) DEFERRABLE INITIALLY DEFERRED)`
      const exit = yield* Effect.exit(sql.withTransaction(sql`INSERT INTO child VALUES ('nobody')`))
      yield* insert("after")
      // Another connection sees what is really in the file.
      const [{ file }] = yield* sql<{ file: string }>`SELECT file FROM pragma_database_list`
      const other = new Sqlite(file, { readonly: true })
      const stored = other.prepare("SELECT v FROM t").pluck().all()
      other.close()
      return { exit: tagsOf(exit), stored }
    }),
    { exit: "SqlError", stored: ["after"] }
  )
})

describe("a statement that ends the transaction", () => {
  holds(
    "is the cause that is told",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* insert("a")
      const exit = yield* Effect.exit(sql.withTransaction(sql`INSERT OR ROLLBACK INTO t VALUES ('a')`))
      return { exit: tagsOf(exit), says: messageOf(exit).includes("UNIQUE constraint failed") }
    })),
    { exit: "SqlError", says: true }
  )

  holds(
    "leaves nothing of the transaction behind, also not what comes after it",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* insert("taken")
      const exit = yield* Effect.exit(sql.withTransaction(Effect.gen(function*() {
        yield* insert("before")
        yield* Effect.ignore(sql`INSERT OR ROLLBACK INTO t VALUES ('taken')`)
        yield* insert("after")
      })))
      return { exit: tagsOf(exit), values: yield* values }
    })),
    { exit: "SqlError", values: ["taken"] }
  )

  holds(
    "fails it also where its error was caught",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* insert("taken")
      const exit = yield* Effect.exit(sql.withTransaction(
        Effect.zipRight(insert("before"), Effect.ignore(sql`INSERT OR ROLLBACK INTO t VALUES ('taken')`))
      ))
      return { exit: tagsOf(exit), values: yield* values }
    })),
    { exit: "SqlError", values: ["taken"] }
  )

  holds(
    "is refused where it would commit what may still be rolled back",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const exit = yield* Effect.exit(sql.withTransaction(
        Effect.zipRight(
          insert("early"),
          Effect.zipRight(Effect.exit(sql.unsafe("COMMIT")), Effect.fail("changed my mind"))
        )
      ))
      return { exit: Exit.isFailure(exit) && !Cause.isDie(exit.cause), values: yield* values }
    })),
    { exit: true, values: [] }
  )
})

describe("a fiber that is forked in a transaction", () => {
  holds(
    "cannot write into a transaction that comes later",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const go = yield* Deferred.make<void>()
      const forked = yield* sql.withTransaction(
        Effect.forkDaemon(Effect.zipRight(Deferred.await(go), insert("forked")))
      )
      const stranger = sql.withTransaction(Effect.gen(function*() {
        yield* Deferred.succeed(go, undefined)
        const exit = yield* Fiber.await(forked)
        yield* Effect.fail(exit)
      }))
      const exit = yield* Effect.flip(stranger) as Effect.Effect<Exit.Exit<unknown>>
      // Acknowledged and there, or refused and not there.
      return Exit.isSuccess(exit) === (yield* values).includes("forked")
    })),
    true
  )
})

describe("transactions within a transaction that run at the same time", () => {
  holds(
    "do not roll each other back",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const [first, second] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      yield* sql.withTransaction(Effect.all([
        Effect.ignore(sql.withTransaction(Effect.gen(function*() {
          yield* insert("fails")
          yield* Deferred.succeed(first, undefined)
          yield* Effect.timeoutOption(Deferred.await(second), 100)
          yield* Effect.fail("on purpose")
        }))),
        Effect.zipRight(
          Deferred.await(first),
          sql.withTransaction(Effect.zipRight(insert("holds"), Deferred.succeed(second, undefined)))
        )
      ], { concurrency: "unbounded" }))
      return yield* values
    })),
    ["holds"]
  )
})

describe("two clients that read and then write the same row", () => {
  const increment = Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql.withTransaction(Effect.gen(function*() {
      const [{ n }] = yield* sql<{ n: number }>`SELECT n FROM counter`
      yield* Effect.sleep(1)
      yield* sql`UPDATE counter SET n = ${n + 1}`
    })))
  const race = (layer: (filename: string) => Layer.Layer<SqlClient.SqlClient, unknown>) =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      const [one, two] = [yield* Layer.build(layer(filename)), yield* Layer.build(layer(filename))]
      const sql = Context.get(one, SqlClient.SqlClient)
      yield* sql`CREATE TABLE counter (n INTEGER)`
      yield* sql`INSERT INTO counter VALUES (0)`
      const times = (context: Context.Context<SqlClient.SqlClient>) =>
        Effect.forEach(Array.from({ length: 20 }), () => Effect.provide(increment, context))
      yield* Effect.all([times(one), times(two)], { concurrency: 2 })
      return yield* sql`SELECT n FROM counter`
    }))

  it("lose no update", async () => {
    const layer = (filename: string) => SqliteStore.layer({ filename, durable: false })
    expect(await Effect.runPromise(race(layer))).toEqual([{ n: 40 }])
  })

  it("fail with the stock client", async () => {
    const exit = await Effect.runPromiseExit(race((filename) => SqliteClient.layer({ filename })))
    expect(messageOf(exit)).toContain("database is locked")
  })
})

describe("a lock that somebody else holds", () => {
  holds(
    "is waited for without stopping the event loop",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const [{ file }] = yield* sql<{ file: string }>`SELECT file FROM pragma_database_list`
      const other = new Sqlite(file)
      other.exec("BEGIN IMMEDIATE")
      // Whoever blocks the event loop keeps this from happening.
      setTimeout(() => other.exec("ROLLBACK"), 100)
      const exit = yield* Effect.exit(sql.withTransaction(insert("patient")))
      yield* Effect.sleep(200)
      other.close()
      return { exit: tagsOf(exit), values: yield* values }
    })),
    { exit: "success", values: ["patient"] }
  )
})

describe("a plain statement", () => {
  holds(
    "does not get into a transaction of another fiber",
    table(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const rolledBack = sql.withTransaction(Effect.zipRight(Effect.yieldNow(), Effect.fail("on purpose")))
        const lost: Array<string> = []
        for (let round = 0; round < 20 && lost.length === 0; round++) {
          const names = Array.from({ length: 20 }, (_, i) => `${round}-${i}`)
          yield* Effect.all(
            names.flatMap((name) => [Effect.asVoid(insert(name)), Effect.ignore(rolledBack)]),
            { concurrency: "unbounded" }
          )
          const stored = new Set(yield* values)
          lost.push(...names.filter((name) => !stored.has(name)))
        }
        return lost
        // The fewer operations between two yields, the more places there are where another fiber comes in between.
      }).pipe(Effect.withMaxOpsBeforeYield(50))
    ),
    []
  )

  it("for another database goes there, also in a transaction", async () => {
    const scenario = (layer: (filename: string) => Layer.Layer<SqlClient.SqlClient, unknown>) =>
      Effect.scoped(Effect.gen(function*() {
        const [a, b] = [
          yield* Effect.flatMap(temporaryFile, (filename) => Layer.build(layer(filename))),
          yield* Effect.flatMap(temporaryFile, (filename) => Layer.build(layer(filename)))
        ]
        for (const context of [a, b]) yield* Effect.provide(createTable, context)
        yield* Context.get(a, SqlClient.SqlClient).withTransaction(
          Effect.zipRight(Effect.provide(insert("for b"), b), Effect.provide(insert("for a"), a))
        )
        return { a: yield* Effect.provide(values, a), b: yield* Effect.provide(values, b) }
      }))
    const expected = { a: ["for a"], b: ["for b"] }
    expect(await Effect.runPromise(scenario((filename) => SqliteStore.layer({ filename })))).toEqual(expected)
    expect(await Effect.runPromise(scenario((filename) => SqliteClient.layer({ filename })))).not.toEqual(expected)
  })
})

describe("a long loop of statements", () => {
  const timerFires = (loop: (body: Effect.Effect<void>) => Effect.Effect<unknown, unknown, SqlClient.SqlClient>) =>
    table(Effect.gen(function*() {
      let fired = false
      const timer = setTimeout(() => (fired = true), 1)
      let count = 0
      const until = Date.now() + 200
      yield* loop(Effect.whileLoop({
        while: () => Date.now() < until,
        body: () => Effect.orDie(Effect.provide(insert(String(count++)), context)),
        step: () => {}
      }))
      clearTimeout(timer)
      return fired
    }))
  const context = Context.empty() as Context.Context<any>

  holds(
    "in a transaction leaves timers their turn",
    Effect.flatMap(SqlClient.SqlClient, (sql) => timerFires((body) => sql.withTransaction(body))),
    true
  )
  holds("outside of one leaves timers their turn", timerFires((body) => body), true)
})

describe("a statement that is kept prepared", () => {
  holds(
    "is not spoilt for others by one who reads safe integers",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const big = sql`SELECT 9007199254740993 AS n`
      const safe = yield* Effect.provideService(big, SqlClient.SafeIntegers, true)
      const plain = yield* big
      return [safe, plain]
    }),
    [[{ n: 9007199254740993n }], [{ n: 9007199254740992 }]] as any
  )

  holds(
    "works once its table is there",
    Effect.gen(function*() {
      const early = yield* Effect.exit(insert("early"))
      yield* createTable
      const late = yield* Effect.exit(insert("late"))
      return [Exit.isFailure(early), Exit.isSuccess(late), yield* values]
    }),
    [true, true, ["late"]]
  )
})

describe("a statement that is not prepared", () => {
  holds(
    "fails, and does not die, where it is wrong",
    Effect.map(
      Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.exit(sql`SELECT nonsense FROM nowhere`.unprepared)),
      tagsOf
    ),
    "SqlError"
  )
})

describe("a stream of rows", () => {
  holds(
    "can be read",
    table(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* insert("a")
      yield* insert("b")
      return Array.from(yield* Stream.runCollect(sql<{ v: string }>`SELECT v FROM t ORDER BY v`.stream))
    })),
    [{ v: "a" }, { v: "b" }]
  )
})

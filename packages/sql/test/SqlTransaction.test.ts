import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient, type SqlError, SqlResolver, Statement } from "@effect/sql"
import * as SqliteMigrator from "@effect/sql-sqlite-node/SqliteMigrator"
import { describe, it } from "@effect/vitest"
import {
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Schema,
  Scope,
  Stream,
  TestClock,
  Tracer
} from "effect"
import { statSync } from "node:fs"
import { expect } from "vitest"
import { SqliteDialect, SqliteStore, SqlTransaction, WriteCoordinator } from "../src/index.ts"
import { createTable, foreign, insert, tagOf, temporaryFile, values, withStore } from "./database.ts"
import { forSeeds } from "../../core/test/support/campaigns.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const withTable = <A, E, R>(effect: Effect.Effect<A, E, R>, options: Partial<SqliteStore.Options> = {}) =>
  withStore(Effect.zipRight(createTable, effect), { durable: false, ...options })

describe("withTransaction", () => {
  it.effect("commits what succeeds, and rolls back what fails, dies or is interrupted", () =>
    withTable(Effect.gen(function*() {
      const run = <E>(name: string, end: Effect.Effect<unknown, E>) =>
        Effect.map(Effect.exit(SqlTransaction.withTransaction(Effect.zipRight(insert(name), end))), tagOf as any)
      expect(yield* run("a", Effect.void)).toBe("success")
      expect(yield* run("b", Effect.fail("b failed"))).toBe("b failed")
      expect(yield* run("c", Effect.die("c died"))).toBe("defect")
      expect(yield* run("d", Effect.interrupt)).toBe("interrupted")
      expect(yield* values).toEqual(["a"])
    })))

  it.effect("within another is a savepoint, to any depth", () =>
    withTable(Effect.gen(function*() {
      const nested = (depth: number): Effect.Effect<void, SqlError.SqlError, any> =>
        Effect.gen(function*() {
          yield* insert(`${depth} before`)
          if (depth < 4) yield* Effect.ignore(SqlTransaction.withTransaction(nested(depth + 1)))
          yield* insert(`${depth} after`)
          if (depth === 3) yield* insert("3 after")
        })
      yield* SqlTransaction.withTransaction(nested(0))
      // The third fails in the end, and takes the fourth with it.
      expect(yield* values).toEqual(["0 before", "1 before", "2 before", "2 after", "1 after", "0 after"])
    })))

  it.effect("is served in the order in which it was asked for, and nobody overtakes", () =>
    withTable(Effect.gen(function*() {
      const order: Array<number> = []
      const go = yield* Deferred.make<void>()
      const first = yield* Effect.fork(SqlTransaction.withTransaction(Deferred.await(go)))
      yield* Effect.yieldNow()
      const fibers = yield* Effect.forEach([1, 2, 3, 4], (n) =>
        Effect.zipLeft(
          Effect.fork(SqlTransaction.withTransaction(Effect.gen(function*() {
            order.push(n)
            yield* Effect.yieldNow()
            // Comes when others wait already.
            if (n === 1) yield* Effect.fork(SqlTransaction.withTransaction(Effect.sync(() => order.push(5))))
          }))),
          Effect.yieldNow()
        ))
      yield* Fiber.interrupt(fibers[1])
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(first)
      yield* Fiber.join(fibers[3])
      expect(order).toEqual([1, 3, 4])
    })))

  it.effect("gives the lock on when its holder is interrupted in the moment of getting it", () =>
    withTable(Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const first = yield* Effect.fork(SqlTransaction.withTransaction(Deferred.await(go)))
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(SqlTransaction.withTransaction(insert("second")))
      yield* Effect.yieldNow()
      first.addObserver(() => second.unsafeInterruptAsFork(second.id()))
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.await(second)
      yield* SqlTransaction.withTransaction(insert("third"))
      expect(yield* values).toContain("third")
    })))

  it.effect("rolls back a savepoint that a forked fiber has left open", () =>
    withTable(Effect.gen(function*() {
      const inside = yield* Deferred.make<void>()
      const forked = yield* SqlTransaction.withTransaction(Effect.gen(function*() {
        yield* insert("a")
        const fiber = yield* Effect.forkDaemon(SqlTransaction.withTransaction(
          Effect.zipRight(insert("half"), Effect.zipRight(Deferred.succeed(inside, undefined), Effect.never))
        ))
        yield* Deferred.await(inside)
        return fiber
      }))
      expect(yield* values).toEqual(["a"])
      expect(tagOf(yield* Fiber.interrupt(forked))).toBe("interrupted")
      // Also where the savepoint that it is left open in is itself released.
      yield* SqlTransaction.withTransaction(SqlTransaction.withTransaction(Effect.gen(function*() {
        yield* insert("b")
        const again = yield* Deferred.make<void>()
        yield* Effect.forkDaemon(SqlTransaction.withTransaction(
          Effect.zipRight(insert("half"), Effect.zipRight(Deferred.succeed(again, undefined), Effect.never))
        ))
        yield* Deferred.await(again)
      })))
      yield* insert("c")
      expect(yield* values).toEqual(["a", "b", "c"])
    })))

  it.effect("says whether the calling fiber is inside", () =>
    withTable(Effect.gen(function*() {
      const { isInside, store } = yield* SqlTransaction.SqlTransaction
      expect(store).toMatch(/test\.db$/)
      expect(yield* isInside).toBe(false)
      const forked = yield* SqlTransaction.withTransaction(Effect.gen(function*() {
        expect(yield* isInside).toBe(true)
        return yield* Effect.forkDaemon(Effect.zipRight(Effect.yieldNow(), isInside))
      }))
      expect(yield* Fiber.join(forked)).toBe(false)
    })))

  it.effect("fails with a typed error in a fiber whose transaction is over", () =>
    withTable(Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const forked = yield* SqlTransaction.withTransaction(
        Effect.forkDaemon(Effect.zipRight(Deferred.await(go), SqlTransaction.withTransaction(insert("late"))))
      )
      yield* Deferred.succeed(go, undefined)
      const exit = yield* Fiber.await(forked)
      expect(exit).toMatchObject({ cause: { error: { _tag: "TransactionEnded", reason: "finished" } } })
      expect(yield* values).toEqual([])
    })))

  it.live("waits for a lock of somebody else at most busyTimeout", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      const other = yield* foreign(filename)
      yield* Effect.gen(function*() {
        yield* createTable
        const sql = yield* SqlClient.SqlClient
        other.exec("BEGIN IMMEDIATE")
        const exit = yield* Effect.exit(SqlTransaction.withTransaction(insert("a")))
        expect(exit).toMatchObject({
          cause: { error: { _tag: "StoreUnavailable", reason: "locked", store: filename } }
        })
        // The client says the same in its own words.
        const plain = yield* Effect.flip(insert("b"))
        expect(plain).toMatchObject({ _tag: "SqlError", cause: { _tag: "StoreUnavailable", reason: "locked" } })
        const wrapped = yield* Effect.flip(sql.withTransaction(insert("c")))
        expect(wrapped).toMatchObject({ _tag: "SqlError", cause: { _tag: "StoreUnavailable", reason: "locked" } })
        other.exec("ROLLBACK")
        yield* SqlTransaction.withTransaction(insert("d"))
        expect(yield* values).toEqual(["d"])
      }).pipe(Effect.provide(SqliteStore.layer({ filename, busyTimeout: 60 })))
    })))
})

describe("the layer", () => {
  it.effect("takes its options from a configuration", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      const layer = SqliteStore.layerConfig({
        filename: Config.string("FILE"),
        durable: Config.boolean("DURABLE").pipe(Config.withDefault(true)),
        create: Config.option(Config.boolean("CREATE")),
        busyTimeout: undefined
      })
      const provider = (entries: ReadonlyArray<readonly [string, string]>) =>
        Layer.setConfigProvider(ConfigProvider.fromMap(new Map(entries)))
      const store = yield* SqliteStore.SqliteStore.pipe(
        Effect.provide(layer),
        Effect.provide(provider([["FILE", filename], ["DURABLE", "false"]]))
      )
      expect(store).toMatchObject({ filename, durable: false, persistent: true })
      const missing = yield* Effect.flip(Effect.provide(SqliteStore.SqliteStore, layer)).pipe(
        Effect.provide(provider([]))
      )
      expect(String(missing)).toContain("FILE")
    })))

  it.live("can be closed where it was opened uninterruptibly", () => Effect.uninterruptible(withTable(insert("a"))))
})

describe("the log", () => {
  const logSize = (filename: string) => statSync(`${filename}-wal`).size
  const megabyte = "x".repeat(1_000_000)

  it.effect("is cut by a checkpoint, unless somebody reads", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.gen(function*() {
        const { checkpoint } = yield* SqliteStore.SqliteStore
        yield* createTable
        yield* insert("a")
        const other = yield* foreign(filename)
        const reading = other.prepare("SELECT v FROM t").iterate()
        reading.next()
        yield* insert("b")
        const held = yield* checkpoint
        expect(held.cut).toBe(false)
        expect(held.logBytes).toBeGreaterThan(0)
        expect(logSize(filename)).toBeGreaterThan(0)
        reading.return?.()
        expect(yield* checkpoint).toMatchObject({ cut: true })
        expect(logSize(filename)).toBe(0)
        expect(yield* values).toEqual(["a", "b"])
      }).pipe(Effect.provide(SqliteStore.layer({ filename, busyTimeout: 0 })))
    })))

  it.effect("that has grown while somebody read is cut by itself, and a small one is left alone", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.gen(function*() {
        yield* createTable
        yield* insert("small")
        const small = logSize(filename)
        yield* TestClock.adjust("1 minute")
        expect(logSize(filename)).toBe(small)
        const other = yield* foreign(filename)
        const reading = other.prepare("SELECT v FROM t").iterate()
        reading.next()
        for (let n = 0; n < 20; n++) yield* insert(`${n} ${megabyte}`)
        yield* TestClock.adjust("1 minute")
        expect(logSize(filename)).toBeGreaterThan(20_000_000)
        expect((yield* Metric.value(SqliteStore.logBytes)).value).toBeGreaterThan(20_000_000)
        reading.return?.()
        yield* TestClock.adjust("1 minute")
        expect(logSize(filename)).toBeLessThan(17_000_000)
        expect(yield* values).toHaveLength(21)
      }).pipe(Effect.provide(SqliteStore.layer({ filename, durable: false })))
    })))
})

describe("the client", () => {
  it.effect("reads what is committed past a transaction that is open", () =>
    withTable(Effect.gen(function*() {
      const written = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(SqlTransaction.withTransaction(
        Effect.zipRight(insert("a"), Effect.zipRight(Deferred.succeed(written, undefined), Deferred.await(go)))
      ))
      yield* Deferred.await(written)
      expect(yield* values).toEqual([])
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(fiber)
      expect(yield* values).toEqual(["a"])
    })))

  it.effect("reads through the writer where there is one connection only", () =>
    Effect.provide(
      Effect.gen(function*() {
        yield* createTable
        const go = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(
          SqlTransaction.withTransaction(Effect.zipRight(insert("a"), Deferred.await(go)))
        )
        yield* Effect.yieldNow()
        const reading = yield* Effect.fork(values)
        yield* Effect.yieldNow()
        expect(reading.unsafePoll()).toBe(null)
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(fiber)
        expect(yield* Fiber.join(reading)).toEqual(["a"])
      }),
      SqliteStore.layer({ filename: ":memory:" })
    ))

  it.effect("takes every form of a statement", () =>
    withTable(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const all = Effect.gen(function*() {
        expect(yield* sql`SELECT v FROM t`.values).toEqual([["a"]])
        expect(yield* sql`SELECT v FROM t`.unprepared).toEqual([{ v: "a" }])
        expect(yield* sql`SELECT v FROM t`.withoutTransform).toEqual([{ v: "a" }])
        expect(Array.from(yield* Stream.runCollect(sql`SELECT v FROM t`.stream))).toEqual([{ v: "a" }])
        expect(yield* sql`UPDATE t SET v = 'a'`.raw).toMatchObject({ changes: 1 })
        expect(yield* sql.unsafe("SELECT v FROM t WHERE v = ?", ["a"])).toEqual([{ v: "a" }])
        expect(yield* sql`SELECT ${sql("v")} FROM ${sql("t")} WHERE ${sql.in("v", ["a", "b"])}`).toEqual([{ v: "a" }])
        expect(yield* sql`WITH x AS (SELECT v FROM t) SELECT * FROM x`).toEqual([{ v: "a" }])
        expect(yield* sql`VALUES (1)`).toEqual([{ column1: 1 }])
      })
      yield* insert("a")
      yield* all
      yield* sql.withTransaction(all)
    })))

  it.effect("reads and writes numbers at the borders as the guide says", () =>
    withStore(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE n (i INTEGER, any_type)`
      const now = 1_700_000_000_000
      const big = 2n ** 53n + 1n
      const add = (value: unknown) => sql`INSERT INTO n VALUES (${value as any}, ${value as any})`
      yield* Effect.forEach([now, big, undefined, Number.NaN, -(2n ** 63n)], add)
      const types = sql`SELECT typeof(i) AS i, typeof(any_type) AS a FROM n`
      expect(yield* types).toEqual([
        { i: "integer", a: "real" },
        { i: "integer", a: "integer" },
        { i: "null", a: "null" },
        { i: "null", a: "null" },
        { i: "integer", a: "integer" }
      ])
      const read = sql<{ i: unknown }>`SELECT i FROM n WHERE i IS NOT NULL ORDER BY rowid`
      const safe = yield* Effect.provideService(read, SqlClient.SafeIntegers, true)
      expect(safe.map(({ i }) => i)).toEqual([BigInt(now), big, -(2n ** 63n)])
      expect((yield* read).map(({ i }) => i)).toEqual([now, Number(big), -(2 ** 63)])
      const exit = yield* Effect.exit(add(2n ** 63n))
      expect(tagOf(exit)).toBe("SqlError")
    })))

  it.effect("refuses statements that begin or end a transaction", () =>
    withTable(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const text of ["BEGIN", "COMMIT", "  rollback", "END", "SAVEPOINT a", "RELEASE a", "/* x */ BEGIN"]) {
        const error = yield* Effect.flip(sql.unsafe(text))
        expect(error.message).toContain("withTransaction")
        expect(error.cause).toMatchObject({ message: text.trim() })
      }
      // A savepoint of one's own is allowed where there is a transaction.
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`SAVEPOINT mine`
        yield* insert("undone")
        yield* sql`ROLLBACK TO mine`
        yield* sql`RELEASE mine`
        yield* insert("a")
      }))
      expect(yield* values).toEqual(["a"])
    })))

  it.effect("gives the writer's connection to a scope, and rolls back what the scope leaves open", () =>
    withTable(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const kept = yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* sql.reserve
        yield* connection.executeRaw("BEGIN", [])
        yield* connection.executeRaw("INSERT INTO t VALUES ('half')", [])
        const waiting = yield* Effect.fork(insert("waits"))
        yield* Effect.yieldNow()
        expect(waiting.unsafePoll()).toBe(null)
        return connection
      }))
      yield* insert("a")
      expect((yield* values).filter((v) => v !== "waits")).toEqual(["a"])
      expect(tagOf(yield* Effect.exit(kept.executeRaw("INSERT INTO t VALUES ('late')", [])))).toBe("SqlError")
    })))

  it("gives a statement that is kept prepared the parameters of each call", async () => {
    const numbers = Array.from({ length: 30 }, (_, n) => n)
    const program = withTable(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const read = (n: number) => sql<{ n: number }>`SELECT ${n} AS n`
      const rows = yield* Effect.forEach(numbers, read, { concurrency: "unbounded" })
      // One that has failed, or was interrupted, works the next time.
      yield* insert("a")
      for (const _ of [1, 2]) expect(tagOf(yield* Effect.exit(insert("a")))).toBe("SqlError")
      yield* Effect.forEach(numbers, (n) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.fork(read(-1))
          yield* Effect.repeatN(Effect.yieldNow(), n)
          yield* Fiber.interrupt(fiber)
          expect(yield* read(n)).toEqual([{ n }])
        }))
      return rows.map(([row]) => row.n)
    }))
    // Between any two operations another fiber may come.
    await forSeeds(() => program, { runs: 5, yieldProbability: 0.3 }, ({ exit }) => {
      expect(exit).toEqual(Exit.succeed(numbers))
    })
  })

  it.effect("keeps no more statements prepared than it may", () =>
    withTable(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        for (let n = 0; n < 10; n++) expect(yield* sql.unsafe(`SELECT ${n % 4} AS n`)).toEqual([{ n: n % 4 }])
      }),
      { prepareCacheSize: 2 }
    ))

  it.effect("answers rows, values and raw results of one text, all at the same time", () =>
    withTable(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* insert("a")
        const text = sql`SELECT v FROM t`
        const results = yield* Effect.forEach(
          Array.from({ length: 60 }, (_, n) => n % 3),
          (n) => Effect.map([text, text.values, text.raw][n] as Effect.Effect<unknown>, (result) => [n, result]),
          { concurrency: "unbounded" }
        )
        for (const [n, result] of results) expect(result).toEqual(n === 1 ? [["a"]] : [{ v: "a" }])
      }).pipe(Effect.withMaxOpsBeforeYield(23))
    ))

  it.effect("gives the connection of a transaction to who reserves one inside", () =>
    withTable(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.ignore(sql.withTransaction(Effect.gen(function*() {
        const connection = yield* Effect.scoped(sql.reserve)
        yield* connection.executeRaw("INSERT INTO t VALUES ('a')", [])
        expect(yield* values).toEqual(["a"])
        yield* Effect.fail("rolled back")
      })))
      expect(yield* values).toEqual([])
    })))

  it.effect("transforms names, and has a copy that does not", () =>
    withStore(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE t (first_name TEXT)`
        yield* sql`INSERT INTO t ${sql.insert({ firstName: "Ada" })}`
        const plain = sql.withoutTransforms()
        expect(yield* sql`SELECT * FROM t`).toEqual([{ firstName: "Ada" }])
        expect(yield* plain`SELECT * FROM t`).toEqual([{ first_name: "Ada" }])
        expect(yield* sql.withTransaction(sql`SELECT * FROM t`)).toEqual([{ firstName: "Ada" }])
        const writes = yield* WriteCoordinator.make({ name: "writes" })
        expect(yield* writes.submit(sql`SELECT * FROM t`, { name: "read" })).toEqual([{ firstName: "Ada" }])
        expect(yield* writes.submit(plain`SELECT * FROM t`, { name: "read" })).toEqual([{ first_name: "Ada" }])
        expect(plain.withoutTransforms()).toBe(plain)
      }),
      {
        transformQueryNames: (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        transformResultNames: (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
      }
    ))

  it.effect("makes spans where a tracer sees them", () =>
    withTable(Effect.gen(function*() {
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          spans.push(name)
          return {
            _tag: "Span",
            name,
            parent,
            context,
            links,
            kind,
            spanId: "1",
            traceId: "1",
            sampled: true,
            attributes: new Map(),
            status: { _tag: "Started", startTime },
            attribute: () => {},
            end: () => {},
            event: () => {},
            addLinks: () => {}
          }
        },
        context: (run) => run()
      })
      yield* insert("a")
      yield* Effect.withTracer(insert("b"), tracer)
      expect(spans).toEqual(["sql.execute"])
      expect(yield* values).toEqual(["a", "b"])
    })))

  it.effect("obeys a transformer of statements", () =>
    withTable(Effect.gen(function*() {
      const transformed = Statement.withTransformer(
        insert("a"),
        (_, sql) => Effect.succeed(sql`INSERT INTO t VALUES ('instead')`)
      )
      yield* transformed
      expect(yield* values).toEqual(["instead"])
    })))

  it.effect("runs the migrations of the official migrator", () =>
    withStore(Effect.gen(function*() {
      const migrate = SqliteMigrator.run({
        loader: SqliteMigrator.fromRecord({
          "0001_people": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`CREATE TABLE people (name TEXT)`),
          "0002_ada": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO people VALUES ('Ada')`)
        })
      })
      expect(yield* migrate).toHaveLength(2)
      expect(yield* migrate).toHaveLength(0)
      const sql = yield* SqlClient.SqlClient
      expect(yield* sql`SELECT name FROM people`).toEqual([{ name: "Ada" }])
    }) as Effect.Effect<void, unknown, SqlClient.SqlClient>))

  it.effect("tells reactive queries of a change once it is committed, and not before", () =>
    Effect.gen(function*() {
      yield* createTable
      const sql = yield* SqlClient.SqlClient
      const results = yield* sql.reactiveMailbox(["t"], values)
      expect(yield* results.take).toEqual([])
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* Reactivity.mutation(insert("a"), ["t"])
        yield* Effect.yieldNow()
        expect(yield* results.size).toEqual(Option.some(0))
      }))
      expect(yield* results.take).toEqual(["a"])
      yield* Effect.ignore(sql.withTransaction(
        Effect.zipRight(Reactivity.mutation(insert("b"), ["t"]), Effect.fail("no"))
      ))
      yield* Reactivity.mutation(insert("c"), ["t"])
      expect(yield* results.take).toEqual(["a", "c"])
    }).pipe(
      Effect.scoped,
      (effect) =>
        Effect.scoped(Effect.flatMap(temporaryFile, (filename) =>
          Effect.provide(effect, Layer.provideMerge(SqliteStore.layer({ filename }), Reactivity.layer))))
    ))
})

describe("batched requests", () => {
  const scenario = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const find = yield* SqlResolver.findById("Find", {
      Id: Schema.String,
      Result: Schema.Struct({ v: Schema.String }),
      ResultId: ({ v }) => v,
      execute: (ids) => sql`SELECT v FROM t WHERE ${sql.in("v", ids)}`
    })
    const add = yield* SqlResolver.void("Add", {
      Request: Schema.String,
      execute: (vs) => sql`INSERT INTO t ${sql.insert(vs.map((v) => ({ v })))}`
    })
    const seen = yield* Effect.all(
      [sql.withTransaction(Effect.zipRight(insert("mine"), find.execute("mine"))), find.execute("nobody")],
      { batching: true, concurrency: "unbounded" }
    )
    yield* Effect.all([sql.withTransaction(add.execute("a")), sql.withTransaction(add.execute("b"))], {
      batching: true,
      concurrency: "unbounded"
    })
    const nested = Effect.all([sql.withTransaction(add.execute("c")), sql.withTransaction(add.execute("d"))], {
      batching: true,
      concurrency: "unbounded"
    })
    yield* Effect.ignore(sql.withTransaction(Effect.zipRight(nested, Effect.fail("rolled back"))))
    yield* sql.withTransaction(Effect.forEach(["e", "f"], (v) => add.execute(v), { batching: true, discard: true }))
    return { seen: seen.map(Option.isSome), stored: yield* values }
  })
  const expected = { seen: [true, false], stored: ["mine", "a", "b", "e", "f"] }

  it.live("stay in the transaction that they are made in", () =>
    Effect.map(withTable(scenario), (result) => expect(result).toEqual(expected)))

  it.live("stay in it also through a coordinator", () =>
    withTable(Effect.provide(
      scenario,
      Layer.provideMerge(
        WriteCoordinator.layerSqlClient(Writes),
        WriteCoordinator.layer(Writes, { name: "writes", writeTimeout: "2 seconds" })
      )
    )).pipe(Effect.map((result) => expect(result).toEqual(expected))))
})

describe("what an error of the driver says", () => {
  const error = (code: string) => Object.assign(new Error("of the driver"), { code })

  it("is told by its code, also by an extended one", () => {
    expect(SqliteDialect.unavailableReason(error("SQLITE_BUSY_SNAPSHOT"))).toBe("locked")
    expect(SqliteDialect.unavailableReason(error("SQLITE_PROTOCOL"))).toBe("locked")
    expect(SqliteDialect.unavailableReason(error("SQLITE_IOERR_WRITE"))).toBe("io")
    expect(SqliteDialect.unavailableReason(error("SQLITE_IOERR_SHMSIZE"))).toBe("full")
    expect(SqliteDialect.unavailableReason(error("SQLITE_CONSTRAINT_UNIQUE"))).toBe(undefined)
    expect(SqliteDialect.unavailableReason("no error")).toBe(undefined)
    expect(SqliteDialect.isDriverError(error("SQLITE_ERROR"))).toBe(true)
    expect(SqliteDialect.isDriverError(error("ENOENT"))).toBe(false)
    expect(SqliteDialect.isDriverError(new Error("SQLITE_ERROR"))).toBe(false)
  })
})

describe("what a statement does", () => {
  const { kindOf } = SqliteDialect.dialect

  it("is seen behind blanks and comments", () => {
    expect(kindOf("SELECT 1")).toBe("read")
    expect(kindOf("  /* COMMIT */ -- ROLLBACK\n\tvalues (1)")).toBe("read")
    expect(kindOf("/* a * b **/ COMMIT")).toBe("transaction")
    expect(kindOf("ROLLBACK TO x")).toBe("savepoint")
    expect(kindOf("pragma user_version")).toBe("outside")
    expect(kindOf("DETACH other")).toBe("outside")
    expect(kindOf("delete FROM other")).toBe("write")
    expect(kindOf("WITH x AS (SELECT 1) DELETE FROM t")).toBe("write")
    expect(kindOf("")).toBe("write")
  })

  it("is found at once, whatever the comments are made of", () => {
    for (
      const text of [`-- ${"-".repeat(10_000)}`, "/*".repeat(10_000), `/*${"*".repeat(10_000)}`, " ;".repeat(10_000)]
    ) {
      expect(kindOf(text)).toBe("write")
      expect(kindOf(`-- ${text}\nSELECT 1`)).toBe("read")
    }
  })
})

describe("layerSqlClient", () => {
  const withClient = <A, E, R>(effect: Effect.Effect<A, E, R>, options: Partial<WriteCoordinator.Options> = {}) =>
    withStore(
      Effect.provide(
        Effect.zipRight(createTable, effect),
        Layer.provideMerge(
          WriteCoordinator.layerSqlClient(Writes),
          WriteCoordinator.layer(Writes, { name: "writes", ...options })
        )
      ),
      { durable: false }
    )

  it.effect("submits writes and transactions, and reads past them", () =>
    withClient(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      yield* insert("a")
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* insert("b")
        expect(yield* values).toEqual(["a", "b"])
        expect(yield* sql`SELECT v FROM t`.pipe(Effect.provide(Context.empty()))).toHaveLength(2)
      }))
      expect(yield* values).toEqual(["a", "b"])
      // The table, the statement and the transaction.
      expect(yield* writes.metrics).toMatchObject({ offered: 3, succeeded: 3 })
    })))

  it.effect("takes an Effect.Service whose coordinator is made in it", () => {
    class Service extends Effect.Service<Service>()("test/Service", {
      scoped: WriteCoordinator.make({ name: "service" })
    }) {}
    return withStore(
      Effect.gen(function*() {
        yield* createTable
        yield* insert("a")
        expect(yield* values).toEqual(["a"])
        expect(yield* Effect.flatMap(Service, ({ metrics }) => metrics)).toMatchObject({ offered: 2, succeeded: 2 })
      }).pipe(Effect.provide(Layer.provideMerge(WriteCoordinator.layerSqlClient(Service), Service.Default))),
      { durable: false }
    )
  })

  it.effect("rolls back a transaction that fails, with the user's own error", () =>
    withClient(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      expect(yield* Effect.flip(sql.withTransaction(Effect.zipRight(insert("a"), Effect.fail("mine"))))).toBe("mine")
      expect(tagOf(yield* Effect.exit(sql.withTransaction(sql.withTransaction(Effect.die("a bug")))))).toBe("SqlError")
      expect(yield* values).toEqual([])
    })))

  it.effect("shares one transaction among statements of many fibers", () =>
    withClient(Effect.gen(function*() {
      const writes = yield* Writes
      const before = (yield* writes.metrics).batches
      yield* Effect.forEach(Array.from({ length: 50 }, (_, i) => `${i}`), insert, { concurrency: "unbounded" })
      expect((yield* writes.metrics).batches - before).toBeLessThan(10)
      expect(yield* values).toHaveLength(50)
    })))

  it.effect("runs what does not work in a transaction by itself", () =>
    withClient(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      const before = (yield* writes.metrics).offered
      yield* sql`PRAGMA foreign_keys = OFF`
      expect(yield* sql`PRAGMA foreign_keys`).toEqual([{ foreign_keys: 0 }])
      yield* sql`VACUUM`
      expect((yield* writes.metrics).offered).toBe(before)
      const error = yield* Effect.flip(writes.submit(sql`VACUUM`, { name: "vacuum" }))
      expect(error.message).toContain("run it with SqlClient")
    })))

  it.effect("reads the integers of a write as its caller wants them", () =>
    withClient(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      const big = sql`WITH x AS (SELECT 9007199254740993 AS n) SELECT n FROM x`
      const safely = Effect.provideService(SqlClient.SafeIntegers, true)
      for (const write of [big, writes.submit(big, { name: "big" }), sql.withTransaction(big)]) {
        expect(yield* safely(write)).toEqual([{ n: 9007199254740993n }])
        expect(yield* write).toEqual([{ n: 9007199254740992 }])
      }
    })))

  it.effect("lets a transformer see the statements that are submitted", () =>
    withClient(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      yield* Statement.withTransformer(
        writes.submit(sql`INSERT INTO t VALUES ('a')`, { name: "insert" }),
        (_, sql) => Effect.succeed(sql`INSERT INTO t VALUES ('instead')`)
      )
      expect(yield* values).toEqual(["instead"])
    })))

  it.effect("leaves a statement for another database to that", () =>
    withClient(Effect.gen(function*() {
      const writes = yield* Writes
      const others = yield* withTable(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* writes.submit(sql`INSERT INTO t VALUES ('theirs')`, { name: "insert" })
        return yield* values
      }))
      expect(others).toEqual(["theirs"])
      expect(yield* values).toEqual([])
    })))

  it.effect("tells the errors of the coordinator as the cause of a SqlError", () =>
    withStore(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Layer.provideMerge(
          WriteCoordinator.layerSqlClient(Writes),
          WriteCoordinator.layer(Writes, { name: "writes" })
        ),
        scope
      )
      yield* Scope.close(scope, Exit.void)
      const sql = Context.get(context, SqlClient.SqlClient)
      const error = yield* Effect.flip(sql`CREATE TABLE t (v)`)
      expect(error).toMatchObject({ _tag: "SqlError", cause: { _tag: "CoordinatorClosed", queue: "writes" } })
    })))
})

import { SqlClient, SqlError } from "@effect/sql"
import { describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberRef,
  Layer,
  Logger,
  LogLevel,
  Scope,
  Stream,
  TestClock
} from "effect"
import { expect } from "vitest"
import { SqliteStore, SqlTransaction, TransactionError, WriteCoordinator, WriteError } from "../src/index.ts"
import { createTable, foreign, insert, tagOf, temporaryFile, values, withStore } from "./database.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

/** Runs with a coordinator on a fresh file that has the table `t`. */
const withWrites = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Partial<WriteCoordinator.Options> = {}
) =>
  withStore(
    Effect.zipRight(createTable, effect).pipe(
      Effect.provide(WriteCoordinator.layer(Writes, { name: "writes", ...options }))
    ),
    { durable: false }
  )

const submit = <A, E, R>(write: Effect.Effect<A, E, R>, options: Partial<WriteCoordinator.WriteOptions> = {}) =>
  Effect.flatMap(Writes, (writes) => writes.submit(write, { name: "write", ...options }))

const metrics = Effect.flatMap(Writes, (writes) => writes.metrics)

/** A write that runs until it is let go, and says when it has started. */
const gate = Effect.gen(function*() {
  const started = yield* Deferred.make<void>()
  const go = yield* Deferred.make<void>()
  return {
    started: Deferred.await(started),
    go: Deferred.succeed(go, undefined),
    hold: Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(go))
  }
})

/** Runs writes in one group: they are queued while another write runs. */
const inOneGroup = (writes: ReadonlyArray<Effect.Effect<unknown, any, Writes | SqlClient.SqlClient>>) =>
  Effect.gen(function*() {
    const before = yield* gate
    const blocking = yield* Effect.fork(submit(before.hold))
    yield* before.started
    const fibers = yield* forkInOrder<unknown, any>(writes)
    yield* before.go
    yield* Fiber.join(blocking)
    return yield* Effect.forEach(fibers, Fiber.await)
  })

/** Forks writes one after another, each once the one before it is queued. */
const forkInOrder = <A, E>(writes: ReadonlyArray<Effect.Effect<A, E, Writes | SqlClient.SqlClient>>) =>
  Effect.forEach(writes, (write) => Effect.zipLeft(Effect.fork(write), Effect.yieldNow()))

describe("WriteCoordinator", () => {
  it.effect("answers a write with its result, once it is committed", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      const other = yield* foreign(filename)
      yield* Effect.gen(function*() {
        yield* createTable
        const rows = yield* submit(
          Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO t VALUES ('a') RETURNING v`)
        )
        expect(rows).toEqual([{ v: "a" }])
        expect(other.prepare("SELECT v FROM t").pluck().all()).toEqual(["a"])
      }).pipe(
        Effect.provide(Layer.provideMerge(
          WriteCoordinator.layer(Writes, { name: "writes" }),
          SqliteStore.layer({ filename })
        ))
      )
    })))

  it.effect("runs a statement by itself, with the same answers as an Effect", () =>
    withWrites(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      expect(yield* submit(sql`INSERT INTO t VALUES ('a') RETURNING v`)).toEqual([{ v: "a" }])
      const exit = yield* Effect.exit(submit(sql`INSERT INTO t VALUES ('a')`))
      expect(tagOf(exit)).toBe("SqlError")
      expect(tagOf(yield* Effect.exit(submit(sql`INSERT INTO nowhere VALUES (1)`)))).toBe("SqlError")
      expect(yield* values).toEqual(["a"])
    })))

  it.effect("lets many callers share few transactions", () =>
    withWrites(Effect.gen(function*() {
      const names = Array.from({ length: 100 }, (_, i) => `${i}`)
      yield* Effect.forEach(names, (name) => submit(insert(name)), { concurrency: "unbounded" })
      const { batches: groups, offered, succeeded } = yield* metrics
      expect({ offered, succeeded }).toEqual({ offered: 100, succeeded: 100 })
      expect(groups).toBeLessThan(20)
      expect(yield* values).toEqual(names)
    })))

  it.effect("never has more writes in a transaction than `batchSize`", () =>
    withWrites(
      Effect.gen(function*() {
        yield* Effect.forEach(Array.from({ length: 10 }, (_, i) => `${i}`), (name) => submit(insert(name)), {
          concurrency: "unbounded"
        })
        expect((yield* metrics).batches).toBeGreaterThanOrEqual(5)
      }),
      { batchSize: 2 }
    ))

  it.effect("runs writes one at a time, in the order submitted", () =>
    withWrites(Effect.gen(function*() {
      const log: Array<string> = []
      const write = (name: string) =>
        submit(Effect.gen(function*() {
          log.push(`${name} begins`)
          yield* insert(name)
          yield* Effect.yieldNow()
          log.push(`${name} ends`)
        }))
      const fibers = yield* forkInOrder(["a", "b", "c"].map(write))
      yield* Fiber.joinAll(fibers)
      expect(log).toEqual(["a", "b", "c"].flatMap((name) => [`${name} begins`, `${name} ends`]))
      expect(yield* values).toEqual(["a", "b", "c"])
    })))

  it.effect("runs a write with the context and the fiber refs of its caller", () =>
    withWrites(Effect.gen(function*() {
      class Name extends Context.Tag("test/Name")<Name, string>() {}
      const ref = yield* FiberRef.make("default")
      const write = Effect.zip(Name, FiberRef.get(ref))
      const answer = yield* submit(write).pipe(Effect.provideService(Name, "mine"), Effect.locally(ref, "local"))
      expect(answer).toEqual(["mine", "local"])
    })))

  describe("a write that", () => {
    it.effect("fails is rolled back alone, and its caller alone is told", () =>
      withWrites(Effect.gen(function*() {
        const exits = yield* inOneGroup([
          submit(insert("a")),
          submit(Effect.zipRight(insert("b"), Effect.fail("on purpose"))),
          submit(insert("c"))
        ])
        expect(exits.map(tagOf)).toEqual(["success", "on purpose", "success"])
        expect(yield* values).toEqual(["a", "c"])
        expect(yield* metrics).toMatchObject({ succeeded: 3, failed: 1, inFlight: 0, depth: 0, batches: 2 })
      })))

    it.effect("dies is a typed error for its caller, and the rest go on", () =>
      withWrites(Effect.gen(function*() {
        const exit = yield* Effect.exit(submit(Effect.zipRight(insert("a"), Effect.die("a bug")), { name: "buggy" }))
        expect(exit).toMatchObject({ cause: { error: { _tag: "WriteDied", write: "buggy" } } })
        expect(String(Exit.isFailure(exit) && Cause.squash(exit.cause))).toContain("a bug")
        yield* submit(insert("b"))
        expect(yield* values).toEqual(["b"])
      })))

    it.effect("interrupts itself is a typed error for its caller", () =>
      withWrites(Effect.gen(function*() {
        expect(tagOf(yield* Effect.exit(submit(Effect.zipRight(insert("a"), Effect.interrupt))))).toBe("WriteDied")
        expect(yield* values).toEqual([])
      })))

    it.effect("cannot be compiled is a typed error for its caller", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const broken = Object.assign(sql`SELECT 1`, {
          compile: () => {
            throw new Error("a bug in a helper")
          }
        })
        expect(tagOf(yield* Effect.exit(submit(broken)))).toBe("WriteDied")
        yield* submit(insert("b"))
        expect(yield* values).toEqual(["b"])
      })))

    it.effect("takes too long is rolled back, and the rest of its group goes on", () =>
      withWrites(
        Effect.gen(function*() {
          const hangs = yield* gate
          const fibers = yield* forkInOrder<unknown, any>([
            submit(insert("a")),
            submit(Effect.zipRight(insert("b"), hangs.hold), { name: "slow" }),
            submit(insert("c"))
          ])
          yield* hangs.started
          yield* TestClock.adjust("5 seconds")
          const exits = yield* Effect.forEach(fibers, Fiber.await)
          expect(exits.map(tagOf)).toEqual(["success", "WriteTimeout", "success"])
          expect(exits[1]).toMatchObject({
            cause: { error: { write: "slow", timeoutMillis: 5000, queue: "writes" } }
          })
          expect(yield* values).toEqual(["a", "c"])
        }),
        { writeTimeout: "5 seconds" }
      ))

    it.effect("takes too long and cannot be interrupted stops nobody, and can write nothing more", () =>
      withWrites(
        Effect.gen(function*() {
          const hangs = yield* gate
          const late = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
          const stubborn = Effect.uninterruptible(
            Effect.zipRight(
              hangs.hold,
              Effect.flatMap(Effect.exit(insert("late")), (exit) => Deferred.succeed(late, exit))
            )
          )
          const fiber = yield* Effect.fork(Effect.exit(submit(stubborn)))
          yield* hangs.started
          yield* TestClock.adjust("30 seconds")
          expect(tagOf(yield* Fiber.join(fiber))).toBe("WriteTimeout")
          yield* submit(Effect.zipRight(hangs.go, Effect.zipRight(Deferred.await(late), insert("next"))))
          expect(tagOf((yield* Deferred.await(late)) as Exit.Exit<unknown, SqlError.SqlError>)).toBe("SqlError")
          expect(yield* values).toEqual(["next"])
        })
      ))

    it.effect("is only slow is not cut off by the time of those before it", () =>
      withWrites(
        Effect.gen(function*() {
          const write = (name: string) => submit(Effect.zipRight(insert(name), Effect.sleep("3 seconds")))
          const fibers = yield* forkInOrder(["a", "b", "c"].map(write))
          yield* TestClock.adjust("9 seconds")
          yield* Fiber.joinAll(fibers)
          expect(yield* values).toEqual(["a", "b", "c"])
        }),
        { writeTimeout: "5 seconds" }
      ))

    it.effect("ends the transaction fails its group with a typed error, and the next group works", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* insert("taken")
        const exits = yield* inOneGroup([
          submit(insert("a")),
          submit(Effect.gen(function*() {
            yield* Effect.ignore(sql`INSERT OR ROLLBACK INTO t VALUES ('taken')`)
            yield* Effect.ignore(insert("by itself"))
          })),
          submit(insert("c"))
        ])
        expect(exits.map(tagOf)).toEqual(["TransactionEnded", "TransactionEnded", "success"])
        expect(exits[0]).toMatchObject({ cause: { error: { reason: "ended-inside" } } })
        expect(yield* values).toEqual(["taken", "c"])
        expect(yield* metrics).toMatchObject({ offered: 4, succeeded: 2, failed: 2, batches: 3 })
      })))

    it.effect("is a statement that ends the transaction is told its own error", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* insert("taken")
        const exits = yield* inOneGroup([
          submit(insert("a")),
          submit(sql`INSERT OR ROLLBACK INTO t VALUES ('taken')`),
          submit(sql`INSERT INTO t VALUES ('c')`)
        ])
        expect(exits.map(tagOf)).toEqual(["TransactionEnded", "SqlError", "success"])
        expect(yield* values).toEqual(["taken", "c"])
      })))

    it.effect("would end the transaction by a statement is refused alone", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        for (
          const text of ["COMMIT", " rollback", "/* so */ END", "BEGIN IMMEDIATE", "-- x\nROLLBACK", "SAVEPOINT x"]
        ) {
          expect(tagOf(yield* Effect.exit(submit(sql.unsafe(text))))).toBe("SqlError")
        }
        for (const text of ["COMMIT", "ROLLBACK", "END TRANSACTION"]) {
          expect(tagOf(yield* Effect.exit(submit(Effect.zipRight(insert(text), sql.unsafe(text)))))).toBe("SqlError")
        }
        yield* submit(insert("b"))
        expect(yield* values).toEqual(["b"])
      })))

    it.effect("releases the savepoint that it runs in fails its group", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const exit = yield* Effect.exit(submit(Effect.zipRight(insert("a"), sql.unsafe("RELEASE sluice_1"))))
        expect(tagOf(exit)).toBe("TransactionEnded")
        yield* submit(insert("b"))
        expect(yield* values).toEqual(["b"])
      })))
  })

  describe("a group whose commit fails", () => {
    const orphan = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO child VALUES ('nobody')`)
    const withChildren = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`PRAGMA foreign_keys = ON`
        yield* sql`CREATE TABLE child (v TEXT REFERENCES t (v) DEFERRABLE INITIALLY DEFERRED)`
        return yield* effect
      }))

    it.effect("fails every caller, stores nothing, and the next group works", () =>
      withChildren(Effect.gen(function*() {
        const exits = yield* inOneGroup([
          submit(insert("a")),
          submit(orphan),
          submit(Effect.fail("its own"))
        ])
        expect(exits.map(tagOf)).toEqual(["TransactionFailed", "TransactionFailed", "its own"])
        expect(exits[0]).toMatchObject({ cause: { error: { step: "commit" } } })
        yield* submit(insert("next"))
        expect(yield* values).toEqual(["next"])
      })))

    it.effect("is run again, one by one, by those who said that they may be", () =>
      withChildren(Effect.gen(function*() {
        let runs = 0
        const counted = Effect.zipRight(Effect.sync(() => runs++), insert("a"))
        const exits = yield* inOneGroup([
          submit(counted, { retryable: true }),
          submit(insert("b")),
          submit(orphan, { retryable: true })
        ])
        expect(exits.map(tagOf)).toEqual(["success", "TransactionFailed", "TransactionFailed"])
        expect(runs).toBe(2)
        expect(yield* values).toEqual(["a"])
        expect(yield* metrics).toMatchObject({ offered: 4, succeeded: 2, failed: 2, inFlight: 0, batches: 4 })
      })))
  })

  describe("a caller that is interrupted", () => {
    it.effect("while its write is queued takes it out", () =>
      withWrites(Effect.gen(function*() {
        const first = yield* gate
        const running = yield* Effect.fork(submit(Effect.zipRight(first.hold, insert("a"))))
        yield* first.started
        const queued = yield* Effect.fork(submit(insert("b")))
        yield* Effect.yieldNow()
        expect(yield* metrics).toMatchObject({ depth: 1, inFlight: 1 })
        yield* Fiber.interrupt(queued)
        expect(yield* metrics).toMatchObject({ depth: 0, cancelled: 1, inFlight: 1 })
        yield* first.go
        yield* Fiber.join(running)
        expect(yield* values).toEqual(["a"])
      })))

    it.effect("while its write runs waits for the end, and it runs once", () =>
      withWrites(Effect.gen(function*() {
        const first = yield* gate
        let runs = 0
        const fiber = yield* Effect.fork(
          submit(Effect.zipRight(Effect.sync(() => runs++), Effect.zipRight(first.hold, insert("a"))))
        )
        yield* first.started
        const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* Effect.yieldNow()
        expect(fiber.unsafePoll()).toBe(null)
        yield* first.go
        expect(tagOf(yield* Fiber.join(interrupting))).toBe("interrupted")
        expect(runs).toBe(1)
        expect(yield* values).toEqual(["a"])
        expect(yield* metrics).toMatchObject({ succeeded: 1, cancelled: 0 })
      })))

    it.effect("while it waits for room was never accepted", () =>
      withWrites(
        Effect.gen(function*() {
          const first = yield* gate
          const running = yield* Effect.fork(submit(first.hold))
          yield* first.started
          const fibers = yield* forkInOrder([submit(insert("queued")), submit(insert("outside"))])
          expect(yield* metrics).toMatchObject({ offered: 3, depth: 1, waiting: 1, capacity: 1 })
          yield* Fiber.interrupt(fibers[1])
          expect(yield* metrics).toMatchObject({ offered: 3, refused: 1, depth: 1, waiting: 0, cancelled: 0 })
          yield* first.go
          yield* Fiber.join(running)
          yield* Fiber.join(fibers[0])
          expect(yield* values).toEqual(["queued"])
        }),
        { capacity: 1 }
      ))
  })

  it.effect("makes submitters wait while its queue is full, and serves them in order", () =>
    withWrites(
      Effect.gen(function*() {
        const first = yield* gate
        const running = yield* Effect.fork(submit(first.hold))
        yield* first.started
        const names = ["a", "b", "c", "d", "e"]
        const fibers = yield* forkInOrder(names.map((name) => submit(insert(name))))
        expect(yield* metrics).toMatchObject({ depth: 2, waiting: 3, capacity: 2 })
        yield* Fiber.interrupt(fibers[0])
        expect(yield* metrics).toMatchObject({ depth: 2, waiting: 2, cancelled: 1 })
        yield* first.go
        yield* Fiber.join(running)
        yield* Fiber.joinAll(fibers.slice(1))
        expect(yield* values).toEqual(names.slice(1))
      }),
      { capacity: 2 }
    ))

  it.effect("lingers for others to share a transaction, or until there are enough", () =>
    withWrites(
      Effect.gen(function*() {
        const fibers = yield* forkInOrder(["a", "b"].map((name) => submit(insert(name))))
        yield* TestClock.adjust(99)
        expect(yield* metrics).toMatchObject({ depth: 2, batches: 0 })
        yield* TestClock.adjust(1)
        yield* Fiber.joinAll(fibers)
        expect((yield* metrics).batches).toBe(1)
        yield* Effect.forEach(["c", "d", "e"], (name) => submit(insert(name)), { concurrency: "unbounded" })
        expect((yield* metrics).batches).toBe(2)
      }),
      { linger: "100 millis", batchSize: 3 }
    ))

  describe("a submit within", () => {
    it.effect("a write joins it", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* submit(Effect.gen(function*() {
          yield* insert("outer")
          yield* submit(insert("effect"))
          yield* submit(sql`INSERT INTO t VALUES ('statement')`)
          const exit = yield* Effect.exit(submit(Effect.zipRight(insert("undone"), Effect.fail("inner"))))
          expect(tagOf(exit)).toBe("inner")
          expect(tagOf(yield* Effect.exit(submit(Effect.die("a bug"))))).toBe("WriteDied")
        }))
        expect(yield* values).toEqual(["outer", "effect", "statement"])
        expect(yield* metrics).toMatchObject({ offered: 1, succeeded: 1 })
        yield* Effect.flip(submit(Effect.zipRight(submit(insert("gone")), Effect.fail("outer"))))
        expect(yield* values).toEqual(["outer", "effect", "statement"])
      })))

    it.effect("a transaction of the same database joins that", () =>
      withWrites(Effect.gen(function*() {
        yield* Effect.ignore(SqlTransaction.withTransaction(
          Effect.zipRight(submit(insert("gone")), Effect.fail("rolled back"))
        ))
        yield* SqlTransaction.withTransaction(submit(insert("kept")))
        expect(yield* values).toEqual(["kept"])
      })))

    it.effect("a transaction that is over is refused", () =>
      withWrites(Effect.gen(function*() {
        const go = yield* Deferred.make<void>()
        const forked = yield* submit(Effect.forkDaemon(Effect.zipRight(Deferred.await(go), submit(insert("late")))))
        yield* Deferred.succeed(go, undefined)
        expect(tagOf(yield* Fiber.await(forked))).toBe("TransactionEnded")
        expect(yield* values).toEqual([])
      })))
  })

  describe("announces", () => {
    it.effect("committed writes that have a topic, in order, and nothing that was rolled back", () =>
      withWrites(
        Effect.gen(function*() {
          const writes = yield* Writes
          const changes = yield* Effect.fork(Stream.runCollect(Stream.take(writes.changes, 3)))
          yield* Effect.yieldNow()
          yield* TestClock.adjust("1 second")
          yield* submit(insert("a"), { name: "order", payload: { id: 1 } })
          yield* submit(insert("b"), { name: "silent" })
          yield* Effect.flip(submit(Effect.zipRight(insert("c"), Effect.fail("no")), { name: "order" }))
          yield* submit(submit(insert("d"), { name: "inner" }), { name: "silent" })
          yield* Effect.flip(submit(
            Effect.zipRight(submit(insert("e"), { name: "inner" }), Effect.fail("outer")),
            { name: "order" }
          ))
          yield* submit(insert("f"), { name: "order", payload: { id: 2 } })
          expect(Chunk.toReadonlyArray(yield* Fiber.join(changes))).toEqual([
            {
              topic: "topic of order",
              name: "order",
              payload: { id: 1 },
              queue: "writes",
              atMillis: 1000,
              sequence: 1
            },
            {
              topic: "topic of inner",
              name: "inner",
              payload: undefined,
              queue: "writes",
              atMillis: 1000,
              sequence: 2
            },
            { topic: "topic of order", name: "order", payload: { id: 2 }, queue: "writes", atMillis: 1000, sequence: 3 }
          ])
        }),
        { topic: (name) => name === "silent" ? undefined : `topic of ${name}` }
      ))

    it.effect("and a subscriber that is too slow loses the oldest, and is told how many", () =>
      withWrites(Effect.gen(function*() {
        const writes = yield* Writes
        const first = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const seen = yield* Effect.fork(Stream.runCollect(writes.changes.pipe(
          Stream.tap(() => Effect.zipRight(Deferred.succeed(first, undefined), Deferred.await(go))),
          Stream.takeUntil((change) => "sequence" in change && change.sequence === 6000)
        )))
        yield* Effect.yieldNow()
        const sql = yield* SqlClient.SqlClient
        const statement = sql`UPDATE t SET v = v`
        yield* submit(statement)
        yield* Deferred.await(first)
        yield* Effect.forEach(Array.from({ length: 5999 }), () => submit(statement), { concurrency: 64 })
        yield* Deferred.succeed(go, undefined)
        const told = Chunk.toReadonlyArray(yield* Fiber.join(seen))
        const missed = told.filter((change) => "_tag" in change).reduce((sum, { events }) => sum + events, 0)
        const sequences = told.flatMap((change) => "sequence" in change ? [change.sequence] : [])
        expect(missed).toBeGreaterThan(0)
        expect(missed + sequences.length).toBe(6000)
        expect(sequences.slice(-3)).toEqual([5998, 5999, 6000])
      })))

    it.effect("and a topic that throws is logged and disturbs nobody", () => {
      const logged: Array<unknown> = []
      const logger = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => logged.push(message)))
      return withWrites(
        Effect.gen(function*() {
          yield* submit(insert("a"))
          yield* submit(insert("b"))
          expect(yield* values).toEqual(["a", "b"])
          expect(String(logged[0])).toContain("what was called after a commit threw")
        }),
        {
          topic: () => {
            throw new Error("a bug in topic")
          }
        }
      ).pipe(Effect.provide(logger))
    })

    it.effect("to the queries that depend on it", () =>
      withWrites(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const results = yield* sql.reactiveMailbox(["t"], values)
        expect(yield* results.take).toEqual([])
        yield* submit(insert("a"), { reactivityKeys: ["t"] })
        expect(yield* results.take).toEqual(["a"])
        yield* Effect.flip(submit(Effect.zipRight(insert("b"), Effect.fail("no")), { reactivityKeys: ["t"] }))
        yield* submit(insert("c"), { reactivityKeys: { t: [1] } })
        expect(yield* results.take).toEqual(["a", "c"])
      })))
  })

  describe("closing", () => {
    const closing = (drain: boolean) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const writes = yield* Scope.extend(WriteCoordinator.make({ name: "closing", drain }), scope)
        const first = yield* gate
        const running = yield* Effect.fork(writes.submit(Effect.zipRight(insert("a"), first.hold), { name: "a" }))
        yield* first.started
        const queued = yield* forkInOrder(["b", "c"].map((name) => writes.submit(insert(name), { name })))
        const closed = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* Effect.yieldNow()
        const refused = yield* Effect.exit(writes.submit(insert("d"), { name: "d" }))
        yield* first.go
        yield* Fiber.join(closed)
        const fibers: ReadonlyArray<Fiber.Fiber<unknown, any>> = [running, ...queued]
        const exits = yield* Effect.forEach(fibers, (fiber) => Fiber.await(fiber))
        const { depth, failed, offered, refused: late, succeeded } = yield* writes.metrics
        return {
          exits: [...exits, refused].map(tagOf),
          values: yield* values,
          metrics: { offered, refused: late, succeeded, failed, depth }
        }
      }).pipe((effect) => withWrites(effect))

    it.effect("completes the group in progress and refuses those who wait", () =>
      Effect.map(closing(false), (result) =>
        expect(result).toEqual({
          exits: ["success", "CoordinatorClosed", "CoordinatorClosed", "CoordinatorClosed"],
          values: ["a"],
          metrics: { offered: 4, refused: 3, succeeded: 1, failed: 0, depth: 0 }
        })))

    it.effect("with drain runs those who wait first", () =>
      Effect.map(closing(true), (result) =>
        expect(result).toEqual({
          exits: ["success", "success", "success", "CoordinatorClosed"],
          values: ["a", "b", "c"],
          metrics: { offered: 4, refused: 1, succeeded: 3, failed: 0, depth: 0 }
        })))

    it.effect("cuts a write off that takes longer than drainTimeout, and keeps what its group had done", () =>
      withWrites(Effect.gen(function*() {
        const scope = yield* Scope.make()
        const writes = yield* Scope.extend(
          WriteCoordinator.make({ name: "closing", drain: true, drainTimeout: "2 seconds", writeTimeout: Infinity }),
          scope
        )
        const hangs = yield* gate
        const fibers = yield* forkInOrder<unknown, any>([
          writes.submit(insert("a"), { name: "a" }),
          writes.submit(Effect.zipRight(insert("b"), hangs.hold), { name: "b" }),
          writes.submit(insert("c"), { name: "c" })
        ])
        yield* hangs.started
        const closed = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closed)
        const exits = yield* Effect.forEach(fibers, Fiber.await)
        expect(exits.map(tagOf)).toEqual(["success", "WriteTimeout", "CoordinatorClosed"])
        expect(exits[1]).toMatchObject({ cause: { error: { write: "b", timeoutMillis: 2000 } } })
        expect(yield* values).toEqual(["a"])
      })))

    it.effect("does not wait for a lock when nothing is left to write", () =>
      withWrites(Effect.gen(function*() {
        const go = yield* Deferred.make<void>()
        const holding = yield* Effect.fork(SqlTransaction.withTransaction(Deferred.await(go)))
        yield* Effect.yieldNow()
        const scope = yield* Scope.make()
        const writes = yield* Scope.extend(WriteCoordinator.make({ name: "closing" }), scope)
        const waiting = yield* Effect.fork(writes.submit(insert("a"), { name: "a" }))
        yield* Effect.yieldNow()
        // The clock stands still: it ends by itself, or not at all.
        yield* Scope.close(scope, Exit.void)
        expect(tagOf(yield* Fiber.await(waiting))).toBe("CoordinatorClosed")
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(holding)
        yield* insert("b")
        expect(yield* values).toEqual(["b"])
      })))

    it.effect("twice does nothing, and ends the stream of changes", () =>
      withWrites(Effect.gen(function*() {
        const scope = yield* Scope.make()
        const writes = yield* Scope.extend(WriteCoordinator.make({ name: "closing" }), scope)
        const changes = yield* Effect.fork(Stream.runCollect(writes.changes))
        yield* Effect.yieldNow()
        yield* writes.submit(insert("a"), { name: "a" })
        yield* Scope.close(scope, Exit.void)
        yield* Scope.close(scope, Exit.void)
        expect((yield* Fiber.join(changes)).length).toBe(1)
        expect(tagOf(yield* Effect.exit(writes.submit(insert("b"), { name: "b" })))).toBe("CoordinatorClosed")
      })))
  })

  it.effect("that has died of a bug of ours tells everybody, and keeps nobody from writing", () =>
    withStore(
      Effect.gen(function*() {
        yield* createTable
        const scope = yield* Scope.make()
        const writes = yield* Scope.extend(WriteCoordinator.make({ name: "writes" }), scope)
        const first = yield* gate
        // Nothing of ours dies by itself, so it is given something that nobody expects: a name that throws.
        const unexpected = {
          get name(): string {
            throw new Error("no name")
          }
        }
        const running = yield* Effect.fork(
          writes.submit(Effect.zipRight(insert("a"), Effect.zipRight(first.hold, Effect.die("oops"))), unexpected)
        )
        yield* first.started
        const queued = yield* Effect.fork(writes.submit(insert("b"), { name: "b" }))
        yield* Effect.yieldNow()
        yield* first.go
        expect(tagOf(yield* Fiber.await(running))).toBe("defect")
        expect(tagOf(yield* Fiber.await(queued))).toBe("defect")
        expect(tagOf(yield* Effect.exit(writes.submit(insert("c"), { name: "c" })))).toBe("defect")
        yield* insert("d")
        expect(yield* values).toEqual(["d"])
        expect(Exit.isFailure(yield* Effect.exit(Scope.close(scope, Exit.void)))).toBe(true)
      }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
    ))

  it.live("fails only those who had waited when the lock of somebody else was given up on", () =>
    Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      const other = yield* foreign(filename)
      yield* Effect.gen(function*() {
        yield* createTable
        other.exec("BEGIN IMMEDIATE")
        const early = yield* Effect.fork(submit(insert("early")))
        yield* Effect.sleep(150)
        const late = yield* Effect.fork(submit(insert("late")))
        const exit = yield* Fiber.await(early)
        expect(exit).toMatchObject({
          cause: { error: { _tag: "StoreUnavailable", reason: "locked", store: filename } }
        })
        other.exec("ROLLBACK")
        yield* Fiber.join(late)
        expect(yield* values).toEqual(["late"])
      }).pipe(
        Effect.provide(Layer.provideMerge(
          WriteCoordinator.layer(Writes, { name: "writes" }),
          SqliteStore.layer({ filename, busyTimeout: 300 })
        ))
      )
    })))

  it("says in each of its errors what happened, and to whom", () => {
    const cause = new SqlError.SqlError({ cause: new Error("FOREIGN KEY constraint failed"), message: "Failed" })
    const told = (error: Error) => error.message
    expect(told(new WriteError.CoordinatorClosed({ queue: "w" }))).toBe("the write coordinator \"w\" is closed")
    expect(told(new WriteError.WriteTimeout({ queue: "w", write: "order", timeoutMillis: 5 }))).toBe(
      "w: the write \"order\" took more than 5 ms, and is rolled back"
    )
    expect(told(new WriteError.WriteDied({ write: "order", cause: Cause.die(new Error("a bug")) }))).toContain("a bug")
    expect(told(new TransactionError.TransactionFailed({ store: "a.db", step: "commit", cause }))).toBe(
      "a.db: commit failed, everything is rolled back: FOREIGN KEY constraint failed"
    )
    expect(told(new TransactionError.TransactionFailed({ store: "a.db", step: "begin", cause: "odd" }))).toContain(
      "odd"
    )
    expect(told(new TransactionError.TransactionEnded({ store: "a.db", reason: "ended-inside", cause }))).toBe(
      "a.db: the transaction was ended from inside, nothing of it is written: FOREIGN KEY constraint failed"
    )
    expect(told(new TransactionError.TransactionEnded({ store: "a.db", reason: "finished" }))).toContain("already")
    expect(told(new TransactionError.TransactionEnded({ store: "a.db", reason: "timeout" }))).toContain("too long")
  })

  it.effect("names the option that cannot work", () =>
    withStore(Effect.gen(function*() {
      const made = (options: Partial<WriteCoordinator.Options>) =>
        Effect.flip(Effect.scoped(WriteCoordinator.make({ name: "w", ...options })))
      const cases: ReadonlyArray<readonly [string, Partial<WriteCoordinator.Options>]> = [
        ["name", { name: " " }],
        ["capacity", { capacity: 0 }],
        ["capacity", { capacity: 1.5 }],
        ["batchSize", { batchSize: -1 }],
        ["linger", { linger: Infinity }],
        ["linger", { linger: -1 }],
        ["writeTimeout", { writeTimeout: 0 }],
        ["drainTimeout", { drainTimeout: "soon" as any }],
        ["topic", { topic: "orders" as any }],
        ["topic", { topic: null as any }]
      ]
      for (const [field, options] of cases) {
        expect(yield* made(options)).toMatchObject({ _tag: "InvalidOption", field })
      }
    })))

  it.effect("takes options from a configuration", () =>
    withStore(
      Effect.gen(function*() {
        const writes = yield* Writes
        expect((yield* writes.metrics).capacity).toBe(7)
      }).pipe(
        Effect.provide(Layer.provide(
          WriteCoordinator.layerConfig(Writes, { name: "w", capacity: 3 }, {
            capacity: Config.integer("CAPACITY"),
            batchSize: Config.option(Config.integer("BATCH_SIZE")),
            linger: undefined
          }),
          Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["CAPACITY", "7"]])))
        ))
      )
    ))
})

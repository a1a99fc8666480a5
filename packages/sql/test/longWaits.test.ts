/**
 * Timers cannot sleep longer than 2^31 - 1 milliseconds, and the clock of Effect does not wake whoever asks for more.
 */
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Deferred, Duration, Effect, Exit, Fiber, Metric, Scope, TestClock } from "effect"
import { statSync } from "node:fs"
import { sleepFor } from "@sluice/core/unstable/Sleep"
import { createTable, foreign, insert, tagOf, temporaryFile, values, withStore } from "./database.ts"
import { insertInto, scripted } from "./scriptedDatabase.ts"

const longest = 2 ** 31 - 1

/** Runs with a clock that is adjusted by the test, and knows no more of long sleeps than a real one. */
const withTimers = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) =>
    Effect.withClock(
      effect,
      Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) =>
          Duration.toMillis(duration) > longest ? Effect.never : clock.sleep(duration)
      })
    )
  )

/** Or the log would be looked at every minute of the month. */
const rarely = { checkpointInterval: Infinity }

describe("a wait of more than 24.8 days", () => {
  it.effect("is not woken by the clock itself, and comes to its end in parts", () =>
    withTimers(Effect.gen(function*() {
      const inOne = yield* Effect.fork(Effect.sleep("30 days"))
      const inParts = yield* Effect.fork(sleepFor(Duration.toMillis("30 days")))
      const endless = yield* Effect.fork(sleepFor(Infinity))
      yield* TestClock.adjust("29 days")
      expect(inParts.unsafePoll()).toBeNull()
      yield* TestClock.adjust("1 days")
      yield* Fiber.join(inParts)
      yield* TestClock.adjust("1000 days")
      expect([inOne.unsafePoll(), endless.unsafePoll()]).toEqual([null, null])
      yield* Fiber.interruptAll([inOne, endless])
    })))

  it.effect("for others to share a transaction ends", () =>
    withTimers(withStore(
      Effect.gen(function*() {
        yield* createTable
        const writes = yield* WriteCoordinator.make({ name: "writes", linger: "30 days" })
        const fiber = yield* Effect.fork(writes.submit(insert("a"), { name: "a" }))
        yield* TestClock.adjust("29 days")
        expect(yield* values).toEqual([])
        yield* TestClock.adjust("1 days")
        yield* Fiber.join(fiber)
        expect(yield* values).toEqual(["a"])
      }).pipe(Effect.scoped),
      rarely
    )))

  it.effect("for a write cuts it off", () =>
    withTimers(withStore(
      Effect.gen(function*() {
        const writes = yield* WriteCoordinator.make({ name: "writes", writeTimeout: "30 days" })
        const fiber = yield* Effect.fork(writes.submit(Effect.never, { name: "hangs" }))
        yield* TestClock.adjust("29 days")
        expect(fiber.unsafePoll()).toBeNull()
        yield* TestClock.adjust("1 days")
        expect(tagOf(yield* Fiber.await(fiber))).toBe("WriteTimeout")
      }).pipe(Effect.scoped),
      rarely
    )))

  it.effect("for the writes that are to run when it closes ends", () =>
    withTimers(withStore(
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const options = { name: "writes", writeTimeout: Infinity, drainTimeout: "30 days" } as const
        const writes = yield* Scope.extend(WriteCoordinator.make(options), scope)
        const started = yield* Deferred.make<void>()
        const hangs = Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)
        const fiber = yield* Effect.fork(writes.submit(hangs, { name: "hangs" }))
        yield* Deferred.await(started)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("29 days")
        expect(closing.unsafePoll()).toBeNull()
        yield* TestClock.adjust("1 days")
        yield* Fiber.join(closing)
        expect(tagOf(yield* Fiber.await(fiber))).toBe("WriteTimeout")
      }),
      rarely
    )))

  it.effect("between two looks at the log ends, too", () =>
    withTimers(Effect.scoped(Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.gen(function*() {
        yield* createTable
        yield* insert("first")
        const other = yield* foreign(filename)
        const reading = other.prepare("SELECT v FROM t").iterate()
        reading.next()
        for (let n = 0; n < 18; n++) yield* insert(`${n} ${"x".repeat(1_000_000)}`)
        reading.return?.()
        expect(statSync(`${filename}-wal`).size).toBeGreaterThan(17_000_000)
        yield* TestClock.adjust("30 days")
        expect((yield* Metric.value(SqliteStore.logBytes)).value).toBeGreaterThan(17_000_000)
        expect(statSync(`${filename}-wal`).size).toBeLessThan(17_000_000)
      }).pipe(Effect.provide(SqliteStore.layer({ filename, durable: false, checkpointInterval: "30 days" })))
    }))))

  for (const busyTimeoutMillis of [Duration.toMillis("30 days"), Infinity]) {
    it.scoped(`for a lock of somebody else (${busyTimeoutMillis} ms) sees when it is gone`, () =>
      withTimers(Effect.gen(function*() {
        const { script, transactions } = yield* scripted(busyTimeoutMillis)
        script.locked = true
        const fibers = yield* Effect.forEach(
          ["a", "b"],
          (v) => Effect.zipLeft(Effect.fork(transactions.autocommit(insertInto(v))), TestClock.adjust(1))
        )
        yield* TestClock.adjust("3 seconds")
        expect(fibers.map((fiber) => fiber.unsafePoll())).toEqual([null, null])
        script.locked = false
        yield* TestClock.adjust(100)
        yield* Fiber.joinAll(fibers)
        expect(script.rows).toEqual(["a", "b"])
      })))
  }
})

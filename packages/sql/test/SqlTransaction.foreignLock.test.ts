/**
 * The wait for a lock of somebody else: bounded for each caller, and looked after in one place.
 */
import type { SqlError } from "@effect/sql"
import { Reactivity } from "@effect/experimental"
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, type Scope, TestClock } from "effect"
import { makeGroupCommit } from "../src/internal/store/groupCommit.ts"
import { makeTransaction } from "../src/internal/writer/behind.ts"
import type { Transactions } from "../src/internal/writer/transactions.ts"
import { SqlTransaction, WriteCoordinator } from "../src/index.ts"
import { insertInto, scripted } from "./scriptedDatabase.ts"

type Write = (v: string) => Effect.Effect<unknown, unknown>

const insertIn = (transactions: Transactions, v: string): Effect.Effect<unknown, SqlError.SqlError> =>
  Effect.flatMap(Effect.context<never>(), (context) => insertInto(v)(transactions.currentIn(context)!.connection))

/** Everything that waits for the database, one by one. */
const ways: Record<string, (transactions: Transactions) => Effect.Effect<Write, unknown, Scope.Scope>> = {
  "a transaction": (transactions) =>
    Effect.succeed((v) => transactions.withTransaction(insertIn(transactions, v), (error) => error)),
  "a statement": (transactions) => Effect.succeed((v) => transactions.autocommit(insertInto(v))),
  "a transaction of our own": (transactions) =>
    Effect.succeed((v) => Effect.uninterruptible(transactions.inTransaction(insertInto(v), () => true))),
  "a reserved connection": (transactions) =>
    Effect.succeed((v) => Effect.scoped(Effect.flatMap(transactions.reserve, insertInto(v)))),
  "a read": (transactions) => {
    const { reader } = transactions.database
    return Effect.succeed(() => transactions.read(Effect.suspend(() => reader!.execute("SELECT 1", [], undefined))))
  },
  "an operation of a group": (transactions) =>
    Effect.map(makeGroupCommit(transactions), (group) => (v) => group.submit({ single: false, run: insertInto(v) })),
  "an operation by itself": (transactions) =>
    Effect.map(makeGroupCommit(transactions), (group) => (v) => group.submit({ single: true, run: insertInto(v) })),
  "an urgent operation": (transactions) =>
    Effect.map(
      makeGroupCommit(transactions),
      (group) => (v) => group.submitFirst({ single: true, run: insertInto(v) })
    ),
  "a write of a coordinator": (transactions) =>
    Effect.map(
      Effect.provideServiceEffect(
        WriteCoordinator.make({ name: "writes", capacity: 2 }),
        SqlTransaction.SqlTransaction,
        Effect.map(Reactivity.make, (reactivity) => makeTransaction(transactions, reactivity))
      ),
      (writes) => (v) => writes.submit(insertIn(transactions, v), { name: v })
    )
}

/** What a failure says that a lock was waited for in vain, whoever tells it. */
const isLocked = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit) && JSON.stringify(exit.cause).includes("\"reason\":\"locked\"")

/** Runs something, and notes how it ended, and when. */
const timed = (run: Effect.Effect<unknown, unknown>) => Effect.zip(Effect.exit(run), Clock.currentTimeMillis)

const { adjust } = TestClock

describe("a lock of somebody else", () => {
  for (const [what, make] of Object.entries(ways)) {
    it.scoped(`fails each of many callers at its own time: ${what}`, () =>
      Effect.gen(function*() {
        const { script, transactions } = yield* scripted(1000)
        const write = yield* Effect.orDie(make(transactions))
        script.locked = true
        const fibers: Array<Fiber.RuntimeFiber<[Exit.Exit<unknown, unknown>, number]>> = []
        for (let n = 0; n < 8; n++) {
          fibers.push(yield* Effect.fork(timed(write(`${n}`))))
          yield* adjust(100)
        }
        yield* adjust(1200)
        const ended = yield* Effect.forEach(fibers, Fiber.join)
        expect(ended.map(([exit]) => isLocked(exit))).toEqual(ended.map(() => true))
        ended.forEach(([, at], n) => {
          expect(at).toBeGreaterThanOrEqual(n * 100 + 1000)
          expect(at).toBeLessThanOrEqual(n * 100 + 1002)
        })
        expect(script.rows).toEqual([])

        script.locked = false
        yield* write("next")
        if (what !== "a read") expect(script.rows).toEqual(["next"])
      }))

    it.scoped(`lets all go on once it is gone: ${what}`, () =>
      Effect.gen(function*() {
        const { script, transactions } = yield* scripted(1000)
        const write = yield* Effect.orDie(make(transactions))
        script.locked = true
        const names = Array.from({ length: 8 }, (_, n) => `${n}`)
        const fibers = yield* Effect.forEach(names, (v) => Effect.zipLeft(Effect.fork(write(v)), Effect.yieldNow()))
        yield* adjust(900)
        expect(script.rows).toEqual([])
        script.locked = false
        yield* adjust(50)
        yield* Effect.forEach(fibers, Fiber.join)
        if (what !== "a read") expect(script.rows).toEqual(names)
      }))
  }

  it.scoped("is looked at from one place, however many wait, and ever more seldom", () =>
    Effect.gen(function*() {
      const triesOf = (callers: number) =>
        Effect.gen(function*() {
          const { script, transactions } = yield* scripted(10_000)
          script.locked = true
          const fibers = yield* Effect.forEach(
            Array.from({ length: callers }),
            () => Effect.fork(Effect.exit(transactions.autocommit(insertInto("v"))))
          )
          yield* adjust(4000)
          const tries = script.tried.length
          yield* Fiber.interruptAll(fibers)
          return tries
        })
      // Never more often than every 20 ms, but for the first few times.
      expect(yield* triesOf(1)).toBeLessThan(4000 / 20 + 10)
      expect(yield* triesOf(300)).toBeLessThan(4000 / 20 + 10)
    }))

  it.scoped("counts only while it is there: whoever waits behind ourselves for long is not failed by it", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(1000)
      const run = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.fork(Effect.exit(transactions.withTransaction(effect, (error) => error)))
      script.locked = true
      const go = yield* Deferred.make<void>()
      const holding = yield* run(Effect.zipRight(insertIn(transactions, "a"), Deferred.await(go)))
      yield* Effect.yieldNow()
      const behind = yield* run(insertIn(transactions, "b"))
      yield* adjust(600)
      script.locked = false
      // One of ours has the database now, for longer than the bound.
      yield* adjust(5000)
      expect(script.rows).toEqual(["a"])
      script.locked = true
      yield* Deferred.succeed(go, undefined)
      expect(Exit.isSuccess(yield* Fiber.join(holding))).toBe(true)
      yield* adjust(300)
      expect(behind.unsafePoll()).toBeNull()
      // 600 and 300 and 100.
      yield* adjust(150)
      expect(isLocked(yield* Fiber.join(behind))).toBe(true)
    }))

  it.scoped("keeps nobody who is interrupted, wherever in the line, and the others wait on", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(1000)
      script.locked = true
      const fibers = yield* Effect.forEach(["a", "b", "c"], (v) =>
        Effect.zipLeft(
          Effect.fork(transactions.withTransaction(insertIn(transactions, v), (error) => error)),
          Effect.yieldNow()
        ))
      yield* adjust(500)
      yield* Fiber.interruptAll(fibers.slice(0, 2))
      yield* adjust(400)
      script.locked = false
      yield* adjust(100)
      yield* Fiber.join(fibers[2])
      expect(script.rows).toEqual(["c"])
      expect(script.isInTransaction).toBe(false)
    }))

  it.scoped("fails who waits behind those who go first, or have it for longer, at its own time", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(1000)
      const group = yield* makeGroupCommit(transactions)
      script.locked = true
      const ordinary = yield* Effect.fork(timed(transactions.autocommit(insertInto("a"))))
      const operation = yield* Effect.fork(timed(group.submit({ single: true, run: insertInto("b") })))
      yield* adjust(500)
      const urgent = yield* Effect.fork(timed(group.submitFirst({ single: true, run: insertInto("c") })))
      yield* adjust(1200)
      const ended = yield* Effect.forEach([ordinary, operation, urgent], Fiber.join)
      expect(ended.map(([exit]) => isLocked(exit))).toEqual([true, true, true])
      expect(ended.map(([, at]) => Math.floor(at / 10) * 10)).toEqual([1000, 1000, 1500])
    }))

  it.scoped("whoever let others before it, and is interrupted then, leaves their transaction alone", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(1000)
      script.locked = true
      const patient = yield* Effect.fork(
        transactions.withTransaction(insertIn(transactions, "a"), (error) => error)
      )
      yield* adjust(10)
      const go = yield* Deferred.make<void>()
      const urgent = yield* Effect.fork(Effect.uninterruptible(transactions.inTransaction(
        (connection) => Effect.zipRight(insertInto("urgent")(connection), Deferred.await(go)),
        () => true,
        { first: true }
      )))
      yield* adjust(100)
      script.locked = false
      yield* adjust(100)
      expect(script.rows).toEqual(["urgent"])
      yield* Fiber.interrupt(patient)
      expect(transactions.hasFirst).toBe(false)
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(urgent)
      expect(script.rows).toEqual(["urgent"])
      expect(script.tried).not.toContain("ROLLBACK")
      yield* transactions.autocommit(insertInto("next"))
      expect(script.rows).toEqual(["urgent", "next"])
    }))

  it.scoped("with no time to wait fails at once, with one attempt", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(0)
      script.locked = true
      expect(isLocked(yield* Effect.exit(transactions.autocommit(insertInto("a"))))).toBe(true)
      expect(script.tried).toHaveLength(1)
    }))
})

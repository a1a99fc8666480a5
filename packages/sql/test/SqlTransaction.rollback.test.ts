/**
 * A rollback that fails leaves a transaction open on the connection. Whoever comes next must not get into it.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, type Scope } from "effect"
import { makeGroupCommit } from "../src/internal/store/groupCommit.ts"
import type { Transactions } from "../src/internal/writer/transactions.ts"
import { tagOf } from "./database.ts"
import { insertInto, scripted } from "./scriptedDatabase.ts"

type Write = (v: string) => Effect.Effect<unknown, { readonly _tag: string } | string>

const inTransaction = (transactions: Transactions, v: string) =>
  Effect.flatMap(Effect.context<never>(), (context) => insertInto(v)(transactions.currentIn(context)!.connection))

/** Everything that comes next. */
const ways: Record<string, (transactions: Transactions) => Effect.Effect<Write, never, Scope.Scope>> = {
  "a transaction": (transactions) =>
    Effect.succeed((v) => transactions.withTransaction(inTransaction(transactions, v), (error) => error)),
  "a statement": (transactions) => Effect.succeed((v) => transactions.autocommit(insertInto(v))),
  "a reserved connection": (transactions) =>
    Effect.succeed((v) => Effect.scoped(Effect.flatMap(transactions.reserve, insertInto(v)))),
  "an operation of a group": (transactions) =>
    Effect.map(makeGroupCommit(transactions), (group) => (v) => group.submit({ single: false, run: insertInto(v) })),
  "an operation by itself": (transactions) =>
    Effect.map(makeGroupCommit(transactions), (group) => (v) => group.submit({ single: true, run: insertInto(v) })),
  "an urgent operation": (transactions) =>
    Effect.map(makeGroupCommit(transactions), (group) => (v) => group.submitFirst({ single: true, run: insertInto(v) }))
}

/** How a transaction comes to its end without one. */
const ends: Record<string, (transactions: Transactions, group: Write) => Effect.Effect<unknown, unknown>> = {
  "a transaction whose effect failed": (transactions) =>
    transactions.withTransaction(
      Effect.zipRight(inTransaction(transactions, "stranger"), Effect.fail("on purpose")),
      (error) => error
    ),
  "an operation that failed": (transactions) =>
    Effect.uninterruptible(transactions.inTransaction(
      (connection) =>
        Effect.zipRight(insertInto("stranger")(connection), connection.execute("no statement", [], undefined)),
      () => true
    ))
}

describe("a rollback that fails", () => {
  for (const [end, leaveOpen] of Object.entries(ends)) {
    for (const [way, make] of Object.entries(ways)) {
      it.scoped(`of ${end} is done again before the next: ${way}`, () =>
        Effect.gen(function*() {
          const { script, transactions } = yield* scripted(0)
          const write = yield* make(transactions)
          let left = 1
          script.fails = (sql) => sql === "ROLLBACK" && left-- > 0 ? "SQLITE_IOERR" : undefined
          expect(Exit.isFailure(yield* Effect.exit(leaveOpen(transactions, write)))).toBe(true)
          expect(script.rows).toEqual(["stranger"])
          expect(script.isInTransaction).toBe(true)
          yield* write("next")
          expect(script.isInTransaction).toBe(false)
          expect(script.rows).toEqual(["next"])
        }))

      it.scoped(`of ${end}, and fails again, fails what comes next until it works: ${way}`, () =>
        Effect.gen(function*() {
          const { script, transactions } = yield* scripted(0)
          const write = yield* make(transactions)
          let broken = true
          script.fails = (sql) => sql === "ROLLBACK" && broken ? "SQLITE_IOERR" : undefined
          yield* Effect.exit(leaveOpen(transactions, write))
          for (const v of ["a", "b"]) {
            const exit = yield* Effect.exit(write(v))
            expect(["StoreUnavailable", "SqlError"]).toContain(tagOf(exit))
            expect(JSON.stringify(exit)).toContain("SQLITE_IOERR")
          }
          // Nothing but attempts to roll back has run in it.
          expect(script.rows).toEqual(["stranger"])
          broken = false
          yield* write("next")
          expect(script.isInTransaction).toBe(false)
          expect(script.rows).toEqual(["next"])
        }))
    }
  }

  it.scoped("after a commit that failed is not forgotten either", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(0)
      let left = 1
      script.fails = (sql) => (sql === "COMMIT" || sql === "ROLLBACK") && left > 0 ? "SQLITE_IOERR" : undefined
      const exit = yield* Effect.exit(
        transactions.withTransaction(inTransaction(transactions, "stranger"), (error) => error)
      )
      expect(tagOf(exit)).toBe("StoreUnavailable")
      left = 0
      yield* transactions.autocommit(insertInto("next"))
      expect(script.isInTransaction).toBe(false)
      expect(script.rows).toEqual(["next"])
    }))

  it.scoped("gives the writer back where a connection could not be reserved in a scope that stays open", () =>
    Effect.gen(function*() {
      const { script, transactions } = yield* scripted(0)
      let broken = true
      script.fails = (sql) => sql === "ROLLBACK" && broken ? "SQLITE_IOERR" : undefined
      yield* Effect.exit(transactions.withTransaction(Effect.fail("on purpose"), (error) => error))
      expect(tagOf(yield* Effect.exit(transactions.reserve))).toBe("SqlError")
      broken = false
      yield* transactions.autocommit(insertInto("next"))
      expect(script.rows).toEqual(["next"])
    }))
})

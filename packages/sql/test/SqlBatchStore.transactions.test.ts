/**
 * The store of batches inside transactions of its database.
 */
import { describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import { Deferred, Effect, Fiber, Option } from "effect"
import { add, batch, failure, pending, store, take, takeNumbers } from "./batchStores.ts"
import { foreign, tagOf } from "./database.ts"

/** What each listener was told, in order. */
const endings = () => {
  const told: Array<string> = []
  const listen = (queue: BatchStore.QueueStore, name: string) =>
    Effect.map(queue.transaction, (transaction) =>
      Option.getOrThrow(transaction).unsafeOnEnd((committed) => {
        told.push(`${name}: ${committed ? "committed" : "undone"}`)
      }))
  return { told, listen }
}

describe("in a transaction of the same database", () => {
  it.scopedLive("what is appended is seen by it at once, and by others once it commits", () =>
    Effect.gen(function*() {
      const { filename, queue, withTransaction } = yield* store()
      const db = yield* foreign(filename)
      const count = () => db.prepare("SELECT count(*) AS n FROM sluice_batches").get()
      yield* withTransaction(Effect.gen(function*() {
        yield* add(queue, 1, 2)
        expect(yield* pending(queue)).toBe(2)
        expect(count()).toEqual({ n: 0 })
      }))
      expect(count()).toEqual({ n: 2 })
      expect(yield* takeNumbers(queue)).toEqual([1, 2])
    }))

  it.scopedLive("every operation is undone with it", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      yield* add(queue, 1, 2, 3, 4, 5, 6)
      const [settled, released, dead, first, second] = yield* take(queue, 5)
      yield* queue.deadLetter([dead], { reason: "some", failure })
      const before = yield* queue.stats
      const all = Effect.gen(function*() {
        yield* queue.append({ batches: [batch(7, { ids: ["a"] })], idWindowMillis: 60_000 })
        yield* queue.claim({ limit: 1, leaseMillis: 60_000, settle: [settled] })
        yield* queue.release([released], {})
        yield* queue.redrive({ filter: {}, limit: 9 })
        yield* queue.divide([first, second], [{ ...batch(9), becomes: { _tag: "Kept", failure } }])
        yield* queue.hold(60_000)
        yield* queue.forgive([first])
        return yield* Effect.fail("undo")
      })
      expect(yield* Effect.flip(withTransaction(all))).toBe("undo")
      expect(yield* queue.stats).toEqual(before)
      yield* queue.settle([settled, released, first, second])
      expect(yield* queue.append({ batches: [batch(7, { ids: ["a"] })], idWindowMillis: 60_000 })).toMatchObject({
        appended: 1
      })
      expect(yield* takeNumbers(queue)).toEqual([6, 7])
    }))

  it.scopedLive("a savepoint that fails takes only its own with it", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      yield* withTransaction(Effect.gen(function*() {
        yield* add(queue, 1)
        yield* Effect.ignore(withTransaction(Effect.zipRight(add(queue, 2), Effect.fail("undo"))))
        yield* withTransaction(add(queue, 3))
      }))
      expect(yield* takeNumbers(queue)).toEqual([1, 3])
    }))

  it.scopedLive("a lost lease is told, and what was still held is done", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      yield* add(queue, 1, 2)
      const [first, second] = yield* take(queue)
      yield* queue.settle([first])
      const lost = yield* withTransaction(Effect.flip(queue.settle([first, second])))
      expect(lost).toMatchObject({
        _tag: "LeaseLost",
        queue: "orders",
        claims: [{ sequence: first.sequence, token: first.token }]
      })
      expect(yield* pending(queue)).toBe(0)
    }))

  it.scopedLive("an operation that fails leaves the rest of the transaction as it was", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      yield* withTransaction(Effect.gen(function*() {
        yield* add(queue, 1)
        const error = yield* Effect.flip(queue.append({ batches: [batch(2), batch(3, { items: Number.NaN })] }))
        expect(error).toMatchObject({ _tag: "StoreUnavailable", reason: "failed" })
        yield* add(queue, 4)
      }))
      expect(yield* takeNumbers(queue)).toEqual([1, 4])
    }))

  it.scopedLive("it never waits for those outside, who wait for it", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const outside = yield* withTransaction(Effect.gen(function*() {
        const fibers = yield* Effect.sync(() => Array.from({ length: 5 }, (_, n) => Effect.runFork(add(queue, n))))
        yield* Effect.sleep("5 millis")
        yield* add(queue, 9)
        return fibers
      }))
      yield* Fiber.joinAll(outside)
      expect(yield* takeNumbers(queue)).toEqual([9, 0, 1, 2, 3, 4])
    }))

  it.scopedLive("a queue that it has made is made anew where it was rolled back", () =>
    Effect.gen(function*() {
      const { batches, withTransaction } = yield* store()
      const made = yield* Deferred.make<BatchStore.QueueStore>()
      yield* Effect.ignore(withTransaction(Effect.gen(function*() {
        const queue = yield* batches.queue("new")
        yield* add(queue, 1)
        yield* Deferred.succeed(made, queue)
        return yield* Effect.fail("undo")
      })))
      const another = yield* batches.queue("another")
      const queue = yield* Deferred.await(made)
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 0 } })
      yield* add(another, 2)
      yield* add(queue, 3)
      expect(yield* takeNumbers(queue)).toEqual([3])
      expect(yield* takeNumbers(another)).toEqual([2])
    }))

  it.scopedLive("whoever outlives it is refused, and told of no transaction", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const ended = yield* Deferred.make<void>()
      const late = yield* withTransaction(
        Effect.forkDaemon(Effect.zipRight(
          Deferred.await(ended),
          Effect.all([Effect.map(queue.transaction, Option.isSome), Effect.flip(add(queue, 1))])
        ))
      )
      yield* Deferred.succeed(ended, undefined)
      // Not joined: who joins a fiber takes over its context, and with it the transaction that is over.
      expect(yield* Effect.flatten(Fiber.await(late))).toMatchObject([
        false,
        { _tag: "StoreUnavailable", reason: "failed" }
      ])
      expect(yield* pending(queue)).toBe(0)
    }))
})

describe("who asks how a transaction ends is told once", () => {
  it.scopedLive("when the whole of it is committed, and not before", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const { listen, told } = endings()
      yield* withTransaction(Effect.gen(function*() {
        yield* listen(queue, "outer")
        yield* withTransaction(Effect.zipRight(listen(queue, "inner"), withTransaction(listen(queue, "innermost"))))
        yield* Effect.ignore(withTransaction(Effect.zipRight(listen(queue, "undone"), Effect.fail("undo"))))
        expect(told).toEqual(["undone: undone"])
      }))
      expect([...told].sort()).toEqual([
        "inner: committed",
        "innermost: committed",
        "outer: committed",
        "undone: undone"
      ])
      expect(yield* queue.transaction).toEqual(Option.none())
    }))

  it.scopedLive("when it is rolled back, with the savepoints that were kept", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const { listen, told } = endings()
      const exit = yield* Effect.exit(withTransaction(Effect.gen(function*() {
        yield* withTransaction(listen(queue, "inner"))
        yield* listen(queue, "outer")
        return yield* Effect.die("broken")
      })))
      expect(tagOf(exit)).toBe("defect")
      expect([...told].sort()).toEqual(["inner: undone", "outer: undone"])
    }))

  it.scopedLive("when the commit fails", () =>
    Effect.gen(function*() {
      const { queue, sql, withTransaction } = yield* store()
      yield* sql`PRAGMA foreign_keys = 1`
      yield* sql`CREATE TABLE parents (id INTEGER PRIMARY KEY)`
      yield* sql`CREATE TABLE children (parent REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`
      const { listen, told } = endings()
      const exit = yield* Effect.exit(
        withTransaction(Effect.all([add(queue, 1), listen(queue, "some"), sql`INSERT INTO children VALUES (1)`]))
      )
      expect(tagOf(exit)).toBe("TransactionFailed")
      expect(told).toEqual(["some: undone"])
      expect(yield* pending(queue)).toBe(0)
    }))

  it.scopedLive("when a statement ends it from inside", () =>
    Effect.gen(function*() {
      const { queue, sql, withTransaction } = yield* store()
      yield* sql`CREATE TABLE t (v TEXT UNIQUE)`
      yield* sql`INSERT INTO t VALUES ('a')`
      const { listen, told } = endings()
      const exit = yield* Effect.exit(withTransaction(Effect.gen(function*() {
        yield* listen(queue, "outer")
        yield* withTransaction(
          Effect.zipRight(listen(queue, "inner"), Effect.ignore(sql`INSERT OR ROLLBACK INTO t VALUES ('a')`))
        )
      })))
      expect(tagOf(exit)).toBe("TransactionEnded")
      expect([...told].sort()).toEqual(["inner: undone", "outer: undone"])
    }))

  it.scopedLive("when it is interrupted, and by a listener that throws nobody else is hurt", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const { listen, told } = endings()
      const began = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(withTransaction(Effect.gen(function*() {
        const transaction = Option.getOrThrow(yield* queue.transaction)
        transaction.unsafeOnEnd(() => {
          throw new Error("a listener")
        })
        yield* listen(queue, "some")
        yield* Deferred.succeed(began, undefined)
        return yield* Effect.never
      })))
      yield* Deferred.await(began)
      expect(tagOf(yield* Fiber.interrupt(fiber))).toBe("interrupted")
      expect(told).toEqual(["some: undone"])
      yield* add(queue, 1)
    }))

  it.scopedLive("also where what asks has been left behind in a savepoint", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const { listen, told } = endings()
      const inside = yield* Deferred.make<void>()
      yield* withTransaction(Effect.gen(function*() {
        yield* listen(queue, "outer")
        yield* Effect.forkDaemon(
          withTransaction(Effect.zipRight(
            listen(queue, "left behind"),
            Effect.zipRight(Deferred.succeed(inside, undefined), Effect.never)
          ))
        )
        yield* Deferred.await(inside)
      }))
      expect([...told].sort()).toEqual(["left behind: undone", "outer: committed"])
    }))

  it.scopedLive("and at once where it has ended already", () =>
    Effect.gen(function*() {
      const { queue, withTransaction } = yield* store()
      const asked = queue.transaction
      const kept = yield* withTransaction(withTransaction(asked))
      const told: Array<boolean> = []
      Option.getOrThrow(kept).unsafeOnEnd((committed) => told.push(committed))
      expect(told).toEqual([true])
    }))
})

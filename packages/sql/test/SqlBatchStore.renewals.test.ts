/**
 * A renewal goes before whatever waits for the writer: otherwise a claim would take what this process still has in hand.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue } from "@sluice/core"
import { SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Context, Deferred, Effect, Exit, Fiber, Schema, Scope, TestClock } from "effect"
import { behindOf } from "../src/internal/writer/behind.ts"
import { add, store, takeNumbers } from "./batchStores.ts"
import { foreign } from "./database.ts"

/** A queue with one batch that is claimed for a second, and one that is not. */
const claimed = Effect.gen(function*() {
  const opened = yield* store()
  const { queue } = opened
  yield* add(queue, 1)
  const { batches } = yield* queue.claim({ limit: 1, leaseMillis: 1000 })
  return { ...opened, renew: queue.extend(batches, { leaseMillis: 60_000 }) }
})

/** Forks, and sees to it that it waits before the next one does. */
const inOrder = <A, E>(effect: Effect.Effect<A, E>) => Effect.zipLeft(Effect.fork(effect), TestClock.adjust(1))

describe("a renewal", () => {
  it.scoped("goes before the claims and the writes that wait for a transaction of ours, though it came last", () =>
    Effect.gen(function*() {
      const { queue, renew, withTransaction } = yield* claimed
      const go = yield* Deferred.make<void>()
      const holding = yield* inOrder(withTransaction(Deferred.await(go)))
      const claiming = yield* inOrder(takeNumbers(queue))
      const writing = yield* inOrder(withTransaction(Effect.void))
      const adding = yield* inOrder(add(queue, 2))
      const renewing = yield* inOrder(renew)
      // The lease has run out, and the claim would take the batch.
      yield* TestClock.adjust("5 seconds")
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(renewing)
      expect(yield* Fiber.join(claiming)).not.toContain(1)
      yield* Fiber.join(holding)
      yield* Fiber.join(writing)
      yield* Fiber.join(adding)
    }))

  for (const kind of ["claims", "transactions"] as const) {
    it.scoped(`goes before ${kind} that have their turn already, and wait for a lock of somebody else`, () =>
      Effect.gen(function*() {
        const { filename, queue, renew, withTransaction } = yield* claimed
        const db = yield* foreign(filename)
        db.exec("BEGIN IMMEDIATE")
        const claim: Effect.Effect<ReadonlyArray<number>, unknown> = takeNumbers(queue)
        const claiming = yield* inOrder(kind === "claims" ? claim : withTransaction(claim))
        const renewing = yield* inOrder(renew)
        yield* TestClock.adjust("5 seconds")
        db.exec("ROLLBACK")
        yield* TestClock.adjust("100 millis")
        yield* Fiber.join(renewing)
        expect(yield* Fiber.join(claiming)).toEqual([])
      }))
  }

  it.scoped("waits for one write of a coordinator at most, not for its whole group", () =>
    Effect.gen(function*() {
      const { context, queue, renew } = yield* claimed
      const writes = yield* Effect.provide(
        WriteCoordinator.make({ name: "writes", writeTimeout: "5 minutes" }),
        context
      )
      const first = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const blocking = yield* inOrder(writes.submit(Deferred.await(first), { name: "blocking" }))
      const order: Array<string> = []
      const write = (name: string) =>
        writes.submit(Effect.zipLeft(takeNumbers(queue), Effect.sync(() => order.push(name))), { name })
      const a = yield* inOrder(writes.submit(Deferred.await(go), { name: "a" }))
      const [b, c] = [yield* inOrder(write("b")), yield* inOrder(write("c"))]
      // Now a, b and c are one group.
      yield* Deferred.succeed(first, undefined)
      yield* Fiber.join(blocking)
      const renewing = yield* inOrder(renew)
      yield* TestClock.adjust("5 seconds")
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(renewing)
      yield* Fiber.join(a)
      // These would have taken the batch before.
      expect([yield* Fiber.join(b), yield* Fiber.join(c), order]).toEqual([[], [], ["b", "c"]])
      expect(yield* writes.metrics).toMatchObject({ succeeded: 4, failed: 0, depth: 0, inFlight: 0, batches: 3 })
    }))

  it.scoped("is a part of the transaction that it is in", () =>
    Effect.gen(function*() {
      const { renew, withTransaction } = yield* claimed
      yield* Effect.ignore(withTransaction(Effect.zipRight(renew, Effect.fail("rolled back"))))
      yield* withTransaction(renew)
    }))

  it.scoped("that is interrupted while it waits stops nobody behind it", () =>
    Effect.gen(function*() {
      const { queue, renew, withTransaction } = yield* claimed
      const go = yield* Deferred.make<void>()
      const holding = yield* inOrder(withTransaction(Deferred.await(go)))
      const adding = yield* inOrder(add(queue, 2))
      const renewing = yield* inOrder(renew)
      yield* Fiber.interrupt(renewing)
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(holding)
      yield* Fiber.join(adding)
      yield* renew
    }))

  it.scoped("that waits for a lock of somebody else is refused when the store closes, like all others", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { filename, queue, renew } = yield* Scope.extend(claimed, scope)
      const db = yield* foreign(filename)
      db.exec("BEGIN IMMEDIATE")
      const fibers = [yield* inOrder(Effect.asVoid(add(queue, 2))), yield* inOrder(renew)]
      yield* Scope.close(scope, Exit.void)
      for (const fiber of fibers) {
        expect(yield* Effect.flip(Fiber.join<void, unknown>(fiber))).toMatchObject({ reason: "closed" })
      }
    }))
})

it.scoped("the database of a queue knows the bounds of waits for the writer, and the leases", () =>
  Effect.gen(function*() {
    const { context } = yield* store({ busyTimeout: "2 seconds" })
    const { transactions } = behindOf(Context.get(context, SqlTransaction.SqlTransaction))!
    expect(transactions.longestWaitMillis).toBe(2000)
    const coordinator = (writeTimeout: string) =>
      Effect.provide(WriteCoordinator.make({ name: "w", writeTimeout: writeTimeout as "1 second" }), context)
    yield* Effect.scoped(Effect.gen(function*() {
      yield* coordinator("1 second")
      expect(transactions.longestWaitMillis).toBe(2000)
      yield* coordinator("7 seconds")
      expect(transactions.longestWaitMillis).toBe(7000)
      expect(transactions.bounds.writeTimeoutMillis).toBe(7000)
    }))
    expect(transactions.longestWaitMillis).toBe(2000)

    const ends = [transactions.registerLease(30_000, "slow"), transactions.registerLease(3000, "quick")]
    expect(transactions.bounds.shortestLease).toEqual({ leaseMillis: 3000, queue: "quick" })
    yield* Effect.scoped(coordinator("1 second"))
    expect(yield* Effect.scoped(Effect.flip(coordinator("1001 millis")))).toMatchObject({
      _tag: "InvalidOption",
      queue: "w",
      field: "writeTimeout",
      value: "1001 millis",
      limit: "at most a third of the leaseDuration of queue \"quick\", which is 3000 ms"
    })
    // The default is 10 seconds, a third of the default lease. What is refused is not registered.
    yield* Effect.scoped(Effect.flip(Effect.provide(WriteCoordinator.make({ name: "w" }), context)))
    expect(transactions.bounds.writeTimeoutMillis).toBe(0)
    ends[1]()
    yield* Effect.scoped(Effect.provide(WriteCoordinator.make({ name: "w" }), context))
    ends[0]()
    yield* Effect.scoped(coordinator("1 hour"))
  }))

describe("the lease of a queue", () => {
  const limit = (millis: number) =>
    `at least ${millis} milliseconds, three times as long as the store may wait for its turn to write`

  it.scoped("is three times as long as every bound on a wait for the writer, or it is refused", () =>
    Effect.gen(function*() {
      const { context } = yield* store({ busyTimeout: "2 seconds" })
      const open = (leaseDuration: number) =>
        Effect.asVoid(Effect.provide(
          BatchQueue.make({ name: "orders", schema: Schema.Number, leaseDuration, process: () => Effect.void }),
          context
        ))
      const coordinator = (writeTimeout: number) =>
        Effect.asVoid(Effect.provide(WriteCoordinator.make({ name: "writes", writeTimeout }), context))
      const refused = { _tag: "InvalidOption", queue: "orders", field: "leaseDuration" }
      expect(yield* Effect.scoped(Effect.flip(open(5999)))).toMatchObject({
        ...refused,
        value: 5999,
        limit: limit(6000)
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* coordinator(3000)
        expect(yield* Effect.flip(open(8999))).toMatchObject({ ...refused, value: 8999, limit: limit(9000) })
        yield* Effect.scoped(open(9000))
      }))
      // Whichever comes first.
      yield* Effect.scoped(Effect.gen(function*() {
        yield* open(6000)
        expect(yield* Effect.flip(coordinator(2001))).toMatchObject({ _tag: "InvalidOption", field: "writeTimeout" })
        yield* Effect.scoped(coordinator(2000))
      }))
      yield* Effect.scoped(coordinator(2001))
    }))
})

/**
 * What comes back in the store of SQLite: leases wherever they are, and clocks that disagree.
 */
import { describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import { WriteCoordinator } from "@sluice/sql"
import { type Clock, Effect, TestClock } from "effect"
import { add, batch, failure, store, take } from "./batchStores.ts"
import { foreign } from "./database.ts"

const inMemory = { filename: ":memory:", checkpointInterval: "1000 days" } as const

const returned = (queue: BatchStore.QueueStore, limit = 10) =>
  Effect.map(
    queue.claim({ limit, leaseMillis: 60_000, turn: "returned" }),
    ({ batches, turn }) => [turn, ...batches.map(({ payload }) => payload[0])]
  )

/** Runs with a clock that goes before that of the others. */
const ahead = (millis: number) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) =>
    Effect.withClock(
      effect,
      Object.assign(Object.create(clock) as Clock.Clock, {
        unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + millis,
        currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + millis)
      })
    )
  )

describe("a lease that has run out comes back", () => {
  it.scoped("also from behind a dead letter that was put back into its place", () =>
    Effect.gen(function*() {
      const { queue } = yield* store(inMemory)
      yield* add(queue, 1, 2, 3, 4, 5)
      const [first, second, third] = yield* take(queue, 3)
      yield* queue.deadLetter([first], { reason: "some", failure })
      yield* queue.redrive({ filter: {}, limit: 10 })
      // Those who hold the others find them.
      yield* queue.extend([second], { leaseMillis: 10 })
      yield* queue.settle([third])
      yield* TestClock.adjust(10)
      expect(yield* returned(queue)).toEqual(["returned", 2])
      expect(yield* returned(queue)).toEqual(["fresh", 1, 4, 5])
    }))

  it.scoped("also from behind batches that were put back at once", () =>
    Effect.gen(function*() {
      const { queue } = yield* store(inMemory)
      yield* add(queue, 1, 2, 3, 4)
      const taken = yield* take(queue, 3)
      yield* queue.release(taken.slice(0, 2), { giveBack: true })
      yield* TestClock.adjust("1 minute")
      expect(yield* returned(queue)).toEqual(["returned", 3])
      expect(yield* returned(queue)).toEqual(["fresh", 1, 2, 4])
    }))

  it.scoped("also where what is leased came back before, from behind everything else", () =>
    Effect.gen(function*() {
      const { queue } = yield* store(inMemory)
      yield* add(queue, 1)
      const [claim] = yield* take(queue)
      yield* add(queue, 2, 3, 4)
      const failed = { _tag: "Released", failure } as const
      yield* queue.divide([claim], [{ ...batch(8), becomes: failed }, { ...batch(9), becomes: failed }])
      expect(yield* returned(queue)).toEqual(["returned", 8])
      yield* TestClock.adjust(1)
      expect(yield* returned(queue)).toEqual(["returned", 9])
      yield* TestClock.adjust("1 minute")
      expect(yield* returned(queue)).toEqual(["returned", 8])
      expect(yield* returned(queue)).toEqual(["returned", 9])
    }))
})

describe("clocks that disagree", () => {
  it.scoped("hide no id, also where the process that goes before goes on", () =>
    Effect.gen(function*() {
      const { batches, queue } = yield* store(inMemory)
      const other = yield* batches.queue("orders")
      // The store keeps ids in pieces of time of 1024 ms: it is in the next one.
      const [idWindowMillis, lead] = [1000, 1024]
      const append = (of: BatchStore.QueueStore, id: string) =>
        Effect.map(of.append({ batches: [batch(1, { ids: [id] })], idWindowMillis }), ({ appended }) => appended)
      yield* append(queue, "first")
      for (let n = 0; n < 20; n++) {
        yield* TestClock.adjust(100)
        expect(yield* ahead(lead)(append(other, `${n}`))).toBe(1)
        expect(yield* append(queue, `${n}`)).toBe(0)
        expect(yield* append(queue, `mine ${n}`)).toBe(1)
        expect(yield* ahead(idWindowMillis - 1)(append(other, `mine ${n}`))).toBe(0)
      }
    }))

  it.scoped("lengthen no lease of a process that is gone, for the next one", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_000_000)
      const { batches, filename, queue } = yield* store(inMemory)
      yield* add(queue, 1, 2)
      yield* ahead(3_600_000)(queue.claim({ limit: 1, leaseMillis: 3000 }))
      yield* ahead(3_600_000)(queue.hold(500))
      const next = yield* batches.queue("orders")
      const held = yield* next.claim({ limit: 1, leaseMillis: 3000 })
      expect(held).toMatchObject({ batches: [], nextAtMillis: 1_000_500 })
      yield* TestClock.adjust(3000)
      expect([filename, ...yield* returned(next)]).toEqual([":memory:", "returned", 1])
    }))

  it.scoped("are put right once more where the transaction that did so is undone", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_000_000)
      const { batches, queue, withTransaction } = yield* store(inMemory)
      yield* add(queue, 1)
      yield* ahead(3_600_000)(queue.claim({ limit: 1, leaseMillis: 3000 }))
      const next = yield* batches.queue("orders")
      yield* Effect.ignore(withTransaction(Effect.zipRight(returned(next), Effect.fail("undo"))))
      expect(yield* next.claim({ limit: 1, leaseMillis: 3000 })).toMatchObject({ nextAtMillis: 1_003_000 })
    }))
})

it.scoped("a store says how long its writers may have to wait, also of coordinators that come later", () =>
  Effect.gen(function*() {
    const { batches, context } = yield* store({ ...inMemory, busyTimeout: "2 seconds" })
    expect(batches.longestWaitMillis).toBe(2000)
    yield* Effect.provide(WriteCoordinator.make({ name: "writes", writeTimeout: "5 seconds" }), context)
    expect(batches.longestWaitMillis).toBe(5000)
  }))

it.scopedLive("what came back is settled, renewed, put back and set aside where it is, and counted", () =>
  Effect.gen(function*() {
    const { filename, queue } = yield* store()
    yield* queue.append({ batches: [1, 2, 3, 4, 5].map((n) => batch(n, { items: n })) as [BatchStore.NewBatch] })
    yield* queue.release(yield* take(queue), { failure })
    const claim = Effect.map(queue.claim({ limit: 1, leaseMillis: 60_000, turn: "returned" }), ({ batches }) => batches)
    const [[one], [two], [three], [four], [five]] = yield* Effect.replicateEffect(claim, 5)
    yield* queue.settle([one])
    yield* queue.release([two], {})
    yield* queue.release([three], { version: 7 })
    yield* queue.deadLetter([four], { reason: "some", failure })
    const [six] = yield* queue.divide([five], [
      { ...batch(6, { items: 6 }), becomes: { _tag: "Kept", failure } },
      { ...batch(7, { items: 7 }), becomes: { _tag: "Released" } }
    ])
    expect(yield* queue.stats).toMatchObject({
      pending: { batches: 4, items: 2 + 3 + 6 + 7 },
      newer: { batches: 1, items: 3 },
      dead: { batches: 1, items: 4 }
    })
    const db = yield* foreign(filename)
    const items = (table: string) => db.prepare(`SELECT items FROM sluice_${table} ORDER BY seq`).pluck().all()
    expect([items("batches"), items("resting"), items("dead")]).toEqual([[2, 7], [3, 6], [4]])
    yield* queue.settle([six])
    yield* queue.settle(
      yield* Effect.map(queue.claim({ limit: 1, leaseMillis: 9, turn: "returned", version: 6 }), (it) => it.batches)
    )
    yield* queue.settle(yield* claim)
    yield* queue.settle(yield* take(queue))
    expect(yield* queue.stats).toMatchObject({
      pending: { batches: 0, items: 0 },
      newer: { batches: 0, items: 0 }
    })
  }))

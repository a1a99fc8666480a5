/**
 * Several items that are offered together inside a transaction of the database that the queue is stored in.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue } from "@sluice/core"
import { SqlTransaction } from "@sluice/sql"
import { Effect, Exit, Schema } from "effect"
import { store } from "./batchStores.ts"

const { withTransaction } = SqlTransaction

/** A queue of numbers that nobody takes from, in a fresh file. */
const numbers = (options: Partial<BatchQueue.Options<number, number, never, never>> = {}) =>
  Effect.gen(function*() {
    const { context } = yield* store()
    const queue = yield* BatchQueue.make({
      name: "orders",
      schema: Schema.Number,
      workers: 0,
      process: () => Effect.void,
      flush: { size: 1000 },
      ...options
    }).pipe(Effect.provide(context))
    return { queue, context }
  })

const rolledBack = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.exit(withTransaction(Effect.zipRight(effect, Effect.fail("no"))))

const stored = (queue: BatchQueue.BatchQueue<number>) => Effect.map(queue.stats, ({ pending }) => pending.items)

describe("offerStoredAllOrNone inside a transaction", () => {
  it.scopedLive("stores the items with it", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        const ids = ["a", "b", "a"]
        expect(yield* withTransaction(queue.offerStoredAllOrNone([1, 2, 1], { ids }))).toEqual({
          stored: 2,
          duplicates: 1,
          dropped: 0,
          droppedByReason: {}
        })
        expect(yield* stored(queue)).toBe(2)
        expect(yield* queue.metrics).toMatchObject({ offered: 3, refused: 0, stored: 2, duplicates: 1 })
        expect(yield* withTransaction(queue.offerStoredAllOrNone([]))).toMatchObject({ stored: 0, dropped: 0 })
        // Outside they are known.
        expect(yield* queue.offerStoredAllOrNone([2, 3], { ids: ["b", "c"] })).toMatchObject({
          stored: 1,
          duplicates: 1
        })
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("leaves nothing behind where it is rolled back, and no id", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        let inside = 0
        const exit = yield* rolledBack(Effect.gen(function*() {
          yield* queue.offerStoredAllOrNone([1, 2], { ids: ["a", "b"] })
          inside = yield* stored(queue)
        }))
        expect(Exit.isFailure(exit)).toBe(true)
        expect(inside).toBe(2)
        expect(yield* stored(queue)).toBe(0)
        expect(yield* queue.metrics).toMatchObject({ offered: 2, refused: 2, stored: 0 })
        expect(yield* queue.offerStoredAllOrNone([1, 2], { ids: ["a", "b"] })).toMatchObject({ stored: 2 })
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("fails with what is wrong with an item, and once that is rolled back none of them is in", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        const error = yield* Effect.flip(withTransaction(queue.offerStoredAllOrNone([1, NaN, 3])))
        expect(error).toMatchObject({ _tag: "MalformedItem", reason: "unsupported", notTaken: [1, NaN, 3] })
        expect(yield* stored(queue)).toBe(0)
        expect((yield* queue.metrics).stored).toBe(0)
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("fails where the store has no more room", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers({ maxPending: { items: 2, whenFull: "reject" } })
      yield* Effect.gen(function*() {
        expect(yield* Effect.flip(withTransaction(queue.offerStoredAllOrNone([1, 2, 3])))).toMatchObject({
          _tag: "TooManyItems",
          notTaken: [1, 2, 3]
        })
        expect(yield* stored(queue)).toBe(0)
        expect(yield* withTransaction(queue.offerStoredAllOrNone([1, 2]))).toMatchObject({ stored: 2 })
      }).pipe(Effect.provide(context))
    }))

  it.scopedLive("refuses a list of ids that is too short, and counts nothing without one", () =>
    Effect.gen(function*() {
      const { context, queue } = yield* numbers()
      yield* Effect.gen(function*() {
        const offer = queue.offerStoredAllOrNone([1, 2], { ids: ["a"] })
        expect(yield* Effect.flip(offer)).toMatchObject({ _tag: "MalformedItem" })
        expect(yield* Effect.flip(withTransaction(offer))).toMatchObject({ _tag: "MalformedItem" })
        expect(yield* stored(queue)).toBe(0)
      }).pipe(Effect.provide(context))
    }))
})

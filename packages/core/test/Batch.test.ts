import { Batch, QueueError } from "@sluice/core"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { describe, expect, it } from "vitest"

const indexesOf = (indexes: Iterable<number>) => Effect.runSync(Effect.flip(Batch.failSome(indexes, "error"))).indexes

describe("failSome", () => {
  it("sorts the indexes by number, and names each once", () => {
    expect(indexesOf([10, 9, 2, 10, 2, 0])).toEqual([0, 2, 9, 10])
  })

  it("takes any iterable, and does not change it", () => {
    const indexes = Object.freeze([3, 1, 3])
    expect(indexesOf(indexes)).toEqual([1, 3])
    expect(indexesOf(new Set([3, 1]))).toEqual([1, 3])
    expect(indexesOf([])).toEqual([])
  })

  it("is an Effect that fails with a PartialFailure, which carries the error", () => {
    const error = { reason: "negative" }
    const failure = Effect.runSync(Effect.flip(Batch.failSome([1, 0], error)))
    expect(failure).toBeInstanceOf(QueueError.PartialFailure)
    expect(failure.error).toBe(error)
    expect(failure.message).toBe("2 items of the batch failed, the first with: {\"reason\":\"negative\"}")
  })

  it("says what the user's error says, without a stack of ours", () => {
    const cause = Effect.runSync(Effect.flip(Effect.sandbox(Batch.failSome([0], new Error("mailbox full")))))
    expect(Cause.pretty(cause)).toBe("PartialFailure: 1 item of the batch failed: mailbox full")
  })
})

describe("forEach", () => {
  const batchOf = (...items: [number, ...Array<number>]): Batch.Batch<number> => ({
    items,
    trigger: "size",
    attempt: 1,
    openedAt: 0,
    oldestAt: 0
  })

  it("runs for each item, with its index, in order, and succeeds where all do", () => {
    const seen: Array<readonly [number, number]> = []
    const run = Batch.forEach(batchOf(7, 8, 9), (item, index) => Effect.sync(() => seen.push([item, index])))
    expect(Effect.runSync(run)).toBeUndefined()
    expect(seen).toEqual([[7, 0], [8, 1], [9, 2]])
  })

  it("is a handler by itself where it is given only what to do with an item", async () => {
    let running = 0
    let most = 0
    const send = (item: number, index: number) =>
      Effect.gen(function*() {
        most = Math.max(most, ++running)
        yield* Effect.yieldNow()
        running -= 1
        if (item < 0) return yield* Effect.fail(`bad ${item} at ${index}`)
      })
    const failure = { indexes: [1], errors: ["bad -1 at 1"] }
    expect(await Effect.runPromise(Effect.flip(Batch.forEach(send)(batchOf(1, -1, 2))))).toMatchObject(failure)
    expect(most).toBe(1)
    const inTwos = Effect.flip(Batch.forEach(send, { concurrency: 2 })(batchOf(1, -1, 2)))
    expect(await Effect.runPromise(inTwos)).toMatchObject(failure)
    expect(most).toBe(2)
  })

  it("goes on after an item has failed, and fails for exactly those that have, each with its own error", () => {
    const done: Array<number> = []
    const run = Batch.forEach(
      batchOf(1, -1, 2, -2),
      (item) => item < 0 ? Effect.fail(`bad ${item}`) : Effect.sync(() => done.push(item))
    )
    for (let times = 0; times < 2; times++) {
      done.length = 0
      expect(Effect.runSync(Effect.flip(run))).toMatchObject({ indexes: [1, 3], errors: ["bad -1", "bad -2"] })
      expect(done).toEqual([1, 2])
    }
  })

  it("runs as many items at a time as it may, and tells of errors in the order of the items", async () => {
    let running = 0
    let most = 0
    const failsLast = Effect.gen(function*() {
      const last = yield* Effect.makeLatch()
      return yield* Effect.flip(
        Batch.forEach(batchOf(0, 1, 2, 3), (item) =>
          Effect.gen(function*() {
            most = Math.max(most, ++running)
            yield* item === 0 ? last.await : Effect.yieldNow()
            running -= 1
            if (item === 3) yield* last.open
            return yield* Effect.fail(item)
          }), { concurrency: 2 })
      )
    })
    expect(await Effect.runPromise(failsLast)).toMatchObject({ indexes: [0, 1, 2, 3], errors: [0, 1, 2, 3] })
    expect(most).toBe(2)
  })

  it.each<readonly [string, () => Effect.Effect<void, string>]>([
    ["dies", () => Effect.die("bug")],
    ["throws", () => {
      throw "bug"
    }],
    ["fails and dies", () => Effect.failCause(Cause.parallel(Cause.fail("no"), Cause.die("bug")))]
  ])("dies at once with an item that %s, whatever failed before", (_, defect) => {
    const started: Array<number> = []
    const run = Batch.forEach(batchOf(0, 1, 2), (item) => {
      started.push(item)
      return item === 0 ? Effect.fail("before") : defect()
    })
    const cause = Effect.runSync(Effect.flip(Effect.sandbox(run)))
    expect(Cause.failures(cause)).toHaveLength(0)
    expect(Array.from(Cause.defects(cause))).toEqual(["bug"])
    expect(started).toEqual([0, 1])
  })

  it("is interrupted with its items, and with an item that interrupts itself", async () => {
    const interrupted: Array<number> = []
    const waiting = Effect.gen(function*() {
      const started = yield* Effect.makeLatch()
      const fiber = yield* Effect.fork(
        Batch.forEach(batchOf(0, 1), (item) =>
          item === 0
            ? Effect.fail("before")
            : Effect.onInterrupt(
              Effect.zipRight(started.open, Effect.never),
              () => Effect.sync(() => interrupted.push(item))
            ))
      )
      yield* started.await
      return yield* Fiber.interrupt(fiber)
    })
    const exit = await Effect.runPromise(waiting)
    expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
    expect(interrupted).toEqual([1])
    const own = await Effect.runPromiseExit(Batch.forEach(batchOf(0), () => Effect.interrupt))
    expect(Exit.isFailure(own) && Cause.isInterruptedOnly(own.cause)).toBe(true)
  })
})

describe("triggers", () => {
  it("are all there", () => {
    const known: Record<Batch.Trigger, true> = {
      size: true,
      pushes: true,
      bytes: true,
      linger: true,
      manual: true,
      shutdown: true
    }
    expect(Batch.triggers).toEqual(Object.keys(known))
  })
})

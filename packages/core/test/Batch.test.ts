import { Batch, QueueError } from "@sluice/core"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
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

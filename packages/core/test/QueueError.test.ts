import { QueueError } from "@sluice/core"
import { describe, expect, it } from "vitest"
import { invalidKey, invalidWeight, offerTimeout, queueClosed, queueFull } from "../src/internal/intake/refusals.ts"

const refusal = { queue: "orders", item: 7, taken: 2, notTaken: [7, 8] }

describe("the message", () => {
  it.each<readonly [Error, string]>([
    [new QueueError.QueueFull(refusal), "queue \"orders\" is full"],
    [new QueueError.OfferTimeout({ ...refusal, timeoutMillis: 50 }), "queue \"orders\" had no room for 50 ms"],
    [new QueueError.QueueClosed({ queue: "orders", taken: 0, notTaken: [] }), "queue \"orders\" is closed"],
    [
      new QueueError.InvalidWeight({ ...refusal, weight: 9, capacity: 5 }),
      "queue \"orders\": an item weighs 9, but must weigh an integer from 1 to 5"
    ],
    [new QueueError.PartialFailure({ indexes: [], error: undefined }), "0 items of the batch failed"],
    [new QueueError.PartialFailure({ indexes: [4], error: "no" }), "1 item of the batch failed: no"],
    [
      new QueueError.PartialFailure({ indexes: [1, 2], error: "all", errors: ["first", "second"] }),
      "2 items of the batch failed, the first with: first"
    ]
  ])("of $_tag", (error, message) => {
    expect(error.message).toBe(message)
    expect(error).toBeInstanceOf(Error)
  })

  it.each<readonly [unknown, string]>([
    [0, "0"],
    [Number.NaN, "NaN"],
    ["", "\"\""],
    ["a \"name\"", "\"a \\\"name\\\"\""],
    [undefined, "undefined"],
    [null, "null"],
    [5n, "5"],
    [Symbol("s"), "Symbol(s)"],
    [Object.create(null), "an object"],
    [() => "a long source", "a function"]
  ])("of InvalidOption shows %s in a word", (value, shown) => {
    const error = new QueueError.InvalidOption({ queue: "orders", field: "capacity", value, limit: "at least 1" })
    expect(error.message).toBe(`orders: option "capacity" is ${shown}, but must be at least 1`)
  })

  const circle = Object.create(null)
  circle.self = {
    circle,
    get broken() {
      throw circle
    }
  }

  it.each<readonly [unknown, string]>([
    [new QueueError.QueueFull(refusal), "queue \"orders\" is full"],
    [new TypeError(""), "TypeError"],
    [{ code: 7 }, "{\"code\":7}"],
    [undefined, "undefined"],
    [circle, "an error of which there is no text"]
  ])("of PartialFailure shows the error of the first item", (error, shown) => {
    expect(new QueueError.PartialFailure({ indexes: [0], error }).message).toBe(`1 item of the batch failed: ${shown}`)
  })

  it.each<readonly [unknown, string]>([
    [new Error("boom"), "boom"],
    ["text", "text"],
    [undefined, "undefined"],
    [{ code: 7 }, "{\"code\":7}"],
    [Object.create(null), "{}"],
    [Symbol("s"), "Symbol(s)"]
  ])("of HandlerDefect shows the defect %s", (defect, shown) => {
    expect(new QueueError.HandlerDefect({ defect }).message).toBe(`the handler died: ${shown}`)
  })
})

describe("a refusal of an offer", () => {
  const made: ReadonlyArray<QueueError.OfferError<number>> = [
    queueFull(refusal, undefined),
    offerTimeout(refusal, 50, undefined),
    queueClosed("orders", 2, [7, 8]),
    invalidWeight(refusal, 9, 5),
    invalidKey({ queue: "orders", key: NaN, limit: "a key" }, refusal)
  ]

  it.each(made)("$_tag carries what was not taken", (error) => {
    expect(error).toMatchObject({ queue: "orders", taken: 2, notTaken: [7, 8] })
    if (error._tag !== "QueueClosed") expect(error.item).toBe(7)
  })

  it.each(made)("$_tag has no stack trace, which would cost microseconds", (error) => {
    expect(error.stack?.split("\n").filter((line) => line.trimStart().startsWith("at ")) ?? []).toEqual([])
  })

  it("leaves the stack traces of other errors as they are", () => {
    queueFull(refusal, undefined)
    expect(new Error("other").stack).toContain("at ")
    const limited = Error as { stackTraceLimit?: number }
    const before = limited.stackTraceLimit
    queueFull(refusal, undefined)
    expect(limited.stackTraceLimit).toBe(before)
  })
})

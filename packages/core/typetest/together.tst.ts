import { type BatchQueue, Codec, type QueueError, type Result, type WriteBehind } from "@sluice/core"
import { type Effect } from "effect"
import { describe, expect, it } from "tstyche"

interface Order {
  readonly id: string
}

declare const writeBehind: WriteBehind.WriteBehind<Order>
declare const batchQueue: BatchQueue.BatchQueue<Order>
declare const orders: ReadonlyArray<Order>

describe("offers of all or none", () => {
  it("never wait for room, so that there is no timeout of it", () => {
    type Error =
      | QueueError.QueueFull<Order>
      | QueueError.TooManyItems<Order>
      | QueueError.QueueClosed<Order>
      | QueueError.InvalidWeight<Order>
      | QueueError.InvalidKey<Order>
    expect(writeBehind.offerAllOrNone(orders)).type.toBe<Effect.Effect<WriteBehind.Taken, Error>>()
    expect(writeBehind.offerSettled(orders)).type.toBe<Effect.Effect<WriteBehind.Settlement, Error>>()
  })

  it("of a durable queue tell of items that cannot be stored, and never of weights", () => {
    type Error =
      | QueueError.QueueFull<Order>
      | QueueError.TooManyItems<Order>
      | QueueError.QueueClosed<Order>
      | QueueError.MalformedItem<Order>
      | QueueError.InvalidKey<Order>
    expect(batchQueue.offerAllOrNone(orders)).type.toBe<Effect.Effect<BatchQueue.Taken, Error>>()
    // Inside a transaction alone the store is asked before it answers.
    expect(batchQueue.offerStoredAllOrNone(orders, { ids: ["a"] })).type.toBe<
      Effect.Effect<BatchQueue.Storing, Error | QueueError.StoreUnavailable>
    >()
  })

  it("take only the items of their queue, and give back what was not taken", () => {
    expect(writeBehind.offerAllOrNone).type.not.toBeCallableWith([{ id: 1 }])
    expect(batchQueue.offerStoredAllOrNone).type.not.toBeCallableWith([{ id: 1 }])
    expect(batchQueue.offerStoredAllOrNone).type.not.toBeCallableWith(orders, { ids: [1] })
    expect<QueueError.TooManyItems<Order>["notTaken"]>().type.toBe<ReadonlyArray<Order>>()
    expect<QueueError.TooManyItems<Order>["item"]>().type.toBe<Order>()
  })
})

describe("Codec.inspect", () => {
  it("takes any value, and answers it or what is wrong with it", () => {
    expect(Codec.inspect({ maxDepth: 3 })(orders)).type.toBe<Result.Result<Codec.EncodedItem, Codec.Fault>>()
    expect(Codec.inspect).type.not.toBeCallableWith({ depth: 3 })
  })
})

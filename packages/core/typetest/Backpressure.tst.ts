import { Backpressure, PolicyQueue, type QueueError, type QueueEvent } from "@sluice/core"
import type { Effect, Queue } from "effect"
import { describe, expect, it } from "tstyche"

interface Order {
  readonly id: string
  readonly total: number
}

interface UrgentOrder extends Order {
  readonly deadline: Date
}

declare const orders: PolicyQueue.PolicyQueue<Order>

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

describe("a policy", () => {
  it("for items of any type serves a queue of orders", () => {
    expect<Backpressure.Policy<Order>>().type.toBeAssignableFrom<Backpressure.Policy<unknown>>()
    expect<Backpressure.Policy<Order>>().type.toBeAssignableFrom<Backpressure.Suspend>()
    expect<Backpressure.Policy<Order>>().type.toBeAssignableFrom<Backpressure.Reject>()
    expect<Backpressure.Policy<Order>>().type.toBeAssignableFrom<Backpressure.DropNewest>()
    expect<Backpressure.Policy<Order>>().type.toBeAssignableFrom<Backpressure.DropOldest>()
  })

  it("for orders serves a queue of a kind of order, and no queue of something else", () => {
    expect<Backpressure.Policy<UrgentOrder>>().type.toBeAssignableFrom<Backpressure.Policy<Order>>()
    expect<Backpressure.Policy<Order>>().type.not.toBeAssignableFrom<Backpressure.Policy<UrgentOrder>>()
    expect<Backpressure.Policy<unknown>>().type.not.toBeAssignableFrom<Backpressure.Policy<Order>>()
    expect<Backpressure.Policy<Date>>().type.not.toBeAssignableFrom<Backpressure.Policy<Order>>()
  })
})

describe("coalesceByKey", () => {
  const byId = Backpressure.coalesceByKey((order: Order) => order.id)

  it("has the type of what its key is of", () => {
    expect(byId).type.toBe<Backpressure.CoalesceByKey<Order>>()
    expect(boxed(PolicyQueue.make<Order>)).type.toBeCallableWith({ policy: byId, capacity: 1 })
    expect(boxed(PolicyQueue.make<UrgentOrder>)).type.toBeCallableWith({ policy: byId, capacity: 1 })
    expect(boxed(PolicyQueue.make<Date>)).type.not.toBeCallableWith({ policy: byId, capacity: 1 })
    expect(boxed(Backpressure.queue<Date>)).type.not.toBeCallableWith(byId, { capacity: 1 })
  })

  it("goes by keys of Sharding, and by nothing else", () => {
    expect(Backpressure.coalesceByKey<Order>).type.toBeCallableWith((order: Order) => order.total)
    expect(Backpressure.coalesceByKey<Order>).type.not.toBeCallableWith((order: Order) => order)
    expect(Backpressure.coalesceByKey<Order>).type.not.toBeCallableWith((order: Order) => BigInt(order.total))
    expect(Backpressure.coalesceByKey<Order>).type.not.toBeCallableWith((order: Order) => order.total > 1)
  })

  it("merges items of its own type", () => {
    expect(Backpressure.coalesceByKey<Order>).type.toBeCallableWith((order: Order) => order.id, {
      merge: (held: Order, next: Order) => ({ ...next, total: held.total + next.total })
    })
    expect(Backpressure.coalesceByKey<Order>).type.not.toBeCallableWith((order: Order) => order.id, {
      merge: () => "no order"
    })
  })

  it("falls back to one of the four others, not to itself or to a policy of one's own", () => {
    const key = (order: Order) => order.id
    expect(Backpressure.coalesceByKey<Order>).type.toBeCallableWith(key, { whenFull: Backpressure.suspend() })
    expect(Backpressure.coalesceByKey<Order>).type.toBeCallableWith(key, { whenFull: Backpressure.reject })
    expect(Backpressure.coalesceByKey<Order>).type.not.toBeCallableWith(key, { whenFull: byId })
    expect(Backpressure.coalesceByKey<Order>).type.not.toBeCallableWith(key, {
      whenFull: null! as Backpressure.Policy<unknown>
    })
  })
})

describe("the effects of a queue", () => {
  it("make fails with InvalidOption, and needs nothing", () => {
    expect(PolicyQueue.make<Order>({ policy: Backpressure.reject, capacity: 1 })).type.toBe<
      Effect.Effect<PolicyQueue.PolicyQueue<Order>, QueueError.InvalidOption>
    >()
    expect(Backpressure.queue<Order>(Backpressure.reject, { capacity: 1 })).type.toBe<
      Effect.Effect<Queue.Queue<Order>, QueueError.InvalidOption>
    >()
  })

  it("offer answers an outcome, or fails with what carries the item", () => {
    expect(orders.offer).type.toBe<
      (item: Order) => Effect.Effect<"accepted" | "coalesced" | "dropped", QueueError.OfferError<Order>>
    >()
    expect<QueueEvent.Outcome>().type.toBe<"accepted" | "coalesced" | "dropped">()
    expect<QueueError.OfferError<Order>["_tag"]>().type.toBe<
      "QueueFull" | "OfferTimeout" | "QueueClosed" | "InvalidWeight" | "InvalidKey"
    >()
    expect<QueueError.OfferError<Order>["notTaken"]>().type.toBe<ReadonlyArray<Order>>()
    expect<QueueError.QueueFull<Order>["item"]>().type.toBe<Order>()
    expect<QueueError.OfferTimeout<Order>["item"]>().type.toBe<Order>()
    expect<QueueError.InvalidWeight<Order>["item"]>().type.toBe<Order>()
  })

  it("offerAll answers counts, and fails with the same errors", () => {
    expect(orders.offerAll).type.toBe<
      (items: Iterable<Order>) => Effect.Effect<PolicyQueue.Taken, QueueError.OfferError<Order>>
    >()
  })

  it("unsafeOffer answers an outcome or a reason", () => {
    expect<PolicyQueue.UnsafeOutcome>().type.toBe<
      "accepted" | "coalesced" | "dropped" | "full" | "closed" | "invalid-weight" | "invalid-key"
    >()
    expect(orders.unsafeOffer).type.not.toBeCallableWith({ id: "no total" })
  })

  it("a queue can be consumed as an Effect Dequeue", () => {
    expect(orders.dequeue).type.toBe<Queue.Dequeue<Order>>()
  })

  it("a drop reason may be one of a policy of one's own", () => {
    expect<QueueEvent.DropReason>().type.toBeAssignableFrom<"drop-oldest" | "my-reason">()
  })
})

describe("a queue", () => {
  it("is invariant: orders can neither be offered as something else nor taken as a kind of order", () => {
    expect<PolicyQueue.PolicyQueue<UrgentOrder>>().type.not.toBeAssignableFrom<PolicyQueue.PolicyQueue<Order>>()
    expect<PolicyQueue.PolicyQueue<Order>>().type.not.toBeAssignableFrom<PolicyQueue.PolicyQueue<UrgentOrder>>()
  })
})

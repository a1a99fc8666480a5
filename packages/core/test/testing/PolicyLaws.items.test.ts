import { Backpressure } from "@sluice/core"
import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
import { Arbitrary, FastCheck, Schema } from "effect"
import { describe, expect, it } from "vitest"

class Order extends Schema.Class<Order>("Order")({ id: Schema.UUID, total: Schema.Int }) {}

const orders = Arbitrary.make(Order)

describe("items of an arbitrary", () => {
  it("are objects of their own, of which many have the same key, and others are new", () => {
    const drawn = FastCheck.sample(PolicyLaws.items(orders), { numRuns: 200, seed: 1 })
    expect(new Set(drawn).size).toBe(200)
    expect(drawn.every((order) => order instanceof Order)).toBe(true)
    const ids = new Set(drawn.map(({ id }) => id))
    expect(ids.size).toBeGreaterThan(20)
    expect(ids.size).toBeLessThan(150)
  })

  it("hold for a policy that coalesces them", () => {
    const policy = Backpressure.coalesceByKey((order: Order) => order.id)
    PolicyLaws.all({ policy, capacity: 2, items: PolicyLaws.items(orders), key: ({ id }) => id }, { runs: 50, seed: 1 })
  })

  it("find a policy that coalesces what has not the same key, which ids that never repeat do not", () => {
    const policy = Backpressure.coalesceByKey((order: Order) => order.id)
    const numbers = new WeakMap<Order, number>()
    let last = 0
    const key = (order: Order) => {
      if (!numbers.has(order)) numbers.set(order, last += 1)
      return numbers.get(order)!
    }
    const subject = { policy, capacity: 2, key }
    PolicyLaws.all({ ...subject, items: orders }, { runs: 50, seed: 1 })
    expect(() => PolicyLaws.all({ ...subject, items: PolicyLaws.items(orders) }, { runs: 50, seed: 1 })).toThrow(
      PolicyLaws.LawFailure
    )
  })
})

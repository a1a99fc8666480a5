import { Backpressure } from "@sluice/core"
import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
import * as PolicyModel from "@sluice/core/testing/PolicyModel"
import { FastCheck } from "effect"
import { describe, expect, it } from "tstyche"

describe("a law", () => {
  const items = PolicyLaws.items()

  it("takes a policy, and an arbitrary of items that the policy is for", () => {
    const byKey = Backpressure.coalesceByKey((item: PolicyLaws.Item) => item.key)
    const dates = Backpressure.coalesceByKey((date: Date) => date.getTime())
    expect(PolicyLaws.all).type.toBeCallableWith({ policy: Backpressure.reject, capacity: 1, items })
    expect(PolicyLaws.all).type.toBeCallableWith({ policy: byKey, capacity: 1, items }, { runs: 1, seed: 2 })
    expect(PolicyLaws.all<PolicyLaws.Item>).type.not.toBeCallableWith({ policy: dates, capacity: 1, items })
  })

  it("takes items of one's own, of an arbitrary", () => {
    const orders = PolicyLaws.items(FastCheck.record({ id: FastCheck.uuid(), total: FastCheck.nat() }))
    expect(orders).type.toBe<FastCheck.Arbitrary<{ id: string; total: number }>>()
    expect(PolicyLaws.items({ keys: ["a"] })).type.toBe<FastCheck.Arbitrary<PolicyLaws.Item>>()
    const byId = Backpressure.coalesceByKey((order: { readonly id: string }) => order.id)
    expect(PolicyLaws.all<{ id: string; total: number }>).type.toBeCallableWith({
      policy: byId,
      capacity: 1,
      items: orders,
      key: (order: { id: string }) => order.id
    })
    expect(PolicyLaws.all<{ id: number }>).type.not.toBeCallableWith({ policy: Backpressure.reject, items: orders })
  })

  it("about what is kept takes a model as well", () => {
    const subject = { policy: Backpressure.reject, capacity: 1, items }
    expect(PolicyLaws.kept<PolicyLaws.Item>).type.toBeCallableWith({
      ...subject,
      model: PolicyModel.accepted<PolicyLaws.Item>({ capacity: 1 })
    })
    expect(PolicyLaws.kept<PolicyLaws.Item>).type.not.toBeCallableWith(subject)
  })
})

import { Backpressure } from "@sluice/core"
import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
import * as PolicyModel from "@sluice/core/testing/PolicyModel"
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

  it("about what is kept takes a model as well", () => {
    const subject = { policy: Backpressure.reject, capacity: 1, items }
    expect(PolicyLaws.kept<PolicyLaws.Item>).type.toBeCallableWith({
      ...subject,
      model: PolicyModel.accepted<PolicyLaws.Item>({ capacity: 1 })
    })
    expect(PolicyLaws.kept<PolicyLaws.Item>).type.not.toBeCallableWith(subject)
  })
})

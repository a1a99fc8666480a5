import { Backpressure } from "@sluice/core"
import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
import * as PolicyModel from "@sluice/core/testing/PolicyModel"
import { describe, it } from "vitest"
import { campaign } from "./support/campaigns.ts"

type Item = PolicyLaws.Item

const capacities = [1, 2, 3, 7]
const runs = campaign(100)

const weightsUpTo = (capacity: number) => Array.from({ length: capacity }, (_, index) => index + 1)

describe.each(capacities)("with capacity %i", (capacity) => {
  const weigh = (item: Item) => item.weight
  const subjects: ReadonlyArray<
    readonly [Backpressure.Policy<Item>, (limits: PolicyModel.Limits<Item>) => PolicyModel.PolicyModel<Item>]
  > = [
    [Backpressure.suspend(), PolicyModel.everything],
    // Its time never comes: it must be like the one without.
    [Backpressure.suspend({ timeout: "1 second" }), PolicyModel.everything],
    [Backpressure.reject, PolicyModel.accepted],
    [Backpressure.dropNewest, PolicyModel.first],
    [Backpressure.dropOldest, PolicyModel.last]
  ]

  describe.each(subjects)("$_tag", (policy, model) => {
    it("keeps every law where each item counts as one", () => {
      PolicyLaws.all({ policy, capacity, items: PolicyLaws.items(), model: model({ capacity }) }, { runs })
    })

    it("keeps every law where items are weighed", () => {
      const items = PolicyLaws.items({ weights: weightsUpTo(capacity) })
      PolicyLaws.all({ policy, capacity, items, weigh, model: model({ capacity, weigh }) }, { runs })
    })
  })

  const fallbacks: ReadonlyArray<
    readonly [
      Backpressure.Suspend | Backpressure.Reject | Backpressure.DropNewest | Backpressure.DropOldest,
      PolicyModel.PolicyModel<Item>
    ]
  > = [
    [Backpressure.suspend(), PolicyModel.everything({ capacity })],
    [Backpressure.reject, PolicyModel.accepted({ capacity })],
    [Backpressure.dropNewest, PolicyModel.first({ capacity })],
    [Backpressure.dropOldest, PolicyModel.last({ capacity })]
  ]

  describe.each(fallbacks)("coalesceByKey, and $_tag when full", (whenFull, fallback) => {
    const key = (item: Item) => item.key
    const sum = (queued: Item, offered: Item): Item => ({ ...offered, value: queued.value + offered.value })

    it("keeps every law where the latest item replaces the one that waits", () => {
      const policy = Backpressure.coalesceByKey(key, { whenFull })
      const model = PolicyModel.latestOfEachKey({ key, whenFull: fallback })
      PolicyLaws.all({ policy, capacity, key, items: PolicyLaws.items(), model }, { runs })
    })

    it("keeps every law where items are merged", () => {
      const policy = Backpressure.coalesceByKey(key, { whenFull, merge: sum })
      const model = PolicyModel.latestOfEachKey({ key, whenFull: fallback, merge: sum })
      PolicyLaws.all({ policy, capacity, key, items: PolicyLaws.items(), merges: true, model }, { runs })
    })

    it("keeps every law where hardly any two items have the same key", () => {
      const keys = Array.from({ length: 40 }, (_, index) => index)
      const policy = Backpressure.coalesceByKey(key, { whenFull })
      const model = PolicyModel.latestOfEachKey({ key, whenFull: fallback })
      PolicyLaws.all({ policy, capacity, key, items: PolicyLaws.items({ keys }), model }, { runs })
    })
  })
})

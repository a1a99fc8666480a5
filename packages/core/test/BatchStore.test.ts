import { describe, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import * as BatchStoreLaws from "@sluice/core/testing/BatchStoreLaws"
import { Effect } from "effect"
import { campaign } from "./support/campaigns.ts"

describe("a store in memory keeps the laws", () => {
  for (const { check, name } of BatchStoreLaws.laws({ runs: campaign(100) })) {
    it.effect(name, () => Effect.provide(check, BatchStore.layerMemory))
  }
})

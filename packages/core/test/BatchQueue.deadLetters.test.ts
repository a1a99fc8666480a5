/**
 * The dead letters of a queue in memory: which of them are meant, how many, and how fast.
 */
import { describe } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import { deadLetterCases } from "./support/deadLetters.ts"

describe("of the dead letters in memory", () => {
  deadLetterCases(BatchStore.layerMemory)
})

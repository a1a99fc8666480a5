import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import { Cause, Exit } from "effect"
import { describe, expect, it } from "vitest"
import { program, type Setting } from "./support/batchPrograms.ts"
import { atLeast, forSeeds } from "./support/campaigns.ts"

const faults: ReadonlyArray<readonly [FaultyStore.Fault, number]> = [
  [{ _tag: "Fails" }, 0.08],
  [{ _tag: "Dies" }, 0.03],
  [{ _tag: "Slow", millis: 3 }, 0.1],
  [{ _tag: "Slow", millis: 40 }, 0.03],
  [{ _tag: "Hangs" }, 0.01]
]

const inTime: Setting = { plan: () => FaultyStore.never, losesAnswers: false, isInTime: true }
const tooSlow: Setting = { ...inTime, isInTime: false }
const failing: Setting = {
  plan: (seed) => FaultyStore.seeded(seed, faults),
  losesAnswers: false,
  isInTime: false
}
const losing: Setting = {
  plan: (seed) => FaultyStore.seeded(seed, [[{ _tag: "LosesAnswer" }, 0.1], ...faults]),
  losesAnswers: true,
  isInTime: false
}

const seen: Record<string, number> = {}

describe("over random offers, handlers, redrives, closings and schedules, and a second process that handles the rest", () => {
  it.each([
    ["in time", inTime, 0, 200],
    ["on a machine that is too slow", tooSlow, 0.02, 100],
    ["on a store that fails, dies, hangs and is slow", failing, 0, 200],
    ["on such a store, and a machine that is too slow", failing, 0.02, 100],
    ["on a store that loses its answers as well", losing, 0, 100]
  ])(
    "%s nothing is lost, invented or counted wrong, nothing hangs, and closing leaves nothing behind",
    async (_, setting, timerProbability, runs) => {
      await forSeeds(program(setting), { runs, yieldProbability: 0.05, timerProbability }, (run) => {
        const { exit, leftFibers, leftTimers } = run
        if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
        expect(exit.value.violations).toEqual([])
        expect(leftFibers).toEqual([])
        expect(leftTimers).toBe(0)
        for (const [key, count] of Object.entries(exit.value.seen)) seen[key] = (seen[key] ?? 0) + count
      })
    }
  )

  // They are only worth something while they do.
  it("every outcome is reached", () => {
    for (const [key, count] of Object.entries(seen)) expect([key, count >= atLeast(10)]).toEqual([key, true])
  })
})

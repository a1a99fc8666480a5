import { Cause, Exit } from "effect"
import { describe, expect, it } from "vitest"
import { type Outcome, program } from "./support/keyedBatch.ts"
import { atLeast, type Campaign, forSeeds } from "./support/campaigns.ts"

const seen: Record<string, number> = {}

const under = (
  isInTime: boolean,
  options: Campaign,
  check: (outcome: Outcome, left: number) => void
) =>
  forSeeds(
    program({ isInTime }),
    { yieldProbability: 0.05, timerProbability: isInTime ? 0 : 0.02, ...options },
    ({ exit, leftFibers, leftTimers }) => {
      if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
      check(exit.value, leftFibers.length + leftTimers)
    }
  )

describe("over random operations, loads, saves, interruptions, closings and schedules", () => {
  it.each([
    ["in time", true, 1200],
    ["on a machine that is too slow", false, 600]
  ])(
    "%s a resource is what its operations make of it one after another, every caller is told so, and nothing runs on",
    async (_, isInTime, runs) => {
      await under(isInTime, { runs }, ({ seen: reached, violations }, left) => {
        expect(violations).toEqual([])
        expect(left).toBe(0)
        for (const [key, count] of Object.entries(reached)) seen[key] = (seen[key] ?? 0) + count
      })
    }
  )

  // They are only worth something while they do.
  it("every outcome is reached", () => {
    expect(Object.keys(seen).length).toBeGreaterThan(30)
    for (const [key, count] of Object.entries(seen)) expect([key, count >= atLeast(10)]).toEqual([key, true])
  })

  // What is given up in the very end is interrupted, and ends when the processor has.
  it("no key is left when everything has ended", async () => {
    for (const isInTime of [true, false]) {
      await under(isInTime, { runs: 150, seed: 10_001 }, ({ keysLeft }) => expect(keysLeft).toBe(0))
    }
  })
})

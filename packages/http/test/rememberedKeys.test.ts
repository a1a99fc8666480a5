/**
 * Which keys are remembered, against a list that is gone through as a whole.
 */
import { expect, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { RememberedKeys, type Span } from "../src/internal/rememberedKeys.ts"

const windowMillis = 10

const spanOf = (size: number): Span => ({ position: 0, size, printAt: (position) => `${position}`, isLast: false })

const steps = fc.array(
  fc.record({
    key: fc.constantFrom("a", "b", "c", "d", "e"),
    size: fc.integer({ min: 0, max: 3 }),
    isSure: fc.boolean(),
    laterMillis: fc.integer({ min: 0, max: 4 })
  }),
  { maxLength: 60 }
)

it("the newest are remembered, at most so many, each from the last time on and for as long as the window is", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), steps, (limit, steps) => {
      const keys = new RememberedKeys(limit, windowMillis)
      let now = 0
      let remembered: ReadonlyArray<{ readonly key: string; readonly taken: number; readonly until: number }> = []
      for (const { isSure, key, laterMillis, size } of steps) {
        now += laterMillis
        const before = remembered.find((each) => each.key === key && each.until > now)
        const taken = Math.max(before?.taken ?? 0, isSure ? size : 0)
        keys.remember(key, spanOf(size), isSure, now)
        remembered = [...remembered.filter((each) => each.key !== key), { key, taken, until: now + windowMillis }]
          .filter(({ until }) => until > now)
          .slice(-limit)
        for (const key of ["a", "b", "c", "d", "e"]) {
          expect(keys.taken(key, now)).toBe(remembered.find((each) => each.key === key)?.taken ?? 0)
        }
      }
    }),
    { numRuns: 2_000 }
  )
})

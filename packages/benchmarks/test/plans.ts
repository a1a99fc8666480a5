import { expect } from "vitest"
import type { Plan } from "../src/Benchmark.ts"

/** Every ratio names two of its cases, no two measures are called the same, and all cases are used. */
export const expectWellFormed = ({ cases, ratios }: Plan): void => {
  const names = new Set(cases.map(({ name }) => name))
  expect(names.size).toBe(cases.length)
  for (const { above, below, subject } of ratios) {
    expect(names).toContain(above)
    expect(names).toContain(below)
    expect([above, below]).toContain(subject)
  }
  expect(new Set(ratios.map(({ measure }) => measure)).size).toBe(ratios.length)
  expect(new Set(ratios.flatMap(({ above, below }) => [above, below]))).toEqual(names)
}

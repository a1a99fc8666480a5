import * as Effect from "effect/Effect"
import { expect, it } from "vitest"
import { busy } from "../src/busy.ts"

it("each trial has figures that are numbers, and checks", async () => {
  const { trials = [] } = await Effect.runPromise(Effect.scoped(busy.plan))
  expect(trials.map(({ name }) => name)).toEqual([
    "a process whose event loop has turns of 5 ms",
    "a process whose event loop has turns of 14 ms",
    "an idle process"
  ])
  for (const { run } of trials) {
    const { checks, figures } = await Effect.runPromise(run(0.1))
    for (const { figure, value } of figures) expect([figure, Number.isFinite(value)]).toEqual([figure, true])
    expect(checks.length).toBeGreaterThan(0)
  }
})

import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { Turns } from "../src/internal/batchQueue/turns.ts"

// One worker or several that claim again and again, where both kinds are always there.

interface Run {
  readonly claims: { fresh: number; returned: number }
  readonly millis: { fresh: number; returned: number }
}

/** Each claim goes to the worker that is free first, and takes as long as its kind does. */
const simulate = (
  workers: number,
  durationOf: (turn: "fresh" | "returned", nth: number) => number,
  until: (run: Run) => boolean
): Run => {
  let now = 0
  const turns = new Turns(() => now, 0)
  const run: Run = { claims: { fresh: 0, returned: 0 }, millis: { fresh: 0, returned: 0 } }
  const free = Array.from({ length: workers }, () => ({ at: 0, end: () => {} }))
  for (let step = 0; step < 100_000 && !until(run); step++) {
    const next = free.reduce((one, other) => other.at < one.at ? other : one)
    now = next.at
    next.end()
    const turn = turns.next
    turns.claimed(turn, turn)
    const busy = turns.begin(turn, now)
    const millis = durationOf(turn, run.claims[turn])
    run.claims[turn] += 1
    run.millis[turn] += millis
    next.at = now + millis
    next.end = () => turns.end(busy, now)
  }
  return run
}

describe("turns", () => {
  it("give what is fresh at least half of the claims, however quick what comes back is", () => {
    FastCheck.assert(FastCheck.property(
      FastCheck.integer({ min: 1, max: 4 }),
      FastCheck.array(FastCheck.integer({ min: 0, max: 20 }), { minLength: 1 }),
      (workers, durations) => {
        const { claims } = simulate(
          workers,
          (turn, nth) => turn === "fresh" ? durations[nth % durations.length] + 1 : 0,
          ({ claims }) => claims.fresh + claims.returned === 200
        )
        expect(claims.fresh).toBeGreaterThanOrEqual(100)
      }
    ))
  })

  it("give what is fresh two thirds of the time, but for one claim of each worker, however slow what comes back is", () => {
    FastCheck.assert(FastCheck.property(
      FastCheck.integer({ min: 1, max: 4 }),
      FastCheck.integer({ min: 1, max: 50 }),
      FastCheck.integer({ min: 1, max: 2000 }),
      (workers, freshMillis, returnedMillis) => {
        const { millis } = simulate(
          workers,
          (turn) => turn === "fresh" ? freshMillis : returnedMillis,
          ({ millis }) => millis.fresh >= 20_000
        )
        expect(millis.returned).toBeLessThanOrEqual(millis.fresh / 2 + workers * (returnedMillis + freshMillis))
      }
    ))
  })

  it("give what comes back its turn all the same", () => {
    const { claims } = simulate(2, () => 10, ({ claims }) => claims.fresh + claims.returned === 1000)
    expect(claims.returned).toBeGreaterThanOrEqual(300)
  })

  it("save nothing up while nothing comes back", () => {
    const turns = new Turns(() => 0, 0)
    for (let i = 0; i < 1000; i++) {
      const asked = turns.next
      turns.claimed(asked, "fresh")
      turns.end(turns.begin("fresh", 0), 1000)
    }
    // It is there now: it gets one claim, and then the others get one.
    const order = Array.from({ length: 6 }, () => {
      const turn = turns.next
      turns.claimed(turn, turn)
      return turn
    })
    expect(order.filter((turn) => turn === "returned").length).toBeLessThanOrEqual(3)
  })

  it("look for what comes back at every other claim while nothing does", () => {
    const turns = new Turns(() => 0, 0)
    turns.claimed("fresh", "fresh")
    const asked = Array.from({ length: 6 }, () => {
      const turn = turns.next
      turns.claimed(turn, "fresh")
      return turn
    })
    expect(asked).toEqual(["returned", "fresh", "returned", "fresh", "returned", "fresh"])
  })

  it("let a worker wait only as long as what is fresh has had, and the slack", () => {
    let now = 0
    const turns = new Turns(() => now, 100)
    expect(turns.mayWait(100)).toBe(true)
    expect(turns.mayWait(101)).toBe(false)
    const waiting = turns.begin("returned", now)
    now = 60
    expect(turns.mayWait(40)).toBe(true)
    expect(turns.mayWait(41)).toBe(false)
    turns.end(waiting, now)
    const handling = turns.begin("fresh", now)
    now = 90
    expect(turns.mayWait(70)).toBe(true)
    expect(turns.mayWait(71)).toBe(false)
    turns.end(handling, now)
    turns.reset()
    expect(turns.mayWait(100)).toBe(true)
  })

  it("are forgotten where nothing is fresh", () => {
    const turns = new Turns(() => 0, 0)
    turns.end(turns.begin("returned", 0), 1000)
    turns.claimed("fresh", "returned")
    turns.claimed("fresh", "fresh")
    turns.claimed("fresh", "fresh")
    expect(turns.next).toBe("returned")
  })
})

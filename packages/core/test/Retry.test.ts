import { Retry, WriteBehind } from "@sluice/core"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import { describe, expect, it } from "vitest"

/** The delays of a schedule, stepped by hand: no time passes. Ends where the schedule does, or after `most` steps. */
const delaysOf = (schedule: Schedule.Schedule<unknown>, options?: { readonly most?: number; readonly seed?: number }) =>
  Effect.runSync(
    Effect.gen(function*() {
      const delays: Array<number> = []
      let state: unknown = schedule.initial
      let now = 1_700_000_000_000
      while (delays.length < (options?.most ?? 100)) {
        const [next, , decision] = yield* schedule.step(now, undefined, state)
        if (ScheduleDecision.isDone(decision)) break
        const delay = ScheduleIntervals.start(decision.intervals) - now
        delays.push(delay)
        now += delay
        state = next
      }
      return delays
    }).pipe(Effect.withRandom(Random.make(options?.seed ?? 1)))
  )

describe("the default of WriteBehind", () => {
  it("is 100, 200 and 400 ms, and then it is over", () => {
    expect(delaysOf(WriteBehind.defaultRetry)).toEqual([100, 200, 400])
  })
})

describe("exponential", () => {
  it("doubles up to the cap, for ever", () => {
    const delays = delaysOf(Retry.exponential({ base: 100, cap: "5 seconds" }), { most: 10 })
    expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000])
  })

  it("grows by another factor", () => {
    const delays = delaysOf(Retry.exponential({ base: 10, cap: "1 second", factor: 3 }), { most: 6 })
    expect(delays).toEqual([10, 30, 90, 270, 810, 1000])
  })

  it("caps the first delay as well", () => {
    expect(delaysOf(Retry.exponential({ base: "10 seconds", cap: "1 second" }), { most: 2 })).toEqual([1000, 1000])
  })

  it.each([[0, 0], [1, 1], [5, 5]])("with %i retries waits %i times", (retries, count) => {
    expect(delaysOf(Retry.exponential({ base: 1, cap: 10, retries }))).toHaveLength(count)
  })

  it.each([0, 0.1, 0.5, 1])(
    "never exceeds the cap with jitter %f, not at attempt 50 and not at attempt 2,000",
    (jitter) => {
      const cap = Duration.toMillis("1 hour")
      for (let seed = 1; seed <= 5; seed++) {
        const delays = delaysOf(Retry.exponential({ base: "1 second", cap: "1 hour", jitter }), { most: 2000, seed })
        expect(delays).toHaveLength(2000)
        expect(delays.every((delay) => delay >= 0 && delay <= cap)).toBe(true)
        expect(delays[49]).toBeGreaterThanOrEqual(cap * (1 - jitter))
        expect(delays[1999]).toBeGreaterThanOrEqual(cap * (1 - jitter))
      }
    }
  )

  it("varies a delay by its jitter, above and below", () => {
    const delays = Array.from(
      { length: 200 },
      (_, seed) => delaysOf(Retry.exponential({ base: 1000, cap: "1 hour", jitter: 0.1 }), { most: 1, seed })[0]
    )
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(900)
    expect(Math.max(...delays)).toBeLessThanOrEqual(1100)
    expect(delays.some((delay) => delay < 950)).toBe(true)
    expect(delays.some((delay) => delay > 1050)).toBe(true)
  })

  it("still varies once it has reached the cap, so that those who failed together do not come back together", () => {
    const delays = delaysOf(Retry.exponential({ base: 1000, cap: 1000, jitter: 0.1 }), { most: 100 })
    expect(delays.filter((delay) => delay < 1000).length).toBeGreaterThan(20)
    expect(delays.slice(50).some((delay) => delay < 950)).toBe(true)
    const grown = delaysOf(Retry.exponential({ base: 1, cap: 1000, jitter: 0.1 }), { most: 100 })
    expect(grown.slice(50).some((delay) => delay < 950)).toBe(true)
  })

  it("does not vary without jitter, whatever the seed", () => {
    const schedule = Retry.exponential({ base: 7, cap: 1000 })
    expect(delaysOf(schedule, { seed: 1, most: 20 })).toEqual(delaysOf(schedule, { seed: 2, most: 20 }))
  })

  it("is the same for the same seed", () => {
    const schedule = Retry.exponential({ base: 7, cap: 1000, jitter: 0.3 })
    expect(delaysOf(schedule, { seed: 3, most: 20 })).toEqual(delaysOf(schedule, { seed: 3, most: 20 }))
    expect(delaysOf(schedule, { seed: 3, most: 20 })).not.toEqual(delaysOf(schedule, { seed: 4, most: 20 }))
  })
})

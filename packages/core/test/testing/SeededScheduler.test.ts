import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { describe, expect, it } from "vitest"

const runAll = (scheduler: SeededScheduler.SeededScheduler): void => {
  while (scheduler.unsafeStep()) {
    // until nothing is ready
  }
}

describe("mulberry32", () => {
  it("gives the reference sequence", () => {
    // Worked out with the reference C code.
    const next = SeededScheduler.mulberry32(1)
    expect([next(), next(), next()]).toEqual([2693262067, 11749833, 2265367787])
  })

  it("spreads evenly, over one seed and over the first numbers of neighbouring seeds", () => {
    const one = SeededScheduler.mulberry32(42)
    const sources = [() => one(), (seed: number) => SeededScheduler.mulberry32(seed)()]
    for (const source of sources) {
      const buckets = Array.from({ length: 10 }, () => 0)
      for (let i = 0; i < 100_000; i++) {
        buckets[source(i) % 10]!++
      }
      expect(Math.min(...buckets)).toBeGreaterThan(9_500)
      expect(Math.max(...buckets)).toBeLessThan(10_500)
    }
  })
})

describe("SeededScheduler", () => {
  it("runs nothing by itself", async () => {
    const scheduler = SeededScheduler.make({ seed: 1 })
    const fiber = Effect.runFork(Effect.void, { scheduler, immediate: false })
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(fiber.unsafePoll()).toBeNull()
    expect(scheduler.hasReady).toBe(true)
    runAll(scheduler)
    expect(fiber.unsafePoll()).toEqual(Exit.void)
    expect(scheduler.unsafeStep()).toBe(false)
  })

  it("picks each ready task equally often", () => {
    const wins = [0, 0, 0, 0]
    for (let seed = 0; seed < 4000; seed++) {
      const scheduler = SeededScheduler.make({ seed })
      let first: number | undefined
      for (const i of wins.keys()) {
        scheduler.scheduleTask(() => {
          first ??= i
        }, 0)
      }
      runAll(scheduler)
      wins[first!]!++
    }
    expect(Math.min(...wins)).toBeGreaterThan(900)
    expect(Math.max(...wins)).toBeLessThan(1100)
  })

  it("keeps one fiber's tasks in order, lower priorities first, among those of others", () => {
    const orders = new Set<string>()
    for (let seed = 0; seed < 500; seed++) {
      const scheduler = SeededScheduler.make({ seed })
      const fiber = (): Fiber.RuntimeFiber<unknown, unknown> =>
        Effect.runFork(Effect.never, { scheduler: SeededScheduler.make({ seed }), immediate: false })
      const [a, b] = [fiber(), fiber()]
      const log: Array<string> = []
      scheduler.scheduleTask(() => log.push("a2"), 1, a)
      scheduler.scheduleTask(() => log.push("b1"), 0, b)
      scheduler.scheduleTask(() => log.push("a3"), 1, a)
      scheduler.scheduleTask(() => log.push("a1"), 0, a)
      scheduler.scheduleTask(() => log.push("b2"), 0, b)
      runAll(scheduler)
      expect(log.filter((one) => one.startsWith("a"))).toEqual(["a1", "a2", "a3"])
      expect(log.filter((one) => one.startsWith("b"))).toEqual(["b1", "b2"])
      orders.add(log.join(""))
    }
    expect(orders.size).toBe(10)
  })

  it("forces yields as often as told, and a yield brings on no others", () => {
    const operations = 20_000
    for (const yieldProbability of [0.02, 0.05, 0.2, 0.9]) {
      const scheduler = SeededScheduler.make({ seed: 9, yieldProbability })
      let left = operations
      const loop = Effect.whileLoop({ while: () => left > 0, body: () => Effect.sync(() => left--), step: () => {} })
      Effect.runFork(loop, { scheduler, immediate: false })
      runAll(scheduler)
      // If Effect wrapped the yield in a change of priority, which takes ten operations that may yield in turn, this
      // would come out too high; see `yieldWithoutPriority`.
      const expected = operations * yieldProbability / (1 - yieldProbability)
      expect(left).toBe(0)
      expect(scheduler.trace.forcedYields / expected).toBeGreaterThan(0.9)
      expect(scheduler.trace.forcedYields / expected).toBeLessThan(1.1)
    }
  })

  it("keeps Effect's own operation budget", () => {
    const steps = (yieldProbability: number) => {
      const scheduler = SeededScheduler.make({ seed: 9, yieldProbability })
      Effect.runFork(Effect.replicateEffect(Effect.sync(() => {}), 10_000, { discard: true }), {
        scheduler,
        immediate: false
      })
      runAll(scheduler)
      return scheduler.trace
    }
    expect(steps(0).forcedYields).toBe(0)
    expect(steps(0).length).toBeGreaterThanOrEqual(5)
    expect(steps(0.05).length).toBeGreaterThan(steps(0).length)
  })

  it("forgets a fiber once it has ended", () => {
    const scheduler = SeededScheduler.make({ seed: 1 })
    Effect.runFork(
      Effect.zipRight(
        Effect.forEach([1, 2, 3], () => Effect.forkDaemon(Effect.yieldNow())),
        Effect.forkDaemon(Effect.never)
      ),
      { scheduler, immediate: false }
    )
    expect(scheduler.unsafeFibers()).toMatchObject([{ index: 0, ready: true }])
    runAll(scheduler)
    const left = scheduler.unsafeFibers()
    expect(left).toMatchObject([{ ready: false }])
    left[0]!.fiber.unsafeInterruptAsFork(left[0]!.fiber.id())
    runAll(scheduler)
    expect(scheduler.unsafeFibers()).toEqual([])
  })
})

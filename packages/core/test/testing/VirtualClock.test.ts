import * as SeededRun from "@sluice/core/testing/SeededRun"
import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import * as VirtualClock from "@sluice/core/testing/VirtualClock"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { describe, expect, it } from "vitest"

const valueOf = <A, E>(run: SeededRun.Run<A, E>): A => {
  if (Exit.isSuccess(run.exit)) {
    return run.exit.value
  }
  throw new Error(Cause.pretty(run.exit.cause))
}

/** A clock and what is needed to move it by hand. */
const makeWorld = (seed: number, epochMillis?: number) => {
  const scheduler = SeededScheduler.make({ seed })
  const clock = VirtualClock.make({ scheduler, epochMillis })
  const fork = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.runFork(Effect.withClock(effect, clock), { scheduler, immediate: false })
  const settle = () => {
    while (scheduler.unsafeStep()) {
      // until nothing is ready
    }
  }
  return { clock, fork, settle }
}

describe("VirtualClock", () => {
  it("ends sleeps of days at once", () => {
    const run = SeededRun.run(Effect.repeatN(Effect.sleep("10 days"), 99), { seed: 1 })
    expect(Exit.isSuccess(run.exit)).toBe(true)
    expect(run.nowMillis).toBe(1000 * 86_400_000)
  })

  it("wakes sleepers in the order of their instants, on every schedule", () => {
    const delays = [5, 1, 400, 0, 30, 2, 1, 86_400_000, 31]
    const program = Effect.gen(function*() {
      const woken: Array<readonly [due: number, now: number]> = []
      yield* Effect.forEach(
        delays,
        (delay) =>
          Effect.flatMap(Clock.currentTimeMillis, (before) =>
            Effect.sleep(delay).pipe(
              Effect.zipRight(Clock.currentTimeMillis),
              Effect.map((now) => void woken.push([before + delay, now]))
            )),
        { concurrency: "unbounded" }
      )
      return woken
    })
    SeededRun.forSeeds(program, { runs: 300 }, (run) => {
      const woken = valueOf(run)
      expect(woken.map(([due]) => due)).toEqual([...delays].sort((a, b) => a - b))
      expect(woken.every(([due, now]) => due === now)).toBe(true)
    })
  })

  it("wakes sleepers that are due at the same instant in seeded order", () => {
    const program = Effect.suspend(() => {
      const woken: Array<number> = []
      return Effect.as(
        Effect.forEach([0, 1, 2], (n) => Effect.zipRight(Effect.sleep(10), Effect.sync(() => void woken.push(n))), {
          concurrency: "unbounded"
        }),
        woken
      )
    })
    const orders = (seed: number) => valueOf(SeededRun.run(program, { seed, yieldProbability: 0 })).join("")
    const seen = new Set(Array.from({ length: 200 }, (_, seed) => orders(seed)))
    expect([...seen].sort()).toEqual(["012", "021", "102", "120", "201", "210"])
    expect(orders(17)).toBe(orders(17))
  })

  it("lets a sleeper interrupt another that is due at the same instant", () => {
    const program = Effect.gen(function*() {
      const victim = yield* Effect.fork(Effect.sleep(10))
      yield* Effect.sleep(10)
      return Exit.isInterrupted(yield* Fiber.interrupt(victim))
    })
    const seen = new Set<boolean>()
    SeededRun.forSeeds(program, { runs: 300, yieldProbability: 0 }, (run) => {
      seen.add(valueOf(run))
      expect(run.leftTimers).toBe(0)
    })
    expect(seen).toEqual(new Set([true, false]))
  })

  it("keeps no timer of an interrupted sleep, wherever the interruption strikes", () => {
    const program = Effect.gen(function*() {
      const sleepers = yield* Effect.forEach(
        [1, 1, 2, 3, 3],
        (hours) => Effect.fork(Effect.sleep(Duration.hours(hours)))
      )
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(sleepers[1]!)
      yield* Fiber.interruptAll(sleepers)
    })
    SeededRun.forSeeds(program, { runs: 3000 }, (run) => {
      valueOf(run)
      expect(run.leftTimers).toBe(0)
      expect(run.leftFibers).toEqual([])
      expect(run.nowMillis).toBe(0)
    })
  })

  it("drops exactly the interrupted one among timers of the same instant", () => {
    const { clock, fork, settle } = makeWorld(1)
    const sleepers = [fork(Effect.sleep(5)), fork(Effect.sleep(5)), fork(Effect.sleep(5)), fork(Effect.sleep(9))]
    settle()
    expect(clock.timers).toBe(4)
    sleepers[1]!.unsafeInterruptAsFork(sleepers[1]!.id())
    settle()
    expect(clock.timers).toBe(3)
    expect(clock.unsafeAdvance()).toBe(true)
    expect(clock.timers).toBe(3)
    settle()
    expect(clock.timers).toBe(1)
    expect(sleepers.map((fiber) => fiber.unsafePoll()?._tag)).toEqual(["Success", "Failure", "Success", undefined])
    expect(clock.unsafeCurrentTimeMillis()).toBe(5)
    expect(clock.unsafeAdvance()).toBe(true)
    settle()
    expect(clock.unsafeAdvance()).toBe(false)
    expect(clock.unsafeCurrentTimeMillis()).toBe(9)
  })

  it("does not move while fibers are ready", () => {
    const program = Effect.gen(function*() {
      yield* Effect.fork(Effect.sleep(1))
      yield* Effect.repeatN(Effect.yieldNow(), 100)
      return yield* Clock.currentTimeMillis
    })
    SeededRun.forSeeds(program, { runs: 50 }, (run) => expect(valueOf(run)).toBe(0))
  })

  it("counts nanoseconds exactly, and shows whole milliseconds", () => {
    const { clock, fork, settle } = makeWorld(1, 1_700_000_000_000)
    fork(Effect.repeatN(Effect.sleep(Duration.micros(100n)), 9))
    const seen: Array<readonly [number, bigint]> = []
    settle()
    while (clock.unsafeAdvance()) {
      settle()
      seen.push([clock.unsafeCurrentTimeMillis(), clock.unsafeCurrentTimeNanos()])
    }
    expect(seen).toHaveLength(10)
    expect(seen[0]).toEqual([1_700_000_000_000, 1_700_000_000_000_100_000n])
    expect(seen[8]).toEqual([1_700_000_000_000, 1_700_000_000_000_900_000n])
    expect(seen[9]).toEqual([1_700_000_000_001, 1_700_000_000_001_000_000n])
  })

  it("drives schedules and timeouts", () => {
    const program = Effect.gen(function*() {
      let tries = 0
      yield* Effect.retry(
        Effect.suspend(() => ++tries < 6 ? Effect.fail("again") : Effect.void),
        Schedule.exponential("1 second")
      )
      return yield* Effect.sleep("1 hour").pipe(Effect.timeoutTo({
        duration: "1 minute",
        onSuccess: () => "slept",
        onTimeout: () => "timed out"
      }))
    })
    SeededRun.forSeeds(program, { runs: 100 }, (run) => {
      expect(valueOf(run)).toBe("timed out")
      expect(run.nowMillis).toBe((1 + 2 + 4 + 8 + 16 + 60) * 1000)
    })
  })
})

import * as SeededRun from "@sluice/core/testing/SeededRun"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import { describe, expect, it } from "vitest"

// Bugs planted on purpose, each next to its correction: the seeded schedule must find the one and pass the other, and
// the stock scheduler must not find it, or there would be no need for all this.

const searched = 1000

const firstFailure = <A, E>(
  program: SeededRun.Program<A, E>,
  check?: (run: SeededRun.Run<A, E>) => void
): SeededRun.SeedFailure => {
  try {
    SeededRun.forSeeds(program, { runs: searched }, check)
  } catch (error) {
    if (error instanceof SeededRun.SeedFailure) {
      return error
    }
    throw error
  }
  throw new Error(`the planted bug was not found in ${searched} runs`)
}

const valueOf = <A, E>(run: SeededRun.Run<A, E>): A => {
  if (Exit.isSuccess(run.exit)) {
    return run.exit.value
  }
  throw new Error(Cause.pretty(run.exit.cause))
}

describe("a lost wake-up", () => {
  interface Mailbox {
    readonly put: (value: number) => Effect.Effect<void>
    readonly take: Effect.Effect<number>
  }

  /** One slot, one taker. The taker looks into the slot and, when it is empty, registers to be woken. */
  const makeMailbox = (kind: "broken" | "correct"): Mailbox => {
    let slot: number | undefined
    let wake: (() => void) | undefined
    const wait = Effect.async<void>((resume) => {
      if (kind === "correct" && slot !== undefined) {
        resume(Effect.void)
      } else {
        wake = () => resume(Effect.void)
      }
    })
    const take: Effect.Effect<number> = Effect.flatMap(
      Effect.sync(() => slot),
      // Broken: a put that falls between the look above and the wait below wakes nobody.
      (value) => value === undefined ? Effect.flatMap(wait, () => take) : Effect.sync(() => (slot = undefined, value))
    )
    const put = (value: number) =>
      Effect.sync(() => {
        slot = value
        wake?.()
        wake = undefined
      })
    return { put, take }
  }

  const program = (kind: "broken" | "correct") => () =>
    Effect.gen(function*() {
      const mailbox = makeMailbox(kind)
      const taker = yield* Effect.fork(mailbox.take)
      yield* Effect.fork(mailbox.put(42))
      return yield* Fiber.join(taker)
    })

  it("is found as a deadlock, and the seed replays it", () => {
    const failure = firstFailure(program("broken"))
    expect(failure.runs).toBeLessThan(200)
    expect(failure.replayed).toBe(true)
    expect(failure.cause).toBeInstanceOf(SeededRun.Deadlock)
    for (let again = 0; again < 10; again++) {
      const run = SeededRun.run(program("broken")(), { seed: failure.seed })
      expect(Exit.isFailure(run.exit)).toBe(true)
    }
    expect(() => SeededRun.forSeeds(program("broken"), { runs: 1, seed: failure.seed })).toThrow(
      `seed ${failure.seed} failed (run 1)`
    )
  })

  it("is not there once the taker looks again as it registers", () => {
    const summary = SeededRun.forSeeds(program("correct"), { runs: 5000 }, (run) => expect(valueOf(run)).toBe(42))
    expect(summary.runs).toBe(5000)
    expect(summary.schedules).toBeGreaterThan(100)
  })

  it("is not found by the stock scheduler, nor by a random order without forced yields", async () => {
    for (let again = 0; again < searched; again++) {
      expect(await Effect.runPromise(Effect.timeoutOption(program("broken")(), "1 second"))).toMatchObject({
        value: 42
      })
    }
    SeededRun.forSeeds(program("broken"), { runs: searched, yieldProbability: 0 })
  })
})

describe("a lost update", () => {
  const program = (add: (count: Ref.Ref<number>) => Effect.Effect<void>) =>
    Effect.gen(function*() {
      const count = yield* Ref.make(0)
      yield* Effect.all([add(count), add(count), add(count)], { concurrency: "unbounded" })
      return yield* Ref.get(count)
    })
  const broken = program((count) => Effect.flatMap(Ref.get(count), (n) => Ref.set(count, n + 1)))
  const correct = program((count) => Ref.update(count, (n) => n + 1))
  const check = (run: SeededRun.Run<number, never>) => expect(valueOf(run)).toBe(3)

  it("is found when a fiber reads, yields and writes, and the seed replays it", () => {
    const failure = firstFailure(broken, check)
    expect(failure.runs).toBeLessThan(200)
    expect(failure.replayed).toBe(true)
    expect(valueOf(SeededRun.run(broken, { seed: failure.seed }))).toBeLessThan(3)
  })

  it("is not there in one synchronous update", () => {
    SeededRun.forSeeds(correct, { runs: 5000 }, check)
  })

  it("is not found by the stock scheduler", async () => {
    for (let again = 0; again < searched; again++) {
      expect(await Effect.runPromise(broken)).toBe(3)
    }
  })
})

// Not planted by us: Effect 3.22 installs the canceller of `Effect.async` one operation after it has called `register`,
// and an interruption in between skips it. Sluice's waiting lists put their clean-up around the wait instead.
describe("a waiter left behind by the canceller of Effect.async", () => {
  const program = (wait: (waiters: Set<() => void>) => Effect.Effect<void>) =>
    Effect.gen(function*() {
      const waiters = new Set<() => void>()
      const fiber = yield* Effect.fork(wait(waiters))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      return waiters.size
    })
  const register = (waiters: Set<() => void>, resume: (done: Effect.Effect<void>) => void) => {
    const waiter = () => resume(Effect.void)
    waiters.add(waiter)
    return () => void waiters.delete(waiter)
  }
  const inside = program((waiters) => Effect.async<void>((resume) => Effect.sync(register(waiters, resume))))
  const around = program((waiters) =>
    Effect.suspend(() => {
      let remove = () => {}
      const wait = Effect.async<void>((resume) => {
        remove = register(waiters, resume)
      })
      return Effect.onInterrupt(wait, () => Effect.sync(() => remove()))
    })
  )
  const check = (run: SeededRun.Run<number, never>) => expect(valueOf(run)).toBe(0)

  it("is found", () => {
    const failure = firstFailure(inside, check)
    expect(failure.replayed).toBe(true)
  })

  it("is not there when the clean-up is around the wait", () => {
    SeededRun.forSeeds(around, { runs: 5000 }, check)
  })
})

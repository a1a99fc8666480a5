import * as SeededRun from "@sluice/core/testing/SeededRun"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import { describe, expect, it } from "vitest"
import { Macrotask } from "../../src/unstable/Macrotask.ts"

class Seen extends Context.Tag("test/Seen")<Seen, unknown>() {}

/** Many fibers that write their name into one log, each some times. */
const interleaved = (writers: number, lines: number): Effect.Effect<string> =>
  Effect.gen(function*() {
    const log: Array<number> = []
    yield* Effect.forEach(
      Array.from({ length: writers }, (_, writer) => writer),
      (writer) =>
        Effect.replicateEffect(
          Effect.sync(() => {
            log.push(writer)
          }),
          lines,
          { discard: true }
        ),
      { concurrency: "unbounded", discard: true }
    )
    return log.join("")
  })

const valueOf = <A, E>(run: SeededRun.Run<A, E>): A => {
  if (Exit.isSuccess(run.exit)) {
    return run.exit.value
  }
  throw new Error(Cause.pretty(run.exit.cause))
}

const failureOf = <A, E>(run: SeededRun.Run<A, E>): E | SeededRun.Deadlock | SeededRun.Livelock => {
  const failure = Exit.isFailure(run.exit) ? Cause.failureOption(run.exit.cause) : Option.none()
  return Option.getOrThrow(failure)
}

const thrownBy = (f: () => unknown): SeededRun.SeedFailure => {
  try {
    f()
  } catch (error) {
    if (error instanceof SeededRun.SeedFailure) {
      return error
    }
    throw error
  }
  throw new Error("expected a SeedFailure")
}

describe("the schedule", () => {
  it("is the same for the same seed, and so is the result", () => {
    for (let seed = 0; seed < 200; seed++) {
      const first = SeededRun.run(interleaved(5, 5), { seed })
      const second = SeededRun.run(interleaved(5, 5), { seed })
      expect(second.trace).toEqual(first.trace)
      expect(valueOf(second)).toBe(valueOf(first))
    }
  })

  it("differs between seeds", () => {
    const results = new Set<string>()
    const hashes = new Set<string>()
    for (let seed = 0; seed < 200; seed++) {
      const run = SeededRun.run(interleaved(5, 5), { seed })
      results.add(valueOf(run))
      hashes.add(run.trace.hash)
    }
    expect(hashes.size).toBeGreaterThan(195)
    expect(results.size).toBeGreaterThan(120)
  })

  it("is made of the order of the fibers alone when no yields are forced", () => {
    const results = new Map<string, string>()
    for (let seed = 0; seed < 200; seed++) {
      const run = SeededRun.run(interleaved(3, 2), { seed, yieldProbability: 0 })
      expect(run.trace.forcedYields).toBe(0)
      // Equal traces mean equal schedules, so their results are equal too.
      expect(results.get(run.trace.hash) ?? valueOf(run)).toBe(valueOf(run))
      results.set(run.trace.hash, valueOf(run))
    }
    expect([...new Set(results.values())].sort()).toEqual(["001122", "002211", "110022", "112200", "220011", "221100"])
  })

  it("holds the root's first operations too", () => {
    const run = SeededRun.run(Effect.void, { seed: 1, yieldProbability: 0 })
    expect(run).toMatchObject({ exit: Exit.void, steps: 1, nowMillis: 0, leftFibers: [], leftTimers: 0 })
    expect(run.trace).toEqual({ length: 1, forcedYields: 0, hash: run.trace.hash })
  })

  it("seeds Effect's Random as well", () => {
    const program = Effect.all([Random.next, Random.next])
    const draw = (seed: number) => valueOf(SeededRun.run(program, { seed }))
    expect(draw(1)).toEqual(draw(1))
    expect(draw(1)).not.toEqual(draw(2))
  })

  it("lets every program end over 1,000 seeds, even at high yield probabilities", () => {
    for (const yieldProbability of [0.02, 0.05, 0.08, 0.2, 0.5]) {
      const summary = SeededRun.forSeeds(
        interleaved(4, 10),
        { runs: 1000, yieldProbability },
        (run) => expect(valueOf(run)).toHaveLength(40)
      )
      expect(summary.runs).toBe(1000)
    }
  })

  it("reaches fibers of every kind: children, daemons, scoped ones and those of a captured runtime", () => {
    const scheduler = Effect.withFiberRuntime<unknown>((fiber) => Effect.succeed(fiber.currentScheduler))
    const program = Effect.gen(function*() {
      const own = yield* scheduler
      const runtime = yield* Effect.runtime()
      const seen = yield* Effect.all([
        Effect.flatMap(Effect.fork(scheduler), Fiber.join),
        Effect.flatMap(Effect.forkDaemon(scheduler), Fiber.join),
        Effect.flatMap(Effect.forkScoped(scheduler), Fiber.join),
        Effect.flatMap(FiberSet.make<unknown>(), (set) => Effect.flatMap(FiberSet.run(set, scheduler), Fiber.join)),
        Effect.suspend(() => Fiber.join(Runtime.runFork(runtime, scheduler))),
        Effect.flatMap(
          Layer.build(Layer.scoped(Seen, Effect.flatMap(Effect.forkScoped(scheduler), Fiber.join))),
          (context) => Effect.succeed(Context.get(context, Seen))
        )
      ])
      return seen.every((one) => one === own)
    })
    SeededRun.forSeeds(Effect.scoped(program), { runs: 50 }, (run) => expect(valueOf(run)).toBe(true))
  })

  it("keeps the order of what one fiber does", () => {
    const program = Effect.gen(function*() {
      const queue = yield* Queue.unbounded<number>()
      const producer = yield* Effect.fork(Effect.forEach([1, 2, 3, 4, 5], (n) => Queue.offer(queue, n)))
      const taken = yield* Effect.replicateEffect(Queue.take(queue), 5)
      yield* Fiber.join(producer)
      return taken
    })
    SeededRun.forSeeds(program, { runs: 300 }, (run) => expect(valueOf(run)).toEqual([1, 2, 3, 4, 5]))
  })

  it("interrupts losers and siblings on every schedule", () => {
    const program = Effect.gen(function*() {
      const released = yield* Ref.make(0)
      const worker = Effect.acquireUseRelease(
        Effect.void,
        () => Effect.sleep("1 hour"),
        () => Ref.update(released, (n) => n + 1)
      )
      const result = yield* Effect.exit(
        Effect.all([worker, worker, Effect.fail("boom")], { concurrency: "unbounded" })
      )
      yield* Effect.timeoutOption(worker, "1 second")
      return { failed: Exit.isFailure(result), released: yield* Ref.get(released) }
    })
    SeededRun.forSeeds(program, { runs: 500 }, (run) => {
      const { failed, released } = valueOf(run)
      expect(failed).toBe(true)
      // A worker that is interrupted before it starts has nothing to release.
      expect(released).toBeGreaterThanOrEqual(1)
      expect(released).toBeLessThanOrEqual(3)
      expect(run.nowMillis).toBe(1000)
      expect(run.leftTimers).toBe(0)
    })
  })
})

describe("the break that Sluice's loops take for the event loop", () => {
  it("is a task of the schedule", () => {
    const aBreak = Effect.flatMap(Macrotask, (later) =>
      Effect.async<void>((resume) => {
        later(() => resume(Effect.void))
      }))
    const looping = Effect.repeatN(aBreak, 5)
    const summary = SeededRun.forSeeds(Effect.all([looping, looping], { concurrency: 2 }), { runs: 50 })
    expect(summary.schedules).toBeGreaterThan(40)
  })
})

describe("a hang", () => {
  const embrace = Effect.gen(function*() {
    const left = yield* Deferred.make<void>()
    const right = yield* Deferred.make<void>()
    const one = yield* Effect.fork(
      Deferred.await(left).pipe(
        Effect.zipRight(Deferred.succeed(right, undefined)),
        Effect.annotateLogs("worker", "one")
      )
    )
    yield* Effect.fork(
      Effect.uninterruptible(Deferred.await(right).pipe(Effect.zipRight(Deferred.succeed(left, undefined))))
    )
    yield* Effect.sleep("2 seconds")
    yield* Fiber.join(one)
  })

  it("is a Deadlock when nothing is ready and no timer is set, and says who waits for whom", () => {
    const run = SeededRun.run(embrace, { seed: 3 })
    const deadlock = failureOf(run)
    expect(deadlock).toBeInstanceOf(SeededRun.Deadlock)
    expect(run.nowMillis).toBe(2000)
    if (deadlock._tag === "Deadlock") {
      expect(deadlock).toMatchObject({ seed: 3, nowMillis: 2000, steps: run.steps })
      const root = deadlock.fibers.find((fiber) => fiber.index === 0)!
      const one = deadlock.fibers.find((fiber) => fiber.annotations["worker"] === "one")!
      expect(deadlock.fibers).toHaveLength(3)
      expect(deadlock.fibers.every((fiber) => fiber.state === "suspended")).toBe(true)
      expect(root.waitsFor).toBe(`fiber ${one.index}`)
      expect(one.waitsFor).toBe("fiber 0")
      expect(deadlock.fibers.filter((fiber) => fiber.interruptible === false)).toHaveLength(1)
      expect(deadlock.message).toContain("at 2000 ms")
      expect(deadlock.message).toContain("(seed 3)")
      expect(deadlock.message).toContain(`fiber 0 (root), ${root.threadName}: suspended, waits for fiber ${one.index}`)
      expect(deadlock.message).toContain("worker=one")
      expect(deadlock.message).toContain("uninterruptible")
    }
  })

  it("is a Deadlock for Effect.never and for a sleep of infinite length", () => {
    expect(failureOf(SeededRun.run(Effect.never, { seed: 1 }))._tag).toBe("Deadlock")
    expect(failureOf(SeededRun.run(Effect.sleep(Duration.infinity), { seed: 1 }))._tag).toBe("Deadlock")
  })

  it("is a Deadlock for a Promise, which run cannot wait for", () => {
    const deadlock = failureOf(SeededRun.run(Effect.promise(() => Promise.resolve(1)), { seed: 1 }))
    expect(deadlock.message).toContain("needs runPromise")
  })

  it("is a Livelock after maxSteps, while fibers spin or a timer goes on ticking", () => {
    const spinning = failureOf(SeededRun.run(Effect.forever(Effect.yieldNow()), { seed: 1, maxSteps: 500 }))
    expect(spinning).toMatchObject({ _tag: "Livelock", steps: 500, nowMillis: 0, timers: 0 })
    const ticking = SeededRun.run(
      Effect.zipRight(Effect.fork(Effect.forever(Effect.sleep("1 second"))), Effect.never),
      { seed: 1, maxSteps: 500 }
    )
    expect(failureOf(ticking)).toMatchObject({ _tag: "Livelock", steps: 500 })
    expect(ticking.nowMillis).toBeGreaterThan(1000)
    expect(ticking.leftFibers).toHaveLength(2)
  })

  it("of a loop that never suspends is found too, with and without forced yields", () => {
    for (const yieldProbability of [0, 0.05]) {
      const run = SeededRun.run(Effect.forever(Effect.void), { seed: 1, maxSteps: 20, yieldProbability })
      expect(failureOf(run)._tag).toBe("Livelock")
    }
  })
})

describe("what is left over", () => {
  it("is reported, then interrupted, and finalizers run", () => {
    let released = 0
    const program = Effect.gen(function*() {
      yield* Effect.forkDaemon(Effect.onInterrupt(Effect.never, () => Effect.sync(() => released++)))
      yield* Effect.forkDaemon(Effect.sleep("1 hour"))
      yield* Effect.yieldNow()
    })
    const run = SeededRun.run(program, { seed: 5, yieldProbability: 0 })
    expect(Exit.isSuccess(run.exit)).toBe(true)
    expect(run.leftFibers).toHaveLength(2)
    expect(run.leftTimers).toBe(1)
    expect(run.nowMillis).toBe(0)
    expect(released).toBe(1)
  })

  it("is nothing when a fiber only needs to be let run to its end", () => {
    SeededRun.forSeeds(Effect.forkDaemon(Effect.repeatN(Effect.yieldNow(), 5)), { runs: 100 }, (run) => {
      expect(run.leftFibers).toEqual([])
    })
  })

  it("leaves no root fiber behind over many runs", () => {
    const before = Fiber.unsafeRoots().length
    SeededRun.forSeeds(Effect.forkDaemon(Effect.never), { runs: 100 })
    expect(() => SeededRun.forSeeds(Effect.never, { runs: 1 })).toThrow(SeededRun.SeedFailure)
    expect(Fiber.unsafeRoots().length).toBe(before)
  })

  it("includes a fiber that a captured runtime started at once and that was never scheduled", () => {
    const program = Effect.map(Effect.runtime(), (runtime) => {
      Runtime.runFork(runtime, Effect.never)
      Runtime.runFork(runtime, Effect.void)
    })
    expect(SeededRun.run(program, { seed: 5, yieldProbability: 0 }).leftFibers).toHaveLength(1)
  })
})

describe("options", () => {
  class Greeting extends Context.Reference<Greeting>()("test/Greeting", { defaultValue: () => "hello" }) {}

  it("transform replaces a reference for the whole program", () => {
    const program = Effect.flatMap(Effect.forkDaemon(Greeting), Fiber.join)
    expect(valueOf(SeededRun.run(program, { seed: 1 }))).toBe("hello")
    const transform = <A, E>(self: Effect.Effect<A, E>) => Effect.provideService(self, Greeting, "salut")
    expect(valueOf(SeededRun.run(program, { seed: 1, transform }))).toBe("salut")
  })

  it("transform wins over what a run provides itself", () => {
    const transform = <A, E>(self: Effect.Effect<A, E>) => Effect.withRandom(self, Random.fixed([0.25]))
    expect(valueOf(SeededRun.run(Random.next, { seed: 1, transform }))).toBe(0.25)
  })

  it("epochMillis is where the clock starts", () => {
    const epochMillis = Date.UTC(2024, 1, 29)
    const run = SeededRun.run(Effect.zipRight(Effect.sleep("1 day"), Clock.currentTimeMillis), { seed: 1, epochMillis })
    expect(valueOf(run)).toBe(Date.UTC(2024, 2, 1))
    expect(run.nowMillis).toBe(Date.UTC(2024, 2, 1))
  })

  it("timerProbability lets a timeout strike in the middle of work", () => {
    const work = Effect.repeatN(Effect.yieldNow(), 20).pipe(Effect.timeoutOption("1 second"), Effect.map(Option.isSome))
    const outcomes = (timerProbability: number) => {
      const seen = new Set<boolean>()
      SeededRun.forSeeds(work, { runs: 200, timerProbability }, (run) => void seen.add(valueOf(run)))
      return seen
    }
    expect(outcomes(0)).toEqual(new Set([true]))
    expect(outcomes(0.02)).toEqual(new Set([true, false]))
  })

  it("refuses seeds and probabilities that mean nothing", () => {
    expect(() => SeededRun.run(Effect.void, { seed: 0.5 })).toThrow(RangeError)
    expect(() => SeededRun.run(Effect.void, { seed: 1, yieldProbability: 1 })).toThrow(RangeError)
    expect(() => SeededRun.run(Effect.void, { seed: 1, yieldProbability: Number.NaN })).toThrow(RangeError)
    expect(() => SeededRun.run(Effect.void, { seed: 1, epochMillis: 0.5 })).toThrow(RangeError)
  })
})

describe("runPromise", () => {
  const program = Effect.gen(function*() {
    const log: Array<string> = []
    const hops = (name: string, count: number) =>
      Effect.promise(async () => {
        for (let i = 0; i < count; i++) {
          await undefined
        }
        log.push(name)
      })
    const ticks = Effect.repeatN(Effect.zipRight(Effect.yieldNow(), Effect.sync(() => void log.push("."))), 9)
    yield* Effect.all([hops("a", 1), hops("b", 40), ticks, hops("c", 3)], { concurrency: "unbounded" })
    yield* Effect.sleep("1 day")
    return log.join("")
  })

  it("replays programs that wait for Promises, and mixes Promises with fibers", async () => {
    const results = new Set<string>()
    for (let seed = 0; seed < 100; seed++) {
      const first = await SeededRun.runPromise(program, { seed })
      const second = await SeededRun.runPromise(program, { seed })
      expect(second.trace).toEqual(first.trace)
      expect(valueOf(second)).toBe(valueOf(first))
      expect(first.nowMillis).toBe(86_400_000)
      results.add(valueOf(first))
    }
    expect(results.size).toBeGreaterThan(20)
  })

  it("replays the same when several run at once", async () => {
    const seeds = Array.from({ length: 30 }, (_, seed) => seed)
    const together = await Promise.all(seeds.map((seed) => SeededRun.runPromise(program, { seed })))
    for (const seed of seeds) {
      const alone = await SeededRun.runPromise(program, { seed })
      expect(together[seed]!.trace).toEqual(alone.trace)
    }
  })

  it("lets Promises run before the clock moves", async () => {
    const slow = Effect.promise(async () => {
      for (let i = 0; i < 1000; i++) {
        await undefined
      }
      return "in time"
    })
    const summary = await SeededRun.forSeedsPromise(
      Effect.timeout(slow, "1 milli"),
      { runs: 50 },
      (run) => expect(valueOf(run)).toBe("in time")
    )
    expect(summary.runs).toBe(50)
  })

  it("reports a deadlock when a Promise never resolves", async () => {
    const run = await SeededRun.runPromise(Effect.promise(() => new Promise(() => {})), { seed: 1 })
    expect(failureOf(run)._tag).toBe("Deadlock")
  })

  it("rejects with the seed when a check fails", async () => {
    const failing = SeededRun.forSeedsPromise(program, { runs: 3, seed: 40 }, async () => {
      throw new Error("no good")
    })
    await expect(failing).rejects.toThrow(
      /seed 40 failed \(run 1\)[^]*no good[^]*SeededRun.runPromise\(program, \{ seed: 40 \}\)/
    )
  })
})

describe("forSeeds", () => {
  it("prints the seed and how to replay it, at the first failure", () => {
    const error = thrownBy(() =>
      SeededRun.forSeeds(Random.nextIntBetween(0, 10), { runs: 1000, seed: 100, yieldProbability: 0.03 }, (run) => {
        if (valueOf(run) === 0) throw new TypeError("drew a zero")
      })
    )
    expect(error.seed).toBe(100 + error.runs - 1)
    expect(error.replayed).toBe(true)
    expect(error.message).toContain(`seed ${error.seed} failed (run ${error.runs})`)
    expect(error.message).toContain("TypeError: drew a zero")
    expect(error.message).toContain(`SeededRun.run(program, { yieldProbability: 0.03, seed: ${error.seed} })`)
    expect(error.message).toContain("took the same schedule")
    expect(valueOf(SeededRun.run(Random.nextIntBetween(0, 10), { seed: error.seed }))).toBe(0)
  })

  it("fails without a check when the program fails, and for a hang whatever the check", () => {
    const failed = thrownBy(() => SeededRun.forSeeds(Effect.fail("boom"), { runs: 1 }))
    expect(failed.message).toContain("boom")
    const hung = thrownBy(() => SeededRun.forSeeds(Effect.never, { runs: 1 }, () => {}))
    expect(hung.cause).toBeInstanceOf(SeededRun.Deadlock)
    expect(hung.message).toContain("fiber 0 (root)")
    SeededRun.forSeeds(Effect.fail("boom"), { runs: 1 }, (run) => expect(failureOf(run)).toBe("boom"))
  })

  it("makes the program anew for each run when given a function", () => {
    const given: Array<number> = []
    const summary = SeededRun.forSeeds((seed) => {
      given.push(seed)
      return Effect.void
    }, { runs: 3, seed: 7 })
    expect(given).toEqual([7, 8, 9])
    expect(summary.runs).toBe(3)
  })

  it("says so when a seed does not replay", () => {
    let runs = 0
    const program = Effect.suspend(() =>
      Effect.zipRight(Effect.repeatN(Effect.yieldNow(), runs++), Effect.fail("boom"))
    )
    const error = thrownBy(() => SeededRun.forSeeds(program, { runs: 1 }))
    expect(error.replayed).toBe(false)
    expect(error.message).toContain("escapes the seed")
  })

  it("retries with jitter replay, for Random and the clock are part of the run", () => {
    const program = Effect.suspend(() => {
      let tries = 0
      return Effect.retry(
        Effect.suspend(() => ++tries < 5 ? Effect.fail("again") : Effect.succeed(tries)),
        Schedule.jittered(Schedule.exponential("1 second"))
      )
    })
    const ends = [1, 1, 2].map((seed) => SeededRun.run(program, { seed }).nowMillis)
    expect(ends[0]).toBe(ends[1])
    expect(ends[0]).not.toBe(ends[2])
  })
})

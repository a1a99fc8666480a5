/**
 * The laws of what all loops stand on, under seeded schedules: no wake-up is lost, a caller may leave from the middle, no
 * timer rings later than asked, none is starved, and an end is an end.
 */
import { Cause, Clock, Context, Duration, Effect, Exit, Fiber, Logger, LogLevel } from "effect"
import { describe, expect, it } from "vitest"
import { Bell } from "../src/internal/fibers/bell.ts"
import { Breaks, Pace } from "../src/internal/fibers/breaks.ts"
import { Call, type OnInterrupt } from "../src/internal/fibers/call.ts"
import { awaitAllWithin } from "../src/internal/fibers/alarm.ts"
import { forkLoop, Lifecycle } from "../src/internal/fibers/lifecycle.ts"
import { Timekeeper } from "../src/internal/fibers/timekeeper.ts"
import { choices } from "./support/batchPrograms.ts"
import { forSeeds } from "./support/campaigns.ts"

const yields = (count: number): Effect.Effect<void> => Effect.repeatN(Effect.yieldNow(), count)

describe("a bell", () => {
  it("loses no wake-up: whatever is brought is fetched, and nobody waits for ever", async () => {
    let parked = 0
    await forSeeds((seed) => {
      const { below, chance } = choices(seed)
      return Effect.gen(function*() {
        const brought: Array<number> = []
        const fetched: Array<number> = []
        const all = 40
        const bell = new Bell(() => brought.length > 0, () => {
          parked += 1
        })
        const fetching = yield* Effect.fork(Effect.whileLoop({
          while: () => fetched.length < all,
          body: () => Effect.zipRight(bell.wait, Effect.sync(() => void fetched.push(...brought.splice(0)))),
          step: () => {}
        }))
        yield* Effect.forEach(Array.from({ length: all }, (_, n) => n), (n) =>
          Effect.zipRight(
            yields(below(3)),
            Effect.sync(() => {
              brought.push(n)
              bell.ring()
              // Once more is nothing.
              if (chance(0.3)) bell.ring()
            })
          ), { concurrency: 3 })
        yield* Fiber.join(fetching)
        expect([...fetched].sort((a, b) => a - b)).toEqual(Array.from({ length: all }, (_, n) => n))
        expect(bell.isAwaited).toBe(false)
      })
    }, { runs: 1000, yieldProbability: 0.1 })
    expect(parked).toBeGreaterThan(0)
  })
})

class Job extends Call<number, string> {
  readonly answers: OnInterrupt
  isIn = false
  hasLeft = false
  constructor(answers: OnInterrupt) {
    super()
    this.answers = answers
  }
  protected interrupted(): OnInterrupt {
    this.hasLeft = this.answers === "leave"
    return this.answers
  }
}

describe("a call", () => {
  it("has its own answer, or was interrupted: one that cannot leave not before its end", async () => {
    const seen = { answered: 0, failed: 0, left: 0, waited: 0 }
    await forSeeds((seed) => {
      const { below, chance } = choices(seed)
      return Effect.gen(function*() {
        const jobs = Array.from({ length: 12 }, () => new Job(chance(0.5) ? "wait" : "leave"))
        const callers = yield* Effect.forEach(jobs, (job) =>
          Effect.fork(Effect.uninterruptibleMask((restore) => {
            job.isIn = true
            return job.wait(restore)
          })))
        const order = [...jobs.keys()].sort(() => below(3) - 1)
        const answering = yield* Effect.fork(Effect.forEach(order, (at) =>
          Effect.zipRight(
            yields(below(4)),
            Effect.sync(() => {
              jobs[at].end(at % 5 === 0 ? Exit.fail(`no ${at}`) : Exit.succeed(at))
              jobs[at].end(Exit.succeed(-1))
            })
          )))
        const leaving = callers.filter(() => chance(0.4))
        yield* Effect.forEach(leaving, (fiber) => Effect.zipRight(yields(below(10)), Fiber.interruptFork(fiber)), {
          discard: true
        })
        for (const [at, fiber] of callers.entries()) {
          const exit = yield* Fiber.await(fiber)
          const { answers, exit: ended, hasLeft, isIn } = jobs[at]
          if (Exit.isSuccess(exit)) {
            seen.answered += 1
            expect(exit.value).toBe(at)
          } else if (Cause.isFailType(exit.cause)) {
            seen.failed += 1
            expect(exit.cause.error).toBe(`no ${at}`)
          } else if (!isIn || answers === "leave") {
            // Some are interrupted before they have begun.
            seen.left += 1
            expect(leaving).toContain(fiber)
          } else {
            seen.waited += 1
            expect(leaving).toContain(fiber)
            expect([ended === undefined, hasLeft]).toEqual([false, false])
          }
        }
        yield* Fiber.join(answering)
      })
    }, { runs: 1000, yieldProbability: 0.1 })
    for (const [what, count] of Object.entries(seen)) expect([what, count > 0]).toEqual([what, true])
  })
})

describe("a timekeeper", () => {
  it("rings no later than asked, whatever is asked for meanwhile, and not before", async () => {
    await forSeeds((seed) => {
      const { below } = choices(seed)
      return Effect.gen(function*() {
        const clock = yield* Effect.clock
        const now = () => clock.unsafeCurrentTimeMillis()
        let due = Infinity
        let rings = 0
        const keeper = new Timekeeper(clock, () => {
          rings += 1
          expect(now()).toBe(due)
          due = Infinity
        })
        const keeping = yield* Effect.fork(keeper.run)
        for (let n = 0; n < 30; n++) {
          yield* yields(below(3))
          const millis = below(20)
          due = Math.min(due, now() + millis)
          keeper.within(millis)
          // What it is asked for at this very moment it rings before the time goes on.
          yield* Effect.sleep(below(12))
          expect(due).toBeGreaterThanOrEqual(now())
        }
        yield* Effect.sleep(20)
        expect(due).toBe(Infinity)
        expect(rings).toBeGreaterThan(0)
        yield* Fiber.interrupt(keeping)
      })
    }, { runs: 500, yieldProbability: 0.1 })
  })
})

/** A clock that only work moves, and an event loop that turns when it is told to. */
const busy = () => {
  let now = 0
  const asked: Array<() => void> = []
  const clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => Math.floor(now),
    unsafeCurrentTimeNanos: () => BigInt(Math.floor(now * 1e6)),
    currentTimeMillis: Effect.sync(() => Math.floor(now)),
    currentTimeNanos: Effect.sync(() => BigInt(Math.floor(now * 1e6))),
    sleep: (duration) => Effect.sync(() => void (now += Duration.toMillis(duration)))
  }
  return {
    breaks: new Breaks(clock, (task) => void asked.push(task)),
    work: (millis: number) => {
      now += millis
    },
    turn: () => {
      for (const task of asked.splice(0)) task()
    },
    asked
  }
}

describe("breaks", () => {
  it("are due where the event loop has had no turn for 10 ms, and not before", () => {
    const { breaks, turn, work } = busy()
    expect(breaks.isDue).toBe(false)
    work(9)
    expect(breaks.isDue).toBe(false)
    work(1)
    expect(breaks.isDue).toBe(true)
    turn()
    expect(breaks.isDue).toBe(false)
  })

  it("are not due after a long rest, nor where turns come in between", () => {
    const { breaks, turn, work } = busy()
    expect(breaks.isDue).toBe(false)
    for (let n = 0; n < 100; n++) {
      work(9)
      turn()
      expect(breaks.isDue).toBe(false)
    }
    turn()
    work(60_000)
    expect(breaks.isDue).toBe(false)
  })

  it("ask for one turn at a time, whoever looks", () => {
    const { asked, breaks, work } = busy()
    for (let n = 0; n < 50; n++) {
      work(1)
      void breaks.isDue
    }
    expect(asked.length).toBe(1)
  })

  it("end for everybody at the next turn, or at once where they are cut short: with as much time again", () => {
    const { breaks, turn, work } = busy()
    const take = () => Effect.runFork(breaks.take)
    const [one, other] = [take(), take()]
    expect([one.unsafePoll(), other.unsafePoll()]).toEqual([null, null])
    turn()
    return Effect.runPromise(Effect.gen(function*() {
      yield* Fiber.join(one)
      yield* Fiber.join(other)
      const third = take()
      work(20)
      breaks.cutShort()
      yield* Fiber.join(third)
      expect(breaks.isDue).toBe(false)
      work(10)
      expect(breaks.isDue).toBe(true)
      turn()
    }))
  })

  it("starve nobody: with loops that never wait the event loop has a turn after 10 ms and a few steps", () => {
    for (let seed = 0; seed < 200; seed++) {
      const { below, pick } = choices(seed)
      const { breaks, turn, work } = busy()
      const paces = Array.from({ length: 3 }, () => new Pace(breaks, 32))
      let since = 0
      let longest = 0
      for (let n = 0; n < 500; n++) {
        // Slow steps are looked at one by one, quick ones now and then.
        const isDue = below(2) === 0 ? breaks.isDue : pick(paces).step()
        if (isDue) {
          turn()
          since = 0
          continue
        }
        const millis = below(4)
        work(millis)
        since += millis
        longest = Math.max(longest, since)
      }
      expect(longest).toBeGreaterThanOrEqual(10)
      expect(longest).toBeLessThan(10 + 3 * 8)
    }
  })
})

describe("a lifecycle", () => {
  it("goes one way: what is over stays so, and the first who ends it decides how", async () => {
    const seen = { closed: 0, failed: 0 }
    await forSeeds((seed) => {
      const { below, pick } = choices(seed)
      return Effect.gen(function*() {
        const lifecycle = new Lifecycle()
        const cause = Cause.die("a bug")
        let givenUp = 0
        const steps = [
          Effect.sync(() => void lifecycle.beginToClose()),
          Effect.sync(() => void lifecycle.close()),
          lifecycle.fail(cause, "told", () => Effect.sync(() => void (givenUp += 1))).pipe(
            Logger.withMinimumLogLevel(LogLevel.None)
          )
        ]
        let over: string | undefined
        yield* Effect.forEach(
          Array.from({ length: 6 }, () => pick(steps)),
          (step) =>
            Effect.gen(function*() {
              yield* yields(below(3))
              yield* step
              const { hasFailed, isClosed, isClosing, isOpen, isOver } = lifecycle
              expect([hasFailed, isClosed, isClosing, isOpen].filter((is) => is).length).toBe(1)
              expect(isOver).toBe(hasFailed || isClosed)
              const now = hasFailed ? "failed" : isClosed ? "closed" : undefined
              if (over !== undefined) expect(now).toBe(over)
              over ??= now
            }),
          { concurrency: 3 }
        )
        if (over === undefined) return
        seen[over as keyof typeof seen] += 1
        expect(givenUp).toBe(over === "failed" ? 1 : 0)
        expect(lifecycle.refuse(() => "late")).toEqual(over === "failed" ? Exit.failCause(cause) : Exit.fail("late"))
        expect(yield* Effect.exit(lifecycle.failure)).toEqual(over === "failed" ? Exit.failCause(cause) : Exit.void)
      })
    }, { runs: 500, yieldProbability: 0.1 })
    expect(seen.closed).toBeGreaterThan(0)
    expect(seen.failed).toBeGreaterThan(0)
  })

  it("a loop that dies is told, one that is interrupted is not", async () => {
    await forSeeds(
      Effect.gen(function*() {
        const died: Array<unknown> = []
        const onDied = (cause: Cause.Cause<never>) => Effect.sync(() => void died.push(Cause.squash(cause)))
        const context = Context.empty()
        const dying = yield* forkLoop(Effect.zipRight(yields(3), Effect.die("a bug")), context, onDied)
        const hanging = yield* forkLoop(Effect.never, context, onDied)
        yield* Fiber.await(dying)
        yield* Fiber.interrupt(hanging)
        expect(died).toEqual(["a bug"])
      }),
      { runs: 100 }
    )
  })

  it("its end is bounded: fibers that do not end are waited for no longer than that", async () => {
    await forSeeds((seed) => {
      const { below } = choices(seed)
      return Effect.gen(function*() {
        const millis = Array.from({ length: 4 }, () => below(30))
        const fibers = yield* Effect.forEach(millis, (each) => Effect.fork(Effect.uninterruptible(Effect.sleep(each))))
        const clock = yield* Effect.clock
        const from = clock.unsafeCurrentTimeMillis()
        const ended = yield* Effect.uninterruptible(awaitAllWithin(fibers, 15))
        const took = clock.unsafeCurrentTimeMillis() - from
        const longest = Math.max(...millis)
        // At the same moment either may come first.
        if (longest !== 15) expect(ended).toBe(longest < 15)
        expect(took).toBe(Math.min(longest, 15))
        yield* Effect.forEach(fibers, Fiber.join)
      })
    }, { runs: 500 })
  })
})

import { describe, expect, it } from "@effect/vitest"
import { KeyedBatch } from "@sluice/core"
import { Cause, Clock, Effect, Exit, Fiber, Logger, LogLevel, Scope, TestClock } from "effect"
import {
  accounted,
  add,
  calling,
  defectOf,
  failureOf,
  gated,
  numbers,
  numbersInScope,
  numbersWithBreaks,
  settleDown
} from "./support/keyedBatch.ts"

const all = <A, E>(calls: ReadonlyArray<Effect.Effect<A, E>>) => Effect.all(calls, { concurrency: "unbounded" })
const exits = <A, E>(calls: ReadonlyArray<Effect.Effect<A, E>>) => all(calls.map((call) => Effect.exit(call)))

describe("a load that fails", () => {
  it.scoped("fails every caller of the batch with the same error, none of them has run, and the next one loads again", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const loading = gated()
      const error = { reason: "down" }
      table.loads.push(() => Effect.zipRight(loading.run, Effect.fail(error)))
      let ran = 0
      const call = processor.modify("a", (sum) => (ran++, add(1)(sum)))
      const calls = yield* calling(exits([call, call, call]))
      yield* loading.end
      const [first, ...others] = yield* Fiber.join(calls)
      expect(failureOf(first)).toBe(error)
      for (const exit of others) expect(failureOf(exit)).toBe(error)
      expect(ran).toBe(0)
      expect(table.log).toEqual(["load a"])
      expect(yield* processor.metrics).toMatchObject({ failed: 3, batches: 1, batchesFailed: 1, saves: 0, keys: 0 })
      expect(yield* call).toBe(1)
      expect(table.log).toEqual(["load a", "load a", "save a 1"])
    }))

  it.scoped("fails as many callers as a batch takes, and the others get a batch of their own", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ batchSize: 2 })
      table.loads.push(() => Effect.fail("down"))
      const answers = yield* exits([1, 2, 3].map((amount) => processor.modify("a", add(amount))))
      expect(answers.map((exit) => failureOf(exit))).toEqual(["down", "down", undefined])
      expect(answers[2]).toEqual(Exit.succeed(3))
    }))

  it.scoped("fails at once, also where minDuration is long", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "1 hour" })
      table.loads.push(() => Effect.fail("down"))
      expect(yield* Effect.flip(processor.modify("a", add(1)))).toBe("down")
    }))

  it.scoped("dies with its callers where it dies, throws, answers no Effect, or where initial throws", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      table.loads.push(() => Effect.die("dead"))
      expect(defectOf(yield* Effect.exit(processor.modify("a", add(1))))).toBe("dead")
      table.loads.push(() => {
        throw "thrown"
      })
      expect(defectOf(yield* Effect.exit(processor.modify("a", add(1))))).toBe("thrown")
      expect(yield* processor.modify("a", add(1))).toBe(1)

      const { processor: senseless } = yield* numbers({ load: () => undefined as never })
      expect(defectOf(yield* Effect.exit(senseless.modify("a", add(1))))).toBeInstanceOf(Error)

      const initial = yield* KeyedBatch.make({
        name: "test",
        minDuration: 0,
        initial: (key: string): number => {
          if (key === "a") throw "no such key"
          return 0
        }
      })
      expect(defectOf(yield* Effect.exit(initial.modify("a", add(1))))).toBe("no such key")
      expect(yield* initial.modify("b", add(1))).toBe(1)
      expect(yield* initial.metrics).toMatchObject({ failed: 1, succeeded: 1, batchesFailed: 1, held: 0, keys: 0 })
    }))

  it.scoped("that interrupts itself fails its callers with that", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      table.loads.push(() => Effect.interrupt)
      const exit = yield* Effect.exit(processor.modify("a", add(1)))
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(yield* processor.modify("a", add(1))).toBe(1)
    }))
})

describe("a save that fails", () => {
  it.scoped("fails every caller of the batch with the same error, and nothing of it is in the next one, which loads again", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const saving = gated()
      const error = { reason: "full" }
      table.saves.push(() => Effect.zipRight(saving.run, Effect.fail(error)))
      const first = yield* calling(exits([
        processor.modify("a", add(1)),
        processor.modify("a", add(2)),
        processor.modifyEffect("a", () => Effect.fail("own")),
        processor.modify("a", () => {
          throw "own"
        })
      ]))
      const next = yield* calling(processor.modify("a", add(10)))
      yield* saving.end
      for (const exit of yield* Fiber.join(first)) expect(failureOf(exit)).toBe(error)
      expect(yield* Fiber.join(next)).toBe(10)
      expect(table.log).toEqual(["load a", "save a 3", "load a", "save a 10"])
      expect(yield* processor.metrics).toMatchObject({ failed: 4, succeeded: 1, batchesFailed: 1 })
    }))

  it.scoped("dies with its callers where it dies, throws or answers no Effect", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      table.saves.push(() => Effect.die("dead"))
      expect(defectOf(yield* Effect.exit(processor.modify("a", add(1))))).toBe("dead")
      table.saves.push(() => {
        throw "thrown"
      })
      expect(defectOf(yield* Effect.exit(processor.modify("a", add(1))))).toBe("thrown")
      expect(yield* processor.modify("a", add(1))).toBe(1)

      const { processor: senseless } = yield* numbers({ save: () => undefined as never })
      expect(defectOf(yield* Effect.exit(senseless.modify("a", add(1))))).toBeInstanceOf(Error)
    }))

  it.scoped("may have saved: then the next batch loads what it has saved", () =>
    Effect.gen(function*() {
      const rows = new Map<string, number>()
      let fails = true
      const { processor } = yield* numbers({
        load: (key) => Effect.sync(() => rows.get(String(key)) ?? 0),
        save: (key, row) =>
          Effect.suspend(() => {
            rows.set(String(key), row)
            return fails ? Effect.fail("no answer") : Effect.void
          })
      })
      expect(yield* Effect.flip(processor.modify("a", add(1)))).toBe("no answer")
      fails = false
      expect(yield* processor.modify("a", add(1))).toBe(2)
    }))
})

describe("an operation that fails", () => {
  it.scoped("fails its own caller alone, and the resource is as it was", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const answers = yield* exits<unknown, unknown>([
        processor.modify("a", add(1)),
        processor.modify("a", () => {
          throw "thrown"
        }),
        processor.mutate("a", () => {
          throw "mutated"
        }),
        processor.modifyEffect("a", () => Effect.fail("failed")),
        processor.modifyEffect("a", () => Effect.die("dead")),
        processor.modifyEffect("a", () => {
          throw "no Effect"
        }),
        processor.modifyEffect("a", () => Effect.interrupt),
        processor.modify("a", add(2))
      ])
      expect(answers.map((exit) => failureOf(exit) ?? defectOf(exit) ?? Exit.isInterrupted(exit))).toEqual([
        false,
        "thrown",
        "mutated",
        "failed",
        "dead",
        "no Effect",
        true,
        false
      ])
      expect(answers[7]).toEqual(Exit.succeed(3))
      expect(table.log).toEqual(["load a", "save a 3"])
      expect(yield* processor.metrics).toMatchObject({ succeeded: 2, failed: 6, batches: 1, batchesFailed: 0 })
    }))

  it.scoped("by answering no pair is a defect of its own", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const answers = yield* exits<unknown, unknown>([
        processor.modify("a", () => undefined as never),
        processor.modify("a", () => null as never),
        processor.modifyEffect("a", () => Effect.succeed(undefined as never)),
        processor.modifyEffect("a", () => undefined as never),
        processor.modifyEffect("a", () => 7 as never),
        processor.modify("a", add(1))
      ])
      for (const exit of answers.slice(0, 5)) expect(defectOf(exit)).toBeInstanceOf(Error)
      expect(answers[5]).toEqual(Exit.succeed(1))
      expect(table.log).toEqual(["load a", "save a 1"])
    }))

  it.scoped("is told so when the batch has ended, because it may have failed over what the batch has made", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const saving = gated()
      table.saves.push(() => saving.run)
      const good = yield* Effect.fork(processor.modify("a", add(1)))
      const bad = yield* calling(Effect.flip(processor.modifyEffect("a", (sum) => Effect.fail(`no ${sum}`))))
      yield* saving.begun
      yield* settleDown
      expect(bad.unsafePoll()).toBe(null)
      yield* saving.end
      expect(yield* Fiber.join(bad)).toBe("no 1")
      expect(yield* Fiber.join(good)).toBe(1)
    }))
})

describe("maxDuration", () => {
  const timeout = (phase: string) => ({
    _tag: "BatchTimeout",
    queue: "test",
    key: "a",
    phase,
    timeoutMillis: 20
  })

  it.scoped("is twice minDuration unless told otherwise", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers({ minDuration: "10 millis", load: () => Effect.never })
      const call = yield* calling(Effect.flip(processor.modify("a", add(1))))
      yield* TestClock.adjust("19 millis")
      expect(call.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(call)).toMatchObject(timeout("load"))
      const { processor: unbounded, table } = yield* numbers()
      table.loads.push(() => Effect.sleep("1 day"))
      const waiting = yield* calling(unbounded.modify("a", add(1)))
      yield* TestClock.adjust("1 day")
      expect(yield* Fiber.join(waiting)).toBe(1)
    }))

  it.scoped.each([[0], [Infinity]])("of %d is none", ([maxDuration]) =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis", maxDuration })
      table.loads.push(() => Effect.sleep("1 day"))
      const call = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust("1 day")
      expect(yield* Fiber.join(call)).toBe(1)
    }))

  it.scoped("ends a load: its callers have not run, it is interrupted, and the next batch loads again", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      let interrupted = false
      table.loads.push(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true))))
      const calls = yield* calling(exits([processor.modify("a", add(1)), processor.modify("a", add(2))]))
      yield* TestClock.adjust(20)
      for (const exit of yield* Fiber.join(calls)) expect(failureOf(exit)).toMatchObject(timeout("load"))
      expect(interrupted).toBe(true)
      expect(yield* processor.metrics).toMatchObject({ failed: 2, batchesFailed: 1, held: 0, keys: 0 })
      const next = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust(10)
      expect(yield* Fiber.join(next)).toBe(1)
    }))

  it.scoped("ends an operation: nothing is saved, and those that wait are in the next batch", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      const before = yield* Effect.fork(Effect.exit(processor.modify("a", add(1))))
      const during = yield* Effect.fork(Effect.exit(processor.modifyEffect("a", () => Effect.never)))
      const after = yield* calling(processor.modify("a", add(10)))
      yield* TestClock.adjust(20)
      expect(failureOf(yield* Fiber.join(before))).toMatchObject(timeout("operations"))
      expect(failureOf(yield* Fiber.join(during))).toMatchObject(timeout("operations"))
      yield* TestClock.adjust(10)
      expect(yield* Fiber.join(after)).toBe(10)
      expect(table.log).toEqual(["load a", "load a", "save a 10"])
    }))

  it.scoped("ends a save, whose outcome is unknown then, and the error says so", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      table.saves.push(() => Effect.never)
      const call = yield* calling(Effect.flip(processor.modify("a", add(1))))
      yield* TestClock.adjust(20)
      const error = yield* Fiber.join(call)
      expect(error).toMatchObject(timeout("save"))
      expect((error as Error).message).toContain("unknown")
    }))

  it.scoped("does not end a save that has ended, and has not been looked at", () =>
    Effect.gen(function*() {
      const { goOn, pass, processor, stop, table } = yield* numbersWithBreaks({ maxDuration: 1000 })
      const saving = gated()
      table.saves.push(() => saving.run)
      const call = yield* calling(Effect.exit(processor.modify("a", add(1))))
      yield* stop
      yield* saving.end
      yield* pass(1000)
      expect(call.unsafePoll()).toBe(null)
      yield* goOn
      expect(yield* Fiber.join(call)).toEqual(Exit.succeed(1))
    }))

  it.scoped("does not let the next batch overlap what was given up and does not end", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      const saving = gated()
      table.saves.push(() =>
        Effect.uninterruptible(Effect.zipRight(saving.run, Effect.sync(() => table.rows.set("a", 1))))
      )
      const first = yield* calling(Effect.flip(processor.modify("a", add(1))))
      yield* TestClock.adjust(20)
      expect(yield* Fiber.join(first)).toMatchObject(timeout("save"))
      const next = yield* calling(processor.modify("a", add(10)))
      expect(yield* processor.metrics).toMatchObject({ held: 1, keys: 1 })
      expect(table.log).toEqual(["load a", "save a 1"])
      yield* saving.end
      yield* TestClock.adjust(10)
      // It was saved after all, and the next batch has seen it.
      expect(yield* Fiber.join(next)).toBe(11)
      expect((yield* processor.metrics).keys).toBe(0)
    }))

  it.scoped("ends the waiting for what was given up and does not end, again and again", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      const loading = gated()
      table.loads.push(() => Effect.uninterruptible(loading.run))
      const first = yield* calling(Effect.flip(processor.modify("a", add(1))))
      yield* TestClock.adjust(25)
      expect(yield* Fiber.join(first)).toMatchObject(timeout("load"))
      for (let round = 0; round < 3; round++) {
        const waiting = yield* calling(Effect.flip(processor.modify("a", add(1))))
        yield* TestClock.adjust(20)
        expect(yield* Fiber.join(waiting)).toMatchObject(timeout("waiting"))
      }
      expect(table.log).toEqual(["load a"])
      expect(yield* processor.metrics).toMatchObject({ failed: 4, batches: 1, held: 0, keys: 1 })
      // Another key of the same shard does not know of it.
      const other = yield* calling(processor.modify("b", add(1)))
      yield* TestClock.adjust(10)
      expect(yield* Fiber.join(other)).toBe(1)
      yield* loading.end
      yield* settleDown
      expect((yield* processor.metrics).keys).toBe(0)
    }))

  it.scoped("is counted for each batch anew", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      for (let round = 1; round <= 3; round++) {
        table.saves.push(() => Effect.sleep(9))
        const call = yield* calling(processor.modify("a", add(1)))
        yield* TestClock.adjust(19)
        expect(yield* Fiber.join(call)).toBe(round)
      }
    }))

  it.scoped("is counted from the beginning of each of several keys", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers({ minDuration: 10, load: () => Effect.never })
      const ended: Array<string> = []
      for (const key of ["a", "b", "c"]) {
        yield* calling(Effect.ensuring(Effect.exit(processor.modify(key, add(1))), Effect.sync(() => ended.push(key))))
        yield* TestClock.adjust(5)
      }
      expect(ended).toEqual([])
      yield* TestClock.adjust(5)
      expect(ended).toEqual(["a"])
      yield* TestClock.adjust(5)
      expect(ended).toEqual(["a", "b"])
      yield* TestClock.adjust(5)
      expect(ended).toEqual(["a", "b", "c"])
    }))
})

describe("a fiber of the processor that dies", () => {
  /** A clock that is ours until it is broken: whoever looks at it then dies. */
  const fragile = Effect.map(Effect.clock, (own) => {
    let isBroken = false
    const clock: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => own.unsafeCurrentTimeMillis(),
      currentTimeMillis: own.currentTimeMillis,
      unsafeCurrentTimeNanos: () => {
        if (isBroken) throw new Error("no time")
        return own.unsafeCurrentTimeNanos()
      },
      currentTimeNanos: own.currentTimeNanos,
      sleep: (duration) => own.sleep(duration)
    }
    return {
      clock,
      breakIt: () => void (isBroken = true),
      mend: () => void (isBroken = false)
    }
  })

  it.effect("is logged, and told to everybody who waits, now or later, and to whoever closes the scope", () =>
    Effect.gen(function*() {
      const { breakIt, clock } = yield* fragile
      const logged: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push([logLevel.label, String(message)]))
      const { close, processor, table } = yield* numbersInScope({ minDuration: 10, maxDuration: 0 }).pipe(
        Effect.withClock(clock),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      table.loads.push(() => Effect.never)
      const loading = yield* calling(Effect.exit(processor.modify("a", add(1))))
      const operating = yield* calling(Effect.exit(processor.modifyEffect("b", () => Effect.never)))
      breakIt()
      const waiting = yield* calling(Effect.exit(processor.modify("c", add(1))))
      const reasonOf = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "none"
      for (const fiber of [loading, operating, waiting]) {
        expect(reasonOf(yield* Fiber.join(fiber))).toContain("no time")
      }
      expect(reasonOf(yield* Effect.exit(processor.modify("d", add(1))))).toContain("no time")
      expect(logged).toEqual([["FATAL", expect.stringContaining("test: a fiber of the processor died")]])
      expect(reasonOf(yield* Effect.exit(close))).toContain("no time")
    }))

  it.effect("is no less loud where it is the one that keeps the time", () =>
    Effect.gen(function*() {
      const { breakIt, clock } = yield* fragile
      const { close, processor } = yield* numbersInScope({ minDuration: 10, maxDuration: 20 }).pipe(
        Effect.withClock(clock)
      )
      const waiting = yield* calling(Effect.exit(processor.modify("a", add(1))))
      // The batch is open, and nobody looks at the clock but who keeps the time.
      breakIt()
      yield* TestClock.adjust(10)
      expect(String(defectOf(yield* Fiber.join(waiting)))).toContain("no time")
      expect(String(defectOf(yield* Effect.exit(close)))).toContain("no time")
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))

  it.effect("leaves nothing that was given up to run or to be saved later, and everything is accounted for", () =>
    Effect.gen(function*() {
      const { breakIt, clock, mend } = yield* fragile
      const { close, processor, table } = yield* numbersInScope({ minDuration: 10, maxDuration: 1000 }).pipe(
        Effect.withClock(clock)
      )
      const loading = gated()
      table.loads.push(() => Effect.uninterruptible(loading.run))
      let hasRun = false
      const waiting = yield* calling(Effect.exit(processor.modify("a", (sum) => {
        hasRun = true
        return [sum, sum]
      })))
      const open = yield* calling(Effect.exit(processor.modify("b", add(1))))
      // Who keeps the time dies; the fiber of the shard lives.
      breakIt()
      yield* TestClock.adjust(10)
      mend()
      for (const call of [waiting, open]) expect(String(defectOf(yield* Fiber.join(call)))).toContain("no time")
      yield* loading.end
      yield* settleDown
      yield* Effect.exit(close)
      yield* settleDown
      expect(hasRun).toBe(false)
      expect(table.log).toEqual(["load a", "load b"])
      const metrics = yield* processor.metrics
      expect(metrics).toMatchObject({ offered: 2, failed: 2, held: 0, keys: 0 })
      expect(accounted(metrics)).toBe(metrics.offered)
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))
})

describe("what the user's code needs", () => {
  it.effect("is what there was when the processor was made, and can be interrupted there", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { processor, table } = yield* Effect.uninterruptible(
        Scope.extend(numbers({ minDuration: 10 }), scope)
      )
      table.loads.push(() => Effect.never)
      const call = yield* calling(Effect.flip(processor.modify("a", add(1))))
      yield* TestClock.adjust(20)
      expect(yield* Fiber.join(call)).toMatchObject({ phase: "load" })
      yield* settleDown
      expect((yield* processor.metrics).keys).toBe(0)
      yield* Scope.close(scope, Exit.void)
    }))
})

it.scoped("a batch that is due only when it is overdue, because the process was paused, is saved", () =>
  Effect.gen(function*() {
    const { processor, table } = yield* numbers({ minDuration: 10, maxDuration: 20 })
    const call = yield* calling(processor.modify("a", add(1)))
    // All timers come late.
    yield* TestClock.setTime(1000)
    expect(yield* Fiber.join(call)).toBe(1)
    expect(table.rows.get("a")).toBe(1)
  }))

it.scoped("failures that callers are told of are not logged as unhandled", () =>
  Effect.gen(function*() {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => void logged.push(String(message)))
    yield* Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      table.saves.push(() => Effect.fail("down"))
      expect(yield* Effect.flip(processor.modify("a", add(1)))).toBe("down")
      expect(yield* Effect.flip(processor.modifyEffect("a", () => Effect.fail("own")))).toBe("own")
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)), Logger.withMinimumLogLevel(LogLevel.All))
    expect(logged).toEqual([])
  }))

it.scoped.each([[5], ["ab"], [undefined], [{}]])(
  "an operation that answers %s, which is no pair, dies, and nothing is saved",
  ([answer]) =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      expect(defectOf(yield* Effect.exit(processor.modify("a", () => answer as never)))).toBeInstanceOf(TypeError)
      const effect = Effect.succeed(answer as never)
      expect(defectOf(yield* Effect.exit(processor.modifyEffect("a", () => effect)))).toBeInstanceOf(TypeError)
      expect(table.log).toEqual(["load a", "load a"])
    })
)

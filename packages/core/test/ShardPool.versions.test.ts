import { describe, expect, it } from "@effect/vitest"
import { QueueError, type Sharding } from "@sluice/core"
import { Cause, Effect, Exit, Fiber, TestClock } from "effect"
import * as SeededRun from "../src/testing/SeededRun.ts"
import { command, gated, type Options, type Pool, pool, settleDown, submitting, until } from "./support/shardPool.ts"

/** A pool over a store of versions that remembers who asked. */
const versioned = (options?: Options) =>
  Effect.gen(function*() {
    const store = new Map<string, number>()
    const asked: Array<Sharding.Key> = []
    const script: Array<Effect.Effect<number, unknown>> = []
    const made = yield* pool({
      currentVersion: (key) =>
        Effect.suspend(() => {
          asked.push(key)
          return script.shift() ?? Effect.sync(() => store.get(String(key)) ?? 0)
        }),
      ...options
    })
    const writing = (key: Sharding.Key, name?: string) =>
      command(key, name, ({ version }) =>
        Effect.sync(() => {
          store.set(String(key), version)
          return version
        }))
    return { ...made, store, asked, script, writing }
  })

const conflicting = (key: Sharding.Key, times: number) => {
  let left = times
  return command(
    key,
    "conflicting",
    ({ key, version }) =>
      left-- > 0 ? Effect.fail(new QueueError.VersionConflict({ key, version })) : Effect.succeed(version)
  )
}

const fails = (key: Sharding.Key, error: unknown) => command(key, "fails", () => Effect.fail(error))
const dies = (key: Sharding.Key) => command(key, "dies", () => Effect.die("bug"))

describe("versions", () => {
  it.scoped("of a key are 1, 2, 3, ... without currentVersion, each key for itself", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const answers = yield* Effect.forEach(["a", "b", "a", "a", "b"], (key) => made.pool.submit(command(key)))
      expect(answers).toEqual([1, 1, 2, 3, 2])
    }))

  it.scoped("follow currentVersion, which is asked on first use, once for each key", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      made.store.set("a", 41)
      const answers = yield* Effect.forEach(["a", "b", "a", 7, "7"], (key) => made.pool.submit(made.writing(key)))
      expect(answers).toEqual([42, 1, 43, 1, 2])
      expect(made.asked).toEqual(["a", "b", 7])
    }))

  it.scoped("are given when a command starts to run, and not when it is submitted", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      const first = gated("a", "first", () => Effect.fail("no"))
      yield* made.pool.offer(first.command)
      yield* first.begun
      const second = yield* submitting(made.pool, made.writing("a"))
      yield* first.end
      expect(yield* Fiber.join(second)).toBe(1)
    }))

  it.scoped("of rejected commands are given back, and nobody is asked", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      yield* made.pool.submit(made.writing("a"))
      for (const error of ["no", new Error("no"), undefined, null, { _tag: "No" }]) {
        expect(yield* Effect.flip(made.pool.submit(fails("a", error)))).toBe(error)
      }
      expect(yield* made.pool.submit(made.writing("a"))).toBe(2)
      expect(made.versions.map(([, version]) => version)).toEqual([1, 2, 2, 2, 2, 2, 2])
      expect(made.asked).toEqual(["a"])
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 5, failed: 0, succeeded: 2 })
    }))

  it.scoped("are asked for again after an error that is no rejection", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ isRejection: (error) => error === "no" })
      expect(yield* Effect.flip(made.pool.submit(fails("a", "no")))).toBe("no")
      expect(made.asked).toEqual(["a"])
      // It has happened nevertheless.
      const late = command("a", "late", ({ version }) =>
        Effect.zipRight(
          Effect.sync(() => made.store.set("a", version)),
          Effect.fail("timed out")
        ))
      expect(yield* Effect.flip(made.pool.submit(late))).toBe("timed out")
      expect(yield* made.pool.submit(made.writing("a"))).toBe(2)
      expect(made.asked).toEqual(["a", "a"])
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 1, failed: 1, succeeded: 1 })
    }))

  it.scoped("are asked for again after an error at which isRejection throws; its caller has the error", () =>
    Effect.gen(function*() {
      const made = yield* versioned({
        isRejection: () => {
          throw new Error("cannot say")
        }
      })
      expect(yield* Effect.exit(made.pool.submit(fails("a", "down")))).toEqual(Exit.fail("down"))
      expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
      expect(made.asked).toEqual(["a", "a"])
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 0, failed: 1, succeeded: 1 })
    }))

  it.scoped("are asked for again after a defect, and after an interruption from within", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      yield* Effect.exit(made.pool.submit(dies("a")))
      yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.interrupt)))
      yield* Effect.exit(made.pool.submit(command("a", "", () => {
        throw new Error("at once")
      })))
      expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
      expect(made.asked).toEqual(["a", "a", "a", "a"])
    }))

  it.scoped("are asked for again after an error beside a defect", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      const both = command("a", "", () => Effect.ensuring(Effect.fail("no"), Effect.die("bug")))
      yield* Effect.exit(made.pool.submit(both))
      expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
      expect(made.asked).toEqual(["a", "a"])
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 0, failed: 1 })
    }))

  // The interruption of the others stands beside the error of the one.
  it.scoped("of commands that fail in one of several effects at once are given back as well", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      const inParallel = command(
        "a",
        "",
        () => Effect.all([Effect.fail("no"), Effect.never], { concurrency: "unbounded" })
      )
      expect(yield* Effect.flip(made.pool.submit(inParallel))).toBe("no")
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 1, failed: 0 })
    }))

  it.scoped("are asked for again after the caller was interrupted while its command ran", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      const held = gated("a")
      const caller = yield* submitting(made.pool, held.command)
      yield* held.begun
      made.store.set("a", 1)
      yield* Fiber.interrupt(caller)
      expect(yield* made.pool.submit(made.writing("a"))).toBe(2)
      expect(made.asked).toEqual(["a", "a"])
    }))

  it.scoped("of commands that fail, die or are interrupted are given again without currentVersion", () =>
    Effect.gen(function*() {
      const made = yield* pool({ isRejection: () => false })
      yield* Effect.exit(made.pool.submit(dies("a")))
      yield* Effect.exit(made.pool.submit(fails("a", "down")))
      const held = gated("a")
      const caller = yield* submitting(made.pool, held.command)
      yield* held.begun
      yield* Fiber.interrupt(caller)
      expect(yield* made.pool.submit(command("a"))).toBe(1)
      expect(yield* made.pool.submit(command("a"))).toBe(2)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 3, rejected: 0, succeeded: 2 })
    }))
})

describe("a conflict of versions", () => {
  it.scoped("is asked about, and the command is run once more, before the others of its key", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      yield* made.pool.submit(made.writing("a"))
      const first = gated("a", "first", ({ version }) => {
        if (version > 2) return Effect.succeed(version)
        made.store.set("a", 5)
        return Effect.fail(new QueueError.VersionConflict({ key: "a", version }))
      })
      const caller = yield* submitting(made.pool, first.command)
      yield* first.begun
      const next = yield* submitting(made.pool, command("a", "next"))
      yield* first.end
      expect(yield* Fiber.join(caller)).toBe(6)
      expect(yield* Fiber.join(next)).toBe(7)
      expect(made.versions.slice(1)).toEqual([["first", 2], ["first", 6], ["next", 7]])
      expect(made.asked).toEqual(["a", "a"])
      expect(yield* made.pool.metrics).toMatchObject({ offered: 3, succeeded: 3, rejected: 0, failed: 0 })
    }))

  it.scoped("for the second time is the caller's, and the version is asked for again", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      expect(yield* Effect.flip(made.pool.submit(conflicting("a", 2)))).toMatchObject({ _tag: "VersionConflict" })
      expect(made.begun).toEqual(["conflicting", "conflicting"])
      expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
      expect(made.asked).toEqual(["a", "a", "a"])
      expect(yield* made.pool.metrics).toMatchObject({ offered: 2, rejected: 1, failed: 0, succeeded: 1 })
    }))

  it.scoped("for the second time is a failure where isRejection says that it is none", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ isRejection: () => false })
      yield* Effect.flip(made.pool.submit(conflicting("a", 2)))
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 0, failed: 1 })
    }))

  it.scoped("of each command is one of its own", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      expect(yield* made.pool.submit(conflicting("a", 1))).toBe(1)
      expect(yield* made.pool.submit(conflicting("a", 1))).toBe(1)
      expect(made.begun.length).toBe(4)
    }))

  it.scoped("without currentVersion is an error like every other", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      expect(yield* Effect.flip(made.pool.submit(conflicting("a", 1)))).toMatchObject({ _tag: "VersionConflict" })
      expect(made.begun).toEqual(["conflicting"])
      expect(yield* made.pool.submit(command("a"))).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ rejected: 1, succeeded: 1 })
    }))

  it.scoped("in one of several effects at once has the command run once more as well", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      let runs = 0
      const inParallel = command("a", "", ({ key, version }) =>
        runs++ === 0
          ? Effect.all([Effect.fail(new QueueError.VersionConflict({ key, version })), Effect.never], {
            concurrency: "unbounded"
          })
          : Effect.succeed(version))
      expect(yield* Effect.exit(made.pool.submit(inParallel))).toEqual(Exit.succeed(1))
    }))
})

describe("currentVersion", () => {
  it.scoped("that fails is what the call fails with: the command has not run, and the next one asks again", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      made.script.push(Effect.fail("store is down"), Effect.die("store is broken"))
      expect(yield* Effect.exit(made.pool.submit(made.writing("a")))).toEqual(Exit.fail("store is down"))
      expect(yield* Effect.exit(made.pool.submit(made.writing("a")))).toEqual(Exit.die("store is broken"))
      expect(made.begun).toEqual([])
      expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 2, rejected: 0, succeeded: 1, keys: 1 })
    }))

  it.scoped("that throws is what the call dies of", () =>
    Effect.gen(function*() {
      let isBroken = true
      const made = yield* pool({
        currentVersion: () => {
          if (isBroken) throw new Error("at once")
          return Effect.succeed(3)
        }
      })
      const exit = yield* Effect.exit(made.pool.submit(command("a")))
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("at once")
      isBroken = false
      expect(yield* made.pool.submit(command("a"))).toBe(4)
    }))

  it.scoped.each([["-1", -1], ["NaN", NaN], ["1.5", 1.5], ["Infinity", Infinity], ["text", "1"], [
    "nothing",
    undefined
  ]])(
    "that answers %s is what the call dies of: the command has not run, and the next one asks again",
    ([, version]) =>
      Effect.gen(function*() {
        const made = yield* versioned()
        made.script.push(Effect.succeed(version as number))
        const exit = yield* Effect.exit(made.pool.submit(made.writing("a")))
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain(
          `the current version of "a" is ${version}, but must be an integer from 0`
        )
        expect(made.begun).toEqual([])
        expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
        expect(yield* made.pool.metrics).toMatchObject({ failed: 1, succeeded: 1 })
      })
  )

  it.scoped("that hangs holds up its own key alone, and can be interrupted with its caller", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ workersPerShard: 2 })
      made.script.push(Effect.never)
      const caller = yield* submitting(made.pool, made.writing("a"))
      const next = yield* submitting(made.pool, made.writing("a", "next"))
      yield* until(made.pool, ({ inFlight }) => inFlight === 1)
      expect(yield* made.pool.submit(made.writing("b"))).toBe(1)
      yield* Fiber.interrupt(caller)
      expect(yield* Fiber.join(next)).toBe(1)
      expect(made.begun).toEqual(["b", "next"])
      expect(made.asked).toEqual(["a", "b", "a"])
    }))
})

describe("keys that are idle", () => {
  const keysOf = ({ pool }: { readonly pool: { readonly metrics: Effect.Effect<{ readonly keys: number }> } }) =>
    Effect.map(pool.metrics, ({ keys }) => keys)

  it.scoped("are forgotten between once and twice idleTimeToLive after their last command, and asked for again", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ idleTimeToLive: "10 seconds" })
      yield* made.pool.submit(made.writing("a"))
      yield* TestClock.adjust("10 seconds")
      expect(yield* keysOf(made)).toBe(1)
      // Used again in the meantime.
      yield* made.pool.submit(made.writing("a"))
      yield* made.pool.submit(made.writing("b"))
      expect(made.asked).toEqual(["a", "b"])
      yield* TestClock.adjust("10 seconds")
      expect(yield* keysOf(made)).toBe(2)
      yield* TestClock.adjust("10 seconds")
      expect(yield* keysOf(made)).toBe(0)
      expect(yield* made.pool.submit(made.writing("a"))).toBe(3)
      expect(made.asked).toEqual(["a", "b", "a"])
    }))

  it.scoped("by default are forgotten after 5 to 10 minutes", () =>
    Effect.gen(function*() {
      const made = yield* versioned()
      yield* made.pool.submit(made.writing("a"))
      yield* TestClock.adjust("299 seconds")
      expect(yield* keysOf(made)).toBe(1)
      yield* TestClock.adjust("301 seconds")
      expect(yield* keysOf(made)).toBe(0)
    }))

  it.scoped("are not forgotten while a command of theirs waits or runs", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ idleTimeToLive: "1 second" })
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      yield* made.pool.offer(made.writing("a", "next"))
      yield* made.pool.offer(made.writing("b"))
      yield* TestClock.adjust("10 seconds")
      expect(yield* keysOf(made)).toBe(2)
      yield* held.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 3)
      expect(made.versions).toEqual([["a", 1], ["b", 1], ["next", 2]])
      expect(made.asked).toEqual(["a", "b"])
    }))

  it.scoped("are never forgotten without currentVersion: their versions would repeat", () =>
    Effect.gen(function*() {
      const made = yield* pool({ idleTimeToLive: 0 })
      yield* made.pool.submit(command("a"))
      yield* TestClock.adjust("1 hour")
      expect(yield* keysOf(made)).toBe(1)
      expect(yield* made.pool.submit(command("a"))).toBe(2)
    }))

  it.scoped("that have no version yet are forgotten at once without currentVersion", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      for (let key = 0; key < 10; key++) yield* Effect.exit(made.pool.submit(fails(key, "no")))
      expect(yield* keysOf(made)).toBe(0)
    }))

  it.scoped("are forgotten at once where idleTimeToLive is 0", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ idleTimeToLive: 0 })
      expect(yield* made.pool.submit(made.writing("a"))).toBe(1)
      expect(yield* keysOf(made)).toBe(0)
      expect(yield* made.pool.submit(made.writing("a"))).toBe(2)
      expect(made.asked).toEqual(["a", "a"])
    }))

  it("keep nobody busy while a command runs where idleTimeToLive is 0", () => {
    const program = Effect.scoped(Effect.gen(function*() {
      const made = yield* versioned({ idleTimeToLive: 0 })
      return yield* made.pool.submit(
        command("a", "", ({ version }) => Effect.as(Effect.sleep("10 minutes"), version))
      )
    }))
    const { exit } = SeededRun.run(program, { seed: 1, maxSteps: 10_000 })
    expect(exit).toEqual(Exit.succeed(1))
  })

  it.scoped("are known for ever where idleTimeToLive is infinite", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ idleTimeToLive: Infinity })
      yield* made.pool.submit(made.writing("a"))
      yield* TestClock.adjust("1000 days")
      expect(yield* keysOf(made)).toBe(1)
      yield* made.pool.submit(made.writing("a"))
      expect(made.asked).toEqual(["a"])
    }))

  it.scoped("are known across a command that runs for longer than idleTimeToLive", () =>
    Effect.gen(function*() {
      const made = yield* versioned({ idleTimeToLive: "1 second" })
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      yield* TestClock.adjust("5 seconds")
      yield* held.end
      yield* settleDown
      expect(yield* made.pool.submit(command("a"))).toBe(2)
      expect(made.asked).toEqual(["a"])
    }))
})

it.scoped("a conflict of another key, which a command lets through, does not have it run once more", () =>
  Effect.gen(function*() {
    const made = yield* pool({ currentVersion: () => Effect.succeed(0) })
    let runs = 0
    const others = Effect.fail(new QueueError.VersionConflict({ key: "other", version: 1 }))
    const letting = command("a", "", () => Effect.zipRight(Effect.sync(() => runs += 1), others))
    expect(yield* Effect.flip(made.pool.submit(letting))).toMatchObject({ _tag: "VersionConflict", key: "other" })
    expect(runs).toBe(1)
    expect(yield* made.pool.metrics).toMatchObject({ conflicts: 0, rejected: 1 })
  }))

it.scoped("isRejection may look at the counts: the command is held until it has answered", () =>
  Effect.gen(function*() {
    const seen: Array<number> = []
    const made: { readonly pool: Pool } = yield* pool({
      isRejection: () => {
        seen.push(Effect.runSync(made.pool.metrics).held)
        return true
      }
    })
    yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.fail("no"))))
    expect(seen).toEqual([1])
  }))

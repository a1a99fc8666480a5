import { describe, expect, it } from "@effect/vitest"
import { type QueueError, Sharding, ShardPool } from "@sluice/core"
import { Cause, Effect, Exit, Fiber, FiberId, FiberRef, Logger, LogLevel } from "effect"
import {
  accounted,
  command,
  failureOf,
  gated,
  pool,
  settleDown,
  sorted,
  submitting,
  until
} from "./support/shardPool.ts"
import { atLeast, forSeeds } from "./support/campaigns.ts"

const endOwnFiber = Effect.withFiberRuntime<void>((fiber) =>
  Effect.sync(() => fiber.unsafeInterruptAsFork(FiberId.none))
)

const numbersTo = (n: number) => Array.from({ length: n }, (_, index) => index + 1)

describe("commands of one key", () => {
  it.scoped("run one after another, in the order submitted, whatever the number of workers", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 8 })
      let running = 0
      let most = 0
      const step = (name: string) =>
        command("a", name, ({ version }) =>
          Effect.gen(function*() {
            most = Math.max(most, ++running)
            // The later ones are the quicker ones.
            for (let turns = 20 - version; turns > 0; turns--) yield* Effect.yieldNow()
            running -= 1
            return version
          }))
      const answers = yield* Effect.forEach(numbersTo(20), (n) => made.pool.submit(step(String(n))), {
        concurrency: "unbounded"
      })
      expect(answers).toEqual(numbersTo(20))
      expect(made.begun).toEqual(numbersTo(20).map(String))
      expect(most).toBe(1)
    }))

  it.scoped("go to the same shard each time, the one that Sharding.shardOf names", () =>
    Effect.gen(function*() {
      const shards = new Map<string, Set<number>>()
      const made = yield* pool({ shards: 5 })
      for (const n of numbersTo(30)) {
        const key = `key ${n % 10}`
        yield* made.pool.submit(
          command(
            key,
            key,
            ({ shard }) => Effect.sync(() => shards.set(key, (shards.get(key) ?? new Set()).add(shard)))
          )
        )
      }
      for (const [key, of] of shards) expect(Array.from(of)).toEqual([Sharding.shardOf(key, 5)])
      expect(new Set(Array.from(shards.values(), (of) => Array.from(of)[0])).size).toBeGreaterThan(1)
    }))

  it.scoped("go where the user's own shardOf says", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 3, shardOf: (key, shards) => Number(key) % shards })
      const shardOf = (key: number) => made.pool.submit(command(key, "", ({ shard }) => Effect.succeed(shard)))
      expect(yield* Effect.forEach([3, 4, 5, 6], shardOf)).toEqual([0, 1, 2, 0])
    }))

  it.scoped("are told their key as it was submitted", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const keyOf = (key: string | number) => made.pool.submit(command(key, "", (run) => Effect.succeed(run.key)))
      expect(yield* Effect.forEach([7, "7", "a"], keyOf)).toEqual([7, "7", "a"])
    }))
})

describe("commands of different keys", () => {
  it.scoped("of one shard run at the same time on its workers, but no more of them than there are workers", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 2 })
      const [a, b, c] = [gated("a"), gated("b"), gated("c")]
      for (const { command } of [a, b, c]) yield* made.pool.offer(command)
      yield* a.begun
      yield* b.begun
      yield* settleDown
      expect(made.begun).toEqual(["a", "b"])
      expect(yield* made.pool.metrics).toMatchObject({ inFlight: 2, depth: 1, held: 3 })
      yield* b.end
      yield* c.begun
      yield* Effect.zipRight(a.end, c.end)
      yield* until(made.pool, ({ succeeded }) => succeeded === 3)
    }))

  it.scoped("of other shards run on workers of their own", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 2, shardOf: (key) => key === "a" ? 0 : 1 })
      const a = gated("a")
      yield* made.pool.offer(a.command)
      yield* a.begun
      expect(yield* made.pool.submit(command("b"))).toBe(1)
      yield* a.end
    }))

  it.scoped("take turns: a key with many commands holds up no other", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("busy", "busy 1")
      yield* made.pool.offer(first.command)
      yield* first.begun
      for (const name of ["busy 2", "busy 3", "busy 4"]) yield* made.pool.offer(command("busy", name))
      for (const name of ["b 1", "b 2"]) yield* made.pool.offer(command("b", name))
      yield* made.pool.offer(command("c", "c 1"))
      yield* first.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 7)
      expect(made.begun).toEqual(["busy 1", "b 1", "c 1", "busy 2", "b 2", "busy 3", "busy 4"])
    }))

  it.scoped("are not held up by a key that hangs: it has one worker, and what waits of it waits aside", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 2 })
      const hanging = gated("hanging", "hangs")
      yield* made.pool.offer(hanging.command)
      yield* hanging.begun
      for (const name of ["waits", "waits too"]) yield* made.pool.offer(command("hanging", name))
      expect(yield* Effect.forEach(["a", "b", "a", "c"], (key) => made.pool.submit(command(key)))).toEqual([1, 1, 2, 1])
      expect(made.begun).toEqual(["hangs", "a", "b", "a", "c"])
      yield* hanging.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 7)
      expect(made.begun.slice(5)).toEqual(["waits", "waits too"])
    }))

  it.scoped("may be offered from within a command", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 2 })
      const parent = command("parent", "parent", () =>
        Effect.gen(function*() {
          const outcome = yield* made.pool.offer(command("child", "offered"))
          const answer = yield* made.pool.submit(command("child", "submitted"))
          return [outcome, answer]
        }))
      expect(yield* made.pool.submit(parent)).toEqual(["accepted", 2])
      expect(made.begun).toEqual(["parent", "offered", "submitted"])
    }))

  it.scoped("and of its own key may be offered from within a command: they run after it", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const parent = command("a", "parent", () => made.pool.offer(command("a", "child")))
      expect(yield* made.pool.submit(parent)).toBe("accepted")
      yield* until(made.pool, ({ succeeded }) => succeeded === 2)
      expect(made.versions).toEqual([["parent", 1], ["child", 2]])
    }))
})

describe("a key", () => {
  it.scoped("that is a number is the same as its decimal string", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 16, workersPerShard: 2 })
      const number = gated(7, "number")
      yield* made.pool.offer(number.command)
      yield* number.begun
      yield* made.pool.offer(command("7", "text"))
      yield* settleDown
      expect(made.begun).toEqual(["number"])
      expect(yield* made.pool.metrics).toMatchObject({ keys: 1, depth: 1 })
      yield* number.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 2)
      expect(made.versions).toEqual([["number", 1], ["text", 2]])
    }))

  it.scoped("may be empty, negative, as long as it may be, or __proto__", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 3 })
      for (const key of ["", -1.5, "k".repeat(512), "é".repeat(256), "\ud83d\ude00", "__proto__", Number.MAX_VALUE]) {
        expect(yield* made.pool.submit(command(key))).toBe(1)
        expect(yield* made.pool.submit(command(key))).toBe(2)
      }
    }))

  it.scoped.each(
    [
      ["of half a surrogate pair", "\ud800"],
      ["of the other half", "a\udc00"],
      ["with NUL", "a\0b"],
      ["of more than 512 characters", "k".repeat(513)],
      ["of more than 512 bytes", "é".repeat(257)],
      ["that is NaN", NaN],
      ["that is infinite", Infinity],
      ["that is missing", undefined],
      ["that is null", null],
      ["that is an object", { toString: () => "a" }],
      ["that is a bigint", 1n]
    ] satisfies ReadonlyArray<readonly [string, unknown]>
  )("%s is an InvalidKey, which is refused and does not run", ([, key]) =>
    Effect.gen(function*() {
      const made = yield* pool()
      const bad = command(key as never, "bad")
      const expected = { _tag: "InvalidKey", queue: "test", key }
      expect(yield* Effect.flip(made.pool.submit(bad))).toMatchObject(expected)
      expect(yield* Effect.flip(made.pool.offer(bad))).toMatchObject(expected)
      expect(made.begun).toEqual([])
      expect(yield* made.pool.metrics).toMatchObject({ offered: 2, refused: 2, held: 0, keys: 0 })
    }))

  it.scoped.each([
    ["less than 0", -1],
    ["the number of shards", 2],
    ["a fraction", 0.5],
    ["NaN", NaN],
    ["Infinity", Infinity],
    ["text", "0"],
    ["nothing", undefined]
  ])("that shardOf maps to %s is an InvalidKey", ([, shard]) =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 2, shardOf: () => shard as never })
      const error = yield* Effect.flip(made.pool.submit(command("a")))
      expect(error).toMatchObject({ _tag: "InvalidKey", key: "a" })
      expect((error as QueueError.InvalidKey).message).toContain("shardOf")
      expect(yield* made.pool.metrics).toMatchObject({ offered: 1, refused: 1 })
    }))

  it.scoped("function that throws, or shardOf, is what the call dies of, and the pool goes on", () =>
    Effect.gen(function*() {
      const made = yield* pool({
        key: ({ key }) => {
          if (key === "throws") throw new Error("no key")
          return key
        },
        shardOf: (key) => {
          if (key === "nowhere") throw new Error("no shard")
          return 0
        }
      })
      const causeOf = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.map(Effect.flip(Effect.sandbox(effect)), Cause.pretty)
      for (const [key, what] of [["throws", "no key"], ["nowhere", "no shard"]]) {
        expect(yield* causeOf(made.pool.submit(command(key)))).toContain(what)
        expect(yield* causeOf(made.pool.offer(command(key)))).toContain(what)
      }
      expect(yield* made.pool.submit(command("a"))).toBe(1)
      const metrics = yield* made.pool.metrics
      expect(accounted(metrics)).toBe(metrics.offered)
    }))
})

describe("submit", () => {
  it.scoped("does nothing before it is run, and runs its command each time that it is", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const submit = made.pool.submit(command("a"))
      yield* settleDown
      expect(yield* made.pool.metrics).toMatchObject({ offered: 0 })
      expect(yield* Effect.all([submit, submit])).toEqual([1, 2])
    }))

  it.scoped("answers each caller with its own result or error", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 2, workersPerShard: 2 })
      const exits = yield* Effect.forEach(
        numbersTo(30),
        (n) =>
          Effect.exit(made.pool.submit(
            command(n % 5, "", () => n % 3 === 0 ? Effect.fail(n) : n % 3 === 1 ? Effect.die(n) : Effect.succeed(n))
          )),
        { concurrency: "unbounded" }
      )
      expect(exits).toEqual(
        numbersTo(30).map((n) => n % 3 === 0 ? Exit.fail(n) : n % 3 === 1 ? Exit.die(n) : Exit.succeed(n))
      )
    }))

  it.scoped("lets the errors of execute through as they are", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const error = new Error("mine")
      const both = Cause.parallel(Cause.fail(error), Cause.die("too"))
      expect(yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.fail(error))))).toEqual(Exit.fail(error))
      expect(yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.failCause(both)))))
        .toEqual(Exit.failCause(both))
    }))

  it.scoped("of a command that dies dies with it, and the shard lives", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      expect(yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.die("bug"))))).toEqual(Exit.die("bug"))
      expect(yield* made.pool.submit(command("a"))).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 1, succeeded: 1 })
    }))

  it.scoped("of a command whose execute throws dies with it, and the shard lives", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const throwing = command("a", "", () => {
        throw new Error("at once")
      })
      const exit = yield* Effect.exit(made.pool.submit(throwing))
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("at once")
      expect(yield* made.pool.submit(command("a"))).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 1, succeeded: 1, held: 0 })
    }))

  it.scoped("of a command that interrupts itself is interrupted with it, and the shard lives", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const exit = yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.interrupt)))
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(yield* made.pool.submit(command("a"))).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 1, succeeded: 1 })
    }))

  it.scoped("of a command that ends the fiber it runs in is interrupted with it, and the shard lives", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const ending = command("a", "", () => Effect.zipRight(endOwnFiber, Effect.never))
      expect(Exit.isInterrupted(yield* Effect.exit(made.pool.submit(ending)))).toBe(true)
      expect(yield* made.pool.submit(command("a"))).toBe(1)
    }))

  it.scoped("of a command that ends the fiber it runs in takes nothing with it that waits", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("a", "first")
      yield* made.pool.offer(first.command)
      yield* first.begun
      yield* made.pool.offer(command("a", "ending", () => Effect.zipRight(endOwnFiber, Effect.never)))
      yield* made.pool.offer(command("a", "next"))
      yield* made.pool.offer(command("b", "other"))
      yield* first.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 3)
      expect(made.begun).toEqual(["first", "other", "ending", "next"])
    }))

  it.scoped("of a command whose fiber is interrupted when it has ended already has its answer, and the shard lives", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      let fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
      const telling = command("a", "", ({ version }) =>
        Effect.withFiberRuntime<number>((own) => {
          fiber = own as Fiber.RuntimeFiber<unknown, unknown>
          return Effect.succeed(version)
        }))
      expect(yield* made.pool.submit(telling)).toBe(1)
      fiber!.unsafeInterruptAsFork(FiberId.none)
      yield* settleDown
      expect(yield* made.pool.submit(command("a"))).toBe(2)
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))

  it.scoped("gives execute the context in which the pool was made", () =>
    Effect.gen(function*() {
      const ref = FiberRef.unsafeMake("nobody")
      const made = yield* Effect.locally(pool(), ref, "the maker")
      const asking = command("a", "", () => FiberRef.get(ref))
      expect(yield* Effect.locally(made.pool.submit(asking), ref, "the caller")).toBe("the maker")
    }))

  it.scoped("lets no command see what the one before it has set with Effect.locally", () =>
    Effect.gen(function*() {
      const ref = FiberRef.unsafeMake("nobody")
      const made = yield* pool()
      const setting = command("a", "", () => Effect.locally(FiberRef.get(ref), ref, "somebody else"))
      expect(yield* made.pool.submit(setting)).toBe("somebody else")
      expect(yield* made.pool.submit(command("b", "", () => FiberRef.get(ref)))).toBe("nobody")
    }))
})

describe("offer", () => {
  it.scoped("answers at once that the command was accepted, and does not wait for it", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      expect(yield* made.pool.offer(held.command)).toBe("accepted")
      yield* held.begun
      expect(yield* made.pool.metrics).toMatchObject({ inFlight: 1, succeeded: 0 })
      yield* held.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 1)
    }))

  it.scoped("has a failure logged that is no rejection, because nobody waits for it", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ cause, logLevel, message }) =>
        void logged.push(`${logLevel.label} ${String(message)} ${Cause.pretty(cause)}`)
      )
      const made = yield* pool({ isRejection: (error) => error === "no" }).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      for (const run of [() => Effect.fail("no"), () => Effect.fail("down"), () => Effect.die("bug")]) {
        yield* made.pool.offer(command("a", "", run))
      }
      yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.die("told"))))
      yield* until(made.pool, ({ failed }) => failed === 3)
      yield* settleDown
      expect(logged).toEqual([
        expect.stringMatching(/^ERROR test: .*down/s),
        expect.stringMatching(/^ERROR test: .*bug/s)
      ])
    }))
})

describe("a caller that is interrupted", () => {
  it.scoped("while its command waits takes it out: it does not run, and the next one is not held up", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("a", "first")
      yield* made.pool.offer(first.command)
      yield* first.begun
      const second = yield* submitting(made.pool, command("a", "second"))
      const third = yield* submitting(made.pool, command("a", "third"))
      yield* Fiber.interrupt(second)
      expect(yield* made.pool.metrics).toMatchObject({ cancelled: 1, depth: 1, inFlight: 1 })
      yield* first.end
      expect(yield* Fiber.join(third)).toBe(2)
      expect(made.begun).toEqual(["first", "third"])
    }))

  it.scoped("while the only command of its key waits for a worker leaves nothing behind that holds others up", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("a")
      yield* made.pool.offer(first.command)
      yield* first.begun
      const only = yield* submitting(made.pool, command("b", "out"))
      yield* made.pool.offer(command("c"))
      yield* Fiber.interrupt(only)
      const again = yield* submitting(made.pool, command("b", "again"))
      yield* first.end
      expect(yield* Fiber.join(again)).toBe(1)
      yield* until(made.pool, ({ succeeded }) => succeeded === 3)
      expect(sorted(made.begun)).toEqual(["a", "again", "c"])
    }))

  it.scoped("while its command runs interrupts it, ends when that has ended, and the shard goes on", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const log: Array<string> = []
      const last = yield* Effect.makeLatch()
      const held = gated("a", "held", () => Effect.never)
      yield* held.end
      const caller = yield* submitting(
        made.pool,
        command(
          "a",
          "",
          (run) =>
            Effect.onInterrupt(
              held.command.run(run),
              () => Effect.zipRight(last.await, Effect.sync(() => log.push("cleaned up")))
            )
        )
      )
      yield* held.begun
      const next = yield* submitting(made.pool, command("a", "next"))
      const interrupting = yield* Effect.fork(
        Effect.tap(Fiber.interrupt(caller), () => Effect.sync(() => log.push("ended")))
      )
      yield* settleDown
      expect(log).toEqual([])
      expect(yield* made.pool.metrics).toMatchObject({ inFlight: 1, depth: 1 })
      yield* last.open
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      expect(log).toEqual(["cleaned up", "ended"])
      expect(yield* Fiber.join(next)).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 1, cancelled: 0, succeeded: 1, held: 0 })
    }))

  it.scoped("while a command runs that cannot be interrupted waits for its end", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      const stubborn = command("a", "", (run) => Effect.uninterruptible(held.command.run(run)))
      const caller = yield* submitting(made.pool, stubborn)
      yield* held.begun
      const interrupting = yield* Effect.fork(Fiber.interrupt(caller))
      yield* settleDown
      expect(caller.unsafePoll()).toBe(null)
      yield* held.end
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      expect(yield* made.pool.metrics).toMatchObject({ failed: 1, held: 0 })
      expect(yield* made.pool.submit(command("b"))).toBe(1)
    }))

  it.scoped("while other workers run commands interrupts none of those", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 3 })
      const held = ["a", "b", "c"].map((key) => gated(key))
      const callers = []
      for (const { begun, command } of held) {
        callers.push(yield* submitting(made.pool, command))
        yield* begun
      }
      yield* Fiber.interrupt(callers[1])
      for (const { end } of held) yield* end
      expect(yield* Fiber.join(callers[0])).toBe(1)
      expect(yield* Fiber.join(callers[2])).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ succeeded: 2, failed: 1 })
    }))

  it.scoped("again and again leaves the shard with all of its workers", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 2 })
      for (let n = 0; n < 20; n++) {
        const held = gated(`key ${n}`)
        const caller = yield* submitting(made.pool, held.command)
        yield* held.begun
        yield* Fiber.interrupt(caller)
      }
      const [a, b] = [gated("a"), gated("b")]
      for (const { command } of [a, b]) yield* made.pool.offer(command)
      yield* a.begun
      yield* b.begun
      expect(yield* made.pool.metrics).toMatchObject({ inFlight: 2, failed: 20 })
      yield* Effect.zipRight(a.end, b.end)
    }))

  it.scoped("with detach ends at once, and its command runs on while it runs already", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      const caller = yield* submitting(made.pool, held.command, { detach: true })
      yield* held.begun
      expect(Exit.isInterrupted(yield* Fiber.interrupt(caller))).toBe(true)
      expect(yield* made.pool.metrics).toMatchObject({ inFlight: 1, failed: 0 })
      yield* held.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 1)
    }))

  it.scoped("with detach has what its command dies of logged afterwards", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ cause }) => void logged.push(Cause.pretty(cause)))
      const made = yield* pool().pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      const held = gated("a", "", () => Effect.die("later"))
      const caller = yield* submitting(made.pool, held.command, { detach: true })
      yield* held.begun
      yield* Fiber.interrupt(caller)
      yield* held.end
      yield* until(made.pool, ({ failed }) => failed === 1)
      yield* settleDown
      expect(logged).toEqual([expect.stringContaining("later")])
    }))

  it.scoped("with detach takes its command out while it waits", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("a", "first")
      yield* made.pool.offer(first.command)
      yield* first.begun
      const waiting = yield* submitting(made.pool, command("a", "second"), { detach: true })
      yield* Fiber.interrupt(waiting)
      expect(yield* made.pool.metrics).toMatchObject({ cancelled: 1, depth: 0 })
      yield* first.end
      yield* until(made.pool, ({ succeeded }) => succeeded === 1)
      expect(made.begun).toEqual(["first"])
    }))

  it.scoped("and cannot be gets its answer", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      let answer: unknown
      const caller = yield* Effect.fork(
        Effect.uninterruptible(
          Effect.tap(made.pool.submit(held.command), (result) => Effect.sync(() => void (answer = result)))
        )
      )
      yield* held.begun
      const interrupting = yield* Effect.fork(Fiber.interrupt(caller))
      yield* Effect.yieldNow()
      yield* held.end
      yield* Fiber.join(interrupting)
      expect(answer).toBe(1)
      expect(yield* made.pool.metrics).toMatchObject({ succeeded: 1, failed: 0 })
    }))
})

describe("a fiber that a command forks", () => {
  it.scoped("runs on after the command has ended", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const gate = yield* Effect.makeLatch()
      const done = yield* Effect.makeLatch()
      yield* made.pool.submit(command("a", "", () => Effect.fork(Effect.zipRight(gate.await, done.open))))
      yield* made.pool.submit(command("b"))
      yield* gate.open
      yield* done.await
    }))
})

describe("a long row of commands", () => {
  it.scoped("that wait for nothing overflows no stack, and leaves other fibers their turns", () =>
    Effect.gen(function*() {
      const made = yield* pool({ capacity: 20_000 })
      const first = gated("a")
      yield* made.pool.offer(first.command)
      yield* first.begun
      for (let n = 0; n < 10_000; n++) yield* made.pool.offer(command(n % 7))
      yield* first.end
      let turns = 0
      while ((yield* made.pool.metrics).held > 0) {
        turns += 1
        yield* Effect.yieldNow()
      }
      expect(turns).toBeGreaterThan(1)
      expect(yield* made.pool.metrics).toMatchObject({ succeeded: 10_001 })
    }))

  // Each worker that is started anew within the last step of the one before it would add to the stack.
  it.scoped("that end the fibers they run in, at once, needs no more stack for the last one than for the first", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("a")
      yield* made.pool.offer(first.command)
      yield* first.begun
      const { stackTraceLimit } = Error
      const depths: Array<number> = []
      const ending = command("a", "", () => {
        Error.stackTraceLimit = 10_000
        depths.push(new Error().stack!.split("\n").length)
        Error.stackTraceLimit = stackTraceLimit
        return Effect.zipRight(endOwnFiber, Effect.void)
      })
      for (let n = 0; n < 30; n++) yield* made.pool.offer(ending)
      yield* first.end
      yield* until(made.pool, ({ failed }) => failed === 30)
      expect(depths[29] - depths[10]).toBeLessThan(10)
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))
})

describe("under many schedules", () => {
  it("commands of one key run in the order of their calls, also where the shard is full", async () => {
    await forSeeds(
      () => {
        const calls: Array<string> = []
        return Effect.scoped(Effect.gen(function*() {
          const made = yield* pool({
            capacity: 1,
            key: ({ key, name }) => {
              calls.push(name)
              return key
            }
          })
          yield* Effect.forEach(numbersTo(6), (n) => made.pool.submit(command("a", String(n))), {
            concurrency: "unbounded"
          })
          return { calls, begun: made.begun }
        }))
      },
      { runs: 300, yieldProbability: 0.1 },
      ({ exit }) => {
        if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
        expect(exit.value.begun).toEqual(exit.value.calls)
      }
    )
  })

  it("a drain ends that begins in the moment in which the only caller is interrupted", async () => {
    const became: Record<string, number> = {}
    await forSeeds(
      Effect.scoped(Effect.gen(function*() {
        const made = yield* pool()
        const caller = yield* Effect.fork(made.pool.submit(command("a")))
        const draining = yield* Effect.fork(made.pool.drain(Infinity))
        yield* Fiber.interrupt(caller)
        yield* Fiber.join(draining)
        return yield* made.pool.metrics
      })),
      { runs: 300, yieldProbability: 0.2 },
      ({ exit }) => {
        if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
        expect(exit.value.held).toBe(0)
        const { cancelled, succeeded, failed, refused } = exit.value
        for (const [what, count] of Object.entries({ cancelled, succeeded, failed, refused })) {
          became[what] = (became[what] ?? 0) + count
        }
      }
    )
    expect(became["cancelled"]).toBeGreaterThanOrEqual(atLeast(10))
  })

  it("a caller that is interrupted at any moment ends, and what comes after it runs", async () => {
    const ends = { success: 0, interruption: 0 }
    await forSeeds(
      Effect.scoped(Effect.gen(function*() {
        const made = yield* pool()
        const caller = yield* Effect.fork(
          made.pool.submit(command("a", "first", () => Effect.repeatN(Effect.yieldNow(), 3)))
        )
        const next = yield* Effect.fork(made.pool.submit(command("a", "next")))
        const exit = yield* Fiber.interrupt(caller)
        yield* Fiber.join(next)
        yield* made.pool.drain()
        return { exit, metrics: yield* made.pool.metrics }
      })),
      { runs: 300, yieldProbability: 0.2 },
      ({ exit, leftFibers }) => {
        if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
        const { exit: answer, metrics } = exit.value
        ends[Exit.isSuccess(answer) ? "success" : "interruption"] += 1
        expect(failureOf(answer)).toBe(undefined)
        expect(accounted(metrics)).toBe(metrics.offered)
        expect(metrics.held).toBe(0)
        expect(leftFibers).toEqual([])
      }
    )
    expect(ends.interruption).toBeGreaterThanOrEqual(atLeast(10))
  })
})

it.scoped("what a command has forked is neither interrupted nor waited for when another is interrupted", () =>
  Effect.gen(function*() {
    const made = yield* pool()
    const child = gated("child")
    let forked: Fiber.RuntimeFiber<unknown, unknown> | undefined
    yield* made.pool.submit(
      command("a", "", () =>
        Effect.map(
          Effect.fork(Effect.uninterruptible(child.command.run({ key: "", version: 1, shard: 0 }))),
          (fiber) => {
            forked = fiber
          }
        ))
    )
    const held = gated("b")
    const hanging = yield* submitting(made.pool, held.command)
    yield* held.begun
    yield* Fiber.interrupt(hanging)
    expect(yield* made.pool.submit(command("c"))).toBe(1)
    expect(forked!.unsafePoll()).toBe(null)
    yield* child.end
    expect(Exit.isSuccess(yield* Fiber.await(forked!))).toBe(true)
  }))

it.effect("the example of the module runs as it says", () =>
  Effect.gen(function*() {
    const answer = yield* Effect.scoped(
      Effect.gen(function*() {
        const made = yield* ShardPool.make({
          name: "counters",
          key: (command: { readonly counter: string }) => command.counter,
          execute: (command, { version }) => Effect.succeed(`${command.counter} is at ${version}`)
        })
        return yield* made.submit({ counter: "visits" })
      })
    )
    expect(answer).toBe("visits is at 1")
  }))

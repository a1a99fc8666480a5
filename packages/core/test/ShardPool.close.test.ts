import { describe, expect, it } from "@effect/vitest"
import { Backpressure, type ShardPool } from "@sluice/core"
import * as Macrotask from "@sluice/core/unstable/Macrotask"
import { Cause, Deferred, Effect, Exit, Fiber, Logger, LogLevel, TestClock } from "effect"
import {
  accounted,
  command,
  failureOf,
  gated,
  type Pool,
  pool,
  poolInScope,
  settleDown,
  sorted,
  submitting,
  until
} from "./support/shardPool.ts"
import { campaign } from "./support/campaigns.ts"

const succeeded = (n: number) => (metrics: ShardPool.Metrics) => metrics.succeeded === n

const refuses = (made: Pool) =>
  Effect.gen(function*() {
    const late = command("late")
    const expected = { _tag: "PoolClosed", queue: "test", command: late }
    expect(yield* Effect.flip(made.submit(late))).toMatchObject(expected)
    expect(yield* Effect.flip(made.offer(late))).toMatchObject(expected)
  })

describe("drain", () => {
  it.scoped("runs everything that was accepted, and refuses the rest", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 3 })
      const first = gated("a", "first")
      yield* made.pool.offer(first.command)
      yield* first.begun
      for (const key of ["a", "b", "c", "d"]) yield* made.pool.offer(command(key))
      const draining = yield* Effect.fork(made.pool.drain())
      yield* Effect.yieldNow()
      yield* refuses(made.pool)
      expect(draining.unsafePoll()).toBe(null)
      yield* first.end
      yield* Fiber.join(draining)
      expect(yield* made.pool.metrics).toMatchObject({ offered: 7, refused: 2, succeeded: 5, held: 0, dropped: 0 })
      yield* refuses(made.pool)
    }))

  it.scoped("wakes those who wait for room, with PoolClosed", () =>
    Effect.gen(function*() {
      const made = yield* pool({ capacity: 1 })
      const first = gated("a", "first")
      yield* made.pool.offer(first.command)
      yield* first.begun
      yield* made.pool.offer(command("a", "inside"))
      const outside = command("b", "outside")
      const submit = yield* submitting(made.pool, outside)
      const offer = yield* Effect.fork(made.pool.offer(outside))
      yield* until(made.pool, ({ held }) => held === 4)
      const draining = yield* Effect.fork(made.pool.drain())
      const expected = { _tag: "PoolClosed", queue: "test", command: outside }
      expect(yield* Effect.flip(Fiber.join(submit))).toMatchObject(expected)
      expect(yield* Effect.flip(Fiber.join(offer))).toMatchObject(expected)
      yield* first.end
      yield* Fiber.join(draining)
      expect(made.begun).toEqual(["first", "inside"])
    }))

  it.scoped("of a pool that holds nothing ends at once, also twice", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      yield* made.pool.submit(command("a"))
      yield* made.pool.drain(0)
      yield* made.pool.drain(0)
      yield* refuses(made.pool)
    }))

  it.scoped("has the callers get their answers", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const first = gated("a")
      const callers = [yield* submitting(made.pool, first.command)]
      yield* first.begun
      callers.push(yield* submitting(made.pool, command("a")))
      callers.push(yield* submitting(made.pool, command("a", "", () => Effect.fail("no"))))
      const draining = yield* Effect.fork(made.pool.drain())
      yield* first.end
      yield* Fiber.join(draining)
      expect(yield* Effect.forEach(callers, Fiber.await)).toEqual([Exit.succeed(1), Exit.succeed(2), Exit.fail("no")])
    }))

  it.scoped("past its timeout fails with DrainTimeout, which names what is left, and gives nothing up", () =>
    Effect.gen(function*() {
      const made = yield* pool({ shards: 2, shardOf: (key) => key === "b" ? 1 : 0 })
      const held = [gated("a", "a 1"), gated("b", "b 1")]
      const waiting = [command("a", "a 2"), command(7, "7 1"), command("b", "b 2")]
      for (const { begun, command } of held) yield* Effect.zipRight(made.pool.offer(command), begun)
      for (const command of waiting) yield* made.pool.offer(command)
      const draining = yield* Effect.fork(Effect.flip(made.pool.drain("3 seconds")))
      yield* TestClock.adjust("2999 millis")
      expect(draining.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(draining)
      expect(error).toMatchObject({
        _tag: "DrainTimeout",
        queue: "test",
        timeoutMillis: 3000,
        left: [
          { command: held[0].command, key: "a", shard: 0, state: "running" },
          { command: waiting[0], key: "a", shard: 0, state: "waiting" },
          { command: waiting[1], key: 7, shard: 0, state: "waiting" },
          { command: held[1].command, key: "b", shard: 1, state: "running" },
          { command: waiting[2], key: "b", shard: 1, state: "waiting" }
        ]
      })
      expect(error.message).toBe("pool \"test\" was not drained in 3000 ms: 2 commands run, 3 wait")
      // It is closed to what comes, and goes on with what is there.
      yield* refuses(made.pool)
      yield* Effect.forEach(held, ({ end }) => end)
      yield* made.pool.drain()
      expect(sorted(made.begun)).toEqual(["7 1", "a 1", "a 2", "b 1", "b 2"])
      expect(yield* made.pool.metrics).toMatchObject({ succeeded: 5, dropped: 0, held: 0 })
    }))

  it.scoped("waits by default for as long as closing the scope would", () =>
    Effect.gen(function*() {
      const made = yield* pool({ drainTimeout: "7 seconds" })
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      const draining = yield* Effect.fork(Effect.flip(made.pool.drain()))
      yield* TestClock.adjust("7 seconds")
      expect(yield* Fiber.join(draining)).toMatchObject({ _tag: "DrainTimeout", timeoutMillis: 7000 })
      yield* held.end
    }))

  it.scoped("with a timeout of 0 looks, and does not wait", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      const draining = yield* Effect.fork(Effect.flip(made.pool.drain(0)))
      yield* settleDown
      expect(yield* Fiber.join(draining)).toMatchObject({ _tag: "DrainTimeout", timeoutMillis: 0 })
      yield* held.end
    }))

  it.scoped("that is interrupted ends the waiting alone: the pool takes no more, and goes on", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      yield* made.pool.offer(command("a", "next"))
      const draining = yield* Effect.fork(made.pool.drain())
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(draining)
      yield* refuses(made.pool)
      yield* held.end
      yield* made.pool.drain()
      expect(made.begun).toEqual(["a", "next"])
    }))

  it.scoped("is over for all that wait for it at once", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      const draining = yield* Effect.fork(
        Effect.all([made.pool.drain(), made.pool.drain(), made.pool.drain()], { concurrency: "unbounded" })
      )
      yield* Effect.yieldNow()
      yield* held.end
      yield* Fiber.join(draining)
    }))

  it.scoped("is over when the last caller takes its command out", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const held = gated("a")
      const caller = yield* submitting(made.pool, held.command)
      yield* held.begun
      const waiting = yield* submitting(made.pool, command("a", "waiting"))
      const draining = yield* Effect.fork(made.pool.drain())
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(caller)
      yield* Fiber.join(draining)
      expect(yield* made.pool.metrics).toMatchObject({ cancelled: 1, failed: 1, held: 0 })
    }))

  it.scoped("refuses what a command offers meanwhile", () =>
    Effect.gen(function*() {
      const made = yield* pool({ workersPerShard: 2 })
      const held = gated("a", "a", () => Effect.flip(made.pool.offer(command("b"))))
      const caller = yield* submitting(made.pool, held.command)
      yield* held.begun
      const draining = yield* Effect.fork(made.pool.drain())
      yield* Effect.yieldNow()
      yield* held.end
      expect(yield* Fiber.join(caller)).toMatchObject({ _tag: "PoolClosed" })
      yield* Fiber.join(draining)
    }))

  it.scoped.each(
    [
      ["less than nothing", -1],
      ["NaN", NaN],
      ["no duration", "soon" as never]
    ] satisfies ReadonlyArray<readonly [string, number]>
  )(
    "with a timeout that is %s is an InvalidOption, and nothing is drained",
    ([, timeout]) =>
      Effect.gen(function*() {
        const made = yield* pool()
        expect(yield* Effect.flip(made.pool.drain(timeout))).toMatchObject({ _tag: "InvalidOption", field: "timeout" })
        expect(yield* made.pool.submit(command("a"))).toBe(1)
      })
  )
})

describe("closing the scope", () => {
  it.effect("runs everything that was accepted, with retries of versions and all", () =>
    Effect.gen(function*() {
      const { begun, close, pool } = yield* poolInScope({ shards: 2, workersPerShard: 2 })
      const first = gated("a", "first")
      yield* pool.offer(first.command)
      yield* first.begun
      for (const key of ["a", "b", "a", "c"]) yield* pool.offer(command(key))
      const closing = yield* Effect.fork(close)
      yield* until(pool, succeeded(2))
      yield* refuses(pool)
      yield* first.end
      yield* Fiber.join(closing)
      expect(sorted(begun)).toEqual(["a", "a", "b", "c", "first"])
      expect(yield* pool.metrics).toMatchObject({ succeeded: 5, dropped: 0, held: 0 })
    }))

  it.effect("twice does nothing", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope()
      yield* pool.submit(command("a"))
      yield* close
      yield* close
      yield* pool.drain()
      yield* refuses(pool)
      expect(yield* pool.metrics).toMatchObject({ offered: 3, refused: 2, succeeded: 1 })
    }))

  it.effect("after drain does nothing more", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope()
      yield* pool.drain()
      yield* close
      yield* refuses(pool)
    }))

  it.effect("that gives commands up has who waits for the drain told which", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ drainTimeout: 0 })
      const held = gated("a", "hangs")
      yield* submitting(pool, held.command)
      yield* held.begun
      const draining = yield* Effect.fork(Effect.flip(pool.drain("1 minute")))
      yield* Effect.yieldNow()
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust(0)
      yield* Fiber.join(closing)
      expect(yield* Fiber.join(draining)).toMatchObject({
        _tag: "DrainTimeout",
        left: [{ command: held.command, key: "a", state: "running" }]
      })
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))

  it.effect("with commands that hang ends after drainTimeout: callers get CommandDropped, and it is told", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push(`${logLevel.label} ${String(message)}`))
      const interrupted = yield* Effect.makeLatch()
      const { begun, close, pool } = yield* poolInScope({ drainTimeout: "5 seconds" }).pipe(
        Effect.provide(Logger.add(logger))
      )
      const held = gated("a", "hangs", () => Effect.onInterrupt(Effect.never, () => interrupted.open))
      const hanging = yield* submitting(pool, held.command)
      yield* Effect.zipRight(held.begun, held.end)
      const waiting = yield* submitting(pool, command("a", "waits"))
      yield* pool.offer(command("b", "nobody waits for it"))
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("4999 millis")
      expect(closing.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      const dropped = { _tag: "CommandDropped", queue: "test", reason: "shutdown" }
      expect(yield* Effect.flip(Fiber.join(hanging))).toMatchObject({
        ...dropped,
        command: held.command,
        started: true
      })
      expect(yield* Effect.flip(Fiber.join(waiting))).toMatchObject({ ...dropped, started: false })
      yield* interrupted.await
      expect(begun).toEqual(["hangs"])
      expect(yield* pool.metrics).toMatchObject({ offered: 3, dropped: 3, held: 0, inFlight: 0, depth: 0 })
      expect(logged).toEqual(["WARN test: closed with 3 commands left, which are dropped"])
    }))

  it.effect("does not wait for a command that cannot be interrupted, and ignores how it ends", () =>
    Effect.gen(function*() {
      const { begun, close, pool } = yield* poolInScope({ drainTimeout: "1 second" })
      const late = yield* Deferred.make<string>()
      const held = gated("a", "stubborn", () => Deferred.await(late))
      const caller = yield* submitting(
        pool,
        command("a", "stubborn", (run) => Effect.uninterruptible(held.command.run(run)))
      )
      yield* Effect.zipRight(held.begun, held.end)
      yield* pool.offer(command("a", "waits"))
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      expect(yield* Effect.flip(Fiber.join(caller))).toMatchObject({ _tag: "CommandDropped", started: true })
      yield* Deferred.succeed(late, "done")
      yield* settleDown
      expect(begun).toEqual(["stubborn"])
      expect(yield* pool.metrics).toMatchObject({ offered: 2, succeeded: 0, failed: 0, dropped: 2, held: 0 })
    }))

  it.effect("ends a caller that was interrupted, and waits for a command that cannot be", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ drainTimeout: "1 second" })
      const held = gated("a")
      const caller = yield* submitting(pool, command("a", "", (run) => Effect.uninterruptible(held.command.run(run))))
      yield* held.begun
      const interrupting = yield* Effect.fork(Fiber.interrupt(caller))
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      yield* held.end
      expect(yield* pool.metrics).toMatchObject({ dropped: 1, failed: 0, held: 0 })
    }))

  it.effect("while the version of a key is asked for drops the command, which has begun", () =>
    Effect.gen(function*() {
      const { begun, close, pool } = yield* poolInScope({ drainTimeout: 0, currentVersion: () => Effect.never })
      const caller = yield* submitting(pool, command("a"))
      yield* until(pool, ({ inFlight }) => inFlight === 1)
      const closing = yield* Effect.fork(close)
      yield* settleDown
      yield* Fiber.join(closing)
      expect(yield* Effect.flip(Fiber.join(caller))).toMatchObject({ _tag: "CommandDropped", started: true })
      expect(begun).toEqual([])
    }))

  it.effect("wakes those who wait for room, with PoolClosed", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ capacity: 1, policy: Backpressure.suspend({ timeout: "1 hour" }) })
      const held = gated("a")
      yield* pool.offer(held.command)
      yield* held.begun
      yield* pool.offer(command("a"))
      const outside = yield* submitting(pool, command("a", "outside"))
      const closing = yield* Effect.fork(close)
      expect(yield* Effect.flip(Fiber.join(outside))).toMatchObject({ _tag: "PoolClosed" })
      yield* held.end
      yield* Fiber.join(closing)
      expect(yield* pool.metrics).toMatchObject({ refused: 1, succeeded: 2 })
    }))

  it.effect("with an infinite drainTimeout waits for as long as it takes", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ drainTimeout: Infinity })
      const held = gated("a")
      yield* pool.offer(held.command)
      yield* held.begun
      const closing = yield* Effect.fork(close)
      yield* TestClock.adjust("1000 days")
      expect(closing.unsafePoll()).toBe(null)
      yield* held.end
      yield* Fiber.join(closing)
    }))

  it.effect("while callers race it: each command is run or refused", () =>
    Effect.gen(function*() {
      for (const policy of [Backpressure.suspend(), Backpressure.reject]) {
        const { begun, close, pool } = yield* poolInScope({ capacity: 3, policy, workersPerShard: 2 })
        const callers = yield* Effect.fork(
          Effect.forEach(
            Array.from({ length: 200 }, (_, n) => n),
            (n) => Effect.exit(pool.submit(command(n % 5, String(n), () => Effect.as(Effect.yieldNow(), n)))),
            { concurrency: 20 }
          )
        )
        yield* until(pool, ({ succeeded }) => succeeded > 20)
        yield* close
        const exits = yield* Fiber.join(callers)
        exits.forEach((exit, n) => {
          if (Exit.isSuccess(exit)) expect(exit.value).toBe(n)
          else expect(["PoolClosed", "QueueFull"]).toContain((failureOf(exit) as { _tag: string })._tag)
        })
        expect(begun.map(Number).sort((a, b) => a - b)).toEqual(
          exits.flatMap((exit, n) => Exit.isSuccess(exit) ? [n] : [])
        )
        const metrics = yield* pool.metrics
        expect(metrics).toMatchObject({ offered: 200, held: 0, dropped: 0, succeeded: begun.length })
        expect(accounted(metrics)).toBe(200)
      }
    }))

  it.effect("again and again leaks no fiber", () =>
    Effect.gen(function*() {
      const self = yield* Effect.withFiberRuntime<Fiber.RuntimeFiber<unknown, unknown>>((fiber) =>
        Effect.succeed(fiber as any)
      )
      const running = () => Fiber.unsafeRoots().length + Array.from((self as any)._children ?? []).length
      const cycle = Effect.gen(function*() {
        const { close, pool } = yield* poolInScope({
          shards: 2,
          workersPerShard: 2,
          currentVersion: () => Effect.succeed(0)
        })
        const held = gated("held")
        const caller = yield* Effect.fork(pool.submit(held.command))
        yield* held.begun
        yield* Fiber.interrupt(caller)
        yield* pool.offer(command("a"))
        yield* pool.offer(command("b"))
        yield* close
      })
      yield* cycle
      yield* settleDown
      const before = running()
      for (let i = 0; i < campaign(1000); i++) yield* cycle
      yield* settleDown
      expect(running()).toBeLessThanOrEqual(before)
    }))
})

describe("a fiber of the pool that dies", () => {
  it.effect("is told to everybody who waits, and to whoever closes the scope, and nothing hangs", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push(`${logLevel.label} ${String(message)}`))
      // That a worker asks for a turn of the event loop is code of ours, and no fault of a command.
      let isBroken = false
      const { close, pool } = yield* poolInScope({ workersPerShard: 2 }).pipe(
        Effect.provideService(Macrotask.Macrotask, (task) => {
          if (isBroken) throw new Error("no task")
          setImmediate(task)
        }),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      const held = gated("held")
      const hanging = yield* submitting(pool, held.command)
      yield* held.begun
      const first = gated("a")
      yield* pool.offer(first.command)
      yield* first.begun
      for (let n = 0; n < 100; n++) yield* pool.offer(command("a"))
      const waiting = yield* submitting(pool, command("a", "waiting"))
      yield* settleDown
      isBroken = true
      yield* first.end
      const causeOf = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.map(Effect.flip(Effect.sandbox(effect)), Cause.pretty)
      expect(yield* Effect.flip(Fiber.join(hanging))).toMatchObject({ _tag: "CommandDropped", started: true })
      expect(yield* Effect.flip(Fiber.join(waiting))).toMatchObject({ _tag: "CommandDropped", started: false })
      expect(yield* causeOf(pool.submit(command("a")))).toContain("no task")
      expect(yield* causeOf(pool.offer(command("a")))).toContain("no task")
      expect(yield* causeOf(pool.drain())).toContain("no task")
      expect(yield* causeOf(close)).toContain("no task")
      const metrics = yield* pool.metrics
      expect(metrics.held).toBe(0)
      expect(accounted(metrics)).toBe(metrics.offered)
      expect(logged).toEqual([expect.stringMatching(/^FATAL test: a fiber of the pool died/)])
    }))
})

import { describe, expect, it } from "@effect/vitest"
import { Backpressure, type QueueError, ShardPool } from "@sluice/core"
import { Effect, Exit, Fiber, Scope, TestClock } from "effect"
import {
  accounted,
  type Command,
  command,
  gated,
  type Options,
  pool,
  sorted,
  submitting,
  until
} from "./support/shardPool.ts"

/** A pool whose only worker is busy, and whose queue of that size is empty. */
const busy = (policy: ShardPool.BuiltInPolicy, capacity = 1, options?: Options) =>
  Effect.gen(function*() {
    const made = yield* pool({ policy, capacity, ...options })
    const first = gated("busy", "first")
    yield* made.pool.offer(first.command)
    yield* first.begun
    return { ...made, end: first.end }
  })

const succeeded = (n: number) => (metrics: ShardPool.Metrics) => metrics.succeeded === n

describe("a full shard under suspend", () => {
  it.scoped("makes submit and offer wait, first come first served", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend(), 2)
      for (const name of ["1", "2"]) yield* made.pool.offer(command("a", name))
      const third = yield* submitting(made.pool, command("b", "3"))
      const fourth = yield* Effect.fork(made.pool.offer(command("c", "4")))
      yield* until(made.pool, ({ offered }) => offered === 5)
      const fifth = yield* submitting(made.pool, command("d", "5"))
      expect(yield* made.pool.metrics).toMatchObject({ depth: 2, inFlight: 1, held: 6 })
      expect(yield* made.pool.depth).toBe(2)
      yield* made.end
      expect(yield* Fiber.join(fourth)).toBe("accepted")
      expect(yield* Fiber.join(third)).toBe(1)
      expect(yield* Fiber.join(fifth)).toBe(1)
      yield* until(made.pool, succeeded(6))
      expect(made.begun).toEqual(["first", "1", "3", "2", "4", "5"])
    }))

  it.scoped("is one that has no room left itself: what runs takes none", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend(), 1)
      expect(yield* made.pool.offer(command("a"))).toBe("accepted")
      expect(yield* made.pool.metrics).toMatchObject({ depth: 1, inFlight: 1 })
      yield* made.end
    }))

  it.scoped("does not fill the others", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.reject, 1, { shards: 2, shardOf: (key) => key === "other" ? 1 : 0 })
      yield* made.pool.offer(command("a"))
      expect(yield* Effect.flip(made.pool.submit(command("a")))).toMatchObject({ _tag: "QueueFull" })
      expect(yield* made.pool.submit(command("other"))).toBe(1)
      yield* made.end
    }))

  it.scoped("lets the next one in when a caller takes its command out", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend())
      const inside = yield* submitting(made.pool, command("a", "inside"))
      const outside = yield* submitting(made.pool, command("b", "outside"))
      expect(yield* made.pool.metrics).toMatchObject({ depth: 1, held: 3 })
      yield* Fiber.interrupt(inside)
      expect(yield* made.pool.metrics).toMatchObject({ depth: 1, held: 2, cancelled: 1 })
      yield* made.end
      expect(yield* Fiber.join(outside)).toBe(1)
      expect(made.begun).toEqual(["first", "outside"])
    }))

  it.scoped.each([
    { detach: false },
    { detach: true }
  ])(
    "has a caller that is interrupted while it waits for room leave without a trace, with %o",
    (options) =>
      Effect.gen(function*() {
        const made = yield* busy(Backpressure.suspend())
        yield* made.pool.offer(command("a", "inside"))
        const leaving = yield* submitting(made.pool, command("b", "leaving"), options)
        const staying = yield* submitting(made.pool, command("c", "staying"))
        yield* Fiber.interrupt(leaving)
        expect(yield* made.pool.metrics).toMatchObject({ refused: 1, cancelled: 0, held: 3 })
        yield* made.end
        yield* Fiber.join(staying)
        expect(made.begun).toEqual(["first", "inside", "staying"])
      })
  )

  it.scoped("has an offer that is interrupted while it waits for room leave without a trace", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend())
      yield* made.pool.offer(command("a", "inside"))
      const leaving = yield* Effect.fork(made.pool.offer(command("b", "leaving")))
      yield* until(made.pool, ({ held }) => held === 3)
      yield* Fiber.interrupt(leaving)
      expect(yield* made.pool.metrics).toMatchObject({ refused: 1, held: 2 })
      yield* made.end
      yield* until(made.pool, succeeded(2))
      expect(made.begun).toEqual(["first", "inside"])
    }))

  it.scoped("with a timeout has the call fail with OfferTimeout, which carries the command; it has not run", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend({ timeout: "2 seconds" }))
      yield* made.pool.offer(command("a"))
      const [submitted, offered] = [command("b", "submitted"), command("c", "offered")]
      const submit = yield* Effect.fork(Effect.flip(made.pool.submit(submitted)))
      const offer = yield* Effect.fork(Effect.flip(made.pool.offer(offered)))
      yield* TestClock.adjust("2 seconds")
      const told = (item: Command) => ({
        _tag: "OfferTimeout",
        queue: "test",
        item,
        taken: 0,
        notTaken: [item],
        timeoutMillis: 2000
      })
      expect(yield* Fiber.join(submit)).toMatchObject(told(submitted))
      expect(yield* Fiber.join(offer)).toMatchObject(told(offered))
      expect(yield* made.pool.metrics).toMatchObject({ refused: 2, held: 2 })
      yield* made.end
      yield* until(made.pool, succeeded(2))
      expect(made.begun).toEqual(["first", "a"])
    }))

  it.scoped("with a timeout bounds the wait for room alone, and not the wait for the answer", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend({ timeout: "2 seconds" }))
      const caller = yield* submitting(made.pool, command("a"))
      yield* TestClock.adjust("1 hour")
      yield* made.end
      expect(yield* Fiber.join(caller)).toBe(1)
    }))
})

describe("a full shard under reject", () => {
  it.scoped("has the call fail at once with QueueFull, which carries the command; it has not run", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.reject)
      yield* made.pool.offer(command("a"))
      const [submitted, offered] = [command("a", "submitted"), command("b", "offered")]
      const told = (item: Command) => ({ _tag: "QueueFull", queue: "test", item, taken: 0, notTaken: [item] })
      expect(yield* Effect.flip(made.pool.submit(submitted))).toMatchObject(told(submitted))
      expect(yield* Effect.flip(made.pool.offer(offered))).toMatchObject(told(offered))
      expect(yield* made.pool.metrics).toMatchObject({ offered: 4, refused: 2, held: 2 })
      yield* made.end
      yield* until(made.pool, succeeded(2))
      expect(made.begun).toEqual(["first", "a"])
    }))
})

describe("a full shard under dropNewest", () => {
  it.scoped("drops the new command: its caller gets CommandDropped, an offer answers so", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.dropNewest)
      yield* made.pool.offer(command("a"))
      const dropped = command("b", "dropped")
      expect(yield* Effect.flip(made.pool.submit(dropped))).toMatchObject({
        _tag: "CommandDropped",
        queue: "test",
        command: dropped,
        reason: "drop-newest",
        started: false
      })
      expect(yield* made.pool.offer(command("c", "dropped"))).toBe("dropped")
      expect(yield* made.pool.metrics).toMatchObject({ offered: 4, dropped: 2, refused: 0, held: 2 })
      yield* made.end
      yield* until(made.pool, succeeded(2))
      expect(made.begun).toEqual(["first", "a"])
    }))
})

describe("a full shard under dropOldest", () => {
  it.scoped("drops the oldest of all keys: its caller gets CommandDropped, and what runs is not touched", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.dropOldest, 2)
      const oldest = command("a", "oldest")
      const first = yield* submitting(made.pool, oldest)
      const second = yield* submitting(made.pool, command("b", "second"))
      expect(yield* made.pool.offer(command("a", "third"))).toBe("accepted")
      expect(yield* Effect.flip(Fiber.join(first))).toMatchObject({
        _tag: "CommandDropped",
        command: oldest,
        reason: "drop-oldest",
        started: false
      })
      expect(yield* made.pool.metrics).toMatchObject({ dropped: 1, depth: 2, inFlight: 1 })
      yield* made.end
      expect(yield* Fiber.join(second)).toBe(1)
      yield* until(made.pool, succeeded(3))
      expect(sorted(made.begun)).toEqual(["first", "second", "third"])
    }))

  it.scoped("drops from the middle of a key that runs as well, and keeps the order of the rest", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.dropOldest, 3)
      const callers = []
      for (const name of ["1", "2", "3", "4", "5"]) {
        callers.push(yield* submitting(made.pool, command("busy", name)))
      }
      yield* made.end
      const exits = yield* Effect.forEach(callers, Fiber.await)
      expect(exits.map(Exit.isSuccess)).toEqual([false, false, true, true, true])
      expect(made.begun).toEqual(["first", "3", "4", "5"])
      const metrics = yield* made.pool.metrics
      expect(accounted(metrics)).toBe(metrics.offered)
    }))
})

describe("options", () => {
  const invalid = (options: Options) => Effect.scoped(Effect.flip(pool(options)))

  it.effect.each(
    [
      ["a blank name", { name: " " }, "name"],
      ["no name", { name: undefined as never }, "name"],
      ["no shard", { shards: 0 }, "shards"],
      ["half a shard", { shards: 1.5 }, "shards"],
      ["NaN shards", { shards: NaN }, "shards"],
      ["infinitely many shards", { shards: Infinity }, "shards"],
      ["more shards than a process can serve", { shards: 2 ** 40 }, "shards"],
      ["more workers than a process can serve", { workersPerShard: 2 ** 40 }, "workersPerShard"],
      ["no worker", { workersPerShard: 0 }, "workersPerShard"],
      ["half a worker", { workersPerShard: 0.5 }, "workersPerShard"],
      ["no room", { capacity: 0 }, "capacity"],
      ["NaN room", { capacity: NaN }, "capacity"],
      ["a policy that coalesces", { policy: Backpressure.coalesceByKey(({ key }: Command) => key) as never }, "policy"],
      ["a policy of one's own", { policy: { ...Backpressure.reject, _tag: "own" } as never }, "policy"],
      ["a negative timeout", { policy: Backpressure.suspend({ timeout: -1 }) }, "policy.timeout"],
      ["a timeout that is none", { policy: Backpressure.suspend({ timeout: "soon" as never }) }, "policy.timeout"],
      ["a shardOf that is no function", { shardOf: 1 as never }, "shardOf"],
      ["a key that is no function", { key: "key" as never }, "key"],
      ["a currentVersion that is no function", { currentVersion: 7 as never }, "currentVersion"],
      ["an isRejection that is no function", { isRejection: true as never }, "isRejection"],
      ["a negative idleTimeToLive", { idleTimeToLive: -1 }, "idleTimeToLive"],
      ["an idleTimeToLive that is none", { idleTimeToLive: "soon" as never }, "idleTimeToLive"],
      ["a drainTimeout that is NaN", { drainTimeout: NaN }, "drainTimeout"],
      ["a drainTimeout that is none", { drainTimeout: {} as never }, "drainTimeout"]
    ] satisfies ReadonlyArray<readonly [string, Options, string]>
  )("with %s are an InvalidOption that names the field", ([, options, field]) =>
    Effect.gen(function*() {
      const error = yield* invalid(options)
      expect(error).toMatchObject({ _tag: "InvalidOption", field })
      expect((error as QueueError.InvalidOption).message).toContain(`"${field}"`)
      expect((error as QueueError.InvalidOption).message).toContain("must be")
    }))

  it.effect("that are invalid leave nothing behind in the scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Effect.flip(Scope.extend(pool({ drainTimeout: -1 }), scope))
      yield* Scope.close(scope, Exit.void)
    }))

  it.scoped("have defaults: 16 shards, 1 worker each, room for 1,024 commands, and callers that wait", () =>
    Effect.gen(function*() {
      const shards = new Set<number>()
      const gate = yield* Effect.makeLatch()
      const made = yield* ShardPool.make<number, void, never, never>({
        name: "defaults",
        key: (key) => key,
        drainTimeout: 0,
        execute: (_, { shard }) => Effect.zipRight(Effect.sync(() => shards.add(shard)), gate.await)
      })
      for (let key = 0; key < 200; key++) yield* made.offer(key)
      yield* Effect.repeatN(Effect.yieldNow(), 100)
      expect(yield* made.metrics).toMatchObject({ inFlight: 16, depth: 184 })
      expect(Array.from(shards).sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, index) => index))
      // One runs already.
      for (let n = 0; (yield* made.depth) < 184 + 1000; n++) yield* made.offer(7)
      const { depth } = yield* made.metrics
      const waiting = yield* Effect.forkScoped(Effect.forEach(Array.from({ length: 100 }), () => made.offer(7)))
      yield* Effect.repeatN(Effect.yieldNow(), 100)
      expect(waiting.unsafePoll()).toBe(null)
      expect((yield* made.depth) - depth).toBeLessThan(100)
      yield* gate.open
      yield* Fiber.join(waiting)
    }))
})

describe("while all workers are busy", () => {
  it.scoped("commands that were dropped leave no key behind", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.dropOldest)
      for (let key = 0; key < 100; key++) yield* made.pool.offer(command(key))
      expect(yield* made.pool.metrics).toMatchObject({ dropped: 99, depth: 1, keys: 2 })
      yield* made.end
    }))

  it.scoped("commands that their callers took out leave no key behind", () =>
    Effect.gen(function*() {
      const made = yield* busy(Backpressure.suspend(), 3)
      for (let key = 0; key < 100; key++) {
        yield* Effect.flatMap(submitting(made.pool, command(key)), Fiber.interrupt)
      }
      expect(yield* made.pool.metrics).toMatchObject({ cancelled: 100, depth: 0, keys: 1 })
      yield* made.end
    }))
})

import { describe, expect, it } from "@effect/vitest"
import { Backpressure, QueueError, type QueueEvent, ShardPool } from "@sluice/core"
import {
  Chunk,
  Config,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Stream,
  TestClock,
  type Tracer
} from "effect"
import {
  type Command,
  command,
  gated,
  type Options,
  type Pool,
  pool,
  poolInScope,
  settleDown,
  submitting,
  until
} from "./support/shardPool.ts"
import { recording } from "./support/tracing.ts"

class Numbers extends Context.Tag("test/ShardPool/Numbers")<Numbers, ShardPool.ShardPool<number, number>>() {}

type Event = QueueEvent.ShardPoolEvent<Command>

/** Everything that a pool announces until it is closed. */
const listening = (options?: Options) =>
  Effect.gen(function*() {
    const made = yield* poolInScope(options)
    const told = yield* Effect.fork(Stream.runCollect(made.pool.events))
    yield* settleDown
    const events = Effect.map(
      Effect.zipRight(made.close, Fiber.join(told)),
      (events): ReadonlyArray<Event> => Chunk.toReadonlyArray(events)
    )
    return { ...made, events }
  })

const brief = (event: Event): string =>
  event._tag === "Missed" || event._tag === "OfferInterrupted"
    ? event._tag
    : `${event._tag} ${event._tag === "Dropped" ? event.item.name : event.command.name}`

describe("events", () => {
  it.effect("tell what becomes of commands, in order, with key, shard and version", () =>
    Effect.gen(function*() {
      const { events, pool } = yield* listening({ shards: 2, shardOf: () => 1, isRejection: (error) => error === "no" })
      const commands = [
        command("a", "done"),
        command("a", "rejected", () => Effect.fail("no")),
        command("a", "failed", () => Effect.fail("down")),
        command(7, "died", () => Effect.die("bug"))
      ]
      for (const one of commands) yield* Effect.exit(pool.submit(one))
      const [done, rejected, failed, died] = commands
      expect(yield* events).toMatchObject([
        { _tag: "Dispatched", shard: 1, key: "a", version: 1, command: done },
        { _tag: "Succeeded", shard: 1, key: "a", version: 1, command: done },
        { _tag: "Dispatched", shard: 1, key: "a", version: 2, command: rejected },
        { _tag: "Rejected", shard: 1, key: "a", command: rejected, error: "no" },
        { _tag: "Dispatched", shard: 1, key: "a", version: 2, command: failed },
        { _tag: "Failed", shard: 1, key: "a", command: failed, cause: { _tag: "Fail", error: "down" } },
        { _tag: "Dispatched", shard: 1, key: 7, version: 1, command: died },
        { _tag: "Failed", shard: 1, key: 7, command: died, cause: { _tag: "Die", defect: "bug" } }
      ])
    }))

  it.effect("tell of a command that is run again after a conflict, and of one whose version is not found out", () =>
    Effect.gen(function*() {
      const answers = [Effect.succeed(1), Effect.succeed(4), Effect.fail("down")]
      const { events, pool } = yield* listening({ currentVersion: () => answers.shift()! })
      const conflicting = command(
        "a",
        "conflicting",
        ({ key, version }) =>
          version === 2 ? Effect.fail(new QueueError.VersionConflict({ key, version })) : Effect.succeed(version)
      )
      yield* pool.submit(conflicting)
      yield* Effect.exit(pool.submit(command("b", "not run")))
      expect(yield* events).toMatchObject([
        { _tag: "Dispatched", version: 2 },
        { _tag: "Dispatched", version: 5 },
        { _tag: "Succeeded", version: 5 },
        { _tag: "Failed", key: "b", cause: { error: "down" } }
      ])
    }))

  it.effect("tell of commands that are dropped, taken out, interrupted, or not let in", () =>
    Effect.gen(function*() {
      const { events, pool } = yield* listening({ capacity: 1 })
      const held = gated("a", "held")
      const running = yield* submitting(pool, held.command)
      yield* held.begun
      const inside = yield* submitting(pool, command("a", "inside"))
      const outside = yield* submitting(pool, command("a", "outside"))
      yield* Fiber.interrupt(outside)
      yield* Fiber.interrupt(inside)
      yield* Fiber.interrupt(running)
      const told = yield* events
      expect(told.map(brief)).toEqual([
        "Dispatched held",
        "OfferInterrupted",
        "Cancelled inside",
        "Failed held"
      ])
      expect(told[1]).toMatchObject({ taken: 0, notTaken: [{ name: "outside" }] })
    }))

  it.effect("tell of every drop once, with its reason", () =>
    Effect.gen(function*() {
      const { events, pool } = yield* listening({ capacity: 1, policy: Backpressure.dropOldest, drainTimeout: 0 })
      const held = gated("a", "held")
      yield* pool.offer(held.command)
      yield* held.begun
      for (const name of ["1", "2"]) yield* pool.offer(command("b", name))
      const closing = yield* Effect.fork(events)
      yield* settleDown
      const told = yield* Fiber.join(closing)
      expect(told.map(brief)).toEqual(["Dispatched held", "Dropped 1", "Dropped held", "Dropped 2"])
      expect(told.flatMap((event) => event._tag === "Dropped" ? [event.reason] : []))
        .toEqual(["drop-oldest", "shutdown", "shutdown"])
    }))

  it.effect("end when the scope is closed, also for whoever comes late", () =>
    Effect.gen(function*() {
      const { events, pool } = yield* listening()
      expect(yield* events).toEqual([])
      expect(Chunk.size(yield* Stream.runCollect(pool.events))).toBe(0)
    }))

  it.scoped("end when the pool has been drained: it is closed then", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const told = yield* Effect.fork(Stream.runCollect(made.pool.events))
      yield* settleDown
      yield* made.pool.submit(command("a"))
      yield* made.pool.drain()
      yield* settleDown
      expect(told.unsafePoll()).not.toBe(null)
    }))

  it.scoped("have each subscriber told from its own beginning, and one that is too slow how many it has missed", () =>
    Effect.gen(function*() {
      const made = yield* pool({ capacity: 10_000 })
      const gate = yield* Effect.makeLatch()
      const seen: Array<Event> = []
      yield* made.pool.submit(command("a", "before"))
      const slow = yield* Effect.fork(
        Stream.runForEach(made.pool.events, (event) => Effect.zipRight(gate.await, Effect.sync(() => seen.push(event))))
      )
      yield* settleDown
      for (let n = 0; n < 10; n++) {
        for (let m = 0; m < 500; m++) yield* made.pool.offer(command("a"))
        yield* settleDown
      }
      yield* gate.open
      yield* settleDown
      yield* Fiber.interrupt(slow)
      const missed = seen.flatMap((event) => event._tag === "Missed" ? [event.events] : [])
      expect(missed.length).toBeGreaterThan(0)
      expect(seen.length - missed.length + missed.reduce((sum, n) => sum + n, 0)).toBe(10_000)
    }))
})

describe("metrics", () => {
  it.scoped("tell where commands are, and what has become of them", () =>
    Effect.gen(function*() {
      const made = yield* pool({ capacity: 1 })
      yield* made.pool.submit(command("a"))
      yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.fail("no"))))
      yield* Effect.exit(made.pool.submit(command("a", "", () => Effect.die("bug"))))
      const held = gated("b")
      yield* made.pool.offer(held.command)
      yield* held.begun
      const inside = yield* submitting(made.pool, command("c"))
      const outside = yield* submitting(made.pool, command("d"))
      expect(yield* made.pool.metrics).toEqual({
        offered: 6,
        refused: 0,
        cancelled: 0,
        dropped: 0,
        droppedByReason: {},
        settled: 3,
        succeeded: 1,
        rejected: 1,
        failed: 1,
        conflicts: 0,
        held: 3,
        depth: 1,
        inFlight: 1,
        keys: 3
      })
      yield* Fiber.interrupt(outside)
      yield* Fiber.interrupt(inside)
      yield* held.end
      yield* made.pool.drain()
      expect(yield* made.pool.metrics).toEqual({
        offered: 6,
        refused: 1,
        cancelled: 1,
        dropped: 0,
        droppedByReason: {},
        settled: 4,
        succeeded: 2,
        rejected: 1,
        failed: 1,
        conflicts: 0,
        held: 0,
        depth: 0,
        inFlight: 0,
        keys: 2
      })
    }))

  const read = (name: string, queue: string, outcome?: string) =>
    Effect.map(Metric.snapshot, (pairs) =>
      pairs.find(({ metricKey }) =>
        metricKey.name === `sluice_${name}`
        && metricKey.tags.some(({ key, value }) => key === "queue" && value === queue)
        && metricKey.tags.some(({ key, value }) => key === "system" && value === "shard_pool")
        && (outcome === undefined || metricKey.tags.some(({ key, value }) => key === "outcome" && value === outcome))
      )?.metricState as { readonly count?: number; readonly value?: number } | undefined)

  it.effect("are published through Effect's Metric within a second, and when the scope is closed", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ name: "published", capacity: 1, policy: Backpressure.reject })
      yield* pool.submit(command("a"))
      yield* Effect.exit(pool.submit(command("a", "", () => Effect.fail("no"))))
      yield* Effect.exit(pool.submit(command("a", "", () => Effect.die("bug"))))
      const held = gated("b")
      yield* pool.offer(held.command)
      yield* held.begun
      const waiting = yield* submitting(pool, command("c"))
      yield* Effect.exit(pool.submit(command("d")))
      yield* TestClock.adjust("1 second")
      expect(yield* read("items_offered_total", "published")).toMatchObject({ count: 6 })
      expect(yield* read("items_settled_total", "published", "succeeded")).toMatchObject({ count: 1 })
      expect(yield* read("items_settled_total", "published", "rejected")).toMatchObject({ count: 1 })
      expect(yield* read("items_settled_total", "published", "failed")).toMatchObject({ count: 1 })
      expect(yield* read("items_refused_total", "published")).toMatchObject({ count: 1 })
      expect(yield* read("depth_items", "published")).toMatchObject({ value: 1 })
      expect(yield* read("in_flight_items", "published")).toMatchObject({ value: 1 })
      yield* Fiber.interrupt(waiting)
      yield* held.end
      yield* close
      expect(yield* read("items_cancelled_total", "published")).toMatchObject({ count: 1 })
      expect(yield* read("items_settled_total", "published", "succeeded")).toMatchObject({ count: 2 })
      expect(yield* read("depth_items", "published")).toMatchObject({ value: 0 })
      expect(yield* read("in_flight_items", "published")).toMatchObject({ value: 0 })
    }))

  it.effect("count how many times a command was run once more, because its version was taken", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ name: "conflicting", currentVersion: () => Effect.succeed(0) })
      for (const conflicts of [0, 1, 2]) {
        let left = conflicts
        yield* Effect.exit(
          pool.submit(
            command(
              "a",
              "",
              ({ key, version }) =>
                left-- > 0 ? Effect.fail(new QueueError.VersionConflict({ key, version })) : Effect.succeed(version)
            )
          )
        )
      }
      expect(yield* pool.metrics).toMatchObject({ offered: 3, succeeded: 2, rejected: 1, conflicts: 2 })
      yield* close
      expect(yield* read("version_conflicts_total", "conflicting")).toMatchObject({ count: 2 })
    }))

  it.effect("have what was dropped published when the scope is closed", () =>
    Effect.gen(function*() {
      const { close, pool } = yield* poolInScope({ name: "dropping", drainTimeout: 0 })
      const held = gated("a")
      yield* pool.offer(held.command)
      yield* held.begun
      yield* pool.offer(command("a"))
      const closing = yield* Effect.fork(close)
      yield* settleDown
      yield* Fiber.join(closing)
      expect(yield* read("items_dropped_total", "dropping")).toMatchObject({ count: 2 })
    }))

  it.scoped("have what waits published although nothing else happens", () =>
    Effect.gen(function*() {
      const made = yield* pool({ name: "stuck", capacity: 2, drainTimeout: 0 })
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      yield* TestClock.adjust("2 seconds")
      for (const key of ["b", "c"]) yield* made.pool.offer(command(key))
      yield* TestClock.adjust("2 seconds")
      expect(yield* read("depth_items", "stuck")).toMatchObject({ value: 2 })
      expect(yield* read("items_offered_total", "stuck")).toMatchObject({ count: 3 })
      yield* held.end
    }))

  it.scoped("have a command published as refused that was interrupted while it waited for room", () =>
    Effect.gen(function*() {
      const made = yield* pool({ name: "leaving", capacity: 1, drainTimeout: 0 })
      const held = gated("a")
      yield* made.pool.offer(held.command)
      yield* held.begun
      yield* made.pool.offer(command("b"))
      const outside = yield* submitting(made.pool, command("c"))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interrupt(outside)
      yield* TestClock.adjust("2 seconds")
      expect(yield* read("items_refused_total", "leaving")).toMatchObject({ count: 1 })
      yield* held.end
    }))
})

describe("tracing", () => {
  it.effect("makes a span for each run, a child of that of its caller, with pool, shard and version", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      yield* Effect.scoped(Effect.gen(function*() {
        const made = yield* pool({ currentVersion: () => Effect.succeed(3), name: "traced" })
        let conflicts = 1
        const conflicting = command(
          "a",
          "",
          ({ key, version }) =>
            conflicts-- > 0 ? Effect.fail(new QueueError.VersionConflict({ key, version })) : Effect.succeed(version)
        )
        yield* Effect.withSpan(made.pool.submit(conflicting), "first")
        yield* Effect.withSpan(made.pool.offer(command("a", "", () => Effect.withSpan(Effect.void, "inner"))), "second")
        yield* made.pool.submit(command("b"))
        yield* made.pool.drain()
      })).pipe(Effect.withSpan("the maker's"), Effect.withTracer(tracer))
      const parentOf = (span: Tracer.Span) =>
        Option.match(span.parent, { onNone: () => "none", onSome: (parent) => (parent as Tracer.Span).name })
      const runs = spans.filter(({ name }) => name === "ShardPool.execute")
      expect(runs.map(parentOf)).toEqual(["first", "first", "second", "the maker's"])
      expect(runs.map(({ attributes }) => attributes.get("sluice.version"))).toEqual([4, 4, 5, 4])
      expect(runs[0].attributes.get("sluice.queue")).toBe("traced")
      expect(runs[0].attributes.get("sluice.shard")).toBe(0)
      expect(spans.filter(({ name }) => name === "inner").map(parentOf)).toEqual(["ShardPool.execute"])
      expect(runs.map(({ status }) => status._tag)).toEqual(["Ended", "Ended", "Ended", "Ended"])
    }))

  it.effect("makes a span without a parent for a caller that is in none", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      yield* Effect.scoped(
        Effect.flatMap(
          Effect.withSpan(pool(), "the maker's"),
          (made) => made.pool.submit(command("a"))
        )
      ).pipe(Effect.withTracer(tracer))
      const [run] = spans.filter(({ name }) => name === "ShardPool.execute")
      expect(Option.isNone(run.parent)).toBe(true)
    }))

  it.effect("has a command that throws end its span as a failure", () =>
    Effect.gen(function*() {
      const { spans, tracer } = yield* recording
      const throwing = command("a", "", () => {
        throw new Error("at once")
      })
      yield* Effect.scoped(Effect.flatMap(pool(), (made) => Effect.exit(made.pool.submit(throwing)))).pipe(
        Effect.withTracer(tracer)
      )
      const [run] = spans.filter(({ name }) => name === "ShardPool.execute")
      expect(run.status).toMatchObject({ _tag: "Ended", exit: { _tag: "Failure" } })
    }))

  it.scoped("is off without a tracer of the user: no span is made", () =>
    Effect.gen(function*() {
      const made = yield* pool()
      const asking = command("a", "", () => Effect.option(Effect.currentSpan))
      expect(yield* Effect.withSpan(made.pool.submit(asking), "caller")).toEqual(Option.none())
    }))
})

describe("layers", () => {
  const options = {
    name: "numbers",
    key: (n: number) => n % 2,
    execute: (n: number, { version }: ShardPool.Run) => Effect.succeed(n * 100 + version)
  }

  it.effect("layer fills a tag, and drains when it is torn down", () =>
    Effect.gen(function*() {
      const done: Array<number> = []
      const NumbersLive = ShardPool.layer(Numbers, {
        ...options,
        execute: (n) => Effect.sync(() => done.push(n))
      })
      yield* Effect.flatMap(Numbers, (numbers) => Effect.forEach([1, 2, 3], (n) => numbers.offer(n))).pipe(
        Effect.provide(NumbersLive)
      )
      expect(done.sort()).toEqual([1, 2, 3])
    }))

  it.effect("layerConfig takes numbers and durations from the configuration, which wins", () =>
    Effect.gen(function*() {
      const NumbersLive = ShardPool.layerConfig(
        Numbers,
        { ...options, shards: 4, drainTimeout: "1 hour" },
        {
          shards: Config.integer("SHARDS"),
          capacity: Config.integer("CAPACITY"),
          drainTimeout: Config.duration("DRAIN")
        }
      )
      const provider = ConfigProvider.fromMap(new Map([["SHARDS", "1"], ["CAPACITY", "2"], ["DRAIN", "5 seconds"]]))
      yield* Effect.gen(function*() {
        const numbers: ShardPool.ShardPool<number, number> = yield* Numbers
        expect(yield* numbers.submit(3)).toBe(301)
        yield* numbers.drain()
      }).pipe(Effect.provide(Layer.provide(NumbersLive, Layer.setConfigProvider(provider))))
    }))

  it.effect("layerConfig fails with a typed error where the configuration is missing or makes no sense", () =>
    Effect.gen(function*() {
      const build = (config: ReadonlyMap<string, string>) =>
        Effect.exit(Effect.scoped(Layer.build(ShardPool.layerConfig(
          Numbers,
          options,
          { workersPerShard: Config.integer("WORKERS") }
        )))).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(config))))
      const missing = yield* build(new Map())
      expect(Exit.isFailure(missing)).toBe(true)
      expect(String(missing)).toContain("WORKERS")
      expect(String(yield* build(new Map([["WORKERS", "0"]])))).toContain("InvalidData")
    }))

  it.effect("layer fails with InvalidOption", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(ShardPool.layer(Numbers, { ...options, shards: 0 }))))
      expect(String(exit)).toContain("InvalidOption")
    }))
})

it.scoped("the depth of a pool is what waits in all of its shards", () =>
  Effect.gen(function*() {
    const { pool: made }: { readonly pool: Pool } = yield* pool({ shards: 3, shardOf: (key) => Number(key) })
    const held = [0, 1, 2].map((key) => gated(key))
    for (const { begun, command } of held) yield* Effect.zipRight(made.offer(command), begun)
    for (const key of [0, 1, 1, 2]) yield* made.offer(command(key))
    expect(yield* made.depth).toBe(4)
    for (const { end } of held) yield* end
    yield* until(made, ({ held }) => held === 0)
    expect(yield* made.depth).toBe(0)
  }))

it.scoped("the functions of a pool can be taken from it, and passed on", () =>
  Effect.gen(function*() {
    const { pool: { drain, offer, submit } } = yield* pool()
    expect(yield* Effect.forEach([command("a"), command("b")], offer)).toEqual(["accepted", "accepted"])
    expect(yield* Effect.forEach([command("a"), command("b")], (one) => submit(one))).toEqual([2, 2])
    yield* drain()
  }))

import { Backpressure, Batch, BatchQueue, Buffer } from "@sluice/core"
import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import { Cause, Effect, Exit, Fiber, Schedule, Schema, type Scope } from "effect"
import { describe, expect, it } from "vitest"
import { BatchStore } from "../src/BatchStore.ts"
import { makeMemoryStore } from "../src/internal/store/memoryStore.ts"
import { choices, leasedIn } from "./support/batchPrograms.ts"
import { atLeast, type Campaign, forSeeds } from "./support/campaigns.ts"

// What the laws have found once. Each of these is about one moment, so each is run under many schedules.

type Options = Partial<BatchQueue.Options<number, number, unknown, never>>

const make = (options: Options, plan: FaultyStore.Plan = FaultyStore.never, raw = makeMemoryStore()) =>
  Effect.gen(function*() {
    const internal: Array<string> = []
    const dropped: Array<readonly [number, string]> = []
    const handled: Array<number> = []
    const queue = yield* BatchQueue.make<number, number, unknown, never>({
      name: "races",
      schema: Schema.Number,
      process: ({ items }) => Effect.sync(() => handled.push(...items)),
      onProcessError: () => Effect.void,
      onInternalError: (_, operation) => Effect.sync(() => internal.push(operation)),
      onDrop: (item, reason) => dropped.push([item, reason]),
      metrics: false,
      ...options
    }).pipe(Effect.provideService(BatchStore, FaultyStore.make(raw, plan)))
    return { queue, internal, dropped, handled, store: yield* raw.queue("races") }
  })

const under = <A>(
  program: Effect.Effect<A, unknown, Scope.Scope> | ((seed: number) => Effect.Effect<A, unknown, Scope.Scope>),
  options: Campaign,
  check: (answer: A) => void
) =>
  forSeeds(
    (seed) => Effect.scoped(typeof program === "function" ? program(seed) : program),
    { yieldProbability: 0.1, ...options },
    ({ exit, leftFibers, leftTimers }) => {
      if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
      check(exit.value)
      expect(leftFibers).toEqual([])
      expect(leftTimers).toBe(0)
    }
  )

describe("a lease", () => {
  it("that cannot be renewed for once is told, and nothing else", async () => {
    const program = Effect.gen(function*() {
      const { internal, queue } = yield* make(
        { leaseDuration: 30, process: () => Effect.sleep(50) },
        FaultyStore.at(1, { _tag: "Fails" }, "extend")
      )
      yield* queue.offerStored(1)
      yield* Effect.sleep(100)
      return { internal, settled: (yield* queue.metrics).settled }
    })
    await under(program, { runs: 20 }, (answer) => expect(answer).toEqual({ internal: ["extend"], settled: 1 }))
  })

  it("is not lost where a batch is settled, replaced or put back in the moment in which it would be renewed", async () => {
    const outcomes: ReadonlyArray<Effect.Effect<void, unknown>> = [
      Effect.void,
      Effect.fail("down"),
      Effect.fail("down"),
      Batch.failSome([1], "in part")
    ]
    const program = (seed: number) =>
      Effect.gen(function*() {
        const { below, pick } = choices(seed)
        const { internal, queue } = yield* make({
          leaseDuration: 30,
          flush: { size: 2 },
          maxDeliveries: 2,
          inlineDelay: pick([0, 1000]),
          retry: Schedule.recurs(1),
          // The first beats come after 10, 20 and 30 milliseconds.
          process: ({ attempt }) =>
            Effect.zipRight(Effect.sleep(10 * (1 + below(3))), attempt === 1 ? pick(outcomes) : Effect.fail("down"))
        })
        yield* queue.offerAll([1, 2])
        yield* Effect.sleep(pick([10, 15, 20, 1000]))
        if (below(2) === 0) yield* queue.pause
        yield* Effect.sleep(100)
        return { internal, leasesLost: (yield* queue.metrics).leasesLost }
      })
    await under(program, { runs: 300 }, (answer) => expect(answer).toEqual({ internal: [], leasesLost: 0 }))
  })
})

describe("a process whose lease has run out", () => {
  it("settles nothing of what another one has by now, which does", async () => {
    const program = Effect.gen(function*() {
      const raw = makeMemoryStore()
      const counts = ({ leasesLost, settled }: BatchQueue.Metrics) => ({ leasesLost, settled })
      const options: Options = { leaseDuration: 30, pollInterval: 1, batches: 2 }
      // Nobody tells it, because its heart cannot beat.
      const first = yield* make(
        { ...options, process: () => Effect.uninterruptible(Effect.sleep(50)) },
        ({ operation }) => operation === "extend" ? { _tag: "Fails" } : undefined,
        raw
      )
      yield* first.queue.offerStored(1)
      yield* Effect.sleep(1)
      const second = yield* make({ ...options, process: () => Effect.sleep(100) }, FaultyStore.never, raw)
      yield* Effect.sleep(90)
      const before = yield* first.store.stats
      yield* Effect.sleep(100)
      const after = yield* first.store.stats
      return {
        first: counts(yield* first.queue.metrics),
        second: counts(yield* second.queue.metrics),
        pending: [before.pending.items, after.pending.items]
      }
    })
    await under(program, { runs: 20 }, (answer) => {
      expect(answer).toEqual({
        first: { leasesLost: 1, settled: 0 },
        second: { leasesLost: 0, settled: 1 },
        pending: [1, 0]
      })
    })
  })
})

describe("an item with an id", () => {
  it("counts once although the policy coalesces items of its key", async () => {
    const program = Effect.gen(function*() {
      const { handled, queue } = yield* make({
        policy: Backpressure.coalesceByKey(() => "same", { merge: (held, next) => held * 10 + next }),
        flush: { size: 10 }
      })
      const first = yield* Effect.fork(
        Effect.all([queue.offerStored(1, { id: "a" }), queue.offerStored(2, { id: "b" }), queue.offer(3)], {
          concurrency: "unbounded"
        })
      )
      yield* queue.flush
      yield* Fiber.join(first)
      const again = yield* Effect.all([queue.offerStored(4, { id: "a" }), queue.offerStored(5, { id: "b" })])
      yield* queue.flush
      yield* Effect.sleep(1)
      return { again, handled: [...handled].sort((a, b) => a - b) }
    })
    await under(program, { runs: 100 }, (answer) => {
      expect(answer).toEqual({ again: ["duplicate", "duplicate"], handled: [1, 2, 3] })
    })
  })
})

describe("the counts", () => {
  it("have an item as coalesced from the moment in which the open batch merges it", async () => {
    const program = Effect.gen(function*() {
      const { queue } = yield* make({
        buffer: Buffer.merging(() => "same", (held: number, next: number) => held + next),
        flush: { size: 10, linger: "1 hour" }
      })
      yield* queue.offerAll([1, 2, 3])
      yield* Effect.sleep(1)
      const { buffered, coalesced, offered } = yield* queue.metrics
      yield* queue.flush
      const after = yield* queue.metrics
      return [{ offered, buffered, coalesced }, { stored: after.stored, coalesced: after.coalesced }]
    })
    await under(program, { runs: 20 }, (answer) => {
      expect(answer).toEqual([{ offered: 3, buffered: 1, coalesced: 2 }, { stored: 1, coalesced: 2 }])
    })
  })

  it("have a redrive, and a discard, whose caller was interrupted, where it was done", async () => {
    const done = { yes: 0, no: 0 }
    const program = (seed: number) =>
      Effect.gen(function*() {
        const { below } = choices(seed)
        const { queue, store } = yield* make({
          maxDeliveries: 1,
          retry: Schedule.stop,
          process: () => Effect.fail("down")
        })
        yield* queue.offerStored(1)
        yield* Effect.sleep(1)
        yield* queue.pause
        const act = seed % 2 === 0 ? queue.deadLetters.redrive("all") : queue.deadLetters.discard("all")
        const acting = yield* Effect.fork(act)
        for (let i = below(12); i > 0; i--) yield* Effect.yieldNow()
        yield* Fiber.interrupt(acting)
        const { dead } = yield* store.stats
        const { discarded, redriven } = yield* queue.metrics
        return { gone: 1 - dead.items, counted: discarded + redriven }
      })
    await under(program, { runs: 200 }, ({ counted, gone }) => {
      done[gone === 1 ? "yes" : "no"] += 1
      expect(counted).toBe(gone)
    })
    expect(Math.min(done.yes, done.no)).toBeGreaterThanOrEqual(atLeast(10))
  })

  it("of a full backlog include the other items of the same call", async () => {
    const program = Effect.gen(function*() {
      const { queue } = yield* make({ maxPending: { items: 3, whenFull: "reject" }, process: () => Effect.never })
      const error = yield* Effect.flip(queue.offerAll([1, 2, 3, 4, 5]))
      return { tag: error._tag, taken: error.taken, notTaken: error.notTaken }
    })
    await under(program, { runs: 20 }, (answer) => {
      expect(answer).toEqual({ tag: "QueueFull", taken: 3, notTaken: [4, 5] })
    })
  })
})

describe("closing", () => {
  // What the store does in that very moment nobody is told of any more.
  it("tells each item once, as stored or as dropped, that may be stored in the moment in which it gives up", async () => {
    const told = { stored: 0, dropped: 0 }
    const program = (seed: number) =>
      Effect.gen(function*() {
        // The commit comes as late as closing waits for it.
        const plan = FaultyStore.at(1, { _tag: "Slow", millis: 5000 }, "append")
        const made = yield* Effect.scoped(Effect.gen(function*() {
          const made = yield* make({ drainTimeout: 0, workers: 0 }, plan)
          yield* made.queue.offerAll([1, 2, 3])
          for (let i = choices(seed).below(5); i > 0; i--) yield* Effect.yieldNow()
          return made
        }))
        const { pending } = yield* made.store.stats
        const { buffered, dropped, stored } = yield* made.queue.metrics
        return { pending: pending.items, stored, dropped, told: made.dropped.length, buffered }
      })
    await under(program, { runs: 400, yieldProbability: 0.3 }, ({ buffered, dropped, pending, stored, ...made }) => {
      told[stored > 0 ? "stored" : "dropped"] += 1
      expect({ told: made.told, buffered, known: stored + dropped }).toEqual({ told: dropped, buffered: 0, known: 3 })
      expect(pending).toBeGreaterThanOrEqual(stored)
    })
    expect(Math.min(told.stored, told.dropped)).toBeGreaterThanOrEqual(atLeast(1))
  })

  it.each(["append", "release", "settle"] as const)(
    "tries %s often enough to find a store that comes back while it waits, however long it had been down",
    async (operation) => {
      const program = Effect.gen(function*() {
        const down = FaultyStore.down({ fromMillis: 10, toMillis: 31_000 })
        const made = yield* Effect.scoped(Effect.gen(function*() {
          const made = yield* make({
            drainTimeout: 0,
            inlineDelay: 0,
            retry: Schedule.spaced(operation === "release" ? "1 hour" : 0),
            process: () =>
              Effect.zipRight(Effect.sleep(20), operation === "release" ? Effect.fail("down") : Effect.void)
          }, (call) => call.operation === operation ? down(call) : undefined)
          if (operation === "append") yield* Effect.sleep(10)
          yield* made.queue.offer(1)
          yield* Effect.sleep(1)
          yield* operation === "settle" ? made.queue.pause : Effect.void
          yield* Effect.sleep(30_000)
          return made
        }))
        return { dropped: made.dropped, leased: leasedIn(made.store) }
      })
      await under(program, { runs: 20 }, (answer) => expect(answer).toEqual({ dropped: [], leased: 0 }))
    }
  )

  it("leaves no worker behind that is told of a failure in the moment in which closing gives up", async () => {
    const program = (seed: number) =>
      Effect.scoped(Effect.gen(function*() {
        const late = choices(seed).below(20)
        // It is tried again after 100, 200, 400, 800 and 1600 milliseconds: 5 seconds after the closing has begun.
        yield* Effect.flatMap(
          make(
            {
              drainTimeout: 0,
              process: () => Effect.uninterruptible(Effect.sleep(1901)),
              onInternalError: () => Effect.repeatN(Effect.yieldNow(), late)
            },
            ({ operation }) => operation === "settle" || operation === "release" ? { _tag: "Fails" } : undefined
          ),
          ({ queue }) => queue.offerStored(1)
        )
        yield* Effect.sleep(1)
      }))
    await under(program, { runs: 400, yieldProbability: 0.3 }, () => {})
  })

  it("runs no handler again that fails while it is being interrupted", async () => {
    const program = Effect.gen(function*() {
      let store: Parameters<typeof leasedIn>[0] | undefined
      let late = 0
      yield* Effect.scoped(Effect.gen(function*() {
        const made = yield* make({
          drainTimeout: 0,
          retry: Schedule.spaced(1),
          process: ({ attempt }) =>
            attempt === 1
              ? Effect.zipRight(Effect.uninterruptible(Effect.sleep(5)), Effect.fail("down"))
              : Effect.zipRight(Effect.sync(() => late++), Effect.never)
        })
        store = made.store
        yield* made.queue.offerStored(1)
        yield* Effect.sleep(1)
      }))
      return { late, leased: leasedIn(store!) }
    })
    await under(program, { runs: 50 }, (answer) => expect(answer).toEqual({ late: 0, leased: 0 }))
  })
})

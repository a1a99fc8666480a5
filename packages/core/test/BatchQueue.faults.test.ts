import { Backpressure, Batch, BatchQueue } from "@sluice/core"
import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import * as SeededRun from "@sluice/core/testing/SeededRun"
import { Clock, Effect, Exit, Fiber, Option, Schedule, Schema, Scope } from "effect"
import { describe, expect, it } from "vitest"
import { BatchStore } from "../src/BatchStore.ts"
import { makeMemoryStore } from "../src/internal/store/memoryStore.ts"
import { longestClose } from "./support/batchPrograms.ts"
import { forSeeds, valueOf } from "./support/campaigns.ts"

// The same program again and again, each time with another call of the store going wrong in another way.

const quiet = {
  name: "faults",
  schema: Schema.Number,
  onProcessError: () => Effect.void,
  onInternalError: () => Effect.void,
  metrics: false
} as const

/** A failed setting says what it was: the seed alone does not. */
const named = <A>(name: string, check: () => A): A => {
  try {
    return check()
  } catch (error) {
    throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

const drainTimeout = 1000
const leaseMillis = 30
const poison = 4

/** Items that fail once, fail in part, take longer than a lease, are retried at once and later, and one that never succeeds. */
const program = (plan: FaultyStore.Plan) =>
  Effect.gen(function*() {
    const raw = makeMemoryStore()
    const faulty = FaultyStore.make(raw, plan)
    const handled: Array<number> = []
    const dropped: Array<number> = []
    const failed = new Set<number>()
    const process = ({ items }: Batch.Batch<number>): Effect.Effect<void, unknown> =>
      Effect.gen(function*() {
        const fails = items.filter((item) => item === poison || item % 5 === 1 && !failed.has(item))
        for (const item of fails) failed.add(item)
        if (items.includes(2)) yield* Effect.sleep(leaseMillis * 2)
        if (fails.length === items.length) return yield* Effect.fail("down")
        handled.push(...items.filter((item) => !fails.includes(item)))
        if (fails.length > 0) return yield* Batch.failSome(fails.map((item) => items.indexOf(item)), "in part")
      })
    const scope = yield* Scope.make()
    const opened = yield* Effect.exit(
      BatchQueue.make<number, number, unknown, never>({
        ...quiet,
        flush: { size: 3, linger: 2 },
        batches: 2,
        leaseDuration: leaseMillis,
        pollInterval: 10,
        inlineDelay: 5,
        maxDeliveries: 3,
        retry: Schedule.intersect(Schedule.exponential("3 millis"), Schedule.recurs(3)),
        drainTimeout,
        process,
        onDrop: (item) => dropped.push(item)
      }).pipe(Effect.provideService(BatchStore, faulty), Scope.extend(scope), Effect.timeout(100))
    )
    const stored: Array<number> = []
    const accepted: Array<number> = []
    let closeMillis = 0
    if (Exit.isSuccess(opened)) {
      const queue = opened.value
      const producer = Effect.gen(function*() {
        for (let item = 0; item < 12; item++) {
          if (item % 4 === 3) {
            const exit = yield* Effect.exit(queue.offerStored(item, item % 8 === 3 ? { id: `${item}` } : {}))
            if (Exit.isSuccess(exit)) stored.push(item)
          } else if (Exit.isSuccess(yield* Effect.exit(queue.offer(item)))) accepted.push(item)
          if (item % 3 === 0) yield* Effect.sleep(item)
        }
      })
      const producing = yield* Effect.fork(producer)
      // While one is being handled: it is settled by itself then, and not with the next claim.
      yield* Effect.sleep(20)
      yield* queue.pause
      yield* Effect.sleep(70)
      yield* queue.resume
      yield* Effect.sleep(160)
      const closedAt = yield* Clock.currentTimeMillis
      yield* Scope.close(scope, Exit.void)
      closeMillis = (yield* Clock.currentTimeMillis) - closedAt
      yield* Fiber.join(producing)
    }
    const handledByFirst = [...handled]
    const calls = new Map(operations.map((operation) => [operation, faulty.calls(operation)]))
    yield* Effect.sleep(leaseMillis)
    const store = yield* raw.queue(quiet.name)
    const dead = yield* store.deadLetters({ filter: {}, limit: 100 })
    let rounds = 0
    yield* Effect.scoped(Effect.gen(function*() {
      const second = yield* BatchQueue.make<number, number, never, never>({
        ...quiet,
        process: ({ items }) => Effect.sync(() => handled.push(...items))
      }).pipe(Effect.provideService(BatchStore, raw))
      yield* second.deadLetters.redrive("all")
      for (; rounds < 50 && (yield* second.stats).pending.items > 0; rounds++) yield* Effect.sleep(leaseMillis)
    }))
    return { calls, stored, accepted, handled, handledByFirst, dropped, dead, closeMillis, rounds }
  })

const operations: ReadonlyArray<FaultyStore.Operation> = [
  "queue",
  "append",
  "claim",
  "extend",
  "settle",
  "divide",
  "release",
  "deadLetter",
  "deadLetters",
  "inspect",
  "redrive",
  "discard",
  "countDead",
  "forgive",
  "hold",
  "stats"
]

/** Those that a queue uses by itself. */
const used: ReadonlyArray<FaultyStore.Operation> = [
  "queue",
  "append",
  "claim",
  "extend",
  "settle",
  "divide",
  "release",
  "deadLetter"
]

const all = Array.from({ length: 12 }, (_, item) => item)
const faultFree = valueOf(SeededRun.run(program(FaultyStore.never), { seed: 1 }))

describe("the program that the faults are put into", () => {
  it("uses every operation, handles every item, and sets the one aside that never succeeds", () => {
    expect(used.filter((operation) => faultFree.calls.get(operation) === 0)).toEqual([])
    expect([...faultFree.handled].sort((a, b) => a - b)).toEqual(all)
    expect(faultFree.handledByFirst).not.toContain(poison)
    expect(faultFree.dead).toMatchObject([{ items: 1, reason: "retries-exhausted", deliveries: 3 }])
    expect(faultFree.dead[0].error).toContain("down")
    expect(faultFree.closeMillis).toBe(0)
  })
})

describe("a store that goes wrong at the n-th call", () => {
  const faults: ReadonlyArray<FaultyStore.Fault> = [
    { _tag: "Fails" },
    { _tag: "LosesAnswer" },
    { _tag: "Dies" },
    { _tag: "Hangs" },
    { _tag: "HangsForEver" },
    { _tag: "Slow", millis: 7 },
    { _tag: "Slow", millis: 2 * leaseMillis }
  ]
  it.each(used)("for every n, at %s: nothing is lost, closing is bounded, and leaves nothing behind", (operation) => {
    for (const fault of faults) {
      for (let index = 1; index <= (faultFree.calls.get(operation) ?? 0); index++) {
        // Whoever opens it hangs then, and there is no queue to be closed.
        if (operation === "queue" && fault._tag === "HangsForEver") continue
        for (const seed of [1, 2]) {
          named(`${fault._tag} at ${operation} ${index}, seed ${seed}`, () => {
            const run = SeededRun.run(program(FaultyStore.at(index, fault, operation)), { seed })
            const { accepted, closeMillis, dropped, handled, rounds, stored } = valueOf(run)
            expect(rounds).toBeLessThan(50)
            expect(stored.filter((item) => !handled.includes(item))).toEqual([])
            expect(accepted.filter((item) => !handled.includes(item) && !dropped.includes(item))).toEqual([])
            expect(handled.filter((item) => !all.includes(item))).toEqual([])
            expect(closeMillis).toBeLessThanOrEqual(longestClose(drainTimeout))
            if (fault._tag !== "LosesAnswer") {
              expect(handled.filter((item) => dropped.includes(item))).toEqual([])
            }
            // Only what hangs is ever given up.
            if (!fault._tag.startsWith("Hangs")) expect(dropped).toEqual([])
            if (fault._tag !== "HangsForEver") {
              expect(run.leftFibers).toEqual([])
              expect(run.leftTimers).toBe(0)
            }
          })
        }
      }
    }
  })
})

describe("closing", () => {
  it.each([0, 100, 20_000])(
    "with drainTimeout %d is bounded although a handler cannot be interrupted",
    async (drainTimeout) => {
      const stubborn = Effect.gen(function*() {
        const scope = yield* Scope.make()
        const queue = yield* BatchQueue.make<number, number, never, never>({
          ...quiet,
          drainTimeout,
          process: () => Effect.uninterruptible(Effect.sleep(1_000_000))
        }).pipe(Effect.provideService(BatchStore, makeMemoryStore()), Scope.extend(scope))
        yield* queue.offerStored(1)
        yield* Effect.sleep(1)
        const closedAt = yield* Clock.currentTimeMillis
        yield* Scope.close(scope, Exit.void)
        return (yield* Clock.currentTimeMillis) - closedAt
      })
      await forSeeds(stubborn, { runs: 20 }, (run) => {
        expect(valueOf(run)).toBe(drainTimeout + 5000)
      })
    }
  )

  it("is bounded although the store has hung from the beginning, and what could not be stored is told", async () => {
    const hung = Effect.gen(function*() {
      const dropped: Array<readonly [number, string]> = []
      const scope = yield* Scope.make()
      const store = FaultyStore.make(
        makeMemoryStore(),
        ({ operation }) => operation === "queue" ? undefined : { _tag: "HangsForEver" }
      )
      const queue = yield* BatchQueue.make<number, number, never, never>({
        ...quiet,
        drainTimeout: 100,
        process: () => Effect.void,
        onDrop: (item, reason) => dropped.push([item, reason])
      }).pipe(Effect.provideService(BatchStore, store), Scope.extend(scope))
      yield* queue.offer(1)
      const waiting = yield* Effect.fork(Effect.flip(queue.offerStored(2)))
      yield* Effect.sleep(1)
      const closedAt = yield* Clock.currentTimeMillis
      yield* Scope.close(scope, Exit.void)
      const closeMillis = (yield* Clock.currentTimeMillis) - closedAt
      return { closeMillis, dropped, told: (yield* Fiber.join(waiting))._tag, metrics: yield* queue.metrics }
    })
    await forSeeds(hung, { runs: 50 }, (run) => {
      const { metrics, ...told } = valueOf(run)
      expect(told).toEqual({
        closeMillis: longestClose(100),
        dropped: [[1, "shutdown"], [2, "shutdown"]],
        told: "ItemDropped"
      })
      expect(metrics).toMatchObject({ offered: 2, dropped: 2, stored: 0, held: 0, depth: 0, buffered: 0 })
    })
  })
})

describe("a queue whose store is down", () => {
  const policies: ReadonlyArray<BatchQueue.IntakePolicy<number>> = [
    Backpressure.suspend(),
    Backpressure.reject,
    Backpressure.dropNewest,
    Backpressure.dropOldest
  ]
  const faults: ReadonlyArray<FaultyStore.Fault> = [{ _tag: "Fails" }, { _tag: "Dies" }]

  it.each(policies.map((policy) => [policy._tag, policy] as const))(
    "accepts as many as it has room for, goes on with %s, and stores everything in order once it is back",
    async (_, policy) => {
      for (const capacity of [1, 2, 3, 10]) {
        const down = (seed: number) =>
          Effect.gen(function*() {
            const handled: Array<number> = []
            const dropped: Array<number> = []
            const store = FaultyStore.make(
              makeMemoryStore(),
              FaultyStore.down({ fromMillis: 1, toMillis: 2000 }, faults[seed % faults.length])
            )
            return yield* Effect.scoped(Effect.gen(function*() {
              const queue = yield* BatchQueue.make<number, number, never, never>({
                ...quiet,
                capacity,
                policy,
                process: ({ items }) => Effect.sync(() => handled.push(...items)),
                onDrop: (item) => dropped.push(item)
              }).pipe(Effect.provideService(BatchStore, store))
              const refused: Array<number> = []
              const offers = yield* Effect.fork(Effect.forEach(
                Array.from({ length: 30 }, (_, item) => item),
                (item) =>
                  Effect.zipRight(
                    Effect.sleep(1),
                    Effect.catchAll(queue.offer(item), () => Effect.sync(() => refused.push(item)))
                  )
              ))
              yield* Effect.sleep(1000)
              const { buffered, held, offered } = yield* queue.metrics
              const isWaiting = Option.isNone(yield* Fiber.poll(offers))
              yield* Effect.sleep(9000)
              yield* Fiber.join(offers)
              return { handled, dropped, refused, buffered, offered, waiting: held - buffered, isWaiting }
            }))
          })
        await forSeeds(down, { runs: 20 }, (run) => {
          const { buffered, dropped, handled, isWaiting, offered, refused, waiting } = valueOf(run)
          const kept = Array.from({ length: 30 }, (_, item) => item).filter((item) =>
            !dropped.includes(item) && !refused.includes(item)
          )
          expect(handled).toEqual(kept)
          expect(buffered).toBeGreaterThan(0)
          expect(buffered).toBeLessThanOrEqual(capacity + 1)
          const isSuspending = policy._tag === "suspend"
          expect(isWaiting).toBe(isSuspending)
          expect(waiting).toBe(isSuspending ? capacity + 1 : capacity)
          expect(offered).toBe(isSuspending ? capacity + 1 + buffered : 30)
          expect(dropped.length > 0).toBe(policy._tag === "dropNewest" || policy._tag === "dropOldest")
          expect(refused.length > 0).toBe(policy._tag === "reject")
        })
      }
    }
  )
})

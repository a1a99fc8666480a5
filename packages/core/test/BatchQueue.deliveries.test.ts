import { Batch, type BatchStore as Stores, Buffer, Retry } from "@sluice/core"
import * as SeededRun from "@sluice/core/testing/SeededRun"
import { Clock, Effect, Schedule } from "effect"
import { describe, expect, it } from "vitest"
import { makeMemoryStore } from "../src/internal/store/memoryStore.ts"
import { choices, leasedIn } from "./support/batchPrograms.ts"
import { openOn, type Options } from "./support/batchQueue.ts"
import { atLeast, forSeeds, valueOf } from "./support/campaigns.ts"

// How often and when a batch is handled: over attempts, processes that end, and processes that are killed.

const name = "deliveries"

/** A process of its own, on a store that others have as well. */
const open = (raw: Stores.BatchStore, options: Options) => openOn(raw, name, options)

const upTo = (count: number) => Array.from({ length: count }, (_, item) => item)

describe("the order", () => {
  it("of one worker, and one batch at a time, is that of the offers, across restarts too", async () => {
    const restarted = { count: 0 }
    const ordered = (seed: number) =>
      Effect.gen(function*() {
        const { below, chance, pick } = choices(seed)
        const raw = makeMemoryStore()
        const handled: Array<number> = []
        let next = 0
        for (let process = 0; process < 4; process++) {
          const { close, queue } = yield* open(raw, {
            flush: { size: pick([1, 2, 5]), linger: pick([0, 1, 5]) },
            capacity: pick([1, 2, 3, 10]),
            drainTimeout: pick([0, 5, 1000]),
            buffer: pick([undefined, Buffer.appending<number>()]),
            process: ({ items }) => Effect.zipRight(Effect.sleep(below(8)), Effect.sync(() => handled.push(...items)))
          })
          for (let i = below(8); i > 0; i--) {
            if (chance(0.3)) yield* queue.offerStored(next++)
            else if (chance(0.5)) yield* queue.offer(next++)
            else yield* queue.offerAll([next++, next++, next++])
          }
          yield* Effect.sleep(below(20))
          if (chance(0.3)) yield* queue.flush
          yield* close
          if (handled.length < next) restarted.count += 1
        }
        const { close } = yield* open(raw, { process: ({ items }) => Effect.sync(() => handled.push(...items)) })
        yield* Effect.sleep(100)
        yield* close
        return { handled, next }
      })
    await forSeeds(ordered, { runs: 120 }, (run) => {
      const { handled, next } = valueOf(run)
      expect(handled).toEqual(upTo(next))
    })
    expect(restarted.count).toBeGreaterThanOrEqual(atLeast(60))
  })
})

describe("attempts", () => {
  it("are counted up, and come when the schedule says, waited for by a worker or not, across restarts too", async () => {
    const capMillis = 40
    const delayAfter = (attempt: number) => Math.min(capMillis, 3 * 2 ** (attempt - 1))
    const retried = (seed: number) =>
      Effect.gen(function*() {
        const { below, pick } = choices(seed)
        const raw = makeMemoryStore()
        const attempts: Array<{ readonly attempt: number; readonly at: number }> = []
        for (let process = 0; process < 4; process++) {
          const { close, queue } = yield* open(raw, {
            retry: Retry.exponential({ base: "3 millis", cap: capMillis }),
            inlineDelay: pick([0, 10, 1000]),
            leaseDuration: 30,
            drainTimeout: pick([0, 100]),
            process: ({ attempt }) =>
              Effect.zipRight(
                Effect.map(Clock.currentTimeMillis, (at) => attempts.push({ attempt, at })),
                Effect.fail("down")
              )
          })
          if (process === 0) yield* queue.offerStored(1)
          yield* Effect.sleep(below(200))
          yield* close
        }
        return attempts
      })
    const longest = { attempt: 0 }
    await forSeeds(retried, { runs: 100 }, (run) => {
      const attempts = valueOf(run)
      expect(attempts.map(({ attempt }) => attempt)).toEqual(upTo(attempts.length).map((i) => i + 1))
      attempts.slice(1).forEach(({ at }, i) => expect(at - attempts[i].at).toBe(delayAfter(i + 1)))
      longest.attempt = Math.max(longest.attempt, attempts.length)
    })
    expect(longest.attempt).toBeGreaterThan(10)
  })

  it("are delayed by no more than the cap, with jitter and at the fiftieth attempt", () => {
    const retried = Effect.gen(function*() {
      const times: Array<number> = []
      const { close, queue } = yield* open(makeMemoryStore(), {
        retry: Retry.exponential({ base: "1 second", cap: "1 hour", jitter: 0.5 }),
        pollInterval: "1 day",
        leaseDuration: "1 day",
        process: () => Effect.zipRight(Effect.map(Clock.currentTimeMillis, (at) => times.push(at)), Effect.fail("down"))
      })
      yield* queue.offerStored(1)
      yield* Effect.sleep("60 hours")
      yield* close
      return times
    })
    const times = valueOf(SeededRun.run(retried, { seed: 1, maxSteps: 10_000_000 }))
    expect(times.length).toBeGreaterThan(50)
    times.slice(1).forEach((at, i) => expect(at - times[i]).toBeLessThanOrEqual(3_600_000))
  })

  it("wait as long as they should although the handler has interrupted its own fiber", async () => {
    const retried = Effect.gen(function*() {
      const times: Array<number> = []
      const clock = yield* Effect.clock
      const { close, queue } = yield* open(makeMemoryStore(), {
        retry: Schedule.spaced("100 millis"),
        process: () =>
          Effect.withFiberRuntime<void, unknown>((fiber) => {
            times.push(clock.unsafeCurrentTimeMillis())
            fiber.unsafeInterruptAsFork(fiber.id())
            return Effect.yieldNow()
          })
      })
      yield* queue.offerStored(1)
      yield* Effect.sleep(250)
      yield* close
      return times
    })
    await forSeeds(retried, { runs: 20 }, (run) => expect(valueOf(run)).toEqual([0, 100, 200]))
  })
})

describe("deliveries", () => {
  it.each([1, 2, 3, 5])(
    "of a batch that kills its process end after %d, with one dead letter",
    async (maxDeliveries) => {
      const killed = (seed: number) =>
        Effect.gen(function*() {
          const { below } = choices(seed)
          const raw = makeMemoryStore()
          const store = yield* raw.queue(name)
          const handled: Array<number> = []
          const first = yield* open(raw, { workers: 0 })
          yield* first.queue.offerStored(1)
          yield* first.queue.offerStored(2)
          yield* first.close
          // What has the lease of the batch and never comes back is a process that was killed.
          for (let death = 0; death < maxDeliveries; death++) {
            const { batches } = yield* store.claim({
              limit: 1,
              leaseMillis: 10,
              turn: death === 0 ? "fresh" : "returned"
            })
            expect(batches).toMatchObject([{ sequence: 1 }])
            yield* Effect.sleep(10 + below(20))
          }
          const { close, queue } = yield* open(raw, {
            maxDeliveries,
            batches: 1 + below(2),
            process: ({ items }) => Effect.sync(() => handled.push(...items))
          })
          yield* Effect.sleep(5000)
          const dead = yield* queue.deadLetters.list()
          const { deadLettered, settled } = yield* queue.metrics
          yield* queue.deadLetters.redrive([1])
          yield* Effect.sleep(10)
          const after = yield* queue.deadLetters.list()
          yield* close
          return { dead, deadLettered, settled, after, handled }
        })
      await forSeeds(killed, { runs: 20 }, (run) => {
        const { after, dead, handled, ...counts } = valueOf(run)
        expect(dead).toMatchObject([{ id: 1, items: 1, reason: "deliveries-exhausted", attempts: 0 }])
        expect(dead[0].error).toContain("its worker has ended")
        expect(counts).toEqual({ deadLettered: 1, settled: 1 })
        expect(after).toEqual([])
        expect(handled).toEqual([2, 1])
      })
    }
  )

  it.each([1, 2, 3, 5])(
    "of a batch that fails end after %d, with one dead letter that says why",
    async (maxDeliveries) => {
      const failing = (seed: number) =>
        Effect.gen(function*() {
          const { below, pick } = choices(seed)
          const raw = makeMemoryStore()
          const attempts: Array<number> = []
          const { close, queue } = yield* open(raw, {
            maxDeliveries,
            workers: 1 + below(3),
            retry: pick([Schedule.stop, Schedule.spaced("2 seconds")]),
            cooldown: pick([0, 50]),
            process: ({ attempt }) => {
              attempts.push(attempt)
              return Effect.fail(new Error("the reason"))
            }
          })
          yield* queue.offerStored(1)
          yield* Effect.sleep(20_000)
          const dead = yield* queue.deadLetters.list()
          yield* close
          return { dead, attempts: attempts.length, stats: yield* queue.stats }
        })
      await forSeeds(failing, { runs: 20 }, (run) => {
        const { attempts, dead, stats } = valueOf(run)
        expect(attempts).toBe(maxDeliveries)
        expect(dead).toMatchObject([{ items: 1, reason: "deliveries-exhausted", deliveries: maxDeliveries }])
        expect(dead[0].error).toContain("the reason")
        expect(stats).toMatchObject({ pending: { items: 0 }, dead: { items: 1 } })
      })
    }
  )

  it("are given back by a stop: no lease is left, and all can be claimed at once as if it had never been", async () => {
    const stopped = (seed: number) =>
      Effect.gen(function*() {
        const { below, pick } = choices(seed)
        const raw = makeMemoryStore()
        const store = yield* raw.queue(name)
        const rounds = 1 + below(4)
        for (let round = 0; round < rounds; round++) {
          const { close, queue } = yield* open(raw, {
            maxDeliveries: 2,
            workers: 1 + below(3),
            batches: 1 + below(3),
            drainTimeout: pick([0, 0, 7]),
            process: () => pick([Effect.never, Effect.sleep(10_000), Effect.uninterruptible(Effect.sleep(40))])
          })
          if (round === 0) yield* queue.offerAll(upTo(5))
          yield* Effect.sleep(below(100))
          yield* close
          expect(leasedIn(store)).toBe(0)
        }
        const { pending } = yield* store.stats
        const { batches } = yield* store.claim({ limit: 100, leaseMillis: 10 })
        return { pending, deliveries: batches.map(({ deliveries }) => deliveries) }
      })
    await forSeeds(stopped, { runs: 200, timerProbability: 0.02 }, (run) => {
      const { deliveries, pending } = valueOf(run)
      expect(deliveries).toEqual(upTo(pending.batches).map(() => 1))
      expect(run.leftFibers).toEqual([])
      expect(run.leftTimers).toBe(0)
    })
  })

  it("of a retry that a worker waits for are put back by a stop for what is left of the delay", async () => {
    const stopped = (seed: number) =>
      Effect.gen(function*() {
        const { below, pick } = choices(seed)
        const raw = makeMemoryStore()
        const times: Array<number> = []
        const process = () =>
          Effect.zipRight(Effect.map(Clock.currentTimeMillis, (at) => times.push(at)), Effect.fail("down"))
        const options: Options = { retry: Schedule.spaced(500), drainTimeout: pick([0, 100]), process }
        const first = yield* open(raw, options)
        yield* first.queue.offerStored(1)
        yield* Effect.sleep(1 + below(400))
        yield* first.close
        const second = yield* open(raw, options)
        yield* Effect.sleep(600)
        yield* second.close
        return times
      })
    await forSeeds(stopped, { runs: 50 }, (run) => expect(valueOf(run).slice(0, 2)).toEqual([0, 500]))
  })

  it("by a stop that comes while the handler fails never run it again", async () => {
    const stopped = (seed: number) =>
      Effect.gen(function*() {
        const { below } = choices(seed)
        const raw = makeMemoryStore()
        const store = yield* raw.queue(name)
        let running = 0
        const { close, queue } = yield* open(raw, {
          drainTimeout: 0,
          retry: Schedule.spaced(below(3)),
          process: ({ attempt }) => {
            if (attempt > 1) running += 1
            return attempt === 1 ? Effect.zipRight(Effect.sleep(5), Effect.fail("down")) : Effect.never
          },
          onProcessError: () => Effect.sleep(1)
        })
        yield* queue.offerStored(1)
        yield* Effect.sleep(5 + below(2))
        yield* close
        return { running, leased: leasedIn(store) }
      })
    await forSeeds(stopped, { runs: 200, timerProbability: 0.05, yieldProbability: 0.1 }, (run) => {
      expect(valueOf(run).leased).toBe(0)
      expect(run.leftFibers).toEqual([])
      expect(run.leftTimers).toBe(0)
    })
  })
})

describe("a partial failure", () => {
  it("leaves exactly the failed items, in their order, to the next attempt, across restarts too", async () => {
    const partial = (seed: number) =>
      Effect.gen(function*() {
        const { below, chance, pick } = choices(seed)
        const raw = makeMemoryStore()
        const handled: Array<number> = []
        const expected = new Map<number, ReadonlyArray<number>>()
        const wrong: Array<string> = []
        for (let process = 0; process < 5; process++) {
          const { close, queue } = yield* open(raw, {
            flush: { size: 1 + below(5) },
            batches: 1,
            inlineDelay: pick([0, 1000]),
            retry: Schedule.spaced("2 millis"),
            process: ({ attempt, items }) =>
              Effect.suspend(() => {
                const before = expected.get(items[0])
                if (attempt > 1 && String(before) !== String(items)) wrong.push(`${String(before)}: ${String(items)}`)
                const failed = process === 4 ? [] : items.map((_, index) => index).filter(() => chance(0.4))
                handled.push(...items.filter((_, index) => !failed.includes(index)))
                const left = failed.map((index) => items[index])
                if (left.length === 0) return Effect.void
                expected.set(left[0], left)
                return Batch.failSome(failed, "in part")
              })
          })
          if (process === 0) yield* queue.offerAll(upTo(12))
          yield* Effect.sleep(process === 4 ? 1000 : below(10))
          yield* close
        }
        return { handled, wrong }
      })
    await forSeeds(partial, { runs: 150 }, (run) => {
      const { handled, wrong } = valueOf(run)
      expect(wrong).toEqual([])
      expect([...handled].sort((a, b) => a - b)).toEqual(upTo(12))
    })
  })
})

import { Batch, type BatchStore as Stores, Decision, Retry } from "@sluice/core"
import { Clock, Effect, Fiber, Schedule } from "effect"
import { describe, expect, it } from "vitest"
import { makeMemoryStore } from "../src/internal/store/memoryStore.ts"
import { choices } from "./support/batchPrograms.ts"
import { openOn, type Options } from "./support/batchQueue.ts"
import { atLeast, forSeeds, valueOf } from "./support/campaigns.ts"

// Good items beside poison: items whose handler fails each time, under any schedule, with several workers and processes.

const name = "poison"

/** A process of its own, on a store that others have as well. */
const open = (raw: Stores.BatchStore, options: Options) => openOn(raw, name, options)

const isBad = (item: number) => item < 0

/** Any schedule: without end and with one, with delays short and long, and with none. */
const anyRetry = ({ below, pick }: ReturnType<typeof choices>): Schedule.Schedule<unknown, unknown> =>
  pick([
    Schedule.forever,
    Schedule.stop,
    Schedule.recurs(below(5)),
    Schedule.spaced(1 + below(200)),
    Schedule.exponential(1 + below(20)),
    Schedule.intersect(Schedule.exponential(10), Schedule.recurs(3)),
    Schedule.union(Schedule.recurs(2), Schedule.spaced(30)),
    Retry.exponential({ base: 100, cap: 1000, jitter: 0.1 }),
    Schedule.recurUntil((error: unknown) => error === "good")
  ])

describe("with any number of batches that always fail, and any schedule", () => {
  it("the good ones are handled within twice the time that they and the first attempts at the bad ones need alone, plus a constant", async () => {
    const program = (seed: number) =>
      Effect.gen(function*() {
        const random = choices(seed)
        const { below, chance, pick } = random
        const raw = makeMemoryStore()
        const [bad, good, workers, millis] = [pick([1, 3, 20]), 60, 1 + below(4), 1 + below(10)]
        const inlineDelay = pick([undefined, 0, 20])
        const left = new Set(Array.from({ length: good }, (_, n) => n))
        let doneAt = 0
        const { close, queue } = yield* open(raw, {
          workers,
          inlineDelay,
          retry: anyRetry(random),
          cooldown: pick([undefined, 0, 5, 500]),
          isolate: pick([undefined, "bisect", "each"] as const),
          pollInterval: 50,
          drainTimeout: 0,
          process: ({ items: [item] }) =>
            Effect.gen(function*() {
              yield* Effect.sleep(millis)
              if (isBad(item)) return yield* Effect.fail("bad")
              left.delete(item)
              if (left.size === 0) doneAt = yield* Clock.currentTimeMillis
            })
        })
        yield* queue.pause
        // Before all of the good ones, or among them.
        const poison = Array.from({ length: bad }, (_, n) => -1 - n)
        const items = [...left]
        const mixed = chance(0.5) ? [...poison, ...items] : poison.reduce((all, item) => {
          all.splice(below(all.length), 0, item)
          return all
        }, items)
        yield* queue.offerAll(mixed)
        yield* queue.flush
        const startedAt = yield* Clock.currentTimeMillis
        yield* queue.resume
        for (let i = 0; i < 1000 && left.size > 0; i++) yield* Effect.sleep(10)
        yield* close
        const alone = Math.ceil((good + bad) / workers) * millis
        return { left: left.size, took: doneAt - startedAt, bound: 2 * alone + (inlineDelay ?? 100) + 10 * millis }
      })
    await forSeeds(program, { runs: 100, yieldProbability: 0.02, maxSteps: 1_000_000 }, (run) => {
      const { bound, left, took } = valueOf(run)
      expect(left).toBe(0)
      expect(took).toBeLessThanOrEqual(bound)
    })
  })

  it("what fails gets its turn all the same, however quick the others are", async () => {
    const program = (seed: number) =>
      Effect.gen(function*() {
        const { below } = choices(seed)
        const raw = makeMemoryStore()
        let attempts = 0
        const { close, queue } = yield* open(raw, {
          workers: 1 + below(2),
          retry: Schedule.spaced(20),
          flush: { size: 10 },
          drainTimeout: 0,
          process: ({ items: [item] }) =>
            isBad(item)
              ? Effect.zipRight(Effect.sleep(100), Effect.suspend(() => Effect.fail(attempts++)))
              : Effect.sleep(1)
        })
        yield* queue.offerStored(-1)
        // There is always something fresh.
        const producer = yield* Effect.fork(Effect.forever(Effect.zipRight(queue.offer(1), Effect.sleep(0.1))))
        yield* Effect.sleep(3000)
        yield* Fiber.interrupt(producer)
        yield* close
        return attempts
      })
    // Of the time it could have, it gets a third.
    await forSeeds(program, { runs: 5, maxSteps: 1_000_000 }, (run) => expect(valueOf(run)).toBeGreaterThanOrEqual(6))
  })

  it("the good ones flow, the bad ones end as said, and nothing is counted twice, over processes that run together, end and die", async () => {
    const seen = { dead: 0, discarded: 0, pending: 0, killed: 0, together: 0 }
    const program = (seed: number) =>
      Effect.gen(function*() {
        const random = choices(seed)
        const { below, chance, pick } = random
        const raw = makeMemoryStore()
        const store = yield* raw.queue(name)
        const handled = new Map<number, number>()
        const dropped = new Map<number, string>()
        const violations: Array<string> = []
        const decision = pick([undefined, undefined, Decision.deadLetter, Decision.discard, Decision.retryAfter(5)])
        const ends = chance(0.7)
        const options: Options = {
          workers: 1 + below(3),
          batches: 1 + below(4),
          flush: { size: 1 + below(6), linger: 1 },
          isolate: pick(["bisect", "each"] as const),
          retry: ends ? pick([Schedule.stop, Schedule.recurs(below(4))]) : Schedule.spaced(20),
          inlineDelay: pick([0, 5, 100]),
          leaseDuration: 100,
          pollInterval: 10,
          drainTimeout: pick([0, 1000]),
          ...decision === undefined ? {} : { decide: () => decision },
          onDrop: (item, reason) => {
            if (dropped.has(item)) violations.push(`item ${item} was dropped twice`)
            dropped.set(item, reason)
          },
          process: ({ items }) =>
            Effect.gen(function*() {
              yield* Effect.sleep(below(3))
              const bad = items.flatMap((item, index) => isBad(item) ? [index] : [])
              // Now and then it says which they are.
              if (bad.length > 0 && chance(0.5)) return yield* Effect.fail("bad")
              for (const item of items) if (!isBad(item)) handled.set(item, (handled.get(item) ?? 0) + 1)
              if (bad.length > 0) yield* Batch.failSome(bad, "bad")
            })
        }
        const counts = { offered: 0, settled: 0, dead: 0, dropped: 0 }
        let next = 0
        const process = Effect.gen(function*() {
          const { close, queue } = yield* open(raw, options)
          for (let i = 0; i < 12; i++) {
            next += 1
            yield* queue.offer(chance(0.2) ? -next : next)
            if (chance(0.3)) yield* Effect.sleep(below(8))
          }
          yield* Effect.sleep(below(60))
          yield* close
          const metrics = yield* queue.metrics
          if (metrics.leasesLost > 0) violations.push("a lease was lost")
          counts.offered += metrics.offered
          counts.settled += metrics.settled
          counts.dead += metrics.deadLettered
          counts.dropped += metrics.dropped
          // A process that claims something and dies with it.
          if (chance(0.5)) {
            const { batches } = yield* store.claim({ limit: 2, leaseMillis: 100, turn: pick(["fresh", "returned"]) })
            seen.killed += batches.length
          }
        })
        const atOnce = 1 + below(3)
        seen.together += atOnce - 1
        // One after the other, or at the same time.
        yield* Effect.all(Array.from({ length: 3 }, () => process), { concurrency: atOnce, discard: true })
        const last = yield* open(raw, options)
        yield* Effect.sleep(1500)
        yield* last.close
        const metrics = yield* last.queue.metrics
        counts.settled += metrics.settled
        counts.dead += metrics.deadLettered
        counts.dropped += metrics.dropped
        const stats = yield* store.stats
        return { counts, decision, dropped, ends, handled, next, stats, violations, dead: stats.dead.items }
      })
    await forSeeds(program, { runs: 100, yieldProbability: 0.02 }, (run) => {
      const { counts, dead, decision, dropped, ends, handled, next, stats, violations } = valueOf(run)
      expect(violations).toEqual([])
      const bad = counts.offered - handled.size
      expect([...handled.keys()].every((item) => item > 0 && item <= next)).toBe(true)
      expect(counts.settled).toBe(handled.size)
      // Offered = settled + dropped + dead + pending, over all processes.
      expect(counts.settled + counts.dropped + dead + stats.pending.items).toBe(counts.offered)
      expect(counts.dead).toBe(dead)
      if (decision?._tag === "Discard") expect(dropped.size).toBe(bad)
      else if (decision?._tag === "DeadLetter" || decision === undefined && ends) expect(dead).toBe(bad)
      else expect(stats.pending.items).toBe(bad)
      seen.dead += dead
      seen.discarded += dropped.size
      seen.pending += stats.pending.items
    })
    for (const [what, count] of Object.entries(seen)) expect([what, count >= atLeast(10)]).toEqual([what, true])
  })
})

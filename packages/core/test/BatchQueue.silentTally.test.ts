/**
 * The tally of a queue only counts. With one that does nothing, everything but the numbers is as it was.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, Decision } from "@sluice/core"
import { Deferred, Effect, Schema } from "effect"
import { vi } from "vitest"
import type * as Tally from "../src/internal/batchQueue/tally.ts"

vi.mock("../src/internal/batchQueue/tally.ts", async (actual) => {
  const { BatchTally } = await actual<typeof Tally>()
  /** Only what it is asked for is answered; what it is told of is forgotten. */
  class SilentTally extends BatchTally<any> {
    override offeredAside() {}
    override refusedAside() {}
    override tookBack() {}
    override interrupted() {}
    override coalescedInIntake() {}
    override droppedByPolicy() {}
    override stored() {}
    override coalesced() {}
    override duplicate() {}
    override dropped() {}
    override failed = () => Effect.void
    override claimed() {}
    override handling() {}
    override handled() {}
    override settled() {}
    override retried() {}
    override released() {}
    override deadLettered = () => {}
    override discarded() {}
    override leaseLost = () => Effect.void
    override processFailed = () => Effect.void
    override redrove() {}
    override discardedDead() {}
    override publish() {}
    override publishStats() {}
  }
  return { BatchTally: SilentTally }
})

describe("a queue whose tally does nothing", () => {
  it.scopedLive("stores within its bound, wakes its workers, retries, gives up, and redrives", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const all = yield* Deferred.make<void>()
      let isMended = false
      const queue = yield* BatchQueue.make({
        name: "q",
        schema: Schema.Number,
        capacity: 2,
        policy: Backpressure.suspend(),
        maxPending: { items: 3, whenFull: "suspend" },
        flush: { size: 1 },
        workers: 2,
        // Nobody looks again by himself in time: who is not woken waits for ever.
        pollInterval: "1 day",
        metrics: false,
        decide: () => isMended ? Decision.retry : Decision.deadLetter,
        process: ({ items: [n] }) =>
          Effect.suspend(() => {
            if (n % 7 === 0 && !isMended) return Effect.fail("not yet")
            handled.push(n)
            return handled.length < 50 ? Effect.void : Deferred.succeed(all, undefined)
          })
      })
      yield* queue.offerAll(Array.from({ length: 50 }, (_, n) => n))
      yield* queue.flush
      yield* Effect.repeat(Effect.zipRight(Effect.sleep(1), queue.stats), {
        until: ({ dead, pending }) => dead.items === 8 && pending.items === 0
      })
      isMended = true
      expect(yield* queue.deadLetters.redrive("all")).toMatchObject({ items: 8 })
      yield* Deferred.await(all)
      expect([...handled].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, n) => n))
      expect(yield* queue.metrics).toMatchObject({ stored: 0, settled: 0, deadLettered: 0 })
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})

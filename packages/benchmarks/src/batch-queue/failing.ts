/** Ours where it fails: good items behind failing ones, and dead letters that are put back. */
import { BatchQueue } from "@sluice/core"
import type { QueueStore } from "@sluice/core/QueueStore"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { expectLevel, type Level } from "../files.ts"
import { Item, itemOf, Seen } from "./items.ts"
import { append, batchesAtOnce, leaseMillis, name, nextTurn, openOffering, openStore, takeOut } from "./sluice.ts"

/** A queue with batches of one item each, of which some fail for as long as their destination is down. */
export interface Behind {
  /** Stores so many that fail, and then the items, in the order in which they are claimed. Nothing is handled yet. */
  readonly prepare: (failing: number, items: ReadonlyArray<Item>) => Effect.Effect<void>
  /** Waits until the items are settled. What fails is still failing then. */
  readonly handleAll: (items: ReadonlyArray<Item>) => Effect.Effect<void>
  /**
   * Fails unless exactly the items 0 to `count` have been handled, each once, and what fails has been tried, and is
   * still there. Then the destination is up again, and nothing may be left.
   */
  readonly check: (failing: number, count: number) => Effect.Effect<void>
}

/** Comes back at once, and without end: as much of it as there can be is always due. */
const retryOfFailing = Schedule.spaced("10 millis")

export const behind = (
  filename: string,
  level: Level,
  workers: number
): Effect.Effect<Behind, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { batches, context, query } = yield* openStore(filename, level)
    const seen = new Seen()
    const tried = new Set<number>()
    let isDown = true
    const queue = yield* BatchQueue.make({
      name,
      schema: Item,
      workers,
      retry: retryOfFailing,
      // What is logged is not what is measured.
      onProcessError: () => Effect.void,
      process: ({ items }) => {
        const [item] = items
        if (item.id >= 0) seen.see(item)
        else if (isDown) return Effect.sync(() => tried.add(item.id)).pipe(Effect.zipRight(Effect.fail("down")))
        return Effect.void
      }
    }).pipe(Effect.provide(context))
    let settledBefore = 0
    const settledAtLeast = (count: number) =>
      Effect.gen(function*() {
        while ((yield* queue.metrics).settled < settledBefore + count) yield* nextTurn
      })
    return {
      prepare: (failing: number, items: ReadonlyArray<Item>) =>
        Effect.orDie(Effect.gen(function*() {
          isDown = true
          tried.clear()
          settledBefore = (yield* queue.metrics).settled
          yield* queue.pause
          for (let id = 1; id <= failing; id++) yield* queue.offer(itemOf(-id))
          for (const item of items) yield* queue.offer(item)
          yield* queue.flush
        })),
      handleAll: (items: ReadonlyArray<Item>) => Effect.zipRight(queue.resume, settledAtLeast(items.length)),
      check: (failing: number, count: number) =>
        Effect.orDie(Effect.gen(function*() {
          const { pending } = yield* batches.stats
          if (pending.items !== failing || tried.size !== failing) {
            throw new Error(`${filename}: ${tried.size} were tried and ${pending.items} are left, of ${failing}`)
          }
          isDown = false
          yield* settledAtLeast(failing + count)
          yield* expectLevel(query, level)
          yield* seen.expect(filename, count)
          const stats = yield* batches.stats
          const left = stats.pending.items + stats.dead.items
          if (left > 0) throw new Error(`${filename}: ${left} items are left`)
        }))
    }
  }).pipe(Effect.orDie)

/** A queue that nobody takes from, and its dead letters, of one item each. */
export interface Redriving {
  /** Sets items aside, until there are exactly so many dead letters, with the items 0 to `count`. Nothing is pending. */
  readonly kill: (count: number) => Effect.Effect<void>
  readonly redrive: Effect.Effect<void>
  /** Offers their items anew, so many in one call, waits until they are stored, and discards the dead letters. */
  readonly offerAgain: (items: ReadonlyArray<Item>, atOnce: number) => Effect.Effect<void>
  /** Fails unless exactly the items 0 to `count` are pending and nothing is dead, and takes them out. */
  readonly check: (count: number) => Effect.Effect<void>
}

/** Sets aside everything that is pending. */
const setAside = (batches: QueueStore) =>
  Effect.gen(function*() {
    while (true) {
      const claimed = yield* batches.claim({ limit: batchesAtOnce, leaseMillis })
      if (claimed.batches.length === 0) return
      yield* batches.deadLetter(claimed.batches, {
        reason: "retries-exhausted",
        failure: { attempts: 1, failedAtMillis: 1, error: "down" }
      })
    }
  })

export const redriving = (
  filename: string,
  level: Level,
  size: number
): Effect.Effect<Redriving, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { batches, query, queue } = yield* openOffering(filename, level, size)
    const seen = new Seen()
    return {
      kill: (count: number) => Effect.orDie(Effect.zipRight(append(batches, count), setAside(batches))),
      redrive: Effect.orDie(Effect.asVoid(queue.deadLetters.redrive("all"))),
      offerAgain: (items: ReadonlyArray<Item>, atOnce: number) =>
        Effect.orDie(Effect.gen(function*() {
          for (let first = 0; first < items.length; first += atOnce) {
            yield* queue.offerStoredAllOrNone(items.slice(first, first + atOnce))
          }
          yield* queue.deadLetters.discard("all")
        })),
      check: (count: number) =>
        Effect.orDie(Effect.gen(function*() {
          const { dead, pending } = yield* batches.stats
          if (dead.items > 0 || pending.items !== count) {
            throw new Error(`${filename}: ${pending.items} are pending and ${dead.items} dead, of ${count}`)
          }
          yield* expectLevel(query, level)
          yield* takeOut(batches, seen)
          yield* seen.expect(filename, count)
        }))
    }
  }).pipe(Effect.orDie)

/** How long the event loop was not free at one time. */
export interface LongestTurn {
  readonly millis: number
  /** What this process had of the processor in one turn: less, where the turn waited for the disk or for others. */
  readonly cpuMillis: number
}

/** Runs an effect and looks at each turn of the event loop meanwhile. */
export const longestTurn = (effect: Effect.Effect<void>): Effect.Effect<LongestTurn> =>
  Effect.suspend(() => {
    const longest = { millis: 0, cpuMillis: 0 }
    let at = performance.now()
    let cpu = process.cpuUsage()
    const look = () => {
      const used = process.cpuUsage(cpu)
      longest.millis = Math.max(longest.millis, performance.now() - at)
      longest.cpuMillis = Math.max(longest.cpuMillis, (used.user + used.system) / 1_000)
      at = performance.now()
      cpu = process.cpuUsage()
    }
    const probe = () => {
      look()
      next = setImmediate(probe)
    }
    let next = setImmediate(probe)
    return Effect.map(effect, () => {
      clearImmediate(next)
      look()
      return longest
    })
  })

/**
 * What is done with the dead letters of a queue: in portions, so that others get their turn, and at a rate.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../../QueueError.ts"
import type { Amount, DeadLetterFilter, Portion, Portioned } from "../../QueueStore.ts"
import type { Breaks } from "../fibers/breaks.ts"
import { sleepFor } from "../../unstable/Sleep.ts"

/** How many are done with in one step of the store. */
const mostAtOnce = 500

/** How often a step is taken, where there is a rate, in milliseconds. */
const stepMillis = 100

/** Which dead letters, as users say it. */
export type Which = ReadonlyArray<number> | "all" | {
  readonly reason?: string | undefined
  readonly error?: string | undefined
  readonly olderThan?: Duration.DurationInput | undefined
}

export const filterOf = (which: Exclude<Which, ReadonlyArray<number>> | undefined): DeadLetterFilter => {
  if (which === undefined || which === "all") return {}
  const { error, olderThan, reason } = which
  return { error, reason, olderThanMillis: olderThan === undefined ? undefined : Duration.toMillis(olderThan) }
}

/** Those that are meant by ids, in portions; a filter is one for all of them. */
const filtersOf = (which: Which): ReadonlyArray<DeadLetterFilter> => {
  if (!Array.isArray(which)) return [filterOf(which as Exclude<Which, ReadonlyArray<number>>)]
  const ids = Array.from(new Set<number>(which)).sort((a, b) => a - b)
  return Array.from({ length: Math.ceil(ids.length / mostAtOnce) }, (_, i) => ({
    ids: ids.slice(i * mostAtOnce, (i + 1) * mostAtOnce)
  }))
}

export interface Pace {
  /** At most so many. */
  readonly limit: number
  /** So many a second. */
  readonly rate: number
}

/**
 * Does something with each portion of the dead letters that are meant, and answers how much that was. Upwards, or what
 * dies again meanwhile would be put back without end.
 */
export const inPortions = (
  which: Which,
  { limit, rate }: Pace,
  breaks: Breaks,
  step: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
): Effect.Effect<Amount, StoreUnavailable> =>
  Effect.gen(function*() {
    const atOnce = Math.max(1, Math.min(mostAtOnce, Math.floor(rate * stepMillis / 1000)))
    const startedAt = breaks.now
    const done = { batches: 0, items: 0 }
    const filters = filtersOf(which)
    for (const filter of filters) {
      let after: number | undefined
      do {
        const left = limit - done.batches
        if (left <= 0) return done
        const { batches, items, last } = yield* step({ filter, after, limit: Math.min(atOnce, left) })
        done.batches += batches
        done.items += items
        after = last
        const early = done.batches * 1000 / rate - (breaks.now - startedAt)
        const isLast = after === undefined && filter === filters.at(-1)
        if (early > 0 && !isLast && done.batches < limit) yield* sleepFor(early)
        else if (breaks.isDue) yield* breaks.take
      } while (after !== undefined)
    }
    return done
  })

/**
 * Offers many items in one call, each to the queue that is its own.
 */
import * as Effect from "effect/Effect"
import type { OfferError } from "../../QueueError.ts"
import type { Outcome, UnsafeOutcome } from "../../QueueEvent.ts"
import { inStretches, type Stretches } from "../fibers/breaks.ts"
import type { Restore } from "../fibers/call.ts"
import type { Part, Place, Taken } from "./offer.ts"
import { isOutcome } from "./waitingRoom.ts"

/** A queue that items of a call are offered to. */
interface Target<in A, out Item> {
  readonly attempt: (item: A, origin: unknown) => UnsafeOutcome
  /** Goes on with an item that was not in at once: waits for room, or fails. */
  readonly notAtOnce: (
    outcome: UnsafeOutcome,
    place: Place<A>,
    origin: unknown,
    restore: Restore
  ) => Effect.Effect<Outcome, OfferError<Item>>
  /** For a call with many items. */
  readonly stretches: Stretches
}

/** The number of offers of one call between looks at the clock. */
const freeOffers = 128

/**
 * Offers items in order, each to the queue that `route` names. Interruptible only where it waits: that is where it can
 * tell how many were taken.
 */
export const offerEach = <A, Item>(
  items: Iterable<A>,
  route: (item: A) => Target<A, Item>,
  origin?: unknown,
  part?: Part<Item>
): Effect.Effect<Taken, OfferError<Item>> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const offer = (all: ReadonlyArray<A>) =>
        offerFrom(all, 0, route, { accepted: 0, coalesced: 0, dropped: 0 }, origin, restore, part)
      if (Array.isArray(items)) return offer(items.slice())
      // It may be a generator that takes its time for each.
      const all: Array<A> = []
      let stretches: Stretches | undefined
      const next = () => (stretches ??= route(all[0]).stretches).next()
      return Effect.flatMap(inStretches(items, { next }, (item) => void all.push(item)), () => offer(all))
    })
  )

/** Offers the items after the first `from` ones, each to the queue that `route` names. */
const offerFrom = <A, Item>(
  all: ReadonlyArray<A>,
  from: number,
  route: (item: A) => Target<A, Item>,
  counts: Record<Outcome, number>,
  origin: unknown,
  restore: Restore,
  part: Part<Item> | undefined,
  stretches?: Stretches
): Effect.Effect<Taken, OfferError<Item>> => {
  for (let taken = from; taken < all.length; taken++) {
    const item = all[taken]
    if (taken - from >= freeOffers) {
      stretches ??= route(item).stretches
      const due = stretches.next()
      if (due !== undefined) {
        const rest = () => offerFrom(all, taken, route, counts, origin, restore, part)
        return Effect.flatMap(due, rest)
      }
    }
    const queue = route(item)
    const outcome = queue.attempt(item, origin)
    if (isOutcome(outcome)) {
      counts[outcome] += 1
      continue
    }
    return Effect.flatMap(queue.notAtOnce(outcome, { item, taken, all, part }, origin, restore), (outcome) => {
      counts[outcome] += 1
      return offerFrom(all, taken + 1, route, counts, origin, restore, part)
    })
  }
  part?.onTaken?.()
  return Effect.succeed({ ...counts })
}

/**
 * Offers several items in one step, all of them or none.
 */
import type { AllOrNoneError, InvalidKey, QueueFull, Refusal } from "../../QueueError.ts"
import type { UnsafeOutcome } from "../../QueueEvent.ts"
import type { Taken } from "./offer.ts"
import { invalidKey, invalidWeight, queueClosed, queueFull, tooManyItems } from "./refusals.ts"
import { isOutcome } from "./waitingRoom.ts"

/** A queue that items of a call are offered to. */
interface Target<in out A, out Item> {
  readonly queueName: string
  readonly capacity: number
  readonly itemOf: (item: A) => Item
  readonly unsafeOffer: (item: A, origin: unknown) => UnsafeOutcome
  readonly unsafeRefuse: (count: number) => void
  readonly whyNotAll: (items: ReadonlyArray<A>) => WhyNot<A> | undefined
  readonly retryAfterMillis: (items: number) => number | undefined
}

/** Why several items cannot all be taken at once. */
export type WhyNot<A> =
  | { readonly _tag: "TooMany" | "Closed" }
  | { readonly _tag: "Full"; readonly retryAfterMillis: number | undefined }
  | { readonly _tag: "InvalidWeight"; readonly item: A; readonly weight: number }
  | { readonly _tag: "InvalidKey"; readonly item: A; readonly error: InvalidKey }

/** How many items can be offered all or none. */
export const mostAllOrNone = 50_000

/**
 * Offers items, each to the queue that `route` names, where there is room for all of them: in one step, so that nobody
 * comes in between. Answers the counts, or why none of them is in.
 */
export const unsafeOfferAllOrNone = <A, Item>(
  items: ReadonlyArray<A>,
  route: (item: A) => Target<A, Item>,
  origin?: unknown
): Taken | AllOrNoneError<Item> => whyNone(items, route) ?? unsafeOfferEach(items, route, origin)

/** Why none of the items can be taken, if they cannot: then they are counted as refused. */
export const whyNone = <A, Item>(
  items: ReadonlyArray<A>,
  route: (item: A) => Target<A, Item>
): AllOrNoneError<Item> | undefined => {
  if (items.length > mostAllOrNone) {
    const queue = route(items[0])
    queue.unsafeRefuse(items.length)
    return tooManyItems(noneOf(items, queue), mostAllOrNone)
  }
  const shares = new Map<Target<A, Item>, Array<A>>()
  for (const item of items) {
    const queue = route(item)
    const share = shares.get(queue)
    if (share === undefined) shares.set(queue, [item])
    else share.push(item)
  }
  const reasons = Array.from(shares, ([queue, share]) => queue.whyNotAll(share)).filter((each) => each !== undefined)
  if (reasons.length === 0) return undefined
  for (const [queue, { length }] of shares) queue.unsafeRefuse(length)
  return refusalOfAll(items, route(items[0]), gravest(reasons))
}

/** Offers items that there is room for, in the same step. */
export const unsafeOfferEach = <A, Item>(
  items: ReadonlyArray<A>,
  route: (item: A) => Target<A, Item>,
  origin?: unknown
): Taken | QueueFull<Item> => {
  const counts = { accepted: 0, coalesced: 0, dropped: 0 }
  for (const [taken, item] of items.entries()) {
    const queue = route(item)
    const refuseRest = () => items.slice(taken + 1).forEach((rest) => route(rest).unsafeRefuse(1))
    let outcome: UnsafeOutcome
    try {
      outcome = queue.unsafeOffer(item, origin)
    } catch (error) {
      refuseRest()
      throw error
    }
    if (!isOutcome(outcome)) {
      // Only a policy of the user's refuses what there was room for.
      refuseRest()
      const notTaken = items.slice(taken).map((each) => queue.itemOf(each))
      const refusal = { queue: queue.queueName, item: queue.itemOf(item), taken, notTaken }
      return queueFull(refusal, queue.retryAfterMillis(notTaken.length))
    }
    counts[outcome] += 1
  }
  return counts
}

/** With several shards each may have a reason: what makes no sense to be tried again comes first. */
const gravest = <A>(reasons: ReadonlyArray<WhyNot<A>>): WhyNot<A> =>
  reasons.find(({ _tag }) => _tag === "Closed")
    ?? reasons.find(({ _tag }) => _tag === "InvalidWeight" || _tag === "InvalidKey")
    ?? reasons.find(({ _tag }) => _tag === "TooMany")
    ?? reasons[0]

/** What an error carries where nothing was taken. */
const noneOf = <A, Item>(items: ReadonlyArray<A>, queue: Target<A, Item>): Refusal<Item> => {
  const notTaken = items.map((item) => queue.itemOf(item))
  return { queue: queue.queueName, item: notTaken[0], taken: 0, notTaken }
}

const refusalOfAll = <A, Item>(
  items: ReadonlyArray<A>,
  queue: Target<A, Item>,
  reason: WhyNot<A>
): AllOrNoneError<Item> => {
  const { capacity, queueName: name } = queue
  const refusal = noneOf(items, queue)
  switch (reason._tag) {
    case "Closed":
      return queueClosed(name, 0, refusal.notTaken)
    case "Full":
      return queueFull(refusal, reason.retryAfterMillis)
    case "TooMany":
      return tooManyItems(refusal, capacity)
    case "InvalidKey":
      return invalidKey(reason.error, { ...refusal, item: queue.itemOf(reason.item) })
    case "InvalidWeight":
      return invalidWeight({ ...refusal, item: queue.itemOf(reason.item) }, reason.weight, capacity)
  }
}

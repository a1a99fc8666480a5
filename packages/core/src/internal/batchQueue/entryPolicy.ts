/**
 * The policy of a durable queue's intake, as the user gives it for items, applied to entries.
 */
import * as Backpressure from "../../Backpressure.ts"
import { byKey } from "../intake/keys.ts"
import { Entry } from "./entry.ts"
import type { IntakePolicy } from "./options.ts"

/** Whether offers that find no room wait for it. */
export const suspends = (policy: IntakePolicy<any>): boolean =>
  policy._tag === "suspend"
  || policy._tag === "coalesceByKey" && policy.whenFull._tag === "suspend"

export const entryPolicy = <A>(policy: IntakePolicy<A>): Backpressure.Policy<Entry<A>> => {
  if (policy._tag !== "coalesceByKey") return policy
  const { key, merge, whenFull } = policy
  const mergeEntries = (held: Entry<A>, next: Entry<A>) =>
    merge === undefined
      ? Entry.merged(next.item, next.encoded, held, next)
      : Entry.merged(merge(held.item, next.item) as A, undefined, held, next)
  const pair = (options: Backpressure.PairOptions<Entry<A>>) => {
    const { check, of } = byKey<Entry<A>>(options.name, ({ item }) => key(item))
    return Backpressure.coalescingPair(options, {
      whenFull,
      merge: mergeEntries,
      // An item with an id is its own identity: merged with others it would lose its id.
      identity: {
        of: (entry) => entry.id === undefined ? of(entry) : entry,
        check: (known) => known instanceof Entry ? undefined : check(known)
      }
    })
  }
  return { _tag: "coalesceByEntry", pair: pair as Backpressure.Policy<Entry<A>>["pair"] }
}

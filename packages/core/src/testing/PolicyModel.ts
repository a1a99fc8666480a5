/**
 * What each built-in policy keeps, in its simplest form: on arrays, with no index, no ring and no waiting.
 *
 * `PolicyLaws.kept` compares a policy with such a model. A model says what happens to one item that is offered while no
 * offer waits. Waiting is the same for every policy, and the law handles it: an offer without room waits behind the
 * offers that already wait, unless the key of its item is in the queue.
 *
 * @since 0.1.0
 */
import type { DropReason, Outcome } from "../QueueEvent.ts"
import { identityOf, type Key } from "../Sharding.ts"

/**
 * What becomes of an offered item, and what is in the queue after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step<A> {
  /** `"full"`: the item is not in, and was not dropped. It waits, or it is refused. */
  readonly outcome: Outcome | "full"
  /** Everything that is in the queue now, oldest first. */
  readonly held: ReadonlyArray<A>
  /** What was dropped, in the order in which it is reported. Default: nothing. */
  readonly dropped?: ReadonlyArray<readonly [item: A, reason: DropReason]> | undefined
  /** What was replaced by the item, or merged with it. Default: nothing. */
  readonly coalesced?: readonly [replaced: A, item: A] | undefined
}

/**
 * A policy, as a pure function of what is in the queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface PolicyModel<A> {
  readonly offer: (held: ReadonlyArray<A>, item: A) => Step<A>
  /** Whether an item without room waits for it; otherwise it is refused. */
  readonly waits: boolean
}

/**
 * How much a model holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits<A> {
  readonly capacity: number
  /** Default: every item weighs 1. */
  readonly weigh?: ((item: A) => number) | undefined
}

const weightOf = <A>({ weigh }: Limits<A>, items: ReadonlyArray<A>): number =>
  weigh === undefined ? items.length : items.reduce((sum, item) => sum + weigh(item), 0)

const fits = <A>(limits: Limits<A>, items: ReadonlyArray<A>): boolean => weightOf(limits, items) <= limits.capacity

/** Takes the item if it fits, and otherwise does what `whenFull` says. */
const whereItFits = <A>(
  limits: Limits<A>,
  waits: boolean,
  whenFull: (held: ReadonlyArray<A>, item: A) => Step<A>
): PolicyModel<A> => ({
  waits,
  offer: (held, item) =>
    fits(limits, [...held, item]) ? { outcome: "accepted", held: [...held, item] } : whenFull(held, item)
})

const full = <A>(held: ReadonlyArray<A>): Step<A> => ({ outcome: "full", held })

/**
 * Keeps everything: the model of `suspend`.
 *
 * @since 0.1.0
 * @category models of the built-in policies
 */
export const everything = <A>(limits: Limits<A>): PolicyModel<A> => whereItFits(limits, true, full)

/**
 * Keeps every accepted item and refuses the rest: the model of `reject`.
 *
 * @since 0.1.0
 * @category models of the built-in policies
 */
export const accepted = <A>(limits: Limits<A>): PolicyModel<A> => whereItFits(limits, false, full)

/**
 * Keeps the first items, as many as fit: the model of `dropNewest`.
 *
 * @since 0.1.0
 * @category models of the built-in policies
 */
export const first = <A>(limits: Limits<A>): PolicyModel<A> =>
  whereItFits(limits, false, (held, item) => ({ outcome: "dropped", held, dropped: [[item, "drop-newest"]] }))

/**
 * Keeps the last items, as many as fit: the model of `dropOldest`.
 *
 * @since 0.1.0
 * @category models of the built-in policies
 */
export const last = <A>(limits: Limits<A>): PolicyModel<A> =>
  whereItFits(limits, false, (held, item) => {
    let evicted = 0
    while (!fits(limits, [...held.slice(evicted), item])) evicted++
    return {
      outcome: "accepted",
      held: [...held.slice(evicted), item],
      dropped: held.slice(0, evicted).map((old) => [old, "drop-oldest"] as const)
    }
  })

/**
 * Keeps the latest item of each key, at the place where its key first arrived: the model of `coalesceByKey`.
 * `whenFull`, one of the models above, applies to an item of a new key.
 *
 * Keys are those of `Sharding`. The result of `merge` must have the key of its arguments.
 *
 * @example
 * ```ts
 * import * as PolicyModel from "@sluice/core/testing/PolicyModel"
 *
 * interface Reading {
 *   readonly sensor: string
 *   readonly value: number
 * }
 * const latest = PolicyModel.latestOfEachKey<Reading>({
 *   key: (reading) => reading.sensor,
 *   whenFull: PolicyModel.last({ capacity: 2 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category models of the built-in policies
 */
export const latestOfEachKey = <A>(options: {
  readonly key: (item: A) => Key
  readonly merge?: ((queued: A, offered: A) => A) | undefined
  readonly whenFull: PolicyModel<A>
}): PolicyModel<A> => {
  const { key, merge = (_, offered) => offered, whenFull } = options
  return {
    waits: whenFull.waits,
    offer: (held, item) => {
      // `includes` compares as a Map does.
      const position = held.findIndex((queued) => identityOf(key(queued)) === identityOf(key(item)))
      if (position === -1) return whenFull.offer(held, item)
      const queued = held[position]
      return {
        outcome: "coalesced",
        held: [...held.slice(0, position), merge(queued, item), ...held.slice(position + 1)],
        coalesced: [queued, item]
      }
    }
  }
}

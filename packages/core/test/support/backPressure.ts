import type { BackingQueue, Backpressure, Strategy } from "@sluice/core"
import { Deferred, Effect } from "effect"

/** A policy of a user's own that makes offers wait, with a strategy that hands over as Effect's back-pressure does. */
export const ownBackPressure: Backpressure.Policy<unknown> = {
  _tag: "ownBackPressure",
  pair: <A>({ capacity, report }: Backpressure.PairOptions<A>): Backpressure.Pair<A> => {
    const items: Array<A> = []
    const waiting: Array<readonly [item: A, isIn: Deferred.Deferred<boolean>]> = []
    const backing: BackingQueue.BackingQueue<A> = {
      capacity: () => capacity,
      length: () => items.length,
      poll: (otherwise) => items.length === 0 ? otherwise : items.shift()!,
      pollUpTo: (limit) => items.splice(0, limit),
      offer: (item) => items.length < capacity && items.push(item) > 0,
      offerAll: (offered) => Array.from(offered).filter((item) => !backing.offer(item))
    }
    const strategy: Strategy.Strategy<A> = {
      surplusSize: () => waiting.length,
      handleSurplus: (surplus) =>
        Effect.every(surplus, (item) =>
          Effect.flatMap(Deferred.make<boolean>(), (isIn) => {
            waiting.push([item, isIn])
            return Deferred.await(isIn)
          })),
      onRoom: () => {
        while (waiting.length > 0 && items.length < capacity) {
          const [item, isIn] = waiting.shift()!
          items.push(item)
          Deferred.unsafeDone(isIn, Effect.succeed(true))
        }
      },
      shutdown: Effect.suspend(() => {
        for (const item of items.splice(0)) report.dropped(item, "shutdown")
        return Effect.forEach(waiting.splice(0), ([, isIn]) => Deferred.interrupt(isIn), { discard: true })
      })
    }
    return { backing, strategy }
  }
}

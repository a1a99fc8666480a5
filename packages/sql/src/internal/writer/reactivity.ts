/**
 * Tells queries that their keys have changed once they really have: after the commit of the transaction in which that is
 * said, whoever says it. A query that is told before would read what was there before, and not be told again.
 *
 * A service that asked for its `Reactivity` when it was made has the instance itself, and not what the context of a
 * transaction has in its place. So the instance is what waits.
 */
import type { Reactivity } from "@effect/experimental/Reactivity"
import { contextOf, currentContext, withFiber } from "@sluice/core/unstable/Fibers"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Transaction } from "./transaction.ts"

type Keys = Parameters<Reactivity.Service["unsafeInvalidate"]>[0]

/** The transaction of one database that a context is in. */
type Current = (context: Context.Context<never>) => Transaction | undefined

type Telling = Pick<Reactivity.Service, "unsafeInvalidate" | "invalidate" | "mutation">

/** Whose transactions an instance waits for. */
const databases = new WeakMap<Reactivity.Service, Set<Current>>()

/** Makes an instance wait for the transactions of a database. Answers what ends that. */
export const waitForCommits = (reactivity: Reactivity.Service, current: Current): () => void => {
  const known = databases.get(reactivity)
  const all = known ?? new Set<Current>()
  all.add(current)
  if (known !== undefined) return () => void all.delete(current)
  databases.set(reactivity, all)
  const { unsafeInvalidate } = reactivity
  const tell = (keys: Keys, context: Context.Context<never> | undefined, [next, ...others] = Array.from(all)): void => {
    if (context === undefined || next === undefined) return unsafeInvalidate(keys)
    const rest = () => tell(keys, context, others)
    const transaction = next(context)
    if (transaction === undefined || transaction.isOver) rest()
    else transaction.unsafeAfterCommit(rest)
  }
  const waiting = telling(
    (keys) => tell(keys, currentContext()),
    (keys) =>
      withFiber((fiber) => {
        tell(keys, contextOf(fiber))
        return Effect.void
      })
  )
  for (const [name, method] of Object.entries(waiting)) Reflect.set(reactivity, name, method)
  return () => void all.delete(current)
}

/** What a transaction has in the place of an instance that does not wait. */
export const untilCommitted = (reactivity: Reactivity.Service, transaction: Transaction): Reactivity.Service => {
  const tell = (keys: Keys): void =>
    transaction.isOver
      ? reactivity.unsafeInvalidate(keys)
      : transaction.unsafeAfterCommit(() => reactivity.unsafeInvalidate(keys))
  return { ...reactivity, ...telling(tell, (keys) => Effect.sync(() => tell(keys))) }
}

const telling = (
  unsafeInvalidate: (keys: Keys) => void,
  invalidate: (keys: Keys) => Effect.Effect<void>
): Telling => ({
  unsafeInvalidate,
  invalidate,
  mutation: (keys, effect) => Effect.zipLeft(effect, invalidate(keys))
})

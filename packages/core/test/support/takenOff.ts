/** Calls everything that a queue has as a user does who has taken it off the queue. */
import { Effect, Stream } from "effect"

/** For each member: what is done with it once it is taken off. A member that is not named does not compile. */
export type Calls<Q> = { readonly [K in keyof Q]-?: (member: Q[K]) => Effect.Effect<unknown, unknown> }

const callOne = <Q extends object, K extends keyof Q>(queue: Q, calls: Calls<Q>, key: K) => {
  const { [key]: member } = queue
  return Effect.suspend(() => calls[key](member))
}

/** The names of the members whose calls fail, and why. */
export const faultsOfTakenOff = <Q extends object>(queue: Q, calls: Calls<Q>) =>
  Effect.map(
    Effect.forEach(Object.keys(calls) as Array<keyof Q>, (key) =>
      Effect.match(Effect.sandbox(callOne(queue, calls, key)), {
        onSuccess: () =>
          undefined,
        onFailure: (cause) => `${String(key)}: ${cause.toString()}`
      })),
    (faults) =>
      faults.filter((fault) => fault !== undefined)
  )

/** Subscribes to a stream, and leaves it. */
export const subscribed = (stream: Stream.Stream<unknown>) => Effect.scoped(Stream.toPull(stream))

/** Runs an Effect. */
export const run = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => effect

/** A value that is there. */
export const given = (value: unknown) => value === undefined ? Effect.fail("it is undefined") : Effect.void

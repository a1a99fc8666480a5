/**
 * What Sluice's own pairs have besides the public interface. It is under a symbol, so that a user's pair may have any
 * field.
 */
import type { WaitingRoom } from "./waitingRoom.ts"

export const own: unique symbol = Symbol.for("@sluice/core/Backpressure/own")

export interface Own<in out A> {
  /** What an item is known by. It throws an `InvalidKey`. */
  readonly identityOf?: ((item: A) => unknown) | undefined
  readonly waiting?: { readonly room: WaitingRoom<A>; readonly timeoutMillis: number | undefined } | undefined
}

export interface HasOwn<in out A> {
  readonly [own]?: Own<A>
}

export const ownOf = <A>(pair: object): Own<A> => (pair as HasOwn<A>)[own] ?? {}

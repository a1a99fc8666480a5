/**
 * A sink that offers everything that a stream has.
 */
import * as Effect from "effect/Effect"
import * as Sink from "effect/Sink"
import type { Taken } from "./offer.ts"

const none: Taken = { accepted: 0, coalesced: 0, dropped: 0 }

/** The stream is not asked for its next chunk before the last one is taken. */
export const sinkOf = <A, E>(
  offerAll: (items: Iterable<A>) => Effect.Effect<Taken, E>
): Sink.Sink<Taken, A, never, E> =>
  Sink.foldLeftChunksEffect(
    none,
    (before, items) =>
      Effect.map(offerAll(items), ({ accepted, coalesced, dropped }) => ({
        accepted: before.accepted + accepted,
        coalesced: before.coalesced + coalesced,
        dropped: before.dropped + dropped
      }))
  )

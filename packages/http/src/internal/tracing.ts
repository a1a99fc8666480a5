/**
 * Whether spans go anywhere, so that what becomes of an item has to know the span of its request.
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"

/**
 * Whether a tracer other than Effect's own, which keeps spans to itself, has been provided.
 * @internal
 */
export const isTracing: Effect.Effect<boolean> = Effect.map(
  Effect.tracer,
  (tracer) => tracer !== Context.get(DefaultServices.liveServices, Tracer.Tracer)
)

/**
 * A span for each flush, linked to the spans of the offers: when tracing is on, and at no cost when it is off.
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"

/**
 * Whether spans go anywhere: a tracer other than Effect's own, which keeps them to itself, has been provided.
 * @internal
 */
export const isTracing: Effect.Effect<boolean> = Effect.zipWith(
  Effect.tracer,
  FiberRef.get(FiberRef.currentTracerEnabled),
  (tracer, enabled) => enabled && tracer !== Context.get(DefaultServices.liveServices, Tracer.Tracer)
)

/**
 * The span that an offer is made in, if any.
 * @internal
 */
export const withCurrentSpan = <A, E, R>(
  use: (span: Tracer.AnySpan | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.withFiberRuntime((fiber) => use(fiber.currentSpan))

/**
 * The links to the spans of offers.
 * @internal
 */
export const linksTo = (origins: ReadonlyArray<unknown>): ReadonlyArray<Tracer.SpanLink> =>
  origins.map((span) => ({ _tag: "SpanLink", span: span as Tracer.AnySpan, attributes: {} }))

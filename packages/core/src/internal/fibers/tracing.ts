/**
 * A span for each flush, linked to the spans of the offers: when tracing is on, and at no cost when it is off.
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"
import type { Batch } from "../../Batch.ts"
import type { Running } from "./fiber.ts"

/** Effect's own tracer keeps its spans to itself. */
const ownTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** Whether the spans of this tracer go anywhere. */
const isTraced = (tracer: Tracer.Tracer, enabled: boolean): boolean => enabled && tracer !== ownTracer

/** Whether spans go anywhere: a tracer other than Effect's own has been provided, and is enabled. */
export const isTracing: Effect.Effect<boolean> = Effect.zipWith(
  Effect.tracer,
  FiberRef.get(FiberRef.currentTracerEnabled),
  isTraced
)

/** Whether the spans of this fiber go anywhere. */
export const isTracingIn = (fiber: Running<any, any>): boolean =>
  isTraced(fiber.currentTracer!, fiber.getFiberRef(FiberRef.currentTracerEnabled))

/** The current span in this context, if any. */
export const spanIn = (context: Context.Context<never>): Tracer.AnySpan | undefined =>
  context.unsafeMap.get(Tracer.ParentSpan.key)

/** Makes an effect a part of the span that something was offered in, if there is one. */
export const withinSpan = <A, E, R>(effect: Effect.Effect<A, E, R>, origin: unknown): Effect.Effect<A, E, R> =>
  origin === undefined
    ? effect
    : Effect.withParentSpan(effect, origin as Tracer.AnySpan) as Effect.Effect<A, E, R>

/** The span that an offer is made in, if any. */
export const withCurrentSpan = <A, E, R>(
  use: (span: Tracer.AnySpan | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.withFiberRuntime((fiber) => use(fiber.currentSpan))

/** Handles a batch in a span of its own, linked to the spans of its offers where these are known. */
export const withBatchSpan = <A, E, R>(
  span: string,
  queue: string,
  { attempt, items, trigger }: Pick<Batch<A>, "attempt" | "items" | "trigger">,
  handled: Effect.Effect<void, E, R>,
  origins: ReadonlyArray<unknown> = []
): Effect.Effect<void, E, R> =>
  Effect.withSpan(handled, span, {
    root: true,
    links: linksTo(origins),
    attributes: {
      "sluice.queue": queue,
      "sluice.batch.items": items.length,
      "sluice.batch.trigger": trigger,
      "sluice.batch.attempt": attempt
    }
  }) as Effect.Effect<void, E, R>

/** The links to the spans of offers. */
export const linksTo = (origins: ReadonlyArray<unknown>): ReadonlyArray<Tracer.SpanLink> =>
  origins.map((span) => ({ _tag: "SpanLink", span: span as Tracer.AnySpan, attributes: {} }))

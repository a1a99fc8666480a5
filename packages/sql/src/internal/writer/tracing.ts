/**
 * A span for each group of writes, linked to the spans of their submitters: when tracing is on, and at no cost when it is
 * off.
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"

/** Effect's own tracer keeps its spans to itself. */
const ownTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/**
 * Whether spans go anywhere.
 * @internal
 */
export const isTraced = (tracer: Tracer.Tracer, enabled: boolean): boolean => enabled && tracer !== ownTracer

/** @internal */
export const isTracing: Effect.Effect<boolean> = Effect.zipWith(
  Effect.tracer,
  FiberRef.get(FiberRef.currentTracerEnabled),
  isTraced
)

/** How many different spans a group is linked to. */
const mostLinks = 128

/**
 * The links to the spans that something was submitted in.
 * @internal
 */
export const linksTo = (contexts: Iterable<Context.Context<never>>): ReadonlyArray<Tracer.SpanLink> => {
  const spans = new Set<Tracer.AnySpan>()
  for (const context of contexts) {
    if (spans.size === mostLinks) break
    const span = context.unsafeMap.get(Tracer.ParentSpan.key)
    if (span !== undefined) spans.add(span)
  }
  return Array.from(spans, (span) => ({ _tag: "SpanLink", span, attributes: {} }))
}

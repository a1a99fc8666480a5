/**
 * A span for each group of writes, linked to the spans of their submitters: when tracing is on, and at no cost when it is
 * off.
 */
import * as Fibers from "@sluice/core/unstable/Fibers"
import type * as Context from "effect/Context"
import type * as Tracer from "effect/Tracer"

/** How many different spans a group is linked to. */
const mostLinks = 128

/** The links to the spans that something was submitted in. */
export const linksTo = (contexts: Iterable<Context.Context<never>>): ReadonlyArray<Tracer.SpanLink> => {
  const spans = new Set<Tracer.AnySpan>()
  for (const context of contexts) {
    if (spans.size === mostLinks) break
    const span = Fibers.spanIn(context)
    if (span !== undefined) spans.add(span)
  }
  return Fibers.linksTo(Array.from(spans))
}

import { Effect, Tracer } from "effect"

/** Effect's own tracer, and the spans that it has made. */
export const recording = Effect.map(Effect.tracer, (own) => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    span: (...args) => {
      const span = own.span(...args)
      spans.push(span)
      return span
    },
    context: (f) => f()
  })
  return { spans, tracer }
})

/**
 * Submitters: fibers each of which writes, waits for the answer, and writes again.
 *
 * Before each write a submitter makes way, as one does whose next write comes with the next request, and its clock
 * runs from then on. Otherwise a contender that answers without ever waiting would never see more than one of them: a
 * fiber would do all its writes before another one has its first turn.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Sample } from "./Benchmark.ts"
import { quantile } from "./statistics.ts"

/** How a submitter writes. */
export interface Writes<R> {
  readonly write: (id: number) => Effect.Effect<unknown, unknown, R>
  /** What submitters run with. */
  readonly context: Context.Context<R>
}

/** Writes rows 0, 1, 2, ... The submitters exist beforehand, and wait at a gate: making them is not measured. */
export const submitAll = <R>(
  { context, write }: Writes<R>,
  submitters: number,
  writesEach: number
): Effect.Effect<Sample> =>
  Effect.gen(function*() {
    const gate = yield* Effect.makeLatch()
    const latencies: Array<number> = []
    let arrived = 0
    let next = 0
    let endedAt = 0
    const submitter = Effect.gen(function*() {
      arrived += 1
      yield* gate.await
      let wantedAt = startedAt
      for (let i = 0; i < writesEach; i++) {
        yield* Effect.yieldNow()
        yield* write(next++)
        endedAt = performance.now()
        latencies.push((endedAt - wantedAt) * 1e6)
        wantedAt = endedAt
      }
    }).pipe(Effect.provide(context), Effect.orDie)
    const fibers: Array<Fiber.RuntimeFiber<void>> = []
    for (let i = 0; i < submitters; i++) fibers.push(yield* Effect.fork(submitter))
    yield* Effect.repeat(Effect.yieldNow(), { until: () => arrived === submitters })
    const startedAt = performance.now()
    yield* gate.open
    for (const fiber of fibers) yield* Fiber.join(fiber)
    return {
      cost: (endedAt - startedAt) * 1e6 / latencies.length,
      latency: { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
    }
  })

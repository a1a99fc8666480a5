/**
 * Fibers that start at the same moment, and submitters: fibers each of which writes, waits for the answer, and writes
 * again.
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

/**
 * Runs a program in so many fibers, which exist beforehand and wait at a gate: making them is not measured. They are
 * told when it opened.
 */
export const atOnce = (
  fibers: number,
  program: (openedAt: number) => Effect.Effect<void>
): Effect.Effect<{ readonly openedAt: number }> =>
  Effect.gen(function*() {
    const gate = yield* Effect.makeLatch()
    let arrived = 0
    let openedAt = 0
    const arrive = Effect.suspend(() => {
      arrived += 1
      return gate.await
    })
    const one = Effect.zipRight(arrive, Effect.suspend(() => program(openedAt)))
    const started: Array<Fiber.RuntimeFiber<void>> = []
    for (let i = 0; i < fibers; i++) started.push(yield* Effect.fork(one))
    yield* Effect.repeat(Effect.yieldNow(), { until: () => arrived === fibers })
    openedAt = performance.now()
    yield* gate.open
    for (const fiber of started) yield* Fiber.join(fiber)
    return { openedAt }
  })

/** Writes rows 0, 1, 2, ... */
export const submitAll = <R>(
  { context, write }: Writes<R>,
  submitters: number,
  writesEach: number
): Effect.Effect<Sample> =>
  Effect.gen(function*() {
    const latencies: Array<number> = []
    let next = 0
    let endedAt = 0
    const { openedAt } = yield* atOnce(submitters, (openedAt) =>
      Effect.gen(function*() {
        let wantedAt = openedAt
        for (let i = 0; i < writesEach; i++) {
          yield* Effect.yieldNow()
          yield* write(next++)
          endedAt = performance.now()
          latencies.push((endedAt - wantedAt) * 1e6)
          wantedAt = endedAt
        }
      }).pipe(Effect.provide(context), Effect.orDie))
    return {
      cost: (endedAt - openedAt) * 1e6 / latencies.length,
      latency: { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
    }
  })

/**
 * Queues in a process that is busy with something else: each turn of its event loop takes so long. How long a caller
 * waits for its durable item, and how much of what a sink can take a `WriteBehind` gives it. And in an idle process: in
 * how many turns an item is stored, handled and settled.
 */
import { Backpressure, BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Benchmark, Findings, Trial } from "./Benchmark.ts"
import { quantile } from "./statistics.ts"

const turns = [5, 14]

/** How much of what the sink takes alone a queue in front of it should give it. */
const leastShare = 0.95

/** In how many turns of the event loop one item is stored, handled and settled, at most. */
const mostTurns = 2

/** Items are offered this far apart: one by one. */
const apartMillis = 20

const batchSize = 100

const burn = (millis: number): void => {
  const until = performance.now() + millis
  while (performance.now() < until) { /* busy */ }
}

/** Turns of the event loop, each of which takes so long, until the scope closes. Answers how many there were. */
const turning = (millis: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const loop = { turns: 0, isOver: false }
        const turn = () => {
          loop.turns += 1
          burn(millis)
          if (!loop.isOver) setImmediate(turn)
        }
        setImmediate(turn)
        return loop
      }),
      (loop) =>
        Effect.sync(() => {
          loop.isOver = true
        })
    ),
    (loop) => () => loop.turns
  )

const durable = (process: () => Effect.Effect<void>) =>
  BatchQueue.make({
    name: "busy",
    schema: Schema.Number,
    workers: 1,
    flush: { size: 1 },
    metrics: false,
    process
  })

const waitsOf = (seconds: number) =>
  Effect.gen(function*() {
    const queue = yield* durable(() => Effect.void)
    const waits: Array<number> = []
    for (const until = performance.now() + 1000 * seconds; performance.now() < until;) {
      yield* Effect.sleep(apartMillis)
      const from = performance.now()
      yield* queue.offerStored(waits.length)
      waits.push(performance.now() - from)
    }
    return waits
  })

/** Takes 1,000 items a second, as far as the timers of a busy process come in time. */
const sink = (items: ReadonlyArray<unknown>) => Effect.sleep(items.length)

const aloneFor = (seconds: number) =>
  Effect.gen(function*() {
    let batches = 0
    const from = performance.now()
    for (const until = from + 1000 * seconds; performance.now() < until; batches++) {
      yield* sink(Array.from({ length: batchSize }))
    }
    return batches * batchSize * 1000 / (performance.now() - from)
  })

const behindFor = (seconds: number) =>
  Effect.gen(function*() {
    const queue = yield* WriteBehind.make<number, never, never>({
      name: "busy",
      capacity: 10 * batchSize,
      policy: Backpressure.suspend(),
      batchSize,
      drainTimeout: 0,
      flush: ({ items }) => sink(items)
    })
    yield* Effect.forkScoped(Effect.forever(queue.offer(0)))
    // The first batch has its time: then it is full, and stays so.
    yield* Effect.sleep(batchSize)
    const before = (yield* queue.metrics).settled
    const from = performance.now()
    yield* Effect.sleep(1000 * seconds)
    return ((yield* queue.metrics).settled - before) * 1000 / (performance.now() - from)
  })

const busyTrial = (millis: number): Trial => ({
  name: `a process whose event loop has turns of ${millis} ms`,
  run: (seconds) =>
    Effect.gen(function*() {
      yield* turning(millis)
      const part = seconds / 3
      const waits = yield* waitsOf(part)
      const alone = yield* aloneFor(part)
      const behind = yield* behindFor(part)
      const p50 = quantile(waits, 0.5)
      return {
        figures: [
          { figure: "offerStored, one item each 20 ms, p50", value: p50, unit: "ms" },
          { figure: "offerStored, one item each 20 ms, p99", value: quantile(waits, 0.99), unit: "ms" },
          { figure: "the sink alone", value: alone, unit: "items/s" },
          { figure: "the sink behind a WriteBehind", value: behind, unit: "items/s" },
          { figure: "of what it takes alone", value: behind / alone, unit: "" }
        ],
        checks: [
          { check: "half of the callers wait less than a turn", met: p50 < millis },
          { check: `the sink gets at least ${leastShare} of what it takes alone`, met: behind >= leastShare * alone }
        ]
      } satisfies Findings
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory), Effect.orDie)
})

const idleTrial: Trial = {
  name: "an idle process",
  run: (seconds) =>
    Effect.gen(function*() {
      const settled: Array<() => void> = []
      const queue = yield* durable(() => Effect.void)
      const told = Stream.runForEach(queue.events, ({ _tag }) =>
        Effect.sync(() => {
          if (_tag === "Settled") settled.shift()?.()
        }))
      yield* Effect.forkScoped(told)
      const turned = yield* turning(0)
      const counts: Array<number> = []
      for (const until = performance.now() + 1000 * seconds; performance.now() < until;) {
        yield* Effect.sleep(apartMillis)
        const before = turned()
        yield* Effect.async<void>((resume) => {
          settled.push(() => resume(Effect.void))
          queue.unsafeOffer(counts.length)
        })
        counts.push(turned() - before)
      }
      const most = quantile(counts, 0.99)
      return {
        figures: [
          { figure: "turns of the event loop from offer to settled, p50", value: quantile(counts, 0.5), unit: "turns" },
          { figure: "turns of the event loop from offer to settled, p99", value: most, unit: "turns" }
        ],
        checks: [{ check: `at most ${mostTurns} turns for 99 of 100 items`, met: most <= mostTurns }]
      } satisfies Findings
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory), Effect.orDie)
}

export const busy: Benchmark = {
  name: "busy",
  title: "queues in a process that is busy with something else",
  packages: ["effect"],
  plan: Effect.succeed({ cases: [], ratios: [], trials: [...turns.map(busyTrial), idleTrial] })
}

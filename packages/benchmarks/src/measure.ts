/**
 * Runs the cases of a plan and works out its ratios.
 *
 * All cases take turns: one sample of each is a round. What is compared has therefore run within the same second or
 * two, with the same things going on around it.
 */
import * as Effect from "effect/Effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Findings, Goal, Plan, Ratio, Sample, Trial } from "./Benchmark.ts"
import { quotients, summarize, type Summary } from "./statistics.ts"

/** Rounds before the first that counts: the compiler has seen every case by then. */
const warmUpRounds = 3

/** One side of a ratio. */
export interface Side {
  readonly case: string
  readonly unit: string
  readonly cost: Summary
  /** Of what a round found. In nanoseconds, whatever the unit is. */
  readonly latency?: { readonly p50: Summary; readonly p99: Summary }
  /** How many operations were done in a second, and what they are. */
  readonly perSecond?: Summary & { readonly counts: string }
  /** What an operation cost a server of processor time, in nanoseconds. */
  readonly cpu?: Summary
}

export interface Result {
  readonly benchmark: string
  readonly measure: string
  /** The median of the ratios of the rounds. */
  readonly ratio: number
  readonly reads: Ratio["reads"]
  readonly goal: Goal
  /** A ratio without a goal has nothing to miss. */
  readonly met: boolean
  readonly spread: { readonly low: number; readonly high: number }
  readonly subject: Side
  readonly against: Side
  readonly rounds: number
}

export const isMet = (ratio: number, { atLeast = -Infinity, atMost = Infinity }: Goal): boolean =>
  ratio >= atLeast && ratio <= atMost

const collectGarbage = Effect.sync(() => {
  // Functions whose turn has not come for a while would lose their code in a collection.
  setFlagsFromString("--no-flush-bytecode")
  setFlagsFromString("--expose-gc")
  return runInNewContext("gc") as () => void
})

/** Takes the samples: an array for each case, with one for each round. */
const sampleAll = (
  { cases }: Plan,
  rounds: number,
  onRound: (done: number, of: number) => void
): Effect.Effect<ReadonlyMap<string, ReadonlyArray<Sample>>> =>
  Effect.gen(function*() {
    const samples = new Map(cases.map(({ name }) => [name, new Array<Sample>()]))
    if (samples.size < cases.length) throw new Error("two cases have the same name")
    const collect = yield* collectGarbage
    const total = warmUpRounds + rounds
    for (let round = 0; round < total; round++) {
      // There and back again: nobody always comes after the same one.
      const counts = round >= warmUpRounds
      for (const { name, sample, selfContained } of round % 2 === 0 ? cases : [...cases].reverse()) {
        if (selfContained && !counts) continue
        // Nobody pays for the garbage of somebody else.
        collect()
        const taken = yield* sample
        if (counts) samples.get(name)!.push(taken)
      }
      onRound(round + 1, total)
    }
    return samples
  })

/** Runs a plan. */
export const measure = (
  benchmark: string,
  plan: Plan,
  rounds: number,
  onRound: (done: number, of: number) => void = () => {}
): Effect.Effect<ReadonlyArray<Result>> =>
  Effect.map(sampleAll(plan, rounds, onRound), (samples) => {
    const costs = (name: string) => samples.get(name)!.map(({ cost }) => cost)
    const side = (name: string): Side => {
      const found = plan.cases.find((candidate) => candidate.name === name)
      if (found === undefined) throw new Error(`no case is called ${name}`)
      const latencies = samples.get(name)!.flatMap(({ latency }) => latency ?? [])
      const cpus = samples.get(name)!.flatMap(({ cpu }) => cpu ?? [])
      return {
        case: name,
        unit: found.unit,
        cost: summarize(costs(name)),
        ...latencies.length > 0 && {
          latency: { p50: summarize(latencies.map(({ p50 }) => p50)), p99: summarize(latencies.map(({ p99 }) => p99)) }
        },
        ...found.counts !== undefined && {
          perSecond: { counts: found.counts, ...summarize(costs(name).map((nanos) => 1e9 / nanos)) }
        },
        ...cpus.length > 0 && { cpu: summarize(cpus) }
      }
    }
    return plan.ratios.map(({ above, below, goal, measure, reads, subject }): Result => {
      const [mine, other] = subject === above ? [side(above), side(below)] : [side(below), side(above)]
      const { high, low, median } = summarize(quotients(costs(above), costs(below)))
      return {
        benchmark,
        measure,
        ratio: median,
        reads,
        goal,
        met: isMet(median, goal),
        spread: { low, high },
        subject: mine,
        against: other,
        rounds
      }
    })
  })

/** What a trial has found, and for how long it was run. */
export interface TrialResult extends Findings {
  readonly benchmark: string
  readonly trial: string
  readonly seconds: number
}

/** Runs the trials of a plan, one after the other. */
export const runTrials = (
  benchmark: string,
  trials: ReadonlyArray<Trial>,
  seconds: number,
  onTrial: (name: string) => void = () => {}
): Effect.Effect<ReadonlyArray<TrialResult>> =>
  Effect.forEach(trials, ({ name, run }) => {
    onTrial(name)
    return Effect.map(run(seconds), (findings) => ({ benchmark, trial: name, seconds, ...findings }))
  })

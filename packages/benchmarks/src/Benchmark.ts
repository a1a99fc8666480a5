/**
 * What a benchmark is: cases, each of which can say what one operation costs, and ratios between them.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** How long callers waited, each for one operation, from the call to the answer, in nanoseconds. */
export interface Latency {
  readonly p50: number
  readonly p99: number
}

export interface Sample {
  /** What one operation cost, in the unit of the case. */
  readonly cost: number
  /** Where callers wait, and for how long is of interest. */
  readonly latency?: Latency
  /** What one operation cost a server of processor time, in nanoseconds: whoever calls it has a process of its own. */
  readonly cpu?: number
}

/** A contender. */
export interface Case {
  readonly name: string
  readonly unit: "ns/op" | "bytes/item"
  readonly sample: Effect.Effect<Sample>
  /** What an operation is, where it is of interest how many of them are done in a second. */
  readonly counts?: string
  /** A sample sets everything up anew and warms up by itself: the rounds before those that count leave it out. */
  readonly selfContained?: true
}

/** The ratio must be at least, or at most, so much. Neither: it is there to be looked at. */
export interface Goal {
  readonly atLeast?: number
  readonly atMost?: number
}

/** The cost of one case divided by that of another. */
export interface Ratio {
  readonly measure: string
  readonly above: string
  readonly below: string
  /** What the ratio says of the two, for people. */
  readonly reads: "times as fast" | "times its time" | "of its memory"
  /** The side that is ours, or the one that is looked at. */
  readonly subject: string
  readonly goal: Goal
}

/** What a trial has found. */
export interface Findings {
  readonly figures: ReadonlyArray<{ readonly figure: string; readonly value: number; readonly unit: string }>
  /** What should hold, and whether it did. */
  readonly checks: ReadonlyArray<{ readonly check: string; readonly met: boolean }>
}

/** Something that is done once, for as long as it is told, and is compared with nothing. */
export interface Trial {
  readonly name: string
  readonly run: (seconds: number) => Effect.Effect<Findings>
}

export interface Plan {
  readonly cases: ReadonlyArray<Case>
  readonly ratios: ReadonlyArray<Ratio>
  readonly trials?: ReadonlyArray<Trial>
}

export interface Benchmark {
  readonly name: string
  readonly title: string
  /** The npm packages that are compared: the report says which version of each it was. */
  readonly packages: ReadonlyArray<string>
  /** Sets the contenders up. What they need lives as long as the scope. */
  readonly plan: Effect.Effect<Plan, never, Scope.Scope>
}

/** A case that is timed: `run` does so many operations. */
export const timed = (name: string, operations: number, run: Effect.Effect<void>): Case => ({
  name,
  unit: "ns/op",
  sample: Effect.suspend(() => {
    const startedAt = performance.now()
    return Effect.map(run, () => ({ cost: (performance.now() - startedAt) * 1e6 / operations }))
  })
})

/** A case that is timed, and is no Effect. */
export const timedSync = (name: string, operations: number, run: () => void): Case => ({
  name,
  unit: "ns/op",
  sample: Effect.sync(() => {
    const startedAt = performance.now()
    run()
    return { cost: (performance.now() - startedAt) * 1e6 / operations }
  })
})

/** How many times as fast `subject` is as `against`. */
export const timesAsFast = (measure: string, subject: string, against: string, goal: Goal = {}): Ratio => ({
  measure,
  above: against,
  below: subject,
  reads: "times as fast",
  subject,
  goal
})

/** How many times the time of `against` `subject` takes. */
export const timesItsTime = (measure: string, subject: string, against: string, goal: Goal = {}): Ratio => ({
  measure,
  above: subject,
  below: against,
  reads: "times its time",
  subject,
  goal
})

/** How much of the memory of `against` `subject` takes. */
export const ofItsMemory = (measure: string, subject: string, against: string, goal: Goal = {}): Ratio => ({
  measure,
  above: subject,
  below: against,
  reads: "of its memory",
  subject,
  goal
})

/** Several plans as one: their cases take turns. */
export const together = (plans: ReadonlyArray<Plan>): Plan => ({
  cases: plans.flatMap(({ cases }) => cases),
  ratios: plans.flatMap(({ ratios }) => ratios),
  ...plans.some(({ trials }) => trials !== undefined) && { trials: plans.flatMap(({ trials = [] }) => trials) }
})

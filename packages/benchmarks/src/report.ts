/**
 * A report: where it was measured, and the results, as one JSON document or as a table.
 */
import { createRequire } from "node:module"
import { arch, availableParallelism, cpus, platform } from "node:os"
import type { Goal } from "./Benchmark.ts"
import type { Result, Side, TrialResult } from "./measure.ts"

export interface Report {
  readonly machine: {
    readonly cores: number
    readonly cpu: string
    readonly platform: string
    readonly node: string
  }
  readonly versions: Readonly<Record<string, string>>
  readonly results: ReadonlyArray<Result>
  /** Where a benchmark has any. */
  readonly trials?: ReadonlyArray<TrialResult>
}

const versionOf = (name: string): string =>
  (createRequire(import.meta.url)(`${name}/package.json`) as { readonly version: string }).version

export const makeReport = (
  results: ReadonlyArray<Result>,
  packages: ReadonlyArray<string>,
  trials: ReadonlyArray<TrialResult> = []
): Report => ({
  machine: {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    platform: `${platform()} ${arch()}`,
    node: process.versions.node
  },
  versions: Object.fromEntries(packages.map((name) => [name, versionOf(name)])),
  results,
  ...trials.length > 0 && { trials }
})

export const toJson = (report: Report): string => JSON.stringify(report, null, 2)

/** Three digits, which is more than the spread deserves. */
const digits = (value: number): string => {
  if (value >= 100 || value <= -100) return Math.round(value).toLocaleString("en-US")
  return value.toFixed(value >= 10 ? 1 : 2)
}

const goalText = ({ atLeast, atMost }: Goal): string => {
  if (atLeast !== undefined) return `at least ${digits(atLeast)}`
  if (atMost !== undefined) return `at most ${digits(atMost)}`
  return ""
}

const verdict = ({ goal, met }: Result): string => {
  if (goal.atLeast === undefined && goal.atMost === undefined) return ""
  return met ? "met" : "MISSED"
}

const rowOf = (result: Result): ReadonlyArray<string> => [
  result.measure,
  digits(result.ratio),
  `${digits(result.spread.low)} to ${digits(result.spread.high)}`,
  result.reads,
  goalText(result.goal),
  verdict(result),
  `${digits(result.subject.cost.median)} / ${digits(result.against.cost.median)} ${result.subject.unit}`
]

const header = ["measure", "ratio", "half of the rounds", "", "goal", "", "medians: measured / against"]

/** Every side once, in the order in which they come up. */
const sidesOf = (results: ReadonlyArray<Result>): ReadonlyArray<Side> => [
  ...new Map(results.flatMap(({ against, subject }) => [subject, against]).map((side) => [side.case, side])).values()
]

const micros = (nanos: number) => digits(nanos / 1_000)

/** A line for each case that has latencies. */
const latencyRows = (results: ReadonlyArray<Result>): ReadonlyArray<ReadonlyArray<string>> =>
  sidesOf(results).flatMap(({ case: name, latency }) =>
    latency === undefined ? [] : [[
      name,
      micros(latency.p50.median),
      micros(latency.p99.median),
      `${micros(latency.p99.low)} to ${micros(latency.p99.high)}`
    ]]
  )

const latencyHeader = ["from call to answer, µs", "p50", "p99", "p99, half of the rounds"]

/** A line for each case that says how many are done in a second. */
const rateRows = (results: ReadonlyArray<Result>): ReadonlyArray<ReadonlyArray<string>> =>
  sidesOf(results).flatMap(({ case: name, cpu, perSecond }) =>
    perSecond === undefined ? [] : [[
      name,
      digits(perSecond.median),
      perSecond.counts,
      `${digits(perSecond.low)} to ${digits(perSecond.high)}`,
      cpu === undefined ? "" : micros(cpu.median)
    ]]
  )

const rateHeader = ["in a second", "median", "", "half of the rounds", "server's processor, µs each"]

const trialLines = ({ checks, figures, seconds, trial }: TrialResult): ReadonlyArray<string> => [
  "",
  ...layOut(
    [`${trial}, for ${seconds} s`, "", ""],
    [
      ...figures.map(({ figure, unit, value }) => [figure, digits(value), unit]),
      ...checks.map(({ check, met }) => [check, met ? "met" : "MISSED", ""])
    ],
    [1]
  )
]

/** Numbers are easier to compare when they end in the same column: those columns are aligned to the right. */
const layOut = (header: ReadonlyArray<string>, body: ReadonlyArray<ReadonlyArray<string>>, right: Array<number>) => {
  const rows = [header, ...body]
  const widths = header.map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const line = (row: ReadonlyArray<string>) =>
    row.map((cell, column) => right.includes(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))
      .join("  ").trimEnd()
  return [line(header), widths.map((width) => "-".repeat(width)).join("  "), ...body.map(line)]
}

export const toTable = ({ machine, results, trials = [], versions }: Report): string => {
  const latencies = latencyRows(results)
  const rates = rateRows(results)
  const versionList = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
  return [
    `${machine.cores} cores of ${machine.cpu}, ${machine.platform}, Node ${machine.node}; ${versionList}`,
    ...results.length === 0 ? [] : [
      `medians of ${results[0].rounds} rounds in which all cases took turns; lower is better for ns and bytes`,
      "",
      ...layOut(header, results.map(rowOf), [1, 2])
    ],
    ...latencies.length === 0 ? [] : ["", ...layOut(latencyHeader, latencies, [1, 2, 3])],
    ...rates.length === 0 ? [] : ["", ...layOut(rateHeader, rates, [1, 3, 4])],
    ...trials.flatMap(trialLines)
  ].join("\n")
}

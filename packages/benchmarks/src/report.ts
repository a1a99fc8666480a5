/**
 * A report: where it was measured, and the results, as one JSON document or as a table.
 */
import { createRequire } from "node:module"
import { arch, availableParallelism, cpus, platform } from "node:os"
import type { Goal } from "./Benchmark.ts"
import type { Result } from "./measure.ts"

export interface Report {
  readonly machine: {
    readonly cores: number
    readonly cpu: string
    readonly platform: string
    readonly node: string
  }
  readonly versions: Readonly<Record<string, string>>
  readonly results: ReadonlyArray<Result>
}

const versionOf = (name: string): string =>
  (createRequire(import.meta.url)(`${name}/package.json`) as { readonly version: string }).version

export const makeReport = (results: ReadonlyArray<Result>): Report => ({
  machine: {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    platform: `${platform()} ${arch()}`,
    node: process.versions.node
  },
  versions: Object.fromEntries(["@sluice/core", "effect", "fastq"].map((name) => [name, versionOf(name)])),
  results
})

export const toJson = (report: Report): string => JSON.stringify(report, null, 2)

/** Three digits, which is more than the spread deserves. */
const digits = (value: number): string => {
  if (value >= 100) return Math.round(value).toLocaleString("en-US")
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
/** Numbers are easier to compare when they end in the same column. */
const toTheRight = [1, 2]

export const toTable = ({ machine, results, versions }: Report): string => {
  const rows = [header, ...results.map(rowOf)]
  const widths = header.map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  const line = (row: ReadonlyArray<string>) =>
    row.map((cell, column) => toTheRight.includes(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))
      .join("  ").trimEnd()
  const versionList = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
  return [
    `${machine.cores} cores of ${machine.cpu}, ${machine.platform}, Node ${machine.node}; ${versionList}`,
    `medians of ${results[0]?.rounds ?? 0} rounds in which all cases took turns; lower is better for ns and bytes`,
    "",
    line(rows[0]),
    widths.map((width) => "-".repeat(width)).join("  "),
    ...rows.slice(1).map(line)
  ].join("\n")
}

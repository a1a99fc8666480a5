/**
 * Tells the outcome: a table for people, or one JSON document for programs.
 */
import * as Option from "effect/Option"
import Table from "cli-table3"
import { Batch } from "@sluice/core"
import type { WriteCoordinator } from "@sluice/sql"
import { readFileSync } from "node:fs"
import * as Airports from "./airports/report.ts"
import type { ReplayOptions } from "./options.ts"
import { settings } from "./queues.ts"
import type { Outcome, QueueOutcome } from "./replay.ts"
import * as Routes from "./routes/report.ts"
import type { Source } from "./source.ts"

const count = (number: number): string => number.toLocaleString("en-US")

const perSecond = (items: number, durationMillis: number): number =>
  durationMillis === 0 ? 0 : Math.round(items * 1000 / durationMillis)

const list = (counts: Readonly<Record<string, number>>): string => {
  const some = Object.entries(counts).filter(([, number]) => number > 0)
  return some.length === 0 ? "-" : some.map(([name, number]) => `${name} ${count(number)}`).join("\n")
}

const rowsOf = ({ durationMillis, queues }: Outcome): ReadonlyArray<readonly [string, string, string]> => {
  const row = (name: string, cell: (queue: QueueOutcome) => string) =>
    [name, cell(queues.flights), cell(queues.board)] as const
  return [
    row("offered", ({ metrics }) => count(metrics.offered)),
    row("settled", ({ metrics }) => count(metrics.settled)),
    row("coalesced", ({ metrics }) => count(metrics.coalesced)),
    row("dropped", ({ metrics }) => list(metrics.droppedByReason)),
    row("refused", ({ metrics }) => count(metrics.refused)),
    row("held", ({ metrics }) => count(metrics.held)),
    row("batches", ({ metrics }) => list(metrics.batchesByTrigger)),
    row("retries", ({ metrics }) => count(metrics.retries)),
    row("settled a second", ({ metrics }) => count(perSecond(metrics.settled, durationMillis))),
    row("offer to settled, p50", ({ p50Millis }) => `${count(p50Millis)} ms`),
    row("offer to settled, p99", ({ p99Millis }) => `${count(p99Millis)} ms`)
  ]
}

/** How many writes shared a transaction, on average. */
const writesPerGroup = ({ batches, settled }: WriteCoordinator.Metrics): number =>
  batches === 0 ? 0 : Math.round(100 * settled / batches) / 100

const coordinatorTable = (metrics: WriteCoordinator.Metrics): string => {
  const cells: ReadonlyArray<readonly [string, string]> = [
    ["offered", count(metrics.offered)],
    ["succeeded", count(metrics.succeeded)],
    ["failed", count(metrics.failed)],
    ["cancelled", count(metrics.cancelled)],
    ["waiting", `${count(metrics.depth + metrics.waiting)} of ${count(metrics.capacity)}`],
    ["in flight", count(metrics.inFlight)],
    ["groups", count(metrics.batches)],
    ["writes a group", writesPerGroup(metrics).toFixed(2)]
  ]
  const table = new Table({
    head: cells.map(([name]) => name),
    colAligns: cells.map(() => "right"),
    style: { head: [], border: [] }
  })
  table.push(cells.map(([, value]) => value))
  return table.toString()
}

const expectation = (holds: boolean, isSame: boolean, expected: number): string => {
  if (!holds) return `, expected ${count(expected)}`
  return isSame ? "" : ` of at most ${count(expected)}`
}

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

export const text = (outcome: Outcome, source: Source, options: ReplayOptions): string => {
  // Without colours: the table may go to a file.
  const table = new Table({
    head: ["", `flights (${options.policy})`, "board (coalesceByKey)"],
    colAligns: ["left", "right", "right"],
    style: { head: [], border: [], compact: true }
  })
  table.push(...rowsOf(outcome).map((row) => [...row]))
  const { claims, examples, holds } = outcome.verdict
  return [
    `${count(outcome.offered)} flights of ${source.name} in ${seconds(outcome.durationMillis)}`
    + (outcome.interrupted ? "; interrupted, and what had been offered was drained" : ""),
    `The producer waited ${seconds(outcome.waitedMillis)} of it for room. Each batch, load and save waits`
    + ` ${options.sinkDelay} ms before it begins, as if the database were far away.`,
    table.toString(),
    ...Airports.text(outcome.airports),
    "All of these write through one coordinator. What failed or was refused there was rolled back alone:",
    coordinatorTable(outcome.coordinator),
    ...Routes.text(outcome.queues.routes),
    ...claims.map(({ actual, claim, expected, holds }) =>
      `${holds ? "ok   " : "WRONG"} ${claim}: ${count(actual)}${expectation(holds, expected === actual, expected)}`
    ),
    ...examples.map((example) => `      ${example}`),
    holds ? "It adds up." : "It does not add up."
  ].join("\n")
}

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(new URL(import.meta.resolve(`${name}/package.json`)), "utf8")).version

const queueDocument = ({ metrics, p50Millis, p99Millis }: QueueOutcome, durationMillis: number) => ({
  ...metrics,
  batchesByTrigger: Object.fromEntries(Batch.triggers.map((trigger) => [trigger, metrics.batchesByTrigger[trigger]])),
  settledPerSecond: perSecond(metrics.settled, durationMillis),
  latencyMillis: { p50: p50Millis, p99: p99Millis }
})

const paceDocument = ({ pace }: ReplayOptions) => ({
  rate: pace._tag === "Rate" ? pace.perSecond : null,
  speed: pace._tag === "Speed" ? pace.factor : null
})

export const json = (outcome: Outcome, source: Source, options: ReplayOptions): string => {
  const { coordinator, durationMillis, interrupted, offered, queues, sqliteVersion, verdict, waitedMillis } = outcome
  const document = {
    source: source.name,
    flights: offered,
    interrupted,
    durationMillis,
    waitedMillis,
    seed: options.seed,
    options: {
      policy: options.policy,
      ...paceDocument(options),
      sinkDelayMillis: options.sinkDelay,
      file: Option.getOrNull(options.file),
      db: Option.getOrNull(options.db)
    },
    versions: {
      sluice: versionOf("@sluice/core"),
      effect: versionOf("effect"),
      node: process.versions.node,
      sqlite: sqliteVersion
    },
    queues: {
      flights: { policy: options.policy, ...settings.flights, ...queueDocument(queues.flights, durationMillis) },
      board: { policy: "coalesceByKey", ...settings.board, ...queueDocument(queues.board, durationMillis) },
      routes: Routes.document(queues.routes)
    },
    airports: Airports.document(outcome.airports),
    coordinator: { ...coordinator, writesPerGroup: writesPerGroup(coordinator) },
    check: verdict
  }
  return JSON.stringify(document, undefined, 2)
}

/**
 * Tells what became of the routes: in words, and for programs.
 */
import type { BatchQueue, BatchStore } from "@sluice/core"
import { Batch } from "@sluice/core"
import type { Findings } from "./check.ts"
import { settings } from "./RoutesQueue.ts"
import type { Kill } from "./secondProcess.ts"

export interface Outcome {
  readonly metrics: BatchQueue.Metrics
  readonly stats: BatchStore.Stats
  /** How many processes have counted, one after the other. */
  readonly processes: number
  /** Undefined where there was none: the run was over before the middle. */
  readonly kill: Kill | undefined
  readonly findings: Findings
}

const count = (number: number): string => number.toLocaleString("en-US")

const killText = ({ findings: { twice }, kill }: Outcome): ReadonlyArray<string> =>
  kill === undefined
    ? ["It was not killed: the run was over before the middle."]
    : [
      `It was killed in the middle. Batches in flight then: ${
        count(kill.inFlight.length)
      }, counted and not yet settled.`,
      `Another process got them when their leases ran out. Counted twice: batches ${count(twice.batches)}, increments`
      + ` ${count(twice.increments)}.`,
      "That is at least once. `processTransactional` will make it exact later."
    ]

export const text = (outcome: Outcome): ReadonlyArray<string> => {
  const { findings: { batches, deliveries }, metrics: { coalesced, offered } } = outcome
  return [
    `Routes: ${count(offered)} increments, ${count(coalesced)} of them merged into others, were stored in`
    + ` ${count(batches)} batches. ${settings.workers} workers in a second process counted them, in`
    + ` ${count(deliveries)} deliveries.`,
    ...killText(outcome)
  ]
}

export const document = ({ findings, kill, metrics, processes, stats }: Outcome) => ({
  policy: "suspend",
  ...settings,
  // Those of the process that offers. What is handled is counted where it is handled, and one of these was killed.
  offered: metrics.offered,
  refused: metrics.refused,
  coalesced: metrics.coalesced,
  duplicates: metrics.duplicates,
  dropped: metrics.dropped,
  droppedByReason: metrics.droppedByReason,
  stored: metrics.stored,
  storedByTrigger: Object.fromEntries(Batch.triggers.map((trigger) => [trigger, metrics.storedByTrigger[trigger]])),
  storedBatches: findings.batches,
  deliveries: findings.deliveries,
  pending: stats.pending,
  dead: stats.dead,
  restarts: processes - 1,
  kill: kill === undefined ? null : {
    batchesInFlight: kill.inFlight.length,
    batchesCountedTwice: findings.twice.batches,
    incrementsCountedTwice: findings.twice.increments
  }
})

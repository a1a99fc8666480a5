/**
 * Tells what became of the airports: in words, and for programs.
 */
import type { KeyedBatch, ShardPool } from "@sluice/core"
import type { Findings } from "./check.ts"
import { type BookCounts, settings as slotSettings } from "./SlotBook.ts"
import { settings as statisticsSettings } from "./StatisticsBatch.ts"
import type { Asked } from "./StatisticsTable.ts"
import type { Told } from "./Told.ts"

export interface Outcome {
  readonly told: Told
  readonly statistics: { readonly loads: Asked; readonly saves: Asked; readonly metrics: KeyedBatch.Metrics }
  readonly slots: { readonly counts: BookCounts; readonly metrics: ShardPool.Metrics }
  readonly findings: Findings
}

const count = (number: number): string => number.toLocaleString("en-US")

const perLoad = ({ findings: { flights }, statistics: { loads } }: Outcome): number =>
  loads.times === 0 ? 0 : Math.round(10 * flights / loads.times) / 10

export const text = (outcome: Outcome): ReadonlyArray<string> => {
  const { findings: { airports, flights }, slots: { counts }, statistics: { loads, saves }, told } = outcome
  return [
    `Airports: ${count(airports)}, whose statistics counted ${count(flights)} flights. They shared`
    + ` ${count(loads.times)} loads (${count(loads.failed)} failed) and ${count(saves.times)} saves`
    + ` (${count(saves.failed)} failed): ${perLoad(outcome)} flights a load.`,
    `Slots: ${count(told.given.size)} given, ${count(told.refused.size)} refused, for an airport has`
    + ` ${slotSettings.slotsADay} a day for late departures. ${
      count(counts.rolledBack)
    } were rolled back and tried again;`
    + ` ${count(told.answersLost)} were given and the answer lost: the pool looked the version up.`
  ]
}

export const document = (outcome: Outcome) => {
  const { findings, slots, statistics, told } = outcome
  return {
    airports: findings.airports,
    statistics: {
      ...statisticsSettings,
      ...statistics.metrics,
      loadsFailed: statistics.loads.failed,
      savesFailed: statistics.saves.failed,
      flightsPerLoad: perLoad(outcome)
    },
    slots: {
      ...slotSettings,
      ...slots.metrics,
      given: told.given.size,
      refusedByRule: told.refused.size,
      answersLost: told.answersLost,
      rolledBack: slots.counts.rolledBack,
      versionsLookedUp: slots.counts.lookups
    }
  }
}

/**
 * The statistics of all airports, as resources: many flights share a load and a save of the row of their airport.
 */
import { KeyedBatch } from "@sluice/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Statistics } from "./Statistics.ts"
import { type SaveFailure, StatisticsTable } from "./StatisticsTable.ts"

export class StatisticsBatch extends Context.Tag("flights/StatisticsBatch")<
  StatisticsBatch,
  KeyedBatch.KeyedBatch<string, Statistics, SaveFailure>
>() {}

/** Numbers that are shown to the user as well. */
export const settings = { minDurationMillis: 1000 }

export const layer = KeyedBatch.layer(StatisticsBatch, {
  name: "statistics",
  load: (airport) => Effect.flatMap(StatisticsTable, (table) => table.load(airport)),
  save: (_, statistics) => Effect.flatMap(StatisticsTable, (table) => table.save(statistics)),
  minDuration: settings.minDurationMillis,
  // The default is two seconds, and --sink-delay may ask for more than that.
  maxDuration: "1 minute"
})

/**
 * The metrics of a durable queue: what this process counts, and what is in the store.
 */
import * as Duration from "effect/Duration"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import type { BatchQueueOptions } from "../../QueueMetrics.ts"
import { labelsOf } from "../metrics/labelled.ts"
import { batchDuration, type Counts, publisher } from "../metrics/scheme.ts"

const counted = [
  "offered",
  "refused",
  "coalesced",
  "duplicates",
  "droppedByReason",
  "storedByTrigger",
  "succeeded",
  "batchesFailed",
  "retries",
  "held",
  "depth",
  "inFlight"
] as const

const read = [
  "pendingBatches",
  "pendingItems",
  "deadBatches",
  "deadItems",
  "newerBatches",
  "oldestAgeMillis",
  "holdMillis"
] as const

export interface BatchQueueMetrics {
  readonly publishCounts: (counts: Counts<typeof counted[number]>) => void
  readonly publishReadings: (readings: Counts<typeof read[number]>) => void
  readonly batchDuration: (millis: number) => void
}

export const makeMetrics = (
  queue: string,
  { boundaries, tags = {} }: BatchQueueOptions,
  replica: number
): BatchQueueMetrics => {
  const labels = [
    ...labelsOf("batch_queue", queue, replica),
    ...Object.entries(tags).map(([name, value]) => MetricLabel.make(name, value))
  ]
  return {
    publishCounts: publisher(labels, counted),
    publishReadings: publisher(labels, read),
    batchDuration: batchDuration(
      labels,
      boundaries && MetricBoundaries.fromIterable(boundaries.map((boundary) => Duration.toSeconds(boundary)))
    )
  }
}

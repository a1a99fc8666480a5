/**
 * Every metric of a queue, with the unit in its name, through Effect's `Metric`.
 *
 * | metric | kind | tags |
 * | --- | --- | --- |
 * | `sluice_items_offered_total` | counter | |
 * | `sluice_items_refused_total` | counter | |
 * | `sluice_items_coalesced_total` | counter | |
 * | `sluice_items_dropped_total` | counter | `reason` |
 * | `sluice_items_settled_total` | counter | |
 * | `sluice_flushes_total` | counter | `trigger` |
 * | `sluice_flush_retries_total` | counter | |
 * | `sluice_flush_duration_ms` | histogram | |
 * | `sluice_depth_items` | gauge | |
 * | `sluice_in_flight_items` | gauge | |
 * | `sluice_oldest_age_ms` | gauge | |
 *
 * A `BatchQueue` has metrics of its own, under a prefix (default: `sluice_batch_queue`) and with tags of your choice:
 *
 * | metric | kind | tags |
 * | --- | --- | --- |
 * | `<prefix>_stored_batches` | gauge | |
 * | `<prefix>_stored_items` | gauge | |
 * | `<prefix>_dead_batches` | gauge | |
 * | `<prefix>_newer_batches` | gauge | |
 * | `<prefix>_oldest_age_ms` | gauge | |
 * | `<prefix>_held_for_ms` | gauge | |
 * | `<prefix>_items_offered_total` | counter | |
 * | `<prefix>_items_dropped_total` | counter | |
 * | `<prefix>_items_flushed_total` | counter | `trigger` |
 * | `<prefix>_items_processed_total` | counter | |
 * | `<prefix>_process_errors_total` | counter | |
 * | `<prefix>_process_duration_ms` | histogram | |
 *
 * A `ShardPool` counts its commands, and a `KeyedBatch` its operations and batches:
 *
 * | metric | kind | tags |
 * | --- | --- | --- |
 * | `sluice_commands_offered_total` | counter | |
 * | `sluice_commands_refused_total` | counter | |
 * | `sluice_commands_cancelled_total` | counter | |
 * | `sluice_commands_dropped_total` | counter | |
 * | `sluice_commands_completed_total` | counter | |
 * | `sluice_commands_rejected_total` | counter | |
 * | `sluice_commands_failed_total` | counter | |
 * | `sluice_commands_conflicts_total` | counter | |
 * | `sluice_depth_commands` | gauge | |
 * | `sluice_in_flight_commands` | gauge | |
 * | `sluice_operations_offered_total` | counter | |
 * | `sluice_operations_refused_total` | counter | |
 * | `sluice_operations_cancelled_total` | counter | |
 * | `sluice_operations_succeeded_total` | counter | |
 * | `sluice_operations_failed_total` | counter | |
 * | `sluice_held_operations` | gauge | |
 * | `sluice_keyed_batches_total` | counter | |
 * | `sluice_keyed_batches_failed_total` | counter | |
 * | `sluice_keyed_loads_total` | counter | |
 * | `sluice_keyed_saves_total` | counter | |
 *
 * The metrics of a `WriteCoordinator` are listed in `@sluice/sql`.
 *
 * Each metric has the tags `system` (such as `write_behind`) and `queue` (the name). If several queues of one name are
 * open in a process at the same time, the first has only these tags, and each other one also has the tag `replica`:
 * `2`, `3`, ..., the lowest free number. So no two queues write the same gauge. Several `BatchQueue`s with the same
 * name and store are one queue, and share their metrics; with different stores they are separate queues.
 *
 * The counts are plain fields. A `WriteBehind` publishes them when it rests (every 10 ms under load, every second while
 * its sink hangs); the other systems publish within a second of a change. The labels are part of the metric's key,
 * because updating a tagged metric costs a thousand times as much.
 *
 * @since 0.1.0
 */
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import { type Trigger, triggers } from "./Batch.ts"
import { durationBoundaries, labelled, labelsOf } from "./internal/metrics/labelled.ts"

/**
 * The counts of a queue at one moment: offered = refused + coalesced + dropped + settled + held.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  readonly offered: number
  readonly refused: number
  readonly coalesced: number
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
  readonly settled: number
  /** Waiting to get in, waiting in the queue, or in flight. */
  readonly held: number
  readonly depth: number
  readonly inFlight: number
  /** First attempts. */
  readonly batches: number
  readonly batchesByTrigger: Readonly<Record<Trigger, number>>
  /** Attempts after the first. */
  readonly retries: number
}

/**
 * The totals to publish as counters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Totals {
  readonly offered: number
  readonly refused: number
  readonly coalesced: number
  readonly settled: number
  readonly retries: number
  readonly droppedByReason: Readonly<Record<string, number>>
  readonly batchesByTrigger: Readonly<Record<Trigger, number>>
}

/**
 * The readings to publish as gauges.
 *
 * @since 0.1.0
 * @category models
 */
export interface Readings {
  readonly depth: number
  readonly inFlight: number
  readonly oldestAgeMillis: number
}

/**
 * The metrics of one queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueMetrics {
  /** Publishes the changes since the last call. */
  readonly publish: (totals: Totals, readings: Readings) => void
  /** Records how long one flush took. */
  readonly flushDuration: (millis: number) => void
}

/**
 * Makes the metrics of one queue. Counters of the same system, name and replica (default: 1) add up.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (system: string, queue: string, replica = 1): QueueMetrics => {
  const { counter, gauge, histogram } = labelled(labelsOf(system, queue, replica))
  const offered = counter("sluice_items_offered_total", "Items offered")
  const refused = counter("sluice_items_refused_total", "Items refused")
  const coalesced = counter("sluice_items_coalesced_total", "Items that replaced or were merged into a waiting one")
  const settled = counter("sluice_items_settled_total", "Items handled")
  const retries = counter("sluice_flush_retries_total", "Flushes that failed and were tried again")
  const flushes = triggers.map((trigger) =>
    [trigger, counter("sluice_flushes_total", "Batches flushed", MetricLabel.make("trigger", trigger))] as const
  )
  const droppedFor = (reason: string) =>
    counter("sluice_items_dropped_total", "Items dropped", MetricLabel.make("reason", reason))
  const dropped = new Map<string, (total: number) => void>()
  const depth = gauge("sluice_depth_items", "Items waiting")
  const inFlight = gauge("sluice_in_flight_items", "Items being handled")
  const oldestAge = gauge("sluice_oldest_age_ms", "Age of the oldest item held")
  const flushDuration = histogram("sluice_flush_duration_ms", durationBoundaries, "Duration of a flush")
  return {
    publish: (totals, readings) => {
      offered(totals.offered)
      refused(totals.refused)
      coalesced(totals.coalesced)
      settled(totals.settled)
      retries(totals.retries)
      for (const [trigger, publish] of flushes) publish(totals.batchesByTrigger[trigger])
      for (const reason in totals.droppedByReason) {
        let publish = dropped.get(reason)
        if (publish === undefined) dropped.set(reason, publish = droppedFor(reason))
        publish(totals.droppedByReason[reason])
      }
      depth(readings.depth)
      inFlight(readings.inFlight)
      oldestAge(readings.oldestAgeMillis)
    },
    flushDuration
  }
}

/**
 * The names and tags of the metrics of a `BatchQueue`, and the boundaries of its histogram.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchQueueOptions {
  /** What their names begin with. Default: `sluice_batch_queue`. */
  readonly prefix?: string | undefined
  /** Tags of your own. Never a key or an id: each value makes a metric of its own. Default: none. */
  readonly tags?: Readonly<Record<string, string>> | undefined
  /** The boundaries of the histogram of durations, in milliseconds, rising. Default: 0.1 ms, doubling, to a minute. */
  readonly boundaries?: ReadonlyArray<number> | undefined
}

/**
 * The totals of a `BatchQueue` that are published as counters.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchQueueTotals {
  readonly offered: number
  readonly dropped: number
  readonly settled: number
  readonly batchesFailed: number
  readonly storedByTrigger: Readonly<Record<Trigger, number>>
}

/**
 * The readings of a `BatchQueue` that are published as gauges.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchQueueReadings {
  readonly storedBatches: number
  readonly storedItems: number
  readonly deadBatches: number
  /** Those of the stored batches that only a newer version of Sluice can read. */
  readonly newerBatches: number
  readonly oldestAgeMillis: number
  /** For how much longer the queue is held; 0 if it is not held. */
  readonly heldForMillis: number
}

/**
 * The metrics of one `BatchQueue`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchQueueMetrics {
  readonly publishTotals: (totals: BatchQueueTotals) => void
  readonly publishReadings: (readings: BatchQueueReadings) => void
  readonly processDuration: (millis: number) => void
}

/**
 * Makes the metrics of one `BatchQueue`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeBatchQueue = (
  queue: string,
  options: BatchQueueOptions = {},
  replica = 1
): BatchQueueMetrics => {
  const { boundaries, prefix = "sluice_batch_queue", tags = {} } = options
  const { counter, gauge, histogram } = labelled([
    ...labelsOf("batch_queue", queue, replica),
    ...Object.entries(tags).map(([name, value]) => MetricLabel.make(name, value))
  ])
  const offered = counter(`${prefix}_items_offered_total`, "Items offered")
  const dropped = counter(`${prefix}_items_dropped_total`, "Items dropped")
  const settled = counter(`${prefix}_items_processed_total`, "Items handled")
  const errors = counter(`${prefix}_process_errors_total`, "Attempts that failed")
  const flushed = triggers.map((trigger) =>
    [
      trigger,
      counter(`${prefix}_items_flushed_total`, "Items stored", MetricLabel.make("trigger", trigger))
    ] as const
  )
  const storedBatches = gauge(`${prefix}_stored_batches`, "Batches stored and not done")
  const storedItems = gauge(`${prefix}_stored_items`, "Items stored and not done")
  const deadBatches = gauge(`${prefix}_dead_batches`, "Dead letters")
  const newerBatches = gauge(`${prefix}_newer_batches`, "Batches stored that only a newer version can read")
  const oldestAge = gauge(`${prefix}_oldest_age_ms`, "Age of the oldest item that can be claimed")
  const heldFor = gauge(`${prefix}_held_for_ms`, "How long the queue is held yet")
  const duration = histogram(
    `${prefix}_process_duration_ms`,
    boundaries === undefined ? durationBoundaries : MetricBoundaries.fromIterable(boundaries),
    "Duration of an attempt"
  )
  return {
    publishTotals: (totals) => {
      offered(totals.offered)
      dropped(totals.dropped)
      settled(totals.settled)
      errors(totals.batchesFailed)
      for (const [trigger, publish] of flushed) publish(totals.storedByTrigger[trigger])
    },
    publishReadings: (readings) => {
      storedBatches(readings.storedBatches)
      storedItems(readings.storedItems)
      deadBatches(readings.deadBatches)
      newerBatches(readings.newerBatches)
      oldestAge(readings.oldestAgeMillis)
      heldFor(readings.heldForMillis)
    },
    processDuration: duration
  }
}

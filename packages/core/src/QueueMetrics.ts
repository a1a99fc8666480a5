/**
 * Every metric of every system, through Effect's `Metric`: `sluice_<what>_<unit>`, with the tags `system` and `queue`.
 *
 * The same idea has the same metric in all systems. Everything that you put into a system is an item here: an item of a
 * `WriteBehind` or a `BatchQueue`, a command of a `ShardPool`, an operation of a `KeyedBatch`, a write of a
 * `WriteCoordinator`. Items that are handled together are a batch: a flush, an attempt of `process`, a group of writes.
 * So one panel shows all systems (`sum by (system, queue) (rate(sluice_items_offered_total[1m]))`), and one rule alerts
 * for all of them. The tag names the system, not the metric's name: otherwise each question would need a panel for each
 * system. Units are the base units of Prometheus (seconds, never milliseconds) and end the name; a counter ends in
 * `_total`.
 *
 * | metric | kind | tags | of |
 * | --- | --- | --- | --- |
 * | `sluice_items_offered_total` | counter | | all |
 * | `sluice_items_refused_total` | counter | | all |
 * | `sluice_items_coalesced_total` | counter | | `WriteBehind`, `BatchQueue` |
 * | `sluice_items_duplicates_total` | counter | | `BatchQueue` |
 * | `sluice_items_cancelled_total` | counter | | `ShardPool`, `KeyedBatch`, `WriteCoordinator` |
 * | `sluice_items_dropped_total` | counter | `reason` | `WriteBehind`, `BatchQueue`, `ShardPool` |
 * | `sluice_items_stored_total` | counter | `trigger` | `BatchQueue` |
 * | `sluice_items_settled_total` | counter | `outcome` | all |
 * | `sluice_batches_total` | counter | `trigger` | `WriteBehind` (its tag), `KeyedBatch`, `WriteCoordinator` |
 * | `sluice_batches_failed_total` | counter | | `BatchQueue`, `KeyedBatch` |
 * | `sluice_batch_retries_total` | counter | | `WriteBehind`, `BatchQueue` |
 * | `sluice_batch_duration_seconds` | histogram | | `WriteBehind`, `BatchQueue`, `WriteCoordinator` |
 * | `sluice_version_conflicts_total` | counter | | `ShardPool` |
 * | `sluice_loads_total` | counter | | `KeyedBatch` |
 * | `sluice_saves_total` | counter | | `KeyedBatch` |
 * | `sluice_held_items` | gauge | | all |
 * | `sluice_depth_items` | gauge | | all |
 * | `sluice_in_flight_items` | gauge | | all |
 * | `sluice_oldest_age_seconds` | gauge | | `WriteBehind`, `BatchQueue` (of what can be claimed) |
 * | `sluice_pending_batches` | gauge | | `BatchQueue`: in the store, of all processes |
 * | `sluice_pending_items` | gauge | | the same |
 * | `sluice_dead_batches` | gauge | | the same |
 * | `sluice_dead_items` | gauge | | the same |
 * | `sluice_newer_batches` | gauge | | the same |
 * | `sluice_hold_seconds` | gauge | | the same |
 *
 * `outcome` is `succeeded`, `rejected` (`ShardPool`) or `failed` (`ShardPool`, `KeyedBatch`, `WriteCoordinator`). Items
 * that a `WriteBehind` or a `BatchQueue` has settled have succeeded: the others are dropped or dead. The values are
 * those of the snapshots in `metrics` and `stats`, under the same words. `held - depth - in_flight` is what waits for
 * room, except in a `BatchQueue`, where items in flight are stored and no longer held.
 *
 * If several queues of one name are open in a process at the same time, the first has only these tags, and each other
 * one also has the tag `replica`: `2`, `3`, ..., the lowest free number. So no two queues write the same gauge. Several
 * `BatchQueue`s with the same name and store are one queue, and share their metrics; with different stores they are
 * separate queues.
 *
 * The counts are plain fields. A `WriteBehind` publishes them when it rests (every 10 ms under load, every second while
 * its sink hangs, and within a second of a change while its items wait); the other systems publish within a second of a
 * change. The labels are part of the metric's key, because updating a tagged metric costs a thousand times as much.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { Trigger } from "./Batch.ts"

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
 * The tags of a `BatchQueue`'s metrics, and the boundaries of its histogram.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchQueueOptions {
  /**
   * Tags of your own, with other names than the tags above. Never use a key or an id: each value creates another metric.
   * Default: none.
   */
  readonly tags?: Readonly<Record<string, string>> | undefined
  /** The boundaries of the histogram of durations, rising. Default: 0.1 ms, doubling, to a minute and more. */
  readonly boundaries?: ReadonlyArray<Duration.DurationInput> | undefined
}

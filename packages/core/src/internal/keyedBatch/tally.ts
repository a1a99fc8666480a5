/**
 * Counts what happens to the operations and batches of a `KeyedBatch`, and reports it as events and metrics.
 */
import type * as Cause from "effect/Cause"
import type { Stamp } from "../../QueueEvent.ts"
import type { EventHub, Unstamped } from "../../unstable/EventHub.ts"
import { makeCounts } from "../../unstable/NamedMetrics.ts"
import type { KeyedObserver, Told } from "./shard.ts"

export class KeyedTally<in out Record extends Stamp> implements KeyedObserver {
  private readonly counts = {
    offered: 0,
    refused: 0,
    cancelled: 0,
    succeeded: 0,
    failed: 0,
    held: 0,
    inFlight: 0,
    batches: 0,
    batchesFailed: 0,
    loads: 0,
    saves: 0
  }
  private readonly hub: EventHub<Record>
  private readonly recordOf: (told: Told) => Unstamped<Record>
  private readonly published: (counts: ReturnType<KeyedTally<Record>["snapshot"]>) => void
  private readonly onChange: () => void
  private hasChanged = false

  constructor(options: {
    readonly name: string
    readonly replica: number
    readonly hub: EventHub<Record>
    readonly recordOf: (told: Told) => Unstamped<Record>
    /** Something has changed since the metrics were published. */
    readonly onChange: () => void
  }) {
    this.hub = options.hub
    this.recordOf = options.recordOf
    this.onChange = options.onChange
    this.published = makeCounts("keyed_batch", options.name, options.replica, [
      "offered",
      "refused",
      "cancelled",
      "succeeded",
      "failed",
      "batches",
      "batchesFailed",
      "loads",
      "saves",
      "held",
      "depth",
      "inFlight"
    ])
  }

  get isHeard(): boolean {
    return this.hub.active
  }

  private changed(): void {
    if (this.hasChanged) return
    this.hasChanged = true
    this.onChange()
  }

  entered(): void {
    this.counts.offered += 1
    this.counts.held += 1
    this.changed()
  }

  refused(): void {
    this.counts.offered += 1
    this.counts.refused += 1
    this.changed()
  }

  cancelled(): void {
    this.counts.cancelled += 1
    this.counts.held -= 1
    this.changed()
  }

  /** An operation has come to its batch: it runs, and its end will be told. */
  taken(): void {
    this.counts.inFlight += 1
    this.changed()
  }

  ended(isSuccess: boolean): void {
    if (isSuccess) this.counts.succeeded += 1
    else this.counts.failed += 1
    this.counts.held -= 1
    this.counts.inFlight -= 1
    this.changed()
  }

  loaded(): void {
    this.counts.loads += 1
    this.changed()
  }

  saved(): void {
    this.counts.saves += 1
    this.changed()
  }

  batchEnded(cause: Cause.Cause<unknown> | undefined): void {
    this.counts.batches += 1
    if (cause !== undefined) this.counts.batchesFailed += 1
    this.changed()
  }

  tell(told: Told): void {
    this.hub.emit(this.recordOf(told))
  }

  /** How many operations have not ended. */
  get held(): number {
    return this.counts.held
  }

  snapshot() {
    const { counts } = this
    return { ...counts, settled: counts.succeeded + counts.failed, depth: counts.held - counts.inFlight }
  }

  publish(): void {
    this.hasChanged = false
    this.published(this.snapshot())
  }
}

/**
 * Counts what happens in a `WriteBehind`, and reports it as events, as metrics and to the user's `onDrop`.
 */
import type * as Cause from "effect/Cause"
import type { DropReason, QueueEvent } from "../../QueueEvent.ts"
import type { Snapshot } from "../../QueueMetrics.ts"
import type { Batcher, Observer } from "./batcher.ts"
import type { EventHub } from "../../unstable/EventHub.ts"
import { addUp, countsByTrigger, sum } from "../shapes/counts.ts"
import { labelsOf } from "../metrics/labelled.ts"
import { batchDuration, publisher } from "../metrics/scheme.ts"
import { Settlements } from "./settlements.ts"

/** While nothing is flushed, the metrics are published once per this many drops. */
const publishEveryDrops = 256

const publish = (name: string, replica: number) => {
  const labels = labelsOf("write_behind", name, replica)
  const counts = publisher(labels, [
    "offered",
    "refused",
    "coalesced",
    "droppedByReason",
    "succeeded",
    "batchesByTrigger",
    "retries",
    "held",
    "depth",
    "inFlight",
    "oldestAgeMillis"
  ])
  return { counts, duration: batchDuration(labels) }
}

export class Tally<in out A> {
  readonly hub: EventHub<QueueEvent<A>>
  readonly settlements = new Settlements<A>()
  private readonly published: ReturnType<typeof publish>
  private readonly onDrop: (item: A, reason: DropReason) => void
  /** Whether coalescing makes an item that was never offered. */
  private readonly isMerging: boolean
  private shards: ReadonlyArray<Batcher<A>> = []
  private settled = 0
  private retries = 0
  private drops = 0
  private readonly batchesByTrigger = countsByTrigger()
  /** Of items that had been taken from their intake; an intake counts its own. */
  private readonly droppedInFlight: Record<string, number> = Object.create(null)

  constructor(
    name: string,
    replica: number,
    hub: EventHub<QueueEvent<A>>,
    onDrop: (item: A, reason: DropReason) => void,
    isMerging: boolean
  ) {
    this.hub = hub
    this.published = publish(name, replica)
    this.onDrop = onDrop
    this.isMerging = isMerging
  }

  watch(shards: ReadonlyArray<Batcher<A>>): void {
    this.shards = shards
  }

  /** What an intake calls. */
  readonly intake = {
    onDrop: (item: A, reason: DropReason): void => this.dropped(item, reason),
    onCoalesce: (replaced: A, item: A): void => {
      if (this.settlements.areAwaited) {
        this.settlements.coalesced(replaced)
        if (this.isMerging) this.settlements.coalesced(item)
      }
      if (this.hub.active) this.hub.emit({ _tag: "Coalesced", replaced, item })
    },
    onInterrupt: (taken: number, notTaken: ReadonlyArray<A>): void => {
      if (this.hub.active) this.hub.emit({ _tag: "OfferInterrupted", taken, notTaken })
    }
  }

  private dropped(item: A, reason: DropReason, cause?: Cause.Cause<unknown>): void {
    if (this.hub.active) {
      this.hub.emit(
        cause === undefined ? { _tag: "Dropped", item, reason } : { _tag: "Dropped", item, reason, cause }
      )
    }
    if (this.settlements.areAwaited) this.settlements.dropped(item, reason)
    this.drops += 1
    if (this.drops % publishEveryDrops === 0) this.publish()
    this.onDrop(item, reason)
  }

  observer(shard: number): Observer<A> {
    const { hub } = this
    return {
      flushed: ({ attempt, items: { length: size }, trigger }) => {
        if (attempt === 1) this.batchesByTrigger[trigger] += 1
        else this.retries += 1
        if (hub.active) hub.emit({ _tag: "Flushed", shard, size, trigger, attempt })
      },
      settled: (size, { attempt, items }, durationMillis, failed) => {
        this.settled += size
        if (this.settlements.areAwaited) {
          const open = new Set(failed)
          for (const [index, item] of items.entries()) if (!open.has(index)) this.settlements.settled(item)
        }
        this.published.duration(durationMillis)
        if (hub.active) hub.emit({ _tag: "Settled", shard, size, attempt, durationMillis })
      },
      // Publishing for each batch would cost a tenth of all the time under load.
      resting: () => this.publish(),
      retried: ({ attempt, items: { length: size } }, delayMillis, cause) => {
        this.publish()
        if (hub.active) hub.emit({ _tag: "Retried", shard, size, attempt, delayMillis, cause })
      },
      countDropped: (count, reason) => {
        this.droppedInFlight[reason] = (this.droppedInFlight[reason] ?? 0) + count
      },
      dropped: (item, reason, cause) => this.dropped(item, reason, cause)
    }
  }

  snapshot(): Snapshot {
    const intakes = this.shards.map((shard) => shard.intake.unsafeCounts())
    const droppedByReason = addUp([this.droppedInFlight, ...intakes.map((counts) => counts.droppedByReason)])
    return {
      offered: sum(intakes, ({ offered }) => offered),
      refused: sum(intakes, ({ refused }) => refused),
      coalesced: sum(intakes, ({ coalesced }) => coalesced),
      dropped: sum(Object.values(droppedByReason), (count) => count),
      droppedByReason,
      settled: this.settled,
      held: sum(this.shards, (shard) => shard.held),
      depth: sum(this.shards, (shard) => shard.intake.unsafeLength()),
      inFlight: sum(this.shards, (shard) => shard.inFlight),
      batches: sum(Object.values(this.batchesByTrigger), (count) => count),
      batchesByTrigger: { ...this.batchesByTrigger },
      retries: this.retries
    }
  }

  publish(): void {
    const metrics = this.snapshot()
    this.published.counts({
      ...metrics,
      // What has failed for good is dropped.
      succeeded: metrics.settled,
      oldestAgeMillis: Math.max(...this.shards.map((shard) => shard.oldestAgeMillis))
    })
  }
}

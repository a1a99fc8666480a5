/**
 * Counts what happens in a `BatchQueue`, and reports it as events, as metrics and to the user's handlers.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Batch, Trigger } from "../../Batch.ts"
import type { EventHub } from "../../unstable/EventHub.ts"
import type { Counts } from "../../PolicyQueue.ts"
import { LeaseLost } from "../../QueueError.ts"
import type { BatchQueueEvent, DropReason, Lease } from "../../QueueEvent.ts"
import type { Amount, Stats } from "../../QueueStore.ts"
import type { Observer as AppenderObserver } from "./appender.ts"
import { addUp, countsByTrigger, sum } from "../shapes/counts.ts"
import type { BatchQueueMetrics } from "./metrics.ts"
import type { Observer as WorkersObserver } from "./pool.ts"

/** The counts of what this process has done. */
export interface Totals {
  readonly offered: number
  readonly refused: number
  readonly coalesced: number
  readonly duplicates: number
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
  readonly stored: number
  readonly storedByTrigger: Readonly<Record<Trigger, number>>
  readonly settled: number
  readonly retries: number
  readonly batchesFailed: number
  readonly leasesLost: number
  readonly deadLettered: number
  readonly redriven: number
  readonly discarded: number
}

export interface Options<in A> {
  readonly name: string
  readonly metrics: BatchQueueMetrics | undefined
  readonly onDrop: (item: A, reason: DropReason) => void
  readonly onProcessError: (cause: Cause.Cause<any>, batch: Batch<any>) => Effect.Effect<void>
  readonly onInternalError: (cause: Cause.Cause<unknown>, operation: string) => Effect.Effect<void>
  readonly clock: { readonly unsafeCurrentTimeMillis: () => number }
}

export class BatchTally<in out A> implements AppenderObserver<A>, WorkersObserver<A> {
  private readonly options: Options<A>
  private readonly hub: EventHub<BatchQueueEvent<A>>
  /** Offers that did not come through the intake: malformed, of a handler, in a transaction. */
  private readonly aside = { offered: 0, refused: 0 }
  private merged = 0
  private duplicates = 0
  /** Of items that had left the intake, which counts its own. */
  private readonly droppedLater: Record<string, number> = Object.create(null)
  private storedItems = 0
  private readonly storedByTrigger = countsByTrigger()
  private settledItems = 0
  private retries = 0
  private batchesFailed = 0
  private leasesLost = 0
  private deadItems = 0
  private redriven = 0
  private discardedDeadItems = 0

  constructor(options: Options<A>, hub: EventHub<BatchQueueEvent<A>>) {
    this.options = options
    this.hub = hub
  }

  // --- offers -------------------------------------------------------------------------------------------------------

  offeredAside(): void {
    this.aside.offered += 1
  }

  refusedAside(count = 1): void {
    this.aside.offered += count
    this.aside.refused += count
  }

  /** An offer that was counted turned out not to be in: its transaction was rolled back. */
  tookBack(): void {
    this.aside.refused += 1
  }

  interrupted(taken: number, notTaken: ReadonlyArray<A>): void {
    if (this.hub.active) this.hub.emit({ _tag: "OfferInterrupted", taken, notTaken })
  }

  coalescedInIntake(replaced: A, item: A): void {
    if (this.hub.active) this.hub.emit({ _tag: "Coalesced", replaced, item })
  }

  droppedByPolicy(item: A, reason: DropReason): void {
    if (this.hub.active) this.hub.emit({ _tag: "Dropped", item, reason })
    this.options.onDrop(item, reason)
  }

  // --- on the way in ------------------------------------------------------------------------------------------------

  stored(items: number, trigger: Trigger): void {
    this.storedItems += items
    this.storedByTrigger[trigger] += items
    if (this.hub.active) this.hub.emit({ _tag: "Stored", size: items, trigger })
  }

  coalesced(count: number): void {
    this.merged += count
  }

  duplicate(): void {
    this.duplicates += 1
  }

  dropped(item: A, reason: DropReason, cause: Cause.Cause<unknown> | undefined): void {
    this.droppedLater[reason] = (this.droppedLater[reason] ?? 0) + 1
    if (this.hub.active) {
      this.hub.emit(cause === undefined ? { _tag: "Dropped", item, reason } : { _tag: "Dropped", item, reason, cause })
    }
    this.options.onDrop(item, reason)
  }

  failed(operation: string, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => this.options.onInternalError(cause, operation))
  }

  // --- on the way out -----------------------------------------------------------------------------------------------

  claimed(shard: number, batches: ReadonlyArray<Lease & { readonly items: number }>): void {
    if (!this.hub.active) return
    this.hub.emit({ _tag: "Claimed", shard, claims: leasesOf(batches), size: sum(batches, ({ items }) => items) })
  }

  handling(shard: number, { attempt, items: { length: size }, trigger }: Batch<A>): void {
    if (this.hub.active) this.hub.emit({ _tag: "Flushed", shard, size, trigger, attempt })
  }

  handled(durationMillis: number): void {
    this.options.metrics?.batchDuration(durationMillis)
  }

  settled(shard: number, size: number, merged: number, { attempt }: Batch<A>, durationMillis: number): void {
    this.settledItems += size
    this.merged += merged
    if (size > 0 && this.hub.active) this.hub.emit({ _tag: "Settled", shard, size, attempt, durationMillis })
  }

  retried(shard: number, size: number, attempt: number, delayMillis: number, cause: Cause.Cause<unknown>): void {
    this.retries += 1
    if (this.hub.active) this.hub.emit({ _tag: "Retried", shard, size, attempt, delayMillis, cause })
  }

  released(shard: number, claims: ReadonlyArray<Lease>, delayMillis: number): void {
    if (this.hub.active) this.hub.emit({ _tag: "Released", shard, claims: leasesOf(claims), delayMillis })
  }

  deadLettered: WorkersObserver<A>["deadLettered"] = (shard, sequence, size, reason, error) => {
    this.deadItems += size
    if (this.hub.active) this.hub.emit({ _tag: "DeadLettered", shard, sequence, size, reason, error })
  }

  /** It is lost like everything that is dropped, and told like it. */
  discarded(item: A, cause: Cause.Cause<unknown>): void {
    this.dropped(item, "discarded", cause)
  }

  /** The user is told of a lost lease as of every failure that is not the handler's. */
  leaseLost(shard: number, lost: ReadonlyArray<Lease>): Effect.Effect<void> {
    const claims = leasesOf(lost)
    this.leasesLost += claims.length
    if (this.hub.active) this.hub.emit({ _tag: "LeaseWasLost", shard, claims })
    return this.failed("lease", Cause.fail(new LeaseLost({ queue: this.options.name, claims })))
  }

  processFailed(cause: Cause.Cause<unknown>, batch: Batch<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.batchesFailed += 1
      return this.options.onProcessError(cause, batch)
    })
  }

  redrove({ items }: Amount): void {
    this.redriven += items
  }

  discardedDead({ items }: Amount): void {
    this.discardedDeadItems += items
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  totals(intake: Counts): Totals {
    const droppedByReason = addUp([this.droppedLater, intake.droppedByReason])
    return {
      offered: intake.offered + this.aside.offered,
      refused: intake.refused + this.aside.refused,
      coalesced: intake.coalesced + this.merged,
      duplicates: this.duplicates,
      dropped: sum(Object.values(droppedByReason), (count) => count),
      droppedByReason,
      stored: this.storedItems,
      storedByTrigger: { ...this.storedByTrigger },
      settled: this.settledItems,
      retries: this.retries,
      batchesFailed: this.batchesFailed,
      leasesLost: this.leasesLost,
      deadLettered: this.deadItems,
      redriven: this.redriven,
      discarded: this.discardedDeadItems
    }
  }

  publish(counts: Totals & { readonly held: number; readonly depth: number; readonly inFlight: number }): void {
    // What has failed for good is a dead letter, or dropped.
    this.options.metrics?.publishCounts({ ...counts, succeeded: counts.settled })
  }

  publishStats({ dead, heldUntilMillis, newer, oldestAtMillis, pending }: Stats): void {
    const { clock, metrics } = this.options
    const now = clock.unsafeCurrentTimeMillis()
    metrics?.publishReadings({
      pendingBatches: pending.batches,
      pendingItems: pending.items,
      deadBatches: dead.batches,
      deadItems: dead.items,
      newerBatches: newer.batches,
      oldestAgeMillis: Math.max(0, now - (oldestAtMillis ?? now)),
      holdMillis: Math.max(0, (heldUntilMillis ?? now) - now)
    })
  }
}

/** Only the leases, without the other fields of their batches. */
const leasesOf = (claims: ReadonlyArray<Lease>): ReadonlyArray<Lease> =>
  claims.map(({ sequence, token }) => ({ sequence, token }))

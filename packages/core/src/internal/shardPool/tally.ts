/**
 * Counts what happens to the commands of a `ShardPool`, and reports it as events and metrics.
 */
import type * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import type { EventHub } from "../../unstable/EventHub.ts"
import { commandDropped } from "../intake/refusals.ts"
import type { DropReason, ShardPoolEvent } from "../../QueueEvent.ts"
import { makeCounts } from "../../unstable/NamedMetrics.ts"
import type { Submission } from "./lanes.ts"
import type { Shard, ShardObserver } from "./shard.ts"
import { addUp, sum } from "../shapes/counts.ts"

export interface ShardTallyOptions<in out C> {
  readonly pool: string
  readonly replica: number
  readonly hub: EventHub<ShardPoolEvent<C>>
  /** Something has changed since the metrics were published. */
  readonly onChange: () => void
  /** Logs the failure of a command without a waiting caller. */
  readonly log: (cause: Cause.Cause<unknown>) => void
}

export class ShardTally<in out C> implements ShardObserver<C> {
  private readonly options: ShardTallyOptions<C>
  private readonly published: (counts: ReturnType<ShardTally<C>["snapshot"]>) => void
  private shards: ReadonlyArray<Shard<C>> = []
  private hasChanged = false
  private succeededCommands = 0
  private rejectedCommands = 0
  private failedCommands = 0
  private cancelledCommands = 0
  private conflicts = 0
  /** The queues of the shards count what they refuse and drop themselves. */
  private refusedAside = 0
  private droppedRunning = 0

  constructor(options: ShardTallyOptions<C>) {
    this.options = options
    this.published = makeCounts("shard_pool", options.pool, options.replica, [
      "offered",
      "refused",
      "cancelled",
      "droppedByReason",
      "succeeded",
      "rejected",
      "failed",
      "conflicts",
      "held",
      "depth",
      "inFlight"
    ])
  }

  watch(shards: ReadonlyArray<Shard<C>>): void {
    this.shards = shards
  }

  changed(): void {
    if (this.hasChanged) return
    this.hasChanged = true
    this.options.onChange()
  }

  refused(): void {
    this.refusedAside += 1
  }

  offerInterrupted(submissions: ReadonlyArray<Submission<C>>): void {
    const { hub } = this.options
    const notTaken = submissions.map(({ command }) => command)
    this.changed()
    if (hub.active) hub.emit({ _tag: "OfferInterrupted", taken: 1 - notTaken.length, notTaken })
  }

  dispatched({ command, key, shard }: Submission<C>, version: number): void {
    const { hub } = this.options
    this.changed()
    if (hub.active) hub.emit({ _tag: "Dispatched", shard: shard.index, key, version, command })
  }

  succeeded({ command, key, shard }: Submission<C>, version: number): void {
    const { hub } = this.options
    this.succeededCommands += 1
    this.changed()
    if (hub.active) hub.emit({ _tag: "Succeeded", shard: shard.index, key, version, command })
  }

  rejected({ command, key, shard }: Submission<C>, error: unknown): void {
    const { hub } = this.options
    this.rejectedCommands += 1
    this.changed()
    if (hub.active) hub.emit({ _tag: "Rejected", shard: shard.index, key, command, error })
  }

  failed({ command, isAwaited, key, shard }: Submission<C>, cause: Cause.Cause<unknown>): void {
    const { hub, log } = this.options
    this.failedCommands += 1
    this.changed()
    if (hub.active) hub.emit({ _tag: "Failed", shard: shard.index, key, command, cause })
    if (!isAwaited) log(cause)
  }

  cancelled({ command }: Submission<C>): void {
    const { hub } = this.options
    this.cancelledCommands += 1
    this.changed()
    if (hub.active) hub.emit({ _tag: "Cancelled", command })
  }

  conflicted(): void {
    this.conflicts += 1
  }

  /** A command that waited was dropped; its queue has counted it. */
  dropped(submission: Submission<C>, reason: DropReason): void {
    this.tellDropped(submission, reason, false)
  }

  /** A command that ran was given up. */
  abandoned(submission: Submission<C>): void {
    this.droppedRunning += 1
    this.tellDropped(submission, "shutdown", true)
  }

  private tellDropped(submission: Submission<C>, reason: DropReason, started: boolean): void {
    const { hub, pool } = this.options
    const { command } = submission
    this.changed()
    if (hub.active) hub.emit({ _tag: "Dropped", item: command, reason })
    submission.end(Exit.fail(commandDropped(pool, command, reason, started)))
  }

  snapshot() {
    const intakes = this.shards.map(({ intake }) => intake.unsafeCounts())
    const inFlight = sum(this.shards, (shard) => shard.running.length)
    const droppedRunning: Record<string, number> = this.droppedRunning === 0 ? {} : { shutdown: this.droppedRunning }
    const droppedByReason = addUp([droppedRunning, ...intakes.map((counts) => counts.droppedByReason)])
    return {
      offered: sum(intakes, ({ offered }) => offered) + this.refusedAside,
      refused: sum(intakes, ({ refused }) => refused) + this.refusedAside,
      cancelled: this.cancelledCommands,
      dropped: sum(intakes, ({ dropped }) => dropped) + this.droppedRunning,
      droppedByReason,
      settled: this.succeededCommands + this.rejectedCommands + this.failedCommands,
      succeeded: this.succeededCommands,
      rejected: this.rejectedCommands,
      failed: this.failedCommands,
      conflicts: this.conflicts,
      held: sum(intakes, ({ held }) => held) + inFlight,
      depth: sum(this.shards, ({ intake }) => intake.unsafeLength()),
      inFlight,
      keys: sum(this.shards, ({ lanes }) => lanes.knownKeys)
    }
  }

  publish(): void {
    this.hasChanged = false
    this.published(this.snapshot())
  }
}

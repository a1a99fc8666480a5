/**
 * What the pair of a queue reports: counted, and told to the user's callbacks.
 */
import type { Report } from "../../BackingQueue.ts"
import type { DropReason } from "../../QueueEvent.ts"
import type { Guard } from "../fibers/guard.ts"

interface Callbacks<in A> {
  readonly onDrop?: ((item: A, reason: DropReason) => void) | undefined
  readonly onCoalesce?: ((replaced: A, item: A) => void) | undefined
}

/** Counts what the pair reports, and tells the user's callbacks. */
export class Ledger<in out A> implements Report<A> {
  coalescedItems = 0
  droppedItems = 0
  readonly droppedByReason: Record<string, number> = Object.create(null)
  /** What the offer that is running has led to so far. */
  mark: "nothing" | "coalesced" | "dropped" = "nothing"
  private readonly onDrop: ((item: A, reason: DropReason) => void) | undefined
  private readonly onCoalesce: ((replaced: A, item: A) => void) | undefined

  constructor(options: Callbacks<A>, guard: Guard) {
    this.onDrop = options.onDrop && guard("onDrop", options.onDrop)
    this.onCoalesce = options.onCoalesce && guard("onCoalesce", options.onCoalesce)
    this.dropped = this.dropped.bind(this)
    this.coalesced = this.coalesced.bind(this)
  }

  begin(): void {
    this.mark = "nothing"
  }

  dropped(item: A, reason: DropReason): void {
    this.droppedItems += 1
    this.droppedByReason[reason] = (this.droppedByReason[reason] ?? 0) + 1
    this.mark = "dropped"
    if (this.onDrop === undefined) return
    this.onDrop(item, reason)
    // The callback may have offered to this very queue.
    this.mark = "dropped"
  }

  coalesced(replaced: A, item: A): void {
    this.coalescedItems += 1
    this.mark = "coalesced"
    if (this.onCoalesce === undefined) return
    this.onCoalesce(replaced, item)
    this.mark = "coalesced"
  }
}

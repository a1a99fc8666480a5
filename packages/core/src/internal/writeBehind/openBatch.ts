/**
 * How long the waiting items have been waiting.
 *
 * Reading the clock for each item would cost more than queueing it. So it is read when a batch is opened, and for each
 * item that would be the first of a later batch. Items are known by their sequence number, 1 for the first ever.
 */
import { Ring } from "../shapes/ring.ts"

export class OpenBatch {
  /** When the open batch was opened; undefined while nothing waits. Evicting its items does not delay it. */
  openedAt: number | undefined
  private readonly every: number
  /** Times of arrival, oldest first, each for the items from its sequence number on. */
  private readonly stamps = new Ring<{ readonly from: number; readonly at: number }>()
  private nextStamp = 0

  /** `every`: the size of a batch. */
  constructor(every: number) {
    this.every = every
  }

  /** An item was put in; `head` is the oldest that waits. Answers whether that opened a batch. */
  accepted(sequence: number, head: number, now: () => number): boolean {
    if (this.openedAt !== undefined && sequence < this.nextStamp) return false
    const at = now()
    this.stamps.push({ from: sequence, at })
    this.nextStamp = sequence + this.every
    this.forget(head)
    if (this.openedAt !== undefined) return false
    this.openedAt = at
    return true
  }

  /** When the oldest item that waits came in, or earlier. Something must wait. */
  oldestAt(head: number): number {
    this.forget(head)
    return this.stamps.at(this.stamps.head).at
  }

  /** A batch was taken, and `head` is the oldest item that is left; undefined when none is. */
  taken(head: number | undefined): void {
    if (head !== undefined) {
      this.openedAt = this.oldestAt(head)
      return
    }
    this.openedAt = undefined
    this.stamps.shiftUpTo(Infinity)
  }

  /** Forgets the stamps of items that have left. */
  private forget(head: number): void {
    while (this.stamps.length > 1 && this.stamps.at(this.stamps.head + 1).from <= head) this.stamps.shift()
  }
}

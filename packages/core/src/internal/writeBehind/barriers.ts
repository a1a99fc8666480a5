/**
 * Callers that wait until all items up to a sequence number are done, or until the queue is empty.
 */

/** What became of the items that a caller waited for. */
export interface Done {
  readonly settled: number
  readonly dropped: number
}

export interface Barrier extends Done {
  /** The last sequence number it waits for; `Infinity`: until nothing is held. */
  readonly upTo: number
  /** Whether open batches are flushed for it. */
  readonly flush: boolean
  settled: number
  dropped: number
  readonly onReached: () => void
}

export class Barriers {
  private barriers: Array<Barrier> = []

  add(upTo: number, flush: boolean, onReached: () => void): Barrier {
    const barrier: Barrier = { upTo, flush, settled: 0, dropped: 0, onReached }
    this.barriers.push(barrier)
    return barrier
  }

  remove(barrier: Barrier): void {
    this.barriers = this.barriers.filter((other) => other !== barrier)
  }

  /** The first sequence number after `sequence` at which a batch must end, if items are to be flushed for somebody. */
  flushUpTo(sequence: number): number | undefined {
    let first: number | undefined
    for (const { flush, upTo } of this.barriers) {
      if (flush && upTo > sequence && (first === undefined || upTo < first)) first = upTo
    }
    return first
  }

  /** Items were settled, the last of which has this number: a batch never ends on both sides of a barrier. */
  settled(count: number, last: number): void {
    for (const barrier of this.barriers) if (last <= barrier.upTo) barrier.settled += count
  }

  /** The items from one sequence number to another were dropped. */
  dropped(from: number, to: number): void {
    for (const barrier of this.barriers) barrier.dropped += Math.max(0, Math.min(to, barrier.upTo) - from + 1)
  }

  /** Resumes the callers that wait for items up to `sequence`, or all callers if nothing is held. */
  release(sequence: number, nothingHeld: boolean): void {
    if (this.barriers.length === 0) return
    const reached = this.barriers.filter(({ upTo }) => nothingHeld || upTo <= sequence)
    if (reached.length === 0) return
    this.barriers = this.barriers.filter((barrier) => !reached.includes(barrier))
    for (const barrier of reached) barrier.onReached()
  }
}

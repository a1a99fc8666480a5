/**
 * When batches have been open long enough, and when they time out. All batches have the same durations, so the one that
 * began first is always the next.
 */
import type * as Clock from "effect/Clock"
import { Timekeeper } from "../fibers/timekeeper.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"

/** Something whose batch has a time. */
export interface Timed {
  /** When the batch began, in monotonic milliseconds. */
  startedAt: number
  /** Whether the batch has been open long enough; whether it has taken too long. */
  isDue: boolean
  isOverdue: boolean
  /** Called when it is due, or overdue. */
  readonly onTime: () => void
}

export class Deadlines {
  readonly maxMillis: number
  private readonly minMillis: number
  private readonly clock: Clock.Clock
  private readonly timekeeper: Timekeeper
  /** Batches that are open, or will be; and batches that have not ended: by when they began. */
  private readonly gathering = new Set<Timed>()
  private readonly bounded = new Set<Timed>()

  constructor(clock: Clock.Clock, minMillis: number, maxMillis: number) {
    this.clock = clock
    this.minMillis = minMillis
    this.maxMillis = maxMillis
    this.timekeeper = new Timekeeper(clock, () => this.ring())
  }

  /** Keeps the time, until it is interrupted. */
  get run() {
    return this.timekeeper.run
  }

  /** A batch begins. */
  begin(timed: Timed): void {
    timed.isDue = this.minMillis === 0
    if (this.maxMillis < Infinity) this.bound(timed)
    else if (this.minMillis > 0) timed.startedAt = monotonicMillis(this.clock)
    if (this.minMillis === 0) return
    this.gathering.add(timed)
    // Where there are others, it rings for them before.
    if (this.gathering.size === 1) this.timekeeper.within(this.minMillis)
  }

  /** Starts its time limit. */
  bound(timed: Timed): void {
    timed.startedAt = monotonicMillis(this.clock)
    timed.isOverdue = false
    this.bounded.add(timed)
    if (this.bounded.size === 1) this.timekeeper.within(this.maxMillis)
  }

  /** It takes no more operations. */
  close(timed: Timed): void {
    this.gathering.delete(timed)
  }

  end(timed: Timed): void {
    this.gathering.delete(timed)
    this.bounded.delete(timed)
    timed.isOverdue = false
  }

  private ring(): void {
    const now = monotonicMillis(this.clock)
    const due = new Set<Timed>()
    this.expire(this.gathering, this.minMillis, now, (timed) => {
      timed.isDue = true
      due.add(timed)
    })
    this.expire(this.bounded, this.maxMillis, now, (timed) => {
      // Both at once: the batch is not late, but this process, which was paused, or busy.
      if (due.has(timed)) this.bound(timed)
      else timed.isOverdue = true
    })
  }

  private expire(
    batches: Set<Timed>,
    millis: number,
    now: number,
    mark: (timed: Timed) => void
  ): void {
    for (const timed of batches) {
      const left = timed.startedAt + millis - now
      if (left > 0) return this.timekeeper.within(left)
      batches.delete(timed)
      mark(timed)
      timed.onTime()
    }
  }
}

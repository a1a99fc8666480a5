/**
 * Breaks for timers and I/O in a loop that may go on for long without waiting for anything.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { everyMillis } from "../Macrotask.ts"
import { monotonicMillis } from "./timekeeper.ts"

/** @internal */
export class Breaks {
  private readonly clock: Clock.Clock
  private readonly macrotask: (task: () => void) => void
  private takenAt: number

  constructor(clock: Clock.Clock, macrotask: (task: () => void) => void) {
    this.clock = clock
    this.macrotask = macrotask
    this.takenAt = monotonicMillis(clock)
  }

  /** Whether the last one was long enough ago. */
  get isDue(): boolean {
    return monotonicMillis(this.clock) - this.takenAt >= everyMillis
  }

  /** Milliseconds that only ever grow. */
  get now(): number {
    return monotonicMillis(this.clock)
  }

  readonly take: Effect.Effect<void> = Effect.async<void>((resume) =>
    this.macrotask(() => {
      this.takenAt = monotonicMillis(this.clock)
      resume(Effect.void)
    })
  )
}

/**
 * Looks at the clock now and then, because looking costs as much as a quick step: seldom where steps are quick, at each
 * of them where they are slow.
 *
 * @internal
 */
export class Pace {
  private readonly breaks: Breaks
  private readonly most: number
  /** How many steps there are from one look to the next, and how many are left. */
  private every = 1
  private left = 1
  private lookedAt: number

  constructor(breaks: Breaks, most: number) {
    this.breaks = breaks
    this.most = most
    this.lookedAt = breaks.now
  }

  /** To be asked at each step: whether a break is due. */
  step(): boolean {
    this.left -= 1
    if (this.left > 0) return false
    const { now } = this.breaks
    this.every = now - this.lookedAt < everyMillis / 2
      ? Math.min(this.most, this.every * 2)
      : Math.max(1, this.every >> 2)
    this.left = this.every
    this.lookedAt = now
    return this.breaks.isDue
  }
}

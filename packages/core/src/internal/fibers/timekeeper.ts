/**
 * Rings at a time that can be moved, with one fiber for any number of times.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { withAlarm } from "./alarm.ts"
import { longestSleepMillis, monotonicMillis } from "../../unstable/Sleep.ts"

/** The time of one who waits for it. */
export class Timekeeper {
  private readonly clock: Clock.Clock
  private readonly ring: () => void
  /** When to ring; `Infinity`: not at all. */
  private at = Infinity
  /** Until when the fiber sleeps unless it is woken. */
  private sleepsUntil = -Infinity
  private wake: (() => void) | undefined

  constructor(clock: Clock.Clock, ring: () => void) {
    this.clock = clock
    this.ring = ring
  }

  /** Rings once, after this many milliseconds at the latest. */
  within(millis: number): void {
    const at = monotonicMillis(this.clock) + millis
    if (at >= this.at) return
    this.at = at
    // Waking early and sleeping again is all that a later time needs.
    if (at < this.sleepsUntil) this.wake?.()
  }

  /** Keeps the time, until it is interrupted. */
  readonly run: Effect.Effect<never> = Effect.forever(Effect.suspend(() => {
    const left = this.at - monotonicMillis(this.clock)
    if (left <= 0) {
      this.at = Infinity
      this.ring()
      return Effect.void
    }
    // In the same step as looking, so that no earlier time is missed in between.
    const woken = Effect.unsafeMakeLatch()
    this.wake = () => woken.unsafeOpen()
    this.sleepsUntil = this.at
    return left === Infinity ? woken.await : withAlarm(woken.await, Math.min(left, longestSleepMillis), this.wake)
  }))
}

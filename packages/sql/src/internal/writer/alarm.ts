/**
 * Cuts off what takes too long, one thing at a time. One timer serves all of them: it is never cut short, and when it
 * ends looks for how long what is running then has left.
 */
import * as Effect from "effect/Effect"
import { Bell, type Breaks } from "@sluice/core/unstable/Fibers"
import { longestSleepMillis } from "@sluice/core/unstable/Sleep"

/** @internal */
export interface Deadline {
  readonly atMillis: number
  /** Cuts off what has had so much time. */
  readonly ring: (timeoutMillis: number) => void
}

/** @internal */
export class Alarm {
  private readonly breaks: Breaks
  private readonly timeoutMillis: number
  /** When what is running has had its time, and what happens then. */
  private deadline: Deadline | undefined
  private readonly bell = new Bell(() => this.deadline !== undefined)

  constructor(breaks: Breaks, timeoutMillis: number) {
    this.breaks = breaks
    this.timeoutMillis = timeoutMillis
  }

  start(ring: Deadline["ring"]): Deadline {
    const deadline = { atMillis: this.breaks.now + this.timeoutMillis, ring }
    this.deadline = deadline
    this.bell.ring()
    return deadline
  }

  /** What was cut off ends when it likes, in the time of another, whose deadline stays. */
  stop(deadline: Deadline): void {
    if (this.deadline === deadline) this.deadline = undefined
  }

  /** Cuts off what is running, which has had so much time. */
  ringNow(timeoutMillis: number): void {
    const { deadline } = this
    this.deadline = undefined
    deadline?.ring(timeoutMillis)
  }

  /** Keeps the time, until it is interrupted. */
  readonly run: Effect.Effect<void> = Effect.forever(Effect.suspend(() => {
    if (this.deadline === undefined) return this.bell.wait
    const left = this.deadline.atMillis - this.breaks.now
    if (left > 0) return Effect.sleep(Math.min(Math.ceil(left), longestSleepMillis))
    this.ringNow(this.timeoutMillis)
    return Effect.void
  }))
}

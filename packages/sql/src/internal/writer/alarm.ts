/**
 * Ends what takes too long, one thing at a time. One timer serves all of them: it is never cut short, and when it ends,
 * it checks how much time the running one has left.
 */
import { Timekeeper } from "@sluice/core/unstable/Fibers"
import { monotonicMillis } from "@sluice/core/unstable/Sleep"
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"

export interface Deadline {
  readonly atMillis: number
  /** Cuts off what has had so much time. */
  readonly ring: (timeoutMillis: number) => void
}

export class Alarm {
  private readonly clock: Clock.Clock
  private readonly timeoutMillis: number
  /** When what is running has had its time, and what happens then. */
  private deadline: Deadline | undefined
  private readonly keeper: Timekeeper
  /** Keeps the time, until it is interrupted. */
  readonly run: Effect.Effect<never>

  constructor(clock: Clock.Clock, timeoutMillis: number) {
    this.clock = clock
    this.timeoutMillis = timeoutMillis
    this.keeper = new Timekeeper(clock, () => this.look())
    this.run = this.keeper.run
  }

  start(ring: Deadline["ring"]): Deadline {
    const deadline = { atMillis: monotonicMillis(this.clock) + this.timeoutMillis, ring }
    this.deadline = deadline
    this.keeper.within(this.timeoutMillis)
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

  /** What is running now may have begun later than what the time was kept for. */
  private look(): void {
    if (this.deadline === undefined) return
    const left = this.deadline.atMillis - monotonicMillis(this.clock)
    if (left > 0) this.keeper.within(left)
    else this.ringNow(this.timeoutMillis)
  }
}

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

  readonly take: Effect.Effect<void> = Effect.async<void>((resume) =>
    this.macrotask(() => {
      this.takenAt = monotonicMillis(this.clock)
      resume(Effect.void)
    })
  )
}

/**
 * Breaks for the event loop. A statement of SQLite is done when the call returns, so that a loop of them never gives
 * timers and I/O a turn.
 */
import { everyMillis, Macrotask } from "@sluice/core/unstable/Macrotask"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** @internal */
export class Breaks {
  private readonly clock: Clock.Clock
  private readonly macrotask: (task: () => void) => void
  private takenAt: number

  constructor(clock: Clock.Clock, macrotask: (task: () => void) => void) {
    this.clock = clock
    this.macrotask = macrotask
    this.takenAt = clock.unsafeCurrentTimeMillis()
  }

  /** Milliseconds that only ever grow. */
  now(): number {
    return Number(this.clock.unsafeCurrentTimeNanos()) / 1_000_000
  }

  /** A break, where the last one was long enough ago. */
  readonly whenDue: Effect.Effect<void> = Effect.suspend(() => this.isDue ? this.take : Effect.void)

  // Asked for every statement, so by the wall clock, which is the cheaper one to read. It may jump back.
  get isDue(): boolean {
    return Math.abs(this.clock.unsafeCurrentTimeMillis() - this.takenAt) >= everyMillis
  }

  readonly take: Effect.Effect<void> = Effect.async<void>((resume) =>
    this.macrotask(() => {
      this.takenAt = this.clock.unsafeCurrentTimeMillis()
      resume(Effect.void)
    })
  )
}

/** @internal */
export const makeBreaks: Effect.Effect<Breaks> = Effect.gen(function*() {
  return new Breaks(yield* Effect.clock, yield* Macrotask)
})

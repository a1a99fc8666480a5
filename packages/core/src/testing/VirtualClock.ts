/**
 * An Effect `Clock` on which no time passes while anything can run.
 *
 * A sleep sets a timer and suspends. When no fiber is ready, the driver of the program calls `unsafeAdvance`: the clock
 * moves to the earliest timer and hands every timer due at that instant to the scheduler. A program that sleeps for
 * days therefore ends at once, and under a `SeededScheduler` sleepers due at the same instant wake in seeded order.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scheduler from "effect/Scheduler"

/**
 * A clock that moves only when told to.
 *
 * @since 0.1.0
 * @category models
 */
export interface VirtualClock extends Clock.Clock {
  /** How many sleeps are waiting: an interrupted sleep is gone, and one of infinite length is never counted. */
  readonly timers: number
  /** Moves to the earliest timer and schedules all that are due then; false when there is none. */
  unsafeAdvance(): boolean
}

/**
 * Makes a clock that starts at `epochMillis` (default 0) and wakes sleepers through `scheduler`.
 *
 * It differs from the real clock in two ways. It wakes sleeps of more than 2^31 - 1 milliseconds (24.8 days), which the
 * real clock never does. And work takes no time, so nothing is ever late.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
 * import * as VirtualClock from "@sluice/core/testing/VirtualClock"
 *
 * const scheduler = SeededScheduler.make({ seed: 7 })
 * const clock = VirtualClock.make({ scheduler })
 * const program = Effect.sleep("3 days").pipe(Effect.withClock(clock))
 * const fiber = Effect.runFork(program, { scheduler, immediate: false })
 * while (scheduler.unsafeStep() || clock.unsafeAdvance()) {
 *   // no real time passes
 * }
 * console.log(fiber.unsafePoll(), clock.unsafeCurrentTimeMillis()) // 259200000
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly scheduler: Scheduler.Scheduler
  readonly epochMillis?: number | undefined
}): VirtualClock => new VirtualClockImpl(options.scheduler, options.epochMillis ?? 0)

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

interface Timer {
  readonly dueMillis: number
  readonly wake: () => void
  state: "waiting" | "due" | "over"
}

class VirtualClockImpl implements VirtualClock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  readonly currentTimeMillis: Effect.Effect<number> = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos: Effect.Effect<bigint> = Effect.sync(() => this.unsafeCurrentTimeNanos())
  private readonly scheduler: Scheduler.Scheduler
  private readonly epochMillis: number
  // Counted from the epoch: a time since 1970 has no room left for nanoseconds in a double.
  private elapsedMillis = 0
  // Earliest first; equal ones in order of arrival.
  private readonly waiting: Array<Timer> = []
  private due = 0

  constructor(scheduler: Scheduler.Scheduler, epochMillis: number) {
    if (!Number.isInteger(epochMillis)) {
      throw new RangeError(`epochMillis must be an integer, got ${epochMillis}`)
    }
    this.scheduler = scheduler
    this.epochMillis = epochMillis
  }

  get timers(): number {
    return this.waiting.length + this.due
  }

  unsafeCurrentTimeMillis(): number {
    // Whole milliseconds, as `Date.now()` gives: a fraction would reach integer columns that never see one in earnest.
    return this.epochMillis + Math.floor(this.elapsedMillis)
  }

  unsafeCurrentTimeNanos(): bigint {
    const whole = Math.floor(this.elapsedMillis)
    const nanos = Math.round((this.elapsedMillis - whole) * 1_000_000)
    return (BigInt(this.epochMillis) + BigInt(whole)) * 1_000_000n + BigInt(nanos)
  }

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Duration.toMillis(duration)
    return Effect.suspend(() => {
      let timer: Timer | undefined
      const fires = Effect.async<void>((resume) => {
        if (Number.isFinite(millis)) {
          timer = this.set(this.elapsedMillis + millis, () => resume(Effect.void))
        }
      })
      // Not as the canceller that `Effect.async` takes: Effect installs that one operation after it has registered, and
      // a fiber made to yield in between and interrupted there would leave its timer behind.
      return Effect.onInterrupt(fires, () =>
        Effect.sync(() => {
          if (timer !== undefined) {
            this.cancel(timer)
          }
        }))
    })
  }

  unsafeAdvance(): boolean {
    if (this.waiting.length === 0) {
      return false
    }
    this.elapsedMillis = this.waiting[0]!.dueMillis
    for (const timer of this.waiting.splice(0, this.firstAfter(this.elapsedMillis))) {
      timer.state = "due"
      this.due++
      // Each firing is a task of its own: a fiber that wakes first may still interrupt one that is due as well, as
      // it may between two callbacks of the real timer list.
      this.scheduler.scheduleTask(() => this.fire(timer), 0)
    }
    return true
  }

  private set(atMillis: number, wake: () => void): Timer {
    const timer: Timer = { dueMillis: toWholeNanos(atMillis), wake, state: "waiting" }
    this.waiting.splice(this.firstAfter(timer.dueMillis), 0, timer)
    return timer
  }

  private fire(timer: Timer): void {
    if (timer.state === "due") {
      timer.state = "over"
      this.due--
      timer.wake()
    }
  }

  private cancel(timer: Timer): void {
    if (timer.state === "waiting") {
      let at = this.firstAfter(timer.dueMillis) - 1
      while (this.waiting[at] !== timer) {
        at--
      }
      this.waiting.splice(at, 1)
    } else if (timer.state === "due") {
      this.due--
    }
    timer.state = "over"
  }

  /** The index of the first waiting timer that is due later than `millis`. */
  private firstAfter(millis: number): number {
    let low = 0
    let high = this.waiting.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.waiting[middle]!.dueMillis <= millis) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }
}

// Ten sleeps of 0.1 ms must end at exactly 1 ms, which sums of doubles miss.
const toWholeNanos = (millis: number): number =>
  Number.isInteger(millis) ? millis : Math.round(millis * 1_000_000) / 1_000_000

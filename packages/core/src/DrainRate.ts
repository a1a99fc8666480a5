/**
 * Measures how fast a queue drains, to tell a refused caller how long to wait before a retry.
 *
 * Report the total number of items that have left the queue from time to time. It keeps ten readings, which cover the
 * last ten seconds if you report at least once a second.
 *
 * @since 0.1.0
 */

/**
 * The longest wait that it returns, in milliseconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const longestWaitMillis = 60_000

/** How many readings are kept, and how close to the one before the last a new reading replaces the last. */
const mostReadings = 10
const leastApartMillis = 500

/** Older readings say nothing about the current rate. */
const oldestMillis = 30_000

interface Reading {
  readonly atMillis: number
  readonly drained: number
}

const clampSeconds = (millis: number): number =>
  Math.min(longestWaitMillis / 1000, Math.max(1, Math.ceil(millis / 1000)))

/**
 * The rate of one queue.
 *
 * @since 0.1.0
 * @category models
 */
export class DrainRate {
  private readonly now: () => number
  /** Oldest first. */
  private readonly readings: Array<Reading> = []
  private movedAtMillis: number | undefined
  /** When there will be room for the next refused caller, at the current rate. */
  private roomAtMillis = 0
  private spreadOut = 0

  /** `now` returns milliseconds of a monotonic clock. */
  constructor(now: () => number) {
    this.now = now
  }

  /** Reports the total number of items that have left the queue so far. */
  note(drained: number): void {
    const { readings } = this
    const atMillis = this.now()
    const last = readings[readings.length - 1]
    if (drained > (last?.drained ?? 0)) this.movedAtMillis = atMillis
    const before = readings[readings.length - 2]
    if (before !== undefined && last.atMillis - before.atMillis < leastApartMillis) readings.pop()
    readings.push({ atMillis, drained })
    while (readings.length > mostReadings || atMillis - readings[0].atMillis > oldestMillis) readings.shift()
  }

  /** How many items leave the queue per second; 0 if that is not known yet. */
  get perSecond(): number {
    const { readings } = this
    const [first] = readings
    const last = readings[readings.length - 1]
    if (first === undefined || last.atMillis <= first.atMillis) return 0
    return (last.drained - first.drained) * 1000 / (last.atMillis - first.atMillis)
  }

  /**
   * How long a caller that is refused with this many items should wait, in milliseconds, from 1 to `longestWaitMillis`.
   * Each caller gets the time at which there will be room after all callers refused before, so that they do not all
   * return at once. If nothing drains, the wait is as long as the queue has stood still (`stalledForMillis`; default:
   * since the last item left). Undefined if nothing has left the queue yet and `stalledForMillis` is not given.
   */
  retryAfterMillis(items: number, stalledForMillis?: number): number | undefined {
    const now = this.now()
    const rate = this.perSecond
    // Not `rate <= 0`, because of NaN.
    if (!(rate > 0)) return this.whenStalled(stalledForMillis ?? this.stalledForMillis)
    const latest = now + longestWaitMillis
    this.roomAtMillis = Math.min(latest, Math.max(now, this.roomAtMillis) + Math.max(1, items) * 1000 / rate)
    return this.roomAtMillis < latest
      ? Math.max(1, Math.ceil(this.roomAtMillis - now))
      : this.spread(longestWaitMillis / 1000)
  }

  private whenStalled(millis: number | undefined): number | undefined {
    return millis === undefined ? undefined : this.spread(clampSeconds(millis))
  }

  private get stalledForMillis(): number | undefined {
    return this.movedAtMillis === undefined ? undefined : this.now() - this.movedAtMillis
  }

  /** Spreads callers that would all get the same time over its second half. */
  private spread(seconds: number): number {
    this.spreadOut += 1
    return 1000 * (seconds - this.spreadOut % (Math.floor(seconds / 2) + 1))
  }
}

/**
 * Makes the rate of a queue. `now` returns milliseconds of a monotonic clock.
 *
 * @example
 * ```ts
 * import { DrainRate } from "@sluice/core"
 *
 * let now = 0
 * const rate = DrainRate.make(() => now)
 * rate.note(0)
 * now = 1000
 * rate.note(50)
 * rate.retryAfterMillis(1) // 20
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (now: () => number): DrainRate => new DrainRate(now)

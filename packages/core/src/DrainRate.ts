/**
 * How fast a queue drains, and so how long whoever was refused shall wait before a retry.
 *
 * It is told now and then how many items have left the queue, all in all. It remembers ten such readings, of the last ten
 * seconds where they are told at least once a second.
 *
 * @since 0.1.0
 */

/**
 * Nobody is told to wait for longer, in milliseconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const longestWaitMillis = 60_000

/** How many readings are kept, and how close to the one before it a reading only takes the place of the last. */
const mostReadings = 10
const leastApartMillis = 500

/** What is older says nothing of how fast it drains now. */
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
  /** When there will be room for whoever is refused next, should the queue drain on as it does. */
  private roomAtMillis = 0
  private spreadOut = 0

  /** `now` tells milliseconds that only grow. */
  constructor(now: () => number) {
    this.now = now
  }

  /** So many items have left the queue by now, all in all. */
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

  /** How many items leave the queue in a second; 0 where that is not known yet. */
  get perSecond(): number {
    const { readings } = this
    const [first] = readings
    const last = readings[readings.length - 1]
    if (first === undefined || last.atMillis <= first.atMillis) return 0
    return (last.drained - first.drained) * 1000 / (last.atMillis - first.atMillis)
  }

  /**
   * How long whoever is refused with so many items shall wait, in milliseconds, from 1 to `longestWaitMillis`. Each is
   * told the moment at which there will be room behind all those who were refused before, so that they do not come back
   * at once and together. Where nothing moves, as long again as it has been so (`stalledForMillis`; default: since
   * something has left). Undefined where nothing has left the queue yet, and nobody says for how long it has stood still.
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

  /** Where many would be told the same, each is told another time, between the half of it and all of it. */
  private spread(seconds: number): number {
    this.spreadOut += 1
    return 1000 * (seconds - this.spreadOut % (Math.floor(seconds / 2) + 1))
  }
}

/**
 * Makes the rate of a queue; `now` tells milliseconds that only grow.
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

/**
 * The retry schedules that the queues use by default. You can use any other `Schedule` instead.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"

/**
 * Delays that grow by a factor, from `base` up to `cap`. The cap also holds after the jitter, and for any number of
 * attempts.
 *
 * @example
 * ```ts
 * import { Retry } from "@sluice/core"
 *
 * // 1 s, 2 s, 4 s, ... 1 h, each plus or minus 10 %, without end
 * const patient = Retry.exponential({ base: "1 second", cap: "1 hour", jitter: 0.1 })
 * ```
 *
 * @since 0.1.0
 * @category schedules
 */
export const exponential = (options: {
  /** The first delay. */
  readonly base: Duration.DurationInput
  /** The longest delay. */
  readonly cap: Duration.DurationInput
  /** What each delay is multiplied by. Default: 2. */
  readonly factor?: number | undefined
  /** How much a delay varies at random, as a part of itself. Default: 0. */
  readonly jitter?: number | undefined
  /** How many retries there are. Default: no limit. */
  readonly retries?: number | undefined
}): Schedule.Schedule<number> => {
  const cap = Duration.decode(options.cap)
  const jitter = options.jitter ?? 0
  const limit = options.retries === undefined ? Schedule.forever : Schedule.recurs(options.retries)
  // The factor's power is infinite from some attempt on, and so is the delay, until it is capped.
  const growing = Schedule.modifyDelay(
    Schedule.exponential(options.base, options.factor ?? 2),
    (_, delay) => Duration.min(delay, cap)
  )
  const varied = jitter === 0 ? growing : Schedule.jitteredWith(growing, { min: 1 - jitter, max: 1 + jitter })
  const capped = Schedule.modifyDelay(varied, (_, delay) => Duration.min(delay, cap))
  return Schedule.intersect(capped, limit).pipe(Schedule.map((both) => both[1]))
}

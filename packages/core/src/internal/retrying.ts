/**
 * How far the retry schedule of a batch is. What is stored is how many attempts have failed: whoever claims the batch
 * next, in whatever process, walks the schedule that far and goes on from there.
 */
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/** @internal */
export interface Failed {
  /** Attempts that had failed before. */
  readonly attempts: number
  /** When the first of all failed, this one included. */
  readonly firstAtMillis: number
  readonly nowMillis: number
  readonly error: unknown
  /** How far the schedule was, where it is at hand. */
  readonly state: unknown
}

/** @internal */
export interface Step {
  /** How long to wait before the next attempt; undefined where there is to be none. */
  readonly delayMillis: number | undefined
  readonly state: unknown
}

/** A schedule is not walked further: by then its delay does not grow any more. */
const longestWalk = 10_000

/** @internal */
export const nextStep = (
  schedule: Schedule.Schedule<unknown, unknown>,
  { attempts, error, firstAtMillis, nowMillis, state }: Failed
): Effect.Effect<Step> =>
  Effect.gen(function*() {
    let reached = state
    if (reached === undefined) {
      reached = schedule.initial
      for (let walked = 0; walked < Math.min(attempts, longestWalk); walked++) {
        // A schedule that counts the time counts it from the first failure.
        const [next, , decision] = yield* schedule.step(walked === 0 ? firstAtMillis : nowMillis, error, reached)
        if (ScheduleDecision.isDone(decision)) return { delayMillis: undefined, state: next }
        reached = next
      }
    }
    const [next, , decision] = yield* schedule.step(nowMillis, error, reached)
    return {
      delayMillis: ScheduleDecision.isDone(decision)
        ? undefined
        : Math.max(0, Math.ceil(ScheduleIntervals.start(decision.intervals) - nowMillis)),
      state: next
    }
  })

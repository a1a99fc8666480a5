/**
 * The position of a batch in its retry schedule. The store only keeps the number of failed attempts: the next claim, in
 * any process, walks the schedule that far and continues from there.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

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

export interface Step {
  /** How long to wait before the next attempt; undefined where there is to be none. */
  readonly delayMillis: number | undefined
  readonly state: unknown
}

/** A schedule is not walked further: by then its delay does not grow any more. */
const longestWalk = 10_000

/** What is waited between attempts where the schedule waits for none of very many. */
const leastDelayMillis = 10

/** A schedule that continues after this many attempts without a delay is treated as endless. */
const mostAtOnce = 100

/**
 * How long a schedule waits; undefined where it has ended, and where it waits for ever, which would hold up for ever what
 * is behind.
 */
const delayOf = (decision: ScheduleDecision.ScheduleDecision, nowMillis: number): number | undefined => {
  if (ScheduleDecision.isDone(decision)) return undefined
  const millis = Math.ceil(ScheduleIntervals.start(decision.intervals) - nowMillis)
  // A store keeps whole numbers.
  return millis === Infinity ? undefined : Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, millis))
}

type Retry = Schedule.Schedule<unknown, unknown>

/** The retry schedule of some options: it has ended for an error that is not one to try again for. */
export const retryOf = <R extends Schedule.Schedule<any, any, any>>(
  options: { readonly retry: R; readonly while?: ((error: any) => boolean) | undefined }
): R => options.while === undefined ? options.retry : Schedule.whileInput(options.retry, options.while) as R

/** How far a schedule is that has not been asked. */
export const initialOf = (schedule: Retry): unknown => schedule.initial

/** Asks a schedule about a failure. */
export const step = (schedule: Retry, nowMillis: number, error: unknown, state: unknown): Effect.Effect<Step> =>
  Effect.map(schedule.step(nowMillis, error, state), ([next, , decision]) => ({
    delayMillis: delayOf(decision, nowMillis),
    state: next
  }))

/** The retries of a queue. */
export class Retrying {
  private readonly schedule: Retry
  private readonly warn: Effect.Effect<void>
  /** Whether it was found to be one that never waits, and does not end soon either. */
  private isHot = false

  constructor(schedule: Retry, warn: Effect.Effect<void>) {
    this.schedule = schedule
    this.warn = warn
  }

  next(failed: Failed): Effect.Effect<Step> {
    return Effect.flatMap(this.ask(failed), (asked) => {
      // Looking ahead costs more than trying again once.
      const isFirst = failed.attempts === 0 && !this.isHot
      if (asked.delayMillis !== 0 || isFirst) return Effect.succeed(asked)
      return Effect.map(
        this.neverEnds(failed, asked.state),
        (isHot) => isHot ? { ...asked, delayMillis: leastDelayMillis } : asked
      )
    })
  }

  private ask({ attempts, error, firstAtMillis, nowMillis, state }: Failed): Effect.Effect<Step> {
    return Effect.gen(this, function*() {
      let reached = state
      if (reached === undefined) {
        reached = this.schedule.initial
        for (let walked = 0; walked < Math.min(attempts, longestWalk); walked++) {
          // A schedule that counts the time counts it from the first failure.
          const asked = yield* step(this.schedule, walked === 0 ? firstAtMillis : nowMillis, error, reached)
          if (asked.delayMillis === undefined) return asked
          reached = asked.state
        }
      }
      return yield* step(this.schedule, nowMillis, error, reached)
    })
  }

  /** Walks on as if each attempt failed at once, to see whether that would ever end. */
  private neverEnds({ error, nowMillis }: Failed, from: unknown): Effect.Effect<boolean> {
    if (this.isHot) return Effect.succeed(true)
    return Effect.gen(this, function*() {
      let state = from
      for (let walked = 0; walked < mostAtOnce; walked++) {
        const asked = yield* step(this.schedule, nowMillis, error, state)
        if (asked.delayMillis !== 0) return false
        state = asked.state
      }
      this.isHot = true
      yield* this.warn
      return true
    })
  }
}

/**
 * A mounted queue, with what the server itself tracks: how fast it drains, since when it has made no progress, whether
 * it is being drained, and the remembered idempotency keys.
 */
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import { withMessages } from "@sluice/core/unstable/ErrorText"
import { forkScoped } from "@sluice/core/unstable/Fibers"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { DrainRate } from "@sluice/core"
import { monotonicMillis } from "@sluice/core/unstable/Sleep"
import type { HttpQueue, Status } from "../HttpQueue.ts"
import { RememberedKeys } from "./rememberedKeys.ts"

export interface Options {
  readonly windowMillis: number
  readonly maxIdempotencyKeys: number
  readonly stalledAfterMillis: number
  /** Whether offers are to be told the span of their request. */
  readonly tracing: boolean
}

/** How often a queue is looked at. */
const lookEveryMillis = 1000
const longestLook = "5 seconds"

export class Mounted {
  readonly queue: HttpQueue
  readonly keys: RememberedKeys
  readonly tracing: boolean
  /** The answers to a full queue, by the seconds to wait. */
  readonly fullAnswers = new Map<number, HttpServerResponse>()
  /** Set by an operator: nothing more comes in through the server until `resume`. */
  isDraining = false
  private readonly options: Options
  readonly clock: Clock.Clock
  private readonly rate: DrainRate.DrainRate
  private progress = -1
  private progressAtMillis: number

  constructor(queue: HttpQueue, clock: Clock.Clock, options: Options) {
    this.queue = queue
    this.clock = clock
    this.options = options
    this.tracing = options.tracing
    this.keys = new RememberedKeys(options.maxIdempotencyKeys, options.windowMillis)
    this.progressAtMillis = this.now()
    this.rate = DrainRate.make(() => this.now())
  }

  /** By the clock that only grows. */
  now(): number {
    return Math.floor(monotonicMillis(this.clock))
  }

  // --- progress -----------------------------------------------------------------------------------------------------

  /** To be done at even intervals: the rate is measured over them. */
  readonly look: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(this.status, ({ drained }) => this.rate.note(drained))
  )

  /** How far the queue is; whether it has made progress is noted. */
  get status(): Effect.Effect<Status> {
    return Effect.map(this.queue.status, (status) => {
      const isStuck = status.progress === this.progress && status.held > 0 && !status.paused
      if (!isStuck) this.progressAtMillis = this.now()
      this.progress = status.progress
      return status
    })
  }

  /** For how long the queue has held items and got nowhere, where that is too long. */
  get stalledForMillis(): Effect.Effect<number | undefined> {
    // One of the user's that hangs or dies gets nowhere.
    return Effect.map(Effect.exit(Effect.timeoutOption(this.status, longestLook)), () => {
      const millis = this.now() - this.progressAtMillis
      return millis > 0 && millis >= this.options.stalledAfterMillis ? millis : undefined
    })
  }

  /** How many items leave the queue in a second. */
  get drainedPerSecond(): number {
    return this.rate.perSecond
  }

  /** How long a caller that is refused with this many items should wait. */
  retryAfterSeconds(items: number): number {
    const millis = this.rate.retryAfterMillis(items, this.now() - this.progressAtMillis)!
    return Math.ceil(millis / 1000)
  }
}

/** Looks at the queues now and then, until the scope is closed. */
export const measure = (all: ReadonlyArray<Mounted>): Effect.Effect<void, never, Scope.Scope> => {
  // A queue of the user's may hang, or die of being looked at: the others are looked at all the same.
  const lookAtAll = Effect.forEach(
    all,
    ({ look, queue }) =>
      Effect.catchAllCause(
        Effect.timeoutOption(look, longestLook),
        (cause) => Effect.logError(`the queue ${queue.name} could not be looked at`, withMessages(cause))
      ),
    { concurrency: "unbounded", discard: true }
  )
  const looking = Effect.zipRight(lookAtAll, Effect.forever(Effect.zipRight(Effect.sleep(lookEveryMillis), lookAtAll)))
  return Effect.asVoid(forkScoped(looking))
}

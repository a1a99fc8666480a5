/**
 * What a durable queue does about an item, or a batch, that its handler has failed with: the answer of `decide`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"

/**
 * A decision.
 *
 * - `Retry`: when the retry schedule says so.
 * - `RetryAfter`: after this time, whatever the schedule says. It counts as an attempt, unless it is a snooze. The whole
 *   queue waits as long where it is to `pause`.
 * - `DeadLetter`: never again. It is set aside with reason `"rejected"`.
 * - `Discard`: never again, and not kept. It is dropped with reason `"discarded"`, and told like every drop.
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Retry" }
  | {
    readonly _tag: "RetryAfter"
    readonly millis: number
    /** Whether nothing of the queue is claimed meanwhile, in any process. */
    readonly pause: boolean
    /** Whether it counts as an attempt. */
    readonly counts: boolean
  }
  | { readonly _tag: "DeadLetter" }
  | { readonly _tag: "Discard" }

/**
 * Tries it again when the retry schedule says so. What is done where nothing is decided.
 *
 * @since 0.1.0
 * @category decisions
 */
export const retry: Decision = { _tag: "Retry" }

/** Never negative, never endless: what is meant to be never is a dead letter. */
const millisOf = (duration: Duration.DurationInput): number =>
  Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.ceil(Duration.toMillis(duration))))

/**
 * Tries it again after a time of its own, such as one that the other side has named; at least 10 milliseconds. It counts as an attempt, but does
 * not ask the retry schedule: `maxDeliveries` bounds it.
 *
 * With `pause`, nothing of the queue is claimed meanwhile, in no process: for a limit that holds for everything. What is
 * in hand goes on. Default: false.
 *
 * @example
 * ```ts
 * import { Decision } from "@sluice/core"
 *
 * interface TooManyRequests {
 *   readonly _tag: "TooManyRequests"
 *   readonly retryAfterSeconds: number
 * }
 *
 * const decide = (error: TooManyRequests) =>
 *   Decision.retryAfter(`${error.retryAfterSeconds} seconds`, { pause: true })
 * ```
 *
 * @since 0.1.0
 * @category decisions
 */
export const retryAfter = (
  duration: Duration.DurationInput,
  options?: { readonly pause?: boolean | undefined }
): Decision => ({ _tag: "RetryAfter", millis: millisOf(duration), pause: options?.pause ?? false, counts: true })

/**
 * Tries it again after a time, without counting an attempt or a delivery: it has not failed, its time has not come.
 *
 * @since 0.1.0
 * @category decisions
 */
export const snooze = (
  duration: Duration.DurationInput,
  options?: { readonly pause?: boolean | undefined }
): Decision => ({ _tag: "RetryAfter", millis: millisOf(duration), pause: options?.pause ?? false, counts: false })

/**
 * Sets it aside at once: a retry cannot help.
 *
 * @since 0.1.0
 * @category decisions
 */
export const deadLetter: Decision = { _tag: "DeadLetter" }

/**
 * Drops it at once. It is counted, and told to `onDrop` and as an event.
 *
 * @since 0.1.0
 * @category decisions
 */
export const discard: Decision = { _tag: "Discard" }

/**
 * What a durable queue does with an item, or a batch, whose handler has failed: the result of `decide`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"

/**
 * A decision.
 *
 * - `Retry`: retry when the retry schedule says so.
 * - `RetryAfter`: after this time, without asking the schedule. It counts as an attempt, unless it is a snooze. With
 *   `pause`, the whole queue waits for that time.
 * - `DeadLetter`: do not retry. The item is set aside with reason `"rejected"`.
 * - `Discard`: do not retry and do not keep the item. It is dropped with reason `"discarded"`, and reported like every
 *   drop.
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Retry" }
  | {
    readonly _tag: "RetryAfter"
    readonly millis: number
    /** Whether all processes stop claiming from the queue meanwhile. */
    readonly pause: boolean
    /** Whether it counts as an attempt. */
    readonly counts: boolean
  }
  | { readonly _tag: "DeadLetter" }
  | { readonly _tag: "Discard" }

/**
 * Retries when the retry schedule says so. This is the default.
 *
 * @since 0.1.0
 * @category decisions
 */
export const retry: Decision = { _tag: "Retry" }

/** Never negative, never infinite: an item that must not be retried is a dead letter. */
const millisOf = (duration: Duration.DurationInput): number =>
  Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.ceil(Duration.toMillis(duration))))

/**
 * Retries after the given time, at least 10 milliseconds: for example, a time that the destination has named. It counts
 * as an attempt, so `maxDeliveries` bounds it, but it does not ask the retry schedule.
 *
 * With `pause`, no process claims anything from the queue meanwhile: use it for a limit that applies to all items.
 * Batches that are already claimed continue. Default: false.
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
 * Retries after the given time, at least 10 milliseconds, without counting an attempt or a delivery: the item has not
 * failed, it is not due yet. `pause` is as for `retryAfter`.
 *
 * @since 0.1.0
 * @category decisions
 */
export const snooze = (
  duration: Duration.DurationInput,
  options?: { readonly pause?: boolean | undefined }
): Decision => ({ _tag: "RetryAfter", millis: millisOf(duration), pause: options?.pause ?? false, counts: false })

/**
 * Sets the item aside at once, because a retry cannot help.
 *
 * @since 0.1.0
 * @category decisions
 */
export const deadLetter: Decision = { _tag: "DeadLetter" }

/**
 * Drops the item at once. The drop is counted, and reported to `onDrop` and as an event.
 *
 * @since 0.1.0
 * @category decisions
 */
export const discard: Decision = { _tag: "Discard" }

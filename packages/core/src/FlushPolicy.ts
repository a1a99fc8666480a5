/**
 * Decides when an open batch is due. Pure: it decides from its arguments, and says when to look again.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { Trigger } from "./Batch.ts"

/**
 * The limits of an open batch. Zero means no limit. Without any limit, a batch is only flushed by hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface FlushPolicy {
  /** The number of items in the buffer. */
  readonly size: number
  /** The number of offers since the batch was opened: more than `size` if the buffer merges. */
  readonly pushes: number
  /** The bytes in the buffer. The owner of the buffer must put an item that would exceed them into the next batch. */
  readonly bytes: number
  /** Milliseconds since the batch was opened. */
  readonly lingerMillis: number
}

/**
 * The state of the open batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly size: number
  readonly pushes: number
  readonly bytes: number
  /** Milliseconds of the same clock as the `now` of `decide`. */
  readonly openedAt: number
}

/**
 * Either the batch is due, and why; or it is not, and when to look again (`Infinity`: only when something changes).
 *
 * @since 0.1.0
 * @category models
 */
export type Decision =
  | { readonly _tag: "Due"; readonly trigger: Trigger }
  | { readonly _tag: "Wait"; readonly until: number }

/**
 * Makes a policy. Every limit is off by default.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limits: {
  readonly size?: number | undefined
  readonly pushes?: number | undefined
  readonly bytes?: number | undefined
  readonly linger?: Duration.DurationInput | undefined
}): FlushPolicy => ({
  size: limits.size ?? 0,
  pushes: limits.pushes ?? 0,
  bytes: limits.bytes ?? 0,
  lingerMillis: limits.linger === undefined ? 0 : Duration.toMillis(limits.linger)
})

const due = (trigger: Trigger): Decision => ({ _tag: "Due", trigger })
const dueBySize = due("size")
const dueByPushes = due("pushes")
const dueByBytes = due("bytes")
const dueByLinger = due("linger")
const onlyWhenChanged: Decision = { _tag: "Wait", until: Infinity }

/**
 * Decides whether the open batch is due at `now`. An empty batch never is. If several limits are reached at once, the
 * trigger is the first of size, pushes, bytes, linger.
 *
 * @example
 * ```ts
 * import { FlushPolicy } from "@sluice/core"
 *
 * const policy = FlushPolicy.make({ size: 100, linger: "1 second" })
 * FlushPolicy.decide(policy, { size: 3, pushes: 3, bytes: 0, openedAt: 0 }, 250) // wait until 1000
 * ```
 *
 * @since 0.1.0
 * @category deciding
 */
export const decide = (policy: FlushPolicy, state: State, now: number): Decision => {
  if (state.size === 0) return onlyWhenChanged
  if (policy.size > 0 && state.size >= policy.size) return dueBySize
  if (policy.pushes > 0 && state.pushes >= policy.pushes) return dueByPushes
  if (policy.bytes > 0 && state.bytes >= policy.bytes) return dueByBytes
  if (policy.lingerMillis === 0 || policy.lingerMillis === Infinity) return onlyWhenChanged
  const until = state.openedAt + policy.lingerMillis
  return now >= until ? dueByLinger : { _tag: "Wait", until }
}

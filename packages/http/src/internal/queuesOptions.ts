/**
 * The options of `HttpQueues`: what they are, and the table that they are checked by.
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import type * as Duration from "effect/Duration"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How large a JSON body may be, in bytes. Default: 1 MiB. */
  readonly maxBodyBytes?: number | undefined
  /** How large a line of NDJSON may be, in bytes. A stream may have any number of them. Default: 1 MiB. */
  readonly maxLineBytes?: number | undefined
  /**
   * How long a stream of NDJSON may wait while its body is being sent, in all. It waits for room where the policy of its
   * queue is `suspend`, for the store, and for items that are to be settled. After that the answer says how many items
   * are in, and when to come again. The server must allow a request more time than that, and the time in which it is
   * sent: `requestTimeout` of Node cuts it otherwise, and says nothing of its items. `Duration.infinity` is no limit.
   * Default: 1 minute.
   */
  readonly maxStreamWait?: Duration.DurationInput | undefined
  /**
   * How long an `Idempotency-Key` is remembered in memory, and the body that it belongs to. A queue with a store also
   * keeps the key there, for its own `idWindow`. Default: 1 hour.
   */
  readonly idempotencyWindow?: Duration.DurationInput | undefined
  /** How many keys are remembered in memory for each queue. Then the oldest is forgotten. Default: 100,000. */
  readonly maxIdempotencyKeys?: number | undefined
  /** How long a queue that holds items may make no progress before it counts as stalled. Default: 1 minute. */
  readonly stalledAfter?: Duration.DurationInput | undefined
  /**
   * How many events of each queue are kept, to look at later. With 0 none are kept, live watching is off, and the queues
   * make no events for it. Default: 100.
   */
  readonly recentEvents?: number | undefined
}

export const table = {
  maxBodyBytes: Table.withDefault(Table.bytes, 1024 * 1024),
  maxLineBytes: Table.withDefault(Table.bytes, 1024 * 1024),
  maxStreamWait: Table.withDefault(
    Table.where(Table.duration, (millis) => millis > 0, "a duration of more than 0"),
    "1 minute"
  ),
  idempotencyWindow: Table.withDefault(Table.duration, "1 hour"),
  maxIdempotencyKeys: Table.withDefault(Table.positiveInteger, 100_000),
  stalledAfter: Table.withDefault(Table.duration, "1 minute"),
  recentEvents: Table.withDefault(Table.integerFrom(0), 100)
} satisfies Table.Of<Options>

/**
 * The options of a `WriteBehind`: what they are, and the table that they are checked by.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Backpressure from "../../Backpressure.ts"
import type { Batch } from "../../Batch.ts"
import type { HandlerDefect, InvalidOption, PartialFailure } from "../../QueueError.ts"
import type { DropReason } from "../../QueueEvent.ts"
import * as Retry from "../../Retry.ts"
import type * as Sharding from "../../Sharding.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import * as Table from "../../unstable/OptionTable.ts"
import { retryOf } from "../fibers/retrying.ts"
import { policyEntry } from "../intake/policyCheck.ts"

/**
 * What the retry schedule is told of a failed flush: the error of the user's `flush` (of a partial failure, the error
 * in it), or that it died.
 *
 * @since 0.1.0
 * @category models
 */
export type RetryInput<E> = (E extends PartialFailure<infer Inner> ? Inner : E) | HandlerDefect

/**
 * How many bytes a batch may have, and how many an item has.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchBytes<in A> {
  /** How many bytes a batch may have. */
  readonly limit: number
  /** How many bytes an item has: a whole number of 0 or more. */
  readonly of: (item: A) => number
}

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, E, R, R2 = never> {
  /** The name in metrics, events, spans and errors. `QueueMetrics` says what happens where several have one name. */
  readonly name: string
  /** How much each shard holds: items, or weight where `weigh` is given. */
  readonly capacity: number
  /** What happens when a shard is full. Default: `Backpressure.dropOldest`. */
  readonly policy?: Backpressure.Policy<A> | undefined
  /**
   * The weight of an item, an integer from 1 to `capacity`. It does not work with `coalesceByKey`. Default: every item
   * weighs 1.
   */
  readonly weigh?: ((item: A) => number) | undefined
  /**
   * The largest batch, in items. Where it is more than `capacity`, only the interval makes a batch due. A dropping policy
   * then keeps the last items of each interval, or the first. Default: 100.
   */
  readonly batchSize?: number | undefined
  /**
   * Bounds a batch by bytes, or by any other measure that `of` returns. A batch never has more than `limit` of them,
   * unless one item alone has, and it is due when the waiting items have as many. An item is counted when it comes in,
   * and again only when another is merged into it. An item is flushed by itself where `of` throws or returns anything
   * but a whole number of 0 or more. It does not work with a policy of your own whose backing queue ignores the options
   * that it is given. Default: no bound by bytes.
   */
  readonly batchBytes?: BatchBytes<A> | undefined
  /**
   * How long after its first item a batch is flushed at the latest. Zero or infinite: only by size or by hand. It is the
   * `linger` of the other systems: here it is what decides how old a flushed item is. Default: 1 second.
   */
  readonly flushInterval?: Duration.DurationInput | undefined
  /**
   * Writes a batch. It may fail with `Batch.failSome`. A defect counts as a failure. It must not wait for room in its
   * own queue.
   */
  readonly flush: (batch: Batch<A>) => Effect.Effect<void, E, R>
  /**
   * When a failed flush is tried again. An infinite delay ends the retries. Default: 3 retries, after 100 ms, 200 ms and
   * 400 ms.
   */
  readonly retry?: Schedule.Schedule<unknown, NoInfer<RetryInput<E>>, R2> | undefined
  /**
   * Whether `retry` is asked about an error. Otherwise its items are dropped, as at the end of the schedule. Of a partial
   * failure it is told the error of the first item, which decides for all of them. If it throws, there is no retry
   * either, and the event says why. Default: `retry` is asked about every error.
   */
  readonly while?: ((error: NoInfer<RetryInput<E>>) => boolean) | undefined
  /** How many shards there are. Each has a queue and a fiber of its own. Default: 1. */
  readonly shards?: number | undefined
  /**
   * The key that decides the shard of an item. Items of one key are flushed in the order in which they were offered. It
   * is required with several shards. Default: the key of `coalesceByKey`, where that is the policy.
   */
  readonly shardBy?: ((item: A) => Sharding.Key) | undefined
  /** How long closing the scope may flush what is held. Then the rest is dropped. Default: 30 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /**
   * Called once for each dropped item, in the same step. It may offer again. If it throws, that is logged.
   * Default: none.
   */
  readonly onDrop?: ((item: A, reason: DropReason) => void) | undefined
}

/**
 * The options beside a configuration, from which the capacity may come.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConfiguredOptions<A, E, R, R2 = never> extends Omit<Options<A, E, R, R2>, "capacity"> {
  /** How much each shard holds: items, or weight where `weigh` is given. Default: that of the configuration. */
  readonly capacity?: number | undefined
}

/**
 * The default retry schedule: 100 ms, doubling, at most 5 seconds, 3 retries.
 *
 * @since 0.1.0
 * @category defaults
 */
export const defaultRetry: Schedule.Schedule<number> = Retry.exponential({
  base: "100 millis",
  cap: "5 seconds",
  retries: 3
})

type AnyOptions = Options<any, any, any, any>

export const table = {
  name: Table.name,
  capacity: Table.positiveInteger,
  policy: Table.withDefault(
    policyEntry<Backpressure.Policy<any>, Backpressure.CoalesceByKey<any>["whenFull"]>(),
    Backpressure.dropOldest,
    "`Backpressure.dropOldest`"
  ),
  weigh: Table.optionalCallback("every item weighs 1"),
  batchSize: Table.withDefault(Table.positiveInteger, 100),
  batchBytes: Table.optional(
    Table.object(
      { limit: Table.positiveInteger, of: Table.callback<(item: any) => number>() },
      "an object with limit and of"
    ),
    "no bound by bytes"
  ),
  flushInterval: Table.withDefault(Table.duration, "1 second"),
  flush: Table.callback(),
  retry: Table.withDefault(Table.schedule, defaultRetry, "3 retries, after 100 ms, 200 ms and 400 ms"),
  while: Table.optionalCallback<(error: any) => boolean>("`retry` is asked about every error"),
  shards: Table.withDefault(Table.positiveInteger, 1),
  shardBy: Table.limited(
    Table.optionalCallback<(item: any) => Sharding.Key>("the key of `coalesceByKey`, where that is the policy"),
    "required with several shards"
  ),
  drainTimeout: Table.withDefault(Table.duration, "30 seconds"),
  onDrop: Table.optionalCallback("none")
} satisfies Table.Of<AnyOptions>

/**
 * The options that can come from a configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configurable extends Table.Configurable<typeof table, AnyOptions> {
  /** The limit of `batchBytes`, whose `of` is an option. */
  readonly batchBytesLimit?: number
}

export type Checked = Table.Checked<typeof table>

export const checkOptions = (options: AnyOptions): Effect.Effect<Checked, InvalidOption> =>
  Effect.flatMap(Table.check(table, "WriteBehind", options), (checked) => {
    const { name, policy, shards } = checked
    const byPolicy = policy._tag === "coalesceByKey" ? (policy as Backpressure.CoalesceByKey<any>).key : undefined
    const { shardBy = byPolicy } = checked
    const isSharded = shards === 1 || shardBy !== undefined
    const limit = "a function where there are several shards"
    return Effect.as(Check.check(isSharded, name, "shardBy", shardBy, limit), {
      ...checked,
      shardBy,
      retry: retryOf(checked)
    })
  })

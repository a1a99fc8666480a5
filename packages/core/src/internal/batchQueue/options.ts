/**
 * The options of a `BatchQueue`: what they are, and the table that they are checked by.
 */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Backpressure from "../../Backpressure.ts"
import type { Batch } from "../../Batch.ts"
import type { Buffer } from "../../Buffer.ts"
import * as Codec from "../../Codec.ts"
import type * as Decision from "../../Decision.ts"
import * as FlushPolicy from "../../FlushPolicy.ts"
import type { HandlerDefect, InvalidOption, MalformedItem, PartialFailure, QueueClosed } from "../../QueueError.ts"
import type { DropReason } from "../../QueueEvent.ts"
import type * as QueueMetrics from "../../QueueMetrics.ts"
import * as Retry from "../../Retry.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import * as Table from "../../unstable/OptionTable.ts"
import { malformed, utf8Bytes } from "../codec/inspection.ts"
import { retryOf } from "../fibers/retrying.ts"
import { policyEntry } from "../intake/policyCheck.ts"

/**
 * What a handler may do with its own queue, even while the queue is closing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handle<in out A> {
  readonly name: string
  /**
   * Offers items to the queue, bypassing the policy and `maxPending`, because a handler must not wait for room that
   * only its own end can make. Within a handler, the methods of the queue do not wait for such room either, but they
   * fail once the queue is closing, and if `maxPending` rejects. The items are stored before the queue is closed. If
   * the handler fails afterwards, the items stay in, and a retry of the handler offers them again.
   *
   * **Errors**: `MalformedItem`: none of the items is in. `QueueClosed`: the queue has ended, and the caller is no
   * longer a running handler; the items before `notTaken` are in. **Interruption** is deferred until all of them are
   * in.
   */
  readonly offer: (items: Iterable<A>) => Effect.Effect<void, MalformedItem<A> | QueueClosed<A>>
}

/**
 * The input of the retry schedule for a failed attempt: the error of the user's `process` (for a partial failure, the
 * error in it), or that it died.
 *
 * @since 0.1.0
 * @category models
 */
export type RetryInput<E> = (E extends PartialFailure<infer Inner> ? Inner : E) | HandlerDefect

/**
 * The policies for an intake.
 *
 * @since 0.1.0
 * @category models
 */
export type IntakePolicy<A> =
  | Backpressure.Suspend
  | Backpressure.Reject
  | Backpressure.DropNewest
  | Backpressure.DropOldest
  | Backpressure.CoalesceByKey<A>

/**
 * When the open batch is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Flush {
  /**
   * How many items the batch may have. With 0 there is no such limit. Default: 1, or no limit where another one is given.
   */
  readonly size?: number | undefined
  /** How many offers the batch may have. They are more than its items where the buffer merges. Default: no limit. */
  readonly pushes?: number | undefined
  /**
   * How many bytes the batch may have. It never has more, unless one item alone has. It is stored when it is full, and
   * before an item that it has no room for. Bytes are counted as JSON has them, or a few more, so in JSON the batch is
   * never larger, not counting its envelope. Where a `buffer` merges items, the bytes of all of them count. Default: no
   * limit but 16 MiB.
   */
  readonly bytes?: number | undefined
  /** How long after its first item the batch is stored. Default: no limit. */
  readonly linger?: Duration.DurationInput | undefined
}

/**
 * A bound on what is stored and not done.
 *
 * @since 0.1.0
 * @category models
 */
export interface MaxPending {
  readonly items: number
  readonly whenFull: "suspend" | "reject"
}

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, I, E, R, R2 = never, R3 = never, RS = never> {
  /** The name in the store, metrics, events and errors. */
  readonly name: string
  /**
   * What an item is. The schema must not be asynchronous: an item for which it is fails as `MalformedItem`. The services
   * that it needs are those of where the queue is made.
   */
  readonly schema: Schema.Schema<A, I, RS>
  /**
   * Handles a batch. It may fail with `Batch.failSome`. A defect counts as a failure. It is interrupted when its lease is
   * lost, and when closing takes longer than `drainTimeout`.
   */
  readonly process: (batch: Batch<A>, queue: Handle<A>) => Effect.Effect<void, E, R>
  /**
   * What happens to items inside a batch, before it is stored and again when several are claimed. Default: items are
   * appended.
   */
  readonly buffer?: Buffer<A, any> | undefined
  /**
   * How many items wait in the intake while the store is busy. The open batch may hold as many again, and so may the
   * batches on their way into the store. A batch with that many items is due, unless `flush.size` says otherwise.
   * Default: 10,000.
   */
  readonly capacity?: number | undefined
  /** What happens when the intake is full. Default: `Backpressure.suspend()`. */
  readonly policy?: IntakePolicy<A> | undefined
  /** When the open batch is stored. Default: at every item, and everything that waits shares the commit. */
  readonly flush?: Flush | undefined
  /** How many fibers of this process handle batches. With 0 this process only offers. Default: 1. */
  readonly workers?: number | undefined
  /** How many stored batches a worker claims at once, to handle them as one. Default: 1. */
  readonly batches?: number | undefined
  /**
   * When a failed batch is tried again. The store remembers how many attempts have failed. When the schedule ends, each
   * item becomes a dead letter, unless there is a `cooldown`. An infinite delay ends it. A schedule with more than 100
   * attempts without a delay is slowed down to one every 10 ms. Default: after 1 second, doubling, at most 1 hour, 10 %
   * more or less, without limit.
   */
  readonly retry?: Schedule.Schedule<unknown, NoInfer<RetryInput<E>>, R2> | undefined
  /**
   * Whether `retry` is asked about an error. Otherwise it is as if the schedule had ended: the item becomes a dead letter,
   * or rests for the `cooldown`. It comes after `decide`, and only where that answers `Decision.retry`. If it throws,
   * there is no retry either, and `onInternalError` is told. Default: `retry` is asked about every error.
   */
  readonly while?: ((error: NoInfer<RetryInput<E>>) => boolean) | undefined
  /**
   * What to do about an error of the whole batch, or of an item that `Batch.failSome` names. Default: `Decision.retry`.
   */
  readonly decide?: ((error: NoInfer<RetryInput<E>>) => Decision.Decision) | undefined
  /**
   * How to find the bad items of a batch that fails as a whole. `"bisect"` tries it in halves, and these in halves again.
   * `"each"` tries it item by item. Both go in order and wait for nothing. What succeeds is settled, and each item that
   * fails alone goes its own way from then on. Use it only for a handler whose failure undoes its effects, or whose
   * effects may happen twice. Default: the batch stays together.
   */
  readonly isolate?: "bisect" | "each" | undefined
  /**
   * How long a worker itself waits for retries, in total for one claim. After that the batch rests in the store until
   * it is due. Default: 100 milliseconds.
   */
  readonly inlineDelay?: Duration.DurationInput | undefined
  /**
   * How long a batch that has run out of retries rests before its retry schedule begins anew. It rests for at least 10
   * milliseconds. Default: its items become dead letters.
   */
  readonly cooldown?: Duration.DurationInput | undefined
  /**
   * How often an item is delivered at most. After that many failures, or crashes of the process that handles it, it
   * becomes a dead letter. Default: no limit.
   */
  readonly maxDeliveries?: number | undefined
  /**
   * How long a process that has died keeps its batches from the others. It must be at least three times as long as the
   * store may wait for its turn to write. Default: 30 seconds.
   */
  readonly leaseDuration?: Duration.DurationInput | undefined
  /** How soon this process notices batches that others have stored. Default: 1 second. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** How encoded items become bytes. Default: JSON. */
  readonly format?: Codec.Format | undefined
  /** How large an item may be, and how deeply nested. Default: `maxItemBytes` 1 MiB, `maxDepth` 64. */
  readonly limits?: Partial<Codec.Limits> | undefined
  /**
   * How many items may be stored and not done. Beyond it, items wait in memory (`"suspend"`), where the policy of the
   * intake holds, or offers fail with `QueueFull` (`"reject"`). A number alone suspends. Handlers may go beyond it with
   * what they offer and flush, and so may a flush inside a transaction, and closing. Default: no limit.
   */
  readonly maxPending?: number | MaxPending | undefined
  /** How long the ids of `offerStored` are remembered. Default: 1 day. */
  readonly idWindow?: Duration.DurationInput | undefined
  /**
   * How long closing the scope waits for running handlers. Then they are interrupted. For as long, but at least for 5
   * seconds, closing tries to store what is buffered. Default: 30 seconds.
   */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /**
   * Told of each attempt that fails. Default: it is logged, a repeated cause once a minute, with how often it came.
   */
  readonly onProcessError?:
    | ((cause: Cause.Cause<NoInfer<E>>, batch: Batch<A>) => Effect.Effect<void, never, R3>)
    | undefined
  /**
   * Told of each failure of the store (which is tried again), of each lost lease, and of a retry schedule or a `decide`
   * that dies. `operation` says what was tried. Default: it is logged, a repeated cause once a minute, with how often it
   * came.
   */
  readonly onInternalError?:
    | ((cause: Cause.Cause<unknown>, operation: string) => Effect.Effect<void, never, R3>)
    | undefined
  /** Called once for each dropped item, in the same step. If it throws, that is logged. Default: none. */
  readonly onDrop?: ((item: A, reason: DropReason) => void) | undefined
  /** Tags and boundaries of the metrics. With false there are none. Default: see `QueueMetrics`. */
  readonly metrics?: QueueMetrics.BatchQueueOptions | false | undefined
}

/**
 * The default retry schedule: 1 second, doubling, at most 1 hour, 10 % more or less, without limit.
 *
 * @since 0.1.0
 * @category defaults
 */
export const defaultRetry: Schedule.Schedule<number> = Retry.exponential({
  base: "1 second",
  cap: "1 hour",
  jitter: 0.1
})

type AnyOptions = Options<any, any, any, any, any, any, any>

/** Whether a store gives some text back as it was. */
export const isText = (text: unknown): boolean =>
  typeof text === "string" && text !== "" && !text.includes("\0") && utf8Bytes(text) !== malformed
  && utf8Bytes(text) <= 512

const finite = (least: number) =>
  Table.where(
    Table.duration,
    (millis) => millis >= least && millis < Infinity,
    `finite, and at least ${least} milliseconds`
  )

/** A format has a name, which is stored with what it makes. */
const checkFormat = (queue: string, field: string, format: unknown): Check.Check => {
  const functions = Check.withFunctions(queue, field, format, ["encode", "decode"], ["carries"])
  if (format === null) return functions
  const { name } = Object(format) as { readonly name?: unknown }
  const limit = "1 to 32 letters, digits, \".\", \"_\" and \"-\""
  return Effect.zipRight(
    Check.check(/^[\w.-]{1,32}$/.test(String(name)), queue, `${field}.name`, name, limit),
    functions
  )
}

const maxPending = Table.make<number | MaxPending, MaxPending, number>({
  kind: "integer, or object",
  limit: "at least 1",
  check: (queue, field, value) => {
    const given = typeof value === "number" ? { items: value, whenFull: "suspend" } : Object(value)
    const { items, whenFull } = given as MaxPending
    return Effect.zipRight(
      Table.positiveInteger.check(queue, field, items),
      Effect.map(
        Table.oneOf("suspend", "reject").check(queue, `${field}.whenFull`, whenFull),
        (whenFull) => ({ items, whenFull })
      )
    )
  }
})

const logged = "it is logged, a repeated cause once a minute, with how often it came"

export const table = {
  name: Table.where(Table.name, isText, "well-formed text of at most 512 bytes, without NUL"),
  schema: Table.holding<Schema.Schema<any, any, any>>("`Schema`", Schema.isSchema, "a Schema"),
  process: Table.callback(),
  buffer: Table.optional(
    Table.withFunctions<Buffer<any, any>>("`Buffer`", (buffer) => {
      const ofMerging = Predicate.hasProperty(buffer, "merge") ? ["key", "merge"] : []
      return { required: ["empty", "push", "size", "pushes", "items", ...ofMerging] }
    }),
    "items are appended"
  ),
  capacity: Table.withDefault(Table.positiveInteger, 10_000),
  policy: Table.withDefault(
    policyEntry<IntakePolicy<any>, Backpressure.CoalesceByKey<any>["whenFull"]>(),
    Backpressure.suspend(),
    "`Backpressure.suspend()`"
  ),
  flush: Table.withDefault(
    Table.object(
      {
        size: Table.optional(Table.integerFrom(0), "1, or no limit where another one is given"),
        pushes: Table.optional(Table.integerFrom(0), "no limit"),
        bytes: Table.optional(Table.integerFrom(0), "no limit but 16 MiB"),
        linger: Table.withDefault(Table.duration, 0, "no limit")
      } satisfies Table.Of<Flush>,
      "an object with size, pushes, bytes or linger"
    ),
    {},
    "at every item, and everything that waits shares the commit"
  ),
  workers: Table.withDefault(Table.integerFrom(0), 1),
  batches: Table.withDefault(Table.positiveInteger, 1),
  retry: Table.withDefault(
    Table.schedule,
    defaultRetry,
    "after 1 second, doubling, at most 1 hour, 10 % more or less, without limit"
  ),
  while: Table.optionalCallback<(error: any) => boolean>("`retry` is asked about every error"),
  decide: Table.optionalCallback("`Decision.retry`"),
  isolate: Table.optional(Table.oneOf("bisect", "each"), "the batch stays together"),
  inlineDelay: Table.withDefault(finite(0), 100),
  cooldown: Table.optional(finite(0), "its items become dead letters"),
  maxDeliveries: Table.optional(Table.positiveInteger, "no limit"),
  leaseDuration: Table.withDefault(
    Table.limited(finite(10), "finite, and three times as long as the store may wait for its turn to write"),
    "30 seconds"
  ),
  pollInterval: Table.withDefault(finite(1), "1 second"),
  format: Table.withDefault(
    Table.make<Codec.Format>({
      kind: "`Format`",
      check: (queue, field, value) => Effect.as(checkFormat(queue, field, value), value as Codec.Format)
    }),
    Codec.json,
    "JSON"
  ),
  limits: Table.withDefault(
    Table.object(
      {
        maxItemBytes: Table.withDefault(Table.bytes, Codec.defaultLimits.maxItemBytes),
        maxDepth: Table.withDefault(Table.positiveInteger, Codec.defaultLimits.maxDepth)
      } satisfies Table.Of<Codec.Limits>,
      "an object with maxItemBytes or maxDepth"
    ),
    {}
  ),
  maxPending: Table.optional(maxPending, "no limit"),
  idWindow: Table.withDefault(finite(1), "1 day"),
  drainTimeout: Table.withDefault(finite(0), "30 seconds"),
  onProcessError: Table.optionalCallback(logged),
  onInternalError: Table.optionalCallback(logged),
  onDrop: Table.optionalCallback("none"),
  metrics: Table.optional(
    Table.holding<QueueMetrics.BatchQueueOptions | false>(
      "object, or false",
      (value) => value === false || typeof value === "object" && value !== null,
      "tags and boundaries"
    ),
    "see `QueueMetrics`"
  )
} satisfies Table.Of<AnyOptions>

/**
 * The options that can come from a configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configurable extends Table.Configurable<typeof table, AnyOptions> {}

export interface Checked extends Omit<Table.Checked<typeof table>, "flush" | "maxDeliveries"> {
  readonly flushPolicy: FlushPolicy.FlushPolicy
  /** Infinite where there is no limit. */
  readonly maxDeliveries: number
  readonly leaseMillis: number
  readonly pollMillis: number
}

export const checkOptions = (options: AnyOptions): Effect.Effect<Checked, InvalidOption> =>
  Effect.map(Table.check(table, "BatchQueue", options), ({ flush, ...checked }) => {
    const { bytes = 0, lingerMillis, pushes = 0 } = flush
    const hasOther = [pushes, bytes, lingerMillis].some((other) => other > 0)
    return {
      ...checked,
      retry: retryOf(checked),
      flushPolicy: FlushPolicy.make({ ...flush, size: flush.size ?? (hasOther ? 0 : 1), linger: lingerMillis }),
      maxDeliveries: checked.maxDeliveries ?? Infinity,
      leaseMillis: checked.leaseDurationMillis,
      pollMillis: checked.pollIntervalMillis
    }
  })

/** A lease must outlast what keeps it from being renewed, or a process takes its own away. */
export const checkLease = (
  name: string,
  leaseMillis: number,
  longestWaitMillis: number | undefined
): Effect.Effect<void, InvalidOption> =>
  Check.check(
    longestWaitMillis === undefined || leaseMillis >= 3 * longestWaitMillis,
    name,
    "leaseDuration",
    leaseMillis,
    `at least ${
      3 * (longestWaitMillis ?? 0)
    } milliseconds, three times as long as the store may wait for its turn to write`
  )

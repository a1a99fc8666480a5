/**
 * A queue as the server sees it: it accepts items as JSON values, and offers the operations and measurements that the
 * queue supports. Made from a `WriteBehind` or a `BatchQueue`; you can adapt a queue of your own.
 *
 * @since 0.1.0
 */
import * as Codec from "@sluice/core/Codec"
import type * as BatchQueueModule from "@sluice/core/BatchQueue"
import type { DeadLetterReason, Outcome } from "@sluice/core/QueueEvent"
import type {
  InvalidKey,
  InvalidOption,
  InvalidWeight,
  ItemDropped,
  MalformedItem,
  OfferTimeout,
  QueueClosed,
  QueueFull,
  StoreUnavailable,
  TooManyItems
} from "@sluice/core/QueueError"
import type { Amount, DeadLetter, Stats } from "@sluice/core/QueueStore"
import * as Result from "@sluice/core/Result"
import type * as WriteBehindModule from "@sluice/core/WriteBehind"
import * as ErrorText from "@sluice/core/unstable/ErrorText"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { faultsIn } from "./internal/field.ts"

/**
 * What is wrong with an item.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fault {
  /** Where in the item, such as `address.lines[2]`. Empty for the item as a whole. */
  readonly field: string
  readonly reason: string
  readonly message: string
}

/**
 * The errors with which a queue refuses items.
 *
 * @since 0.1.0
 * @category models
 */
export type Refusal<A> =
  | QueueFull<A>
  | OfferTimeout<A>
  | QueueClosed<A>
  | InvalidWeight<A>
  | InvalidKey<A>
  | MalformedItem<A>
  | TooManyItems<A>

/**
 * An event as the server reports it: the tag and the numbers of the event, without items.
 *
 * @since 0.1.0
 * @category models
 */
export interface Told {
  readonly _tag: string
  /** When it happened, in milliseconds of Effect's Clock. Default: when the server hears of it. */
  readonly atMillis?: number | undefined
  readonly [field: string]: unknown
}

/**
 * The progress of a queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status {
  /** Items that wait or are being handled in this process. */
  readonly held: number
  /**
   * The total number of items that were done, dropped, or stored in this process. While it grows, there is progress.
   */
  readonly progress: number
  /** The total number of items that have left the queue, or its intake. Its growth is the drain rate. */
  readonly drained: number
  readonly paused: boolean
  /** The counts of the queue, by name. */
  readonly counts: Readonly<Record<string, number>>
  readonly droppedByReason: Readonly<Record<string, number>>
}

/**
 * A queue as the server sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpQueue<in out A = any> {
  readonly name: string
  readonly system: string
  /** Decodes an item from a JSON value, or says what is wrong with it: at least one fault. Never throws. */
  readonly decode: (value: unknown) => Result.Result<A, ReadonlyArray<Fault>>
  /** What happens to integers that a number cannot represent, before `decode`. Default: `"refuse"`. */
  readonly unsafeIntegers?: UnsafeIntegers | undefined
  /** Offers one item, without waiting. */
  readonly unsafeOffer: (item: A) => Outcome | "full" | "closed" | "malformed" | "invalid-weight" | "invalid-key"
  /** Offers one item, and waits for room if the policy says so. An interruption while it waits withdraws the item. */
  readonly offer: (item: A) => Effect.Effect<Outcome, Refusal<A>>
  /** Offers items in order, all or none. It does not wait for room. */
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<WriteBehindModule.Taken, Refusal<A>>
  /** For a queue that has a store: this and the next one, which does not wait for room. */
  readonly offerStored?:
    | ((
      item: A,
      options?: { readonly id?: string | undefined }
    ) => Effect.Effect<"stored" | "duplicate", Refusal<A> | ItemDropped<A> | StoreUnavailable>)
    | undefined
  readonly offerStoredAllOrNone?:
    | ((
      items: ReadonlyArray<A>,
      options?: { readonly ids?: ReadonlyArray<string> | undefined }
    ) => Effect.Effect<BatchQueueModule.Storing, Refusal<A> | StoreUnavailable>)
    | undefined
  /**
   * For a queue that knows when its items are done: offers all or none, and returns an Effect that waits until they
   * are.
   */
  readonly offerTracked?:
    | ((items: ReadonlyArray<A>) => Effect.Effect<Effect.Effect<WriteBehindModule.Settlement>, Refusal<A>>)
    | undefined
  readonly events: Stream.Stream<Told>
  readonly status: Effect.Effect<Status>
  /** Waits until all items of this process are done or stored. */
  readonly flush: Effect.Effect<void, QueueClosed | StoreUnavailable>
  readonly stats?: Effect.Effect<Stats, StoreUnavailable> | undefined
  readonly pause?: Effect.Effect<void> | undefined
  readonly resume?: Effect.Effect<void> | undefined
  readonly deadLetters?: DeadLetters | undefined
}

/**
 * Selects the dead letters that match every given field.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetterQuery {
  /** The reason for which it was set aside. For a `BatchQueue`, one of `QueueEvent.DeadLetterReason`. */
  readonly reason?: string | undefined
  /** A case-sensitive part of its error. */
  readonly error?: string | undefined
  /** It was set aside at least this many milliseconds ago. */
  readonly olderThanMillis?: number | undefined
}

/**
 * Selects dead letters: by id, all of them, or those that match a query.
 *
 * @since 0.1.0
 * @category models
 */
export type WhichLetters = ReadonlyArray<number> | "all" | DeadLetterQuery

/**
 * How many dead letters to process, and how fast: `limit` is an integer, `rate` is more than 0 dead letters a second.
 * With `dryRun` they are only counted.
 *
 * @since 0.1.0
 * @category models
 */
export type LetterOptions = BatchQueueModule.LetterOptions

/**
 * The dead letters of a queue.
 *
 * **Errors**: `StoreUnavailable` is answered with 503, `InvalidOption` with 400: nothing was done, and its `field` is
 * that of the request. **Interruption** comes when the client disconnects, also during the waits of `rate`: the current
 * portion must be completed, and nothing after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetters {
  /** Lists dead letters by id, starting after the id `after` (default: from the first). */
  readonly list: (
    options: DeadLetterQuery & { readonly limit: number; readonly after?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable | InvalidOption>
  /** One dead letter, with its items as JSON values, or with the reason why they cannot be read. */
  readonly inspect: (id: number) => Effect.Effect<Option.Option<InspectedLetter>, StoreUnavailable>
  /** Puts them back. Returns how many. */
  readonly redrive: (
    which: WhichLetters,
    options?: LetterOptions
  ) => Effect.Effect<Amount, StoreUnavailable | InvalidOption>
  /** Deletes them. Returns how many. */
  readonly discard: (
    which: WhichLetters,
    options?: LetterOptions
  ) => Effect.Effect<Amount, StoreUnavailable | InvalidOption>
}

/**
 * A dead letter with its decoded content.
 *
 * @since 0.1.0
 * @category models
 */
export interface InspectedLetter extends DeadLetter {
  /** Its size in the store, in bytes. */
  readonly bytes: number
  readonly content: Result.Result<ReadonlyArray<unknown>, string>
}

/**
 * What happens to an item with an integer that a JavaScript number cannot represent, as most beyond 2^53: it is
 * refused, or the integer is rounded to one that a number can represent.
 *
 * @since 0.1.0
 * @category models
 */
export type UnsafeIntegers = "refuse" | "round"

/**
 * The options of a mounted queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, I> {
  /** What a request is decoded by. It must not be asynchronous. */
  readonly schema: Schema.Schema<A, I>
  /** What an item may be. Default: 1 MiB, and nested 64 deep. */
  readonly limits?: Partial<Codec.Limits> | undefined
  /**
   * What becomes of an item with an integer that would have other digits once it was read as a number: one of those
   * beyond 2^53, without a fraction and an exponent. Default: `"refuse"`.
   */
  readonly unsafeIntegers?: UnsafeIntegers | undefined
}

/** Checks a value before the schema sees it, and then decodes it. */
const makeDecode = <A, I>({ limits, schema }: Options<A, I>): HttpQueue<A>["decode"] => {
  const inspect = Codec.inspect(limits)
  const decode = ParseResult.decodeUnknownEither(schema)
  return (value) => {
    const inspected = inspect(value)
    if (Result.isFailure(inspected)) {
      const { detail, path, reason } = inspected.failure
      return Result.fail([{ field: path, reason, message: detail }])
    }
    try {
      const decoded = decode(value)
      if (Either.isRight(decoded)) return Result.succeed(decoded.right)
      // Looking for all that is wrong goes on to the end, so that is for an item of a usual size.
      const again = inspected.success.bytes <= mostBytes ? decode(value, { errors: "all" }) : decoded
      const issue = Either.isLeft(again) ? again.left : decoded.left
      return Result.fail(faultsIn(issue).map((fault) => ({ ...fault, reason: "type" })))
    } catch (error) {
      // A transformation of the user's.
      return Result.fail([{ field: "", reason: "type", message: ErrorText.messageOf(error) }])
    }
  }
}

/** Of an item with more bytes, the first field that is wrong is told. */
const mostBytes = 64 * 1024

/** The numbers and words of an event, without items. Errors are reported unchanged, even if they mention items. */
const tell = (event: { readonly _tag: string }): Told => {
  const told: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(event)) {
    switch (field) {
      case "item":
      case "replaced":
      // The server says it of every event.
      case "queue":
        break
      case "notTaken":
        told[field] = (value as unknown as ReadonlyArray<unknown>).length
        break
      case "cause":
        told["error"] = errorOf(value)
        break
      default:
        told[field] = value
    }
  }
  return told as Told
}

const longestError = 2000

const errorOf = (cause: unknown): string =>
  (Cause.isCause(cause) ? ErrorText.prettyOf(cause) : ErrorText.messageOf(cause)).slice(0, longestError)

/** The counts that are numbers. */
const numbersOf = (counts: object): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).filter(([, value]) => typeof value === "number"))

/**
 * Adapts a WriteBehind.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromWriteBehind = <A, I>(
  queue: WriteBehindModule.WriteBehind<A>,
  options: Options<A, I>
): HttpQueue<A> => ({
  name: queue.queueName,
  system: "WriteBehind",
  decode: makeDecode(options),
  unsafeIntegers: options.unsafeIntegers,
  unsafeOffer: queue.unsafeOffer,
  offer: queue.offer,
  offerAllOrNone: queue.offerAllOrNone,
  offerTracked: queue.offerTracked,
  events: Stream.map(queue.events, tell),
  status: Effect.map(queue.metrics, (metrics) => {
    const done = metrics.settled + metrics.dropped
    return {
      held: metrics.held,
      progress: done,
      drained: done,
      paused: false,
      counts: numbersOf(metrics),
      droppedByReason: metrics.droppedByReason
    }
  }),
  flush: Effect.asVoid(queue.flushNow)
})

/**
 * Adapts a BatchQueue.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromBatchQueue = <A, I>(
  queue: BatchQueueModule.BatchQueue<A>,
  options: Options<A, I>
): HttpQueue<A> => {
  const encode = Schema.encodeUnknownEither(options.schema)
  const encodeAll = (items: ReadonlyArray<A>): Result.Result<ReadonlyArray<unknown>, string> => {
    const values: Array<unknown> = []
    for (const item of items) {
      const encoded = encode(item)
      if (Either.isLeft(encoded)) return Result.fail(encoded.left.message)
      values.push(encoded.right)
    }
    return isJson(values) ? Result.succeed(values) : Result.fail("its items are in a format that JSON cannot show")
  }
  return {
    name: queue.queueName,
    system: "BatchQueue",
    decode: makeDecode(options),
    unsafeIntegers: options.unsafeIntegers,
    unsafeOffer: queue.unsafeOffer,
    offer: queue.offer,
    offerAllOrNone: queue.offerAllOrNone,
    offerStored: queue.offerStored,
    offerStoredAllOrNone: queue.offerStoredAllOrNone,
    events: Stream.map(queue.events, tell),
    status: Effect.zipWith(queue.metrics, queue.isPaused, (metrics, paused) => {
      const done = metrics.settled + metrics.dropped + metrics.deadLettered
      return {
        held: metrics.held + metrics.inFlight,
        progress: done + metrics.stored + metrics.duplicates,
        // While nothing is stored, because the store is at its limit, finished items make room.
        drained: metrics.stored + metrics.duplicates + metrics.dropped,
        paused,
        counts: numbersOf(metrics),
        droppedByReason: metrics.droppedByReason
      }
    }),
    flush: queue.flush,
    stats: queue.stats,
    pause: queue.pause,
    resume: queue.resume,
    deadLetters: {
      list: ({ after, limit, ...query }) => queue.deadLetters.list({ ...queryOf(query), after, limit }),
      inspect: (id) =>
        Effect.map(
          queue.deadLetters.inspect(id),
          Option.map(({ content, payload, ...letter }) => ({
            ...letter,
            bytes: payload.length,
            content: Result.isSuccess(content) ? encodeAll(content.success) : Result.fail(describe(content.failure))
          }))
        ),
      redrive: (which, options) => queue.deadLetters.redrive(whichOf(which), options),
      discard: (which, options) => queue.deadLetters.discard(whichOf(which), options)
    }
  }
}

/** No dead letter has a reason that the queue does not know. */
const queryOf = ({ error, olderThanMillis, reason }: DeadLetterQuery): BatchQueueModule.DeadLetterQuery => ({
  error,
  olderThan: olderThanMillis,
  reason: reason as DeadLetterReason | undefined
})

const whichOf = (which: WhichLetters): BatchQueueModule.WhichLetters =>
  which === "all" || isIds(which) ? which : queryOf(which)

const isIds = (which: WhichLetters): which is ReadonlyArray<number> => Array.isArray(which)

const isJson = (value: unknown): boolean => {
  try {
    JSON.stringify(value)
    return true
  } catch {
    return false
  }
}

const describe = (unreadable: Codec.Unreadable): string => {
  switch (unreadable._tag) {
    case "Newer":
      return `it was written by a newer version (${unreadable.version})`
    case "Corrupt":
      return `it is corrupt: ${unreadable.detail}`
    case "Broken":
      return unreadable.detail
  }
}

/**
 * Mounts the WriteBehind that the context has under this tag.
 *
 * @example
 * ```ts
 * import { WriteBehind } from "@sluice/core"
 * import { HttpQueue } from "@sluice/http"
 * import { Context, Schema } from "effect"
 *
 * const Reading = Schema.Struct({ sensor: Schema.String, celsius: Schema.Number })
 * class Readings extends Context.Tag("app/Readings")<Readings, WriteBehind.WriteBehind<typeof Reading.Type>>() {}
 *
 * const readings = HttpQueue.writeBehind(Readings, { schema: Reading })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const writeBehind = <Id, A, I>(
  tag: Context.ReadonlyTag<Id, WriteBehindModule.WriteBehind<A>>,
  options: Options<A, I>
): Effect.Effect<HttpQueue<A>, never, Id> => Effect.map(tag, (queue) => fromWriteBehind(queue, options))

/**
 * Mounts the BatchQueue that the context has under this tag.
 *
 * @example
 * ```ts
 * import { BatchQueue } from "@sluice/core"
 * import { HttpQueue } from "@sluice/http"
 * import { Context, Schema } from "effect"
 *
 * const Email = Schema.Struct({ to: Schema.String })
 * class Emails extends Context.Tag("app/Emails")<Emails, BatchQueue.BatchQueue<typeof Email.Type>>() {}
 *
 * const emails = HttpQueue.batchQueue(Emails, { schema: Email })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const batchQueue = <Id, A, I>(
  tag: Context.ReadonlyTag<Id, BatchQueueModule.BatchQueue<A>>,
  options: Options<A, I>
): Effect.Effect<HttpQueue<A>, never, Id> => Effect.map(tag, (queue) => fromBatchQueue(queue, options))

/**
 * A queue as the server sees it: items come in as JSON values, and what can be operated and watched is there where the
 * queue has it. Made from a `WriteBehind` or a `BatchQueue`; a queue of your own can be fitted to it.
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
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fieldOf } from "./internal/field.ts"

/**
 * What is wrong with an item.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fault {
  /** Where in the item, such as `address.lines[2]`; empty for the item as a whole. */
  readonly field: string
  readonly reason: string
  readonly message: string
}

/**
 * What a queue refuses with.
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
 * An event as the server tells it: the tag and the numbers of the event, without items.
 *
 * @since 0.1.0
 * @category models
 */
export interface Told {
  readonly _tag: string
  readonly [field: string]: unknown
}

/**
 * How far a queue is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status {
  /** Items that wait in this process, or are being handled in it. */
  readonly held: number
  /** Items that were done, dropped, or stored, ever, in this process: where this grows, there is progress. */
  readonly progress: number
  /** Items that have left the queue, or its intake, ever: how fast this grows is how fast it drains. */
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
  /** An item of a JSON value, or what is wrong with it. Never throws. */
  readonly decode: (value: unknown) => Result.Result<A, Fault>
  /** What becomes of integers that no number holds, before `decode`. Default: `"refuse"`. */
  readonly unsafeIntegers?: UnsafeIntegers | undefined
  /** Offers one item at once. */
  readonly unsafeOffer: (item: A) => Outcome | "full" | "closed" | "malformed" | "invalid-weight" | "invalid-key"
  /** Offers one item, and waits for room where the policy says so. An interruption while it waits takes it out. */
  readonly offer: (item: A) => Effect.Effect<Outcome, Refusal<A>>
  /** Offers items in order, all or none. It waits for no room. */
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<WriteBehindModule.Taken, Refusal<A>>
  /** For a queue that has a store: this and the next, which waits for no room. */
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
  /** For a queue that knows when its items are done: offers all or none, and answers what waits for that. */
  readonly offerTracked?:
    | ((items: ReadonlyArray<A>) => Effect.Effect<Effect.Effect<WriteBehindModule.Settlement>, Refusal<A>>)
    | undefined
  readonly events: Stream.Stream<Told>
  readonly status: Effect.Effect<Status>
  /** Waits until what this process holds is done, or stored. */
  readonly flush: Effect.Effect<void, QueueClosed | StoreUnavailable>
  readonly stats?: Effect.Effect<Stats, StoreUnavailable> | undefined
  readonly pause?: Effect.Effect<void> | undefined
  readonly resume?: Effect.Effect<void> | undefined
  readonly deadLetters?: DeadLetters | undefined
}

/**
 * What a dead letter must be like to be meant: everything holds of it that is given here.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetterQuery {
  /** Why it was set aside. Of a `BatchQueue` it is one of the reasons of `QueueEvent.DeadLetterReason`. */
  readonly reason?: string | undefined
  /** Text that is in its error, upper and lower case as it is. */
  readonly error?: string | undefined
  /** It was set aside so many milliseconds ago, or longer. */
  readonly olderThanMillis?: number | undefined
}

/**
 * Which dead letters: by their ids, all of them, or those that a query is for.
 *
 * @since 0.1.0
 * @category models
 */
export type WhichLetters = ReadonlyArray<number> | "all" | DeadLetterQuery

/**
 * How much is done with dead letters, and how fast: `limit` is a whole number, `rate` more than 0 dead letters a second.
 * With `dryRun` they are only counted.
 *
 * @since 0.1.0
 * @category models
 */
export type LetterOptions = BatchQueueModule.LetterOptions

/**
 * The dead letters of a queue.
 *
 * **Errors**: `StoreUnavailable` is answered with 503, `InvalidOption` with 400: nothing was done then, and its `field`
 * is that of the request. **Interruption** comes when the client goes away, also while `rate` is waited for: what has
 * begun must be done to its end, and nothing after it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetters {
  /** Those after the one with the id `after` (default: from the first), by id. */
  readonly list: (
    options: DeadLetterQuery & { readonly limit: number; readonly after?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable | InvalidOption>
  /** One of them, with its items as JSON values, or with why they cannot be read. */
  readonly inspect: (id: number) => Effect.Effect<Option.Option<InspectedLetter>, StoreUnavailable>
  /** Puts them back. Answers how much that was. */
  readonly redrive: (
    which: WhichLetters,
    options?: LetterOptions
  ) => Effect.Effect<Amount, StoreUnavailable | InvalidOption>
  /** Deletes them. Answers how much that was. */
  readonly discard: (
    which: WhichLetters,
    options?: LetterOptions
  ) => Effect.Effect<Amount, StoreUnavailable | InvalidOption>
}

/**
 * A dead letter that was opened.
 *
 * @since 0.1.0
 * @category models
 */
export interface InspectedLetter extends DeadLetter {
  /** How large it is in the store. */
  readonly bytes: number
  readonly content: Result.Result<ReadonlyArray<unknown>, string>
}

/**
 * What becomes of an item with an integer in it that a number of JavaScript does not hold, as most beyond 2^53: it is
 * refused, or the integer is rounded to one that a number holds.
 *
 * @since 0.1.0
 * @category models
 */
export type UnsafeIntegers = "refuse" | "round"

/**
 * What the items of a queue are.
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

/** Looks at a value before the schema does, and then decodes it. */
const makeDecode = <A, I>({ limits, schema }: Options<A, I>): HttpQueue<A>["decode"] => {
  const inspect = Codec.inspect(limits)
  const decode = ParseResult.decodeUnknownEither(schema)
  return (value) => {
    const inspected = inspect(value)
    if (Result.isFailure(inspected)) {
      const { detail, path, reason } = inspected.failure
      return Result.fail({ field: path, reason, message: detail })
    }
    try {
      const decoded = decode(value)
      return Either.isLeft(decoded) ? Result.fail(faultOf(decoded.left)) : Result.succeed(decoded.right)
    } catch (error) {
      // A transformation of the user's.
      return Result.fail({ field: "", reason: "type", message: error instanceof Error ? error.message : String(error) })
    }
  }
}

const faultOf = (issue: ParseResult.ParseIssue): Fault => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  return { field: fieldOf(first.path), reason: "type", message: first.message }
}

/** The numbers and words of an event. Items stay out of it; errors are told as they are, whatever they say of items. */
const tell = (event: { readonly _tag: string }): Told => {
  const told: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(event)) {
    switch (field) {
      case "item":
      case "replaced":
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

const errorOf = (cause: unknown): string => {
  try {
    return (Cause.isCause(cause) ? Cause.pretty(cause) : String(cause)).slice(0, longestError)
  } catch {
    // A plain object with a `bigint` in it, or one with a getter that throws: the events go on.
    return "Error: there is no text of it"
  }
}

/** Those of the counts that are numbers. */
const numbersOf = (counts: object): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).filter(([, value]) => typeof value === "number"))

/**
 * Fits a WriteBehind.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromWriteBehind = <A, I>(
  queue: WriteBehindModule.WriteBehind<A>,
  options: Options<A, I>
): HttpQueue<A> => ({
  name: queue.name,
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
 * Fits a BatchQueue.
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
    name: queue.name,
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
        held: metrics.waiting + metrics.buffered + metrics.inFlight,
        progress: done + metrics.stored + metrics.duplicates,
        // While nothing is stored, because the store has as much as it may, what is done makes room.
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

/** Nothing has died of a reason that the queue does not know. */
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
 * A WriteBehind that is in the context under this tag.
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
  tag: Context.Tag<Id, WriteBehindModule.WriteBehind<A>>,
  options: Options<A, I>
): Effect.Effect<HttpQueue<A>, never, Id> => Effect.map(tag, (queue) => fromWriteBehind(queue, options))

/**
 * A BatchQueue that is in the context under this tag.
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
  tag: Context.Tag<Id, BatchQueueModule.BatchQueue<A>>,
  options: Options<A, I>
): Effect.Effect<HttpQueue<A>, never, Id> => Effect.map(tag, (queue) => fromBatchQueue(queue, options))

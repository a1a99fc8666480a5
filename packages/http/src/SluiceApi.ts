/**
 * The description of what the server offers, for `HttpApi`: to be put into an API of your own, served by it, and called
 * by its generated client. It holds no implementation, so a client can import it.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import * as HttpError from "./HttpError.ts"

// --- taking items in ---------------------------------------------------------------------------------------------------

/**
 * What became of the items of a request. `items` is the sum of the others.
 *
 * @since 0.1.0
 * @category models
 */
export const Taken = Schema.Struct({
  items: Schema.Int,
  /** In the queue, and not waited for. */
  accepted: Schema.Int,
  coalesced: Schema.Int,
  dropped: Schema.Int,
  /** Known from an earlier request with the same `Idempotency-Key`. */
  duplicates: Schema.Int,
  stored: Schema.Int,
  settled: Schema.Int
}).annotations({ identifier: "Taken", ...HttpApiSchema.annotations({ status: 202 }) })

/** A literal to clients and in the documentation. The handler looks at it by itself, and says what is wrong with it. */
const Wait = Schema.Unknown.annotations({
  jsonSchema: { type: "string", enum: ["stored", "settled"] }
}) as unknown as Schema.Literal<["stored", "settled"]>

const urlParams = Schema.Struct({
  /** When to answer: once the items are on the disk, or done. Default: as soon as they are in the queue. */
  wait: Schema.optional(Wait)
})

const headers = Schema.Struct({
  /** Makes a request that is repeated count once: `k1`, or `"k1"` in quotes, which is the same. */
  "idempotency-key": Schema.optional(Schema.String)
})

/** The endpoint of one queue. Schemas are decoded by the handler, which takes streams as well. */
const offer = <const Name extends string, A, I>(name: Name, schema: Schema.Schema<A, I>) =>
  HttpApiEndpoint.post(name, `/queues/${name}`)
    .setPayload(Schema.Union(schema, Schema.Array(schema)))
    .setUrlParams(urlParams)
    .setHeaders(headers)
    .addSuccess(Taken)
    .addError(HttpError.InvalidItems)
    .addError(HttpError.InvalidRequest)
    .addError(HttpError.Unauthorized)
    .addError(HttpError.UnknownQueue)
    .addError(HttpError.TooLarge)
    .addError(HttpError.UnsupportedMediaType)
    .addError(HttpError.IdempotencyKeyReused)
    .addError(HttpError.QueueIsFull)
    .addError(HttpError.QueueUnavailable)
    .addError(HttpError.ServerStarting)
    .addError(HttpError.ServerClosing)
    .annotate(
      OpenApi.Description,
      `Offers an item, or an array all or none, to ${name}. As application/x-ndjson, one item a line, a stream of any `
        + "length is taken as far as it goes."
    )

/**
 * The schemas of queues, by their names.
 *
 * @since 0.1.0
 * @category models
 */
export type Schemas = Readonly<Record<string, Schema.Schema<any, any>>>

/**
 * The endpoint of a queue: named like it.
 *
 * @since 0.1.0
 * @category models
 */
export type OfferEndpoint<Name extends string, S extends Schema.Schema<any, any>> = ReturnType<
  typeof offer<Name, Schema.Schema.Type<S>, Schema.Schema.Encoded<S>>
>

/**
 * The group that takes items in: `client.queues.emails({ payload, ... })`.
 *
 * @since 0.1.0
 * @category models
 */
export type IngestGroup<Queues extends Schemas> = HttpApiGroup.HttpApiGroup<
  "queues",
  { readonly [Name in keyof Queues & string]: OfferEndpoint<Name, Queues[Name]> }[keyof Queues & string]
>

/**
 * Describes the endpoints that take items in, one for each queue. The keys are the names of the queues, of letters,
 * digits, and `.`, `_`, `~`, `-`, which differ in more than case.
 *
 * @since 0.1.0
 * @category groups
 */
export const ingest = <const Queues extends Schemas>(queues: Queues): IngestGroup<Queues> => {
  let group: HttpApiGroup.HttpApiGroup.Any = HttpApiGroup.make("queues").annotate(
    OpenApi.Title,
    "Queues: taking items in"
  )
  for (const [name, schema] of Object.entries(queues)) {
    group = (group as HttpApiGroup.HttpApiGroup<"queues">).add(offer(name, schema))
  }
  return group as IngestGroup<Queues>
}

// --- operating ---------------------------------------------------------------------------------------------------------

/**
 * Lets those with the right bearer token operate queues.
 *
 * @since 0.1.0
 * @category middleware
 */
export class AdminAuthorization extends HttpApiMiddleware.Tag<AdminAuthorization>()("@sluice/http/AdminAuthorization", {
  failure: HttpError.Unauthorized,
  security: { bearer: HttpApiSecurity.bearer }
}) {}

/** @since 0.1.0 @category models */
export const Amount = Schema.Struct({ batches: Schema.Int, items: Schema.Int }).annotations({ identifier: "Amount" })

/**
 * How far a queue is: the counts of this process, and what its store says of all processes, where it has one.
 *
 * @since 0.1.0
 * @category models
 */
export const QueueState = Schema.Struct({
  name: Schema.String,
  system: Schema.String,
  /** Items that wait in this process, or are being handled in it. */
  held: Schema.Int,
  paused: Schema.Boolean,
  /** Whether the server takes nothing more for it. */
  draining: Schema.Boolean,
  drainedPerSecond: Schema.Number,
  /** For how long it has held items and got nowhere, where that is longer than it may be. */
  stalledForMillis: Schema.NullOr(Schema.Number),
  /** What can be done to it. */
  operations: Schema.Array(Schema.Literal("pause", "resume", "drain", "deadLetters")),
  counts: Schema.Record({ key: Schema.String, value: Schema.Number }),
  droppedByReason: Schema.Record({ key: Schema.String, value: Schema.Number }),
  store: Schema.NullOr(Schema.Struct({
    pending: Amount,
    dead: Amount,
    /** Of the pending: what only a newer version of Sluice can read. */
    newer: Amount,
    oldestAgeMillis: Schema.NullOr(Schema.Number),
    /** Until when nobody claims anything, in milliseconds since 1970, where a handler has asked for a pause. */
    heldUntilMillis: Schema.NullOr(Schema.Number)
  }))
}).annotations({ identifier: "QueueState" })

/**
 * An event of a queue, without items.
 *
 * @since 0.1.0
 * @category models
 */
export const QueueEvent = Schema.Struct({
  /** One more than that of the event before, of whichever queue. A process begins with 1. */
  number: Schema.Int,
  queue: Schema.String,
  atMillis: Schema.Number,
  /** Its `_tag` and its fields. */
  event: Schema.Struct({ _tag: Schema.String }, { key: Schema.String, value: Schema.Unknown })
}).annotations({ identifier: "QueueEvent" })

/** @since 0.1.0 @category models */
export const DeadLetter = Schema.Struct({
  id: Schema.Int,
  items: Schema.Int,
  reason: Schema.String,
  error: Schema.String,
  deliveries: Schema.Int,
  attempts: Schema.Int,
  oldestAtMillis: Schema.Number,
  diedAtMillis: Schema.Number
}).annotations({ identifier: "DeadLetter" })

/**
 * A dead letter with its items as JSON, or with why they cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export const InspectedLetter = Schema.Struct({
  ...DeadLetter.fields,
  /** How large it is in the store. */
  bytes: Schema.Int,
  content: Schema.NullOr(Schema.Array(Schema.Unknown)),
  unreadable: Schema.NullOr(Schema.String)
}).annotations({ identifier: "InspectedLetter" })

/** @since 0.1.0 @category models */
export const Ids = Schema.Union(
  Schema.Literal("all"),
  Schema.Array(Schema.NonNegativeInt).pipe(Schema.maxItems(10_000))
).annotations({ description: "Ids of dead letters, at most 10,000, or all of them" })

const reasons =
  "retries-exhausted, deliveries-exhausted, rejected, undecodable or corrupt, where the queue has no reasons "
  + "of its own"

/** A whole number from 0 on. Those that have a name of their own would lose what they are by a description. */
const wholeNumber = (description: string) => Schema.Number.pipe(Schema.int(), Schema.nonNegative({ description }))

/** What a dead letter must be like, in a body or in the parameters of a path. */
const queryOf = <A extends Schema.Schema.AnyNoContext>(olderThanMillis: A) => ({
  reason: Schema.optional(
    Schema.NonEmptyString.annotations({ description: `Why they were set aside: ${reasons}` })
  ),
  error: Schema.optional(
    Schema.NonEmptyString.annotations({ description: "Text that is in their error, upper and lower case as it is" })
  ),
  olderThanMillis: Schema.optional(olderThanMillis)
})

const olderThan = "They were set aside so many milliseconds ago, or longer"

/**
 * What dead letters must be like to be meant: everything holds of them that is given, and something is.
 *
 * @since 0.1.0
 * @category models
 */
export const Where = Schema.Struct(queryOf(wholeNumber(olderThan))).pipe(
  Schema.filter(
    // Of what came out empty by mistake, everything would be done.
    (where) =>
      Object.values(where).some((value) => value !== undefined)
      || "Expected at least one of \"reason\", \"error\" and \"olderThanMillis\"; \"ids\" may be \"all\"",
    { jsonSchema: { minProperties: 1 } }
  )
)

const options = {
  limit: Schema.optional(
    wholeNumber("At most so many, those with the lowest ids. Default: no limit")
  ),
  rate: Schema.optional(
    Schema.Number.pipe(Schema.finite(), Schema.positive()).annotations({
      description: "About so many a second. Default: as fast as the store"
    })
  ),
  dryRun: Schema.optional(
    Schema.Boolean.annotations({ description: "Only counts them, and changes nothing. Default: false" })
  )
}

const absent = Schema.optional(Schema.Never.annotations({ jsonSchema: { not: {} } }))

// What is not known must not be left out by whoever sends it either: less would be asked for, and more be done.
const strict = { parseOptions: { onExcessProperty: "error" } } as const

/**
 * Dead letters by their ids, or all of them, and how much is done with them.
 *
 * @since 0.1.0
 * @category models
 */
export const ByIds = Schema.Struct({ ids: Ids, where: absent, ...options })
  .annotations({ identifier: "DeadLettersByIds", ...strict })

/**
 * Dead letters by what they are like, and how much is done with them.
 *
 * @since 0.1.0
 * @category models
 */
export const ByQuery = Schema.Struct({ where: Where, ids: absent, ...options })
  .annotations({ identifier: "DeadLettersByQuery", ...strict })

/**
 * What a redrive and a discard are for: `ids` or `where`, and not both.
 *
 * @since 0.1.0
 * @category models
 */
export const LetterCommand = Schema.Union(ByIds, ByQuery)

/**
 * Whether a queue is empty: this process holds nothing of it, and nothing is pending in its store, where it has one.
 *
 * @since 0.1.0
 * @category models
 */
export const Drained = Schema.Struct({ drained: Schema.Boolean, held: Schema.Int, pending: Schema.Int }).annotations({
  identifier: "Drained"
})

const name = Schema.Struct({ name: Schema.String })
const nameAndId = Schema.Struct({ name: Schema.String, id: Schema.NumberFromString.pipe(Schema.int()) })

const count = (defaultTo: number, most: number) =>
  Schema.optionalWith(Schema.NumberFromString.pipe(Schema.int(), Schema.between(0, most)), { default: () => defaultTo })

const untilDone = "It is answered once all of it is done, with how much that was: with a rate that takes its time. "
  + "A client that goes away ends it after the portion that has begun; what was done stays done."

/**
 * The group that operates queues, under `/admin`, behind a bearer token.
 *
 * @since 0.1.0
 * @category groups
 */
export class Admin extends HttpApiGroup.make("queueAdmin")
  .add(HttpApiEndpoint.get("list", "/queues").addSuccess(Schema.Array(QueueState)))
  .add(
    HttpApiEndpoint.get("state", "/queues/:name").setPath(name).addSuccess(QueueState).addError(HttpError.UnknownQueue)
  )
  .add(
    HttpApiEndpoint.get("events", "/queues/:name/events").setPath(name)
      .setUrlParams(Schema.Struct({ limit: count(100, 10_000) }))
      .addSuccess(Schema.Array(QueueEvent))
      .addError(HttpError.UnknownQueue)
  )
  .add(
    HttpApiEndpoint.get("live", "/events")
      .setUrlParams(Schema.Struct({ queue: Schema.optional(Schema.String) }))
      .addSuccess(
        Schema.String.pipe(HttpApiSchema.withEncoding({ kind: "Text", contentType: "text/event-stream" }))
      )
      .addError(HttpError.UnknownQueue)
      .annotate(
        OpenApi.Description,
        "Events as they happen, of one queue or of all, as server-sent events. After a pause, `Last-Event-ID` brings "
          + "back those that are still kept; an event `Missed` says how many are not. An id is one of this process and "
          + "of what is watched: with any other, all that are kept come."
      )
  )
  .add(
    HttpApiEndpoint.get("deadLetters", "/queues/:name/dead-letters").setPath(name)
      .setUrlParams(Schema.Struct({
        limit: count(100, 1000),
        after: Schema.optional(Schema.NumberFromString.pipe(Schema.int())),
        ...queryOf(
          Schema.NumberFromString.pipe(Schema.int(), Schema.nonNegative()).annotations({ description: olderThan })
        )
      }))
      .addSuccess(Schema.Array(DeadLetter))
      .addError(HttpError.UnknownQueue).addError(HttpError.NotOffered).addError(HttpError.QueueUnavailable)
      .addError(HttpError.InvalidRequest)
  )
  .add(
    HttpApiEndpoint.get("inspect", "/queues/:name/dead-letters/:id").setPath(nameAndId)
      .addSuccess(InspectedLetter)
      .addError(HttpError.UnknownQueue).addError(HttpError.UnknownDeadLetter).addError(HttpError.NotOffered)
      .addError(HttpError.QueueUnavailable)
  )
  .add(
    HttpApiEndpoint.post("redrive", "/queues/:name/dead-letters/redrive").setPath(name).setPayload(LetterCommand)
      .addSuccess(Amount)
      .addError(HttpError.InvalidRequest).addError(HttpError.TooLarge).addError(HttpError.UnsupportedMediaType)
      .addError(HttpError.UnknownQueue).addError(HttpError.NotOffered).addError(HttpError.QueueUnavailable)
      .annotate(
        OpenApi.Description,
        `Puts dead letters back, each in its own place, as if they had never been delivered. ${untilDone}`
      )
  )
  .add(
    HttpApiEndpoint.post("discard", "/queues/:name/dead-letters/discard").setPath(name).setPayload(LetterCommand)
      .addSuccess(Amount)
      .addError(HttpError.InvalidRequest).addError(HttpError.TooLarge).addError(HttpError.UnsupportedMediaType)
      .addError(HttpError.UnknownQueue).addError(HttpError.NotOffered).addError(HttpError.QueueUnavailable)
      .annotate(OpenApi.Description, `Deletes dead letters. ${untilDone}`)
  )
  .add(
    HttpApiEndpoint.post("pause", "/queues/:name/pause").setPath(name).addSuccess(QueueState)
      .addError(HttpError.UnknownQueue).addError(HttpError.NotOffered)
  )
  .add(
    HttpApiEndpoint.post("resume", "/queues/:name/resume").setPath(name).addSuccess(QueueState)
      .addError(HttpError.UnknownQueue)
  )
  .add(
    HttpApiEndpoint.post("drain", "/queues/:name/drain").setPath(name)
      .setUrlParams(Schema.Struct({ timeoutMillis: count(30_000, 600_000) }))
      .addSuccess(Drained)
      .addError(HttpError.UnknownQueue)
      .annotate(
        OpenApi.Description,
        "The server takes nothing more for the queue, until `resume`, and answers when it is empty, in this "
          + "process and in its store, or after the timeout. What offers otherwise is not stopped."
      )
  )
  .addError(HttpError.ServerStarting)
  .addError(HttpError.ServerClosing)
  .middleware(AdminAuthorization)
  .prefix("/admin")
  .annotate(OpenApi.Title, "Queues: operating")
{}

// --- watching ----------------------------------------------------------------------------------------------------------

/**
 * How the queues of a process are.
 *
 * @since 0.1.0
 * @category models
 */
export class Ready extends Schema.Class<Ready>("Ready")({ queues: Schema.Int }) {}

/**
 * The process should get no work now: it is shutting down, or a queue holds items and makes no progress.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReady extends Schema.TaggedError<NotReady>()("NotReady", {
  closing: Schema.Boolean,
  stalled: Schema.Array(Schema.Struct({ queue: Schema.String, forMillis: Schema.Number }))
}, HttpApiSchema.annotations({ status: 503 })) {}

/**
 * The group that watches: metrics for Prometheus, and whether the process lives and is ready.
 *
 * @since 0.1.0
 * @category groups
 */
export class Watch extends HttpApiGroup.make("queueWatch")
  .add(
    HttpApiEndpoint.get("metrics", "/metrics").addSuccess(
      Schema.String.pipe(HttpApiSchema.withEncoding({ kind: "Text", contentType: "text/plain" }))
    )
  )
  .add(HttpApiEndpoint.get("live", "/health/live").addSuccess(Schema.Struct({ status: Schema.Literal("live") })))
  .add(HttpApiEndpoint.get("ready", "/health/ready").addSuccess(Ready).addError(NotReady))
  .addError(HttpError.ServerStarting)
  .annotate(OpenApi.Title, "Queues: watching")
{}

/**
 * What an API is asked for that must have a group of this name.
 *
 * @since 0.1.0
 * @category models
 */
export type Having<Name extends string, Groups extends HttpApiGroup.HttpApiGroup.Any> = Name extends
  HttpApiGroup.HttpApiGroup.Name<Groups> ? unknown : `the API has no group "${Name}"`

/**
 * An API of the three groups, to be served as it is, or put into your own by `addHttpApi`.
 *
 * @example
 * ```ts
 * import { HttpApi } from "@effect/platform"
 * import { SluiceApi } from "@sluice/http"
 * import { Schema } from "effect"
 *
 * const Email = Schema.Struct({ to: Schema.String })
 *
 * class Api extends HttpApi.make("app").addHttpApi(SluiceApi.make({ emails: Email })) {}
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Queues extends Schemas>(queues: Queues) =>
  HttpApi.make("sluice").add(ingest(queues)).add(Admin).add(Watch)

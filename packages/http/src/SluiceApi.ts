/**
 * The description of the server's endpoints, for `HttpApi`. Add it to an API of your own, which serves it, and call it
 * with the generated client. It has no implementation, so a client can import it.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Effect from "effect/Effect"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as HttpError from "./HttpError.ts"

// --- taking items in ---------------------------------------------------------------------------------------------------

/**
 * The outcome of the items of a request. `items` is the sum of the others.
 *
 * @since 0.1.0
 * @category models
 */
export const Taken = Schema.Struct({
  items: Schema.Int,
  /** In the queue; the answer did not wait for them. */
  accepted: Schema.Int,
  coalesced: Schema.Int,
  dropped: Schema.Int,
  /** Known from an earlier request with the same `Idempotency-Key`. */
  duplicates: Schema.Int,
  stored: Schema.Int,
  settled: Schema.Int
}).annotations({ identifier: "Taken", ...HttpApiSchema.annotations({ status: 202 }) })

/** A literal for clients and in the documentation. The handler checks it itself, and says what is wrong with it. */
const Wait = Schema.Unknown.annotations({
  jsonSchema: { type: "string", enum: ["stored", "settled"] }
}) as unknown as Schema.Literal<["stored", "settled"]>

const urlParams = Schema.Struct({
  /** When to answer: once the items are on disk, or done. Default: once they are in the queue. */
  wait: Schema.optional(Wait)
})

const headers = Schema.Struct({
  /** Makes a repeated request count once: `k1`, or `"k1"` in quotes, which is the same key. */
  "idempotency-key": Schema.optional(Schema.String)
})

/** The endpoint of one queue. The handler decodes the body itself, because it also accepts streams. */
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
 * The schemas of queues, by name.
 *
 * @since 0.1.0
 * @category models
 */
export type Schemas = Readonly<Record<string, Schema.Schema<any, any>>>

/**
 * The endpoint of a queue. It has the name of the queue.
 *
 * @since 0.1.0
 * @category models
 */
export type OfferEndpoint<Name extends string, S extends Schema.Schema<any, any>> = ReturnType<
  typeof offer<Name, Schema.Schema.Type<S>, Schema.Schema.Encoded<S>>
>

/**
 * The group that accepts items: `client.queues.emails({ payload, ... })`.
 *
 * @since 0.1.0
 * @category models
 */
export type IngestGroup<Queues extends Schemas> = HttpApiGroup.HttpApiGroup<
  "queues",
  { readonly [Name in keyof Queues & string]: OfferEndpoint<Name, Queues[Name]> }[keyof Queues & string]
>

/**
 * Describes the endpoints that accept items, one for each queue. The keys are the names of the queues. They consist of
 * letters, digits, and `.`, `_`, `~`, `-`, and must differ in more than case.
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
 * Admits requests with the right bearer token.
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
 * The state of a queue: the counts of this process and, if it has a store, the contents of the store for all processes.
 *
 * @since 0.1.0
 * @category models
 */
export const QueueState = Schema.Struct({
  name: Schema.String,
  system: Schema.String,
  /** Items that wait or are being handled in this process. */
  held: Schema.Int,
  paused: Schema.Boolean,
  /** Whether the server refuses further items for it. */
  draining: Schema.Boolean,
  drainedPerSecond: Schema.Number,
  /** For how long it has held items without progress, if that is longer than `stalledAfter`. */
  stalledForMillis: Schema.NullOr(Schema.Number),
  /** The operations that it supports. */
  operations: Schema.Array(Schema.Literal("pause", "resume", "drain", "deadLetters")),
  counts: Schema.Record({ key: Schema.String, value: Schema.Number }),
  droppedByReason: Schema.Record({ key: Schema.String, value: Schema.Number }),
  store: Schema.NullOr(Schema.Struct({
    pending: Amount,
    dead: Amount,
    /** The pending batches that only a newer version of Sluice can read. */
    newer: Amount,
    oldestAgeMillis: Schema.NullOr(Schema.Number),
    /** Until when the queue is held, in milliseconds since 1970, if a handler has asked for a pause. */
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
  /** One more than that of the previous event of any queue. A process begins with 1. */
  number: Schema.Int,
  queue: Schema.String,
  atMillis: Schema.Number,
  /** The `_tag` and the fields of the event. */
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
 * A dead letter with its items as JSON, or with the reason why they cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export const InspectedLetter = Schema.Struct({
  ...DeadLetter.fields,
  /** Its size in the store, in bytes. */
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

/** An answer names every parameter that is wrong. */
const everyFault = { parseOptions: { errors: "all" } } as const

/** An integer from 0. Adding a description to a named schema, such as `NonNegativeInt`, would replace what it says. */
const wholeNumber = (description: string) => Schema.Number.pipe(Schema.int(), Schema.nonNegative({ description }))

/** The fields that a dead letter must match, in a body or in query parameters. */
const queryOf = <A extends Schema.Schema.AnyNoContext>(olderThanMillis: A) => ({
  reason: Schema.optional(
    Schema.NonEmptyString.annotations({ description: `Why they were set aside: ${reasons}` })
  ),
  error: Schema.optional(
    Schema.NonEmptyString.annotations({ description: "A case-sensitive part of their error" })
  ),
  olderThanMillis: Schema.optional(olderThanMillis)
})

const olderThan = "They were set aside at least this many milliseconds ago"

/**
 * Selects the dead letters that match every given field. At least one field must be given.
 *
 * @since 0.1.0
 * @category models
 */
export const Where = Schema.Struct(queryOf(wholeNumber(olderThan))).pipe(
  Schema.filter(
    // An empty filter, sent by mistake, would select everything.
    (where) =>
      Object.values(where).some((value) => value !== undefined)
      || "Expected at least one of \"reason\", \"error\" and \"olderThanMillis\"; \"ids\" may be \"all\"",
    { jsonSchema: { minProperties: 1 } }
  )
)

const options = {
  limit: Schema.optional(
    wholeNumber("At most this many, lowest ids first. Default: no limit")
  ),
  rate: Schema.optional(
    Schema.Number.pipe(Schema.finite(), Schema.positive()).annotations({
      description: "About this many a second. Default: as fast as the store"
    })
  ),
  dryRun: Schema.optional(
    Schema.Boolean.annotations({ description: "Counts them and changes nothing. Default: false" })
  )
}

const absent = Schema.optional(Schema.Never.annotations({ jsonSchema: { not: {} } }))

// A client must not drop unknown fields either: a weaker filter would select more.
const strict = { parseOptions: { onExcessProperty: "error" } } as const

/**
 * Dead letters by id, or all of them, with options.
 *
 * @since 0.1.0
 * @category models
 */
export const ByIds = Schema.Struct({ ids: Ids, where: absent, ...options })
  .annotations({ identifier: "DeadLettersByIds", ...strict })

/**
 * Dead letters that match a filter, with options.
 *
 * @since 0.1.0
 * @category models
 */
export const ByQuery = Schema.Struct({ where: Where, ids: absent, ...options })
  .annotations({ identifier: "DeadLettersByQuery", ...strict })

/**
 * The selection of a redrive or a discard: `ids` or `where`, but not both.
 *
 * @since 0.1.0
 * @category models
 */
export const LetterCommand = Schema.Union(ByIds, ByQuery)

/**
 * Whether a queue is empty: this process holds none of its items, and nothing is pending in its store, if it has one.
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
      .setUrlParams(
        Schema.Struct({
          limit: count(100, 1000),
          after: Schema.optional(Schema.NumberFromString.pipe(Schema.int())),
          ...queryOf(
            Schema.NumberFromString.pipe(Schema.int(), Schema.nonNegative()).annotations({ description: olderThan })
          )
        }).annotations(everyFault)
      )
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
 * The health of the queues of a process.
 *
 * @since 0.1.0
 * @category models
 */
export class Ready extends Schema.Class<Ready>("Ready")({ queues: Schema.Int }) {}

/**
 * The process should not get work now: it is shutting down, or a queue holds items without progress.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReady extends Schema.TaggedError<NotReady>()("NotReady", {
  closing: Schema.Boolean,
  stalled: Schema.Array(Schema.Struct({ queue: Schema.String, forMillis: Schema.Number }))
}, HttpApiSchema.annotations({ status: 503 })) {}

/**
 * The monitoring group: metrics for Prometheus, liveness and readiness.
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
 * The requirement that an API has a group of this name.
 *
 * @since 0.1.0
 * @category models
 */
export type Having<Name extends string, Groups extends HttpApiGroup.HttpApiGroup.Any> = Name extends
  HttpApiGroup.HttpApiGroup.Name<Groups> ? unknown : `the API has no group "${Name}"`

/**
 * An API of the three groups. Serve it as it is, or add it to your own with `addHttpApi`.
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

// --- calling -----------------------------------------------------------------------------------------------------------

/**
 * The call that offers items to a queue. The payload is enough: `urlParams` and `headers` may be left out.
 *
 * @since 0.1.0
 * @category models
 */
export type Offer<Endpoint, E> = [Endpoint] extends [
  HttpApiEndpoint.HttpApiEndpoint<
    infer _Name,
    infer _Method,
    infer Path,
    infer UrlParams,
    infer Payload,
    infer Headers,
    infer Success,
    infer Failure,
    infer _R,
    infer _RE
  >
] ? <WithResponse extends boolean = false>(
    request:
      & HttpApiEndpoint.HttpApiEndpoint.ClientRequest<Path, never, Payload, never, WithResponse>
      & { readonly urlParams?: UrlParams | undefined; readonly headers?: Headers | undefined }
  ) => Effect.Effect<
    WithResponse extends true ? [Success, HttpClientResponse.HttpClientResponse] : Success,
    Failure | E | HttpClientError.HttpClientError | ParseResult.ParseError
  >
  : never

/**
 * The calls that offer items, by queue.
 *
 * @since 0.1.0
 * @category models
 */
export type Offers<Group, E> = [Group] extends [
  HttpApiGroup.HttpApiGroup<infer _Name, infer Endpoints, infer GroupError, infer _GroupR>
] ? {
    readonly [Endpoint in Endpoints as HttpApiEndpoint.HttpApiEndpoint.Name<Endpoint>]: Offer<Endpoint, E | GroupError>
  }
  : never

/**
 * A client of an API. It is that of `HttpApiClient.make`, except that a call that offers items takes a payload alone.
 *
 * @since 0.1.0
 * @category models
 */
export type Client<Groups extends HttpApiGroup.HttpApiGroup.Any, E> =
  & Omit<HttpApiClient.Client<Groups, E, never>, "queues">
  & { readonly queues: Offers<HttpApiGroup.HttpApiGroup.WithName<Groups, "queues">, E> }

/**
 * The generated client of an API that has the group `queues`, with all groups of the API. It takes the options of
 * `HttpApiClient.make`. A call that offers items takes a payload alone: `urlParams` and `headers` may be left out.
 *
 * @example
 * ```ts
 * import { FetchHttpClient } from "@effect/platform"
 * import { SluiceApi } from "@sluice/http"
 * import { Effect, Schema } from "effect"
 *
 * const Api = SluiceApi.make({ emails: Schema.Struct({ to: Schema.String }) })
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* SluiceApi.client(Api, { baseUrl: "http://localhost:3000" })
 *   yield* client.queues.emails({ payload: { to: "ada@example.com" } })
 * }).pipe(Effect.provide(FetchHttpClient.layer))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const client = <ApiId extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<ApiId, Groups, E, R> & Having<"queues", Groups>,
  options?: Parameters<typeof HttpApiClient.make>[1]
): Effect.Effect<
  Client<Groups, E>,
  never,
  | HttpApiMiddleware.HttpApiMiddleware.Without<R | HttpApiGroup.HttpApiGroup.ClientContext<Groups>>
  | HttpClient.HttpClient
> =>
  Effect.map(HttpApiClient.make(api as HttpApi.HttpApi<ApiId, Groups, E, R>, options), (made) => {
    const client = made as unknown as Readonly<Record<string, Readonly<Record<string, (request: any) => unknown>>>>
    const offers = Object.entries(client["queues"]).map(([name, offer]) => [
      name,
      (request: any) => offer({ ...request, urlParams: request.urlParams ?? {}, headers: request.headers ?? {} })
    ])
    return { ...client, queues: Object.fromEntries(offers) } as unknown as Client<Groups, E>
  })

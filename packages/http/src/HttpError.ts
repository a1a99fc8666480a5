/**
 * What a request can be refused with. Each is a Schema class with its status, so that it crosses the wire as JSON and a
 * generated client fails with the same class.
 *
 * @since 0.1.0
 */
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"

/**
 * What is wrong with one item of a request.
 *
 * @since 0.1.0
 * @category models
 */
export const ItemFault = Schema.Struct({
  /** Which item of the request, counted from 0. */
  position: Schema.Int,
  /** Where in the item, such as `address.lines[2]`; empty for the item as a whole. */
  field: Schema.String,
  /**
   * `type`, `text`, `too-deep`, `too-large`, `unsupported`, `inexact` for an integer that no number holds, `json` where
   * it is no JSON, or `encoding` where the body cannot be decompressed from there on.
   */
  reason: Schema.String,
  message: Schema.String
}).annotations({ identifier: "ItemFault" })

/** @since 0.1.0 @category models */
export type ItemFault = typeof ItemFault.Type

/** How many items of the request are in nevertheless: only of a stream there can be any. */
const taken = { taken: Schema.Int }

/**
 * Items do not fit the schema of the queue, or cannot be stored. Of an item or an array nothing is in; of a stream,
 * `taken` items are. Sending the same again makes no sense.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidItems extends Schema.TaggedError<InvalidItems>()("InvalidItems", {
  queue: Schema.String,
  /** The first hundred that are wrong. */
  faults: Schema.Array(ItemFault),
  ...taken
}, HttpApiSchema.annotations({ status: 400, description: "Items that do not fit the schema of the queue" })) {}

/**
 * A parameter, a header or the body as a whole is wrong. Nothing is in.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  /** What is wrong, such as `wait`, `Idempotency-Key` or `body`. */
  field: Schema.String,
  message: Schema.String
}, HttpApiSchema.annotations({ status: 400, description: "A parameter, a header or the body is wrong" })) {}

/**
 * The token is missing or wrong.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {
  message: Schema.String
}, HttpApiSchema.annotations({ status: 401, description: "The bearer token is missing or wrong" })) {}

/**
 * There is no queue of this name here.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownQueue extends Schema.TaggedError<UnknownQueue>()("UnknownQueue", {
  queue: Schema.String
}, HttpApiSchema.annotations({ status: 404, description: "No queue of this name" })) {}

/**
 * There is no dead letter of this id.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownDeadLetter extends Schema.TaggedError<UnknownDeadLetter>()("UnknownDeadLetter", {
  queue: Schema.String,
  id: Schema.Int
}, HttpApiSchema.annotations({ status: 404, description: "No dead letter of this id" })) {}

/**
 * The path is there, for other methods: those that the header `Allow` has too.
 *
 * @since 0.1.0
 * @category errors
 */
export class MethodNotAllowed extends Schema.TaggedError<MethodNotAllowed>()("MethodNotAllowed", {
  allowed: Schema.Array(Schema.String)
}, HttpApiSchema.annotations({ status: 405, description: "The path is there, for other methods" })) {}

/**
 * The queue cannot do this: a `WriteBehind` has no dead letters, for example.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotOffered extends Schema.TaggedError<NotOffered>()("NotOffered", {
  queue: Schema.String,
  operation: Schema.String
}, HttpApiSchema.annotations({ status: 409, description: "A queue of this kind has no such operation" })) {}

/**
 * The body, a line of a stream, or an array is larger than may be. Of a stream, `taken` items are in.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", {
  /** What is too large: `body`, `line` or `items`. */
  what: Schema.Literal("body", "line", "items"),
  /** How many bytes, or items, it may have. */
  limit: Schema.Number,
  ...taken
}, HttpApiSchema.annotations({ status: 413, description: "The body, a line of it, or the array is too large" })) {}

/**
 * The body is no JSON and no NDJSON in UTF-8, or it has a `Content-Encoding` that is not known here: then the header
 * `Accept-Encoding` of the answer says which are.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnsupportedMediaType extends Schema.TaggedError<UnsupportedMediaType>()(
  "UnsupportedMediaType",
  {
    message: Schema.String
  },
  HttpApiSchema.annotations({
    status: 415,
    description: "Not application/json or application/x-ndjson, or in an unknown encoding"
  })
) {}

/**
 * The `Idempotency-Key` belongs to a request with another body. What is in is of that one, and nothing of this one beyond
 * what they begin with alike. Sending the same again makes no sense: a new request needs a new key.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdempotencyKeyReused extends Schema.TaggedError<IdempotencyKeyReused>()("IdempotencyKeyReused", {
  queue: Schema.String,
  message: Schema.String
}, HttpApiSchema.annotations({ status: 422, description: "The Idempotency-Key belongs to another body" })) {}

/**
 * The queue has no room. Nothing is in; of a stream, `taken` items are. Retry after as many seconds, which the header
 * `Retry-After` says too: they come from how fast the queue has drained of late, and from who was told so before.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueIsFull extends Schema.TaggedError<QueueIsFull>()("QueueIsFull", {
  queue: Schema.String,
  retryAfterSeconds: Schema.Int,
  ...taken
}, HttpApiSchema.annotations({ status: 429, description: "The queue has no room" })) {}

/**
 * The server listens, and what it serves is not there yet: a store is being opened, for example. Ask again in a second.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerStarting extends Schema.TaggedError<ServerStarting>()("ServerStarting", {
  message: Schema.String
}, HttpApiSchema.annotations({ status: 503, description: "The server is starting" })) {}

/**
 * The server is closing, and takes no more requests. Ask another process.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerClosing extends Schema.TaggedError<ServerClosing>()("ServerClosing", {
  message: Schema.String
}, HttpApiSchema.annotations({ status: 503, description: "The server is closing" })) {}

/**
 * The queue is closing, is being drained, or cannot reach its store. Of items that were to be stored, `taken` says how
 * many were taken and then not answered for: they may be stored nevertheless.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueUnavailable extends Schema.TaggedError<QueueUnavailable>()("QueueUnavailable", {
  queue: Schema.String,
  reason: Schema.Literal("closing", "draining", "store"),
  ...taken
}, HttpApiSchema.annotations({ status: 503, description: "The queue is closing, draining, or has no store" })) {}

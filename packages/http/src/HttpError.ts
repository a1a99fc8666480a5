/**
 * The errors of a refused request. Each is a Schema class with its status, so it crosses the wire as JSON and a
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
  /** Where in the item, such as `address.lines[2]`. Empty for the item as a whole. */
  field: Schema.String,
  /**
   * `type`, `text`, `too-deep`, `too-large`, `unsupported`, `inexact` for an integer that a number cannot represent,
   * `json` if it is not JSON, or `encoding` if the body cannot be decompressed from that point on.
   */
  reason: Schema.String,
  message: Schema.String
}).annotations({ identifier: "ItemFault" })

/** @since 0.1.0 @category models */
export type ItemFault = typeof ItemFault.Type

/** How many items of the request were accepted. Only a stream can have any. */
const taken = { taken: Schema.Int }

/**
 * Items do not fit the schema of the queue, or cannot be stored. Of an item or an array nothing was accepted; of a
 * stream, `taken` items were. A retry with the same items cannot succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidItems extends Schema.TaggedError<InvalidItems>()("InvalidItems", {
  queue: Schema.String,
  /** What is wrong, item by item and field by field: the first hundred. */
  faults: Schema.Array(ItemFault),
  ...taken
}, HttpApiSchema.annotations({ status: 400, description: "Items that do not fit the schema of the queue" })) {}

/**
 * What is wrong with a field of a request.
 *
 * @since 0.1.0
 * @category models
 */
export const FieldFault = Schema.Struct({
  /** Such as `wait`, or `where.olderThanMillis`. */
  field: Schema.String,
  message: Schema.String
}).annotations({ identifier: "FieldFault" })

/** @since 0.1.0 @category models */
export type FieldFault = typeof FieldFault.Type

/**
 * A parameter, a header, a field of a command or the body as a whole is invalid. Nothing was accepted.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()("InvalidRequest", {
  /** The first invalid part, such as `wait`, `Idempotency-Key` or `body`. */
  field: Schema.String,
  message: Schema.String,
  /** All invalid parts, up to a hundred. Absent if there is only one. */
  faults: Schema.optional(Schema.Array(FieldFault))
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
 * This server has no queue of this name.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownQueue extends Schema.TaggedError<UnknownQueue>()("UnknownQueue", {
  queue: Schema.String
}, HttpApiSchema.annotations({ status: 404, description: "No queue of this name" })) {}

/**
 * There is no dead letter with this id.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownDeadLetter extends Schema.TaggedError<UnknownDeadLetter>()("UnknownDeadLetter", {
  queue: Schema.String,
  id: Schema.Int
}, HttpApiSchema.annotations({ status: 404, description: "No dead letter of this id" })) {}

/**
 * The path exists for other methods, which the header `Allow` also lists.
 *
 * @since 0.1.0
 * @category errors
 */
export class MethodNotAllowed extends Schema.TaggedError<MethodNotAllowed>()("MethodNotAllowed", {
  allowed: Schema.Array(Schema.String)
}, HttpApiSchema.annotations({ status: 405, description: "The path is there, for other methods" })) {}

/**
 * The queue does not support this: for example, a `WriteBehind` has no dead letters.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotOffered extends Schema.TaggedError<NotOffered>()("NotOffered", {
  queue: Schema.String,
  operation: Schema.String
}, HttpApiSchema.annotations({ status: 409, description: "A queue of this kind has no such operation" })) {}

/**
 * The body, a line of a stream, or an array is too large. Of a stream, `taken` items were accepted.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", {
  /** What is too large: `body`, `line` or `items`. */
  what: Schema.Literal("body", "line", "items"),
  /** The maximum number of bytes or items. */
  limit: Schema.Number,
  ...taken
}, HttpApiSchema.annotations({ status: 413, description: "The body, a line of it, or the array is too large" })) {}

/**
 * The body is neither JSON nor NDJSON in UTF-8, or it has an unsupported `Content-Encoding`. In that case, the header
 * `Accept-Encoding` of the answer lists the supported ones.
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
 * The `Idempotency-Key` belongs to a request with another body. The items of that request were accepted, and none of
 * this one beyond their common beginning. A retry cannot succeed: a new request needs a new key.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdempotencyKeyReused extends Schema.TaggedError<IdempotencyKeyReused>()("IdempotencyKeyReused", {
  queue: Schema.String,
  message: Schema.String
}, HttpApiSchema.annotations({ status: 422, description: "The Idempotency-Key belongs to another body" })) {}

/**
 * The queue has no room. Nothing was accepted; of a stream, `taken` items were. Retry after this many seconds, as the
 * header `Retry-After` also says. They are estimated from the recent drain rate of the queue and from earlier refusals.
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
 * The server listens, but the app is not ready yet: for example, a store is being opened. Retry in a second.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerStarting extends Schema.TaggedError<ServerStarting>()("ServerStarting", {
  message: Schema.String
}, HttpApiSchema.annotations({ status: 503, description: "The server is starting" })) {}

/**
 * The server is closing, and accepts no more requests. Retry at another process.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerClosing extends Schema.TaggedError<ServerClosing>()("ServerClosing", {
  message: Schema.String
}, HttpApiSchema.annotations({ status: 503, description: "The server is closing" })) {}

/**
 * The queue is closing, is being drained, or cannot reach its store. For items that were to be stored, `taken` says how
 * many were taken without an answer from the store: they may be stored nevertheless.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueueUnavailable extends Schema.TaggedError<QueueUnavailable>()("QueueUnavailable", {
  queue: Schema.String,
  reason: Schema.Literal("closing", "draining", "store"),
  ...taken
}, HttpApiSchema.annotations({ status: 503, description: "The queue is closing, draining, or has no store" })) {}

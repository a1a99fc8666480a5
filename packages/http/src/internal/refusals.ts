/**
 * The answers to requests whose items are not taken: what is malformed, too large, full (429), closing or reused.
 */
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { ItemDropped, StoreUnavailable } from "@sluice/core/QueueError"
import {
  IdempotencyKeyReused,
  InvalidItems,
  InvalidRequest,
  type ItemFault,
  QueueIsFull,
  QueueUnavailable,
  TooLarge,
  UnsupportedMediaType
} from "../HttpError.ts"
import type { Refusal } from "../HttpQueue.ts"
import { brokenBody, type Unread } from "./body.ts"
import type { Mounted } from "./mounted.ts"
import { refuse } from "./respond.ts"

type Response = HttpServerResponse.HttpServerResponse

/** The queue was closed before its store had answered. What was to be stored may be so nevertheless. */
interface ClosedTooEarly {
  readonly _tag: "ClosedTooEarly"
}

/** The key of the request belongs to a request with another body. */
interface OtherBody {
  readonly _tag: "OtherBody"
}

export type Failure = Refusal<unknown> | ItemDropped<unknown> | StoreUnavailable | ClosedTooEarly | OtherBody

/** The answer to a body that could not be read. */
export const unreadable = (unread: Unread, what: "body" | "line", limit: number, taken: number): Response => {
  switch (unread._tag) {
    case "TooLarge":
      return refuse(TooLarge, { what, limit, taken })
    case "NotText":
      return refuse(UnsupportedMediaType, { message: "the body must be text in UTF-8" })
    case "Broken":
      return refuse(InvalidRequest, { field: "body", message: brokenBody })
    case "Lost":
      return refuse(InvalidRequest, { field: "body", message: "it has ended too early" })
  }
}

export const invalid = (mounted: Mounted, faults: ReadonlyArray<ItemFault>, taken: number): Response =>
  refuse(InvalidItems, { queue: mounted.queue.name, faults, taken })

/** Under overload most answers are this one, of which there is one for each second to wait. */
export const full = (mounted: Mounted, items: number, taken: number): Response => {
  const seconds = mounted.retryAfterSeconds(items)
  const known = taken === 0 ? mounted.fullAnswers.get(seconds) : undefined
  if (known !== undefined) return known
  const response = refuse(QueueIsFull, { queue: mounted.queue.name, retryAfterSeconds: seconds, taken }, {
    "retry-after": String(seconds)
  })
  if (taken === 0) mounted.fullAnswers.set(seconds, response)
  return response
}

export const unavailable = (mounted: Mounted, reason: "closing" | "draining" | "store", taken: number): Response =>
  refuse(QueueUnavailable, { queue: mounted.queue.name, reason, taken }, { "retry-after": "1" })

const reused = "the Idempotency-Key belongs to a request with another body: a new request needs a new key"

/** The answer to items that were refused; the first of them stands at `position` in the request. */
export const refused = (
  mounted: Mounted,
  error: Failure,
  items: ReadonlyArray<unknown>,
  position: number,
  taken = 0
): Response => {
  switch (error._tag) {
    case "QueueFull":
    case "OfferTimeout":
      return full(mounted, items.length, taken)
    case "TooManyItems":
      return refuse(TooLarge, { what: "items", limit: error.capacity, taken })
    case "StoreUnavailable":
      return unavailable(mounted, "store", taken)
    case "QueueClosed":
    case "ClosedTooEarly":
      return unavailable(mounted, "closing", taken)
    case "OtherBody":
      return refuse(IdempotencyKeyReused, { queue: mounted.queue.name, message: reused })
    case "MalformedItem":
    case "InvalidWeight":
    case "InvalidKey":
    case "ItemDropped": {
      const [field, reason] = error._tag === "MalformedItem" ? [error.path, error.reason] : ["", error._tag]
      const message = error._tag === "MalformedItem" ? error.detail : error.message
      const at = position + Math.max(0, items.indexOf(error.item))
      return invalid(mounted, [{ position: at, field, reason, message }], taken)
    }
  }
}

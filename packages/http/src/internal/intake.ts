/**
 * From the body of a request to items in a queue, and to the answer.
 */
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { ItemDropped, StoreUnavailable } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import {
  InvalidItems,
  InvalidRequest,
  type ItemFault,
  QueueIsFull,
  QueueUnavailable,
  TooLarge,
  UnsupportedMediaType
} from "../HttpError.ts"
import type { Fault, Refusal } from "../HttpQueue.ts"
import { forLines, type Unread } from "./body.ts"
import type { Mounted } from "./mounted.ts"
import { refuse } from "./respond.ts"

type Response = HttpServerResponse.HttpServerResponse

/**
 * What a request asks for besides taking its items.
 * @internal
 */
export interface Ask {
  /** When it is to be answered. */
  readonly wait: "accepted" | "stored" | "settled"
  readonly key: string | undefined
}

/** What became of the items of a request so far. */
interface Counts {
  items: number
  accepted: number
  coalesced: number
  dropped: number
  duplicates: number
  stored: number
  settled: number
}

const nothing = (): Counts => ({
  items: 0,
  accepted: 0,
  coalesced: 0,
  dropped: 0,
  duplicates: 0,
  stored: 0,
  settled: 0
})

const taken = (counts: Counts): Response => HttpServerResponse.unsafeJson(counts, { status: 202 })

/** The answers to a request with one item, which are always the same. */
const takenOne = {
  accepted: taken({ ...nothing(), items: 1, accepted: 1 }),
  coalesced: taken({ ...nothing(), items: 1, coalesced: 1 }),
  dropped: taken({ ...nothing(), items: 1, dropped: 1 })
}

/** No more of what is wrong with a request is told. */
const mostFaults = 100

// --- a body that is read as a whole ------------------------------------------------------------------------------------

/**
 * Takes one item or an array, all of it or none.
 * @internal
 */
export const takeWhole = (mounted: Mounted, text: string, ask: Ask): Effect.Effect<Response> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return Effect.succeed(refuse(InvalidRequest, { field: "body", message: (error as Error).message }))
  }
  if (mounted.isDraining) return Effect.succeed(unavailable(mounted, "draining", 0))
  const { queue } = mounted
  if (!Array.isArray(value)) {
    const decoded = queue.decode(value)
    if (Either.isLeft(decoded)) return Effect.succeed(invalid(mounted, [{ position: 0, ...decoded.left }], 0))
    return ask.wait === "accepted" && ask.key === undefined && !mounted.tracing
      ? takeOne(mounted, decoded.right)
      : takeAll(mounted, [decoded.right], ask)
  }
  const items: Array<unknown> = []
  const faults: Array<ItemFault> = []
  for (const [position, each] of value.entries()) {
    const decoded = queue.decode(each)
    if (Either.isRight(decoded)) items.push(decoded.right)
    else if (faults.push({ position, ...decoded.left }) === mostFaults) break
  }
  return faults.length > 0 ? Effect.succeed(invalid(mounted, faults, 0)) : takeAll(mounted, items, ask)
}

const takeOne = (mounted: Mounted, item: unknown): Effect.Effect<Response> => {
  const outcome = mounted.queue.unsafeOffer(item)
  switch (outcome) {
    case "accepted":
    case "coalesced":
    case "dropped":
      return Effect.succeed(takenOne[outcome])
    case "full":
      return Effect.succeed(full(mounted, 1, 0))
    case "closed":
      return Effect.succeed(unavailable(mounted, "closing", 0))
    case "malformed":
    case "invalid-weight":
    case "invalid-key":
      // Offered again, it says what is wrong with it.
      return Effect.match(mounted.queue.offer(item), {
        onSuccess: (outcome) => takenOne[outcome],
        onFailure: (error) => refused(mounted, error, [item], 0)
      })
  }
}

const takeAll = (mounted: Mounted, items: ReadonlyArray<unknown>, ask: Ask): Effect.Effect<Response> =>
  Effect.suspend(() => {
    const counts = nothing()
    return Effect.match(alone(mounted, ask, Effect.flatten(offerTogether(mounted, items, 0, ask, counts))), {
      onSuccess: () => taken(counts),
      onFailure: (error) => refused(mounted, error, items, 0)
    })
  })

/** A store sees to its ids by itself. In memory one request of a key goes after another. */
const alone = <A, E>({ keys, queue }: Mounted, { key }: Ask, take: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  key === undefined || queue.offerStored !== undefined ? take : keys.alone(key, take)

/** The queue was closed before its store had answered. What was to be stored may be so nevertheless. */
interface ClosedTooEarly {
  readonly _tag: "ClosedTooEarly"
}

type Failure = Refusal<unknown> | ItemDropped<unknown> | StoreUnavailable | ClosedTooEarly

/**
 * Offers items that begin at a position of their request, all or none, and counts what becomes of them. The first step
 * offers them, or stores them; the second waits for their settlement, where that was asked for.
 */
const offerTogether = (
  mounted: Mounted,
  items: ReadonlyArray<unknown>,
  position: number,
  { key, wait }: Ask,
  counts: Counts
): Effect.Effect<Effect.Effect<void>, Failure> => {
  const { offerStoredAllOrNone } = mounted.queue
  if (wait === "stored" && offerStoredAllOrNone !== undefined) {
    const ids = key === undefined ? undefined : items.map((_, index) => idOf(key, position + index))
    return Effect.flatMap(offerStoredAllOrNone(items, { ids }), ({ dropped, droppedByReason, duplicates, stored }) => {
      if ((droppedByReason["shutdown"] ?? 0) > 0) return Effect.fail<Failure>({ _tag: "ClosedTooEarly" })
      count(counts, { items: items.length, stored, duplicates, dropped })
      return Effect.succeed(Effect.void)
    })
  }
  return Effect.suspend(() => offerRest(mounted, items, position, { key, wait }, counts))
}

/** Offers those of the items that are not in from an earlier request. */
const offerRest = (
  mounted: Mounted,
  items: ReadonlyArray<unknown>,
  position: number,
  { key, wait }: Ask,
  counts: Counts
): Effect.Effect<Effect.Effect<void>, Failure> => {
  const { offerAllOrNone, offerTracked } = mounted.queue
  const known = alreadyIn(mounted, key, position, items.length)
  const rest = known === 0 ? items : items.slice(known)
  const offered: Effect.Effect<Effect.Effect<Partial<Counts>>, Refusal<unknown>> =
    wait === "settled" && offerTracked !== undefined
      ? offerTracked(rest)
      : Effect.map(offerAllOrNone(rest), Effect.succeed)
  // Offering waits for nothing. Once the items are in, the key has to be known.
  return Effect.uninterruptible(
    Effect.map(rest.length === 0 ? nobody : offered, (ended) => {
      remember(mounted, key, position + items.length)
      count(counts, { items: items.length, duplicates: known })
      return Effect.map(
        ended,
        ({ accepted, coalesced, dropped, settled }) => count(counts, { accepted, coalesced, dropped, settled })
      )
    })
  )
}

/** Where no item is left to be offered. */
const nobody: Effect.Effect<Effect.Effect<Partial<Counts>>> = Effect.succeed(Effect.succeed({}))

const count = (counts: Counts, more: { readonly [Name in keyof Counts]?: number | undefined }): void => {
  for (const name in more) counts[name as keyof Counts] += more[name as keyof Counts] ?? 0
}

/** The id of an item in the store of its queue, which remembers it there. */
const idOf = (key: string, position: number): string => `http/${key}/${position}`

/** How many of so many items, which begin at a position of the request with this key, are in already. */
const alreadyIn = (mounted: Mounted, key: string | undefined, position: number, items: number): number =>
  key === undefined ? 0 : Math.min(items, Math.max(0, mounted.keys.taken(key, mounted.now()) - position))

/** Remembers that the items of a request before this position are in. */
const remember = (mounted: Mounted, key: string | undefined, position: number): void => {
  if (key !== undefined) mounted.keys.remember(key, position, mounted.now())
}

// --- a stream ----------------------------------------------------------------------------------------------------------

/** So many items of a stream are offered together where they are waited for. */
const mostTogether = 256

/** So many slices of a stream may wait for their settlement; then the stream waits for the oldest. */
const mostUnsettled = 64

/** A request whose body is NDJSON, on its way through the queue. */
class Streaming {
  private readonly mounted: Mounted
  private readonly ask: Ask
  private readonly counts = nothing()
  /** What waits for the settlement of what was offered, oldest first. */
  private readonly unsettled: Array<Effect.Effect<void>> = []
  /** Of the next item. */
  private position = 0
  /** Where an item could not be taken: the answer. */
  private ended: Response | undefined

  constructor(mounted: Mounted, ask: Ask) {
    this.mounted = mounted
    this.ask = ask
  }

  /** Takes the items of some lines. Answers whether to go on. */
  readonly take = (lines: ReadonlyArray<string>): Effect.Effect<boolean> => {
    const items: Array<unknown> = []
    let fault: ItemFault | undefined
    for (const line of lines) {
      if (line.trim() === "") continue
      const decoded = this.decode(line)
      if (Either.isLeft(decoded)) {
        fault = { position: this.position + items.length, ...decoded.left }
        break
      }
      items.push(decoded.right)
    }
    return Effect.map(this.offer(items), () => {
      if (this.ended === undefined && fault !== undefined) {
        this.ended = invalid(this.mounted, [fault], this.position)
      }
      return this.ended === undefined
    })
  }

  private decode(line: string): Either.Either<unknown, Fault> {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      return Either.left({ field: "", reason: "json", message: (error as Error).message })
    }
    return this.mounted.queue.decode(value)
  }

  private offer(items: ReadonlyArray<unknown>): Effect.Effect<void> {
    if (this.mounted.isDraining) {
      this.ended = unavailable(this.mounted, "draining", this.position)
      return Effect.void
    }
    switch (this.ask.wait) {
      case "accepted":
        return this.offerEach(items)
      case "stored":
      case "settled":
        return this.offerSlices(items, 0, mostTogether)
    }
  }

  /** One after the other. Where there is no room the policy says whether to wait: then the client waits too. */
  private offerEach(items: ReadonlyArray<unknown>): Effect.Effect<void> {
    if (this.ask.key !== undefined) return this.offerOnce(items, this.ask.key, 0)
    return Effect.match(this.mounted.queue.offerAll(items), {
      onFailure: (error) => {
        this.position += error.taken
        this.ended = refused(this.mounted, error, [error.notTaken[0]], this.position, this.position)
      },
      onSuccess: (taken) => this.taken({ items: items.length, ...taken })
    })
  }

  /**
   * One after the other, but for those that are in from an earlier request. Another request of this key may come in
   * between: a client that has gone, and of which nobody knows that yet, must not hold up the next.
   */
  private offerOnce(items: ReadonlyArray<unknown>, key: string, from: number): Effect.Effect<void> {
    if (from >= items.length || this.ended !== undefined) return Effect.void
    const { keys, queue } = this.mounted
    const step = Effect.suspend(() => {
      const known = alreadyIn(this.mounted, key, this.position, items.length - from)
      this.taken({ items: known, duplicates: known })
      if (from + known >= items.length) return Effect.succeed(items.length)
      const item = items[from + known]
      return Effect.match(queue.offer(item), {
        onFailure: (error) => {
          this.ended = refused(this.mounted, error, [item], this.position, this.position)
          return items.length
        },
        onSuccess: (outcome) => {
          this.taken({ items: 1, [outcome]: 1 })
          remember(this.mounted, key, this.position)
          return from + known + 1
        }
      })
    })
    return Effect.flatMap(keys.alone(key, step), (next) => this.offerOnce(items, key, next))
  }

  /**
   * Many together, which share a commit, or a wait. Where there is no room for as many, one after the other: one that is to
   * be stored may wait for room.
   */
  private offerSlices(items: ReadonlyArray<unknown>, from: number, most: number): Effect.Effect<void> {
    if (from >= items.length) return Effect.void
    const slice = items.slice(from, from + most)
    const counts = nothing()
    const offered = most === 1 && this.ask.wait === "stored"
      ? Effect.as(this.offerOneStored(slice[0], counts), Effect.void)
      : alone(this.mounted, this.ask, offerTogether(this.mounted, slice, this.position, this.ask, counts))
    return Effect.matchEffect(offered, {
      onFailure: (error) => {
        if (most > 1 && (error._tag === "QueueFull" || error._tag === "TooManyItems")) {
          return this.offerSlices(items, from, 1)
        }
        this.ended = refused(this.mounted, error, slice, this.position, this.position)
        return Effect.void
      },
      onSuccess: (ended) => {
        this.position += slice.length
        this.unsettled.push(Effect.map(ended, () => count(this.counts, counts)))
        const oldest = this.unsettled.length > mostUnsettled || this.ask.wait === "stored"
          ? this.unsettled.shift()!
          : Effect.void
        return Effect.zipRight(oldest, this.offerSlices(items, from + slice.length, Math.min(mostTogether, most * 2)))
      }
    })
  }

  private offerOneStored(item: unknown, counts: Counts): Effect.Effect<void, Failure> {
    const id = this.ask.key === undefined ? undefined : idOf(this.ask.key, this.position)
    return Effect.matchEffect(this.mounted.queue.offerStored!(item, { id }), {
      onFailure: (error): Effect.Effect<void, Failure> => {
        if (error._tag !== "ItemDropped") return Effect.fail(error)
        if (error.reason === "shutdown") return Effect.fail({ _tag: "ClosedTooEarly" })
        return Effect.sync(() => count(counts, { items: 1, dropped: 1 }))
      },
      onSuccess: (ending) =>
        Effect.sync(() => count(counts, ending === "stored" ? { items: 1, stored: 1 } : { items: 1, duplicates: 1 }))
    })
  }

  private taken(more: Partial<Counts>): void {
    count(this.counts, more)
    this.position += more.items ?? 0
  }

  /** What is to be answered once the body has ended, or could not be read on. */
  answer(unread: Unread | undefined, maxLineBytes: number): Effect.Effect<Response> {
    return Effect.map(Effect.all(this.unsettled, { discard: true }), () => {
      if (this.ended !== undefined) return this.ended
      if (unread === undefined) return taken(this.counts)
      if (unread._tag !== "NotText") return unreadable(unread, "line", maxLineBytes, this.position)
      const fault = { position: this.position, field: "", reason: "text", message: "it is not UTF-8" }
      return invalid(this.mounted, [fault], this.position)
    })
  }
}

/**
 * Takes the items of a stream of lines, as far as it can.
 * @internal
 */
export const takeStream = (
  mounted: Mounted,
  request: HttpServerRequest,
  ask: Ask,
  maxLineBytes: number
): Effect.Effect<Response> =>
  Effect.suspend(() => {
    const streaming = new Streaming(mounted, ask)
    return Effect.matchEffect(forLines(request, maxLineBytes, streaming.take), {
      onFailure: (unread) => streaming.answer(unread, maxLineBytes),
      onSuccess: () => streaming.answer(undefined, maxLineBytes)
    })
  })

// --- answers -----------------------------------------------------------------------------------------------------------

/**
 * The answer to a body that could not be read.
 * @internal
 */
export const unreadable = (unread: Unread, what: "body" | "line", limit: number, taken: number): Response => {
  switch (unread._tag) {
    case "TooLarge":
      return refuse(TooLarge, { what, limit, taken })
    case "NotText":
      return refuse(UnsupportedMediaType, { message: "the body must be text in UTF-8" })
    case "Lost":
      return refuse(InvalidRequest, { field: "body", message: "it has ended too early" })
  }
}

const invalid = (mounted: Mounted, faults: ReadonlyArray<ItemFault>, taken: number): Response =>
  refuse(InvalidItems, { queue: mounted.queue.name, faults, taken })

/** Under overload most answers are this one, of which there is one for each second to wait. */
const full = (mounted: Mounted, items: number, taken: number): Response => {
  const seconds = mounted.retryAfterSeconds(items)
  const known = taken === 0 ? mounted.fullAnswers.get(seconds) : undefined
  if (known !== undefined) return known
  const response = refuse(QueueIsFull, { queue: mounted.queue.name, retryAfterSeconds: seconds, taken }, {
    "retry-after": String(seconds)
  })
  if (taken === 0) mounted.fullAnswers.set(seconds, response)
  return response
}

/** @internal */
export const unavailable = (mounted: Mounted, reason: "closing" | "draining" | "store", taken: number): Response =>
  refuse(QueueUnavailable, { queue: mounted.queue.name, reason, taken }, { "retry-after": "1" })

/** The answer to items that were refused; the first of them stands at `position` in the request. */
const refused = (
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

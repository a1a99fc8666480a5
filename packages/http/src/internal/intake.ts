/**
 * Turns the body of a request into items in a queue, and into the answer.
 */
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { Storing } from "@sluice/core/BatchQueue"
import type { ItemDropped, StoreUnavailable } from "@sluice/core/QueueError"
import * as Result from "@sluice/core/Result"
import { timeoutOption } from "@sluice/core/unstable/Sleep"
import { interrupt, join, makeFork, pollExit } from "@sluice/core/unstable/Fibers"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
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
import type { Fault, Refusal } from "../HttpQueue.ts"
import type { Limits } from "../HttpQueues.ts"
import { brokenBody, forLines, type Unread } from "./body.ts"
import { fieldOf } from "./field.ts"
import { Fingerprint } from "./fingerprint.ts"
import { type Inexact, inexactIntegers } from "./integers.ts"
import type { Mounted } from "./mounted.ts"
import type { Span } from "./rememberedKeys.ts"
import { refuse } from "./respond.ts"

type Response = HttpServerResponse.HttpServerResponse

/** What a request asks for besides taking its items. */
export interface Ask {
  /** When it is to be answered. */
  readonly wait: "accepted" | "stored" | "settled"
  readonly key: string | undefined
}

/** Items of a request that are offered together. */
interface Part extends Span {
  readonly items: ReadonlyArray<unknown>
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

/** Takes one item or an array, all of it or none. */
export const takeWhole = (mounted: Mounted, text: string, ask: Ask): Effect.Effect<Response> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return Effect.succeed(refuse(InvalidRequest, { field: "body", message: (error as Error).message }))
  }
  if (mounted.isDraining) return Effect.succeed(unavailable(mounted, "draining", 0))
  const { queue } = mounted
  const inexact = inexactOf(mounted, text, mostFaults)
  if (inexact.length > 0) {
    const isArray = Array.isArray(value)
    return Effect.succeed(invalid(mounted, inexact.map((each) => inexactFault(each, isArray)), 0))
  }
  if (!Array.isArray(value)) {
    const decoded = queue.decode(value)
    if (Result.isFailure(decoded)) return Effect.succeed(invalid(mounted, [{ position: 0, ...decoded.failure }], 0))
    return ask.wait === "accepted" && ask.key === undefined && !mounted.tracing
      ? takeOne(mounted, decoded.success)
      : takeAll(mounted, [decoded.success], [value], ask)
  }
  const items: Array<unknown> = []
  const faults: Array<ItemFault> = []
  for (const [position, each] of value.entries()) {
    const decoded = queue.decode(each)
    if (Result.isSuccess(decoded)) items.push(decoded.success)
    else if (faults.push({ position, ...decoded.failure }) === mostFaults) break
  }
  return faults.length > 0 ? Effect.succeed(invalid(mounted, faults, 0)) : takeAll(mounted, items, value, ask)
}

const inexactOf = ({ queue }: Mounted, text: string, most: number): ReadonlyArray<Inexact> =>
  queue.unsafeIntegers === "round" ? [] : inexactIntegers(text, most)

const inexactFault = ({ message, path }: Inexact, isArray: boolean): ItemFault => {
  const [position, field] = isArray ? [Number(path[0]), path.slice(1)] : [0, path]
  return { position, field: fieldOf(field), reason: "inexact", message }
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

const takeAll = (
  mounted: Mounted,
  items: ReadonlyArray<unknown>,
  values: ReadonlyArray<unknown>,
  ask: Ask
): Effect.Effect<Response> =>
  Effect.suspend(() => {
    const counts = nothing()
    const fingerprint = new Fingerprint()
    const prints = [fingerprint.print]
    if (ask.key !== undefined) { for (const value of values) prints.push(fingerprint.add(value)) }
    const part: Part = { items, size: items.length, position: 0, printAt: (position) => prints[position], isLast: true }
    return Effect.match(alone(mounted, ask, Effect.flatten(offerTogether(mounted, part, ask, counts))), {
      onSuccess: () => taken(counts),
      onFailure: (error) => refused(mounted, error, items, 0)
    })
  })

/** One request of a key goes after another: only then it is known what the first was. */
const alone = <A, E>({ keys }: Mounted, { key }: Ask, take: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  key === undefined ? take : keys.alone(key, take)

/** The queue was closed before its store had answered. What was to be stored may be so nevertheless. */
interface ClosedTooEarly {
  readonly _tag: "ClosedTooEarly"
}

/** The key of the request belongs to a request with another body. */
interface OtherBody {
  readonly _tag: "OtherBody"
}

type Failure = Refusal<unknown> | ItemDropped<unknown> | StoreUnavailable | ClosedTooEarly | OtherBody

const otherBody: Effect.Effect<never, Failure> = Effect.fail({ _tag: "OtherBody" })

/**
 * Offers items, all or none, and counts what becomes of them. The first step offers them, or stores them; the second
 * waits for their settlement, where that was asked for.
 */
const offerTogether = (
  mounted: Mounted,
  part: Part,
  { key, wait }: Ask,
  counts: Counts
): Effect.Effect<Effect.Effect<void>, Failure> => {
  const { offerStoredAllOrNone } = mounted.queue
  if (wait === "stored" && offerStoredAllOrNone !== undefined) {
    const { items } = part
    const ids = key === undefined ? undefined : items.map((_, index) => idOf(key, part, index))
    const known: Storing = { stored: 0, duplicates: items.length, dropped: 0, droppedByReason: {} }
    const offered = storedOnce(mounted, part, key, offerStoredAllOrNone(items, { ids }), known)
    return Effect.flatMap(offered, ({ dropped, droppedByReason, duplicates, stored }) => {
      if ((droppedByReason["shutdown"] ?? 0) > 0) return Effect.fail<Failure>({ _tag: "ClosedTooEarly" })
      count(counts, { items: items.length, stored, duplicates, dropped })
      return Effect.succeed(Effect.void)
    })
  }
  return Effect.suspend(() => offerRest(mounted, part, { key, wait }, counts))
}

/**
 * Stores items where they are of the body that the key belongs to, and then remembers that they are. Where only what
 * comes next can tell that, they are in: `known` is the answer.
 */
const storedOnce = <A>(
  mounted: Mounted,
  part: Part,
  key: string | undefined,
  store: Effect.Effect<A, Failure>,
  known: A
): Effect.Effect<A, Failure> => {
  if (key === undefined) return store
  return Effect.suspend(() => {
    if (isOther(mounted, key, part)) return otherBody
    if (mounted.keys.isBehind(key, part, mounted.now())) return Effect.succeed(known)
    return Effect.onExit(
      store,
      (exit) => Effect.sync(() => mayBeIn(exit) && remember(mounted, key, part, Exit.isSuccess(exit)))
    )
  })
}

/** Whether items may have been stored, although the request no longer waits for the answer. */
const mayBeIn = (exit: Exit.Exit<unknown, Failure>): boolean => {
  const failure = Exit.isSuccess(exit) ? Option.none() : Cause.failureOption(exit.cause)
  return Option.isNone(failure) || failure.value._tag === "StoreUnavailable" || failure.value._tag === "ItemDropped"
}

/** Offers those of the items that are not in from an earlier request. */
const offerRest = (
  mounted: Mounted,
  part: Part,
  { key, wait }: Ask,
  counts: Counts
): Effect.Effect<Effect.Effect<void>, Failure> => {
  const { offerAllOrNone, offerTracked } = mounted.queue
  const { items, position } = part
  if (isOther(mounted, key, part)) return otherBody
  const known = alreadyIn(mounted, key, position, items.length)
  const rest = known === 0 ? items : items.slice(known)
  const offered: Effect.Effect<Effect.Effect<Partial<Counts>>, Refusal<unknown>> =
    wait === "settled" && offerTracked !== undefined
      ? offerTracked(rest)
      : Effect.map(offerAllOrNone(rest), Effect.succeed)
  // Offering waits for nothing. Once the items are in, the key has to be known.
  return Effect.uninterruptible(
    Effect.map(rest.length === 0 ? nobody : offered, (ended) => {
      remember(mounted, key, part)
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

/**
 * The id of an item in the store of its queue, which remembers it there. It says what the item is: where nobody here
 * remembers the key any more, another body is not taken for the one that is stored.
 */
const idOf = (key: string, { position, printAt }: Part, index: number): string =>
  `http/${key}/${position + index}/${printAt(position + index + 1)}`

const isOther = (mounted: Mounted, key: string | undefined, part: Span): boolean =>
  key !== undefined && mounted.keys.isOther(key, part, mounted.now())

/** How many of the given items, from a position of the request with this key, were already accepted. */
const alreadyIn = (mounted: Mounted, key: string | undefined, position: number, items: number): number =>
  key === undefined ? 0 : Math.min(items, Math.max(0, mounted.keys.taken(key, mounted.now()) - position))

/** Remembers that the items of a request are in up to the end of this part, or may be. */
const remember = (mounted: Mounted, key: string | undefined, part: Part, isSure = true): void => {
  if (key !== undefined) mounted.keys.remember(key, part, isSure, mounted.now())
}

// --- a stream ----------------------------------------------------------------------------------------------------------

/** How many items of a stream are offered together, if the request waits for them. */
const mostTogether = 256

/** How many slices of a stream may wait for their settlement. At the limit, the stream waits for the oldest. */
const mostUnsettled = 64

/** Whether a line has nothing but the white space of JSON: that of the language has more, also a byte order mark. */
const isBlank = (line: string): boolean => /^[ \t\r]*$/.test(line)

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
  private readonly fingerprint = new Fingerprint()
  /** The fingerprints at the positions from `printedFrom` on, where there is a key. */
  private prints: Array<string> = []
  private printedFrom = 0
  /** For how long it may still wait while its body is being sent. */
  private waitLeftMillis: number
  /** Whether what is waited for is the store, and not room. */
  private waitsForStore = false

  constructor(mounted: Mounted, ask: Ask, maxWaitMillis: number) {
    this.mounted = mounted
    this.ask = ask
    this.waitLeftMillis = maxWaitMillis
  }

  /** Takes the items of some lines. Answers whether to go on. */
  readonly take = (lines: ReadonlyArray<string>): Effect.Effect<boolean> => {
    const items: Array<unknown> = []
    let fault: ItemFault | undefined
    this.prints = [this.fingerprint.print]
    this.printedFrom = this.position
    for (const line of lines) {
      if (isBlank(line)) continue
      const decoded = this.decode(line)
      if (Result.isFailure(decoded)) {
        fault = { ...decoded.failure, position: this.position + items.length }
        break
      }
      items.push(decoded.success)
    }
    const offered = this.offer(items)
    return Effect.map(items.length === 0 ? Effect.as(offered, true) : this.bounded(offered), (isInTime) => {
      if (!isInTime) this.ended ??= this.tooLate()
      if (this.ended === undefined && fault !== undefined) {
        this.ended = invalid(this.mounted, [fault], this.position)
      }
      return this.ended === undefined
    })
  }

  private decode(line: string): Result.Result<unknown, Fault> {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      return Result.fail({ field: "", reason: "json", message: (error as Error).message })
    }
    const [inexact] = inexactOf(this.mounted, line, 1)
    if (inexact !== undefined) return Result.fail(inexactFault(inexact, false))
    const decoded = this.mounted.queue.decode(value)
    if (this.ask.key !== undefined && Result.isSuccess(decoded)) this.prints.push(this.fingerprint.add(value))
    return decoded
  }

  /** The items that are next. */
  private part(items: ReadonlyArray<unknown>, isLast = false): Part {
    const { printedFrom, prints } = this
    return {
      items,
      size: items.length,
      position: this.position,
      printAt: (position) => prints[position - printedFrom],
      isLast
    }
  }

  /**
   * Waits while the body is being sent, for as long as the stream may in all: a server cuts a request that takes too
   * long, and nobody would be told how many items are in. Answers whether it was in time.
   */
  private bounded(wait: Effect.Effect<void>): Effect.Effect<boolean> {
    if (this.waitLeftMillis === Infinity) return Effect.as(wait, true)
    return Effect.flatMap(makeFork<never>(), (fork) =>
      Effect.uninterruptibleMask((restore) => {
        // It runs at once. Mostly there is nothing to wait for, and then there is no timer.
        const fiber = fork(wait)
        const exit = pollExit(fiber)
        if (exit !== undefined) return Effect.as(exit, true)
        const began = this.mounted.now()
        const ended = restore(timeoutOption(join(fiber), this.waitLeftMillis))
        return Effect.map(Effect.ensuring(ended, interrupt(fiber)), (ended) => {
          this.waitLeftMillis = Math.max(0, this.waitLeftMillis - (this.mounted.now() - began))
          return Option.isSome(ended)
        })
      }))
  }

  private tooLate(): Response {
    return this.waitsForStore
      ? unavailable(this.mounted, "store", this.position)
      : full(this.mounted, 1, this.position)
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
    const { queue } = this.mounted
    let at = 0
    const offers = Effect.whileLoop({
      while: () => at < items.length,
      body: () => queue.offer(items[at]),
      step: (outcome) => {
        at += 1
        this.takenOne(outcome)
      }
    })
    return Effect.catchAll(offers, (error) =>
      Effect.sync(() => {
        this.ended = refused(this.mounted, error, [items[at]], this.position, this.position)
      }))
  }

  /**
   * One after the other, but for those that are in from an earlier request. Another request of this key may come in
   * between: a client that has gone, and of which nobody knows that yet, must not hold up the next.
   */
  private offerOnce(items: ReadonlyArray<unknown>, key: string, from: number): Effect.Effect<void> {
    if (from >= items.length || this.ended !== undefined) return Effect.void
    const { keys, queue } = this.mounted
    const step = Effect.suspend(() => {
      if (isOther(this.mounted, key, { ...this.part(items), size: items.length - from })) {
        this.ended = refused(this.mounted, { _tag: "OtherBody" }, [], this.position)
        return Effect.succeed(items.length)
      }
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
          remember(this.mounted, key, this.part([item]))
          this.takenOne(outcome)
          return from + known + 1
        }
      })
    })
    return Effect.flatMap(keys.alone(key, step), (next) => this.offerOnce(items, key, next))
  }

  /**
   * Many together, which share a commit, or a wait. Where there is no room for as many, one after the other: one that is
   * to be stored may wait for room.
   */
  private offerSlices(items: ReadonlyArray<unknown>, from: number, most: number): Effect.Effect<void> {
    if (from >= items.length) return Effect.void
    const slice = items.slice(from, from + most)
    const counts = nothing()
    const part = this.part(slice)
    this.waitsForStore = most > 1 && this.ask.wait === "stored"
    const offered = most === 1 && this.ask.wait === "stored"
      ? Effect.as(this.offerOneStored(part, counts), Effect.void)
      : offerTogether(this.mounted, part, this.ask, counts)
    return Effect.matchEffect(alone(this.mounted, this.ask, offered), {
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

  private offerOneStored(part: Part, counts: Counts): Effect.Effect<void, Failure> {
    const { key } = this.ask
    const id = key === undefined ? undefined : idOf(key, part, 0)
    const { offerStored } = this.mounted.queue
    const stored = storedOnce(this.mounted, part, key, offerStored!(part.items[0], { id }), "duplicate" as const)
    return Effect.matchEffect(stored, {
      onFailure: (error): Effect.Effect<void, Failure> => {
        if (error._tag !== "ItemDropped") return Effect.fail(error)
        if (error.reason === "shutdown") return Effect.fail({ _tag: "ClosedTooEarly" })
        return Effect.sync(() => count(counts, { items: 1, dropped: 1 }))
      },
      onSuccess: (ending) =>
        Effect.sync(() => count(counts, ending === "stored" ? { items: 1, stored: 1 } : { items: 1, duplicates: 1 }))
    })
  }

  private takenOne(outcome: "accepted" | "coalesced" | "dropped"): void {
    this.counts[outcome] += 1
    this.counts.items += 1
    this.position += 1
  }

  private taken(more: Partial<Counts>): void {
    count(this.counts, more)
    this.position += more.items ?? 0
  }

  /** What is to be answered once the body has ended, or could not be read on. */
  answer(unread: Unread | undefined, maxLineBytes: number): Effect.Effect<Response> {
    const settled = Effect.all(this.unsettled, { discard: true })
    const isRead = this.ended === undefined && unread === undefined
    return Effect.map(isRead ? settled : this.bounded(settled), () => {
      if (this.ended !== undefined) return this.ended
      if (unread === undefined) return this.complete()
      const { position } = this
      switch (unread._tag) {
        case "NotText":
          return invalid(this.mounted, [{ position, field: "", reason: "text", message: "it is not UTF-8" }], position)
        case "Broken":
          return invalid(this.mounted, [{ position, field: "", reason: "encoding", message: brokenBody }], position)
        default:
          return unreadable(unread, "line", maxLineBytes, position)
      }
    })
  }

  /** All of it is in: only now it is known that it had no more items. */
  private complete(): Response {
    const end = this.part([], true)
    if (isOther(this.mounted, this.ask.key, end)) return refused(this.mounted, { _tag: "OtherBody" }, [], this.position)
    remember(this.mounted, this.ask.key, end)
    return taken(this.counts)
  }
}

/** Takes the items of a stream of lines, as far as it can. */
export const takeStream = (
  mounted: Mounted,
  request: HttpServerRequest,
  ask: Ask,
  { maxLineBytes, maxStreamWaitMillis }: Limits
): Effect.Effect<Response> =>
  Effect.suspend(() => {
    const streaming = new Streaming(mounted, ask, maxStreamWaitMillis)
    return Effect.matchEffect(forLines(request, maxLineBytes, streaming.take), {
      onFailure: (unread) => streaming.answer(unread, maxLineBytes),
      onSuccess: () => streaming.answer(undefined, maxLineBytes)
    })
  })

// --- answers -----------------------------------------------------------------------------------------------------------

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

export const unavailable = (mounted: Mounted, reason: "closing" | "draining" | "store", taken: number): Response =>
  refuse(QueueUnavailable, { queue: mounted.queue.name, reason, taken }, { "retry-after": "1" })

const reused = "the Idempotency-Key belongs to a request with another body: a new request needs a new key"

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

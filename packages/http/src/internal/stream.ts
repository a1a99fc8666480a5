/**
 * A request whose body is a stream of lines: its items go into the queue as they come.
 */
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Result from "@sluice/core/Result"
import { interrupt, join, makeFork, pollExit } from "@sluice/core/unstable/Fibers"
import { timeoutOption } from "@sluice/core/unstable/Sleep"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ItemFault } from "../HttpError.ts"
import type { Fault } from "../HttpQueue.ts"
import type { Limits } from "../HttpQueues.ts"
import { brokenBody, forLines, type Unread } from "./body.ts"
import { Fingerprint } from "./fingerprint.ts"
import { mostFaults } from "./field.ts"
import { inexactFault, inexactOf } from "./integers.ts"
import type { Mounted } from "./mounted.ts"
import {
  alone,
  alreadyIn,
  type Ask,
  count,
  type Counts,
  idOf,
  isOther,
  nothing,
  offerTogether,
  type Part,
  remember,
  storedOnce,
  taken
} from "./offering.ts"
import { type Failure, full, invalid, refused, unavailable, unreadable } from "./refusals.ts"

type Response = HttpServerResponse.HttpServerResponse

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
    let faults: ReadonlyArray<ItemFault> | undefined
    this.prints = [this.fingerprint.print]
    this.printedFrom = this.position
    for (const line of lines) {
      if (isBlank(line)) continue
      const decoded = this.decode(line)
      if (Result.isFailure(decoded)) {
        const position = this.position + items.length
        faults = decoded.failure.slice(0, mostFaults).map((fault) => ({ ...fault, position }))
        break
      }
      items.push(decoded.success)
    }
    const offered = this.offer(items)
    return Effect.map(items.length === 0 ? Effect.as(offered, true) : this.bounded(offered), (isInTime) => {
      if (!isInTime) this.ended ??= this.tooLate()
      if (this.ended === undefined && faults !== undefined) {
        this.ended = invalid(this.mounted, faults, this.position)
      }
      return this.ended === undefined
    })
  }

  private decode(line: string): Result.Result<unknown, ReadonlyArray<Fault>> {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      return Result.fail([{ field: "", reason: "json", message: (error as Error).message }])
    }
    const inexact = inexactOf(this.mounted, line, mostFaults)
    if (inexact.length > 0) return Result.fail(inexact.map((each) => inexactFault(each, false)))
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

/**
 * The way of an item into a durable queue: checked, encoded, and put into the intake; or why it is refused.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Codec from "../../Codec.ts"
import { DrainRate } from "../../DrainRate.ts"
import type { Taken } from "../../PolicyQueue.ts"
import {
  type BatchOfferError,
  type InvalidKey,
  type MalformedItem,
  type OfferError,
  type QueueClosed,
  type QueueFull,
  type Refusal,
  type TooManyItems
} from "../../QueueError.ts"
import { malformedItem, queueClosed, queueFull, tooManyItems } from "../intake/refusals.ts"
import type { Outcome } from "../../QueueEvent.ts"
import type { QueueStore } from "../../QueueStore.ts"
import * as Result from "../../Result.ts"
import type { Appender } from "./appender.ts"
import type { Backlog } from "./backlog.ts"
import { type Checked } from "./options.ts"
import type { BatchTally } from "./tally.ts"
import { Entry } from "./entry.ts"
import type { Lifecycle } from "../fibers/lifecycle.ts"
import { type Breaks, inStretches } from "../fibers/breaks.ts"
import { isKey, keyLimit } from "../intake/keys.ts"
import { mostAllOrNone, unsafeOfferAllOrNone } from "../intake/allOrNone.ts"
import type { PolicyQueueImpl } from "../intake/policyQueue.ts"
import type { Own } from "./own.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"
import { type Running, withFiber } from "../fibers/fiber.ts"

export type QueueOfferError<A> = Exclude<BatchOfferError<A>, MalformedItem<A>>

/** Nothing is weighed here. */
export const unweighed = <B, A>(offered: Effect.Effect<B, OfferError<A>>) =>
  offered as Effect.Effect<B, QueueOfferError<A>>

const keyless: Codec.Fault = { reason: "type", path: "", detail: `its key in the buffer must be ${keyLimit}` }

/**
 * What an offer of all or none fails with.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchAllOrNoneError<A> =
  | QueueFull<A>
  | TooManyItems<A>
  | QueueClosed<A>
  | MalformedItem<A>
  | InvalidKey<A>

interface PutAll<in out A> {
  readonly entries: ReadonlyArray<Entry<A>>
  readonly taken: Taken
}

const accepted = Effect.succeed("accepted" as const)

export interface Options<in out A> extends Pick<Checked, "idWindowMillis" | "maxPending"> {
  readonly name: string
  readonly clock: Clock.Clock
  readonly breaks: Breaks
  readonly codec: Codec.Codec<A>
  readonly store: QueueStore
  readonly intake: PolicyQueueImpl<Entry<A>, A>
  /** Whether offers that find no room in the intake wait for it. */
  readonly suspends: boolean
  readonly own: Own
  readonly appender: Appender<A>
  readonly backlog: Backlog
  readonly tally: BatchTally<A>
  readonly lifecycle: Lifecycle
  /** Whether items are merged with others before they are stored, and kept for that. */
  readonly isMerging: boolean
  /** The key of an item, where the buffer merges by it. */
  readonly keyOf: ((item: A) => unknown) | undefined
}

export class Entering<in out A> {
  readonly options: Options<A>
  /** How fast what is stored gets done. */
  private readonly rate: DrainRate

  constructor(options: Options<A>) {
    this.options = options
    this.rate = new DrainRate(() => monotonicMillis(options.clock))
    this.noteDone()
  }

  /** The entry of an item in the intake, or why it cannot be stored. Later changes of the item do not affect it. */
  entryOf(item: A, awaited?: { readonly id?: string }): Entry<A> | Codec.Fault {
    const { clock, codec, isMerging } = this.options
    const encoded = codec.encodeItem(item)
    if (Result.isFailure(encoded)) return encoded.failure
    if (awaited?.id === undefined && !this.hasKey(item)) return keyless
    // It is the item that is merged, not what was encoded; one that counts once is not.
    const mayChange = isMerging && awaited?.id === undefined && typeof item === "object" && item !== null
    const kept = mayChange ? codec.decodeItem(encoded.success.value) : Result.succeed(item)
    if (Result.isFailure(kept)) return kept.failure
    return new Entry(kept.success, clock.unsafeCurrentTimeMillis(), encoded.success, awaited, item)
  }

  /** Whether the buffer has a key for it to be merged by. What the key throws, the buffer is told of in its turn. */
  private hasKey(item: A): boolean {
    const { keyOf } = this.options
    if (keyOf === undefined) return true
    try {
      return isKey(keyOf(item))
    } catch {
      return true
    }
  }

  malformed(item: A, fault: Codec.Fault, taken = 0, notTaken: ReadonlyArray<A> = [item]) {
    return Effect.fail(malformedItem({ queue: this.options.name, item, taken, notTaken }, fault))
  }

  /** Whether this many more items would exceed the limit of the store, so that offers must be rejected. */
  isBacklogFull(more = 0): boolean {
    const { appender, backlog, maxPending } = this.options
    return maxPending !== undefined && maxPending.whenFull === "reject"
      && backlog.pending + appender.held + more >= maxPending.items
  }

  /** The store has as many items as it may: there is room once some of them are done. */
  backlogFull(refusal: Refusal<A>): QueueFull<A> {
    this.noteDone()
    return queueFull(refusal, this.rate.retryAfterMillis(refusal.notTaken.length))
  }

  /** To be called when items have been done. */
  noteDone(): void {
    this.rate.note(this.options.backlog.left)
  }

  offerEntry(
    entry: Entry<A> | Codec.Fault,
    item: A
  ): Outcome | Effect.Effect<Outcome, BatchOfferError<A>> {
    const { intake, tally } = this.options
    if (!(entry instanceof Entry)) {
      tally.refusedAside()
      return this.malformed(item, entry)
    }
    if (this.isBacklogFull()) {
      tally.refusedAside()
      return Effect.fail(this.backlogFull({ queue: this.options.name, item, taken: 0, notTaken: [item] }))
    }
    const outcome = intake.offerNow(entry, undefined)
    if (typeof outcome === "string") return outcome
    return withFiber((fiber) =>
      this.mustNotSuspend(fiber)
        ? this.putPast(entry)
        : Effect.zipRight(this.makeRoomWithin, unweighed(outcome))
    )
  }

  /** Whether an offer would wait for room in the intake, and the fiber is one that must not: a handler's. */
  mustNotSuspend(fiber: Running<any, any>): boolean {
    return this.options.suspends && this.isOpen && this.options.own.has(fiber)
  }

  /** Whether what the fiber waits for is to be stored past `maxPending`: it may be what makes room there. */
  mustNotWaitForStore(fiber: Running<any, any>): boolean {
    return this.options.maxPending !== undefined && this.isOpen && this.options.own.has(fiber)
  }

  /** Whether `maxPending` holds for what the fiber stores as a part of its transaction. */
  isBoundedWithin(fiber: Running<any, any>): boolean {
    return this.options.maxPending?.whenFull === "reject" || !this.options.own.has(fiber)
  }

  /** Puts an item in past the policy and `maxPending`. */
  putPast(entry: Entry<A>): Effect.Effect<Outcome> {
    this.options.tally.offeredAside()
    this.options.appender.unsafePut(entry)
    return accepted
  }

  /**
   * Before an offer waits for room: in a transaction the fiber that makes room would wait for that very transaction.
   * Where it cannot be done, the offer waits all the same.
   */
  readonly makeRoomWithin: Effect.Effect<void> = Effect.suspend(() =>
    Effect.flatMap(
      this.options.store.transaction,
      (transaction) =>
        Option.isNone(transaction)
          ? Effect.void
          : Effect.ignore(this.options.appender.flushWithin(transaction.value.unsafeOnEnd))
    )
  )

  /** Does a step for each of many items: others get their turn in between. An interruption waits until it is done. */
  forEach<B>(items: Iterable<B>, step: (item: B, index: number) => boolean | void): Effect.Effect<void> {
    return Effect.uninterruptible(inStretches(items, this.options.breaks.stretches(1), step))
  }

  /** Whether this many items can never be pending at once, so that they are rejected. */
  areTooMany(items: ReadonlyArray<A>): boolean {
    const { maxPending } = this.options
    return maxPending !== undefined && maxPending.whenFull === "reject" && items.length > maxPending.items
  }

  /** What all of the items are in the intake, or the error of the first that cannot be stored. */
  entriesOf(
    items: ReadonlyArray<A>,
    entryOf: (item: A, index: number) => Entry<A> | Codec.Fault
  ): Effect.Effect<ReadonlyArray<Entry<A>>, BatchAllOrNoneError<A>> {
    return Effect.suspend(() => {
      const { name } = this.options
      const refusal = { queue: name, item: items[0], taken: 0, notTaken: items }
      const entries: Array<Entry<A>> = []
      let error: BatchAllOrNoneError<A> | undefined
      if (items.length > mostAllOrNone) error = tooManyItems(refusal, mostAllOrNone)
      const encoding = this.forEach(error === undefined ? items : [], (item, index) => {
        const entry = entryOf(item, index)
        if (entry instanceof Entry) return void entries.push(entry)
        error = malformedItem({ ...refusal, item }, entry)
        return false
      })
      return Effect.flatMap(encoding, () => {
        if (error === undefined) return Effect.succeed(entries)
        this.options.tally.refusedAside(items.length)
        return Effect.fail(error)
      })
    })
  }

  /** Puts all of the entries in, or none. */
  putAllOrNone(
    items: ReadonlyArray<A>,
    entries: ReadonlyArray<Entry<A>>,
    isPast = false
  ): Result.Result<PutAll<A>, BatchAllOrNoneError<A>> {
    const { intake, maxPending, name, tally } = this.options
    const refuse = (error: BatchAllOrNoneError<A>) => {
      tally.refusedAside(items.length)
      return Result.fail(error)
    }
    const refusal = { queue: name, item: items[0], taken: 0, notTaken: items }
    if (this.areTooMany(items)) return refuse(tooManyItems(refusal, maxPending!.items))
    if (items.length > 0 && this.isBacklogFull(items.length - 1)) return refuse(this.backlogFull(refusal))
    if (isPast) {
      for (const entry of entries) this.putPast(entry)
      return Result.succeed({ entries, taken: { accepted: entries.length, coalesced: 0, dropped: 0 } })
    }
    const taken = unsafeOfferAllOrNone(entries, () => intake)
    return "accepted" in taken
      ? Result.succeed({ entries, taken })
      // Nothing is weighed here.
      : Result.fail(taken as BatchAllOrNoneError<A>)
  }

  get isOpen(): boolean {
    return this.options.lifecycle.isOpen
  }

  get isOver(): boolean {
    return this.options.lifecycle.isOver
  }

  get whenNotOpen(): Effect.Effect<never, QueueClosed> {
    return this.options.lifecycle.refuse(() => queueClosed<never>(this.options.name, 0, []))
  }
}

/**
 * The offers to a durable queue: checks and encodes items, and puts them into the intake, or stores them in the
 * caller's transaction.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Codec from "../../Codec.ts"
import { DrainRate } from "../../DrainRate.ts"
import type { Taken, UnsafeOutcome } from "../../PolicyQueue.ts"
import {
  type BatchOfferError,
  type InvalidKey,
  ItemDropped,
  type MalformedItem,
  type OfferError,
  type QueueClosed,
  type QueueFull,
  type Refusal,
  type StoreUnavailable,
  type TooManyItems
} from "../../QueueError.ts"
import { malformedItem, queueClosed, queueFull, tooManyItems } from "../intake/refusals.ts"
import type { Outcome } from "../../QueueEvent.ts"
import type { QueueStore } from "../../QueueStore.ts"
import * as Result from "../../Result.ts"
import type { Appender } from "./appender.ts"
import type { Backlog } from "./backlog.ts"
import { type Checked, isText } from "./options.ts"
import type { BatchTally } from "./tally.ts"
import { type Ending, Entry } from "./entry.ts"
import type { Lifecycle } from "../fibers/lifecycle.ts"
import { type Breaks, inStretches } from "../fibers/breaks.ts"
import { isKey, keyLimit } from "../intake/keys.ts"
import { mostAllOrNone, unsafeOfferAllOrNone } from "../intake/allOrNone.ts"
import { Offer } from "../intake/offer.ts"
import { offerEach } from "../intake/offerEach.ts"
import type { PolicyQueueImpl } from "../intake/policyQueue.ts"
import type { Own } from "./own.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"
import { type Running, withFiber } from "../fibers/fiber.ts"
import { park } from "../fibers/parking.ts"

type QueueOfferError<A> = Exclude<BatchOfferError<A>, MalformedItem<A>>

/** Nothing is weighed here. */
const unweighed = <B, A>(offered: Effect.Effect<B, OfferError<A>>) => offered as Effect.Effect<B, QueueOfferError<A>>

const malformedId: Codec.Fault = {
  reason: "text",
  path: "",
  detail: "its id must be well-formed text of 1 to 512 bytes, without NUL"
}

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

/**
 * What became of items that were to be stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Storing {
  readonly stored: number
  /** Those whose id was remembered: they had been stored before. */
  readonly duplicates: number
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
}

interface PutAll<in out A> {
  readonly entries: ReadonlyArray<Entry<A>>
  readonly taken: Taken
}

const accepted = Effect.succeed("accepted" as const)
const stored = Effect.succeed("stored" as const)
const duplicate = Effect.succeed("duplicate" as const)

/**
 * What became of an item that was offered at once, or why it was refused.
 *
 * @since 0.1.0
 * @category models
 */
export type UnsafeBatchOutcome = Exclude<UnsafeOutcome, "invalid-weight"> | "malformed"

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

export class Offers<in out A> {
  private readonly options: Options<A>
  /** How fast what is stored gets done. */
  private readonly rate: DrainRate

  constructor(options: Options<A>) {
    this.options = options
    this.rate = new DrainRate(() => monotonicMillis(options.clock))
    this.noteDone()
  }

  /** The entry of an item in the intake, or why it cannot be stored. Later changes of the item do not affect it. */
  private entryOf(item: A, awaited?: { readonly id?: string }): Entry<A> | Codec.Fault {
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

  private malformed(item: A, fault: Codec.Fault, taken = 0, notTaken: ReadonlyArray<A> = [item]) {
    return Effect.fail(malformedItem({ queue: this.options.name, item, taken, notTaken }, fault))
  }

  /** Whether this many more items would exceed the limit of the store, so that offers must be rejected. */
  private isBacklogFull(more = 0): boolean {
    const { appender, backlog, maxPending } = this.options
    return maxPending !== undefined && maxPending.whenFull === "reject"
      && backlog.pending + appender.held + more >= maxPending.items
  }

  /** The store has as many items as it may: there is room once some of them are done. */
  private backlogFull(refusal: Refusal<A>): QueueFull<A> {
    this.noteDone()
    return queueFull(refusal, this.rate.retryAfterMillis(refusal.notTaken.length))
  }

  /** To be called when items have been done. */
  noteDone(): void {
    this.rate.note(this.options.backlog.left)
  }

  readonly unsafeOffer = (item: A): UnsafeBatchOutcome => {
    const { intake, tally } = this.options
    const entry = this.entryOf(item)
    if (!(entry instanceof Entry)) {
      tally.refusedAside()
      return "malformed"
    }
    if (this.isBacklogFull()) {
      tally.refusedAside()
      return "full"
    }
    // Nothing is weighed here.
    return intake.unsafeOffer(entry) as UnsafeBatchOutcome
  }

  readonly offer = (item: A): Effect.Effect<Outcome, BatchOfferError<A>> =>
    new Offer<A, BatchOfferError<A>>(this, item, undefined)

  offerNow(item: A): Outcome | Effect.Effect<Outcome, BatchOfferError<A>> {
    return this.offerEntry(this.entryOf(item), item)
  }

  private offerEntry(
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
  private mustNotSuspend(fiber: Running<any, any>): boolean {
    return this.options.suspends && this.isOpen && this.options.own.has(fiber)
  }

  /** Whether what the fiber waits for is to be stored past `maxPending`: it may be what makes room there. */
  private mustNotWaitForStore(fiber: Running<any, any>): boolean {
    return this.options.maxPending !== undefined && this.isOpen && this.options.own.has(fiber)
  }

  /** Whether `maxPending` holds for what the fiber stores as a part of its transaction. */
  private isBoundedWithin(fiber: Running<any, any>): boolean {
    return this.options.maxPending?.whenFull === "reject" || !this.options.own.has(fiber)
  }

  /** Puts an item in past the policy and `maxPending`. */
  private putPast(entry: Entry<A>): Effect.Effect<Outcome> {
    this.options.tally.offeredAside()
    this.options.appender.unsafePut(entry)
    return accepted
  }

  /**
   * Before an offer waits for room: in a transaction the fiber that makes room would wait for that very transaction.
   * Where it cannot be done, the offer waits all the same.
   */
  private readonly makeRoomWithin: Effect.Effect<void> = Effect.suspend(() =>
    Effect.flatMap(
      this.options.store.transaction,
      (transaction) =>
        Option.isNone(transaction)
          ? Effect.void
          : Effect.ignore(this.options.appender.flushWithin(transaction.value.unsafeOnEnd))
    )
  )

  readonly offerAll = (items: Iterable<A>): Effect.Effect<Taken, BatchOfferError<A>> =>
    withFiber((fiber) => {
      const { intake, tally } = this.options
      const all: Array<A> = []
      const entries: Array<Entry<A>> = []
      let refusal: ((taken: number) => Effect.Effect<never, BatchOfferError<A>>) | undefined
      // One by one: an iterator may reuse one object for the next item.
      const encoding = this.forEach(items, (item) => {
        all.push(item)
        if (refusal !== undefined) return
        const entry = this.entryOf(item)
        if (!(entry instanceof Entry)) refusal = (taken) => this.malformed(item, entry, taken, all.slice(taken))
        else if (this.isBacklogFull(entries.length)) {
          refusal = (taken) =>
            Effect.fail(this.backlogFull({ queue: this.options.name, item, taken, notTaken: all.slice(taken) }))
        } else entries.push(entry)
      })
      const offered = Effect.flatMap(this.options.store.transaction, (transaction) =>
        this.mustNotSuspend(fiber)
          ? Effect.succeed(this.offerEachOrPut(entries))
          : Option.isNone(transaction)
          ? unweighed(offerEach(entries, () => intake, undefined, { items: all, before: 0 }))
          : this.offerEachWithin(entries, all))
      return Effect.flatMap(
        Effect.flatMap(encoding, () => {
          const rest = all.length - entries.length
          return rest === 0 ? offered : Effect.onExit(offered, () => Effect.sync(() => tally.refusedAside(rest)))
        }),
        (taken): Effect.Effect<Taken, BatchOfferError<A>> =>
          refusal === undefined ? Effect.succeed(taken) : refusal(entries.length)
      )
    })

  /** Does a step for each of many items: others get their turn in between. An interruption waits until it is done. */
  private forEach<B>(items: Iterable<B>, step: (item: B, index: number) => boolean | void): Effect.Effect<void> {
    return Effect.uninterruptible(inStretches(items, this.options.breaks.stretches(1), step))
  }

  /** What finds no room goes past it. */
  private offerEachOrPut(entries: ReadonlyArray<Entry<A>>): Taken {
    const counts = { accepted: 0, coalesced: 0, dropped: 0 }
    for (const entry of entries) {
      const outcome = this.options.intake.offerNow(entry, undefined)
      if (typeof outcome === "string") counts[outcome] += 1
      else {
        this.putPast(entry)
        counts.accepted += 1
      }
    }
    return counts
  }

  /** As many at a time as there is room for. */
  private offerEachWithin(
    entries: ReadonlyArray<Entry<A>>,
    all: ReadonlyArray<A>
  ): Effect.Effect<Taken, QueueOfferError<A>> {
    const { intake, intake: { capacity } } = this.options
    const chunks = Array.from(
      { length: Math.ceil(entries.length / capacity) },
      (_, i) => entries.slice(i * capacity, (i + 1) * capacity)
    )
    return Effect.reduce(
      chunks,
      { accepted: 0, coalesced: 0, dropped: 0 } as Taken,
      (sum, chunk, index) =>
        Effect.map(
          Effect.zipRight(
            this.makeRoomWithin,
            Effect.onError(
              unweighed(offerEach(chunk, () => intake, undefined, { items: all, before: index * capacity })),
              // The intake counts those of its chunk.
              () =>
                Effect.sync(() => this.options.tally.refusedAside(Math.max(0, entries.length - (index + 1) * capacity)))
            )
          ),
          (taken) => ({
            accepted: sum.accepted + taken.accepted,
            coalesced: sum.coalesced + taken.coalesced,
            dropped: sum.dropped + taken.dropped
          })
        )
    )
  }

  /** Whether this many items can never be pending at once, so that they are rejected. */
  private areTooMany(items: ReadonlyArray<A>): boolean {
    const { maxPending } = this.options
    return maxPending !== undefined && maxPending.whenFull === "reject" && items.length > maxPending.items
  }

  /** What all of the items are in the intake, or the error of the first that cannot be stored. */
  private entriesOf(
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
  private putAllOrNone(
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

  readonly offerAllOrNone = (items: ReadonlyArray<A>): Effect.Effect<Taken, BatchAllOrNoneError<A>> =>
    Effect.flatMap(
      this.entriesOf(items, (item) => this.entryOf(item)),
      (entries) => {
        const put = this.putAllOrNone(items, entries)
        return Result.isFailure(put) ? Effect.fail(put.failure) : Effect.succeed(put.success.taken)
      }
    )

  readonly offerStoredAllOrNone = (
    items: ReadonlyArray<A>,
    options?: { readonly ids?: ReadonlyArray<string> | undefined }
  ): Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable> =>
    withFiber((fiber) =>
      Effect.flatMap(this.options.store.transaction, (transaction): ReturnType<typeof this.offerStoredAllOrNone> => {
        const ids = options?.ids
        // The fiber that stores would wait for the end of that transaction.
        if (Option.isSome(transaction)) {
          return this.offerEachStoredWithin(items, ids, transaction.value.unsafeOnEnd, this.isBoundedWithin(fiber))
        }
        return Effect.flatMap(this.entriesOf(items, (item, index) => this.entryWithId(item, ids, index)), (entries) => {
          const put = this.putAllOrNone(items, entries, this.mustNotWaitForStore(fiber))
          return Result.isFailure(put) ? Effect.fail(put.failure) : this.allEnded(put.success.entries)
        })
      })
    )

  private entryWithId(
    item: A,
    ids: ReadonlyArray<string> | undefined,
    index: number
  ): Entry<A> | Codec.Fault {
    if (ids === undefined) return this.entryOf(item, {})
    return isText(ids[index]) ? this.entryOf(item, { id: ids[index] }) : malformedId
  }

  /** Stores items as a part of the transaction that the caller is in; where it fails, that is to be rolled back. */
  private offerEachStoredWithin(
    items: ReadonlyArray<A>,
    ids: ReadonlyArray<string> | undefined,
    unsafeOnEnd: (listener: (committed: boolean) => void) => void,
    isBounded: boolean
  ): Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable> {
    const { maxPending, name, tally } = this.options
    const at = (taken: number) => ({ queue: name, item: items[taken], taken, notTaken: items.slice(taken) })
    const refuse = (error: BatchAllOrNoneError<A>) => {
      tally.refusedAside(items.length)
      return Effect.fail(error)
    }
    const none: Storing = { stored: 0, duplicates: 0, dropped: 0, droppedByReason: {} }
    const storeAll = (entries: ReadonlyArray<Entry<A>>) =>
      Effect.reduce(
        entries,
        none,
        (sum, entry, index) =>
          Effect.matchEffect(Effect.uninterruptible(this.offerWithin(entry, unsafeOnEnd, isBounded)), {
            onFailure: (error): Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable> => {
              if (error._tag === "QueueFull") return Effect.fail(this.backlogFull(at(index)))
              if (error._tag === "QueueClosed") return Effect.fail(queueClosed<A>(name, index, items.slice(index)))
              if (error._tag !== "ItemDropped") return Effect.fail(error)
              const { [error.reason]: before = 0 } = sum.droppedByReason
              const droppedByReason = { ...sum.droppedByReason, [error.reason]: before + 1 }
              return Effect.succeed({ ...sum, dropped: sum.dropped + 1, droppedByReason })
            },
            onSuccess: (ending) =>
              Effect.succeed(
                ending === "stored" ? { ...sum, stored: sum.stored + 1 } : { ...sum, duplicates: sum.duplicates + 1 }
              )
          })
      )
    return Effect.flatMap(
      this.entriesOf(items, (item, index) => this.entryWithId(item, ids, index)),
      (entries) => this.areTooMany(items) ? refuse(tooManyItems(at(0), maxPending!.items)) : storeAll(entries)
    )
  }

  /** Waits until each of several entries is stored, or will not be. Nothing is to be cleaned up. */
  private allEnded(entries: ReadonlyArray<Entry<A>>): Effect.Effect<Storing> {
    return park((resume) => {
      const counts = { stored: 0, duplicates: 0, dropped: 0 }
      const droppedByReason: Record<string, number> = Object.create(null)
      let missing = entries.length
      const onEnd = (ending: Ending) => {
        if (ending._tag === "Stored") counts.stored += 1
        else if (ending._tag === "Duplicate") counts.duplicates += 1
        else {
          counts.dropped += 1
          droppedByReason[ending.reason] = (droppedByReason[ending.reason] ?? 0) + 1
        }
        missing -= 1
        if (missing === 0) resume(Effect.succeed({ ...counts, droppedByReason: { ...droppedByReason } }))
      }
      if (missing === 0) return resume(Effect.succeed({ ...counts, droppedByReason: {} }))
      for (const entry of entries) {
        if (entry.ending === undefined) entry.onEnd = onEnd
        else onEnd(entry.ending)
      }
    })
  }

  readonly offerStored = (
    item: A,
    options?: { readonly id?: string | undefined }
  ): Effect.Effect<"stored" | "duplicate", BatchOfferError<A> | ItemDropped<A> | StoreUnavailable> =>
    withFiber((fiber) =>
      Effect.flatMap(this.options.store.transaction, (transaction): ReturnType<typeof this.offerStored> => {
        const id = options?.id
        if (id !== undefined && !isText(id)) {
          this.options.tally.refusedAside()
          return this.malformed(item, malformedId)
        }
        const entry = this.entryOf(item, id === undefined ? {} : { id })
        if (Option.isSome(transaction) && entry instanceof Entry) {
          const { unsafeOnEnd } = transaction.value
          return Effect.uninterruptible(this.offerWithin(entry, unsafeOnEnd, this.isBoundedWithin(fiber)))
        }
        if (entry instanceof Entry && this.mustNotWaitForStore(fiber) && !this.isBacklogFull()) {
          return Effect.zipRight(this.putPast(entry), this.ended(entry))
        }
        const offered = this.offerEntry(entry, item)
        // Once it is in, an interruption ends only the waiting: there is nothing to be cleaned up.
        const ended = this.ended(entry as Entry<A>)
        return typeof offered === "string" ? ended : Effect.zipRight(offered, ended)
      })
    )

  /** Waits until an entry is stored. */
  private ended(entry: Entry<A>): Effect.Effect<"stored" | "duplicate", ItemDropped<A>> {
    const exit = (ending: Ending) =>
      ending._tag === "Dropped"
        ? Effect.fail(new ItemDropped<A>({ queue: this.options.name, item: entry.item, reason: ending.reason }))
        : ending._tag === "Stored"
        ? stored
        : duplicate
    return park((resume) => {
      if (entry.ending !== undefined) return resume(exit(entry.ending))
      entry.onEnd = (ending) => resume(exit(ending))
    })
  }

  /** Stores an item as a part of the transaction that the caller is in. */
  private offerWithin(
    { encoded, id, item, offeredAt }: Entry<A>,
    unsafeOnEnd: (listener: (committed: boolean) => void) => void,
    isBounded: boolean
  ): Effect.Effect<"stored" | "duplicate", QueueClosed<A> | QueueFull<A> | ItemDropped<A> | StoreUnavailable> {
    return Effect.suspend((): ReturnType<typeof this.offerWithin> => {
      const { backlog, codec, idWindowMillis, maxPending, store, tally } = this.options
      if (!this.isOpen) {
        tally.refusedAside()
        return Effect.fail(queueClosed(this.options.name, 0, [item]))
      }
      let payload: Uint8Array
      try {
        // Opened by its one item, in the moment of its offer.
        payload = codec.encodeBatch([encoded!.value], { trigger: "manual", openedAtMillis: offeredAt })
      } catch (error) {
        // The user's format. Outside of a transaction the fiber that stores drops what it throws at.
        tally.offeredAside()
        tally.dropped(item, "malformed", Cause.die(error))
        return Effect.fail(new ItemDropped<A>({ queue: this.options.name, item, reason: "malformed" }))
      }
      const ids = id === undefined ? undefined : [id]
      const appended = store.append({
        batches: [{ payload, items: 1, oldestAtMillis: offeredAt, ids }],
        maxPendingItems: isBounded ? maxPending?.items : undefined,
        idWindowMillis
      })
      return Effect.flatMap(
        Effect.tapErrorCause(appended, () => Effect.sync(() => tally.refusedAside())),
        ({ appended, duplicates }) => {
          if (duplicates.length > 0) {
            tally.offeredAside()
            tally.duplicate()
            return Effect.succeed("duplicate" as const)
          }
          if (appended === 0) {
            tally.refusedAside()
            return Effect.fail(this.backlogFull({ queue: this.options.name, item, taken: 0, notTaken: [item] }))
          }
          tally.offeredAside()
          unsafeOnEnd((committed) => {
            if (!committed) return tally.tookBack()
            backlog.stored(1)
            tally.stored(1, "manual")
            backlog.claimable(1)
          })
          return Effect.succeed("stored" as const)
        }
      )
    })
  }

  /** The offers of a handler. */
  offerBack(items: Iterable<A>): Effect.Effect<void, MalformedItem<A> | QueueClosed<A>> {
    return Effect.suspend((): ReturnType<typeof this.offerBack> => {
      const { appender, name, tally } = this.options
      const all: Array<A> = []
      const entries: Array<Entry<A>> = []
      let error: MalformedItem<A> | QueueClosed<A> | undefined
      let fault: { readonly item: A; readonly fault: Codec.Fault } | undefined
      const encoding = this.forEach(items, (item) => {
        all.push(item)
        if (fault !== undefined) return
        const entry = this.entryOf(item)
        if (entry instanceof Entry) entries.push(entry)
        else fault = { item, fault: entry }
      })
      const put = (entry: Entry<A>, index: number) => {
        if (!this.isOver) {
          tally.offeredAside()
          appender.unsafePut(entry)
          return true
        }
        tally.refusedAside(all.length - index)
        error = queueClosed(name, index, all.slice(index))
        return false
      }
      const putting = Effect.suspend(() => {
        if (fault === undefined) return this.forEach(entries, put)
        tally.refusedAside(all.length)
        error = malformedItem({ queue: name, item: fault.item, taken: 0, notTaken: all }, fault.fault)
        return Effect.void
      })
      return Effect.uninterruptible(
        Effect.flatMap(Effect.zipRight(encoding, putting), () => error === undefined ? Effect.void : Effect.fail(error))
      )
    })
  }

  readonly flush: Effect.Effect<void, QueueClosed | StoreUnavailable> = withFiber((fiber) => {
    const { appender, store } = this.options
    return Effect.flatMap(store.transaction, (transaction): Effect.Effect<void, QueueClosed | StoreUnavailable> => {
      if (!this.isOpen) return this.whenNotOpen
      if (Option.isSome(transaction)) return appender.flushWithin(transaction.value.unsafeOnEnd)
      const stored = Effect.unsafeMakeLatch()
      const forget = appender.unsafeFlush(() => stored.unsafeOpen(), this.mustNotWaitForStore(fiber))
      return Effect.onInterrupt(
        Effect.zipRight(
          stored.await,
          Effect.suspend(() => this.isOver ? this.whenNotOpen : Effect.void)
        ),
        () => Effect.sync(forget)
      )
    })
  })

  private get isOpen(): boolean {
    return this.options.lifecycle.isOpen
  }

  private get isOver(): boolean {
    return this.options.lifecycle.isOver
  }

  private get whenNotOpen(): Effect.Effect<never, QueueClosed> {
    return this.options.lifecycle.refuse(() => queueClosed<never>(this.options.name, 0, []))
  }
}

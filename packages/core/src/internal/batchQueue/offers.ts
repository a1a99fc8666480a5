/**
 * The offers to a durable queue that do not wait until items are stored.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Codec from "../../Codec.ts"
import type { Taken, UnsafeOutcome } from "../../PolicyQueue.ts"
import type { BatchOfferError, MalformedItem, QueueClosed } from "../../QueueError.ts"
import { malformedItem, queueClosed } from "../intake/refusals.ts"
import type { Outcome } from "../../QueueEvent.ts"
import * as Result from "../../Result.ts"
import { Entry } from "./entry.ts"
import { Offer } from "../intake/offer.ts"
import { offerEach } from "../intake/offerEach.ts"
import { type BatchAllOrNoneError, type Entering, type Options, type QueueOfferError, unweighed } from "./entering.ts"
import { withFiber } from "../fibers/fiber.ts"

/**
 * What became of an item that was offered at once, or why it was refused.
 *
 * @since 0.1.0
 * @category models
 */
export type UnsafeBatchOutcome = Exclude<UnsafeOutcome, "invalid-weight"> | "malformed"

export class Offers<in out A> {
  private readonly entering: Entering<A>
  private readonly options: Options<A>

  constructor(entering: Entering<A>) {
    this.entering = entering
    this.options = entering.options
  }

  readonly unsafeOffer = (item: A): UnsafeBatchOutcome => {
    const { intake, tally } = this.options
    const entry = this.entering.entryOf(item)
    if (!(entry instanceof Entry)) {
      tally.refusedAside()
      return "malformed"
    }
    if (this.entering.isBacklogFull()) {
      tally.refusedAside()
      return "full"
    }
    // Nothing is weighed here.
    return intake.unsafeOffer(entry) as UnsafeBatchOutcome
  }

  readonly offer = (item: A): Effect.Effect<Outcome, BatchOfferError<A>> =>
    new Offer<A, BatchOfferError<A>>(this, item, undefined)

  offerNow(item: A): Outcome | Effect.Effect<Outcome, BatchOfferError<A>> {
    return this.entering.offerEntry(this.entering.entryOf(item), item)
  }

  readonly offerAll = (items: Iterable<A>): Effect.Effect<Taken, BatchOfferError<A>> =>
    withFiber((fiber) => {
      const { intake, tally } = this.options
      const all: Array<A> = []
      const entries: Array<Entry<A>> = []
      let refusal: ((taken: number) => Effect.Effect<never, BatchOfferError<A>>) | undefined
      // One by one: an iterator may reuse one object for the next item.
      const encoding = this.entering.forEach(items, (item) => {
        all.push(item)
        if (refusal !== undefined) return
        const entry = this.entering.entryOf(item)
        if (!(entry instanceof Entry)) {
          refusal = (taken) => this.entering.malformed(item, entry, taken, all.slice(taken))
        } else if (this.entering.isBacklogFull(entries.length)) {
          refusal = (taken) =>
            Effect.fail(
              this.entering.backlogFull({ queue: this.options.name, item, taken, notTaken: all.slice(taken) })
            )
        } else entries.push(entry)
      })
      const offered = Effect.flatMap(this.options.store.transaction, (transaction) =>
        this.entering.mustNotSuspend(fiber)
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

  /** What finds no room goes past it. */
  private offerEachOrPut(entries: ReadonlyArray<Entry<A>>): Taken {
    const counts = { accepted: 0, coalesced: 0, dropped: 0 }
    for (const entry of entries) {
      const outcome = this.options.intake.offerNow(entry, undefined)
      if (typeof outcome === "string") counts[outcome] += 1
      else {
        this.entering.putPast(entry)
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
    const { intake, intake: { capacity }, tally } = this.options
    const chunks = Array.from(
      { length: Math.ceil(entries.length / capacity) },
      (_, i) => entries.slice(i * capacity, (i + 1) * capacity)
    )
    /** How many the intake was given, which counts them, and how many of those it has taken: of the others it tells. */
    let given = 0
    let taken = 0
    const offered = Effect.reduce(
      chunks,
      { accepted: 0, coalesced: 0, dropped: 0 } as Taken,
      (sum, chunk) => {
        const offered = Effect.suspend(() => {
          const before = given
          given += chunk.length
          const onTaken = () => {
            taken = given
          }
          return unweighed(offerEach(chunk, () => intake, undefined, { items: all, before, onTaken }))
        })
        return Effect.map(Effect.zipRight(this.entering.makeRoomWithin, offered), (more) => ({
          accepted: sum.accepted + more.accepted,
          coalesced: sum.coalesced + more.coalesced,
          dropped: sum.dropped + more.dropped
        }))
      }
    )
    return Effect.onError(offered, () =>
      Effect.sync(() => {
        tally.refusedAside(entries.length - given)
        // Interrupted between two chunks.
        if (taken === given && given < all.length) tally.interrupted(given, all.slice(given))
      }))
  }

  readonly offerAllOrNone = (items: ReadonlyArray<A>): Effect.Effect<Taken, BatchAllOrNoneError<A>> =>
    Effect.flatMap(
      this.entering.entriesOf(items, (item) => this.entering.entryOf(item)),
      (entries) => {
        const put = this.entering.putAllOrNone(items, entries)
        return Result.isFailure(put) ? Effect.fail(put.failure) : Effect.succeed(put.success.taken)
      }
    )

  /** The offers of a handler. */
  offerBack(items: Iterable<A>): Effect.Effect<void, MalformedItem<A> | QueueClosed<A>> {
    return Effect.suspend((): ReturnType<typeof this.offerBack> => {
      const { appender, name, tally } = this.options
      const all: Array<A> = []
      const entries: Array<Entry<A>> = []
      let error: MalformedItem<A> | QueueClosed<A> | undefined
      let fault: { readonly item: A; readonly fault: Codec.Fault } | undefined
      const encoding = this.entering.forEach(items, (item) => {
        all.push(item)
        if (fault !== undefined) return
        const entry = this.entering.entryOf(item)
        if (entry instanceof Entry) entries.push(entry)
        else fault = { item, fault: entry }
      })
      const put = (entry: Entry<A>, index: number) => {
        if (!this.entering.isOver) {
          tally.offeredAside()
          appender.unsafePut(entry)
          return true
        }
        tally.refusedAside(all.length - index)
        error = queueClosed(name, index, all.slice(index))
        return false
      }
      const putting = Effect.suspend(() => {
        if (fault === undefined) return this.entering.forEach(entries, put)
        tally.refusedAside(all.length)
        error = malformedItem({ queue: name, item: fault.item, taken: 0, notTaken: all }, fault.fault)
        return Effect.void
      })
      return Effect.uninterruptible(
        Effect.flatMap(Effect.zipRight(encoding, putting), () => error === undefined ? Effect.void : Effect.fail(error))
      )
    })
  }
}

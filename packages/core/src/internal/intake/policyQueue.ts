/**
 * The queue under a policy, and its offers.
 *
 * Outcomes, weights and counts are kept here, because a waiting taker gets an item without going through the backing
 * queue.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as BackingQueue from "../../BackingQueue.ts"
import * as Backpressure from "../../Backpressure.ts"
import { DrainRate } from "../../DrainRate.ts"
import {
  type AllOrNoneError,
  InvalidKey,
  type InvalidOption,
  type OfferError,
  type QueueFull,
  type Refusal
} from "../../QueueError.ts"
import { invalidKey, invalidWeight, offerTimeout, queueClosed, queueFull, tooManyItems } from "./refusals.ts"
import type { DropReason, Outcome, UnsafeOutcome } from "../../QueueEvent.ts"
import * as Strategy from "../../Strategy.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import { type Breaks, inStretches, makeBreaks, type Stretches } from "../fibers/breaks.ts"
import { type Guard, makeGuard } from "../fibers/guard.ts"
import type { Restore } from "../fibers/call.ts"
import { type EffectDequeue, type EffectQueue, makeQueue, shutdownQueue } from "./effectQueue.ts"
import { keyLimit } from "./keys.ts"
import { type Own, ownOf } from "./ownPair.ts"
import { type Ending, isOutcome, wait } from "./waitingRoom.ts"
import { isWeight } from "./weight.ts"

/** What became of the items of a call that took them all. */
type Taken = Readonly<Record<Outcome, number>>

/** What a queue of our own is made from. */
export interface ImplOptions<in A, out Item = A> extends Backpressure.QueueOptions<A> {
  readonly policy: Backpressure.Policy<A>
  readonly onCoalesce?: ((replaced: A, item: A) => void) | undefined
  readonly onInterrupt?: ((taken: number, notTaken: ReadonlyArray<A>) => void) | undefined
  /** How many bytes an item has, where they are counted. It does not throw. */
  readonly measure?: ((item: A) => number) | undefined
  /** What an item is known by, where the policy does not ask for it. It throws an `InvalidKey`. */
  readonly identityOf?: ((item: A) => unknown) | undefined
  /** What its callers know an item as: errors carry that. Default: the item itself. */
  readonly itemOf?: ((item: A) => Item) | undefined
}

/** What a batcher wants to know, in the step in which it happens. `origin` is what was given with the offer. */
export interface Hooks {
  /** An item was put into the queue, which has this length now. */
  readonly accepted: (length: number, origin: unknown) => void
  readonly coalesced: (origin: unknown) => void
  /** An offer begins to wait. */
  readonly waiting: () => void
}

const exits: Readonly<Record<Outcome, Effect.Effect<Outcome>>> = {
  accepted: Effect.succeed("accepted"),
  coalesced: Effect.succeed("coalesced"),
  dropped: Effect.succeed("dropped")
}

/** The number of single takes between readings of the drain rate. */
const takesForLook = 64

/** Counts what the pair reports, and tells the user's callbacks. */
class Ledger<in out A> implements BackingQueue.Report<A> {
  coalescedItems = 0
  droppedItems = 0
  readonly droppedByReason: Record<string, number> = Object.create(null)
  /** What the offer that is running has led to so far. */
  mark: "nothing" | "coalesced" | "dropped" = "nothing"
  private readonly onDrop: ((item: A, reason: DropReason) => void) | undefined
  private readonly onCoalesce: ((replaced: A, item: A) => void) | undefined

  constructor(options: ImplOptions<A, unknown>, guard: Guard) {
    this.onDrop = options.onDrop && guard("onDrop", options.onDrop)
    this.onCoalesce = options.onCoalesce && guard("onCoalesce", options.onCoalesce)
    this.dropped = this.dropped.bind(this)
    this.coalesced = this.coalesced.bind(this)
  }

  begin(): void {
    this.mark = "nothing"
  }

  dropped(item: A, reason: DropReason): void {
    this.droppedItems += 1
    this.droppedByReason[reason] = (this.droppedByReason[reason] ?? 0) + 1
    this.mark = "dropped"
    if (this.onDrop === undefined) return
    this.onDrop(item, reason)
    // The callback may have offered to this very queue.
    this.mark = "dropped"
  }

  coalesced(replaced: A, item: A): void {
    this.coalescedItems += 1
    this.mark = "coalesced"
    if (this.onCoalesce === undefined) return
    this.onCoalesce(replaced, item)
    this.mark = "coalesced"
  }
}

/** The queue: `PolicyQueue.make` answers it under its public interface. */
export class PolicyQueueImpl<in out A, out Item = A> {
  readonly name: string
  readonly capacity: number
  readonly close: Effect.Effect<void>
  readonly shutdown: Effect.Effect<void>
  readonly dropsOldestOnly: boolean
  private readonly queue: EffectQueue<A>
  private readonly pair: Backpressure.Pair<A>
  /** What an item is known by, where the policy asks for it. */
  private readonly keyOf: Own<A>["identityOf"]
  private readonly waiting: Own<A>["waiting"]
  private readonly ledger: Ledger<A>
  private readonly weigh: ((item: A) => number) | undefined
  private readonly identityOf: ((item: A) => unknown) | undefined
  readonly itemOf: (item: A) => Item
  private readonly onInterrupt: ((taken: number, notTaken: ReadonlyArray<A>) => void) | undefined
  private readonly hooks: Hooks | undefined
  /** Whether somebody may wait in a `take` of Effect's queue, so that items must be offered to that. */
  private mayHaveTakers = false
  private readonly breaks: Breaks
  private readonly rate: DrainRate
  private takes = 0
  private closed = false
  private offered = 0
  private refused = 0
  /** Offers that wait in a strategy other than our own. */
  private suspended = 0

  constructor(
    queue: EffectQueue<A>,
    pair: Backpressure.Pair<A>,
    ledger: Ledger<A>,
    options: ImplOptions<A, Item> & { readonly name: string },
    guard: Guard,
    hooks: Hooks | undefined,
    breaks: Breaks
  ) {
    this.breaks = breaks
    this.rate = new DrainRate(() => breaks.now)
    this.rate.note(0)
    this.queue = queue
    this.pair = pair
    const { identityOf, waiting } = ownOf<A>(pair)
    this.keyOf = identityOf
    this.waiting = waiting
    this.dropsOldestOnly = pair.dropsOldestOnly === true
    this.ledger = ledger
    this.name = options.name
    this.capacity = options.capacity
    this.weigh = options.weigh
    this.identityOf = options.identityOf
    this.itemOf = options.itemOf ?? ((item) => item as unknown as Item)
    this.onInterrupt = options.onInterrupt && guard("onInterrupt", options.onInterrupt)
    this.hooks = hooks
    if (this.waiting !== undefined) {
      this.waiting.room.onAccepted = (origin) => this.hooks?.accepted(pair.backing.length(), origin)
      this.waiting.room.onRefused = () => {
        this.refused += 1
      }
    }
    this.close = Effect.sync(() => this.unsafeClose())
    this.shutdown = Effect.zipRight(this.close, shutdownQueue(queue))
  }

  get dequeue(): EffectDequeue<A> {
    this.mayHaveTakers = true
    return this.queue
  }

  unsafeOffer(item: A, origin?: unknown): UnsafeOutcome {
    const outcome = this.attempt(item, origin)
    if (outcome === "full") return this.refuse("full")
    return outcome
  }

  /** Offers at once. Counts it, unless the queue is full: the item may wait now. */
  private attempt(item: A, origin?: unknown): UnsafeOutcome {
    if (this.closed) return this.refuse("closed")
    if (this.weigh !== undefined && !isWeight(this.weigh(item), this.capacity)) return this.refuse("invalid-weight")
    this.ledger.begin()
    // Counted first, because the observer of a drop may look at the counts.
    this.offered += 1
    const isIn = this.offerToQueue(item)
    if (isIn === "invalid-key") return isIn
    if (isIn) {
      const coalesced = this.ledger.mark === "coalesced"
      if (this.hooks !== undefined) {
        if (coalesced) this.hooks.coalesced(origin)
        else this.hooks.accepted(this.pair.backing.length(), origin)
      }
      return coalesced ? "coalesced" : "accepted"
    }
    if (this.ledger.mark === "dropped") return "dropped"
    this.offered -= 1
    // The consumer has shut Effect's queue down: that is closing too.
    if (this.mayHaveTakers && !this.queue.isActive()) {
      this.unsafeClose()
      return this.refuse("closed")
    }
    return "full"
  }

  private offerToQueue(item: A): boolean | "invalid-key" {
    try {
      this.identityOf?.(item)
      return this.mayHaveTakers ? this.queue.unsafeOffer(item) : this.pair.backing.offer(item)
    } catch (error) {
      // The user's key or `merge` threw, and the queue is as it was.
      this.refused += 1
      if (error instanceof InvalidKey) return "invalid-key"
      throw error
    }
  }

  /** What is wrong with the key of an item. What else the key throws, the offer dies of in its turn. */
  private invalidKeyOf(item: A): InvalidKey | undefined {
    try {
      this.identityOf?.(item)
      this.keyOf?.(item)
    } catch (error) {
      if (error instanceof InvalidKey) return error as InvalidKey
    }
    return undefined
  }

  private refuse<const Reason extends UnsafeOutcome>(reason: Reason): Reason {
    this.offered += 1
    this.refused += 1
    return reason
  }

  offer(item: A): Effect.Effect<Outcome, OfferError<Item>> {
    return new Offer<A, OfferError<Item>>(this, item, undefined)
  }

  /** Offers now, and answers an effect only for what may wait or fails. */
  offerNow(item: A, origin: unknown, outer?: Restore): Outcome | Effect.Effect<Outcome, OfferError<Item>> {
    const outcome = this.attempt(item, origin)
    return isOutcome(outcome) ? outcome : this.notAtOnce(outcome, { item, taken: 0 }, origin, outer)
  }

  offerAll(items: Iterable<A>): Effect.Effect<Taken, OfferError<Item>> {
    return offerEach(items, () => this)
  }

  /** Goes on with an item that was not in at once: waits for room, or fails. */
  private notAtOnce(
    outcome: UnsafeOutcome,
    place: Place<A>,
    origin: unknown,
    outer?: Restore
  ): Effect.Effect<Outcome, OfferError<Item>> {
    if (outcome !== "full") return this.fail(outcome, place)
    if (Strategy.isAnswering(this.pair.strategy)) {
      this.refuse("full")
      return this.fail("full", place)
    }
    if (this.waiting === undefined) return this.askStrategy(place, origin, outer)
    const { room, timeoutMillis } = this.waiting
    const retry = () => {
      const outcome = this.attempt(place.item, origin)
      if (outcome !== "full") return outcome
      this.offered += 1
      this.hooks?.waiting()
      return outcome
    }
    return Effect.flatMap(
      wait(room, place.item, timeoutMillis, retry, (ending) => this.interrupted(ending, place), origin, outer),
      (ending) => isOutcome(ending) ? exits[ending] : this.fail(ending, place)
    )
  }

  /**
   * A strategy that is not ours answers a boolean, some operations after it has decided: until then an item that is in
   * counts as waiting too. Whether an item is in after an interruption it alone knows; it counts as refused. Where the
   * queue is closed while an item is handed over, it may still get in: the shutdown reports it.
   */
  private askStrategy(
    place: Place<A>,
    origin: unknown,
    outer: Restore | undefined
  ): Effect.Effect<Outcome, OfferError<Item>> {
    return Effect.uninterruptibleMask((own) =>
      Effect.suspend(() => {
        const restore = outer ?? own
        this.offered += 1
        this.suspended += 1
        this.hooks?.waiting()
        return Effect.matchCauseEffect(restore(this.queue.offer(place.item)), {
          onSuccess: (isIn) => {
            this.suspended -= 1
            if (!isIn) {
              this.refused += 1
              return this.fail(this.closed ? "closed" : "full", place)
            }
            this.hooks?.accepted(this.pair.backing.length(), origin)
            return exits.accepted
          },
          onFailure: (cause) => {
            this.suspended -= 1
            this.refused += 1
            // At the shutdown a strategy interrupts those who wait.
            if (this.closed && Cause.isInterruptedOnly(cause)) return this.fail("closed", place)
            this.interrupted("interrupted", place)
            return Effect.failCause(cause)
          }
        })
      })
    )
  }

  /** Tells of an interruption, and answers whether the call ends with it, because something was not taken. */
  private interrupted(ending: Ending, place: Place<A>): boolean {
    const isIn = isOutcome(ending)
    const notTaken = notTakenOf(place).slice(isIn ? 1 : 0)
    this.refuseRest(place)
    this.onInterrupt?.(place.taken + (isIn ? 1 : 0), notTaken)
    return notTaken.length > 0
  }

  /** Counts the items of the call after this one: they were offered, and are not taken. */
  private refuseRest(place: Place<A>): void {
    const rest = notTakenOf(place).length - 1
    this.offered += rest
    this.refused += rest
  }

  private fail(ending: Ending | "full", place: Place<A>): Effect.Effect<never, OfferError<Item>> {
    this.refuseRest(place)
    const refusal = this.refusalAt(place)
    switch (ending) {
      case "timeout":
        return Effect.fail(offerTimeout(refusal, this.waiting?.timeoutMillis ?? 0, this.retryAfterMillisAt(place)))
      case "invalid-weight":
        return Effect.fail(invalidWeight(refusal, this.weigh?.(place.item) ?? 1, this.capacity))
      case "invalid-key":
        return Effect.fail(
          invalidKey(
            this.invalidKeyOf(place.item) ?? { queue: this.name, key: undefined, limit: keyLimit },
            refusal
          )
        )
      case "closed":
        return Effect.fail(queueClosed(this.name, refusal.taken, refusal.notTaken))
      default:
        return Effect.fail(queueFull(refusal, this.retryAfterMillisAt(place)))
    }
  }

  /** What an error carries, in the words of the caller. */
  private refusalAt(place: Place<A>): Refusal<Item> {
    const { item, part, taken } = place
    const isPart = part !== undefined
    return {
      queue: this.name,
      item: this.itemOf(item),
      taken: isPart ? part.before + taken : taken,
      notTaken: isPart
        ? part.items.slice(part.before + taken) as ReadonlyArray<Item>
        : notTakenOf(place).map((each) => this.itemOf(each))
    }
  }

  private retryAfterMillisAt(place: Place<A>): number | undefined {
    return this.retryAfterMillis(notTakenOf(place).length)
  }

  /** How long a caller that is refused with this many items should wait. */
  retryAfterMillis(items: number): number | undefined {
    this.noteRate()
    return this.rate.retryAfterMillis(items)
  }

  /** How many items have been taken out, or evicted: both make room. */
  private noteRate(): void {
    this.rate.note(
      this.offered - this.refused - this.ledger.coalescedItems - this.unsafeLength() - this.unsafeWaiting()
    )
  }

  /** Offers the items after the first `from` ones, each to the queue that `route` names. */
  static offerFrom<A, Item>(
    all: ReadonlyArray<A>,
    from: number,
    route: (item: A) => PolicyQueueImpl<A, Item>,
    counts: Record<Outcome, number>,
    origin: unknown,
    restore: Restore,
    part: Part<Item> | undefined,
    stretches?: Stretches
  ): Effect.Effect<Taken, OfferError<Item>> {
    for (let taken = from; taken < all.length; taken++) {
      const item = all[taken]
      if (taken - from >= freeOffers) {
        stretches ??= route(item).stretches
        const due = stretches.next()
        if (due !== undefined) {
          const rest = () => PolicyQueueImpl.offerFrom(all, taken, route, counts, origin, restore, part)
          return Effect.flatMap(due, rest)
        }
      }
      const queue = route(item)
      const outcome = queue.attempt(item, origin)
      if (isOutcome(outcome)) {
        counts[outcome] += 1
        continue
      }
      return Effect.flatMap(queue.notAtOnce(outcome, { item, taken, all, part }, origin, restore), (outcome) => {
        counts[outcome] += 1
        return PolicyQueueImpl.offerFrom(all, taken + 1, route, counts, origin, restore, part)
      })
    }
    return Effect.succeed({ ...counts })
  }

  /** For a call with many items. */
  get stretches(): Stretches {
    return this.breaks.stretches(0)
  }

  /** Why these items cannot all be taken now, if they cannot. */
  whyNotAll(items: ReadonlyArray<A>): WhyNot<A> | undefined {
    if (this.closed) return { _tag: "Closed" }
    const { weigh } = this
    if (weigh !== undefined) {
      for (const item of items) {
        const weight = weigh(item)
        if (!isWeight(weight, this.capacity)) return { _tag: "InvalidWeight", item, weight }
      }
    }
    if (this.identityOf !== undefined || this.keyOf !== undefined) {
      for (const item of items) {
        const error = this.invalidKeyOf(item)
        if (error !== undefined) return { _tag: "InvalidKey", item, error }
      }
    }
    const room = BackingQueue.roomFor(this.pair.backing, items)
    if (room === "now") return undefined
    return room === "later"
      ? { _tag: "Full", retryAfterMillis: this.retryAfterMillis(items.length) }
      : { _tag: "TooMany" }
  }

  /** Adds to each of some items how often it waits. */
  countInto(counts: Map<A, number>): void {
    BackingQueue.countInto(this.pair.backing, counts)
  }

  /** Counts items that are refused without having been offered to the policy. */
  unsafeRefuse(count: number): void {
    this.offered += count
    this.refused += count
  }

  unsafeTakeUpTo(limit: number): ReadonlyArray<A> {
    const items = this.pair.backing.pollUpTo(limit)
    this.pair.strategy.onRoom()
    this.noteRate()
    return items
  }

  /** Takes an item, if there is one. */
  unsafeTake(): A | undefined {
    const item = this.pair.backing.poll(undefined)
    if (item === undefined) return undefined
    this.unsafeAdmit()
    // Seldom, because the clock costs as much as a take.
    this.takes = (this.takes + 1) % takesForLook
    if (this.takes === 0) this.noteRate()
    return item
  }

  /** Lets in who waits for room: to be called when some was made. */
  unsafeAdmit(): void {
    this.waiting?.room.admit()
  }

  unsafeLength(): number {
    return this.pair.backing.length()
  }

  /** The bytes of the items in it; undefined where they are not counted, which a backing queue of the user's decides. */
  unsafeBytes(): number | undefined {
    return BackingQueue.unsafeBytes(this.pair.backing)
  }

  /** How many items to take, up to a count and a number of bytes: at least one. */
  unsafeCountWithin(bytes: number, most: number): number {
    return BackingQueue.unsafeCountWithin(this.pair.backing, bytes, most)
  }

  unsafeWaiting(): number {
    return this.suspended + (this.waiting === undefined ? 0 : this.waiting.room.size)
  }

  unsafeCounts() {
    const held = this.unsafeLength() + this.unsafeWaiting()
    const { coalescedItems: coalesced, droppedByReason, droppedItems: dropped } = this.ledger
    return {
      offered: this.offered,
      refused: this.refused,
      coalesced,
      dropped,
      droppedByReason: { ...droppedByReason },
      taken: this.offered - this.refused - coalesced - dropped - held,
      held
    }
  }

  unsafeClose(): void {
    if (this.closed) return
    this.closed = true
    this.waiting?.room.close()
  }
}

/** Why several items cannot all be taken at once. */
type WhyNot<A> =
  | { readonly _tag: "TooMany" | "Closed" }
  | { readonly _tag: "Full"; readonly retryAfterMillis: number | undefined }
  | { readonly _tag: "InvalidWeight"; readonly item: A; readonly weight: number }
  | { readonly _tag: "InvalidKey"; readonly item: A; readonly error: InvalidKey }

/** How many items can be offered all or none. */
export const mostAllOrNone = 50_000

/**
 * Offers items, each to the queue that `route` names, where there is room for all of them: in one step, so that nobody
 * comes in between. Answers the counts, or why none of them is in.
 */
export const unsafeOfferAllOrNone = <A, Item>(
  items: ReadonlyArray<A>,
  route: (item: A) => PolicyQueueImpl<A, Item>,
  origin?: unknown
): Taken | AllOrNoneError<Item> => whyNone(items, route) ?? unsafeOfferEach(items, route, origin)

/** Why none of the items can be taken, if they cannot: then they are counted as refused. */
export const whyNone = <A, Item>(
  items: ReadonlyArray<A>,
  route: (item: A) => PolicyQueueImpl<A, Item>
): AllOrNoneError<Item> | undefined => {
  if (items.length > mostAllOrNone) {
    const queue = route(items[0])
    queue.unsafeRefuse(items.length)
    return tooManyItems(noneOf(items, queue), mostAllOrNone)
  }
  const shares = new Map<PolicyQueueImpl<A, Item>, Array<A>>()
  for (const item of items) {
    const queue = route(item)
    const share = shares.get(queue)
    if (share === undefined) shares.set(queue, [item])
    else share.push(item)
  }
  const reasons = Array.from(shares, ([queue, share]) => queue.whyNotAll(share)).filter((each) => each !== undefined)
  if (reasons.length === 0) return undefined
  for (const [queue, { length }] of shares) queue.unsafeRefuse(length)
  return refusalOfAll(items, route(items[0]), gravest(reasons))
}

/** Offers items that there is room for, in the same step. */
export const unsafeOfferEach = <A, Item>(
  items: ReadonlyArray<A>,
  route: (item: A) => PolicyQueueImpl<A, Item>,
  origin?: unknown
): Taken | QueueFull<Item> => {
  const counts = { accepted: 0, coalesced: 0, dropped: 0 }
  for (const [taken, item] of items.entries()) {
    const queue = route(item)
    const refuseRest = () => items.slice(taken + 1).forEach((rest) => route(rest).unsafeRefuse(1))
    let outcome: UnsafeOutcome
    try {
      outcome = queue.unsafeOffer(item, origin)
    } catch (error) {
      refuseRest()
      throw error
    }
    if (!isOutcome(outcome)) {
      // Only a policy of the user's refuses what there was room for.
      refuseRest()
      const notTaken = items.slice(taken).map((each) => queue.itemOf(each))
      const refusal = { queue: queue.name, item: queue.itemOf(item), taken, notTaken }
      return queueFull(refusal, queue.retryAfterMillis(notTaken.length))
    }
    counts[outcome] += 1
  }
  return counts
}

/** With several shards each may have a reason: what makes no sense to be tried again comes first. */
const gravest = <A>(reasons: ReadonlyArray<WhyNot<A>>): WhyNot<A> =>
  reasons.find(({ _tag }) => _tag === "Closed")
    ?? reasons.find(({ _tag }) => _tag === "InvalidWeight" || _tag === "InvalidKey")
    ?? reasons.find(({ _tag }) => _tag === "TooMany")
    ?? reasons[0]

/** What an error carries where nothing was taken. */
const noneOf = <A, Item>(items: ReadonlyArray<A>, queue: PolicyQueueImpl<A, Item>): Refusal<Item> => {
  const notTaken = items.map((item) => queue.itemOf(item))
  return { queue: queue.name, item: notTaken[0], taken: 0, notTaken }
}

const refusalOfAll = <A, Item>(
  items: ReadonlyArray<A>,
  queue: PolicyQueueImpl<A, Item>,
  reason: WhyNot<A>
): AllOrNoneError<Item> => {
  const { capacity, name } = queue
  const refusal = noneOf(items, queue)
  switch (reason._tag) {
    case "Closed":
      return queueClosed(name, 0, refusal.notTaken)
    case "Full":
      return queueFull(refusal, reason.retryAfterMillis)
    case "TooMany":
      return tooManyItems(refusal, capacity)
    case "InvalidKey":
      return invalidKey(reason.error, { ...refusal, item: queue.itemOf(reason.item) })
    case "InvalidWeight":
      return invalidWeight({ ...refusal, item: queue.itemOf(reason.item) }, reason.weight, capacity)
  }
}

/** The number of offers of one call between looks at the clock. */
const freeOffers = 128

/** How many offers in a row a generator may make without giving way to other fibers. */
const offersInARow = 1024

/** Iterators that are done, with each outcome. */
const done: Readonly<Record<Outcome, Iterator<never, Outcome>>> = {
  accepted: { next: () => ({ done: true, value: "accepted" }) },
  coalesced: { next: () => ({ done: true, value: "coalesced" }) },
  dropped: { next: () => ({ done: true, value: "dropped" }) }
}

/** Where an item can be offered at once: answers an effect only for what may wait or fails. */
export interface Offered<in A, out E> {
  readonly offerNow: (item: A, origin: unknown) => Outcome | Effect.Effect<Outcome, E>
}

/**
 * The effect of one offer. In `Effect.gen`, `yield*` asks an effect for an iterator at the moment in which it is to be
 * run. So an offer that is in at once is over there and then, without a turn through the run loop of the fiber, which
 * costs several times as much as the offer itself.
 */
export class Offer<A, E = OfferError<A>> extends Effectable.Class<Outcome, E> {
  private static inARow = 0
  private readonly queue: Offered<A, E>
  private readonly item: A
  private readonly origin: unknown

  constructor(queue: Offered<A, E>, item: A, origin: unknown) {
    super()
    this.queue = queue
    this.item = item
    this.origin = origin
  }

  override commit(): Effect.Effect<Outcome, E> {
    const outcome = this.queue.offerNow(this.item, this.origin)
    return typeof outcome === "string" ? exits[outcome] : outcome
  }

  override [Symbol.iterator](): Effect.EffectGenerator<Effect.Effect<Outcome, E>> {
    Offer.inARow += 1
    if (Offer.inARow >= offersInARow) {
      Offer.inARow = 0
      return Effect.zipRight(Effect.yieldNow(), Effect.suspend(() => this.commit()))[Symbol.iterator]()
    }
    const outcome = this.queue.offerNow(this.item, this.origin)
    return typeof outcome === "string" ? done[outcome] : outcome[Symbol.iterator]()
  }
}

/** Where an item stands in the call that offers it. */
interface Place<out A> {
  readonly item: A
  /** How many of the call were taken before it. */
  readonly taken: number
  /** Every item of the call, where there are several. */
  readonly all?: ReadonlyArray<A>
  readonly part?: Part<unknown> | undefined
}

/** What is offered is a part of a call: of all its items, those after so many others, and maybe not all of the rest. */
export interface Part<out Item> {
  readonly items: ReadonlyArray<Item>
  readonly before: number
}

const notTakenOf = <A>(place: Place<A>): ReadonlyArray<A> =>
  place.all === undefined ? [place.item] : place.all.slice(place.taken)

/**
 * Offers items in order, each to the queue that `route` names. Interruptible only where it waits: that is where it can
 * tell how many were taken.
 */
export const offerEach = <A, Item>(
  items: Iterable<A>,
  route: (item: A) => PolicyQueueImpl<A, Item>,
  origin?: unknown,
  part?: Part<Item>
): Effect.Effect<Taken, OfferError<Item>> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const offer = (all: ReadonlyArray<A>) =>
        PolicyQueueImpl.offerFrom(all, 0, route, { accepted: 0, coalesced: 0, dropped: 0 }, origin, restore, part)
      if (Array.isArray(items)) return offer(items.slice())
      // It may be a generator that takes its time for each.
      const all: Array<A> = []
      let stretches: Stretches | undefined
      const next = () => (stretches ??= route(all[0]).stretches).next()
      return Effect.flatMap(inStretches(items, { next }, (item) => void all.push(item)), () => offer(all))
    })
  )

export const makeImpl = <A, Item = A>(
  options: ImplOptions<A, Item>,
  hooks?: Hooks
): Effect.Effect<PolicyQueueImpl<A, Item>, InvalidOption> =>
  Effect.gen(function*() {
    const name = options.name ?? "queue"
    for (const field of ["onDrop", "onCoalesce", "onInterrupt"] as const) {
      yield* Check.optionalFunction(name, field, options[field])
    }
    const guard = yield* makeGuard(name)
    const ledger = new Ledger(options, guard)
    const pair = yield* Backpressure.makePair(options.policy, {
      name,
      capacity: options.capacity,
      weigh: options.weigh,
      measure: options.measure,
      report: ledger
    })
    const queue = yield* makeQueue(pair)
    return new PolicyQueueImpl(
      queue,
      pair,
      ledger,
      { ...options, name },
      guard,
      hooks,
      yield* makeBreaks
    )
  })

/**
 * The queue under a policy, and its offers.
 *
 * Outcomes, weights and counts are kept here, because a waiting taker gets an item without going through the backing
 * queue.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as BackingQueue from "../../BackingQueue.ts"
import * as Backpressure from "../../Backpressure.ts"
import { DrainRate } from "../../DrainRate.ts"
import { InvalidKey, type InvalidOption, type OfferError, type Refusal } from "../../QueueError.ts"
import { invalidKey, invalidWeight, offerTimeout, queueClosed, queueFull } from "./refusals.ts"
import type { Outcome, UnsafeOutcome } from "../../QueueEvent.ts"
import * as Strategy from "../../Strategy.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import { type Breaks, makeBreaks, type Stretches } from "../fibers/breaks.ts"
import { type Guard, makeGuard } from "../fibers/guard.ts"
import type { Restore } from "../fibers/call.ts"
import { type EffectDequeue, type EffectQueue, makeQueue, shutdownQueue } from "./effectQueue.ts"
import type { WhyNot } from "./allOrNone.ts"
import { keyLimit } from "./keys.ts"
import { Ledger } from "./ledger.ts"
import { exits, notTakenOf, Offer, type Part, type Place, type Taken } from "./offer.ts"
import { offerEach } from "./offerEach.ts"
import { type Own, ownOf } from "./ownPair.ts"
import { type Ending, isOutcome, wait } from "./waitingRoom.ts"
import { isWeight } from "./weight.ts"

/** What a queue of our own is made from. */
export interface ImplOptions<in A, out Item = A> extends Backpressure.QueueOptions<A> {
  readonly policy: Backpressure.Policy<A>
  readonly onCoalesce?: ((replaced: A, item: A) => void) | undefined
  /** `part`: the call of which what was offered is a part, where it is one. */
  readonly onInterrupt?: ((taken: number, notTaken: ReadonlyArray<A>, part?: Part<unknown>) => void) | undefined
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

/** The number of single takes between readings of the drain rate. */
const takesForLook = 64

/** The queue. `PolicyQueue.make` answers one whose methods can be taken off it. */
export class PolicyQueueImpl<in out A, out Item = A> {
  readonly queueName: string
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
  private readonly onInterrupt: ImplOptions<A>["onInterrupt"]
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
    this.queueName = options.name
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
  attempt(item: A, origin?: unknown): UnsafeOutcome {
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
  notAtOnce(
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
    this.onInterrupt?.((place.part?.before ?? 0) + place.taken + (isIn ? 1 : 0), notTaken, place.part)
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
            this.invalidKeyOf(place.item) ?? { queue: this.queueName, key: undefined, limit: keyLimit },
            refusal
          )
        )
      case "closed":
        return Effect.fail(queueClosed(this.queueName, refusal.taken, refusal.notTaken))
      default:
        return Effect.fail(queueFull(refusal, this.retryAfterMillisAt(place)))
    }
  }

  /** What an error carries, in the words of the caller. */
  private refusalAt(place: Place<A>): Refusal<Item> {
    const { item, part, taken } = place
    const isPart = part !== undefined
    return {
      queue: this.queueName,
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

  get isClosed(): boolean {
    return this.closed
  }

  unsafeClose(): void {
    if (this.closed) return
    this.closed = true
    this.waiting?.room.close()
  }
}

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

/**
 * The effect of one offer, and where an item stands in the call that offers it.
 */
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type { OfferError } from "../../QueueError.ts"
import type { Outcome } from "../../QueueEvent.ts"

/** What became of the items of a call that took them all. */
export type Taken = Readonly<Record<Outcome, number>>

/** Effects that are done, with each outcome. */
export const exits: Readonly<Record<Outcome, Effect.Effect<Outcome>>> = {
  accepted: Effect.succeed("accepted"),
  coalesced: Effect.succeed("coalesced"),
  dropped: Effect.succeed("dropped")
}

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
export interface Place<out A> {
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
  /** Called in the step in which the last of the part is taken: an interruption may be all that follows. */
  readonly onTaken?: () => void
}

export const notTakenOf = <A>(place: Place<A>): ReadonlyArray<A> =>
  place.all === undefined ? [place.item] : place.all.slice(place.taken)

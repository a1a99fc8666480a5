/**
 * Offers that wait for room, first come, first served. One synchronous step decides whether an item is in or out, by
 * what comes first: room, the timeout, the interruption or the closing.
 */
import * as Effect from "effect/Effect"
import type { Outcome } from "../../QueueEvent.ts"
import { withAlarm } from "../fibers/alarm.ts"
import type { Restore } from "../fibers/call.ts"
import { Chain, type Link } from "../shapes/chain.ts"
import { park } from "../fibers/parking.ts"

/** How a wait ended: with what became of the item, or without it. */
export type Ending = Outcome | "closed" | "invalid-weight" | "invalid-key" | "timeout" | "interrupted" | Died

/** The user's code threw when the item was let in: `merge`, the key or the weight. */
export class Died {
  readonly defect: unknown

  constructor(defect: unknown) {
    this.defect = defect
  }
}

export const isOutcome = (ending: Ending | "full"): ending is Outcome =>
  ending === "accepted" || ending === "coalesced" || ending === "dropped"

export interface Waiter<in out A> extends Link<Waiter<A>> {
  readonly item: A
  /** The item's key, where items coalesce: asked once, because the item may change while it waits. */
  readonly key: unknown
  /** Where the offer came from, for the observer of its admission. */
  readonly origin: unknown
  /** How the wait ended, once it has. */
  ending: Ending | undefined
  /** Called once when it ends. Check `ending` before setting it. */
  onEnd: ((ending: Ending) => void) | undefined
}

export class WaitingRoom<in out A> {
  /** Whether an item that has waited is being put into the queue in this very step. */
  taking = false
  /** Called when an item that has waited was put into the queue. */
  onAccepted: ((origin: unknown) => void) | undefined
  /** Called when waiting items have been let in, once no other of their keys waits: time to tell the user of it. */
  onAdmitted: (() => void) | undefined
  /** Called when a wait ended without the item. */
  onRefused: (() => void) | undefined
  private readonly take: (item: A) => Outcome | "full"
  private readonly keyOf: ((item: A) => unknown) | undefined
  private readonly waiters = new Chain<Waiter<A>>()
  /** The waiters of each key, oldest first; empty where items have no key. */
  private readonly byKey = new Map<unknown, Set<Waiter<A>>>()
  private admitting = false
  private closed = false

  /** `take` tries to put an item that has waited into the queue. */
  constructor(take: (item: A) => Outcome | "full", keyOf?: (item: A) => unknown) {
    this.take = take
    this.keyOf = keyOf
  }

  /** How many items wait. */
  get size(): number {
    return this.waiters.size
  }

  private get first(): Waiter<A> | undefined {
    return this.waiters.first
  }

  /** Whether room that there may be belongs to somebody who waits already. */
  get reserved(): boolean {
    // Not while `admitting`: who is told of an admission may offer, and must not overtake those who wait.
    return this.size > 0 && !this.taking
  }

  /** Waits with an item that did not fit just now. */
  enter(item: A, origin?: unknown): Waiter<A> {
    const key = this.keyOf?.(item)
    const waiter: Waiter<A> = {
      item,
      key,
      origin,
      ending: undefined,
      onEnd: undefined,
      previous: undefined,
      next: undefined
    }
    this.waiters.push(waiter)
    if (this.keyOf !== undefined) {
      const sameKey = this.byKey.get(key)
      if (sameKey === undefined) this.byKey.set(key, new Set([waiter]))
      else sameKey.add(waiter)
    }
    if (this.closed) this.end(waiter, "closed")
    return waiter
  }

  /** Admits the offers that fit now, in order. Call it whenever there may be room. */
  admit(): void {
    // The observer of an admission may offer or take again: the loop below sees the result.
    if (this.admitting) return
    this.admitting = true
    try {
      while (this.first !== undefined && this.admitFirst(this.first)) {
        // until one does not fit
      }
    } finally {
      this.admitting = false
    }
  }

  /** Ends a wait from outside; answers false where it has ended already, and then its ending stands. */
  leave(waiter: Waiter<A>, ending: Ending): boolean {
    if (waiter.ending !== undefined) return false
    this.end(waiter, ending)
    // A heavy item at the head may have kept lighter ones behind it waiting.
    this.admit()
    return true
  }

  /** Ends every wait, now and from now on. */
  close(): void {
    this.closed = true
    while (this.first !== undefined) this.end(this.first, "closed")
  }

  private admitFirst(waiter: Waiter<A>): boolean {
    if (!this.admitOne(waiter)) return false
    if (waiter.ending === "accepted") {
      this.admitSameKey(waiter.key)
      this.onAccepted?.(waiter.origin)
    }
    this.onAdmitted?.()
    return true
  }

  private admitOne(waiter: Waiter<A>): boolean {
    const outcome = this.tryToTake(waiter.item)
    if (outcome === "full") return false
    this.end(waiter, outcome)
    return true
  }

  private tryToTake(item: A): Outcome | "full" | Died {
    this.taking = true
    try {
      return this.take(item)
    } catch (defect) {
      // The waiting offer dies of it, not the caller that has just made room.
      return new Died(defect)
    } finally {
      this.taking = false
    }
  }

  /**
   * A key has just been queued, so the items of that key that wait need no room any more. They must go in now: a newer
   * offer of the key would go in at once, and an older one that had waited would overwrite it later.
   */
  private admitSameKey(key: unknown): void {
    const waiters = this.byKey.get(key)
    if (waiters === undefined) return
    for (const waiter of Array.from(waiters)) {
      if (waiter.ending === undefined) this.admitOne(waiter)
    }
  }

  private end(waiter: Waiter<A>, ending: Ending): void {
    this.waiters.remove(waiter)
    const sameKey = this.byKey.get(waiter.key)
    if (sameKey !== undefined) {
      sameKey.delete(waiter)
      if (sameKey.size === 0) this.byKey.delete(waiter.key)
    }
    waiter.ending = ending
    if (!isOutcome(ending)) this.onRefused?.()
    waiter.onEnd?.(ending)
  }
}

/**
 * Waits in the room until the item is in or the wait has ended otherwise.
 *
 * The wait begins in the same step as `retry`, and within a mask: a fiber can be interrupted between the start of a
 * `park` and the setting up of its finalizer, and its item would come in later, when nobody waits for it.
 *
 * After an interruption the ending says whether the item is in. Where it is, and no more items of the call are left,
 * this succeeds: a caller that is uninterruptible learns of it.
 */
export const wait = <A>(
  room: WaitingRoom<A>,
  item: A,
  timeoutMillis: number | undefined,
  /** Tries once more: another fiber may have run since the item did not fit. */
  retry: () => Ending | "full",
  /** Answers whether the call ends here, because something was not taken. */
  onInterrupt: (ending: Ending) => boolean = (ending) => !isOutcome(ending),
  origin?: unknown,
  /** For a caller that is within a mask of its own, and runs the answer next: the wait begins at once. */
  outer?: Restore
): Effect.Effect<Exclude<Ending, Died>> => {
  const begin = (restore: Restore) => {
    const retried = retry()
    if (retried !== "full") return endWith(retried)
    const waiter = room.enter(item, origin)
    const ended = park<Ending>((resume) => {
      if (waiter.ending !== undefined) resume(Effect.succeed(waiter.ending))
      else waiter.onEnd = (ending) => resume(Effect.succeed(ending))
    })
    const timed = timeoutMillis === undefined
      ? restore(ended)
      : withAlarm(restore(ended), timeoutMillis, () => room.leave(waiter, "timeout"))
    return Effect.matchCauseEffect(timed, {
      onSuccess: endWith,
      onFailure: (cause) => {
        room.leave(waiter, "interrupted")
        return onInterrupt(waiter.ending!) ? Effect.failCause(cause) : endWith(waiter.ending!)
      }
    })
  }
  return outer === undefined ? Effect.uninterruptibleMask((own) => Effect.suspend(() => begin(own))) : begin(outer)
}

const endWith = (ending: Ending): Effect.Effect<Exclude<Ending, Died>> =>
  ending instanceof Died ? Effect.die(ending.defect) : Effect.succeed(ending)

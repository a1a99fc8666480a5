/**
 * Reports the outcome of items to the callers that wait for their settlement. Costs nothing without such callers.
 *
 * Items are told apart as the keys of a `Map`: objects by identity. Equal items, such as equal numbers, are assumed to
 * end in order of arrival, so the places of items without a waiting caller are kept as well. If a policy drops or
 * merges items, this may be wrong: callers that need exact outcomes must offer objects.
 */
import type { DropReason } from "../../QueueEvent.ts"

/**
 * What became of the items of one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settlement {
  readonly settled: number
  /** Replaced by, or merged with, another item of their key: that one is settled in their place, or dropped. */
  readonly coalesced: number
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
}

export class Ticket<out A> implements Settlement {
  readonly items: ReadonlyArray<A>
  settled = 0
  coalesced = 0
  dropped = 0
  // Reasons may have any name.
  readonly droppedByReason: Record<string, number> = Object.create(null)
  onDone: (() => void) | undefined

  constructor(items: ReadonlyArray<A>) {
    this.items = items
  }

  get isDone(): boolean {
    return this.settled + this.coalesced + this.dropped === this.items.length
  }
}

/** Consecutive places of one item in the queue. A place without a waiting caller has no ticket. */
interface Run<A> {
  ticket: Ticket<A> | undefined
  count: number
}

/** The places of one item, oldest first. */
interface Places<A> {
  runs: Array<Run<A>>
  /** How many there are, and how many of them have a ticket. */
  total: number
  awaited: number
}

export class Settlements<in out A> {
  private readonly places = new Map<A, Places<A>>()

  get areAwaited(): boolean {
    return this.places.size > 0
  }

  /**
   * To be called before the items are offered. `countHeld` adds to each of some items how many of it are in the queue
   * already. An object comes once: it is not looked for.
   */
  await(items: ReadonlyArray<A>, countHeld: (counts: Map<A, number>) => void): Ticket<A> {
    // The caller may use the array again while it waits.
    const ticket = new Ticket(items.slice())
    const own = new Map<A, number>()
    for (const item of items) own.set(item, (own.get(item) ?? 0) + 1)
    const held = new Map<A, number>()
    for (const item of own.keys()) if (typeof item !== "object" && typeof item !== "function") held.set(item, 0)
    if (held.size > 0) countHeld(held)
    for (const [item, count] of own) {
      let places = this.places.get(item)
      if (places === undefined) this.places.set(item, places = { runs: [], total: 0, awaited: 0 })
      const untold = (held.get(item) ?? 0) - places.total
      if (untold > 0) places.runs.push({ ticket: undefined, count: untold })
      places.runs.push({ ticket, count })
      places.total += Math.max(0, untold) + count
      places.awaited += count
    }
    return ticket
  }

  /** The items are not in after all. */
  withdraw(ticket: Ticket<A>): void {
    for (const [item, places] of this.placesOf(ticket)) {
      places.runs = places.runs.filter((run) => run.ticket !== ticket)
      places.total = places.runs.reduce((sum, { count }) => sum + count, 0)
      this.recount(item, places)
    }
  }

  /** No caller waits for these any more. Their places stay, because later places depend on them. */
  forget(ticket: Ticket<A>): void {
    for (const [item, places] of this.placesOf(ticket)) {
      for (const run of places.runs) if (run.ticket === ticket) run.ticket = undefined
      this.recount(item, places)
    }
  }

  private placesOf(ticket: Ticket<A>): ReadonlyArray<readonly [A, Places<A>]> {
    return Array.from(new Set(ticket.items)).flatMap((item) => {
      const places = this.places.get(item)
      return places === undefined ? [] : [[item, places] as const]
    })
  }

  private recount(item: A, places: Places<A>): void {
    places.awaited = places.runs.reduce((sum, run) => run.ticket === undefined ? sum : sum + run.count, 0)
    if (places.awaited === 0) this.places.delete(item)
  }

  settled(item: A): void {
    const ticket = this.next(item)
    if (ticket === undefined) return
    ticket.settled += 1
    this.tell(ticket)
  }

  coalesced(item: A): void {
    const ticket = this.next(item)
    if (ticket === undefined) return
    ticket.coalesced += 1
    this.tell(ticket)
  }

  dropped(item: A, reason: DropReason): void {
    const ticket = this.next(item)
    if (ticket === undefined) return
    ticket.dropped += 1
    ticket.droppedByReason[reason] = (ticket.droppedByReason[reason] ?? 0) + 1
    this.tell(ticket)
  }

  private next(item: A): Ticket<A> | undefined {
    const places = this.places.get(item)
    if (places === undefined) return undefined
    const [oldest] = places.runs
    oldest.count -= 1
    places.total -= 1
    if (oldest.count === 0) places.runs.shift()
    if (oldest.ticket !== undefined) places.awaited -= 1
    if (places.awaited === 0) this.places.delete(item)
    return oldest.ticket
  }

  private tell(ticket: Ticket<A>): void {
    if (ticket.isDone) ticket.onDone?.()
  }
}

/**
 * Tells those who wait for the settlement of their own items what became of each. Costs nothing while nobody waits.
 *
 * Items are told apart by what they are: objects by identity. Several that are the same, such as equal numbers, are taken
 * to end in the order in which they came, so the places of those that nobody waits for are kept as well. Where a policy
 * drops or merges, that need not be so: whoever has to know it exactly offers objects.
 */
import type { DropReason } from "../QueueEvent.ts"

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

/**
 * Whether two items are one to a Map.
 * @internal
 */
export const isSame = (a: unknown, b: unknown): boolean => a === b || (a !== a && b !== b)

/** @internal */
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

/** @internal */
export class Settlements<in out A> {
  /** For each item its places, oldest first. A place that nobody waits for has no ticket. */
  private readonly places = new Map<A, Array<Ticket<A> | undefined>>()

  get areAwaited(): boolean {
    return this.places.size > 0
  }

  /** To be called before the items are offered. `held` says how many of an item are in the queue already. */
  await(items: ReadonlyArray<A>, held: (item: A) => number): Ticket<A> {
    // The caller may use the array again while it waits.
    const ticket = new Ticket(items.slice())
    for (const item of items) {
      let places = this.places.get(item)
      if (places === undefined) this.places.set(item, places = [])
      const before = this.before(item, ticket, places, held)
      while (places.length < before) places.push(undefined)
      places.push(ticket)
    }
    return ticket
  }

  /** An object comes once: it is not looked for. */
  private before(
    item: A,
    ticket: Ticket<A>,
    places: ReadonlyArray<Ticket<A> | undefined>,
    held: (item: A) => number
  ): number {
    if (typeof item === "object" || typeof item === "function") return 0
    // Those of the same call are not in yet.
    return held(item) + places.filter((each) => each === ticket).length
  }

  /** The items are not in after all. */
  withdraw(ticket: Ticket<A>): void {
    for (const item of new Set(ticket.items)) {
      const places = this.places.get(item)?.filter((each) => each !== ticket) ?? []
      if (places.every((each) => each === undefined)) this.places.delete(item)
      else this.places.set(item, places)
    }
  }

  /** Nobody waits for these any more. Their places stay, for the sake of those behind them. */
  forget(ticket: Ticket<A>): void {
    for (const item of ticket.items) {
      const places = this.places.get(item)
      if (places === undefined) continue
      for (let i = 0; i < places.length; i++) if (places[i] === ticket) places[i] = undefined
      if (places.every((each) => each === undefined)) this.places.delete(item)
    }
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
    const ticket = places.shift()
    if (places.every((each) => each === undefined)) this.places.delete(item)
    return ticket
  }

  private tell(ticket: Ticket<A>): void {
    if (ticket.isDone) ticket.onDone?.()
  }
}

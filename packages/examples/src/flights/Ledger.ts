/**
 * What a queue has told us item by item: which departures it did not write, and how long the others took; and how many
 * batches it wrote. All other counts are the queue's own; see `WriteBehind.metrics`.
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import type { Departure } from "./Flight.ts"

/** Times in whole milliseconds, as counts: as long as they do not get longer, a million take no more room than ten. */
export class Latencies {
  private readonly counts = new Map<number, number>()
  private total = 0

  add(millis: number): void {
    this.counts.set(millis, (this.counts.get(millis) ?? 0) + 1)
    this.total += 1
  }

  /** The time within which that part of all items was done; 0 where there were none. */
  quantile(part: number): number {
    let rest = Math.ceil(this.total * part)
    for (const [millis, count] of [...this.counts].sort(([a], [b]) => a - b)) {
      rest -= count
      if (rest <= 0) return millis
    }
    return 0
  }
}

export class Account {
  /** What was dropped or refused, where that is kept. */
  readonly lost: Array<Departure> = []
  /** How many batches were written. */
  batches = 0
  /** From the offer until its batch was written. */
  readonly latencies = new Latencies()
  private readonly keepsLost: boolean

  constructor(keepsLost: boolean) {
    this.keepsLost = keepsLost
  }

  lose(...departures: ReadonlyArray<Departure>): void {
    if (this.keepsLost) this.lost.push(...departures)
  }
}

export class Ledger extends Context.Tag("flights/Ledger")<Ledger, {
  readonly flights: Account
  readonly board: Account
}>() {}

const make = (keepsLost: boolean): Layer.Layer<Ledger> =>
  Layer.sync(Ledger, () => ({ flights: new Account(keepsLost), board: new Account(keepsLost) }))

export const layer: Layer.Layer<Ledger> = make(true)

/** For a program that runs for days: what is lost is counted by the queues, and not kept. */
export const layerForgetful: Layer.Layer<Ledger> = make(false)

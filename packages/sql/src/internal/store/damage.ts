/**
 * The places of a queue that cannot be read because pages of the file are broken. A queue records the places that it
 * finds, and skips them from then on.
 */

import type { SqlError } from "@effect/sql/SqlError"
import type { Damage, DamageKind as Kind } from "../../BatchStoreDialect.ts"

export type { Damage, DamageKind as Kind } from "../../BatchStoreDialect.ts"

/** Places between which nothing can be read, both included. */
interface Gap {
  readonly from: number
  readonly to: number
}

export class QueueDamage implements Damage {
  private readonly gaps: Readonly<Record<Kind, Array<Gap>>> = { batches: [], resting: [], dead: [] }
  /** What can be read, and not be deleted. */
  private readonly stuck: Readonly<Record<Kind, Set<number>>> = {
    batches: new Set(),
    resting: new Set(),
    dead: new Set()
  }
  /** The damage that was not reported yet. */
  private news: Array<string> = []
  error: SqlError | undefined
  /** How much has been learned. */
  learned = 0

  /** Whether claims have to look where they go. */
  get isInTheWay(): boolean {
    return this.gaps.batches.length > 0 || this.gaps.resting.length > 0
  }

  get hasDead(): boolean {
    return this.gaps.dead.length > 0
  }

  add(kind: Kind, from: number, to: number): void {
    if (this.endOf(kind, from) >= to) return
    this.learned += 1
    this.gaps[kind].push({ from, to })
    this.news.push(`${kind}: ${from === to ? from : `${from} to ${to}`}`)
  }

  has(kind: Kind, place: number): boolean {
    return this.endOf(kind, place) >= place
  }

  addStuck(kind: Kind, place: number): void {
    if (!this.isStuck(kind, place)) this.learned += 1
    this.stuck[kind].add(place)
  }

  isStuck(kind: Kind, place: number): boolean {
    return this.stuck[kind].has(place)
  }

  endOf(kind: Kind, place: number): number {
    let end = place - 1
    for (const { from, to } of this.gaps[kind]) if (place >= from && place <= to) end = Math.max(end, to)
    return end
  }

  placesOf(kind: Kind): ReadonlyArray<number> {
    return this.gaps[kind].flatMap(({ from, to }) => from === to ? [from] : [])
  }

  /** What there is to tell, once. */
  takeNews(): ReadonlyArray<string> {
    const { news } = this
    this.news = []
    return news
  }
}

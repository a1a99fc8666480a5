/**
 * An item on its way into the store, and the callers that wait for it.
 */
import type { EncodedItem } from "../../Codec.ts"

/** What became of an item that somebody waits for. */
export type Ending =
  | { readonly _tag: "Stored" }
  | { readonly _tag: "Duplicate" }
  | { readonly _tag: "Dropped"; readonly reason: string }

/** One for all: there is an entry for each item that is offered. */
const nobody: ReadonlyArray<never> = []

/** An offered item on its way into the store. */
export class Entry<in out A> {
  readonly item: A
  /** What its caller has offered, and is told of: the item itself, or what it is a copy of. */
  readonly offered: A
  /** When it was offered, in milliseconds of Effect's Clock. */
  readonly offeredAt: number
  /** Unknown of one that was merged of others. Those others have what came of that, once it is known. */
  encoded: EncodedItem | undefined
  /** Under which it counts once. */
  readonly id: string | undefined
  /** Whether somebody waits until it is stored. */
  readonly isAwaited: boolean
  /** How many bytes those had that it was merged of. */
  private bytesBefore = 0
  /** Others that it was merged with, and that somebody waits for. */
  joined: ReadonlyArray<Entry<A>> = nobody
  /** Others of the same id, which count as this one does. */
  private repeated: Array<Entry<A>> | undefined
  ending: Ending | undefined
  onEnd: ((ending: Ending) => void) | undefined

  constructor(
    item: A,
    offeredAt: number,
    encoded: EncodedItem | undefined,
    awaited?: { readonly id?: string },
    offered = item
  ) {
    this.item = item
    this.offered = offered
    this.offeredAt = offeredAt
    this.encoded = encoded
    this.isAwaited = awaited !== undefined
    this.id = awaited?.id
  }

  /** How many bytes it has, as far as is known. */
  get bytes(): number {
    return this.encoded === undefined ? this.bytesBefore : this.encoded.bytes
  }

  /** Another one of the same id was offered. */
  repeat(entry: Entry<A>): void {
    ;(this.repeated ??= []).push(entry)
  }

  /** Tells those who wait for it. */
  end(ending: Ending): void {
    for (const entry of this.joined) entry.end(ending)
    for (const entry of this.repeated ?? nobody) entry.end(ending._tag === "Stored" ? duplicate : ending)
    if (this.ending !== undefined) return
    this.ending = ending
    this.onEnd?.(ending)
  }

  /** One item made of two, both of which are waited for through it; `encoded` where it is known already. */
  static merged<A>(item: A, encoded: EncodedItem | undefined, held: Entry<A>, next: Entry<A>): Entry<A> {
    const merged = new Entry(item, held.offeredAt, encoded)
    merged.bytesBefore = held.bytes + next.bytes
    merged.joined = [...awaitedOf(held), ...awaitedOf(next)]
    return merged
  }
}

const duplicate: Ending = { _tag: "Duplicate" }

/** Those that somebody waits for, of all that an entry was merged of. */
export const awaitedOf = <A>(entry: Entry<A>): ReadonlyArray<Entry<A>> =>
  entry.isAwaited ? [...entry.joined, entry] : entry.joined

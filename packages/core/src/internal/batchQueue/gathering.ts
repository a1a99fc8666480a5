/**
 * What a durable queue holds until it is stored: entries, and the batches that they gather in.
 */
import type { Trigger } from "../../Batch.ts"
import type { Buffer } from "../../Buffer.ts"
import type { EncodedItem, Fault } from "../../Codec.ts"
import type { State } from "../../FlushPolicy.ts"

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

  constructor(item: A, offeredAt: number, encoded: EncodedItem | undefined, awaited?: { readonly id?: string }) {
    this.item = item
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

const awaitedOf = <A>(entry: Entry<A>): ReadonlyArray<Entry<A>> =>
  entry.isAwaited ? [...entry.joined, entry] : entry.joined

/** A batch that takes items in. It is what a `FlushPolicy` decides about. */
export interface Gathering<in out A> extends State {
  readonly size: number
  readonly pushes: number
  /** As many as JSON needs, or a few more, where nothing is merged; those of all that was pushed, where it is. */
  readonly bytes: number
  /** By the clock that only grows. */
  readonly openedAt: number
  /** By the clock on the wall. */
  readonly openedAtMillis: number
  /** When its oldest item was offered. */
  readonly oldestAtMillis: number
  /** Whether somebody waits until it is stored, so that it is not to wait for more. */
  isWanted: boolean
  /** Whether an item of it came from a handler, which must not wait for room. */
  isExempt: boolean
  /** Throws what the user's buffer throws, and is as it was then. */
  readonly push: (entry: Entry<A>) => void
  /** Closes it. Answers what is to be stored, and the items that cannot be. */
  readonly close: (encode: Encode<A>) => Contents<A>
}

export type Encode<in A> = (item: A) => EncodedItem | Fault

export interface Contents<in out A> {
  readonly values: ReadonlyArray<unknown>
  /** When each of them was offered. */
  readonly offeredAtMillis: ReadonlyArray<number>
  /** For each value the id of its item, where ids were given. */
  readonly ids: ReadonlyArray<string | undefined> | undefined
  /** Who is to be told when it is stored. */
  readonly awaited: ReadonlyArray<Entry<A>>
  /** Whether values may be made of several items, so that nobody can tell whose they are. */
  readonly isMerged: boolean
  readonly broken: ReadonlyArray<{ readonly item: A; readonly fault: Fault }>
}

/** How many more bytes a batch has with an item: there is a comma. */
export const bytesWith = (entry: Entry<any>): number => entry.bytes + 1

abstract class Opened<in out A> {
  pushes = 0
  /** The brackets, but for the comma that the first item has not. */
  bytes = 1
  isWanted = false
  isExempt = false
  readonly openedAt: number
  readonly openedAtMillis: number
  oldestAtMillis: number
  protected readonly awaited: Array<Entry<A>> = []

  constructor(openedAt: number, openedAtMillis: number) {
    this.openedAt = openedAt
    this.openedAtMillis = openedAtMillis
    this.oldestAtMillis = openedAtMillis
  }

  protected count(entry: Entry<A>): void {
    this.pushes += 1
    this.bytes += bytesWith(entry)
    if (entry.offeredAt < this.oldestAtMillis) this.oldestAtMillis = entry.offeredAt
    for (const each of awaitedOf(entry)) this.awaited.push(each)
    if (this.awaited.length > 0) this.isWanted = true
  }
}

/** Keeps what was encoded when it was offered: nothing has changed it since. */
class Appending<in out A> extends Opened<A> implements Gathering<A> {
  private readonly values: Array<unknown> = []
  private readonly offeredAtMillis: Array<number> = []
  private ids: Array<string | undefined> | undefined

  get size(): number {
    return this.values.length
  }

  push(entry: Entry<A>): void {
    const { value } = entry.encoded!
    if (entry.id !== undefined) this.ids ??= this.values.map(() => undefined)
    this.ids?.push(entry.id)
    this.values.push(value)
    this.offeredAtMillis.push(entry.offeredAt)
    this.count(entry)
  }

  close(): Contents<A> {
    const { awaited, ids, offeredAtMillis, values } = this
    return { values, offeredAtMillis, ids, awaited, isMerged: false, broken: [] }
  }
}

/** Puts items through the user's buffer, and encodes what comes of it. */
class Buffered<in out A, in out S> extends Opened<A> implements Gathering<A> {
  private readonly buffer: Buffer<A, S>
  private state: S

  constructor(buffer: Buffer<A, S>, openedAt: number, openedAtMillis: number) {
    super(openedAt, openedAtMillis)
    this.buffer = buffer
    this.state = buffer.empty()
  }

  get size(): number {
    return this.buffer.size(this.state)
  }

  push(entry: Entry<A>): void {
    this.state = this.buffer.push(this.state, entry.item)
    this.count(entry)
  }

  close(encode: Encode<A>): Contents<A> {
    const values: Array<unknown> = []
    const broken: Array<{ readonly item: A; readonly fault: Fault }> = []
    for (const item of this.buffer.items(this.state)) {
      const encoded = encode(item)
      if ("reason" in encoded) broken.push({ item, fault: encoded })
      else values.push(encoded.value)
    }
    // Which offers have gone into which item the user's buffer does not tell.
    const offeredAtMillis = values.map(() => this.oldestAtMillis)
    return { values, offeredAtMillis, ids: undefined, awaited: this.awaited, isMerged: true, broken }
  }
}

export const open = <A>(
  buffer: Buffer<A, any> | undefined,
  openedAt: number,
  openedAtMillis: number
): Gathering<A> =>
  buffer === undefined ? new Appending(openedAt, openedAtMillis) : new Buffered(buffer, openedAt, openedAtMillis)

/** A batch on its way into the store. */
export interface Closed<in out A> {
  readonly trigger: Trigger
  readonly openedAtMillis: number
  readonly oldestAtMillis: number
  isExempt: boolean
  readonly bytes: number
  readonly isMerged: boolean
  values: ReadonlyArray<unknown>
  /** When each of them was offered. */
  offeredAtMillis: ReadonlyArray<number>
  ids: ReadonlyArray<string | undefined> | undefined
  awaited: ReadonlyArray<Entry<A>>
  /** Its bytes, once they were needed. */
  payload: Uint8Array | undefined
  /** Called once it is stored, or given up. */
  readonly onDone: Array<() => void>
}

/**
 * A batch on its way into the store. While open, it accepts items; once closed, it waits to be stored. It is one object
 * all the way.
 */
import type { Trigger } from "../../Batch.ts"
import type { Buffer } from "../../Buffer.ts"
import type { EncodedItem, Envelope, Fault } from "../../Codec.ts"
import type { State } from "../../FlushPolicy.ts"
import { awaitedOf, type Entry } from "./entry.ts"

export type Encode<in A> = (item: A) => EncodedItem | Fault

/** An item that cannot be stored, and why. */
export interface Broken<out A> {
  readonly item: A
  readonly fault: Fault
}

/** How many bytes a batch gains with an item: there is a comma. */
export const bytesWith = (entry: Entry<any>): number => entry.bytes + 1

/** The state is what a `FlushPolicy` decides about, and the envelope what is stored around the items. */
export abstract class Outgoing<in out A> implements State, Envelope {
  /** How many offers went in. */
  pushes = 0
  /**
   * As many as JSON needs, or a few more, where nothing is merged; those of all offers, where something is. At first the
   * brackets, but for the comma that the first item does not have.
   */
  bytes = 1
  /** Whether a caller waits until it is stored, so that it must not wait for more. */
  isWanted = false
  /** Whether an item of it came from a handler, which must not wait for room. */
  isExempt = false
  /** By the clock that only grows. */
  readonly openedAt: number
  /** By the clock on the wall. */
  readonly openedAtMillis: number
  /** When its oldest item was offered. */
  oldestAtMillis: number
  /** Its items, as they are stored. */
  values: Array<unknown> = []
  /** When each of them was offered. */
  offeredAtMillis: Array<number> = []
  /** The id of each of them, if any has one. */
  ids: Array<string | undefined> | undefined = undefined
  /** Entries to be told when it is stored. */
  awaited: Array<Entry<A>> = []
  /** Why it was closed. */
  trigger: Trigger = "manual"
  /** Its bytes, once they were needed. */
  payload: Uint8Array | undefined = undefined
  /** Called once it is stored, or given up. */
  readonly onDone: Array<() => void> = []
  /** Whether an item may be made of several entries. Then an entry's own item cannot be told. */
  abstract readonly isMerged: boolean

  constructor(openedAt: number, openedAtMillis: number) {
    this.openedAt = openedAt
    this.openedAtMillis = openedAtMillis
    this.oldestAtMillis = openedAtMillis
  }

  /** How many items an open batch has. */
  abstract get size(): number

  /** Takes an item in. Throws what the user's buffer throws, and is as it was then. */
  abstract push(entry: Entry<A>): void

  /** Closes it. Answers the items that cannot be stored. */
  abstract close(trigger: Trigger, encode: Encode<A>): ReadonlyArray<Broken<A>>

  /** Leaves out some of its items. Answers how many. */
  keepOnly(isKept: (index: number) => boolean): number {
    const { ids, offeredAtMillis, values } = this
    const kept = (_: unknown, index: number) => isKept(index)
    this.values = values.filter(kept)
    if (this.values.length < values.length) {
      this.offeredAtMillis = offeredAtMillis.filter(kept)
      this.ids = ids?.filter(kept)
      this.payload = undefined
    }
    return values.length - this.values.length
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
class Appending<in out A> extends Outgoing<A> {
  readonly isMerged = false

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

  close(trigger: Trigger): ReadonlyArray<Broken<A>> {
    this.trigger = trigger
    return []
  }
}

/** Puts items through the user's buffer, and encodes what comes of it. */
class Buffered<in out A, in out S> extends Outgoing<A> {
  readonly isMerged = true
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

  close(trigger: Trigger, encode: Encode<A>): ReadonlyArray<Broken<A>> {
    this.trigger = trigger
    const broken: Array<Broken<A>> = []
    for (const item of this.buffer.items(this.state)) {
      const encoded = encode(item)
      if ("reason" in encoded) broken.push({ item, fault: encoded })
      else {
        this.values.push(encoded.value)
        // The user's buffer does not tell which offers went into which item.
        this.offeredAtMillis.push(this.oldestAtMillis)
      }
    }
    return broken
  }
}

export const open = <A>(
  buffer: Buffer<A, any> | undefined,
  openedAt: number,
  openedAtMillis: number
): Outgoing<A> =>
  buffer === undefined ? new Appending(openedAt, openedAtMillis) : new Buffered(buffer, openedAt, openedAtMillis)

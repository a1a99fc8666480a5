/**
 * The items that have left the intake of a durable queue and are not stored yet: how many they are, and what becomes of
 * them.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type { Trigger } from "../../Batch.ts"
import type { Codec, Fault } from "../../Codec.ts"
import type { DropReason } from "../../QueueEvent.ts"
import * as Result from "../../Result.ts"
import type { Backlog } from "./backlog.ts"
import type { Ending, Entry } from "./entry.ts"
import type { Encode, Outgoing } from "./outgoing.ts"

/** Who is told what becomes of items. It must not throw. */
export interface Observer<in A> {
  /** A batch was stored: the number of its items, and of the offered items in it. */
  readonly stored: (items: number, trigger: Trigger) => void
  readonly coalesced: (count: number) => void
  readonly duplicate: () => void
  readonly dropped: (item: A, reason: DropReason, cause: Cause.Cause<unknown> | undefined) => void
}

export class Unstored<in out A> {
  /** What is in batches that are closed or being stored. */
  items = 0
  bytes = 0
  /** Those with an id. */
  readonly identified = new Map<string, Entry<A>>()
  private readonly codec: Codec<A>
  private readonly observer: Observer<A>
  private readonly backlog: Backlog

  constructor({ backlog, codec, observer }: {
    readonly codec: Codec<A>
    readonly observer: Observer<A>
    readonly backlog: Backlog
  }) {
    this.codec = codec
    this.observer = observer
    this.backlog = backlog
  }

  /** Closes a batch. Answers whether there is anything in it to be stored. */
  close(batch: Outgoing<A>, trigger: Trigger, encode: Encode<A>): boolean {
    const broken = batch.close(trigger, encode)
    const { awaited, values } = batch
    this.observer.coalesced(batch.pushes - values.length - broken.length)
    for (const { fault, item } of broken) this.observer.dropped(item, "malformed", faultCause(fault))
    // Whose item it was cannot be told any more: all who wait for one of these batches are told the worse.
    if (broken.length > 0) this.end(awaited, { _tag: "Dropped", reason: "malformed" })
    if (values.length === 0) {
      // The buffer has made nothing of them, so that there is nothing left to be stored.
      this.end(awaited, { _tag: "Stored" })
      return false
    }
    this.items += values.length
    this.bytes += batch.bytes
    return true
  }

  /** The bytes of a batch, or of what is left of it, if anything is. */
  encodeBatch(batch: Outgoing<A>): Uint8Array | undefined {
    try {
      return this.codec.encodeBatch(batch.values, batch)
    } catch (error) {
      const faulty = batch.values.map((value, i) => this.whyNot(value, batch.offeredAtMillis[i], batch))
      const left = faulty.some((fault) => fault === undefined) && faulty.some((fault) => fault !== undefined)
      // Each by itself is fine, or none is.
      if (!left) {
        this.giveUp(batch, "malformed", faulty.find((fault) => fault !== undefined) ?? Cause.die(error))
        return undefined
      }
      this.giveUpSome(batch, faulty)
      return this.encodeBatch(batch)
    }
  }

  /** Why the user's format cannot carry a value by itself, if it cannot. */
  private whyNot(value: unknown, offeredAt: number, batch: Outgoing<A>): Cause.Cause<unknown> | undefined {
    try {
      this.codec.encodeBatch([value], { ...batch, offeredAtMillis: [offeredAt] })
      return undefined
    } catch (error) {
      return Cause.die(error)
    }
  }

  /** Drops those items of a batch that have a cause. Others are left. */
  private giveUpSome(batch: Outgoing<A>, causes: ReadonlyArray<Cause.Cause<unknown> | undefined>): void {
    const { awaited, isMerged, values } = batch
    this.items -= batch.keepOnly((index) => causes[index] === undefined)
    const stored = new Set(batch.values)
    // If it is unknown whose items they are, all callers get the worse outcome.
    const [lost, others] = Arr.partition(awaited, ({ encoded }) => !isMerged && stored.has(encoded?.value))
    batch.awaited = others
    values.forEach((value, i) => {
      if (causes[i] !== undefined) this.tellDropped(value, "malformed", causes[i])
    })
    this.end(lost, { _tag: "Dropped", reason: "malformed" })
  }

  /** It may have been merged: it is reported as it would have been read, or as it is stored if it cannot be read. */
  private tellDropped(value: unknown, reason: DropReason, cause: Cause.Cause<unknown> | undefined): void {
    const decoded = this.codec.decodeItem(value)
    this.observer.dropped(Result.isFailure(decoded) ? value as A : decoded.success, reason, cause)
  }

  private leave(batch: Outgoing<A>): void {
    this.items -= batch.values.length
    this.bytes -= batch.bytes
  }

  stored(batch: Outgoing<A>): void {
    this.leave(batch)
    this.backlog.stored(batch.values.length)
    this.observer.stored(batch.values.length, batch.trigger)
    this.end(batch.awaited, { _tag: "Stored" })
    for (const done of batch.onDone) done()
  }

  end(entries: ReadonlyArray<Entry<A>>, ending: Ending): void {
    for (const entry of entries) {
      if (entry.id !== undefined) this.identified.delete(entry.id)
      entry.end(ending)
    }
  }

  /** Takes items out that are stored from before. What is left is tried again. */
  withoutDuplicates(
    batches: ReadonlyArray<Outgoing<A>>,
    duplicates: ReadonlySet<string>
  ): ReadonlyArray<Outgoing<A>> {
    return batches.filter((batch) => {
      const { ids } = batch
      if (ids === undefined) return true
      const dropped = batch.keepOnly((index) => ids[index] === undefined || !duplicates.has(ids[index]))
      if (dropped === 0) return true
      this.items -= dropped
      const [fresh, known] = Arr.partition(
        batch.awaited,
        ({ id }) => id !== undefined && duplicates.has(id)
      )
      batch.awaited = fresh
      for (const _ of known) this.observer.duplicate()
      this.end(known, { _tag: "Duplicate" })
      if (batch.values.length > 0) return true
      this.leave(batch)
      for (const done of batch.onDone) done()
      return false
    })
  }

  drop(entry: Entry<A>, reason: DropReason, cause?: Cause.Cause<unknown>): void {
    this.observer.dropped(entry.item, reason, cause)
    entry.end({ _tag: "Dropped", reason })
  }

  giveUp(batch: Outgoing<A>, reason: DropReason, cause?: Cause.Cause<unknown>): void {
    for (const _ of this.givingUp(batch, reason, cause)) { /* one item */ }
  }

  /** Drops the items of a batch, one at each step. */
  *givingUp(batch: Outgoing<A>, reason: DropReason, cause?: Cause.Cause<unknown>): Generator<void> {
    for (const value of batch.values) {
      this.items -= 1
      yield this.tellDropped(value, reason, cause)
    }
    this.bytes -= batch.bytes
    this.end(batch.awaited, { _tag: "Dropped", reason })
    for (const done of batch.onDone) done()
  }
}

export const faultCause = (fault: Fault): Cause.Cause<unknown> => Cause.fail(fault)

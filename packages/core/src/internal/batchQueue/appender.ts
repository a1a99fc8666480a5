/**
 * The way in: an intake under a policy, an open batch that gathers items, and one fiber that stores due batches.
 *
 * The fiber takes all waiting items, closes every batch that is due, and appends them in one transaction, so that items
 * that arrive while it is busy share the next commit. It never waits in a `take`: it waits for a signal, and then
 * removes items in one synchronous step, so that an interruption cannot lose any.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Iterable from "effect/Iterable"
import type { Trigger } from "../../Batch.ts"
import type { Buffer } from "../../Buffer.ts"
import type { Codec, EncodedItem, Fault } from "../../Codec.ts"
import * as FlushPolicy from "../../FlushPolicy.ts"
import type { PolicyQueueImpl } from "../intake/policyQueue.ts"
import type { StoreUnavailable } from "../../QueueError.ts"
import type { Appended, NewBatch, QueueStore } from "../../QueueStore.ts"
import * as Result from "../../Result.ts"
import { withAlarm } from "../fibers/alarm.ts"
import { Bell } from "../fibers/bell.ts"
import { type Breaks, inStretches } from "../fibers/breaks.ts"
import type { Backlog } from "./backlog.ts"
import type { Entry } from "./entry.ts"
import { bytesWith, open, type Outgoing } from "./outgoing.ts"
import { faultCause, type Observer as ItemObserver, Unstored } from "./unstored.ts"
import { storeBackoffMillis } from "./storeBackoff.ts"
import { Timekeeper } from "../fibers/timekeeper.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"

/** What the fiber is at. Changed by `become` alone. */
type State<A> =
  | { readonly _tag: "Gathering" }
  /** Batches are being appended, or wait to be tried again. */
  | { readonly _tag: "Storing"; readonly batches: Arr.NonEmptyReadonlyArray<Outgoing<A>>; readonly failures: number }
  /** Drained, or given up. */
  | { readonly _tag: "Stopped" }

const gathering = { _tag: "Gathering" } as const
const stopped = { _tag: "Stopped" } as const

/** How much is stored in one transaction, or little more. */
const mostBatches = 256
const mostBytes = 32 * 1024 * 1024

/** A batch of several items has no more bytes, because databases have limits of their own. */
const mostBytesInBatch = 16 * 1024 * 1024

/** How many items are taken from the intake at a time. */
const takenAtOnce = 1024

/** Who is told what becomes of items. It must not throw. */
export interface Observer<in A> extends ItemObserver<A> {
  readonly failed: (operation: "append", cause: Cause.Cause<unknown>) => Effect.Effect<void>
}

export interface Options<in out A> {
  readonly intake: PolicyQueueImpl<Entry<A>, A>
  readonly store: QueueStore
  readonly backlog: Backlog
  readonly codec: Codec<A>
  readonly buffer: Buffer<A, any> | undefined
  readonly flushPolicy: FlushPolicy.FlushPolicy
  /**
   * An open batch is due at this many items, whatever its policy, because it must fit into memory and into the store.
   */
  readonly mostInBatch: number
  /** How many items are held, besides those of the intake and of one batch, before they are stored. */
  readonly mostClosed: number
  readonly maxPendingItems: number | undefined
  readonly idWindowMillis: number
  /** How often it is looked whether a store that was full has room again. */
  readonly pollMillis: number
  readonly observer: Observer<A>
  readonly clock: Clock.Clock
  readonly breaks: Breaks
}

/** Calls back when it is clear whether a transaction is committed. */
type OnEnd = (listener: (committed: boolean) => void) => void

/** A caller that waits until everything offered before is stored. */
interface Flusher {
  /** How many entries must have left the intake. */
  readonly upTo: number
  readonly onGathered: () => void
}

export class Appender<in out A> {
  private readonly options: Options<A>
  private state: State<A> = gathering
  private batch: Outgoing<A> | undefined
  /** Due, in the order in which they are to be stored. */
  private closed: Array<Outgoing<A>> = []
  private flushers: Array<Flusher> = []
  /** How many entries have left the intake to be stored. */
  private taken = 0
  /** Of the entries that leave the intake, those up to this one are stored past the bound: a handler waits for them. */
  private exemptUpTo = 0
  /** Those that are a part of a transaction of somebody's, which has not ended yet. */
  private readonly within = new Set<Outgoing<A>>()
  private readonly unstored: Unstored<A>
  private isDraining = false
  /** Whether nothing more will come, so that the fiber ends when everything is stored. */
  private isFinishing = false
  private readonly bell = new Bell(() => this.hasWork)
  private readonly breaks: Breaks
  /** Keeps the time until the open batch is due. */
  readonly lingering: Timekeeper
  /** Keeps the time until the next check for room: other processes may settle batches without telling this one. */
  readonly polling: Timekeeper

  constructor(options: Options<A>) {
    this.options = options
    this.unstored = new Unstored(options)
    this.breaks = options.breaks
    this.lingering = new Timekeeper(options.clock, () => this.signal())
    this.polling = new Timekeeper(options.clock, () => options.backlog.room())
    options.backlog.onRoom(() => this.signal())
  }

  private readonly now = (): number => monotonicMillis(this.options.clock)

  // --- numbers ------------------------------------------------------------------------------------------------------

  /** Items that wait to get in, or are in and not stored yet. */
  get held(): number {
    const { intake } = this.options
    return intake.unsafeLength() + intake.unsafeWaiting() + this.buffered
  }

  /** Items that no policy touches any more, and that are not stored yet. */
  get buffered(): number {
    return (this.batch?.size ?? 0) + this.unstored.items
  }

  /** Items of the open batch that are merged into others already; they are reported when it is closed. */
  get merged(): number {
    return this.batch === undefined ? 0 : this.batch.pushes - this.batch.size
  }

  // --- signals ------------------------------------------------------------------------------------------------------

  /** Lets the fiber look again, if it is parked. */
  signal(): void {
    this.bell.ring()
  }

  /** Puts an item in past the intake: a handler must not wait for room that only its own end can make. */
  unsafePut(entry: Entry<A>): void {
    this.gather(entry, true)
    this.signal()
  }

  /** Whether nothing more is taken. */
  get isOver(): boolean {
    return this.state._tag === "Stopped"
  }

  private become(state: State<A>): void {
    this.state = state
  }

  // --- gathering ----------------------------------------------------------------------------------------------------

  /** Runs until everything is stored, and nothing more will come. */
  readonly run: Effect.Effect<void> = Effect.whileLoop({
    while: () => this.state._tag !== "Stopped",
    body: () => this.step(),
    step: () => {}
  })

  private step(): Effect.Effect<void> {
    if (this.state._tag === "Storing") return this.store(this.state.batches)
    if (this.breaks.isDue) return this.breaks.take
    this.takeAll()
    const [first, ...others] = this.nextRound()
    if (first !== undefined) {
      this.become({ _tag: "Storing", batches: [first, ...others], failures: 0 })
      return Effect.void
    }
    if (this.isFinishing && this.held === 0) {
      this.become(stopped)
      return Effect.void
    }
    return this.bell.wait
  }

  /** Takes what waits, and closes what is due. */
  private takeAll(): void {
    const { intake } = this.options
    while (this.mayTake) {
      const isExempt = this.taken < this.exemptUpTo
      const entries = intake.unsafeTakeUpTo(
        isExempt ? Math.min(takenAtOnce, this.exemptUpTo - this.taken) : takenAtOnce
      )
      if (entries.length === 0) break
      this.taken += entries.length
      for (const entry of entries) this.gather(entry, isExempt)
      // Nothing that came later may be in what that handler waits for.
      if (isExempt && (this.isIntakeEmpty || this.taken >= this.exemptUpTo)) this.tellFlushers()
    }
    // Some may have left the intake otherwise.
    if (this.isIntakeEmpty) this.exemptUpTo = this.taken
    const trigger = this.due()
    if (trigger !== undefined) this.close(trigger)
    this.tellFlushers()
    if (this.batch !== undefined && this.options.flushPolicy.lingerMillis > 0) {
      this.lingering.within(this.batch.openedAt + this.options.flushPolicy.lingerMillis - this.now())
    }
  }

  private get mayTake(): boolean {
    return this.closed.length === 0
      || !this.options.backlog.isFull && this.unstored.items < this.options.mostClosed
        && this.unstored.bytes < mostBytes
        && this.closed.length < mostBatches
  }

  /** Why the open batch is to be stored now, if it is. */
  private due(): Trigger | undefined {
    const { batch } = this
    if (batch === undefined) return undefined
    const decision = FlushPolicy.decide(this.options.flushPolicy, batch, this.now())
    if (decision._tag === "Due") return decision.trigger
    if (batch.size >= this.options.mostInBatch) return "size"
    if (batch.isWanted || this.flushers.length > 0 && this.isIntakeEmpty) return "manual"
    return this.isDraining ? "shutdown" : undefined
  }

  private get isIntakeEmpty(): boolean {
    return this.options.intake.unsafeLength() === 0
  }

  private gather(entry: Entry<A>, isExempt: boolean): void {
    const { buffer, clock } = this.options
    const first = entry.id === undefined ? undefined : this.unstored.identified.get(entry.id)
    if (first !== undefined) {
      this.options.observer.duplicate()
      first.repeat(entry)
      if (isExempt) this.exemptId(first.id)
      return
    }
    // An item that counts once must not be merged: it may turn out to be in already.
    const kept = entry.id === undefined ? buffer : undefined
    if (this.batch !== undefined && this.isOfOtherKind(kept, isExempt)) this.close("manual")
    if (kept === undefined && entry.encoded === undefined) {
      const encoded = this.encode(entry.item)
      if ("reason" in encoded) return this.unstored.drop(entry, "malformed", faultCause(encoded))
      entry.encoded = encoded
    }
    for (const each of entry.joined) each.encoded = entry.encoded
    const limit = this.options.flushPolicy.bytes || mostBytesInBatch
    if (this.batch !== undefined && this.batch.bytes + bytesWith(entry) > limit) this.close("bytes")
    this.batch ??= open<A>(kept, this.now(), clock.unsafeCurrentTimeMillis())
    this.batchBuffer = kept
    const { batch } = this
    try {
      batch.push(entry)
    } catch (error) {
      return this.unstored.drop(entry, "malformed", Cause.die(error))
    }
    if (entry.id !== undefined) this.unstored.identified.set(entry.id, entry)
    if (isExempt) batch.isExempt = true
    if (batch.size >= this.options.mostInBatch) return this.close("size")
    const { pushes, size } = this.options.flushPolicy
    if (size > 0 && batch.size >= size) this.close("size")
    else if (pushes > 0 && batch.pushes >= pushes) this.close("pushes")
    else if (batch.bytes >= limit) this.close("bytes")
  }

  /** Stores the batch past the bound that has the item with this id: a handler waits for it. */
  private exemptId(id: string | undefined): void {
    const batch = this.batches.find(({ ids }) => ids?.includes(id)) ?? this.batch
    if (batch !== undefined) batch.isExempt = true
  }

  /** The batches that are not stored yet, or not known to be. */
  private get batches(): ReadonlyArray<Outgoing<A>> {
    const storing = this.state._tag === "Storing" ? this.state.batches : []
    return [...storing, ...this.closed, ...this.within]
  }

  /** What the open batch was opened with. */
  private batchBuffer: Buffer<A, any> | undefined

  private isOfOtherKind(buffer: Buffer<A, any> | undefined, isExempt: boolean): boolean {
    return this.batchBuffer !== buffer || this.isBounded && this.batch!.isExempt !== isExempt
  }

  private encode(item: A): EncodedItem | Fault {
    const encoded = this.options.codec.encodeItem(item)
    return Result.isFailure(encoded) ? encoded.failure : encoded.success
  }

  private close(trigger: Trigger): void {
    const batch = this.batch!
    this.batch = undefined
    if (this.unstored.close(batch, trigger, (item) => this.encode(item))) this.closed.push(batch)
  }

  private get hasWork(): boolean {
    return this.mayTake && (!this.isIntakeEmpty || this.flushers.length > 0)
      || this.mayStore
      || this.due() !== undefined
      || this.isFinishing && this.held === 0
  }

  // --- storing ------------------------------------------------------------------------------------------------------

  /** Batches that may exceed the limit are stored separately: otherwise the others would be stored with them. */
  private nextRound(): ReadonlyArray<Outgoing<A>> {
    if (!this.mayStore) return []
    const [bounded, exempt] = Arr.partition(this.closed, ({ isExempt }) => isExempt)
    if (!this.isBounded || exempt.length === 0) return this.closed.splice(0)
    this.closed = bounded
    return exempt
  }

  private get isBounded(): boolean {
    return this.options.maxPendingItems !== undefined && !this.isDraining
  }

  private get mayStore(): boolean {
    return this.closed.length > 0
      && (!this.options.backlog.isFull || this.isDraining || this.closed.some(({ isExempt }) => isExempt))
  }

  private store(batches: Arr.NonEmptyReadonlyArray<Outgoing<A>>): Effect.Effect<void> {
    return Effect.matchCauseEffect(this.append(batches), {
      onSuccess: () => Effect.void,
      onFailure: (cause) => {
        if (this.state._tag !== "Storing") return Effect.void
        this.become({ _tag: "Storing", batches, failures: this.state.failures + 1 })
        return Effect.zipRight(this.options.observer.failed("append", cause), this.backOff)
      }
    })
  }

  /** Appends batches, and goes on with those that are still to be. */
  private append(batches: Arr.NonEmptyReadonlyArray<Outgoing<A>>): Effect.Effect<void, unknown> {
    return Effect.flatMap(this.encodeAll(batches), (encoded) => {
      // They were given up while others had their turn: what is told as dropped must not be stored.
      if (this.isOver) return Effect.void
      const { idWindowMillis, maxPendingItems, store } = this.options
      // One may have become exempt since: the others would come with it.
      const mayExceed = this.isDraining || batches.every(({ isExempt }) => isExempt)
      if (!Arr.isNonEmptyReadonlyArray(encoded) || encoded.length < batches.length) {
        this.goOn(batches.filter(({ payload }) => payload !== undefined))
        return Effect.void
      }
      return Effect.map(
        store.append({
          batches: encoded,
          maxPendingItems: mayExceed ? undefined : maxPendingItems,
          idWindowMillis
        }),
        (answer) => this.appended(batches, answer)
      )
    })
  }

  /** Counts stored batches and continues, in one step: closing in between would drop them as well. */
  private appended(batches: ReadonlyArray<Outgoing<A>>, { appended, duplicates }: Appended): void {
    if (this.state._tag === "Stopped") return
    if (duplicates.length > 0) return this.goOn(this.unstored.withoutDuplicates(batches, new Set(duplicates)))
    for (const batch of batches.slice(0, appended)) this.unstored.stored(batch)
    this.options.backlog.claimable(appended)
    const left = batches.slice(appended)
    if (left.length > 0) {
      this.options.backlog.fill()
      this.polling.within(this.options.pollMillis)
    }
    this.goOn(left)
  }

  private goOn(left: ReadonlyArray<Outgoing<A>>): void {
    this.closed = [...left, ...this.closed]
    this.become(gathering)
  }

  /** What the store is given of batches, without the items that the user's format throws at: those are given up. */
  private encodeAll(batches: ReadonlyArray<Outgoing<A>>): Effect.Effect<ReadonlyArray<NewBatch>> {
    return Effect.suspend(() => {
      const encoded: Array<NewBatch> = []
      const encoding = this.forEach(batches, (batch) => {
        if (this.isOver && !this.within.has(batch)) return
        const payload = batch.payload ??= this.unstored.encodeBatch(batch)
        if (payload === undefined) return
        const { ids, oldestAtMillis, values } = batch
        encoded.push({ payload, items: values.length, oldestAtMillis, ids: ids?.filter((id) => id !== undefined) })
      })
      return Effect.as(encoding, encoded)
    })
  }

  /** Does a step for each; others get their turn in between. */
  private forEach<B>(all: Iterable<B>, step: (one: B) => void): Effect.Effect<void> {
    return inStretches(all, this.breaks.stretches(1), step)
  }

  private endBackOff: (() => void) | undefined

  private readonly backOff: Effect.Effect<void> = Effect.suspend(() => {
    // Closing begins anew, or it could be over before the store is tried once more.
    const failures = this.state._tag === "Storing" ? this.state.failures : 0
    const over = Effect.unsafeMakeLatch()
    this.endBackOff = () => over.unsafeOpen()
    return withAlarm(over.await, storeBackoffMillis(failures), this.endBackOff)
  })

  // --- from outside -------------------------------------------------------------------------------------------------

  /**
   * Calls back once everything that is held now is stored, or given up; past the bound, where a handler waits for it.
   * Answers how to take that back.
   */
  unsafeFlush(onDone: () => void, isExempt = false): () => void {
    let missing = 1
    const isDone = () => {
      missing -= 1
      if (missing === 0) onDone()
    }
    const { intake } = this.options
    const flusher: Flusher = {
      upTo: this.taken + intake.unsafeLength() + intake.unsafeWaiting(),
      onGathered: () => {
        for (const batch of this.batches) {
          missing += 1
          batch.onDone.push(isDone)
        }
        isDone()
      }
    }
    this.flushers.push(flusher)
    if (isExempt) {
      this.exemptUpTo = flusher.upTo
      if (this.batch !== undefined) this.batch.isExempt = true
      for (const batch of this.batches) batch.isExempt = true
      // At once, where the intake is empty: what comes later is not to be in what this handler waits for.
      this.tellFlushers()
    }
    this.signal()
    return () => {
      this.flushers = this.flushers.filter((other) => other !== flusher)
    }
  }

  /** Those whose items have all left the intake now wait for batches only. */
  private tellFlushers(): void {
    if (this.flushers.length === 0) return
    const isEmpty = this.isIntakeEmpty
    const [left, gathered] = Arr.partition(this.flushers, ({ upTo }) => isEmpty || upTo <= this.taken)
    if (gathered.length === 0) return
    if (this.batch !== undefined) this.close("manual")
    this.flushers = left
    for (const flusher of gathered) flusher.onGathered()
  }

  /**
   * Stores what waits, and is not being stored yet, as a part of the transaction that the caller is in. Where that is
   * rolled back the fiber stores it. Not interruptible, because it would be unknown then whether the item is in.
   */
  flushWithin(unsafeOnEnd: OnEnd): Effect.Effect<void, StoreUnavailable> {
    return Effect.uninterruptible(Effect.suspend(() => {
      this.takeAll()
      if (this.batch !== undefined) this.close("manual")
      const batches = this.closed.splice(0)
      return batches.length === 0
        ? Effect.void
        // The intake may have more than was taken at once.
        : Effect.zipRight(this.appendWithin(batches, unsafeOnEnd), this.flushWithin(unsafeOnEnd))
    }))
  }

  private appendWithin(batches: ReadonlyArray<Outgoing<A>>, unsafeOnEnd: OnEnd): Effect.Effect<void, StoreUnavailable> {
    for (const batch of batches) this.within.add(batch)
    return Effect.flatMap(this.encodeAll(batches), (encoded) => {
      for (const batch of batches) if (batch.payload === undefined) this.within.delete(batch)
      const left = batches.filter(({ payload }) => payload !== undefined)
      return Arr.isNonEmptyReadonlyArray(encoded) ? this.appendEncoded(left, encoded, unsafeOnEnd) : Effect.void
    })
  }

  private appendEncoded(
    left: ReadonlyArray<Outgoing<A>>,
    encoded: Arr.NonEmptyReadonlyArray<NewBatch>,
    unsafeOnEnd: OnEnd
  ): Effect.Effect<void, StoreUnavailable> {
    const { backlog, idWindowMillis, store } = this.options
    return Effect.matchCauseEffect(store.append({ batches: encoded, idWindowMillis }), {
      onFailure: (cause) => Effect.zipRight(Effect.sync(() => this.giveBack(left)), Effect.failCause(cause)),
      onSuccess: ({ duplicates }) => {
        if (duplicates.length > 0) {
          // An id may be remembered by this very transaction, which may be rolled back: the fiber finds out afterwards.
          const [others, identified] = Arr.partition(left, ({ ids }) => ids !== undefined)
          for (const batch of others) this.within.delete(batch)
          unsafeOnEnd(() => this.giveBack(identified))
          return this.appendWithin(others, unsafeOnEnd)
        }
        unsafeOnEnd((committed) => {
          if (!committed) return this.giveBack(left)
          for (const batch of left) {
            this.within.delete(batch)
            this.unstored.stored(batch)
          }
          backlog.claimable(left.length)
        })
        return Effect.void
      }
    })
  }

  /** Leaves batches to the fiber, which may have ended in the meantime. */
  private giveBack(batches: ReadonlyArray<Outgoing<A>>): void {
    for (const batch of batches) this.within.delete(batch)
    if (this.isOver) { for (const batch of batches) this.unstored.giveUp(batch, "shutdown") }
    else this.closed = [...batches, ...this.closed]
    this.signal()
  }

  /** Stores everything that is held; a backoff is cut short. The intake has been closed. */
  unsafeDrain(): void {
    this.isDraining = true
    if (this.state._tag === "Storing") this.become({ ...this.state, failures: 0 })
    this.endBackOff?.()
    this.signal()
  }

  /** Nothing more will come: `run` ends when everything is stored. */
  unsafeFinish(): void {
    this.isFinishing = true
    this.endBackOff?.()
    this.signal()
  }

  /** Drops everything that is still held. What an append that is running does is not told any more. */
  readonly abandon: Effect.Effect<void> = Effect.uninterruptible(Effect.suspend(() => {
    const storing = this.state._tag === "Storing" ? this.state.batches : []
    this.become(stopped)
    if (this.batch !== undefined) this.close("shutdown")
    const givingUp = [...storing, ...this.closed.splice(0)].map((batch) => this.unstored.givingUp(batch, "shutdown"))
    return Effect.zipRight(
      this.forEach(Iterable.flatten(givingUp), () => {}),
      Effect.suspend(() => {
        for (const flusher of this.flushers.splice(0)) flusher.onGathered()
        // Their transactions decide later what becomes of them; no caller waits for that any more.
        for (const { onDone } of this.within) for (const done of onDone.splice(0)) done()
        return this.options.intake.shutdown
      })
    )
  }))
}

/**
 * The loop of one shard of a `WriteBehind`: an intake whose items wait until a batch is due, and a fiber that takes the
 * batch, passes it to the handler, retries it, and continues with the next.
 *
 * The fiber never waits in a `take`: it waits for a signal, and then removes items in one synchronous step, so that an
 * interruption cannot lose any. A second fiber keeps the time: see `Timekeeper`.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Batch, Trigger } from "../../Batch.ts"
import { countOne } from "../../BackingQueue.ts"
import * as FlushPolicy from "../../FlushPolicy.ts"
import { type ImplOptions as IntakeOptions, makeImpl, type PolicyQueueImpl } from "../intake/policyQueue.ts"
import { InvalidOption } from "../../QueueError.ts"
import type { DropReason } from "../../QueueEvent.ts"
import { withAlarm } from "../fibers/alarm.ts"
import { type Barrier, Barriers } from "./barriers.ts"
import { Bell } from "../fibers/bell.ts"
import { type Breaks, makeBreaks } from "../fibers/breaks.ts"
import { failureOf } from "../fibers/failure.ts"
import { OpenBatch } from "./openBatch.ts"
import { Origins } from "./origins.ts"
import { initialOf, step } from "../fibers/retrying.ts"
import { everyMillis } from "../../unstable/Macrotask.ts"
import { Timekeeper } from "../fibers/timekeeper.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"

/** What the fiber is at. Changed by `become` alone. */
type State<A> =
  /** No batch has been taken. */
  | { readonly _tag: "Gathering" }
  | { readonly _tag: "Handling"; readonly inFlight: InFlight<A> }
  /** The batch has failed, and is tried again after the delay. */
  | { readonly _tag: "BackingOff"; readonly inFlight: InFlight<A>; readonly delayMillis: number }
  /** Drained, or given up. */
  | { readonly _tag: "Stopped" }

const gathering: State<never> = { _tag: "Gathering" }
const stopped: State<never> = { _tag: "Stopped" }

/** How often the numbers of a queue are told while its loop is busy with a batch, and how soon while it waits for one. */
const tellEveryMillis = 1000

interface InFlight<A> {
  readonly batch: Batch<A>
  /** When its oldest item came in. */
  readonly since: number
  /** The sequence numbers of its items end here; `after` is the one before the first. */
  readonly last: number
  readonly after: number
  /** Where offers came from, oldest first. */
  readonly origins: ReadonlyArray<unknown>
  /** How far its retry schedule is. */
  readonly scheduleState: unknown
}

/** Who is told what becomes of batches. It must not throw. */
export interface Observer<in A> {
  readonly flushed: (batch: Batch<A>) => void
  /** The number of finished items of a batch: all but those at the indexes that failed. */
  readonly settled: (
    count: number,
    batch: Batch<A>,
    durationMillis: number,
    failed: ReadonlyArray<number> | undefined
  ) => void
  /**
   * Nothing is due, or the loop takes a break, or has been busy with one batch or waited for one for a while: time to
   * tell the numbers.
   */
  readonly resting: () => void
  readonly retried: (batch: Batch<A>, delayMillis: number, cause: Cause.Cause<unknown>) => void
  /** The number of items taken from the intake that will not be handled; each is reported next. */
  readonly countDropped: (count: number, reason: DropReason) => void
  readonly dropped: (item: A, reason: DropReason, cause?: Cause.Cause<unknown>) => void
}

export interface Options<in out A> {
  readonly intake: IntakeOptions<A>
  /** No batch is larger. */
  readonly batchSize: number
  /** When the open batch is due. No batch of several items has more bytes, where it bounds them. */
  readonly flushPolicy: FlushPolicy.FlushPolicy
  /** Handles a batch, whose offers came from `origins`. */
  readonly handle: (batch: Batch<A>, origins: ReadonlyArray<unknown>) => Effect.Effect<void, unknown>
  readonly retry: Schedule.Schedule<unknown, unknown>
  readonly observer: Observer<A>
}

export class Batcher<in out A> {
  readonly intake: PolicyQueueImpl<A>
  private readonly options: Options<A>
  private readonly clock: Clock.Clock
  private state: State<A> = gathering
  /** How many items have ever been put into the intake: the sequence number of the newest. */
  private admitted = 0
  /** The sequence number of the newest item that has left the intake: taken, or evicted. */
  private left = 0
  private readonly open: OpenBatch
  private readonly origins = new Origins()
  private readonly barriers = new Barriers()
  /** Whether the intake has been closed, and what is held is to be flushed. */
  private isDraining = false
  /** Wakes the loop. */
  private readonly bell = new Bell(
    () => this.isDraining || this.due(this.now()) !== undefined,
    () => {
      if (this.open.openedAt !== undefined) this.keepTime()
    }
  )
  /** Keeps the time until the open batch is due, or the numbers are told again. */
  readonly timekeeper: Timekeeper
  /** Ends a backoff early. */
  private endBackOff: (() => void) | undefined
  private readonly breaks: Breaks
  /** When the numbers were told last. */
  private toldAt = -Infinity
  /** The numbers have changed since, while the loop waits. */
  private isUntold = false

  constructor(
    options: Options<A>,
    intake: PolicyQueueImpl<A>,
    clock: Clock.Clock,
    breaks: Breaks
  ) {
    this.options = options
    this.intake = intake
    this.clock = clock
    this.breaks = breaks
    // Where bytes end a batch, every item may be the first of one.
    this.open = new OpenBatch(options.flushPolicy.bytes > 0 ? 1 : options.batchSize)
    this.timekeeper = new Timekeeper(clock, () => this.onTime())
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  get inFlight(): number {
    return this.state._tag === "Handling" || this.state._tag === "BackingOff"
      ? this.state.inFlight.batch.items.length
      : 0
  }

  /** Items that wait to get in, wait in the intake, or are in flight. */
  get held(): number {
    return this.intake.unsafeLength() + this.intake.unsafeWaiting() + this.inFlight
  }

  /** Adds to each of some items how often it waits or is in flight. */
  countInto(counts: Map<A, number>): void {
    this.intake.countInto(counts)
    const { state } = this
    if (state._tag !== "Handling" && state._tag !== "BackingOff") return
    for (const item of state.inFlight.batch.items) countOne(item, counts)
  }

  /** The age of the oldest item held; 0 when none is. */
  get oldestAgeMillis(): number {
    if (this.state._tag === "Handling" || this.state._tag === "BackingOff") {
      return this.now() - this.state.inFlight.since
    }
    return this.open.openedAt === undefined ? 0 : this.now() - this.open.oldestAt(this.left + 1)
  }

  // --- signals ------------------------------------------------------------------------------------------------------

  private readonly now = (): number => monotonicMillis(this.clock)

  onAccepted(length: number, origin: unknown): void {
    this.admitted += 1
    if (origin !== undefined) this.origins.add(this.admitted, origin)
    if (this.admitted - length !== this.left) this.onEvicted(length, this.intake.dropsOldestOnly)
    // It was taken before this was told.
    if (length === 0) return
    const opened = this.open.accepted(this.admitted, this.left + 1, this.now)
    if (!this.bell.isAwaited) return
    this.tellSoon()
    if (length >= this.options.batchSize || this.hasManyBytes) this.signal()
    else if (opened) this.keepTime()
  }

  private get hasManyBytes(): boolean {
    const { bytes } = this.options.flushPolicy
    return bytes > 0 && this.intake.unsafeBytes()! >= bytes
  }

  /** A strategy that is not ours tells some operations late that an item is in. */
  private catchUp(): void {
    const untold = this.intake.unsafeLength() - (this.admitted - this.left)
    if (untold <= 0) return
    this.admitted += untold
    this.open.accepted(this.admitted, this.left + 1, this.now)
  }

  /**
   * The offer's item is in the batch of the item that it was merged into, which leaves with the newest at the latest.
   */
  onCoalesced(origin: unknown): void {
    if (origin !== undefined) this.origins.add(this.admitted, origin)
    if (!this.bell.isAwaited) return
    this.tellSoon()
    // What it was merged to may be larger.
    if (this.hasManyBytes) this.signal()
  }

  /** The policy has dropped items that were in, and this many are left. */
  private onEvicted(length: number, oldest: boolean): void {
    if (oldest) {
      this.barriers.dropped(this.left + 1, this.admitted - length)
      this.left = this.admitted - length
      this.origins.takeUpTo(this.left)
    } else {
      // As if the newest had left, so that no caller that waits for items up to some number is resumed too early.
      this.admitted = this.left + length
    }
    if (length === 0) this.open.taken(undefined)
    this.releaseBarriers()
  }

  onDropped(item: A, reason: DropReason): void {
    // A producer that leaves no time for timers must not be the reason that items are lost.
    this.breaks.cutShort()
    this.options.intake.onDrop?.(item, reason)
  }

  /** Lets the loop look again, if it is parked. */
  signal(): void {
    this.bell.ring()
  }

  private become(state: State<A>): void {
    this.state = state
    this.releaseBarriers()
  }

  private releaseBarriers(): void {
    const { state } = this
    const busy = state._tag === "Handling" || state._tag === "BackingOff"
    this.barriers.release(busy ? state.inFlight.after : this.left, this.held === 0)
  }

  // --- the loop -----------------------------------------------------------------------------------------------------

  /** Runs until the intake is closed and empty. */
  readonly run: Effect.Effect<void> = Effect.whileLoop({
    while: () => this.state._tag !== "Stopped",
    body: () => this.step(),
    step: () => {}
  })

  private step(): Effect.Effect<void> {
    switch (this.state._tag) {
      case "Gathering":
        return this.gather()
      case "BackingOff":
        return this.backOff(this.state.inFlight, this.state.delayMillis)
      default:
        return Effect.void
    }
  }

  private gather(): Effect.Effect<void> {
    if (this.breaks.isDue) {
      this.tell()
      return this.breaks.take
    }
    const now = this.now()
    // Where turns come by themselves there is no break, and the numbers are told all the same.
    if (now - this.toldAt >= everyMillis) this.tell()
    const trigger = this.due(now)
    if (trigger !== undefined) return this.handle(this.takeBatch(trigger))
    this.tell()
    if (!this.isDraining) return this.bell.wait
    this.become(stopped)
    return Effect.void
  }

  /** The loop waits, and would tell the numbers when the next batch is due, which may be long. */
  private tellSoon(): void {
    if (this.isUntold) return
    this.isUntold = true
    this.timekeeper.within(tellEveryMillis)
  }

  /** Tells the numbers. */
  private tell(): void {
    this.isUntold = false
    this.toldAt = this.now()
    this.options.observer.resting()
  }

  /** Why a batch is to be flushed now, if one is. */
  private due(now: number): Trigger | undefined {
    this.catchUp()
    const size = this.intake.unsafeLength()
    if (size === 0) return undefined
    const bytes = this.options.flushPolicy.bytes > 0 ? this.intake.unsafeBytes()! : 0
    const state = { size, pushes: size, bytes, openedAt: this.open.openedAt! }
    const decision = FlushPolicy.decide(this.options.flushPolicy, state, now)
    if (decision._tag === "Due") return decision.trigger
    // The intake is as full as it gets, be it by weight: waiting longer would only make producers wait.
    if (this.intake.unsafeWaiting() > 0) return "size"
    if (this.isDraining) return "shutdown"
    return this.barriers.flushUpTo(this.left) === undefined ? undefined : "manual"
  }

  private takeBatch(due: Trigger): InFlight<A> {
    const { batchSize, flushPolicy: { bytes } } = this.options
    const after = this.left
    // A batch ends at a barrier, so that what is before it can be told from what is after it.
    const limit = Math.min(batchSize, (this.barriers.flushUpTo(after) ?? Infinity) - after)
    const most = Math.min(limit, this.intake.unsafeLength())
    const size = bytes > 0 ? this.intake.unsafeCountWithin(bytes, most) : most
    const trigger = due === "size" && size < most ? "bytes" : due
    const last = after + size
    const opened = this.open.openedAt!
    const since = this.open.oldestAt(after + 1)
    // Before the items are taken: offers that have waited come in with that, and open the next batch.
    this.open.taken(last === this.admitted ? undefined : last + 1)
    this.left = last
    const items = this.intake.unsafeTakeUpTo(size)
    if (!Arr.isNonEmptyReadonlyArray(items)) throw new Error(`a backing queue of length ${size} gave no item`)
    // Handlers are told the time of the clock on the wall.
    const offset = this.clock.unsafeCurrentTimeMillis() - this.now()
    const openedAt = Math.round(opened + offset)
    const oldestAt = Math.round(since + offset)
    return {
      batch: { items, trigger, attempt: 1, openedAt, oldestAt },
      since,
      after,
      last,
      origins: this.origins.takeUpTo(last),
      scheduleState: initialOf(this.options.retry)
    }
  }

  /** The loop waits, and a batch is open: it is looked at again when that is due. */
  private keepTime(): void {
    const { lingerMillis } = this.options.flushPolicy
    if (lingerMillis === 0 || lingerMillis === Infinity) return
    this.timekeeper.within(this.open.openedAt! + lingerMillis - this.now())
  }

  private onTime(): void {
    // While the loop is busy it looks for itself when it is done: only the numbers are told, also where the sink hangs.
    if (this.inFlight > 0) {
      this.tell()
      this.timekeeper.within(tellEveryMillis)
    } else if (this.due(this.now()) !== undefined) this.signal()
    else {
      if (this.isUntold) this.tell()
      if (this.open.openedAt !== undefined) this.keepTime()
    }
  }

  // --- handling -----------------------------------------------------------------------------------------------------

  private handle(inFlight: InFlight<A>): Effect.Effect<void> {
    const { batch, origins } = inFlight
    this.become({ _tag: "Handling", inFlight })
    this.options.observer.flushed(batch)
    this.timekeeper.within(tellEveryMillis)
    const startedAt = this.now()
    return Effect.matchCauseEffect(Effect.suspend(() => this.options.handle(batch, origins)), {
      onSuccess: () => {
        if (!this.isHandling(inFlight)) return Effect.void
        this.settle(inFlight, batch.items.length, startedAt)
        this.become(gathering)
        return Effect.void
      },
      onFailure: (cause) => this.isHandling(inFlight) ? this.fail(inFlight, cause, startedAt) : Effect.void
    })
  }

  /** False when the batch was given up while its handler was still running. */
  private isHandling(inFlight: InFlight<A>): boolean {
    return this.state._tag === "Handling" && this.state.inFlight === inFlight
  }

  private settle(inFlight: InFlight<A>, count: number, startedAt: number, failed?: ReadonlyArray<number>): void {
    this.barriers.settled(count, inFlight.last)
    this.options.observer.settled(count, inFlight.batch, this.now() - startedAt, failed)
  }

  private fail(inFlight: InFlight<A>, cause: Cause.Cause<unknown>, startedAt: number): Effect.Effect<void> {
    const failure = failureOf(cause, inFlight.batch.items.length)
    const failed = failure.indexes === undefined
      ? inFlight.batch.items
      : failure.indexes.map((index) => inFlight.batch.items[index])
    const done = inFlight.batch.items.length - failed.length
    if (!Arr.isNonEmptyReadonlyArray(failed)) {
      this.settle(inFlight, done, startedAt)
      this.become(gathering)
      return Effect.void
    }
    const { errors } = failure
    const causeOf = (index: number) => errors === undefined ? cause : Cause.fail(errors[index])
    const rest: InFlight<A> = { ...inFlight, batch: { ...inFlight.batch, items: failed } }
    this.become({ _tag: "Handling", inFlight: rest })
    if (done > 0) this.settle(inFlight, done, startedAt, failure.indexes)
    // Schedules reckon with the clock on the wall.
    const failedAt = this.clock.unsafeCurrentTimeMillis()
    const asked = Effect.suspend(() => step(this.options.retry, failedAt, failure.error, inFlight.scheduleState))
    return Effect.matchCause(asked, {
      onSuccess: ({ delayMillis, state: scheduleState }) => {
        if (!this.isHandling(rest)) return
        if (delayMillis === undefined) return this.giveUp(rest, gathering, "retries-exhausted", causeOf)
        // They are retried together, and the schedule was asked about the first.
        this.options.observer.retried(rest.batch, delayMillis, causeOf(0))
        this.become({ _tag: "BackingOff", inFlight: { ...rest, scheduleState }, delayMillis })
      },
      // A schedule of the user may die: then there is no retry, and the reason is told.
      onFailure: (death) => {
        if (!this.isHandling(rest)) return
        this.giveUp(rest, gathering, "retries-exhausted", (index) => Cause.sequential(causeOf(index), death))
      }
    })
  }

  /** Drops a batch. The counts change first, because a callback may look at them. */
  private giveUp(
    inFlight: InFlight<A>,
    next: State<A>,
    reason: DropReason,
    causeOf?: (index: number) => Cause.Cause<unknown>
  ): void {
    this.barriers.dropped(inFlight.last - inFlight.batch.items.length + 1, inFlight.last)
    this.options.observer.countDropped(inFlight.batch.items.length, reason)
    this.become(next)
    for (const [index, item] of inFlight.batch.items.entries()) {
      this.options.observer.dropped(item, reason, causeOf?.(index))
    }
  }

  private backOff(inFlight: InFlight<A>, delayMillis: number): Effect.Effect<void> {
    const { batch } = inFlight
    const again = Effect.suspend(() =>
      this.state._tag === "BackingOff"
        ? this.handle({ ...inFlight, batch: { ...batch, attempt: batch.attempt + 1 } })
        : Effect.void
    )
    if (delayMillis === 0) return again
    const over = Effect.unsafeMakeLatch()
    this.endBackOff = () => over.unsafeOpen()
    return Effect.zipRight(withAlarm(over.await, delayMillis, this.endBackOff), again)
  }

  // --- from outside -------------------------------------------------------------------------------------------------

  /** Waits, from this moment, for what is held now: until it is flushed by hand, or done in its own time. */
  unsafeAwait(options: { readonly flush: boolean }, onReached: () => void): Barrier {
    const upTo = options.flush ? this.admitted + this.intake.unsafeWaiting() : Infinity
    const barrier = this.barriers.add(upTo, options.flush, onReached)
    this.releaseBarriers()
    if (options.flush) this.signal()
    return barrier
  }

  unsafeForget(barrier: Barrier): void {
    this.barriers.remove(barrier)
  }

  /**
   * Closes the intake and flushes what is held; `run` ends when that is done. A backoff that has begun is cut short;
   * those that begin later are honoured.
   */
  unsafeDrain(): void {
    this.intake.unsafeClose()
    this.isDraining = true
    this.signal()
    // The loop may be on its way into the backoff.
    if (this.state._tag === "BackingOff") this.become({ ...this.state, delayMillis: 0 })
    this.endBackOff?.()
  }

  /** Drops everything that is still held. The loop does nothing more, and what a handler still does is ignored. */
  readonly abandon: Effect.Effect<void> = Effect.suspend(() => {
    const { state } = this
    if (state._tag === "Handling" || state._tag === "BackingOff") this.giveUp(state.inFlight, stopped, "shutdown")
    else this.become(stopped)
    return Effect.ensuring(
      this.intake.shutdown,
      Effect.sync(() => {
        this.onEvicted(0, true)
        // Nothing more will happen, even if a user's strategy still counts items as waiting.
        this.barriers.release(Infinity, true)
      })
    )
  })
}

export const makeBatcher = <A>(options: Options<A>): Effect.Effect<Batcher<A>, InvalidOption> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const intake = yield* makeImpl<A>(
      { ...options.intake, onDrop: (item, reason) => batcher.onDropped(item, reason) },
      {
        accepted: (length, origin) => batcher.onAccepted(length, origin),
        coalesced: (origin) => batcher.onCoalesced(origin),
        waiting: () => batcher.signal()
      }
    )
    if (options.flushPolicy.bytes > 0 && intake.unsafeBytes() === undefined) {
      return yield* new InvalidOption({
        queue: intake.queueName,
        field: "policy",
        value: options.intake.policy,
        limit: "one that makes its backing queue of the options that it is given, where there is batchBytes"
      })
    }
    const batcher: Batcher<A> = new Batcher(options, intake, clock, yield* makeBreaks)
    return batcher
  })

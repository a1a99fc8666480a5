/**
 * One worker: it claims batches, passes them to the user's handler, and settles them or handles the failure.
 *
 * It is one fiber, which runs the handler itself. Everything but the handler and waiting is uninterruptible: an
 * interrupted worker still puts back the batches that it holds. Settling waits for the next claim, and happens in the
 * same transaction.
 *
 * A failure is narrowed down before it is judged: a group batch by batch, and a batch by `isolate`.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Batch } from "../../Batch.ts"
import * as Codec from "../../Codec.ts"
import * as Decision from "../../Decision.ts"
import type { Claim, ClaimedBatch, Failure, Turn } from "../../QueueStore.ts"
import * as Result from "../../Result.ts"
import type { Restore } from "../fibers/call.ts"
import { failureOf } from "../fibers/failure.ts"
import { type Group, groupOf, type Readable } from "./group.ts"
import { Hand } from "./hand.ts"
import { isSame } from "./heartbeat.ts"
import { Persistence } from "./persistence.ts"
import type { Pool } from "./pool.ts"
import { storeBackoffMillis } from "./storeBackoff.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"
import type { Busy } from "./turns.ts"
import type { Bundle, FailedItem, Verdict } from "./verdict.ts"
import { awaitEnd, interruption, interruptNow, type Running } from "../fibers/fiber.ts"
import { forkInterruptible } from "../fibers/forking.ts"

/** Batches that are handled together, and how far that is. */
interface Held<A> extends Group<A> {
  readonly hand: Hand<A>
  /** Which of its items have failed, in order. */
  readonly failed: ReadonlyArray<FailedItem>
}

/** A part of a batch: from one index up to another. */
interface Slice {
  readonly from: number
  readonly to: number
}

/** What a worker is at. Changed by `become` alone. */
type State<A> =
  | { readonly _tag: "Free" }
  /** It is to be handled next. */
  | { readonly _tag: "Ready"; readonly held: Held<A> }
  | { readonly _tag: "Handling"; readonly held: Held<A> }
  /** It has failed as a whole, and is tried in these parts. */
  | { readonly _tag: "Isolating"; readonly held: Held<A>; readonly slices: Arr.NonEmptyReadonlyArray<Slice> }
  /** The handler is over, and the store is being told of it; it tells by itself of a lease that was lost. */
  | { readonly _tag: "Ending"; readonly held: Held<A> }
  /** It has failed, and is tried again by this very worker, from `dueAt` on, by the clock that only grows. */
  | { readonly _tag: "Retrying"; readonly held: Held<A>; readonly failure: Failure; readonly dueAt: number }
  /** The handler is done, and the batches are still to be deleted. */
  | { readonly _tag: "Done"; readonly held: Held<A>; readonly durationMillis: number }
  | { readonly _tag: "Ended" }

const free = { _tag: "Free" } as const
const ended = { _tag: "Ended" } as const

export class Worker<in out A> {
  private readonly pool: Pool<A>
  private readonly index: number
  private readonly persistence: Persistence<A>
  private state: State<A> = free
  private fiber: Running<void> | undefined
  /** Whether the fiber was interrupted because of a lost lease. It can run no handler any more. */
  private isSpent = false
  /** What its time is counted for. */
  private busy: Busy | undefined
  /** When it last asked for batches: what it is given then costs time from that moment on. */
  private askedAt = 0

  constructor(pool: Pool<A>, index: number) {
    this.pool = pool
    this.index = index
    this.persistence = new Persistence(pool, index)
  }

  get inFlight(): number {
    const { state } = this
    if (state._tag === "Free" || state._tag === "Ended") return 0
    return state.held.hand.others.reduce((sum, { items }) => sum + items.length, state.held.batch.items.length)
  }

  private become(state: State<A>): void {
    this.state = state
  }

  private get now(): number {
    return monotonicMillis(this.pool.options.clock)
  }

  interrupt(): void {
    if (this.fiber !== undefined) interruptNow(this.fiber)
  }

  /** Runs until the queue closes. A lost lease interrupts the fiber, and another takes its place. */
  readonly supervised: Effect.Effect<void> = Effect.whileLoop({
    while: () => this.state._tag !== "Ended",
    body: () =>
      Effect.flatMap(forkInterruptible(this.run), (fiber) => {
        this.isSpent = false
        this.fiber = fiber
        return Effect.flatMap(awaitEnd(fiber), (exit) =>
          Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
            ? Effect.failCause(exit.cause)
            : Effect.void)
      }),
    step: () => {}
  })

  private readonly run: Effect.Effect<void> = Effect.uninterruptibleMask((restore) =>
    Effect.whileLoop({
      while: () => this.state._tag !== "Ended" && !this.isSpent,
      body: () => this.step(restore),
      step: () => {}
    })
  )

  private step(restore: Restore): Effect.Effect<void> {
    const { pool, state } = this
    switch (state._tag) {
      case "Ready":
        return pool.isStopping ? this.giveBack(state.held) : this.handle(state.held, restore)
      case "Isolating":
        return this.isolate(state, restore)
      case "Retrying":
        return this.tryAgain(state, restore)
      case "Done":
        // What else is in hand does not wait for a claim.
        if (pool.mayClaim && state.held.hand.others.length === 0) break
        return this.settle(state.held, state.durationMillis)
      default:
        break
    }
    if (pool.isStopping) {
      this.become(ended)
      return Effect.void
    }
    if (!pool.mayClaim) {
      this.rest(this.now)
      return restore(pool.park(pool.version))
    }
    const { breaks } = pool.options
    return breaks.isDue ? Effect.zipRight(restore(breaks.take), this.claim(restore)) : this.claim(restore)
  }

  // --- claiming -----------------------------------------------------------------------------------------------------

  private claim(restore: Restore): Effect.Effect<void> {
    const { pool, state } = this
    const { batches: limit, leaseMillis, store } = pool.options
    const { version } = pool
    this.askedAt = this.now
    this.rest(this.askedAt)
    const turn = pool.turns.next
    const settle = state._tag === "Done" ? state.held.claims : undefined
    const renew = pool.heartbeat.overdue
    const asked = store.claim({ limit, leaseMillis, turn, version: Codec.version, settle, renew })
    return Effect.matchCauseEffect(asked, {
      onFailure: (cause) => this.tryLater(cause, restore),
      onSuccess: ({ batches, lost, nextAtMillis, turn: got }) => {
        this.persistence.succeeded()
        const told = state._tag === "Done" ? this.settled(state.held, state.durationMillis, lost) : undefined
        const next = () => {
          if (Arr.isNonEmptyReadonlyArray(batches)) {
            pool.turns.claimed(turn, got)
            // Where nothing is said of the next, there may be more now.
            if (nextAtMillis === undefined) pool.wake(1)
            else pool.lookAgainAt(nextAtMillis)
            return this.take(batches, got, restore)
          }
          pool.turns.reset()
          if (pool.isStopping) return Effect.void
          pool.lookAgainAt(nextAtMillis)
          return restore(pool.park(version))
        }
        return told === undefined ? next() : Effect.flatMap(told, next)
      }
    })
  }

  private tryLater(cause: Cause.Cause<unknown>, restore: Restore): Effect.Effect<void> {
    const delayMillis = storeBackoffMillis(this.persistence.failed())
    return Effect.zipRight(this.pool.options.observer.failed("claim", cause), restore(this.pool.pause(delayMillis)))
  }

  /** Sorts out what cannot be handled, and handles the rest as one batch. */
  private take(
    batches: Arr.NonEmptyReadonlyArray<ClaimedBatch>,
    turn: Turn,
    restore: Restore
  ): Effect.Effect<void> {
    const { buffer, codec, inlineDelayMillis, maxDeliveries, observer } = this.pool.options
    observer.claimed(this.index, batches)
    const readable: Array<Readable<A>> = []
    const asides: Array<Effect.Effect<void>> = []
    for (const claimed of batches) {
      const decoded = codec.decodeBatch(claimed.payload)
      if (Result.isFailure(decoded)) asides.push(this.setAside(claimed, decoded.failure))
      else if (claimed.deliveries > maxDeliveries) asides.push(this.bury({ claimed, ...decoded.success }))
      else readable.push({ claimed, ...decoded.success })
    }
    const setAside = Effect.all(asides, { discard: true })
    if (!Arr.isNonEmptyReadonlyArray(readable)) return setAside
    const group = groupOf(readable, buffer)
    const hand = new Hand<A>(group.claims, turn, inlineDelayMillis, (hand, lost) => this.onLost(hand, lost))
    const held = { ...group, hand, failed: [] }
    this.pool.heartbeat.add(hand)
    if (asides.length === 0) return this.handle(held, restore)
    this.become({ _tag: "Ready", held })
    // Setting aside may take as long as the store is down, and the lease may be lost meanwhile.
    return setAside
  }

  /** A batch that cannot be read here: it is for a newer version, or it is unreadable. */
  private setAside(claimed: ClaimedBatch, unreadable: Codec.Unreadable): Effect.Effect<void> {
    if (unreadable._tag === "Newer") {
      return this.persistence.release([claimed], { giveBack: true, version: unreadable.version })
    }
    const reason = unreadable._tag === "Corrupt" ? "corrupt" : "undecodable"
    return this.persistence.deadLetter(claimed, reason, { ...claimed, error: unreadable.detail })
  }

  /** It was delivered too often already. */
  private bury(readable: Readable<A>): Effect.Effect<void> {
    const { claimed } = readable
    const { attempts, failedAtMillis } = claimed
    const error = claimed.error || "its worker has ended, each time, before it was done with it"
    const group = groupOf([readable], undefined)
    const fate = { _tag: "Dies", reason: "deliveries-exhausted", failure: { attempts, failedAtMillis, error } } as const
    const bundles = readable.items.map((_, index): Bundle => ({ indexes: [index], cause: Cause.empty, fate }))
    return Effect.asVoid(this.persistence.divide(group, { bundles, discarded: [] }, undefined))
  }

  /** Another process may be handling the batches by now: what this worker still does with them would be done twice. */
  private onLost(hand: Hand<A>, all: ReadonlyArray<Claim>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { state } = this
      if (state._tag === "Free" || state._tag === "Ended" || state.held.hand !== hand) return Effect.void
      const { held } = state
      // Where the store is asked to delete or release a batch, a beat may find that done already.
      const isEnding = state._tag === "Ending" || state._tag === "Done"
      const isOver = (claim: Claim) => isEnding && held.claims.some((own) => isSame(claim, own))
      // By now it may have been done with, or divided, which ends the claim as well.
      const lost = all.filter((claim) => hand.holds([claim]) && !isOver(claim))
      if (lost.length === 0) return Effect.void
      const isHeldLost = held.claims.some((claim) => lost.some((other) => isSame(claim, other)))
      hand.drop(lost)
      const told = this.persistence.lost(lost)
      if (!isHeldLost) return told
      const others = held.claims.filter((claim) => hand.holds([claim]))
      hand.drop(others)
      if (state._tag === "Handling" || state._tag === "Isolating") {
        this.isSpent = true
        this.interrupt()
      } else this.proceed(hand)
      return Effect.zipRight(told, this.persistence.releaseOthers(others))
    })
  }

  private isLost({ claims, hand }: Held<A>): boolean {
    return !hand.holds(claims)
  }

  /** Goes on with what else is in hand. */
  private proceed(hand: Hand<A>): void {
    const [next, ...others] = hand.others
    if (next !== undefined) {
      hand.others = others
      return this.become({ _tag: "Ready", held: this.heldAlone(next, hand) })
    }
    this.pool.heartbeat.remove(hand)
    if (this.state._tag !== "Ended") this.become(free)
  }

  private heldAlone(readable: Readable<A>, hand: Hand<A>): Held<A> {
    return { ...groupOf([readable], this.pool.options.buffer), hand, failed: [] }
  }

  private letGo({ claims, hand }: Held<A>): void {
    hand.drop(claims)
    this.proceed(hand)
  }

  /** Its time is counted for this kind from then on, until it asks for more. */
  private work(turn: Turn, at: number): void {
    this.rest(at)
    this.busy = this.pool.turns.begin(turn, at)
  }

  private rest(at: number): void {
    if (this.busy !== undefined) this.pool.turns.end(this.busy, at)
    this.busy = undefined
  }

  // --- handling -----------------------------------------------------------------------------------------------------

  private handle(held: Held<A>, restore: Restore): Effect.Effect<void> {
    const { batch, defect } = held
    if (this.pool.isInterrupting) return this.giveBack(held)
    if (this.isLost(held)) return Effect.sync(() => this.letGo(held))
    this.become({ _tag: "Handling", held })
    // A buffer that gives nothing leaves nothing to be handled.
    if (batch.items.length === 0) return Effect.sync(() => this.become({ _tag: "Done", held, durationMillis: 0 }))
    return this.attempt(held, batch, restore, {
      defect,
      onSuccess: (durationMillis) => {
        this.become({ _tag: "Done", held, durationMillis })
        return Effect.void
      },
      onFailure: (cause) => this.fail(held, { from: 0, to: batch.items.length }, [], cause, restore),
      onInterrupt: () => this.giveBack(held)
    })
  }

  /** Runs the handler, once. */
  private attempt(
    held: Held<A>,
    batch: Batch<A>,
    restore: Restore,
    { defect, onFailure, onInterrupt, onSuccess }: {
      readonly defect: Cause.Cause<never> | undefined
      readonly onSuccess: (durationMillis: number) => Effect.Effect<void>
      readonly onFailure: (cause: Cause.Cause<unknown>) => Effect.Effect<void>
      readonly onInterrupt: () => Effect.Effect<void>
    }
  ): Effect.Effect<void> {
    const { observer, process } = this.pool.options
    observer.handling(this.index, batch)
    const startedAt = this.now
    // Trying again is no fresh work, although it may have been claimed as such.
    if (held.hand.isTried) this.work("returned", startedAt)
    else this.work(held.hand.turn, this.askedAt)
    held.hand.isTried = true
    const handled = () => {
      const durationMillis = this.now - startedAt
      observer.handled(durationMillis)
      return durationMillis
    }
    const attempt = Effect.suspend(() => defect === undefined ? process(batch) : Effect.failCause(defect))
    return Effect.matchCauseEffect(restore(attempt), {
      onSuccess: () => {
        const durationMillis = handled()
        if (!this.isLost(held)) return onSuccess(durationMillis)
        this.letGo(held)
        return Effect.void
      },
      onFailure: (cause) => {
        handled()
        if (this.isLost(held)) {
          this.letGo(held)
          return Effect.void
        }
        return this.pool.isInterrupting && Cause.isInterrupted(cause) ? onInterrupt() : onFailure(cause)
      }
    })
  }

  /** Puts what is in hand back as if it had never been claimed. */
  private giveBack(held: Held<A>): Effect.Effect<void> {
    this.become({ _tag: "Ending", held })
    return Effect.map(this.persistence.release(held.claims, { giveBack: true }), () => this.letGo(held))
  }

  /** Waits until it is due, and tries it again; or puts it back for others, if the queue is closing. */
  private tryAgain(
    { dueAt, failure, held }: Extract<State<A>, { readonly _tag: "Retrying" }>,
    restore: Restore
  ): Effect.Effect<void> {
    const left = Math.max(0, Math.ceil(dueAt - this.now))
    if (this.pool.isStopping) {
      this.become({ _tag: "Ending", held })
      const released = this.persistence.release(held.claims, { delayMillis: left, failure })
      return Effect.map(released, () => this.letGo(held))
    }
    // An interruption ends the waiting, but nothing else: then another fiber goes on here.
    return left > 0 ? restore(this.pool.pause(left)) : this.handle(held, restore)
  }

  // --- narrowing down -----------------------------------------------------------------------------------------------

  /** The handler has failed at a part of a batch, or at the whole of it; these other parts are to be tried as well. */
  private fail(
    held: Held<A>,
    slice: Slice,
    rest: ReadonlyArray<Slice>,
    cause: Cause.Cause<unknown>,
    restore: Restore
  ): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      const { isolate, observer } = this.pool.options
      const size = slice.to - slice.from
      const items = held.batch.items.slice(slice.from, slice.to) as unknown as Batch<A>["items"]
      yield* Effect.ignore(Effect.sandbox(restore(observer.processFailed(cause, { ...held.batch, items }))))
      // That may have taken long, and a lease that is lost meanwhile has interrupted it.
      if (this.isLost(held)) return this.letGo(held)
      this.become({ _tag: "Ending", held })
      const { error, errors, indexes } = failureOf(cause, size)
      const isWhole = indexes === undefined
      const decided = isWhole ? yield* this.decide(error) : Decision.retry
      // Where the other side has named a time, it has not looked at single items.
      const isNarrowed = isWhole && decided._tag !== "RetryAfter"
      if (isNarrowed && held.claims.length > 1) return this.tryOneByOne(held)
      if (isNarrowed && isolate !== undefined && size > 1) {
        return this.isolateNext(held, [...isolate === "each" ? singles(slice) : halves(slice), ...rest])
      }
      const isAlone = isolate !== undefined && (size === 1 && held.batch.items.length > 1)
      const failed: Array<FailedItem> = []
      for (let i = 0; i < (indexes?.length ?? size); i++) {
        const own = errors === undefined ? error : errors[i]
        failed.push({
          index: slice.from + (indexes?.[i] ?? i),
          error: own,
          cause: errors === undefined ? cause : Cause.fail(own),
          decision: isWhole ? decided : yield* this.decide(own),
          isAlone
        })
      }
      const known = { ...held, failed: [...held.failed, ...failed] }
      if (isWhole && decided._tag === "RetryAfter") return yield* this.leave(known, rest, decided.millis)
      if (Arr.isNonEmptyReadonlyArray(rest)) return this.isolateNext(known, rest)
      yield* this.conclude(known)
    })
  }

  /** What the user says about an error. One that dies of it, or answers nothing, has decided nothing. */
  private decide(error: unknown): Effect.Effect<Decision.Decision> {
    const { decide, observer } = this.pool.options
    if (decide === undefined) return Effect.succeed(Decision.retry)
    return Effect.suspend(() => {
      try {
        const decision: Decision.Decision | undefined = decide(error)
        if (decision?._tag === undefined) throw new TypeError("`decide` has answered no decision")
        return Effect.succeed(decision)
      } catch (defect) {
        return Effect.as(observer.failed("decide", Cause.die(defect)), Decision.retry)
      }
    })
  }

  /** A group has failed: whose fault that is, its batches tell one by one. */
  private tryOneByOne({ hand, readable }: Held<A>): void {
    const [first, ...others] = readable
    hand.others = others
    this.become({ _tag: "Ready", held: this.heldAlone(first, hand) })
  }

  private isolateNext(held: Held<A>, slices: ReadonlyArray<Slice>): void {
    if (Arr.isNonEmptyReadonlyArray(slices)) this.become({ _tag: "Isolating", held, slices })
  }

  /** Tries the next part of a batch that has failed as a whole. */
  private isolate(
    { held, slices: [slice, ...rest] }: Extract<State<A>, { readonly _tag: "Isolating" }>,
    restore: Restore
  ): Effect.Effect<void> {
    if (this.isLost(held)) return Effect.sync(() => this.letGo(held))
    const items = held.batch.items.slice(slice.from, slice.to)
    // No part is empty.
    if (this.pool.isInterrupting || !Arr.isNonEmptyReadonlyArray(items)) return this.leave(held, [slice, ...rest], 0)
    return this.attempt(held, { ...held.batch, items }, restore, {
      defect: held.defect,
      onSuccess: () => {
        if (!Arr.isNonEmptyReadonlyArray(rest)) return this.conclude(held)
        this.isolateNext(held, rest)
        return Effect.void
      },
      onFailure: (cause) => this.fail(held, slice, rest, cause, restore),
      onInterrupt: () => this.leave(held, [slice, ...rest], 0)
    })
  }

  /** The time to end is over, or the other side has named one: what was not tried is put back, and what was is judged. */
  private leave(held: Held<A>, slices: ReadonlyArray<Slice>, delayMillis: number): Effect.Effect<void> {
    const left = slices.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
    const cause = interruption
    const untried = left.map((index): FailedItem => ({
      index,
      error: untriedError,
      cause,
      decision: Decision.snooze(delayMillis),
      isAlone: false
    }))
    return this.conclude({ ...held, failed: [...held.failed, ...untried] })
  }

  // --- concluding ---------------------------------------------------------------------------------------------------

  /** Sees to it that of the batches in hand what is done is deleted, and that what has failed is where it is to be. */
  private conclude(held: Held<A>): Effect.Effect<void> {
    if (held.failed.length === 0) return Effect.sync(() => this.become({ _tag: "Done", held, durationMillis: 0 }))
    this.become({ _tag: "Ending", held })
    return held.claims.length === 1 || held.isMerged ? this.seeTo(held, true) : this.concludeEach(held)
  }

  /** The handler has said which items of a group have failed: their batches are seen to, the others are done. */
  private concludeEach(held: Held<A>): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      const done: Array<Held<A>> = []
      let from = 0
      for (const readable of held.readable) {
        const to = from + readable.items.length
        const own = held.failed.filter(({ index }) => index >= from && index < to)
        const failed = own.map((item) => ({ ...item, index: item.index - from }))
        const alone = { ...this.heldAlone(readable, held.hand), failed }
        if (failed.length === 0) done.push(alone)
        else if (held.hand.holds(alone.claims)) yield* this.seeTo(alone, false)
        from = to
      }
      yield* this.settleAll(done)
      this.letGo(held)
    })
  }

  /** Settles batches of a group in one step. */
  private settleAll(done: ReadonlyArray<Held<A>>): Effect.Effect<void> {
    return Effect.flatMap(
      this.persistence.settle(done.flatMap(({ claims }) => claims)),
      (lost) =>
        Effect.forEach(lost === undefined ? [] : done, (held) => {
          const own = lost!.filter((claim) => held.claims.some((other) => isSame(claim, other)))
          return this.settled(held, 0, own, false) ?? Effect.void
        }, { discard: true })
    )
  }

  /** Sees to a batch of which items have failed. Where that is all there is in hand, it may stay. */
  private seeTo(held: Held<A>, mayStay: boolean): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      const { judge } = this.pool.options
      const verdict = yield* judge.judge({ ...held, attempt: held.batch.attempt }, held.failed)
      yield* this.holdAll(held.failed)
      const kept = mayStay ? this.toBeKept(held, verdict) : undefined
      const ending = kept === undefined ? this.putBack(held, verdict) : verdict
      const claim = yield* this.persistence.divide(held, ending, kept)
      if (claim !== undefined && kept !== undefined) yield* this.keep(held, kept, claim)
      else if (mayStay) this.letGo(held)
    })
  }

  /** The other side has asked for a break for everybody. */
  private holdAll(failed: ReadonlyArray<FailedItem>): Effect.Effect<void> {
    const millis = failed.reduce(
      (longest, { decision }) =>
        decision._tag === "RetryAfter" && decision.pause ? Math.max(longest, decision.millis) : longest,
      0
    )
    return millis === 0 ? Effect.void : this.persistence.hold(millis)
  }

  /** What is tried again by this worker, because it is due so soon that the store need not be asked. */
  private toBeKept({ hand }: Held<A>, { bundles }: Verdict): Bundle | undefined {
    const again = bundles.filter(({ fate }) => fate._tag === "Again")
    const [bundle] = again
    if (again.length !== 1 || bundle.fate._tag !== "Again") return undefined
    const { delayMillis } = bundle.fate
    const isFree = !this.pool.isStopping && hand.others.length === 0
    return isFree && delayMillis <= hand.inlineLeft && this.pool.turns.mayWait(delayMillis) ? bundle : undefined
  }

  /** What goes back into the store for its retries; or is set aside, where that would be once too often. */
  private putBack({ batch, claims, hand }: Held<A>, { bundles, discarded }: Verdict): Verdict {
    const isExhausted = this.pool.options.judge.isExhausted(claims)
    return {
      discarded,
      bundles: bundles.flatMap((bundle): ReadonlyArray<Bundle> => {
        const { fate } = bundle
        if (fate._tag !== "Again") return [bundle]
        const { delayMillis, failure } = fate
        // Where only others are given their turn, it is as if this worker had gone on.
        const giveBack = delayMillis <= hand.inlineLeft && !this.isDelivery(delayMillis, batch.attempt, hand)
        if (giveBack || !isExhausted) return [{ ...bundle, fate: { _tag: "Rests", delayMillis, failure, giveBack } }]
        const dies = { _tag: "Dies", reason: "deliveries-exhausted", failure } as const
        return bundle.indexes.map((index) => ({ ...bundle, indexes: [index], fate: dies }))
      })
    }
  }

  /**
   * Whether attempts that are given back add up to a delivery by now: after as many as a worker that never makes way has
   * time for. Otherwise what makes way each time is never delivered, and `maxDeliveries` bounds nothing.
   */
  private isDelivery(delayMillis: number, attempt: number, { kept }: Hand<A>): boolean {
    const inDelivery = 1 + Math.floor(this.pool.options.inlineDelayMillis / Math.max(1, delayMillis))
    const deliveries = (attempts: number) => Math.floor(attempts / inDelivery)
    return deliveries(attempt) > deliveries(attempt - 1 - kept)
  }

  /** Waits until it is due, with it in hand. */
  private keep(held: Held<A>, { fate, indexes }: Bundle, claim: ClaimedBatch): Effect.Effect<void> {
    if (fate._tag !== "Again") return Effect.void
    const { batch, claims, hand } = held
    const { delayMillis, failure, scheduleState } = fate
    hand.replace(claims, claim)
    const group = claims.length === 1 && indexes.length === batch.items.length ? held : this.regroup(claim)
    if (group === undefined || !hand.holds([claim])) {
      const released = this.persistence.release(hand.holds([claim]) ? [claim] : [], { delayMillis, failure })
      return Effect.map(released, () => this.letGo({ ...held, claims: [claim] }))
    }
    hand.inlineLeft -= delayMillis
    hand.kept += 1
    const again = {
      ...held,
      ...group,
      batch: { ...group.batch, attempt: batch.attempt + 1 },
      failedAtMillis: failure.failedAtMillis,
      scheduleState,
      failed: []
    }
    const at = this.now
    this.work("returned", at)
    this.become({ _tag: "Retrying", held: again, failure, dueAt: at + delayMillis })
    return Effect.void
  }

  /** The divided items, as a later claim would read them; they are already merged. */
  private regroup(claimed: ClaimedBatch): Group<A> | undefined {
    const decoded = this.pool.options.codec.decodeBatch(claimed.payload)
    return Result.isFailure(decoded) ? undefined : groupOf([{ claimed, ...decoded.success }], undefined)
  }

  // --- ending -------------------------------------------------------------------------------------------------------

  private settle(held: Held<A>, durationMillis: number): Effect.Effect<void> {
    return Effect.flatMap(this.persistence.settle(held.claims), (lost) =>
      lost === undefined
        ? Effect.sync(() => this.letGo(held))
        : this.settled(held, durationMillis, lost) ?? Effect.void)
  }

  /** The batches are deleted, but for those whose lease was lost: whom to tell of them, if there are any. */
  private settled(
    held: Held<A>,
    durationMillis: number,
    lost: ReadonlyArray<Claim>,
    isLast = true
  ): Effect.Effect<void> | undefined {
    const { backlog, observer } = this.pool.options
    const { batch, claims, stored } = held
    if (isLast) this.letGo(held)
    const size = batch.items.length
    if (lost.length === 0) {
      backlog.leave(stored)
      observer.settled(this.index, size, stored - size, batch, durationMillis)
    } else {
      // What was merged of several batches is counted where they are settled.
      const isLeft = (claim: Claim) => !lost.some((other) => isSame(claim, other))
      const items = claims.reduce((sum, claim) => isLeft(claim) ? sum + claim.items : sum, 0)
      backlog.leave(items)
      if (items > 0) observer.settled(this.index, items, 0, batch, durationMillis)
    }
    backlog.room()
    return lost.length === 0 ? undefined : this.persistence.lost(lost)
  }
}

const untriedError = "it was not tried"

const halves = ({ from, to }: Slice): ReadonlyArray<Slice> => {
  const middle = from + Math.ceil((to - from) / 2)
  return [{ from, to: middle }, { from: middle, to }]
}

const singles = ({ from, to }: Slice): ReadonlyArray<Slice> =>
  Array.from({ length: to - from }, (_, i) => ({ from: from + i, to: from + i + 1 }))

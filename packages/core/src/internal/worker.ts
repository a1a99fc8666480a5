/**
 * One worker: it claims batches, hands them to the user's handler, and settles, retries or sets them aside.
 *
 * It is one fiber that runs the handler itself. Everything but the handler, and waiting, is uninterruptible: a worker
 * that is interrupted still puts back what it has in hand. Settling waits for the next claim, and is done in the same
 * transaction.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Schedule from "effect/Schedule"
import type { Batch } from "../Batch.ts"
import type { Buffer } from "../Buffer.ts"
import type { Codec } from "../Codec.ts"
import { LeaseLost, type StoreUnavailable } from "../QueueError.ts"
import type { DeadLetterReason } from "../QueueEvent.ts"
import type { Claim, ClaimedBatch, Failure, NewBatch, QueueStore } from "../QueueStore.ts"
import type { Breaks } from "./breaks.ts"
import { failureOf } from "./failure.ts"
import { type Group, groupOf, type InHand, type Readable } from "./group.ts"
import type { Heartbeat, Holder } from "./heartbeat.ts"
import { nextStep } from "./retrying.ts"
import { storeBackoffMillis } from "./storeBackoff.ts"
import { monotonicMillis } from "./timekeeper.ts"

/**
 * Who is told what becomes of batches. It must not throw.
 * @internal
 */
export interface Observer<in A> {
  readonly claimed: (worker: number, batches: ReadonlyArray<ClaimedBatch>) => void
  readonly handling: (worker: number, batch: Batch<A>) => void
  /** So many items are done; so many more had been merged into them when they were claimed. */
  readonly settled: (worker: number, size: number, merged: number, batch: Batch<A>, durationMillis: number) => void
  readonly retried: (worker: number, batch: Batch<A>, delayMillis: number, cause: Cause.Cause<unknown>) => void
  readonly released: (worker: number, claims: ReadonlyArray<Claim>, delayMillis: number) => void
  readonly deadLettered: (worker: number, claimed: InHand, reason: DeadLetterReason, error: string) => void
  readonly leaseLost: (worker: number, sequences: ReadonlyArray<number>) => Effect.Effect<void>
  readonly handled: (durationMillis: number) => void
  /** An attempt has failed: the user's handler of errors. */
  readonly processFailed: (cause: Cause.Cause<unknown>, batch: Batch<A>) => Effect.Effect<void>
  readonly failed: (operation: Operation, cause: Cause.Cause<unknown>) => Effect.Effect<void>
  /** Items have left the store: there may be room for others. */
  readonly room: () => void
}

/**
 * What was to be done when it failed: what the store was asked for, or the user's schedule of retries.
 * @internal
 */
export type Operation = "append" | "claim" | "extend" | "settle" | "replace" | "release" | "deadLetter" | "retry"

/** @internal */
export interface Options<in out A> {
  readonly store: QueueStore
  readonly codec: Codec<A>
  readonly buffer: Buffer<A, any> | undefined
  readonly workers: number
  /** How many batches a worker claims at once. */
  readonly batches: number
  readonly process: (batch: Batch<A>) => Effect.Effect<void, unknown>
  readonly retry: Schedule.Schedule<unknown, unknown>
  readonly inlineDelayMillis: number
  readonly cooldownMillis: number
  readonly maxDeliveries: number
  readonly leaseMillis: number
  readonly pollMillis: number
  readonly observer: Observer<A>
  readonly clock: Clock.Clock
  readonly macrotask: (task: () => void) => void
}

/**
 * What a worker has in common with the others of its queue.
 * @internal
 */
export interface Pool<in out A> {
  readonly options: Options<A>
  readonly heartbeat: Heartbeat
  /** Changes whenever there may be something to claim that was not there before. */
  readonly version: number
  readonly mayClaim: boolean
  readonly isStopping: boolean
  /** Whether handlers have been interrupted, because the time to end was over. */
  readonly isInterrupting: boolean
  /** Whether nobody waits for the store any more. */
  readonly isOver: boolean
  /** There may be so many batches more to claim. */
  readonly wake: (batches: number) => void
  /** Waits until there may be something to claim that was not there at this version. */
  readonly park: (version: number) => Effect.Effect<void>
  /** Others append, and their leases run out, without a word. */
  readonly lookAgainAt: (atMillis: number | undefined) => void
  /** Waits, unless the queue is closing. */
  readonly pause: (millis: number) => Effect.Effect<void>
  /** Waits for a store that has failed, unless nobody waits for it any more. */
  readonly pauseForStore: (millis: number) => Effect.Effect<void>
  readonly breaks: Breaks
}

/** Makes an effect interruptible. */
type Restore = <B, E, R>(effect: Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>

/** What a worker has in hand, and the leases of it that are renewed. */
interface Held<A> extends Group<A> {
  readonly holder: Holder
}

/** What a worker is at. Changed by `become` alone. */
type State<A> =
  | { readonly _tag: "Free" }
  | { readonly _tag: "Handling"; readonly group: Held<A> }
  /** The handler is over, and the store is being told of it; it tells by itself of a lease that was lost. */
  | { readonly _tag: "Ending"; readonly group: Held<A> }
  /** It has failed, and is tried again by this very worker, from `dueAt` on, by the clock that only grows. */
  | { readonly _tag: "Retrying"; readonly group: Held<A>; readonly failure: Failure; readonly dueAt: number }
  /** The handler is done, and the batches are still to be deleted. */
  | { readonly _tag: "Done"; readonly group: Held<A>; readonly durationMillis: number }
  | { readonly _tag: "Ended" }

const free = { _tag: "Free" } as const
const ended = { _tag: "Ended" } as const

/** What is kept of an error's text. */
const longestError = 4096

/** @internal */
export class Worker<in out A> {
  private readonly pool: Pool<A>
  private readonly index: number
  private state: State<A> = free
  private fiber: Fiber.RuntimeFiber<void> | undefined
  /** Whether the fiber was interrupted because of a lost lease. It can run no handler any more. */
  private isSpent = false
  /** How many times in a row the store has failed. */
  private failures = 0

  constructor(pool: Pool<A>, index: number) {
    this.pool = pool
    this.index = index
  }

  get inFlight(): number {
    return this.state._tag === "Free" || this.state._tag === "Ended" ? 0 : this.state.group.batch.items.length
  }

  private become(state: State<A>): void {
    this.state = state
  }

  interrupt(): void {
    this.fiber?.unsafeInterruptAsFork(FiberId.none)
  }

  /** Runs until the queue closes. A lost lease interrupts the fiber, and another takes its place. */
  readonly supervised: Effect.Effect<void> = Effect.whileLoop({
    while: () => this.state._tag !== "Ended",
    body: () =>
      Effect.flatMap(Effect.forkDaemon(this.run), (fiber) => {
        this.isSpent = false
        this.fiber = fiber
        return Effect.flatMap(Fiber.await(fiber), (exit) =>
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
      case "Retrying":
        return this.tryAgain(state, restore)
      case "Done":
        if (pool.mayClaim) break
        return this.settle(state.group, state.durationMillis)
      default:
        break
    }
    if (pool.isStopping) {
      this.become(ended)
      return Effect.void
    }
    if (!pool.mayClaim) return restore(pool.park(pool.version))
    return pool.breaks.isDue ? Effect.zipRight(restore(pool.breaks.take), this.claim(restore)) : this.claim(restore)
  }

  // --- claiming -----------------------------------------------------------------------------------------------------

  private claim(restore: Restore): Effect.Effect<void> {
    const { pool, state } = this
    const { batches: limit, leaseMillis, store } = pool.options
    const { version } = pool
    const settle = state._tag === "Done" ? state.group.claims : undefined
    return Effect.matchCauseEffect(store.claim({ limit, leaseMillis, settle }), {
      onFailure: (cause) => this.tryLater("claim", cause, restore),
      onSuccess: ({ batches, lost, nextAtMillis }) => {
        this.failures = 0
        const told = state._tag === "Done" ? this.settled(state.group, state.durationMillis, lost) : undefined
        const next = () => {
          if (Arr.isNonEmptyReadonlyArray(batches)) {
            // Where there were as many as that, there may be more.
            if (batches.length === limit) pool.wake(1)
            else pool.lookAgainAt(nextAtMillis)
            return this.take(batches, restore)
          }
          if (pool.isStopping) return Effect.void
          pool.lookAgainAt(nextAtMillis)
          return restore(pool.park(version))
        }
        return told === undefined ? next() : Effect.flatMap(told, next)
      }
    })
  }

  private tryLater(operation: Operation, cause: Cause.Cause<unknown>, restore: Restore): Effect.Effect<void> {
    this.failures += 1
    const delayMillis = storeBackoffMillis(this.failures)
    return Effect.zipRight(this.pool.options.observer.failed(operation, cause), restore(this.pool.pause(delayMillis)))
  }

  /** Sorts out what cannot be handled, and handles the rest as one batch. */
  private take(batches: Arr.NonEmptyReadonlyArray<ClaimedBatch>, restore: Restore): Effect.Effect<void> {
    const { codec, maxDeliveries, observer, pollMillis } = this.pool.options
    observer.claimed(this.index, batches)
    const readable: Array<Readable<A>> = []
    const asides: Array<Effect.Effect<void>> = []
    for (const claimed of batches) {
      if (claimed.deliveries > maxDeliveries) {
        const error = claimed.error || "its worker has ended, each time, before it was done with it"
        asides.push(this.setAside(claimed, "deliveries-exhausted", { ...claimed, error }))
        continue
      }
      const decoded = codec.decodeBatch(claimed.payload)
      if (Either.isRight(decoded)) readable.push({ claimed, ...decoded.right })
      else if (decoded.left._tag === "Newer") {
        // Not at once, or this process would claim it again before one that can read it.
        asides.push(this.release([claimed], pollMillis, { giveBack: true }))
      } else asides.push(this.setAside(claimed, "undecodable", { ...claimed, error: decoded.left.detail }))
    }
    const setAside = Effect.all(asides, { discard: true })
    if (!Arr.isNonEmptyReadonlyArray(readable)) return setAside
    const made = groupOf(readable, this.pool.options.buffer)
    const group: Held<A> = { ...made, holder: this.holderOf(made.claims) }
    this.pool.heartbeat.add(group.holder)
    if (asides.length === 0) return this.handle(group, restore)
    // Setting aside may take as long as the store is down, and the lease may be lost meanwhile.
    return Effect.zipRight(
      setAside,
      Effect.suspend(() => this.isLost(group) ? Effect.void : this.handle(group, restore))
    )
  }

  private holderOf(claims: ReadonlyArray<Claim>): Holder {
    const holder: Holder = { claims, onLost: (sequences) => this.onLost(holder, sequences) }
    return holder
  }

  /** Somebody else may be handling the batches by now: what this worker still does with them would be done twice. */
  private onLost(holder: Holder, sequences: ReadonlyArray<number>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { state } = this
      // Where the store is asked to delete or release a batch, a beat may find that done already.
      if (!this.pool.heartbeat.has(holder)) return Effect.void
      if (state._tag === "Ending" || state._tag === "Done" || state._tag === "Ended") return Effect.void
      if (state._tag !== "Free" && state.group.holder !== holder) return Effect.void
      this.pool.heartbeat.remove(holder)
      if (state._tag === "Handling") {
        this.isSpent = true
        this.interrupt()
      } else if (state._tag === "Retrying") this.become(free)
      return Effect.zipRight(
        this.pool.options.observer.leaseLost(this.index, sequences),
        this.releaseOthers(holder.claims, sequences)
      )
    })
  }

  /** Puts those back at once whose leases still hold: their handler is not going to settle them. */
  private releaseOthers(claims: ReadonlyArray<Claim>, lost: ReadonlyArray<number>): Effect.Effect<void> {
    const others = claims.filter(({ sequence }) => !lost.includes(sequence))
    if (others.length === 0) return Effect.void
    const { observer, store } = this.pool.options
    return Effect.matchCauseEffect(store.release(others, {}), {
      onSuccess: () =>
        Effect.sync(() => {
          observer.released(this.index, others, 0)
          this.pool.wake(1)
        }),
      // Once only: where the store cannot be used, their leases run out.
      onFailure: (cause) => isLeaseLost(cause) ? Effect.void : observer.failed("release", cause)
    })
  }

  // --- handling -----------------------------------------------------------------------------------------------------

  private handle(group: Held<A>, restore: Restore): Effect.Effect<void> {
    const { clock, observer, process } = this.pool.options
    const { batch } = group
    if (this.pool.isInterrupting) return this.giveBack(group)
    this.become({ _tag: "Handling", group })
    // A buffer that gives nothing leaves nothing to be handled.
    if (batch.items.length === 0) return Effect.sync(() => this.become({ _tag: "Done", group, durationMillis: 0 }))
    observer.handling(this.index, batch)
    const startedAt = monotonicMillis(clock)
    const attempt = Effect.suspend(() => group.defect === undefined ? process(batch) : Effect.failCause(group.defect))
    return Effect.matchCauseEffect(restore(attempt), {
      onSuccess: () => {
        const durationMillis = monotonicMillis(clock) - startedAt
        observer.handled(durationMillis)
        this.become(this.isLost(group) ? free : { _tag: "Done", group, durationMillis })
        return Effect.void
      },
      onFailure: (cause) => {
        observer.handled(monotonicMillis(clock) - startedAt)
        if (this.isLost(group)) {
          this.become(free)
          return Effect.void
        }
        if (this.pool.isInterrupting && Cause.isInterrupted(cause)) {
          return this.giveBack(group)
        }
        return this.fail(group, cause, restore)
      }
    })
  }

  /** Puts it back as if it had never been claimed. */
  private giveBack(group: Held<A>): Effect.Effect<void> {
    this.become({ _tag: "Ending", group })
    return this.release(group.claims, 0, { giveBack: true }, group)
  }

  /** Waits until it is due, and tries it again; or puts it back for others, if the queue is closing. */
  private tryAgain(
    { dueAt, failure, group }: Extract<State<A>, { readonly _tag: "Retrying" }>,
    restore: Restore
  ): Effect.Effect<void> {
    const left = Math.max(0, Math.ceil(dueAt - monotonicMillis(this.pool.options.clock)))
    if (this.pool.isStopping) {
      this.become({ _tag: "Ending", group })
      return this.release(group.claims, left, { failure }, group)
    }
    // An interruption ends the waiting, but nothing else: then another fiber goes on here.
    return left > 0 ? restore(this.pool.pause(left)) : this.handle(group, restore)
  }

  private isLost({ holder }: Held<A>): boolean {
    return !this.pool.heartbeat.has(holder)
  }

  private fail(failed: Held<A>, cause: Cause.Cause<unknown>, restore: Restore): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      const { clock, inlineDelayMillis, leaseMillis, observer, retry, store } = this.pool.options
      this.become({ _tag: "Ending", group: failed })
      yield* Effect.ignore(Effect.sandbox(restore(observer.processFailed(cause, failed.batch))))
      const { error, indexes } = failureOf(cause, failed.batch.items.length)
      const group = indexes === undefined ? failed : yield* this.keepFailed(failed, indexes)
      if (group === undefined) return
      const { batch } = group
      const nowMillis = clock.unsafeCurrentTimeMillis()
      const failedAtMillis = Math.min(group.failedAtMillis, nowMillis)
      const step = yield* Effect.catchAllCause(
        nextStep(retry, {
          attempts: batch.attempt - 1,
          firstAtMillis: failedAtMillis,
          nowMillis,
          error,
          state: group.scheduleState
        }),
        // A schedule of the user may die: then there is no retry, and the reason is told.
        (death) =>
          Effect.as(observer.failed("retry", Cause.sequential(cause, death)), {
            delayMillis: undefined,
            state: undefined
          })
      )
      const failure = { attempts: batch.attempt, failedAtMillis, error: textOf(cause) }
      const { delayMillis } = step
      if (delayMillis === undefined || delayMillis > inlineDelayMillis) {
        return yield* this.putBack(group, delayMillis, failure, cause)
      }
      observer.retried(this.index, batch, delayMillis, cause)
      const isHeld = yield* this.persist("extend", group, store.extend(group.claims, { leaseMillis, failure }))
      if (!isHeld) return
      const again = {
        ...group,
        batch: { ...batch, attempt: batch.attempt + 1 },
        failedAtMillis,
        scheduleState: step.state
      }
      this.become({ _tag: "Retrying", group: again, failure, dueAt: monotonicMillis(clock) + delayMillis })
    })
  }

  /** Settles what a partial failure left out. Answers what is left to be retried. */
  private keepFailed(group: Held<A>, indexes: ReadonlyArray<number>): Effect.Effect<Held<A> | undefined> {
    return Effect.gen(this, function*() {
      const { batch, claims } = group
      const { observer, store } = this.pool.options
      const items = indexes.map((index) => batch.items[index])
      if (!Arr.isNonEmptyReadonlyArray(items)) {
        this.become({ _tag: "Done", group, durationMillis: 0 })
        return undefined
      }
      if (items.length === batch.items.length) return group
      const remainder = this.encodeRest(batch, items)
      // The handler has changed its items so that they cannot be stored, or the user's format throws: the batch is
      // retried as it was.
      if (remainder === undefined) return group
      let oldest: Claim | undefined
      const replace = Effect.map(store.replace(claims, remainder), (claim) => {
        oldest = claim
      })
      if (!(yield* this.persist("replace", group, replace)) || oldest === undefined) return undefined
      const { sequence, token } = oldest
      const deliveries = claims.find((claim) => claim.sequence === sequence)?.deliveries ?? 1
      const left = [{ sequence, token, items: items.length, deliveries }] as const
      const done = batch.items.length - items.length
      observer.settled(this.index, done, group.stored - batch.items.length, batch, 0)
      observer.room()
      const rest: Held<A> = {
        ...group,
        claims: left,
        batch: { ...batch, items },
        stored: items.length,
        holder: this.holderOf(left)
      }
      this.pool.heartbeat.remove(group.holder)
      this.pool.heartbeat.add(rest.holder)
      this.become({ _tag: "Ending", group: rest })
      return rest
    })
  }

  /** The batch with these of its items alone, where they can be stored. */
  private encodeRest(batch: Batch<A>, items: ReadonlyArray<A>): NewBatch | undefined {
    const { codec } = this.pool.options
    const encoded = Either.all(items.map((item) => codec.encodeItem(item)))
    if (Either.isLeft(encoded)) return undefined
    const envelope = { trigger: batch.trigger, openedAtMillis: batch.openedAt }
    try {
      const payload = codec.encodeBatch(encoded.right.map(({ value }) => value), envelope)
      return { payload, items: items.length, oldestAtMillis: batch.oldestAt }
    } catch {
      return undefined
    }
  }

  /** Puts batches back that have failed, or sets those aside that have been delivered often enough. */
  private putBack(
    { batch, claims, ...group }: Held<A>,
    delayMillis: number | undefined,
    failure: Failure,
    cause: Cause.Cause<unknown>
  ): Effect.Effect<void> {
    const { cooldownMillis, maxDeliveries, observer } = this.pool.options
    const whole = { ...group, batch, claims }
    const [others, exhausted] = Arr.partition(claims, ({ deliveries }) => deliveries >= maxDeliveries)
    const asides = exhausted.map((claim) => this.setAside(claim, "deliveries-exhausted", failure))
    const pause = delayMillis ?? cooldownMillis
    if (others.length > 0) observer.retried(this.index, batch, pause, cause)
    // After its schedule has ended, and the cooldown, a batch begins anew.
    const remembered = delayMillis === undefined ? { ...failure, attempts: 0, failedAtMillis: 0 } : failure
    const released = others.length === 0
      ? Effect.void
      : this.release(others, pause, { failure: remembered }, whole)
    return Effect.zipRight(
      Effect.all([...asides, released], { discard: true }),
      Effect.sync(() => this.letGo(whole))
    )
  }

  private letGo(group: Held<A>): void {
    this.pool.heartbeat.remove(group.holder)
    if (this.state._tag !== "Ended") this.become(free)
  }

  // --- ending -------------------------------------------------------------------------------------------------------

  private settle(group: Held<A>, durationMillis: number): Effect.Effect<void> {
    const { store } = this.pool.options
    let lost: ReadonlyArray<number> = []
    // Of a group that is lost in part the others are settled all the same.
    const settle = Effect.catchTag(store.settle(group.claims), "LeaseLost", ({ sequences }) =>
      Effect.sync(() => {
        lost = sequences
      }))
    return Effect.flatMap(this.persist("settle", group, settle), (isDone) => {
      if (!isDone) return Effect.void
      return this.settled(group, durationMillis, group.claims.filter(({ sequence }) => lost.includes(sequence)))
        ?? Effect.void
    })
  }

  private settledAll(group: Held<A>, durationMillis: number): void {
    const { observer } = this.pool.options
    const size = group.batch.items.length
    this.letGo(group)
    observer.settled(this.index, size, group.stored - size, group.batch, durationMillis)
    observer.room()
  }

  /** The batches are deleted, but for those whose lease was lost: whom to tell of them, if there are any. */
  private settled(
    group: Held<A>,
    durationMillis: number,
    lost: ReadonlyArray<Claim>
  ): Effect.Effect<void> | undefined {
    if (lost.length === 0) {
      this.settledAll(group, durationMillis)
      return undefined
    }
    const { observer } = this.pool.options
    const sequences = lost.map(({ sequence }) => sequence)
    // Of items that were merged across batches nobody can tell which are done.
    const items = group.claims.reduce((sum, claim) => sequences.includes(claim.sequence) ? sum : sum + claim.items, 0)
    this.letGo(group)
    if (items > 0) observer.settled(this.index, items, 0, group.batch, durationMillis)
    observer.room()
    return observer.leaseLost(this.index, sequences)
  }

  private release(
    claims: ReadonlyArray<Claim>,
    delayMillis: number,
    options: { readonly failure?: Failure; readonly giveBack?: boolean },
    group?: Held<A>
  ): Effect.Effect<void> {
    const { clock, observer, store } = this.pool.options
    const release = Effect.suspend(() =>
      store.release(claims, {
        ...options,
        readyAtMillis: delayMillis === 0 ? undefined : clock.unsafeCurrentTimeMillis() + delayMillis
      })
    )
    return Effect.map(this.persist("release", group, release), (isHeld) => {
      if (isHeld) observer.released(this.index, claims, delayMillis)
      if (group !== undefined) this.letGo(group)
      if (delayMillis === 0) this.pool.wake(1)
      else this.pool.lookAgainAt(clock.unsafeCurrentTimeMillis() + delayMillis)
    })
  }

  private setAside(claim: InHand, reason: DeadLetterReason, { attempts, error, failedAtMillis }: Failure) {
    const { observer, store } = this.pool.options
    const failure = { attempts, failedAtMillis, error: error.slice(0, longestError) }
    return Effect.map(
      this.persist("deadLetter", undefined, store.deadLetter([claim], { reason, failure })),
      (isHeld) => {
        if (isHeld) observer.deadLettered(this.index, claim, reason, failure.error)
        observer.room()
      }
    )
  }

  /**
   * Asks the store until it has answered, or the queue has no more time. Answers whether the lease still held; where it
   * did not, the batches are somebody else's.
   */
  private persist(
    operation: Operation,
    group: Held<A> | undefined,
    ask: Effect.Effect<unknown, StoreUnavailable | LeaseLost>
  ): Effect.Effect<boolean> {
    const { observer } = this.pool.options
    return Effect.matchCauseEffect(ask, {
      onSuccess: () => {
        this.failures = 0
        return Effect.succeed(true)
      },
      onFailure: (cause): Effect.Effect<boolean> => {
        const error = Cause.failureOrCause(cause)
        if (Either.isLeft(error) && error.left instanceof LeaseLost) {
          const { sequences } = error.left
          if (group === undefined) return Effect.as(observer.leaseLost(this.index, sequences), false)
          this.letGo(group)
          return Effect.as(
            Effect.zipRight(observer.leaseLost(this.index, sequences), this.releaseOthers(group.claims, sequences)),
            false
          )
        }
        this.failures += 1
        const delayMillis = storeBackoffMillis(this.failures)
        return Effect.flatMap(observer.failed(operation, cause), () => {
          // Their leases will run out.
          if (this.pool.isOver) {
            if (group !== undefined) this.letGo(group)
            return Effect.succeed(false)
          }
          return Effect.zipRight(this.pool.pauseForStore(delayMillis), this.persist(operation, group, ask))
        })
      }
    })
  }
}

/** Somebody else has the batches, or has had them: there is nothing to be done about them any more. */
const isLeaseLost = (cause: Cause.Cause<unknown>): boolean =>
  Cause.isFailType(cause) && cause.error instanceof LeaseLost

/** Why it failed, as text that a store can keep. */
const textOf = (cause: Cause.Cause<unknown>): string => Cause.pretty(cause).slice(0, longestError).replaceAll("\0", "")

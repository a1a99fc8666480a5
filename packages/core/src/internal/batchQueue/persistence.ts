/**
 * The calls of a worker to the store about its claimed batches. It repeats a call until the store has answered, or the
 * queue has no time left; then the leases expire by themselves.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { LeaseLost, type StoreUnavailable } from "../../QueueError.ts"
import type { DeadLetterReason } from "../../QueueEvent.ts"
import type { Claim, ClaimedBatch, Failure, NewBatch, Part, ReleaseOptions } from "../../QueueStore.ts"
import { encodedOf, type Group } from "./group.ts"
import { isSame } from "./heartbeat.ts"
import { storeBackoffMillis } from "./storeBackoff.ts"
import { type Bundle, longestError, type Verdict } from "./verdict.ts"
import type { Operation, Pool } from "./pool.ts"

/** Whether it was done, or which leases were lost; undefined if waiting for the store has ended. */
type Asked<B> = Either.Either<B, ReadonlyArray<Claim>> | undefined

export class Persistence<in out A> {
  private readonly pool: Pool<A>
  private readonly index: number
  /** How many times in a row the store has failed. */
  private failures = 0

  constructor(pool: Pool<A>, index: number) {
    this.pool = pool
    this.index = index
  }

  succeeded(): void {
    this.failures = 0
  }

  /** Answers how many times in a row it has failed by now. */
  failed(): number {
    return this.failures += 1
  }

  // --- done with ----------------------------------------------------------------------------------------------------

  /** Returns which of the leases were lost; the others are settled. Undefined if that is unknown. */
  settle(claims: ReadonlyArray<Claim>): Effect.Effect<ReadonlyArray<Claim> | undefined> {
    if (claims.length === 0) return Effect.succeed(claims)
    return Effect.map(
      this.ask("settle", this.pool.options.store.settle(claims)),
      (asked) => asked && (Either.isLeft(asked) ? asked.left : [])
    )
  }

  release(claims: ReadonlyArray<Claim>, options: ReleaseOptions): Effect.Effect<void> {
    const { clock, observer, store } = this.pool.options
    const { delayMillis = 0, version } = options
    if (claims.length === 0) return Effect.void
    return Effect.flatMap(this.ask("release", store.release(claims, options)), (asked) => {
      if (asked === undefined) return Effect.void
      const lost = Either.isLeft(asked) ? asked.left : []
      const released = claims.filter((claim) => !lost.some((other) => isSame(claim, other)))
      if (released.length > 0) {
        observer.released(this.index, released, delayMillis)
        // A newer version is for others.
        if (delayMillis > 0) this.pool.lookAgainAt(clock.unsafeCurrentTimeMillis() + delayMillis)
        else if (version === undefined) this.pool.wake(1)
      }
      return this.lost(lost)
    })
  }

  deadLetter(claimed: ClaimedBatch, reason: DeadLetterReason, { attempts, failedAtMillis, ...failed }: Failure) {
    const { backlog, observer, store } = this.pool.options
    const error = failed.error.slice(0, longestError)
    const failure = { attempts, failedAtMillis, error }
    return Effect.flatMap(this.ask("deadLetter", store.deadLetter([claimed], { reason, failure })), (asked) => {
      if (asked !== undefined && Either.isRight(asked)) backlog.leave(claimed.items)
      backlog.room()
      if (asked === undefined) return Effect.void
      if (Either.isLeft(asked)) return this.lost(asked.left)
      observer.deadLettered(this.index, claimed.sequence, claimed.items, reason, error)
      return Effect.void
    })
  }

  hold(millis: number): Effect.Effect<void> {
    return Effect.asVoid(this.ask("hold", this.pool.options.store.hold(millis)))
  }

  // --- lost leases --------------------------------------------------------------------------------------------------

  /** This process lives: that it was slow is not to be counted against its batches. */
  lost(claims: ReadonlyArray<Claim>): Effect.Effect<void> {
    if (claims.length === 0) return Effect.void
    const { observer, store } = this.pool.options
    // Once only, because it is not known whether a call that has failed was done.
    const forgiven = Effect.catchAllCause(store.forgive(claims), (cause) => observer.failed("forgive", cause))
    return Effect.zipRight(observer.leaseLost(this.index, claims), forgiven)
  }

  /** Some of the leases were lost, and nothing was done about the others, which are put back. */
  private lostOf(claims: ReadonlyArray<Claim>, lost: ReadonlyArray<Claim>): Effect.Effect<void> {
    const others = claims.filter((claim) => !lost.some((other) => isSame(claim, other)))
    return Effect.zipRight(this.lost(lost), this.releaseOthers(others))
  }

  /** Puts those back at once whose leases still hold: their handler is not going to settle them. */
  releaseOthers(others: ReadonlyArray<Claim>): Effect.Effect<void> {
    if (others.length === 0) return Effect.void
    const { observer, store } = this.pool.options
    return Effect.matchCauseEffect(store.release(others, { giveBack: true }), {
      onSuccess: () =>
        Effect.sync(() => {
          observer.released(this.index, others, 0)
          this.pool.wake(1)
        }),
      // Once only: where the store cannot be used, their leases run out.
      onFailure: (cause) => isLeaseLost(cause) ? Effect.void : observer.failed("release", cause)
    })
  }

  // --- what has failed ----------------------------------------------------------------------------------------------

  /**
   * Puts in place of a group what is left of it. Answers the batch that stays in hand, if one is to be kept and the lease
   * still holds.
   */
  divide(group: Group<A>, verdict: Verdict, kept: Bundle | undefined): Effect.Effect<ClaimedBatch | undefined> {
    const { batch, claims } = group
    const [first] = verdict.bundles
    const isWhole = first !== undefined && first.indexes.length === batch.items.length && verdict.discarded.length === 0
    return isWhole && (claims.length === 1 || first.fate._tag === "Rests")
      ? this.whole(group, first, kept)
      : this.parts(group, verdict, kept)
  }

  /** The same becomes of everything in it: it stays as it is. */
  private whole(group: Group<A>, bundle: Bundle, kept: Bundle | undefined): Effect.Effect<ClaimedBatch | undefined> {
    const { claims, stored } = group
    const { fate } = bundle
    switch (fate._tag) {
      case "Again":
        return kept === undefined ? Effect.succeed(undefined) : this.keepWhole(group, bundle)
      case "Dies":
        return stored === 1
          ? Effect.as(this.deadLetter(claims[0], fate.reason, fate.failure), undefined)
          : this.parts(group, { bundles: [bundle], discarded: [] }, kept)
      case "Rests":
        this.tellRetried(group, bundle)
        return Effect.as(this.release(claims, fate), undefined)
    }
  }

  private keepWhole(group: Group<A>, bundle: Bundle): Effect.Effect<ClaimedBatch | undefined> {
    const { leaseMillis, store } = this.pool.options
    const { fate } = bundle
    if (fate._tag !== "Again") return Effect.succeed(undefined)
    this.tellRetried(group, bundle)
    const { failure } = fate
    return Effect.flatMap(this.ask("extend", store.extend(group.claims, { leaseMillis, failure })), (asked) => {
      if (asked === undefined) return Effect.succeed(undefined)
      return Either.isRight(asked)
        ? Effect.succeed({ ...group.claims[0], ...failure })
        : Effect.as(this.lostOf(group.claims, asked.left), undefined)
    })
  }

  /** What only waits for its time has not failed. */
  private tellRetried({ batch }: Group<A>, { cause, fate, indexes }: Bundle): void {
    if (fate._tag === "Dies" || fate.failure === undefined) return
    this.pool.options.observer.retried(this.index, indexes.length, batch.attempt, fate.delayMillis, cause)
  }

  /** Something else becomes of some of its items than of others. */
  private parts(group: Group<A>, verdict: Verdict, kept: Bundle | undefined): Effect.Effect<ClaimedBatch | undefined> {
    const { bundles } = verdict
    const parts = this.partsOf(group, bundles, kept)
    if (parts === undefined) return Effect.as(this.asItWas(group, bundles), undefined)
    const { store } = this.pool.options
    return Effect.flatMap(this.ask("divide", store.divide(group.claims, parts)), (asked) => {
      if (asked === undefined) return Effect.succeed(undefined)
      if (Either.isLeft(asked)) return Effect.as(this.lostOf(group.claims, asked.left), undefined)
      this.tell(group, verdict, parts, asked.right)
      const index = parts.findIndex(({ becomes }) => becomes._tag === "Kept")
      const part = parts[index]
      if (part?.becomes._tag !== "Kept") return Effect.succeed(undefined)
      const { items, oldestAtMillis, payload } = part
      const [{ deliveries }] = [...group.claims].sort((one, other) => one.sequence - other.sequence)
      return Effect.succeed({
        ...asked.right[index],
        ...part.becomes.failure,
        payload,
        items,
        oldestAtMillis,
        deliveries
      })
    })
  }

  /** What each bundle is in the store; undefined where one cannot be stored. */
  private partsOf(
    group: Group<A>,
    bundles: ReadonlyArray<Bundle>,
    kept: Bundle | undefined
  ): ReadonlyArray<Part> | undefined {
    const { buffer, codec } = this.pool.options
    const { batch, offeredAtMillis } = group
    // Nothing is left of it, whether it could be stored again or not.
    if (bundles.length === 0) return []
    const all = encodedOf(group, bundles.flatMap(({ indexes }) => indexes), codec, buffer)
    if (all === undefined) return undefined
    const parts: Array<Part> = []
    let from = 0
    for (const bundle of bundles) {
      const { fate, indexes } = bundle
      const offered = indexes.map((index) => offeredAtMillis[index])
      const envelope = { trigger: batch.trigger, openedAtMillis: batch.openedAt, offeredAtMillis: offered }
      const oldestAtMillis = offered.reduce((oldest, at) => Math.min(oldest, at), Infinity)
      const values = all.slice(from, from + indexes.length)
      from += indexes.length
      let part: NewBatch
      try {
        part = { payload: codec.encodeBatch(values, envelope), items: indexes.length, oldestAtMillis }
      } catch {
        // The user's format.
        return undefined
      }
      if (fate._tag === "Dies") parts.push({ ...part, becomes: { ...fate, _tag: "Dead" } })
      else if (fate._tag === "Rests") parts.push({ ...part, becomes: { ...fate, _tag: "Released" } })
      else if (bundle === kept) parts.push({ ...part, becomes: { _tag: "Kept", failure: fate.failure } })
    }
    return parts
  }

  /** Its items cannot be stored again, because the user's buffer, schema or format has changed its mind. */
  private asItWas({ batch, claims }: Group<A>, bundles: ReadonlyArray<Bundle>): Effect.Effect<void> {
    const dead = bundles.find(({ fate }) => fate._tag === "Dies")
    if (dead?.fate._tag === "Dies") {
      const { failure, reason } = dead.fate
      return Effect.forEach(claims, (claim) => this.deadLetter(claim, reason, failure), { discard: true })
    }
    const [first] = bundles
    const fate = first?.fate
    if (fate === undefined || fate._tag === "Dies") return this.release(claims, {})
    this.pool.options.observer.retried(this.index, batch.items.length, batch.attempt, fate.delayMillis, first.cause)
    const giveBack = fate._tag === "Rests" && fate.giveBack
    return this.release(claims, { delayMillis: fate.delayMillis, failure: fate.failure, giveBack })
  }

  /** Tells what has become of everything that was in a group. */
  private tell(
    group: Group<A>,
    { bundles, discarded }: Verdict,
    parts: ReadonlyArray<Part>,
    placed: ReadonlyArray<Claim>
  ): void {
    const { batch, stored } = group
    const { backlog, clock, observer } = this.pool.options
    const size = batch.items.length
    const left = bundles.reduce((sum, { indexes }) => sum + indexes.length, discarded.length)
    if (left < size || stored > size) observer.settled(this.index, size - left, stored - size, batch, 0)
    // What had been merged when it was claimed has left as well.
    backlog.leave(stored - left + discarded.length)
    for (const { cause, index } of discarded) observer.discarded(batch.items[index], cause)
    bundles.forEach((bundle, index) => {
      const { fate } = bundle
      const { sequence } = placed[index]
      if (fate._tag === "Dies") {
        backlog.leave(parts[index].items)
        observer.deadLettered(this.index, sequence, parts[index].items, fate.reason, fate.failure.error)
        return
      }
      this.tellRetried(group, bundle)
      if (fate._tag === "Rests") {
        observer.released(this.index, [placed[index]], fate.delayMillis)
        this.pool.lookAgainAt(clock.unsafeCurrentTimeMillis() + fate.delayMillis)
      }
    })
    backlog.room()
  }

  // --- asking -------------------------------------------------------------------------------------------------------

  private ask<B>(
    operation: Operation,
    effect: Effect.Effect<B, StoreUnavailable | LeaseLost>
  ): Effect.Effect<Asked<B>> {
    return Effect.matchCauseEffect(effect, {
      onSuccess: (answer): Effect.Effect<Asked<B>> => {
        this.failures = 0
        return Effect.succeed(Either.right(answer))
      },
      onFailure: (cause): Effect.Effect<Asked<B>> => {
        const error = Cause.failureOrCause(cause)
        if (Either.isLeft(error) && error.left instanceof LeaseLost) {
          return Effect.succeed(Either.left(error.left.claims))
        }
        const delayMillis = storeBackoffMillis(this.failed())
        return Effect.flatMap(this.pool.options.observer.failed(operation, cause), () =>
          this.pool.isOver
            ? Effect.succeed(undefined)
            : Effect.zipRight(this.pool.pauseForStore(delayMillis), this.ask(operation, effect)))
      }
    })
  }
}

/** Somebody else has the batches, or has had them: there is nothing to be done about them any more. */
const isLeaseLost = (cause: Cause.Cause<unknown>): boolean =>
  Cause.isFailType(cause) && cause.error instanceof LeaseLost

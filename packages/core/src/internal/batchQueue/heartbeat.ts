/**
 * Renews the leases of all claimed batches together, for as long as handlers run.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Claim, QueueStore } from "../../QueueStore.ts"
import { Bell } from "../fibers/bell.ts"
import { sleepFor } from "../../unstable/Sleep.ts"
import { forkChild } from "../fibers/forking.ts"

/** Somebody who has batches in hand. */
export interface Holder {
  /** What it has in hand now. */
  readonly claims: ReadonlyArray<Claim>
  /** Some of its leases are lost: another process may have the batches by now. */
  readonly onLost: (lost: ReadonlyArray<Claim>) => Effect.Effect<void>
}

/** Whether two leases are the same: of the same batch, by the same claim. */
export const isSame = (one: Claim, other: Claim): boolean =>
  one.sequence === other.sequence && one.token === other.token

/** How many times a lease is renewed before it would run out. */
const beatsPerLease = 3

export class Heartbeat {
  private readonly store: QueueStore
  private readonly leaseMillis: number
  private readonly now: () => number
  private readonly failed: (operation: "extend", cause: Cause.Cause<unknown>) => Effect.Effect<void>
  /** Since when their leases run at least, by the clock that only grows. */
  private readonly holders = new Map<Holder, number>()
  private readonly bell = new Bell(() => this.holders.size > 0)

  constructor(
    store: QueueStore,
    leaseMillis: number,
    now: () => number,
    failed: (operation: "extend", cause: Cause.Cause<unknown>) => Effect.Effect<void>
  ) {
    this.store = store
    this.leaseMillis = leaseMillis
    this.now = now
    this.failed = failed
  }

  add(holder: Holder): void {
    this.holders.set(holder, this.now())
    this.bell.ring()
  }

  remove(holder: Holder): void {
    this.holders.delete(holder)
  }

  /** Whether it has not been told that its leases are lost. */
  has(holder: Holder): boolean {
    return this.holders.has(holder)
  }

  /**
   * What was not renewed when it should have been, because the store was busy. A claim that has waited as long would take
   * it from those who hold it: here, in this very process.
   */
  readonly overdue = (): ReadonlyArray<Claim> => {
    const latest = this.now() - this.leaseMillis / 2
    const claims: Array<Claim> = []
    for (const [holder, since] of this.holders) if (since <= latest) claims.push(...holder.claims)
    return claims
  }

  /** Beats until it is interrupted, and rests while nothing is held. */
  readonly run: Effect.Effect<never> = Effect.suspend(() =>
    Effect.forever(
      Effect.zipRight(this.bell.wait, Effect.zipRight(sleepFor(this.leaseMillis / beatsPerLease), this.beat))
    )
  )

  private readonly beat: Effect.Effect<void> = Effect.suspend(() => {
    const holders = Array.from(this.holders.keys())
    const claims = holders.flatMap((holder) => holder.claims)
    if (claims.length === 0) return Effect.void
    const askedAt = this.now()
    const renewed = Effect.catchTag(
      this.store.extend(claims, { leaseMillis: this.leaseMillis }),
      "LeaseLost",
      ({ claims }) => this.tell(holders, claims)
    )
    return Effect.matchCauseEffect(renewed, {
      onSuccess: () =>
        Effect.sync(() => {
          for (const holder of holders) if (this.holders.has(holder)) this.holders.set(holder, askedAt)
        }),
      // The next beat may succeed; until then the lease still runs. It does not wait for the user's handlers of errors.
      onFailure: (cause) => Effect.asVoid(forkChild(this.failed("extend", cause)))
    })
  })

  /** Tells those who were asked about: by now somebody else may hold the same batch, under a lease of its own. */
  private tell(holders: ReadonlyArray<Holder>, lost: ReadonlyArray<Claim>): Effect.Effect<void> {
    return Effect.forEach(holders, (holder) => {
      const own = holder.claims.filter((claim) => lost.some((other) => isSame(claim, other)))
      // It may have been settled in the meantime.
      return own.length === 0 || !this.has(holder) ? Effect.void : forkChild(holder.onLost(own))
    }, { discard: true })
  }
}

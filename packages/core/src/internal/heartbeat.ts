/**
 * Renews the leases of everything that is in hand, all of them at once, for as long as handlers run.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Claim, QueueStore } from "../QueueStore.ts"

/**
 * Somebody who has batches in hand.
 * @internal
 */
export interface Holder {
  readonly claims: ReadonlyArray<Claim>
  /** Its leases are lost: somebody else may have the batches by now. */
  readonly onLost: (sequences: ReadonlyArray<number>) => Effect.Effect<void>
}

/** How many times a lease is renewed before it would run out. */
const beatsPerLease = 3

/** @internal */
export class Heartbeat {
  private readonly store: QueueStore
  private readonly leaseMillis: number
  private readonly failed: (operation: "extend", cause: Cause.Cause<unknown>) => Effect.Effect<void>
  private readonly holders = new Set<Holder>()
  private wake: (() => void) | undefined

  constructor(
    store: QueueStore,
    leaseMillis: number,
    failed: (operation: "extend", cause: Cause.Cause<unknown>) => Effect.Effect<void>
  ) {
    this.store = store
    this.leaseMillis = leaseMillis
    this.failed = failed
  }

  add(holder: Holder): void {
    this.holders.add(holder)
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  remove(holder: Holder): void {
    this.holders.delete(holder)
  }

  /** Whether it has not been told that its leases are lost. */
  has(holder: Holder): boolean {
    return this.holders.has(holder)
  }

  /** Beats until it is interrupted, and rests while nobody holds anything. */
  readonly run: Effect.Effect<never> = Effect.suspend(() =>
    Effect.forever(
      Effect.zipRight(this.whenHeld, Effect.zipRight(Effect.sleep(this.leaseMillis / beatsPerLease), this.beat))
    )
  )

  private readonly whenHeld: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (this.holders.size > 0) return resume(Effect.void)
    this.wake = () => resume(Effect.void)
  })

  private readonly beat: Effect.Effect<void> = Effect.suspend(() => {
    const holders = Array.from(this.holders)
    const claims = holders.flatMap((holder) => holder.claims)
    if (claims.length === 0) return Effect.void
    return Effect.catchAllCause(
      Effect.catchTag(
        this.store.extend(claims, { leaseMillis: this.leaseMillis }),
        "LeaseLost",
        ({ sequences }) => this.tell(holders, new Set(sequences))
      ),
      // The next beat may succeed; until then the lease still runs.
      (cause) => this.failed("extend", cause)
    )
  })

  /** Tells those who were asked about: by now somebody else may hold the same batch, under a lease of its own. */
  private tell(holders: ReadonlyArray<Holder>, lost: ReadonlySet<number>): Effect.Effect<void> {
    return Effect.forEach(holders, (holder) => {
      const sequences = holder.claims.map(({ sequence }) => sequence).filter((sequence) => lost.has(sequence))
      // It may have been settled in the meantime.
      return sequences.length === 0 || !this.has(holder) ? Effect.void : holder.onLost(sequences)
    }, { discard: true })
  }
}

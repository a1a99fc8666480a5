/**
 * The unfinished claims of a worker, under one holder of leases.
 */
import type * as Effect from "effect/Effect"
import type { Claim, Turn } from "../../QueueStore.ts"
import type { Readable } from "./group.ts"
import { type Holder, isSame } from "./heartbeat.ts"

export class Hand<in out A> implements Holder {
  claims: ReadonlyArray<Claim>
  /** Batches that are to be tried one by one, after the one that is being handled. */
  others: ReadonlyArray<Readable<A>> = []
  /** Whether the handler has been called for any of it. */
  isTried = false
  /** For how much longer it may wait itself, before it tries something again. */
  inlineLeft: number
  /** How many times it has stayed in hand after a failure. */
  kept = 0
  /** Of which kind they were when they were claimed. */
  readonly turn: Turn
  readonly onLost: (lost: ReadonlyArray<Claim>) => Effect.Effect<void>

  constructor(
    claims: ReadonlyArray<Claim>,
    turn: Turn,
    inlineMillis: number,
    onLost: (hand: Hand<A>, lost: ReadonlyArray<Claim>) => Effect.Effect<void>
  ) {
    this.claims = claims
    this.turn = turn
    this.inlineLeft = inlineMillis
    this.onLost = (lost) => onLost(this, lost)
  }

  holds(claims: ReadonlyArray<Claim>): boolean {
    // As it was claimed: there may be very many.
    return claims === this.claims || claims.every((claim) => this.claims.some((held) => isSame(claim, held)))
  }

  /** What is left of them is held by another claim. */
  replace(claims: ReadonlyArray<Claim>, claim: Claim): void {
    if (!this.holds(claims)) return
    this.drop(claims)
    this.claims = [...this.claims, claim]
  }

  /** They are done with, or lost. */
  drop(claims: ReadonlyArray<Claim>): void {
    if (claims === this.claims) {
      this.claims = []
      this.others = []
      return
    }
    const isLeft = (claim: Claim) => !claims.some((other) => isSame(claim, other))
    this.claims = this.claims.filter(isLeft)
    this.others = this.others.filter(({ claimed }) => isLeft(claimed))
  }
}

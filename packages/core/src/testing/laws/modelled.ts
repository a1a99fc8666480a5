/**
 * Batches, claims and ids, as the model has them.
 */
import type { Claim, Failure, NewBatch } from "../../BatchStore.ts"

export const noFailure: Failure = { attempts: 0, failedAtMillis: 0, error: "" }

/** A batch as the model has it. Their order is that of their places. */
export interface Modelled {
  batch: NewBatch
  state: "fresh" | "leased" | "returned" | "dead" | "gone"
  /** When it comes back, where it is leased or does so anyway, and how long before that this was said. */
  until: number
  span: number
  version: number | undefined
  sequence: number
  token: number
  deliveries: number
  failure: Failure
  reason: string
  diedAt: number
}

/** A claim that was made once. */
export interface Made {
  readonly modelled: Modelled
  readonly claim: Claim
  /** Whether its claimant has acted on it, or its delivery no longer counts. */
  isOver: boolean
}

export const letterOf = (
  { batch: { items, oldestAtMillis }, deliveries, diedAt, failure, reason, sequence }: Modelled
) => {
  const { attempts, error } = failure
  return { id: sequence, items, oldestAtMillis, reason, error, attempts, deliveries, diedAtMillis: diedAt }
}

/** An id. Where the clock was set back, it may be remembered for longer than it must. */
interface Remembered {
  at: number
  isClipped: boolean
  isUnsure: boolean
}

export class ModelledIds {
  private readonly windowMillis: number
  private readonly ids = new Map<string, Remembered>()

  constructor(windowMillis: number) {
    this.windowMillis = windowMillis
  }

  remember(ids: ReadonlyArray<string>, now: number): void {
    for (const id of ids) this.ids.set(id, { at: now, isClipped: false, isUnsure: false })
  }

  isKnown(id: string, now: number): boolean {
    return (this.ids.get(id)?.at ?? -Infinity) > now - this.windowMillis
  }

  /** Whether the store may remember it, and may have forgotten it. */
  isUnsure(id: string, now: number): boolean {
    const remembered = this.ids.get(id)
    return remembered !== undefined && (remembered.isUnsure || remembered.isClipped && !this.isKnown(id, now))
  }

  setBack(from: number, to: number): void {
    for (const [id, remembered] of this.ids) {
      remembered.isUnsure ||= !this.isKnown(id, from)
      remembered.isClipped ||= remembered.at > to
      remembered.at = Math.min(remembered.at, to)
    }
  }
}

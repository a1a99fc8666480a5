/**
 * Decides whose turn it is at a claim, so that failing batches neither block others nor starve.
 *
 * Returned batches get a turn only while they have had no more claims than fresh ones, and at most half as much of the
 * workers' time. So fresh batches get two thirds of the time, however much fails and however long that takes. The time
 * that a worker waits before its own retry counts as well, and so does the time of claiming and settling.
 */
import type { Turn } from "../../QueueStore.ts"

/** How much more time what is fresh gets than what comes back, where both are there. */
const shareOfFresh = 2

/** What one kind has had so far. */
interface Share {
  claims: number
  millis: number
}

/** A worker that is busy with something of one kind. */
export interface Busy {
  readonly turn: Turn
  readonly since: number
}

export class Turns {
  private readonly now: () => number
  /** How much more time than what is fresh the rest may take for waiting. */
  private readonly slackMillis: number
  private fresh: Share = { claims: 0, millis: 0 }
  private returned: Share = { claims: 0, millis: 0 }
  private readonly busy = new Set<Busy>()

  constructor(now: () => number, slackMillis: number) {
    this.now = now
    this.slackMillis = slackMillis
  }

  /** Which kind is to be asked for at the next claim. */
  get next(): Turn {
    const { fresh, returned } = this
    const isBehind = returned.claims < fresh.claims
      && shareOfFresh * this.millisOf("returned") <= this.millisOf("fresh")
    return isBehind ? "returned" : "fresh"
  }

  /** Something of a kind was claimed, where another may have been asked for. */
  claimed(asked: Turn, got: Turn): void {
    if (asked === "fresh" && got === "returned") {
      // Nothing is fresh, so nothing has to wait.
      this.reset()
    } else if (asked === "returned" && got === "fresh") {
      // Nothing comes back now: its turn is over, and what it saved up meanwhile would be many turns in a row.
      this.fresh.claims = this.returned.claims
      this.fresh.millis = Math.min(this.fresh.millis, this.returned.millis)
      return
    }
    this[got].claims += 1
  }

  /** Nothing could be claimed, so nothing has to wait. */
  reset(): void {
    this.fresh = { claims: 0, millis: 0 }
    this.returned = { claims: 0, millis: 0 }
  }

  /** Whether a worker may itself wait for this long, and then continue with a failed batch. */
  mayWait(millis: number): boolean {
    return this.millisOf("returned") + millis <= this.millisOf("fresh") + this.slackMillis
  }

  /** A worker is busy with something of a kind from this moment on, until it says that it is not. */
  begin(turn: Turn, since: number): Busy {
    const busy = { turn, since }
    this.busy.add(busy)
    return busy
  }

  end(busy: Busy, at: number): void {
    if (this.busy.delete(busy)) this[busy.turn].millis += at - busy.since
  }

  private millisOf(turn: Turn): number {
    let { millis } = this[turn]
    if (this.busy.size === 0) return millis
    const now = this.now()
    for (const busy of this.busy) if (busy.turn === turn) millis += now - busy.since
    return millis
  }
}

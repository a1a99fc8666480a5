/**
 * Reports a repeated cause once, and later how often it repeated, so that a destination that is down does not fill the
 * log.
 */
import type * as Cause from "effect/Cause"
import { prettyOf } from "../fibers/failure.ts"

/** How long a cause is not told again, in milliseconds. */
const quietMillis = 60_000

/** How many causes are told apart. */
const mostCauses = 100

interface Told {
  since: number
  /** How often it came back since then. */
  repeats: number
}

export class Repeats {
  private readonly now: () => number
  private readonly told = new Map<string, Told>()

  constructor(now: () => number) {
    this.now = now
  }

  /**
   * Notes a cause. Answers how often it came back since it was last told, where it is to be told now; undefined where it
   * is not.
   */
  note(about: string, cause: Cause.Cause<unknown>): number | undefined {
    const key = `${about}\n${prettyOf(cause).slice(0, 1000)}`
    const now = this.now()
    const told = this.told.get(key)
    if (told === undefined) {
      // The one that is forgotten would be told as if it were new.
      if (this.told.size >= mostCauses) this.told.delete(this.told.keys().next().value!)
      this.told.set(key, { since: now, repeats: 0 })
      return 0
    }
    told.repeats += 1
    if (now - told.since < quietMillis) return undefined
    const { repeats } = told
    told.since = now
    told.repeats = 0
    return repeats
  }
}

/**
 * The idempotency keys of a queue: how many items of a request are in, and what they are. Oldest first, at most so many,
 * each for a while.
 */
import * as Effect from "effect/Effect"

/** Items of a request that follow one another. */
export interface Span {
  /** That of the first of them in the request. */
  readonly position: number
  /** How many they are. */
  readonly size: number
  /** The fingerprint of the items of the request before a position, as far as these go. */
  readonly printAt: (position: number) => string
  /** Whether the request is known to have no more of them. */
  readonly isLast: boolean
}

interface Remembered {
  /** How many of the items of the request are in, from the first on. */
  readonly taken: number
  /** How many of them are in, or may be: whoever waited for that is gone. */
  readonly offered: number
  /** The fingerprint of those that were offered. */
  readonly print: string
  /** Whether the request had no more. */
  readonly isComplete: boolean
  readonly untilMillis: number
}

/** Those who take, or wait to take, items under one key. */
interface Turn {
  readonly semaphore: Effect.Semaphore
  users: number
}

export class RememberedKeys {
  private readonly keys = new Map<string, Remembered>()
  private readonly turns = new Map<string, Turn>()
  private readonly limit: number
  private readonly windowMillis: number

  constructor(limit: number, windowMillis: number) {
    this.limit = limit
    this.windowMillis = windowMillis
  }

  private find(key: string, nowMillis: number): Remembered | undefined {
    const remembered = this.keys.get(key)
    return remembered === undefined || remembered.untilMillis <= nowMillis ? undefined : remembered
  }

  /** How many items of the request with this key are in already. */
  taken(key: string, nowMillis: number): number {
    return this.find(key, nowMillis)?.taken ?? 0
  }

  /** Whether these items are of another body than the one that has the key, as far as they tell. */
  isOther(key: string, { isLast, position, printAt, size }: Span, nowMillis: number): boolean {
    const known = this.find(key, nowMillis)
    if (known === undefined) return false
    const end = position + size
    if (known.offered > end) return isLast
    if (known.offered >= position && printAt(known.offered) !== known.print) return true
    return known.isComplete && end > known.offered
  }

  /** Whether as many are in, of a body that only what comes next can tell from this one. */
  isBehind(key: string, { position, size }: Span, nowMillis: number): boolean {
    const { offered, taken } = this.find(key, nowMillis) ?? { offered: 0, taken: 0 }
    const end = position + size
    return end <= taken && end < offered
  }

  /** The items of a request are in up to the end of this span, or may be, if there were not more before. */
  remember(key: string, { isLast, position, printAt, size }: Span, isSure: boolean, nowMillis: number): void {
    const before = this.find(key, nowMillis)
    const end = position + size
    const taken = Math.max(before?.taken ?? 0, isSure ? end : 0)
    const remembered = before !== undefined && before.offered > end
      ? before
      : { offered: end, print: printAt(end), isComplete: isLast || before?.offered === end && before.isComplete }
    // The newest are at the end.
    this.keys.delete(key)
    this.keys.set(key, { ...remembered, taken, untilMillis: nowMillis + this.windowMillis })
    for (const [oldest, { untilMillis }] of this.keys) {
      if (this.keys.size <= this.limit && untilMillis > nowMillis) return
      this.keys.delete(oldest)
    }
  }

  /** One request of a key after another: what the first has not got in yet, the second must not take for being in. */
  alone<A, E>(key: string, take: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        let turn = this.turns.get(key)
        if (turn === undefined) this.turns.set(key, turn = { semaphore: Effect.unsafeMakeSemaphore(1), users: 0 })
        turn.users += 1
        return turn
      }),
      ({ semaphore }) => semaphore.withPermits(1)(take),
      (turn) =>
        Effect.sync(() => {
          turn.users -= 1
          if (turn.users === 0) this.turns.delete(key)
        })
    )
  }
}

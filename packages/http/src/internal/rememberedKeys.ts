/**
 * The idempotency keys of a queue that keeps its items in memory: how many items of a request are in. Oldest first, at
 * most so many, each for a while.
 */
import * as Effect from "effect/Effect"

interface Remembered {
  /** How many of the items of the request are in, from the first on. */
  readonly taken: number
  readonly untilMillis: number
}

/** Those who take, or wait to take, items under one key. */
interface Turn {
  readonly semaphore: Effect.Semaphore
  users: number
}

/** @internal */
export class RememberedKeys {
  private readonly keys = new Map<string, Remembered>()
  private readonly turns = new Map<string, Turn>()
  private readonly limit: number
  private readonly windowMillis: number

  constructor(limit: number, windowMillis: number) {
    this.limit = limit
    this.windowMillis = windowMillis
  }

  /** How many items of the request with this key are in already. */
  taken(key: string, nowMillis: number): number {
    const remembered = this.keys.get(key)
    return remembered === undefined || remembered.untilMillis <= nowMillis ? 0 : remembered.taken
  }

  /** So many are in now, if there were not more before. */
  remember(key: string, taken: number, nowMillis: number): void {
    const most = Math.max(taken, this.taken(key, nowMillis))
    // The newest are at the end.
    this.keys.delete(key)
    this.keys.set(key, { taken: most, untilMillis: nowMillis + this.windowMillis })
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

/**
 * The idempotency keys of a queue that keeps its items in memory: how many items of a request are in. Oldest first, at
 * most so many, each for a while.
 */

interface Remembered {
  /** How many of the items of the request are in, from the first on. */
  readonly taken: number
  readonly untilMillis: number
}

/** @internal */
export class RememberedKeys {
  private readonly keys = new Map<string, Remembered>()
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

  /** To be called in the step in which the items are taken, so that no other request of the key comes in between. */
  remember(key: string, taken: number, nowMillis: number): void {
    // The newest are at the end.
    this.keys.delete(key)
    this.keys.set(key, { taken, untilMillis: nowMillis + this.windowMillis })
    for (const [oldest, { untilMillis }] of this.keys) {
      if (this.keys.size <= this.limit && untilMillis > nowMillis) return
      this.keys.delete(oldest)
    }
  }
}

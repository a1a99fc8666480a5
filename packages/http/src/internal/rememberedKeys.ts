/**
 * The idempotency keys of a queue: how many items of a request were accepted, and their fingerprint. Oldest first,
 * bounded in number and in time.
 */
import { Chain, type Link } from "@sluice/core/unstable/Chain"
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

/** A request with a key, in the line of those that are remembered. */
class Remembered implements Link<Remembered> {
  previous: Remembered | undefined = undefined
  next: Remembered | undefined = undefined
  readonly key: string
  /** How many of the items of the request are in, from the first on. */
  taken = 0
  /** How many of them were accepted, or may have been: the client has disconnected. */
  offered = 0
  /** The fingerprint of those that were offered. */
  print = ""
  /** Whether the request had no more. */
  isComplete = false
  untilMillis = 0

  constructor(key: string) {
    this.key = key
  }
}

/** Those who take, or wait to take, items under one key. */
interface Turn {
  readonly semaphore: Effect.Semaphore
  users: number
}

export class RememberedKeys {
  private readonly keys = new Map<string, Remembered>()
  /** In the order in which they are forgotten. A `Map` whose oldest are deleted gets slower at finding the next. */
  private readonly line = new Chain<Remembered>()
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
    const remembered = this.find(key, nowMillis) ?? this.add(key)
    const end = position + size
    if (isSure) remembered.taken = Math.max(remembered.taken, end)
    if (remembered.offered <= end) {
      remembered.isComplete = isLast || remembered.offered === end && remembered.isComplete
      remembered.offered = end
      remembered.print = printAt(end)
    }
    remembered.untilMillis = nowMillis + this.windowMillis
    this.line.remove(remembered)
    this.line.push(remembered)
    this.forget(nowMillis)
  }

  private add(key: string): Remembered {
    const over = this.keys.get(key)
    if (over !== undefined) this.line.remove(over)
    const added = new Remembered(key)
    this.keys.set(key, added)
    this.line.push(added)
    return added
  }

  /** Those whose time is over, and the oldest of too many. */
  private forget(nowMillis: number): void {
    const { keys, line } = this
    for (let oldest = line.first; oldest !== undefined; oldest = line.first) {
      if (line.size <= this.limit && oldest.untilMillis > nowMillis) return
      line.remove(oldest)
      keys.delete(oldest.key)
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

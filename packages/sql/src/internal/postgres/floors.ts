/**
 * Where the scans of an index begin.
 *
 * For as long as anybody has a transaction open, PostgreSQL keeps the index entries of everything that was claimed and
 * settled since, and they are at the head of each index. So each process remembers, for each queue, below which place it
 * has found nothing, and begins there.
 *
 * Something may come to be below that all the same: an append that commits after one with a higher place, the lease of a
 * process that leases for less time, or a claim that is rolled back. So what was found counts only after a while, and a
 * scan begins at the head of the index again now and then.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { numberOf } from "./rows.ts"

/** After how long what was found counts: longer than most transactions that append. */
const lagMillis = 100

/** How often at most a scan begins at the head. */
const leastMillis = 1000

/** How far behind ours the clocks are of those who let something rest, without that being found late. */
const skewMillis = 1000

/** How much of the time such scans may take: this part of it. */
const part = 50

/** Decides when to scan from the head. */
export class Wholes {
  private last = -Infinity
  private every = leastMillis

  isDue(now: number): boolean {
    if (now < this.last) this.last = now
    return now - this.last >= this.every
  }

  /** Runs a scan from the head, and measures it: the longer it takes, the longer until the next. */
  run<A, E>(now: number, scan: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.flatMap(
      Clock.currentTimeNanos,
      (begin) =>
        Effect.flatMap(scan, (answer) =>
          Effect.map(Clock.currentTimeNanos, (end) => {
            this.last = now
            this.every = Math.max(leastMillis, part * Number(end - begin) / 1e6)
            return answer
          }))
    )
  }
}

/** The place below which a process has found nothing. */
export class Floor {
  private place = 0
  /** What will count next, and since when it is known. */
  private next = 0
  private nextSince = -Infinity
  private readonly wholes = new Wholes()

  /** Where to begin. Other scans begin there too, also if this one is to begin at the head. */
  get from(): number {
    return this.place
  }

  /** Runs a scan that begins where it is told. */
  scan<A, E>(now: number, run: (from: number) => Effect.Effect<A, E>): Effect.Effect<A, E> {
    return this.wholes.isDue(now) ? this.wholes.run(now, run(0)) : run(this.place)
  }

  /** Below this place there is nothing. */
  found(place: number, now: number): void {
    this.lower(place)
    if (now >= this.nextSince && now - this.nextSince < lagMillis) return
    this.place = this.next
    this.next = place
    this.nextSince = now
  }

  /** There is something at this place. */
  lower(place: number): void {
    this.place = Math.min(this.place, place)
    this.next = Math.min(this.next, place)
  }
}

/** The floors of a queue. */
export class Floors {
  /** By place, of what was never claimed. */
  readonly ready = new Floor()
  /** The last place that was given to a batch, some time ago. */
  private lastPlace = 0
  /** By due time, of what is leased. */
  readonly leased = new Floor()
  /** By due time, of what rests. */
  readonly resting = new Floor()
  /** By time, of the ids that are remembered. */
  readonly ids = new Floor()

  /** Scans what was never claimed. A row tells the first place that it has found, if any. */
  scanReady<E>(
    now: number,
    run: (from: number) => Effect.Effect<ReadonlyArray<any>, E>
  ): Effect.Effect<ReadonlyArray<any>, E> {
    const { lastPlace, ready } = this
    return Effect.map(ready.scan(now, run), (rows) => {
      // If there is nothing, that is true of all places that had been given before.
      ready.found(numberOf(rows[0]?.ready_seq) ?? Math.max(lastPlace, ready.from), now)
      return rows
    })
  }

  /**
   * Scans what comes back. The row tells the first due times that it has found, and the last place. If nothing is
   * leased, leases that come to be end `until` or later.
   */
  scanReturns<E>(
    now: number,
    until: number,
    run: (leasedFrom: number, restingFrom: number) => Effect.Effect<ReadonlyArray<any>, E>
  ): Effect.Effect<ReadonlyArray<any>, E> {
    const { leased, resting } = this
    const rows = leased.scan(now, (leasedFrom) => resting.scan(now, (restingFrom) => run(leasedFrom, restingFrom)))
    return Effect.map(rows, (rows) => {
      const [row] = rows
      this.lastPlace = Number(row.last_place)
      leased.found(numberOf(row.leased_ms) ?? Math.max(until, leased.from), now)
      // What is put to rest is due now at the earliest, by some clock.
      resting.found(Math.min(numberOf(row.resting_ms) ?? Infinity, now - skewMillis), now)
      return rows
    })
  }
}

/** Something for each queue. */
export const perQueue = <A>(make: () => A): (queueId: number) => A => {
  const all = new Map<number, A>()
  return (queueId) => {
    const found = all.get(queueId)
    if (found !== undefined) return found
    const made = make()
    all.set(queueId, made)
    return made
  }
}

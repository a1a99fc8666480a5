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

/** After how long what was found counts: longer than most transactions that append. */
const lagMillis = 100

/** How often at most a scan begins at the head. */
const leastMillis = 1000

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
  /** By due time, of what is leased. */
  readonly leased = new Floor()
  /** By due time, of what rests. */
  readonly resting = new Floor()
  /** By time, of the ids that are remembered. */
  readonly ids = new Floor()
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

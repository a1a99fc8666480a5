/**
 * Breaks for timers and I/O in loops that may run for long without waiting.
 *
 * A break is due when the event loop owes a turn: one was asked for, and has not come for `everyMillis`. A loop that
 * was parked meanwhile, or that waits in between, has had its turns and takes no break.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { everyMillis, Macrotask } from "../../unstable/Macrotask.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"
import { park } from "./parking.ts"

/** Of one loop, or of several that share their time. */
export class Breaks {
  private readonly clock: Clock.Clock
  private readonly macrotask: (task: () => void) => void
  /** When the turn was asked for that has not come yet. */
  private askedAt: number | undefined
  /** Those in a break. */
  private resting: Array<() => void> = []

  constructor(clock: Clock.Clock, macrotask: (task: () => void) => void) {
    this.clock = clock
    this.macrotask = macrotask
  }

  /** The clock on the wall, which is cheap to read. Where it jumps, there is a break more, or one comes later. */
  look(): number {
    return this.clock.unsafeCurrentTimeMillis()
  }

  /** Milliseconds that only ever grow. */
  get now(): number {
    return monotonicMillis(this.clock)
  }

  get isDue(): boolean {
    return this.isDueAt(this.look())
  }

  isDueAt(now: number): boolean {
    if (this.askedAt !== undefined) return Math.abs(now - this.askedAt) >= everyMillis
    this.ask(now)
    return false
  }

  private ask(now: number): void {
    this.askedAt = now
    this.macrotask(this.onTurn)
  }

  private readonly onTurn = (): void => {
    this.askedAt = undefined
    this.endAll()
  }

  private endAll(): void {
    for (const goOn of this.resting.splice(0)) goOn()
  }

  /** Ends breaks early: what goes on has as much time again. */
  cutShort(): void {
    if (this.resting.length === 0) return
    this.askedAt = this.look()
    this.endAll()
  }

  /** Waits until timers and I/O have had their turn. */
  readonly take: Effect.Effect<void> = park<void>((resume) => {
    this.resting.push(() => resume(Effect.void))
    if (this.askedAt === undefined) this.ask(this.look())
  })

  /** For the steps of one call. This many steps are fast enough to skip a look at the clock. */
  stretches(free: number): Stretches {
    // Of this call alone: what was done before it is none of its affair.
    return new Stretches(() => new Breaks(this.clock, this.macrotask), free)
  }

  readonly whenDue: Effect.Effect<void> = Effect.suspend(() => this.isDue ? this.take : Effect.void)
}

/** By the clock of the fiber. */
export const makeBreaks: Effect.Effect<Breaks> = Effect.gen(function*() {
  return new Breaks(yield* Effect.clock, yield* Macrotask)
})

/**
 * Looks at the clock now and then, because looking costs as much as a quick step: seldom where steps are quick, at each
 * of them where they are slow.
 */
export class Pace {
  private readonly breaks: Breaks
  private readonly most: number
  /** How many steps there are from one look to the next, and how many are left. */
  private every = 1
  private left = 1
  private lookedAt: number

  constructor(breaks: Breaks, most: number) {
    this.breaks = breaks
    this.most = most
    this.lookedAt = breaks.look()
  }

  /** To be asked at each step: whether a break is due. */
  step(): boolean {
    this.left -= 1
    if (this.left > 0) return false
    const now = this.breaks.look()
    this.every = now - this.lookedAt < everyMillis / 2
      ? Math.min(this.most, this.every * 2)
      : Math.max(1, this.every >> 2)
    this.left = this.every
    this.lookedAt = now
    return this.breaks.isDueAt(now)
  }
}

/** The steps of one call, which is cut into stretches where it takes long: others get their turn in between. */
export class Stretches {
  private readonly makeBreaks: () => Breaks
  private free: number
  private breaks: Breaks | undefined
  private pace: Pace | undefined

  /** See `Breaks.stretches`. */
  constructor(makeBreaks: () => Breaks, free: number) {
    this.makeBreaks = makeBreaks
    this.free = free
  }

  /** To be asked before each step: what to wait for first, if there is anything. */
  next(): Effect.Effect<void> | undefined {
    if (this.free > 0) {
      this.free -= 1
      return undefined
    }
    this.breaks ??= this.makeBreaks()
    this.pace ??= new Pace(this.breaks, mostStepsBetweenLooks)
    return this.pace.step() ? this.breaks.take : undefined
  }
}

/** The number of steps of a call between looks at the clock. */
const mostStepsBetweenLooks = 1024

/** Does a step for each of many, in order, until one answers false. */
export const inStretches = <A>(
  items: Iterable<A>,
  stretches: Pick<Stretches, "next">,
  step: (item: A, index: number) => boolean | void
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const iterator = items[Symbol.iterator]()
    let index = 0
    const goOn = (): Effect.Effect<void> => {
      for (let next = iterator.next(); !next.done; next = iterator.next()) {
        const { value } = next
        if (step(value, index) === false) return Effect.void
        index += 1
        const due = stretches.next()
        if (due !== undefined) return Effect.flatMap(due, goOn)
      }
      return Effect.void
    }
    return goOn()
  })

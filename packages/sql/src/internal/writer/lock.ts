/**
 * A lock that is handed over first come, first served. Effect's semaphore wakes a waiter, but lets a newcomer take the
 * permit meanwhile.
 *
 * It has two lines. Callers in the first line go before all callers in the other.
 */
import { park } from "@sluice/core/unstable/Fibers"
import * as Effect from "effect/Effect"

/** Somebody who waits, or has waited. */
export class Waiter {
  /** Whether it goes before those who do not. */
  readonly first: boolean
  state: "outside" | "waiting" | "granted" | "turned-away" = "outside"
  resume: (() => void) | undefined = undefined

  constructor(first = false) {
    this.first = first
  }
}

export class Lock<W extends Waiter = Waiter> {
  private held = false
  /** Made when somebody has to wait: most locks are never waited for. */
  private firsts: Set<W> | undefined
  private others: Set<W> | undefined

  /** Takes the lock if it is free. The caller must make sure to release it. */
  tryTake(): boolean {
    if (this.held) return false
    this.held = true
    return true
  }

  /** Takes the lock. To be called where interruption is off; `restore` turns it on for the waiting. */
  take(
    this: Lock,
    restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>
  ): Effect.Effect<void> {
    return Effect.suspend(() => this.tryTake() ? Effect.void : Effect.asVoid(this.waitAs(new Waiter(), restore)))
  }

  /** Waits for the lock, which is taken, unless it is turned away: answers whether it has the lock. To be run at once. */
  waitAs(waiter: W, restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<boolean> {
    const line = waiter.first ? this.firsts ??= new Set() : this.others ??= new Set()
    line.add(waiter)
    return this.whenAnswered(waiter, restore)
  }

  private whenAnswered(waiter: W, restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<boolean> {
    waiter.state = "waiting"
    const isGranted = () => waiter.state === "granted"
    const answered = park<boolean>((resume) => {
      if (waiter.state !== "waiting") return resume(Effect.sync(isGranted))
      waiter.resume = () => resume(Effect.sync(isGranted))
    })
    return Effect.onError(restore(answered), () =>
      Effect.sync(() => {
        // The lock may have been handed over in the moment of the interruption.
        if (isGranted()) this.release()
        else (waiter.first ? this.firsts : this.others)?.delete(waiter)
        waiter.state = "outside"
      }))
  }

  /**
   * Lets those go before who go first, and waits for the lock again, before everybody else. To be called by who has it,
   * where interruption is off, and run at once; answers whether it has it again.
   */
  letFirstsBefore(waiter: W, restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<boolean> {
    this.others = new Set([waiter, ...this.others ?? []])
    const answered = this.whenAnswered(waiter, restore)
    this.release()
    return answered
  }

  /** Whether somebody waits who goes first. */
  get hasFirst(): boolean {
    return this.firsts !== undefined && this.firsts.size > 0
  }

  /** Everybody who waits. */
  get waiting(): ReadonlyArray<W> {
    return [...this.firsts ?? [], ...this.others ?? []]
  }

  /** Takes somebody out of the line, who does not get the lock. */
  turnAway(waiter: W): void {
    const line = waiter.first ? this.firsts : this.others
    if (line?.delete(waiter)) answer(waiter, "turned-away")
  }

  /** Hands the lock to the next waiter: it is never free in between. */
  release(): void {
    if (!this.grant(this.firsts) && !this.grant(this.others)) this.held = false
  }

  private grant(line: Set<W> | undefined): boolean {
    if (line === undefined) return false
    for (const waiter of line) {
      line.delete(waiter)
      answer(waiter, "granted")
      return true
    }
    return false
  }

  /** Runs an effect with the lock held. */
  with<A, E, R>(this: Lock, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) => {
      const held = this.releaseAfter(restore(effect))
      return this.tryTake() ? held : Effect.zipRight(this.take(restore), held)
    })
  }

  /** Releases the lock at the end of an effect. To be called where interruption is off. */
  releaseAfter<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.matchCauseEffect(effect, {
      onFailure: (cause) => {
        this.release()
        return Effect.failCause(cause)
      },
      onSuccess: (value) => {
        this.release()
        return Effect.succeed(value)
      }
    })
  }
}

const answer = (waiter: Waiter, state: "granted" | "turned-away"): void => {
  waiter.state = state
  const { resume } = waiter
  waiter.resume = undefined
  resume?.()
}

/**
 * A lock that is handed over first come, first served. Effect's semaphore wakes whoever waits and lets a newcomer take
 * the permit meanwhile.
 */
import * as Effect from "effect/Effect"

interface Waiter {
  granted: boolean
  resume: (() => void) | undefined
}

/** @internal */
export class Lock {
  private held = false
  private readonly waiters = new Set<Waiter>()

  /** Takes the lock. To be called where interruption is off; `restore` turns it on for the waiting. */
  take(restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.held) {
        this.held = true
        return Effect.void
      }
      const waiter: Waiter = { granted: false, resume: undefined }
      this.waiters.add(waiter)
      const granted = Effect.async<void>((resume) => {
        if (waiter.granted) resume(Effect.void)
        else waiter.resume = () => resume(Effect.void)
      })
      return Effect.onError(restore(granted), () =>
        Effect.sync(() => {
          // The lock may have been handed over in the moment of the interruption.
          if (waiter.granted) this.release()
          else this.waiters.delete(waiter)
        }))
    })
  }

  /** Hands the lock to whoever has waited longest: it is never free in between. */
  release(): void {
    for (const waiter of this.waiters) {
      this.waiters.delete(waiter)
      waiter.granted = true
      waiter.resume?.()
      return
    }
    this.held = false
  }

  with<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(this.take(restore), Effect.onExit(restore(effect), () => this.released))
    )
  }

  private readonly released = Effect.sync(() => this.release())
}

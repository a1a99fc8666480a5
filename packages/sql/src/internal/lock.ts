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
  /** Made when somebody has to wait: most locks are never waited for. */
  private waiters: Set<Waiter> | undefined

  /** Takes the lock. To be called where interruption is off; `restore` turns it on for the waiting. */
  take(restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.held) {
        this.held = true
        return Effect.void
      }
      const waiter: Waiter = { granted: false, resume: undefined }
      const waiters = this.waiters ??= new Set()
      waiters.add(waiter)
      const granted = Effect.async<void>((resume) => {
        if (waiter.granted) resume(Effect.void)
        else waiter.resume = () => resume(Effect.void)
      })
      return Effect.onError(restore(granted), () =>
        Effect.sync(() => {
          // The lock may have been handed over in the moment of the interruption.
          if (waiter.granted) this.release()
          else waiters.delete(waiter)
        }))
    })
  }

  /** Hands the lock to whoever has waited longest: it is never free in between. */
  release(): void {
    if (this.waiters !== undefined) {
      for (const waiter of this.waiters) {
        this.waiters.delete(waiter)
        waiter.granted = true
        waiter.resume?.()
        return
      }
    }
    this.held = false
  }

  /** Runs an effect with the lock held. */
  with<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) => {
      const held = Effect.matchCauseEffect(restore(effect), {
        onFailure: (cause) => {
          this.release()
          return Effect.failCause(cause)
        },
        onSuccess: (value) => {
          this.release()
          return Effect.succeed(value)
        }
      })
      if (this.held) return Effect.zipRight(this.take(restore), held)
      this.held = true
      return held
    })
  }
}

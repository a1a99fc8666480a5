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

  /** Takes the lock if it is free. Whoever does must see to it that it is released. */
  tryTake(): boolean {
    if (this.held) return false
    this.held = true
    return true
  }

  /** Takes the lock. To be called where interruption is off; `restore` turns it on for the waiting. */
  take(restore: <A>(effect: Effect.Effect<A>) => Effect.Effect<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.tryTake()) return Effect.void
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

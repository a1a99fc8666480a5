/**
 * A call whose caller waits for its end: a command, an operation on a resource, a write.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { park } from "./parking.ts"

/** Makes an effect as interruptible as the caller is. */
export type Restore = <B, E, R>(effect: Effect.Effect<B, E, R>) => Effect.Effect<B, E, R>

/** What becomes of a call when its caller is interrupted: its caller waits for its end nevertheless, or leaves it. */
export type OnInterrupt = "wait" | "leave"

/** It is put in, and its end waited for, within one mask: so no interruption can come between. */
export abstract class Call<in out A = any, in out E = any> {
  /** How it ended, once it has. */
  exit: Exit.Exit<A, E> | undefined = undefined
  private resume: ((exit: Exit.Exit<A, E>) => void) | undefined = undefined

  /** Called when its caller is interrupted before it has ended. */
  protected abstract interrupted(): OnInterrupt

  /** Ends it, once. */
  end(exit: Exit.Exit<A, E>): void {
    if (this.exit !== undefined) return
    this.exit = exit
    this.resume?.(exit)
  }

  /** Waits for the end. To be called within the mask in which it was put in, with what undoes that mask. */
  wait(restore: Restore): Effect.Effect<A, E> {
    const { ended } = this
    return Effect.catchAllCause(restore(ended), (cause) =>
      // Either it has failed, or its caller was interrupted.
      this.exit === undefined && this.interrupted() === "wait"
        ? Effect.zipRight(Effect.exit(ended), Effect.failCause(cause))
        : Effect.failCause(cause))
  }

  private get ended(): Effect.Effect<A, E> {
    return park((resume) => {
      if (this.exit === undefined) this.resume = resume
      else resume(this.exit)
    })
  }
}

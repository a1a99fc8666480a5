/**
 * Something that its caller waits for the end of: a command, or an operation on a resource.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { Restore } from "../../PolicyQueue.ts"

/**
 * What becomes of it when its caller is interrupted: its caller waits for its end nevertheless, or leaves it.
 * @internal
 */
export type OnInterrupt = "wait" | "leave"

/** @internal */
export abstract class Pending {
  /** How it ended, once it has. */
  exit: Exit.Exit<any, any> | undefined = undefined
  private resume: ((exit: Exit.Exit<any, any>) => void) | undefined = undefined

  /** Called when its caller is interrupted before it has ended. */
  protected abstract interrupted(): OnInterrupt

  /** Ends it, once. */
  end(exit: Exit.Exit<any, any>): void {
    if (this.exit !== undefined) return
    this.exit = exit
    this.resume?.(exit)
  }

  /**
   * Waits for the end. To be called within the mask in which it was put in, with what undoes that mask: so no
   * interruption can come between.
   */
  wait(restore: Restore): Effect.Effect<any, any> {
    const { ended } = this
    return Effect.catchAllCause(restore(ended), (cause) =>
      // Either it has failed, or its caller was interrupted.
      this.exit === undefined && this.interrupted() === "wait"
        ? Effect.zipRight(Effect.exit(ended), Effect.failCause(cause))
        : Effect.failCause(cause))
  }

  private get ended(): Effect.Effect<any, any> {
    return Effect.async((resume) => {
      if (this.exit === undefined) this.resume = resume
      else resume(this.exit)
    })
  }
}

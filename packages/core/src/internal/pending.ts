/**
 * Something that its caller waits for the end of: a command, or an operation on a resource.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { Restore } from "../PolicyQueue.ts"

/** @internal */
export abstract class Pending {
  /** How it ended, once it has. */
  exit: Exit.Exit<any, any> | undefined
  private resume: ((exit: Exit.Exit<any, any>) => void) | undefined

  /** Ends it, once. */
  end(exit: Exit.Exit<any, any>): void {
    if (this.exit !== undefined) return
    this.exit = exit
    this.resume?.(exit)
  }

  /** Waits for the end. For one at a time: whoever comes last is told. */
  get ended(): Effect.Effect<any, any> {
    return Effect.async((resume) => {
      if (this.exit === undefined) this.resume = resume
      else resume(this.exit)
    })
  }
}

/**
 * What becomes of it when its caller is interrupted: its caller waits for its end nevertheless, or leaves it.
 * @internal
 */
export type OnInterrupt = "wait" | "leave"

/**
 * Waits for the end, within the mask in which it was put in: an interruption cannot come between. `interrupted` is
 * called when the caller is interrupted before the end.
 *
 * @internal
 */
export const waitForEnd = (
  pending: Pending,
  restore: Restore,
  interrupted: () => OnInterrupt
): Effect.Effect<any, any> =>
  Effect.catchAllCause(restore(pending.ended), (cause) =>
    // Either it has failed, or its caller was interrupted.
    pending.exit === undefined && interrupted() === "wait"
      ? Effect.zipRight(Effect.exit(pending.ended), Effect.failCause(cause))
      : Effect.failCause(cause))

/**
 * Guards callbacks of the user that run within internal steps: if one throws, that is logged and has no other effect.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import { withMessages } from "./failure.ts"

export type Guard = <A, B>(name: string, callback: (a: A, b: B) => void) => (a: A, b: B) => void

/** Makes a guard for the callbacks of one queue, which logs as the calling fiber would. */
export const makeGuard = (queue: string): Effect.Effect<Guard> =>
  Effect.map(Effect.runtime<never>(), (runtime): Guard => (name, callback) => (a, b) => {
    try {
      callback(a, b)
    } catch (error) {
      Runtime.runFork(runtime)(Effect.logError(`${queue}: ${name} threw`, withMessages(Cause.die(error))))
    }
  })

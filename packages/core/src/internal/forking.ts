/**
 * Fibers of our own for the user's code: with the context in which the queue was made, and interruptible.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"

/**
 * Begins to run an effect at once, in this very step, and answers its fiber. What ends without waiting has ended then.
 * @internal
 */
export type Fork<in R> = <A, E>(effect: Effect.Effect<A, E, R>) => Fiber.RuntimeFiber<A, E>

/** @internal */
export const makeFork = <R>(): Effect.Effect<Fork<R>, never, R> =>
  Effect.map(
    Effect.runtime<R>(),
    // Queues are made where nothing can be interrupted.
    (runtime): Fork<R> => Runtime.runFork(Runtime.enableRuntimeFlag(runtime, RuntimeFlags.Interruption))
  )

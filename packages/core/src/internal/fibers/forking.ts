/**
 * Fibers of our own for the user's code: with the context in which the queue was made, and interruptible.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"

/**
 * Begins to run an effect at once, in this very step, and answers its fiber. What ends without waiting has ended then.
 */
export type Fork<in R> = <A, E>(effect: Effect.Effect<A, E, R>) => Fiber.RuntimeFiber<A, E>

export const makeFork = <R>(): Effect.Effect<Fork<R>, never, R> =>
  Effect.map(
    Effect.runtime<R>(),
    (runtime): Fork<R> =>
      pipe(
        runtime,
        // Queues are made where nothing can be interrupted.
        Runtime.enableRuntimeFlag(RuntimeFlags.Interruption),
        // Whoever forks looks at the exit: no failure is unhandled.
        Runtime.setFiberRef(FiberRef.unhandledErrorLogLevel, Option.none()),
        (own) => Runtime.runFork(own)
      )
  )

/** Has the queue fail where a fiber of ours dies: a bug of this library, after which somebody would wait for ever. */
export const supervise = <A extends Fiber.RuntimeFiber<unknown, never>>(
  fiber: A,
  onDied: (cause: Cause.Cause<never>) => void
): A => {
  fiber.addObserver((exit) => {
    if (Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)) onDied(exit.cause)
  })
  return fiber
}

/**
 * Fibers of our own. Each way to fork says whether the fiber can be interrupted: Effect's own do not, and differ in it
 * between its majors.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as FiberRefs from "effect/FiberRefs"
import * as FiberRef from "effect/FiberRef"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type * as Scope from "effect/Scope"
import type { Restore } from "./call.ts"
import { observe, type Running } from "./fiber.ts"

/** Forks a fiber that only an interruption ends. */
export const forkInterruptible = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Running<A, E>, never, R> =>
  Effect.forkDaemon(Effect.interruptible(effect))

/** Forks a fiber that runs to its end despite any interruption. */
export const forkUninterruptible = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Running<A, E>, never, R> =>
  Effect.forkDaemon(Effect.uninterruptible(effect))

/** Forks a fiber that is interrupted when the one that forks it has ended. */
export const forkChild = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Running<A, E>, never, R> =>
  Effect.fork(Effect.interruptible(effect))

/** Forks a fiber that is interrupted when the scope is closed. */
export const forkScoped = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Running<A, E>, never, R | Scope.Scope> => Effect.forkScoped(Effect.interruptible(effect))

/** The same in another scope than that of who forks. */
export const forkIn = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  scope: Scope.Scope
): Effect.Effect<Running<A, E>, never, R> => Effect.forkIn(Effect.interruptible(effect), scope)

/** What the effect forks goes on when its own fiber has ended. */
export const leavingChildren: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> =
  Effect.daemonChildren

// --- of the user's code -----------------------------------------------------------------------------------------------

/**
 * Begins to run an effect at once, in this very step, and answers its fiber. What ends without waiting has ended then.
 */
export type Fork<in R> = <A, E>(effect: Effect.Effect<A, E, R>) => Running<A, E>

/** With the context in which this is run, and interruptible. */
export const makeFork = <R>(): Effect.Effect<Fork<R>, never, R> =>
  Effect.map(
    Effect.runtime<R>(),
    (runtime): Fork<R> =>
      pipe(
        runtime,
        // Queues are made where nothing can be interrupted.
        Runtime.enableRuntimeFlag(RuntimeFlags.Interruption),
        // The forking code checks the exit, so no failure is unhandled.
        Runtime.setFiberRef(FiberRef.unhandledErrorLogLevel, Option.none()),
        (own) => Runtime.runFork(own)
      )
  )

/** What a fiber has of its own. */
export type Refs = FiberRefs.FiberRefs

export const refsOf = (fiber: Pick<Running<any, any>, "getFiberRefs">): Refs => fiber.getFiberRefs()

/** Begins to run an effect at once, as the fiber would that had these. It is interruptible. */
export const runAs = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  context: Context.Context<R>,
  fiberRefs: Refs
): Running<A, E> =>
  Runtime.runFork(Runtime.make({ context, fiberRefs, runtimeFlags: Runtime.defaultRuntimeFlags }))(effect)

/** Starts an effect without requirements, at once. */
export const runNow: <A, E>(effect: Effect.Effect<A, E>) => Running<A, E> = Effect.runFork

/** Runs an effect that waits for nothing. */
export const runSync: <A, E>(effect: Effect.Effect<A, E>) => A = Effect.runSync

/**
 * Runs an effect in a fiber of its own, because one that is blocked on a request leaves its whole fiber, and the request
 * runs there: outside of a transaction, whose lock it would wait for. What is forked inside belongs to the caller
 * nevertheless, and what it has set, the caller has.
 */
export const inFiberOfItsOwn = <A, E, R>(
  restore: Restore,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.transplant((graft) =>
    Effect.flatMap(Effect.fork(restore(graft(effect))), (fiber) =>
      restore(Fiber.await(fiber)).pipe(
        Effect.onInterrupt(() => Fiber.interrupt(fiber)),
        Effect.catchAllCause(() => Fiber.await(fiber)),
        Effect.zipLeft(Fiber.inheritAll(fiber))
      ))
  )

/** Has the queue fail where a fiber of ours dies: a bug of this library, after which somebody would wait for ever. */
export const supervise = <A extends Running<unknown, never>>(
  fiber: A,
  onDied: (cause: Cause.Cause<never>) => void
): A => {
  observe(fiber, (exit) => {
    if (Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)) onDied(exit.cause)
  })
  return fiber
}

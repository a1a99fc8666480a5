/**
 * A fiber, as it knows itself and as others know it. What Effect calls this differs between its majors, and is named
 * here alone.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"

/** A fiber that runs, or has ended. */
export type Running<A, E = never> = Fiber.RuntimeFiber<A, E>

/** A value that each fiber has of its own. */
export type Ref<A> = FiberRef.FiberRef<A>

// --- from within ------------------------------------------------------------------------------------------------------

/** Makes an effect of the fiber that runs it. */
export const withFiber: <A, E = never, R = never>(
  use: (fiber: Running<A, E>) => Effect.Effect<A, E, R>
) => Effect.Effect<A, E, R> = Effect.withFiberRuntime

/** What the fiber has been provided with. */
export const contextOf = (fiber: Pick<Running<any, any>, "currentContext">): Context.Context<never> =>
  fiber.currentContext

/** What the fiber that runs right now has been provided with, if there is one. */
export const currentContext = (): Context.Context<never> | undefined =>
  Option.getOrUndefined(Option.map(Fiber.getCurrentFiber(), contextOf))

export const clockOf = (fiber: Running<any, any>): Clock.Clock => Context.get(fiber.currentDefaultServices, Clock.Clock)

export const refOf = <A>(fiber: Running<any, any>, ref: Ref<A>): A => fiber.getFiberRef(ref)

/** The value that this fiber has. */
export const readRef: <A>(ref: Ref<A>) => Effect.Effect<A> = FiberRef.get

// --- from outside -----------------------------------------------------------------------------------------------------

/** How it has ended, if it has. */
export const pollExit = <A, E>(fiber: Running<A, E>): Exit.Exit<A, E> | undefined => fiber.unsafePoll() ?? undefined

/** Calls a listener when it ends; at once, where it has ended. */
export const observe = <A, E>(fiber: Running<A, E>, listener: (exit: Exit.Exit<A, E>) => void): void =>
  fiber.addObserver(listener)

export const unobserve = <A, E>(fiber: Running<A, E>, listener: (exit: Exit.Exit<A, E>) => void): void =>
  fiber.removeObserver(listener)

/** Waits for its end. */
export const awaitEnd: <A, E>(fiber: Running<A, E>) => Effect.Effect<Exit.Exit<A, E>> = Fiber.await

/** Waits for its end, and ends as it has. */
export const join: <A, E>(fiber: Running<A, E>) => Effect.Effect<A, E> = Fiber.join

/** Interrupts it, and does not wait for its end. `by` is what an end by interruption tells of who it was. */
export const interruptNow = (fiber: Running<any, any>, by: FiberId.FiberId = FiberId.none): void =>
  fiber.unsafeInterruptAsFork(by)

/** The same as an effect. */
export const interruptSoon: (fiber: Running<any, any>) => Effect.Effect<void> = Fiber.interruptFork

/** Interrupts it, and waits for its end. */
export const interrupt: <A, E>(fiber: Running<A, E>) => Effect.Effect<Exit.Exit<A, E>> = Fiber.interrupt

/** Interrupts all of them, and waits for their ends. */
export const interruptAll: (fibers: Iterable<Running<any, any>>) => Effect.Effect<void> = Fiber.interruptAll

/** The exit of an interruption without a particular interrupter. */
export const interruption: Cause.Cause<never> = Cause.interrupt(FiberId.none)

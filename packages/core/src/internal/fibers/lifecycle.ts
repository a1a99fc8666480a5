/**
 * The state of a system, from its creation to its end. It also makes sure that the death of a fiber is noticed.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { withMessages } from "./failure.ts"
import type { Running } from "./fiber.ts"
import { forkUninterruptible } from "./forking.ts"

type Phase =
  | { readonly _tag: "Open" }
  /** Nothing new is taken. What was taken goes on. */
  | { readonly _tag: "Closing" }
  | { readonly _tag: "Closed" }
  /** A fiber of ours has died: a bug of this library. */
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<never> }

const stateNames = { Open: "open", Closing: "closing", Closed: "closed", Failed: "failed" } as const

/** The life of one system. It goes one way only, and what is over stays so. */
export class Lifecycle {
  private phase: Phase = { _tag: "Open" }
  /** They are called when it is no longer open. */
  readonly watchers = new Set<() => void>()

  get isOpen(): boolean {
    return this.phase._tag === "Open"
  }

  get isClosing(): boolean {
    return this.phase._tag === "Closing"
  }

  get isClosed(): boolean {
    return this.phase._tag === "Closed"
  }

  get hasFailed(): boolean {
    return this.phase._tag === "Failed"
  }

  /** Whether it is closed, or has failed. */
  get isOver(): boolean {
    return this.isClosed || this.hasFailed
  }

  /** As it is shown to people. */
  get state(): "open" | "closing" | "closed" | "failed" {
    return stateNames[this.phase._tag]
  }

  /** Takes nothing new from now on. Answers whether it was open. */
  beginToClose(): boolean {
    if (!this.isOpen) return false
    this.enter({ _tag: "Closing" })
    return true
  }

  /** Answers whether it was not over. */
  close(): boolean {
    if (this.isOver) return false
    this.enter({ _tag: "Closed" })
    return true
  }

  /** Answers whether it was not over. */
  unsafeFail(cause: Cause.Cause<never>): boolean {
    if (this.isOver) return false
    this.enter({ _tag: "Failed", cause })
    return true
  }

  private enter(phase: Phase): void {
    this.phase = phase
    for (const watcher of this.watchers) watcher()
  }

  /**
   * An internal fiber has died. This is logged, and all waiting and later callers, and the closing of the scope, die of
   * it too. What is held is given up: at once what `giveUp` does when it is called, and what it answers after the log.
   */
  fail(cause: Cause.Cause<never>, message: string, giveUp: () => Effect.Effect<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.unsafeFail(cause)) return Effect.void
      const rest = giveUp()
      return Effect.zipRight(Effect.logFatal(message, withMessages(cause)), Effect.asVoid(rest))
    })
  }

  /** How what comes too late ends. */
  refuse<E>(closed: () => E): Exit.Exit<never, E> {
    return this.phase._tag === "Failed" ? Exit.failCause(this.phase.cause) : Exit.fail(closed())
  }

  /** Dies of what has died, if it has failed. */
  readonly failure: Effect.Effect<void> = Effect.suspend(() =>
    this.phase._tag === "Failed" ? Effect.failCause(this.phase.cause) : Effect.void
  )
}

/**
 * Forks a loop of ours, which ends by itself or by an interruption; of a defect `onDied` is told. A daemon: its end is a
 * part of the closing.
 */
export const forkLoop = <R>(
  loop: Effect.Effect<void, never, R>,
  context: Context.Context<R>,
  onDied: (cause: Cause.Cause<never>) => Effect.Effect<void>
): Effect.Effect<Running<void>> =>
  // The loop can be interrupted, and what is done of a defect cannot.
  forkUninterruptible(
    Effect.interruptible(loop).pipe(
      Effect.catchAllDefect((defect) => onDied(Cause.die(defect))),
      Effect.provide(context)
    )
  )

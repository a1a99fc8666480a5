/**
 * The writes that wait, first come, first served: a bounded queue, and those who wait for room in it. Unlike in a Queue
 * of Effect, whoever gives up leaves at once, from wherever in the queue, and makes room.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as FiberRefs from "effect/FiberRefs"
import type { WriteOptions } from "../Write.ts"
import type { WriteError } from "../WriteError.ts"

/**
 * One statement, which needs nothing but a connection.
 * @internal
 */
export class SingleStatement<out A, out E> {
  readonly run: (connection: Connection) => Effect.Effect<A, E>

  constructor(run: (connection: Connection) => Effect.Effect<A, E>) {
    this.run = run
  }
}

/** @internal */
export type Work =
  /** One statement, which needs nothing but a connection. */
  | { readonly _tag: "Statement"; readonly run: (connection: Connection) => Effect.Effect<unknown, SqlError> }
  | { readonly _tag: "Effect"; readonly effect: Effect.Effect<unknown, unknown> }

/**
 * A write as it was submitted.
 * @internal
 */
export interface Submission {
  readonly options: WriteOptions
  readonly work: Work
  /** What the submitter's fiber had, so that the write runs as it would have there. */
  readonly context: Context.Context<never>
  readonly fiberRefs: FiberRefs.FiberRefs
  /** What the submitter is told of an error of ours. Those of the write are told as they are. */
  readonly onError: (error: WriteError) => unknown
}

/**
 * A write on its way.
 * @internal
 */
export class Pending {
  readonly submission: Submission
  /** In the order of submission. */
  readonly sequence: number
  /** Whether it has begun to run. */
  started = false
  /** What it has come to, once it has run: final when its transaction is committed. */
  outcome: Exit.Exit<unknown, unknown> | undefined = undefined
  /** Whether it runs again, in a transaction of its own. */
  alone = false
  /** How it ended, once that is final. */
  exit: Exit.Exit<unknown, unknown> | undefined = undefined
  /** Called once it is. */
  onExit: ((exit: Exit.Exit<unknown, unknown>) => void) | undefined = undefined

  constructor(submission: Submission, sequence: number) {
    this.submission = submission
    this.sequence = sequence
  }
}

/** @internal */
export class Intake {
  readonly capacity: number
  /** How many writes have ever been in the queue. */
  accepted = 0
  private readonly queue = new Set<Pending>()
  private readonly outside = new Set<Pending>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  /** How many writes are in the queue. */
  get size(): number {
    return this.queue.size
  }

  /** How many wait for room in it. */
  get waiting(): number {
    return this.outside.size
  }

  add(write: Pending): void {
    if (this.queue.size < this.capacity) this.accept(write)
    else this.outside.add(write)
  }

  /** Takes a write out; answers from where, or undefined where it is no longer here. */
  remove(write: Pending): "queue" | "outside" | undefined {
    if (this.outside.delete(write)) return "outside"
    if (!this.queue.delete(write)) return undefined
    this.refill()
    return "queue"
  }

  /** Takes the oldest writes, in order. Those who come in meanwhile from outside are taken as well. */
  take(limit: number): Array<Pending> {
    return this.takeWhile((_, count) => count < limit)
  }

  /** Takes everything that had been submitted up to this one, also from outside. */
  takeUpTo(sequence: number): Array<Pending> {
    return this.takeWhile((write) => write.sequence <= sequence)
  }

  private takeWhile(wanted: (write: Pending, count: number) => boolean): Array<Pending> {
    const taken: Array<Pending> = []
    // A Set hands out what is added while it is being walked.
    for (const write of this.queue) {
      if (!wanted(write, taken.length)) break
      this.queue.delete(write)
      this.refill()
      taken.push(write)
    }
    return taken
  }

  private refill(): void {
    for (const write of this.outside) {
      this.outside.delete(write)
      this.accept(write)
      return
    }
  }

  private accept(write: Pending): void {
    this.queue.add(write)
    this.accepted += 1
  }
}

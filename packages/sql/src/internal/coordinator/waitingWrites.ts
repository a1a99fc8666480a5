/**
 * The waiting writes, first come, first served: a bounded queue, and the callers that wait for room in it. Unlike in an
 * Effect Queue, a caller that gives up leaves at once, from any place in the queue, and makes room.
 */
import type { SqlError } from "@effect/sql/SqlError"
import { Chain, type Link } from "@sluice/core/unstable/Chain"
import { Call, contextOf, type OnInterrupt, type Refs, refsOf, type Running } from "@sluice/core/unstable/Fibers"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { WriteOptions } from "../../Write.ts"
import type { WriteError } from "../../WriteError.ts"
import type { SingleStatement } from "../writer/singleStatement.ts"

/** A write on its way. */
export class Pending extends Call<unknown, unknown> implements Link<Pending> {
  readonly options: WriteOptions
  readonly work: Effect.Effect<unknown, unknown> | SingleStatement<unknown, SqlError>
  /** What the submitter's fiber had, so that the write runs as it would have there. */
  readonly context: Context.Context<never>
  readonly refs: Refs
  /** What the submitter is told of an error of ours. Those of the write are told as they are. */
  readonly onError: (error: WriteError) => unknown
  /** In the order of submission. */
  sequence = 0
  /** From which point on the wait for somebody else's lock counts. */
  since = 0
  /** Whether it has begun to run. */
  started = false
  /** What it has come to, once it has run: final when its transaction is committed. */
  outcome: Exit.Exit<unknown, unknown> | undefined = undefined
  /** Whether it runs again, in a transaction of its own. */
  alone = false
  /** Takes it out where it has not started; answers whether it has. */
  cancel: (write: Pending) => boolean = () => true
  /** Where it waits, while it does. */
  place: "queue" | "outside" | undefined = undefined
  previous: Pending | undefined = undefined
  next: Pending | undefined = undefined

  constructor(
    options: WriteOptions,
    work: Pending["work"],
    fiber: Running<unknown, unknown>,
    onError: (error: WriteError) => unknown
  ) {
    super()
    this.options = options
    this.work = work
    this.context = contextOf(fiber)
    this.refs = refsOf(fiber)
    this.onError = onError
  }

  protected interrupted(): OnInterrupt {
    return this.cancel(this) ? "leave" : "wait"
  }
}

export class Intake {
  readonly capacity: number
  private readonly queue = new Chain<Pending>()
  /** The callers that wait for room in it: none, unless it is full. */
  private readonly outside = new Chain<Pending>()

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
    if (this.size < this.capacity) return this.accept(write)
    write.place = "outside"
    this.outside.push(write)
  }

  /** Takes a write out; answers from where, or undefined where it is no longer here. */
  remove(write: Pending): "queue" | "outside" | undefined {
    const { place } = write
    if (place === undefined) return undefined
    write.place = undefined
    if (place === "outside") this.outside.remove(write)
    else {
      this.queue.remove(write)
      this.refill()
    }
    return place
  }

  /** Takes the oldest writes, in order. Those who come in meanwhile from outside are taken as well. */
  take(limit: number): Array<Pending> {
    let left = limit
    return this.takeWhile(() => left-- > 0)
  }

  /** The write that has waited longest. */
  get oldest(): Pending | undefined {
    return this.queue.first
  }

  /** Takes the oldest writes, also from outside, for as long as this is true of them. */
  takeWhile(isTrue: (write: Pending) => boolean): Array<Pending> {
    const taken: Array<Pending> = []
    for (let first = this.queue.first; first !== undefined && isTrue(first); first = this.queue.first) {
      this.remove(first)
      taken.push(first)
    }
    return taken
  }

  private refill(): void {
    const { first } = this.outside
    if (first === undefined) return
    this.outside.remove(first)
    this.accept(first)
  }

  private accept(write: Pending): void {
    write.place = "queue"
    this.queue.push(write)
  }
}

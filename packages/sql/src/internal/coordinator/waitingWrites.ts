/**
 * The writes that wait, first come, first served: a bounded queue, and those who wait for room in it. Unlike in a Queue
 * of Effect, whoever gives up leaves at once, from wherever in the queue, and makes room.
 *
 * Both are one linked list. A Set would read better, but makes a new table every few writes.
 */
import type { SqlError } from "@effect/sql/SqlError"
import { Call, type OnInterrupt } from "@sluice/core/unstable/Fibers"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as FiberRefs from "effect/FiberRefs"
import type { WriteOptions } from "../../Write.ts"
import type { WriteError } from "../../WriteError.ts"
import type { SingleStatement } from "../writer/singleStatement.ts"

/** A write on its way. */
export class Pending extends Call<unknown, unknown> {
  readonly options: WriteOptions
  readonly work: Effect.Effect<unknown, unknown> | SingleStatement<unknown, SqlError>
  /** What the submitter's fiber had, so that the write runs as it would have there. */
  readonly context: Context.Context<never>
  readonly fiberRefs: FiberRefs.FiberRefs
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
    fiber: Pick<Fiber.RuntimeFiber<unknown, unknown>, "currentContext" | "getFiberRefs">,
    onError: (error: WriteError) => unknown
  ) {
    super()
    this.options = options
    this.work = work
    this.context = fiber.currentContext
    this.fiberRefs = fiber.getFiberRefs()
    this.onError = onError
  }

  protected interrupted(): OnInterrupt {
    return this.cancel(this) ? "leave" : "wait"
  }
}

export class Intake {
  readonly capacity: number
  /** How many writes have ever been in the queue. */
  accepted = 0
  /** How many writes are in the queue. */
  size = 0
  /** How many wait for room in it. */
  waiting = 0
  private first: Pending | undefined = undefined
  private last: Pending | undefined = undefined
  /** The first of those who wait for room. */
  private firstOutside: Pending | undefined = undefined

  constructor(capacity: number) {
    this.capacity = capacity
  }

  add(write: Pending): void {
    write.previous = this.last
    if (this.last === undefined) this.first = write
    else this.last.next = write
    this.last = write
    if (this.size < this.capacity) {
      this.accept(write)
    } else {
      write.place = "outside"
      this.waiting += 1
      this.firstOutside ??= write
    }
  }

  /** Takes a write out; answers from where, or undefined where it is no longer here. */
  remove(write: Pending): "queue" | "outside" | undefined {
    const { next, place, previous } = write
    if (place === undefined) return undefined
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    if (this.firstOutside === write) this.firstOutside = next
    write.place = undefined
    // What has left must not keep alive what comes after it.
    write.previous = undefined
    write.next = undefined
    if (place === "outside") {
      this.waiting -= 1
    } else {
      this.size -= 1
      this.refill()
    }
    return place
  }

  /** Takes the oldest writes, in order. Those who come in meanwhile from outside are taken as well. */
  take(limit: number): Array<Pending> {
    const taken: Array<Pending> = []
    while (this.first !== undefined && taken.length < limit) taken.push(this.shift(this.first))
    return taken
  }

  /** The write that has waited longest. */
  get oldest(): Pending | undefined {
    return this.first
  }

  /** Takes the oldest writes, also from outside, for as long as this is true of them. */
  takeWhile(isTrue: (write: Pending) => boolean): Array<Pending> {
    const taken: Array<Pending> = []
    while (this.first !== undefined && isTrue(this.first)) taken.push(this.shift(this.first))
    return taken
  }

  private shift(write: Pending): Pending {
    this.remove(write)
    return write
  }

  private refill(): void {
    const write = this.firstOutside
    if (write === undefined) return
    this.firstOutside = write.next
    this.waiting -= 1
    this.accept(write)
  }

  private accept(write: Pending): void {
    write.place = "queue"
    this.size += 1
    this.accepted += 1
  }
}

/**
 * The resources of a shard of a keyed batch, and the operations that wait for them.
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Key } from "../../Sharding.ts"
import { Call, type OnInterrupt } from "../fibers/call.ts"
import { Chain, type Link } from "../shapes/chain.ts"
import type { Timed } from "./deadlines.ts"
import type { Running } from "../fibers/fiber.ts"

/** The shard that a resource is in. */
export interface Keeper<in out S> {
  /** Something has come up: the shard's fiber goes on with the resource. */
  readonly schedule: (resource: Resource<S>) => void
  readonly interrupted: (operation: Operation<S>) => OnInterrupt
  /** An operation of the resource has come to its batch. */
  readonly taken: () => void
}

/**
 * What an operation does: it answers a result and the resource that follows, or changes the resource in place and
 * answers a result, or is an Effect that answers a result and the resource that follows.
 */
export type Action<S> =
  | { readonly _tag: "Modify"; readonly run: (resource: S) => readonly [unknown, S] }
  | { readonly _tag: "Mutate"; readonly run: (resource: S) => unknown }
  | { readonly _tag: "Effect"; readonly run: (resource: S) => Effect.Effect<readonly [unknown, S], unknown> }

/** An operation on its way: waiting -> running -> ran, with an outcome that its caller gets after the save. */
export class Operation<in out S> extends Call implements Link<Operation<S>> {
  readonly action: Action<S>
  readonly resource: Resource<S>
  /** The span that it was called in, where there is tracing. */
  readonly origin: unknown
  state: "waiting" | "running" | "ran" = "waiting"
  outcome: Exit.Exit<unknown, unknown> | undefined = undefined
  /** Whether its caller was interrupted while it ran. */
  isLeft = false
  previous: Operation<S> | undefined = undefined
  next: Operation<S> | undefined = undefined

  constructor(action: Action<S>, resource: Resource<S>, origin: unknown) {
    super()
    this.action = action
    this.resource = resource
    this.origin = origin
  }

  protected interrupted(): OnInterrupt {
    return this.resource.shard.interrupted(this)
  }
}

/** What the batch of a resource is at. Changed by `become` alone. */
export type Phase<S> =
  | { readonly _tag: "Idle" }
  | { readonly _tag: "Loading"; readonly fiber: Running<unknown, unknown> }
  | { readonly _tag: "Open" }
  | { readonly _tag: "Operating"; readonly operation: Operation<S>; readonly fiber: Running<unknown, unknown> }
  | { readonly _tag: "Saving"; readonly fiber: Running<unknown, unknown> }
  /** Aborted: the next batch begins when its fiber has ended, or two would overlap. */
  | { readonly _tag: "Ending" }

export const idle: Phase<any> = { _tag: "Idle" }
export const open: Phase<any> = { _tag: "Open" }

/** A key that has operations, and its batch. */
export class Resource<in out S> implements Timed {
  readonly key: Key
  readonly id: string
  readonly shard: Keeper<S>
  readonly waiting = new Chain<Operation<S>>()
  phase: Phase<S> = idle
  /** What was loaded, with what operations have made of it since. */
  value: S | undefined = undefined
  /** The operations of this batch that have run. */
  ran: Array<Operation<S>> = []
  /** How many of them have changed the resource. */
  succeeded = 0
  /** How many more the batch takes, once it is due: what comes from then on is for the next. */
  quota = Infinity
  // Set by the deadlines.
  startedAt = 0
  isDue = false
  isOverdue = false
  /** What a fiber that has ended reports. */
  arrived: Exit.Exit<unknown, unknown> | undefined = undefined
  isOnAgenda = false
  times: Times | undefined = undefined

  constructor(key: Key, id: string, shard: Keeper<S>) {
    this.key = key
    this.id = id
    this.shard = shard
  }

  onTime(): void {
    this.shard.schedule(this)
  }

  /** Those that wait, also where one leaves before the next is asked for. */
  *waitingNow(): Iterable<Operation<S>> {
    for (let operation = this.waiting.first, next; operation !== undefined; operation = next) {
      next = operation.next
      yield operation
    }
  }

  take(operation: Operation<S>): void {
    this.waiting.remove(operation)
    this.quota -= 1
    operation.state = "running"
    this.shard.taken()
  }

  /** Takes the operations that belong to this batch, up to its size, and have not run yet. */
  takeBatch(batchSize: number): void {
    for (const operation of this.waitingNow()) {
      if (this.ran.length === batchSize) return
      this.take(operation)
      operation.state = "ran"
      this.ran.push(operation)
    }
  }

  apply(operation: Operation<S>, action: Exclude<Action<S>, { readonly _tag: "Effect" }>): void {
    const value = this.value!
    try {
      if (action._tag === "Mutate") this.succeed(operation, action.run(value), value)
      else {
        const [result, next] = pairOf(action.run(value))
        this.succeed(operation, result, next)
      }
    } catch (defect) {
      this.leave(operation, Exit.die(defect))
    }
  }

  record(operation: Operation<S>, exit: Exit.Exit<readonly [unknown, S], unknown>): void {
    if (Exit.isSuccess(exit)) return this.succeed(operation, exit.value[0], exit.value[1])
    this.leave(operation, exit)
  }

  private succeed(operation: Operation<S>, result: unknown, value: S): void {
    this.value = value
    this.succeeded += 1
    this.leave(operation, Exit.succeed(result))
  }

  /** An operation has run: its caller is told when the batch has ended. */
  private leave(operation: Operation<S>, outcome: Exit.Exit<unknown, unknown>): void {
    operation.state = "ran"
    operation.outcome = outcome
    this.ran.push(operation)
  }

  /** There is no batch any more. */
  clear(): void {
    this.value = undefined
    this.ran = []
    this.succeeded = 0
    this.quota = Infinity
    this.times = undefined
  }
}

/** When the steps of a batch were, where somebody listens. */
export interface Times {
  readonly startMillis: number
  readonly begun: number
  loaded: number | undefined
  saving: number | undefined
}

/** TypeScript is not always there to look at what an operation answers, and what is no pair must not be saved. */
export const pairOf = <S>(pair: readonly [unknown, S]): readonly [unknown, S] => {
  if (!Array.isArray(pair)) throw new TypeError("an operation must answer a result and the resource that follows")
  return pair
}

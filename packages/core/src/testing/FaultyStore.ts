/**
 * A `BatchStore` that fails as planned: before a call takes effect, after it, forever, for a while, or not at all.
 *
 * Code that uses a store must survive all of these. A run without faults counts the calls; then run the same program
 * with a fault at the first call, at the second, and so on.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { BatchStore, type QueueStore } from "../BatchStore.ts"
import { StoreUnavailable } from "../QueueError.ts"
import { mulberry32 } from "./SeededScheduler.ts"

/**
 * The operations of a store; `"queue"` opens the part of a queue. `transaction` never fails, and is passed through.
 *
 * @since 0.1.0
 * @category models
 */
export type Operation = "queue" | Exclude<keyof QueueStore, "transaction">

/**
 * The fault of one call.
 *
 * - `Fails`: it fails with `StoreUnavailable`, and nothing was done.
 * - `LosesAnswer`: the call takes effect and then fails, like a connection that drops at the commit.
 * - `Dies`: it dies of a bug in the store, and nothing was done.
 * - `Hangs`: it never answers, and does nothing. An interruption ends it, also in a caller that cannot be interrupted.
 * - `HangsForEver`: the same, and nothing ends it.
 * - `Slow`: it sleeps first.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly _tag: "Fails" }
  | { readonly _tag: "LosesAnswer" }
  | { readonly _tag: "Dies" }
  | { readonly _tag: "Hangs" }
  | { readonly _tag: "HangsForEver" }
  | { readonly _tag: "Slow"; readonly millis: number }

/**
 * A call, as a plan receives it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly operation: Operation
  /** Which call it is among all: 1 for the first. */
  readonly index: number
  /** Which call it is among those of its operation: 1 for the first. */
  readonly indexOfOperation: number
  readonly nowMillis: number
}

/**
 * Returns the fault of each call, or undefined for none.
 *
 * @since 0.1.0
 * @category models
 */
export type Plan = (call: Call) => Fault | undefined

/**
 * A store that fails as planned, and remembers how it was called.
 *
 * @since 0.1.0
 * @category models
 */
export interface FaultyStore extends BatchStore {
  /** How many calls there were, of one operation or of all. */
  readonly calls: (operation?: Operation) => number
}

/**
 * No faults; the calls are counted.
 *
 * @since 0.1.0
 * @category plans
 */
export const never: Plan = () => undefined

/**
 * One call fails: the `index`-th of all, or of one operation.
 *
 * @since 0.1.0
 * @category plans
 */
export const at = (index: number, fault: Fault, operation?: Operation): Plan => (call) =>
  index === (operation === undefined ? call.index : call.indexOfOperation)
    && (operation === undefined || operation === call.operation)
    ? fault
    : undefined

/**
 * Every call fails that begins from `fromMillis` on and before `toMillis`.
 *
 * @since 0.1.0
 * @category plans
 */
export const down = (
  { fromMillis, toMillis }: { readonly fromMillis: number; readonly toMillis: number },
  fault: Fault = { _tag: "Fails" }
): Plan =>
({ nowMillis }) => nowMillis >= fromMillis && nowMillis < toMillis ? fault : undefined

/**
 * Calls fail at random, from a seed, each fault with its own probability. Opening the queue never fails.
 *
 * @since 0.1.0
 * @category plans
 */
export const seeded = (seed: number, odds: ReadonlyArray<readonly [fault: Fault, probability: number]>): Plan => {
  const next = mulberry32(seed)
  return ({ operation }) => {
    if (operation === "queue") return undefined
    let left = next() / 2 ** 32
    for (const [fault, probability] of odds) {
      if (left < probability) return fault
      left -= probability
    }
    return undefined
  }
}

/**
 * The fault of the first plan that has one.
 *
 * @since 0.1.0
 * @category plans
 */
export const first = (...plans: ReadonlyArray<Plan>): Plan => (call) => {
  // Each of them is told of each call, or those that count would lose count.
  const faults = plans.map((plan) => plan(call))
  return faults.find((fault) => fault !== undefined)
}

/**
 * Makes a store fail. Stored data stays in the wrapped store.
 *
 * @example
 * ```ts
 * import { BatchStore } from "@sluice/core"
 * import { FaultyStore } from "@sluice/core/testing"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const store = FaultyStore.make(yield* BatchStore.BatchStore, FaultyStore.at(2, { _tag: "LosesAnswer" }, "append"))
 *   const queue = yield* store.queue("orders")
 *   yield* Effect.ignore(queue.stats)
 *   return store.calls("append") // 0
 * }).pipe(Effect.provide(BatchStore.layerMemory))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: BatchStore, plan: Plan): FaultyStore => {
  const counts = new Map<Operation, number>()
  let index = 0
  const faulty = <A, E>(operation: Operation, effect: Effect.Effect<A, E>): Effect.Effect<A, E | StoreUnavailable> =>
    Effect.flatMap(Clock.currentTimeMillis, (nowMillis): Effect.Effect<A, E | StoreUnavailable> => {
      const indexOfOperation = (counts.get(operation) ?? 0) + 1
      counts.set(operation, indexOfOperation)
      index += 1
      const fault = plan({ operation, index, indexOfOperation, nowMillis })
      return fault === undefined ? effect : withFault(effect, fault, unavailable(store.name, operation))
    })
  return {
    name: store.name,
    persistent: store.persistent,
    get longestWaitMillis() {
      return store.longestWaitMillis
    },
    registerLease: store.registerLease,
    calls: (operation) => operation === undefined ? index : counts.get(operation) ?? 0,
    queue: (name) =>
      faulty(
        "queue",
        Effect.map(store.queue(name), (queue): QueueStore => ({
          append: (append) => faulty("append", queue.append(append)),
          claim: (options) => faulty("claim", queue.claim(options)),
          extend: (claims, options) => faulty("extend", queue.extend(claims, options)),
          settle: (claims) => faulty("settle", queue.settle(claims)),
          divide: (claims, parts) => faulty("divide", queue.divide(claims, parts)),
          release: (claims, options) => faulty("release", queue.release(claims, options)),
          deadLetter: (claims, options) => faulty("deadLetter", queue.deadLetter(claims, options)),
          forgive: (claims) => faulty("forgive", queue.forgive(claims)),
          hold: (millis) => faulty("hold", queue.hold(millis)),
          deadLetters: (portion) => faulty("deadLetters", queue.deadLetters(portion)),
          inspect: (id) => faulty("inspect", queue.inspect(id)),
          redrive: (portion) => faulty("redrive", queue.redrive(portion)),
          discard: (portion) => faulty("discard", queue.discard(portion)),
          countDead: (portion) => faulty("countDead", queue.countDead(portion)),
          stats: faulty("stats", queue.stats),
          transaction: queue.transaction
        }))
      )
  }
}

/**
 * Makes the store of a layer fail.
 *
 * @example
 * ```ts
 * import { BatchStore } from "@sluice/core"
 * import { FaultyStore } from "@sluice/core/testing"
 * import { Layer } from "effect"
 *
 * const DownForAMinute = FaultyStore.layer(FaultyStore.down({ fromMillis: 0, toMillis: 60_000 })).pipe(
 *   Layer.provide(BatchStore.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (plan: Plan): Layer.Layer<BatchStore, never, BatchStore> =>
  Layer.effect(BatchStore, Effect.map(BatchStore, (store) => make(store, plan)))

const unavailable = (store: string, operation: Operation) =>
  new StoreUnavailable({ store, reason: "io", cause: new Error(`a planned fault at ${operation}`) })

/** Unlike `Effect.never` it keeps no interval of the platform running. */
const hanging: Effect.Effect<never> = Effect.async<never>(() => {})

const withFault = <A, E>(
  effect: Effect.Effect<A, E>,
  fault: Fault,
  error: StoreUnavailable
): Effect.Effect<A, E | StoreUnavailable> => {
  switch (fault._tag) {
    case "Fails":
      return Effect.fail(error)
    case "LosesAnswer":
      // What it answered is lost, also where that was a failure of its own.
      return Effect.zipRight(Effect.exit(effect), Effect.fail(error))
    case "Dies":
      return Effect.die(error.cause)
    case "Hangs":
      return Effect.interruptible(hanging)
    case "HangsForEver":
      return Effect.uninterruptible(hanging)
    case "Slow":
      return Effect.zipRight(Effect.sleep(fault.millis), effect)
  }
}

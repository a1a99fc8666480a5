import { BatchQueue, type BatchStore } from "@sluice/core"
import { Clock, Effect, Exit, Schema, Scope, TestClock } from "effect"
import { BatchStore as BatchStoreTag } from "../../src/BatchStore.ts"
import { Sink } from "./sink.ts"

export type Options = Partial<BatchQueue.Options<number, number, unknown, never>>

/** A queue of numbers whose handler does as its script says, and which tells nobody of errors. */
export const numbers = (options?: Options) =>
  Effect.gen(function*() {
    const sink = new Sink<number>()
    const times: Array<number> = []
    const dropped: Array<readonly [number, string]> = []
    const internal: Array<string> = []
    const queue = yield* BatchQueue.make<number, number, unknown, never>({
      name: "test",
      schema: Schema.Number,
      process: (batch) =>
        Effect.zipRight(Effect.map(Clock.currentTimeMillis, (now) => times.push(now)), sink.flush(batch)),
      onDrop: (item, reason) => dropped.push([item, reason]),
      onProcessError: () => Effect.void,
      onInternalError: (_, operation) => Effect.sync(() => internal.push(operation)),
      metrics: false,
      ...options
    })
    return { queue, sink, times, dropped, internal }
  })

/** A queue in a scope of its own, as a process of its own would have it: `stop` closes it. */
export const numbersInProcess = (options?: Options) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const made = yield* Scope.extend(numbers(options), scope)
    return { ...made, stop: Scope.close(scope, Exit.void) }
  })

/** A queue of items of any schema that stores them, and has no worker. */
export const storing = (
  schema: Schema.Schema<any, any>,
  options?: Partial<BatchQueue.Options<any, any, never, never>>
) =>
  BatchQueue.make<any, any, never, never>({
    name: "test",
    schema,
    workers: 0,
    metrics: false,
    process: () => Effect.void,
    ...options
  })

/** A queue of numbers in a process of its own, on a store that others have as well, which it finds under `name`. */
export const openOn = (raw: BatchStore.BatchStore, name: string, options: Options) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const queue = yield* BatchQueue.make<number, number, unknown, never>({
      name,
      schema: Schema.Number,
      process: () => Effect.void,
      onProcessError: () => Effect.void,
      onInternalError: () => Effect.void,
      metrics: false,
      ...options
    }).pipe(Effect.provideService(BatchStoreTag, raw), Scope.extend(scope))
    return { queue, close: Scope.close(scope, Exit.void) }
  })

/** The store of the context, whose calls of some operations go through `around`. */
export const callingThrough = (
  operations: ReadonlyArray<keyof BatchStore.QueueStore>,
  around: <B, E>(call: Effect.Effect<B, E>) => Effect.Effect<B, E>
) =>
  Effect.map(BatchStoreTag, (stores): BatchStore.BatchStore => ({
    ...stores,
    queue: (name) =>
      Effect.map(stores.queue(name), (store) =>
        new Proxy(store, {
          get: (target, key) => {
            const value = Reflect.get(target, key)
            if (typeof value !== "function") return value
            const call = value.bind(target)
            return (operations as ReadonlyArray<string | symbol>).includes(key)
              ? (...args: ReadonlyArray<unknown>) => around(Effect.suspend(() => call(...args)))
              : call
          }
        }))
  }))

/** Lets everything happen that needs no time. */
export const settleDown = TestClock.adjust(0)

/** The claims of somebody else, who never comes back. */
export const claimAll = (store: BatchStore.QueueStore, leaseMillis: number) => store.claim({ limit: 1000, leaseMillis })

/** A durable queue of numbers, and the books of what its handler was called for. */
import { BatchQueue, BatchStore } from "@sluice/core"
import type { QueueStore } from "@sluice/core/QueueStore"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { temporaryDirectory } from "../files.ts"

export const name = "failure"

export type Options<E> = BatchQueue.Options<number, number, E, never>

/** What a handler was called for, and how often the store was asked for more. */
export interface Books {
  /** Of each call the items, in order. */
  readonly calls: Array<ReadonlyArray<number>>
  /** What each call that was interrupted was called for. */
  readonly interrupted: Array<ReadonlyArray<number>>
  /** When each item was done with, by `performance.now()`, and how often. */
  readonly doneAt: Map<number, number>
  readonly done: Array<number>
  claims: number
  logged: number
}

export const makeBooks = (): Books => ({
  calls: [],
  interrupted: [],
  doneAt: new Map(),
  done: [],
  claims: 0,
  logged: 0
})

/** Counts how often a store is asked for batches. */
const counting = (store: QueueStore, books: Books): QueueStore =>
  new Proxy(store, {
    get: (target, key) => {
      const value = Reflect.get(target, key, target)
      if (typeof value !== "function") return value
      return (...args: Array<unknown>) => {
        if (key === "claim") books.claims += 1
        return Reflect.apply(value, target, args)
      }
    }
  })

/** Everything that is logged is counted, and printed nowhere. */
export const countLogs = (books: Books) =>
  Logger.replace(Logger.defaultLogger, Logger.make(() => void (books.logged += 1)))

/** A store in memory. */
export const inMemory: Effect.Effect<Context.Context<BatchStore.BatchStore>, never, Scope.Scope> = Layer.build(
  BatchStore.layerMemory
)

/** A store in a new file, as an app opens it. */
export const inFile = (options: Partial<SqliteStore.Options> = {}) =>
  Effect.gen(function*() {
    const filename = join(yield* temporaryDirectory, "failure.db")
    const context = yield* Effect.orDie(Layer.build(
      Layer.provideMerge(SqlBatchStore.layer(), SqliteStore.layer({ filename, durable: false, ...options }))
    ))
    return { context, filename }
  })

export const storeIn = (context: Context.Context<BatchStore.BatchStore>) =>
  Effect.orDie(Context.get(context, BatchStore.BatchStore).queue(name))

/** Opens a queue, whose calls are noted. */
export const open = <E>(
  context: Context.Context<BatchStore.BatchStore>,
  books: Books,
  options: Partial<Options<E>> & Pick<Options<E>, "process">
) => {
  const stores = Context.get(context, BatchStore.BatchStore)
  const counted = BatchStore.BatchStore.of({
    ...stores,
    // What the store has for a property is looked up when it is asked for.
    get longestWaitMillis() {
      return stores.longestWaitMillis
    },
    queue: (name) => Effect.map(stores.queue(name), (store) => counting(store, books))
  })
  return BatchQueue.make<number, number, E, never>({
    name,
    schema: Schema.Number,
    metrics: false,
    ...options,
    process: (batch, queue) => {
      books.calls.push(batch.items)
      return options.process(batch, queue).pipe(
        Effect.tap(() => {
          for (const item of batch.items) {
            books.done.push(item)
            books.doneAt.set(item, performance.now())
          }
        }),
        Effect.onInterrupt(() => Effect.sync(() => void books.interrupted.push(batch.items)))
      )
    }
  }).pipe(
    Effect.provideService(BatchStore.BatchStore, counted),
    Effect.provide(countLogs(books)),
    Effect.orDie
  )
}

/** Stores items, before any of them is handled. Answers when handling began. */
export const storeFirst = (queue: BatchQueue.BatchQueue<number>, items: Iterable<number>) =>
  Effect.orDie(Effect.gen(function*() {
    yield* queue.pause
    yield* queue.offerAll(items)
    yield* queue.flush
    yield* queue.resume
    return performance.now()
  }))

/** Waits until something holds, but not for longer than this. Answers whether it does. */
export const until = (holds: () => boolean | Effect.Effect<boolean>, millis: number): Effect.Effect<boolean> =>
  Effect.gen(function*() {
    const endsAt = performance.now() + millis
    while (true) {
      const found = holds()
      if (typeof found === "boolean" ? found : yield* found) return true
      if (performance.now() >= endsAt) return false
      yield* Effect.sleep(5)
    }
  })

export const range = (count: number, from = 0): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, at) => from + at)

/** One line of the table. */
export interface Row {
  readonly what: string
  /** What was seen before failure was handled as it is now. */
  readonly before: string
  readonly now: string
  readonly figures: Readonly<Record<string, number | null>>
}

/** How many items came more than once. */
export const twice = (done: ReadonlyArray<number>): number => {
  const times = new Map<number, number>()
  for (const item of done) times.set(item, (times.get(item) ?? 0) + 1)
  return [...times.values()].filter((count) => count > 1).length
}

export const seconds = (millis: number): string => `${(millis / 1_000).toFixed(2)} s`

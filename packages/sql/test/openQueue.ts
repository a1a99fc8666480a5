/** A durable queue in a file, in the process of the tests. */
import { BatchQueue, type QueueError } from "@sluice/core"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Cause, Duration, Effect, Exit, Layer, Schema, Scope } from "effect"

/** What a queue tells. */
export interface Told {
  readonly handled: Array<string>
  readonly dropped: Array<string>
  /** The operations that have failed, and why. */
  readonly errors: Array<{ readonly operation: string; readonly reason: string | undefined }>
}

/** Opens a queue on a file, in this process. */
export const openQueue = (
  { filename }: { readonly filename: string },
  settings: Partial<BatchQueue.Options<string, string, never, never>> = {},
  store: Partial<SqliteStore.Options> = {}
) =>
  Effect.gen(function*() {
    const told: Told = { handled: [], dropped: [], errors: [] }
    // A lease has to outlast a wait for another process, three times over.
    const busyTimeout = Math.floor(Duration.toMillis(settings.leaseDuration ?? "30 seconds") / 3)
    const layer = SqlBatchStore.layer().pipe(
      Layer.provideMerge(SqliteStore.layer({ filename, busyTimeout, ...store }))
    )
    const context = yield* Layer.build(layer)
    // A scope of its own, so that it can be closed before the store is.
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const queue = yield* Effect.provide(
      BatchQueue.make<string, string, never, never>({
        name: "test",
        schema: Schema.String,
        metrics: false,
        process: ({ items }) => Effect.sync(() => void told.handled.push(...items)),
        onDrop: (item) => void told.dropped.push(item),
        onInternalError: (cause, operation) =>
          Effect.sync(() => {
            const error = Cause.squash(cause) as QueueError.StoreUnavailable
            told.errors.push({ operation, reason: error.reason })
          }),
        ...settings
      }),
      context
    ).pipe(Scope.extend(scope))
    return { close: Scope.close(scope, Exit.void), queue, told }
  })

/** So many names that begin alike, in order. */
export const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${prefix}-${String(i).padStart(3, "0")}`)

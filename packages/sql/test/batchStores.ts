/**
 * Stores of batches for tests: in fresh files, with batches whose bytes are a number.
 */
import { SqlClient } from "@effect/sql"
import { BatchStore } from "@sluice/core"
import { SqlBatchStore, SqliteStore, SqlTransaction } from "@sluice/sql"
import { Context, Effect, Layer } from "effect"
import { temporaryFile } from "./database.ts"

export const store = (options: Partial<SqliteStore.Options> = {}, prefix?: string) =>
  Effect.gen(function*() {
    const filename = options.filename ?? (yield* temporaryFile)
    const context = yield* Layer.build(
      SqlBatchStore.layer({ prefix }).pipe(Layer.provideMerge(SqliteStore.layer({ ...options, filename })))
    )
    const batches = Context.get(context, BatchStore.BatchStore)
    return {
      filename,
      context,
      batches,
      queue: yield* batches.queue("orders"),
      sql: Context.get(context, SqlClient.SqlClient),
      ...Context.get(context, SqlTransaction.SqlTransaction)
    }
  })

export const batch = (n: number, rest: Partial<BatchStore.NewBatch> = {}): BatchStore.NewBatch => ({
  payload: Uint8Array.of(n),
  items: 1,
  oldestAtMillis: n,
  ...rest
})

export const add = (queue: BatchStore.QueueStore, ...numbers: ReadonlyArray<number>) => {
  const [first, ...rest] = numbers.map((n) => batch(n))
  return queue.append({ batches: [first, ...rest] })
}

export const take = (queue: BatchStore.QueueStore, limit = 100) =>
  Effect.map(queue.claim({ limit, leaseMillis: 60_000 }), ({ batches }) => batches)

export const takeNumbers = (queue: BatchStore.QueueStore) =>
  Effect.map(take(queue), (batches) => batches.map(({ payload }) => payload[0]))

export const pending = (queue: BatchStore.QueueStore) => Effect.map(queue.stats, ({ pending }) => pending.batches)

export const failure = { attempts: 1, failedAtMillis: 1, error: "it failed" }

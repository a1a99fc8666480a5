/**
 * The routes of a program that serves: the same durable queue, whose workers are in this process, so that an operator
 * who pauses it pauses them, and sees what they do. It is in the same file as the tables: what was stored and not
 * counted when the program ended is counted when it is started again with that file.
 */
import { BatchQueue, Retry } from "@sluice/core"
import { SqlBatchStore } from "@sluice/sql"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RouteCounts from "../routes/RouteCounts.ts"
import { RoutesQueue, settings, shared } from "../routes/RoutesQueue.ts"

/** There is one process. */
const process = 1

/** How much is stored while an operator has paused the queue. Then the replay waits, and posts are refused. */
const maxPending = 50_000

const queue = Layer.unwrapEffect(Effect.map(RouteCounts.RouteCounts, (counts) => {
  let delivery = 0
  return BatchQueue.layer(RoutesQueue, {
    ...shared,
    workers: settings.workers,
    maxPending,
    retry: Retry.exponential({ base: "50 millis", cap: "1 second" }),
    process: ({ items }) => Effect.suspend(() => counts.count({ process, delivery: ++delivery }, items))
  })
}))

/** The tables are made anew, before a worker looks for them. */
const counts = Layer.tap(
  RouteCounts.layer,
  (context) => Effect.flatMap(RouteCounts.RouteCounts, ({ createTables }) => createTables).pipe(Effect.provide(context))
)

export const layer = queue.pipe(Layer.provide(SqlBatchStore.layer()), Layer.provide(counts))

/**
 * The durable queue, as both processes know it: one offers, the other has the workers. They meet in the file.
 */
import { BatchQueue, Buffer } from "@sluice/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { add, Increment } from "./Increment.ts"

export class RoutesQueue extends Context.Tag("flights/RoutesQueue")<RoutesQueue, BatchQueue.BatchQueue<Increment>>() {}

/** Numbers that are shown to the user as well. */
export const settings = {
  batchSize: 250,
  lingerMillis: 200,
  workers: 2,
  leaseMillis: 3000
}

/** The same in both processes. */
export const shared = {
  name: "routes",
  schema: Increment,
  buffer: Buffer.merging(({ route }: Increment) => route, add),
  flush: { size: settings.batchSize, linger: settings.lingerMillis },
  // So soon the other process notices a batch.
  pollInterval: "50 millis"
} as const

/** The queue of the process that only offers: without workers, nothing is handled here. */
export const layer = BatchQueue.layer(RoutesQueue, { ...shared, workers: 0, process: () => Effect.void })

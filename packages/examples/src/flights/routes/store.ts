/**
 * The file of the durable queue: its batches, and the counts that are made of them. Not the file of the other tables,
 * so that neither process waits for a lock that has nothing to do with the routes.
 */
import { SqlBatchStore } from "@sluice/sql"
import * as Layer from "effect/Layer"
import * as Database from "../database.ts"
import * as RouteCounts from "./RouteCounts.ts"
import { settings } from "./RoutesQueue.ts"

/** The path of the file, for whoever is to open it as well. */
export const temporaryFile = Database.temporary("routes.sqlite")

/** A lease has to outlast a wait for the other process, three times over. */
const busyTimeout = settings.leaseMillis / 3

/** The store of the batches, and the counts. */
export const layer = (filename: string) =>
  Layer.merge(SqlBatchStore.layer(), RouteCounts.layer).pipe(
    Layer.provide(Layer.scopedContext(Database.open(filename, busyTimeout))),
    Layer.catchAll((error) =>
      Layer.fail(error._tag === "StoreUnavailable" ? Database.unusable(filename, error) : error)
    )
  )

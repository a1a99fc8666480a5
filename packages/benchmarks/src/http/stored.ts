/** Ours, into a `BatchQueue` on a file, with a worker that handles what was stored. */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import * as BatchQueue from "@sluice/core/BatchQueue"
import * as HttpQueue from "@sluice/http/HttpQueue"
import * as SqlBatchStore from "@sluice/sql/SqlBatchStore"
import * as SqliteStore from "@sluice/sql/SqliteStore"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { expectLevel, type Query } from "../files.ts"
import { queueName, Reading } from "./item.ts"
import { type Running, Seen } from "./listening.ts"
import { mount, plainApp } from "./sluice.ts"

/** How often it is looked whether everything is settled. */
const lookEvery = "2 millis"

export const stored = (filename: string): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const seen = new Seen()
    const context = yield* Layer.build(
      SqlBatchStore.layer().pipe(
        Layer.provideMerge(SqliteStore.layer({ filename })),
        Layer.provide(Reactivity.layer)
      )
    )
    const sql = Context.get(context, SqlClient)
    // In a transaction, because outside of it a query that only reads has another connection.
    const query: Query = (text) => Effect.orDie(sql.withTransaction(sql.unsafe(text)))
    const queue = yield* BatchQueue.make({
      name: queueName,
      schema: Reading,
      process: ({ items }) => {
        seen.seeAll(items)
        return Effect.void
      }
    }).pipe(Effect.provide(context))
    const unsettled = Effect.map(queue.metrics, ({ settled, stored }) => settled < stored)
    const wait: Effect.Effect<void> = Effect.flatMap(
      unsettled,
      (more) => more ? Effect.zipRight(Effect.sleep(lookEvery), wait) : Effect.void
    )
    return {
      url: yield* mount(plainApp, HttpQueue.fromBatchQueue(queue, { schema: Reading })),
      books: Effect.map(queue.metrics, ({ dropped, held, inFlight, refused, settled, stored }) => ({
        accepted: stored,
        refused,
        dropped,
        settled,
        held: held + inFlight,
        handled: seen.handled,
        broken: seen.broken
      })),
      settle: Effect.zipRight(wait, expectLevel(query, "FULL"))
    }
  }).pipe(Effect.orDie)

import { describe, it } from "@effect/vitest"
import * as BatchStoreLaws from "@sluice/core/testing/BatchStoreLaws"
import { PostgresStore, SqlBatchStore } from "@sluice/sql"
import { Effect, Layer, Redacted } from "effect"
import { addressOf, hasServer, temporaryDatabase } from "./postgres.ts"

// The laws let days pass, by a clock of their own. They say nothing of power cuts.
const open = (database: string) =>
  SqlBatchStore.layer().pipe(Layer.provideMerge(
    PostgresStore.layer({ url: Redacted.make(addressOf(database)), durable: false, clock: "client" })
  ))

describe.skipIf(!await hasServer())("a store in PostgreSQL keeps the laws", () => {
  for (const { check, name } of BatchStoreLaws.laws({ runs: 5 })) {
    it.scoped(name, () => Effect.flatMap(temporaryDatabase, (database) => Effect.provide(check, open(database))))
  }
})

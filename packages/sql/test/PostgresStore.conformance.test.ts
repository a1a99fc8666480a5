import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import * as BatchStoreLaws from "@sluice/core/testing/BatchStoreLaws"
import { PostgresStore, SqlBatchStore } from "@sluice/sql"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import { campaign } from "../../core/test/support/campaigns.ts"
import { addressOf, hasServer, temporaryDatabase } from "./postgres.ts"

describe.skipIf(!await hasServer())("a store in PostgreSQL keeps the laws", () => {
  const scope = Effect.runSync(Scope.make())
  let database: string

  beforeAll(async () => {
    database = await Effect.runPromise(Scope.extend(temporaryDatabase, scope))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  // The laws let days pass, by a clock of their own. They say nothing of power cuts.
  const open = () =>
    SqlBatchStore.layer().pipe(Layer.provide(
      PostgresStore.layer({ url: Redacted.make(addressOf(database)), durable: false, clock: "client" })
    ))

  for (const { check, name } of BatchStoreLaws.laws({ runs: campaign(10) })) {
    it.effect(name, () => Effect.suspend(() => Effect.provide(check, open())))
  }
})

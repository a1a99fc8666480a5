import type { PgClient } from "@effect/sql-pg"
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import * as BatchStoreLaws from "@sluice/core/testing/BatchStoreLaws"
import { Effect, Exit, Scope } from "effect"
import { campaign } from "../../core/test/support/campaigns.ts"
import { connect, hasServer, temporaryDatabase } from "./postgres.ts"
import { makeStore, migrate } from "./postgresStore.ts"

describe.skipIf(!(await hasServer()))("a store in PostgreSQL", () => {
  const scope = Effect.runSync(Scope.make())
  let client: PgClient.PgClient

  beforeAll(async () => {
    const opened = Effect.tap(Effect.flatMap(temporaryDatabase, (name) => connect(name)), (client) => migrate(client))
    client = await Effect.runPromise(Scope.extend(opened, scope))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  describe("keeps the laws", () => {
    for (const { check, name } of BatchStoreLaws.laws({ runs: campaign(30) })) {
      it.effect(name, () => Effect.provideService(check, BatchStore.BatchStore, makeStore(client)))
    }
  })
})

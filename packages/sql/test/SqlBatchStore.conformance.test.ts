import { describe, it } from "@effect/vitest"
import * as BatchStoreLaws from "@sluice/core/testing/BatchStoreLaws"
import { Effect, Layer } from "effect"
import { SqlBatchStore, SqliteStore } from "../src/index.ts"
import { temporaryFile } from "./database.ts"
import { campaign } from "../../core/test/support/campaigns.ts"

// The laws let days pass, and nobody wants a look at the log for each minute of them. They say nothing of power cuts.
const open = (filename: string) =>
  SqlBatchStore.layer().pipe(
    Layer.provideMerge(SqliteStore.layer({ filename, checkpointInterval: "1000 days", durable: false }))
  )

describe("a store in SQLite keeps the laws, in memory", () => {
  for (const { check, name } of BatchStoreLaws.laws({ runs: campaign(30) })) {
    it.effect(name, () => Effect.provide(check, open(":memory:")))
  }
})

describe("a store in SQLite keeps the laws, in a file", () => {
  for (const { check, name } of BatchStoreLaws.laws({ runs: 10 })) {
    it.scoped(name, () => Effect.flatMap(temporaryFile, (filename) => Effect.provide(check, open(filename))))
  }

  it.scoped(
    "all of them in the same one",
    () => Effect.flatMap(temporaryFile, (filename) => Effect.provide(BatchStoreLaws.all({ runs: 2 }), open(filename)))
  )
})

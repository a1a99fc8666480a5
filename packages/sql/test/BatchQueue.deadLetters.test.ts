/**
 * The dead letters of a queue in SQLite: which of them are meant, how many, and how fast.
 */
import { describe } from "@effect/vitest"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Layer } from "effect"
import { deadLetterCases } from "../../core/test/support/deadLetters.ts"

describe("of the dead letters in SQLite", () => {
  deadLetterCases(
    SqlBatchStore.layer().pipe(
      Layer.provide(SqliteStore.layer({ filename: ":memory:", checkpointInterval: "1000 days", durable: false }))
    )
  )
})

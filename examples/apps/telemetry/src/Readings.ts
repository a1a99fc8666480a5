import { SqlClient } from "@effect/sql"
import { Backpressure, WriteBehind } from "@sluice/core"
import { Config, Effect } from "effect"
import type { Reading } from "./Api.ts"

const table = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    sql`CREATE TABLE IF NOT EXISTS readings (
      sensor TEXT PRIMARY KEY,
      number INTEGER NOT NULL,
      celsius REAL NOT NULL
    )`
)

/** The latest reading of each sensor, on its way to the database. */
export class Readings extends Effect.Service<Readings>()("telemetry/Readings", {
  scoped: Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* table
    return yield* WriteBehind.make({
      name: "readings",
      capacity: 10_000,
      policy: Backpressure.coalesceByKey((reading: Reading) => reading.sensor),
      flushInterval: yield* Config.duration("FLUSH_INTERVAL").pipe(Config.withDefault("1 second")),
      flush: ({ items }) =>
        sql`
          INSERT INTO readings ${sql.insert(items.map(({ celsius, number, sensor }) => ({ sensor, number, celsius })))}
          ON CONFLICT (sensor) DO UPDATE SET number = excluded.number, celsius = excluded.celsius
        `.pipe(Effect.asVoid)
    })
  })
}) {}

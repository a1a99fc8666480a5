/**
 * The rows of the statistics in SQLite: one is loaded as a whole, and saved as a whole.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import type { WriteError } from "@sluice/sql"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Writes } from "../database.ts"
import { problemOf, UnusableDatabase } from "../errors.ts"
import { Failures, type SinkFailure } from "../failures.ts"
import { none, type Statistics } from "./Statistics.ts"

/** How many times the table was asked for something, and how many of them failed. */
export interface Asked {
  readonly times: number
  readonly failed: number
}

export type LoadFailure = SqlError.SqlError | SinkFailure
export type SaveFailure = LoadFailure | WriteError.WriteError

export class StatisticsTable extends Context.Tag("flights/StatisticsTable")<StatisticsTable, {
  readonly load: (airport: string) => Effect.Effect<Statistics, LoadFailure>
  readonly save: (statistics: Statistics) => Effect.Effect<void, SaveFailure>
  readonly written: Effect.Effect<ReadonlyArray<Statistics>, SqlError.SqlError>
  /** Counted here, where SQL is run, and not by those who ask. */
  readonly counts: Effect.Effect<{ readonly loads: Asked; readonly saves: Asked }>
}>() {}

const createTable = (sql: SqlClient.SqlClient) =>
  Effect.zipRight(
    sql`DROP TABLE IF EXISTS sluice_airport_statistics`,
    sql`CREATE TABLE sluice_airport_statistics (
      airport TEXT PRIMARY KEY, flights INTEGER NOT NULL, late INTEGER NOT NULL, delay_sum INTEGER NOT NULL,
      worst_delay INTEGER, worst_seq INTEGER, saves INTEGER NOT NULL)`
  )

/** The row is written as it was made of the one that was loaded: whoever saves in between is overwritten. */
const replace = (sql: SqlClient.SqlClient, statistics: Statistics) =>
  sql`INSERT OR REPLACE INTO sluice_airport_statistics ${sql.insert({ ...statistics, saves: statistics.saves + 1 })}`

export const layer = (options: {
  /** What a load or a save waits before it begins, as if the database were far away. */
  readonly delay: Duration.DurationInput
  /** For messages. */
  readonly file: string
}): Layer.Layer<StatisticsTable, UnusableDatabase, SqlClient.SqlClient | Writes | Failures> =>
  Layer.effect(
    StatisticsTable,
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      const failures = yield* Failures
      yield* sql.withTransaction(createTable(sql)).pipe(
        Effect.mapError((error) => new UnusableDatabase({ file: options.file, problem: problemOf(error) }))
      )
      const loads = { times: 0, failed: 0 }
      const saves = { times: 0, failed: 0 }
      const counted = <A, E>(asked: { times: number; failed: number }, effect: Effect.Effect<A, E>) =>
        Effect.suspend(() => {
          asked.times += 1
          return Effect.zipRight(Effect.sleep(options.delay), effect)
        }).pipe(Effect.tapErrorCause(() => Effect.sync(() => asked.failed += 1)))
      return {
        load: (airport) =>
          counted(
            loads,
            sql<Statistics>`SELECT * FROM sluice_airport_statistics WHERE airport = ${airport}`.pipe(
              Effect.zipLeft(failures.strike("statistics: load")),
              Effect.map(([row]) => row ?? none(airport))
            )
          ),
        save: (statistics) =>
          counted(
            saves,
            // Like a flush of the queues: the failure comes after the statement, and rolls back this write alone.
            writes.submit(Effect.zipRight(replace(sql, statistics), failures.strike("statistics: save")), {
              name: "statistics"
            })
          ),
        written: sql<Statistics>`SELECT * FROM sluice_airport_statistics ORDER BY airport`,
        counts: Effect.sync(() => ({ loads: { ...loads }, saves: { ...saves } }))
      }
    })
  )

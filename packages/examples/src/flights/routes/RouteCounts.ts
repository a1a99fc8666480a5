/**
 * The counts of the routes, and what they were made of: each batch that was counted, every time it was counted.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { batchOf, type Increment } from "./Increment.ts"

export interface CountRow {
  readonly route: string
  readonly flights: number
  readonly delay_sum: number
}

/** One increment of a batch that was counted. */
export interface DeliveryRow extends CountRow {
  /** Which process has counted it, and when: 1 is its first. Both together name the delivery. */
  readonly process: number
  readonly delivery: number
  /** Its first flight. */
  readonly batch: number
  readonly first_seq: number
  readonly last_seq: number
}

export interface Counted {
  readonly counts: ReadonlyArray<CountRow>
  readonly deliveries: ReadonlyArray<DeliveryRow>
}

type Increments = readonly [Increment, ...ReadonlyArray<Increment>]

export class RouteCounts extends Context.Tag("flights/RouteCounts")<RouteCounts, {
  readonly createTables: Effect.Effect<void, SqlError.SqlError>
  /** Counts a batch, in a transaction of its own. Once more, if it is called once more. */
  readonly count: (
    delivery: { readonly process: number; readonly delivery: number },
    increments: Increments
  ) => Effect.Effect<void, SqlError.SqlError>
  readonly counted: Effect.Effect<Counted, SqlError.SqlError>
}>() {}

const createTables = (sql: SqlClient.SqlClient) =>
  sql.withTransaction(Effect.gen(function*() {
    // A file of the user's may have those of the last run.
    yield* sql`DROP TABLE IF EXISTS sluice_route_counts`
    yield* sql`DROP TABLE IF EXISTS sluice_route_deliveries`
    yield* sql`CREATE TABLE sluice_route_counts (
      route TEXT PRIMARY KEY, flights INTEGER NOT NULL, delay_sum INTEGER NOT NULL)`
    yield* sql`CREATE TABLE sluice_route_deliveries (
      process INTEGER NOT NULL, delivery INTEGER NOT NULL, batch INTEGER NOT NULL, route TEXT NOT NULL,
      first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, flights INTEGER NOT NULL, delay_sum INTEGER NOT NULL,
      PRIMARY KEY (process, delivery, route)) WITHOUT ROWID`
  }))

const addToCounts = (sql: SqlClient.SqlClient, increments: Increments) =>
  sql`INSERT INTO sluice_route_counts ${
    sql.insert(increments.map(({ delaySum, flights, route }) => ({ route, flights, delay_sum: delaySum })))
  } ON CONFLICT (route) DO UPDATE SET
    flights = flights + excluded.flights, delay_sum = delay_sum + excluded.delay_sum`

const insertDelivery = (
  sql: SqlClient.SqlClient,
  delivery: { readonly process: number; readonly delivery: number },
  increments: Increments
) =>
  sql`INSERT INTO sluice_route_deliveries ${
    sql.insert(increments.map(({ delaySum, firstSeq, flights, lastSeq, route }) => ({
      ...delivery,
      batch: batchOf(increments),
      route,
      first_seq: firstSeq,
      last_seq: lastSeq,
      flights,
      delay_sum: delaySum
    })))
  }`

export const layer: Layer.Layer<RouteCounts, never, SqlClient.SqlClient> = Layer.effect(
  RouteCounts,
  Effect.map(SqlClient.SqlClient, (sql) => ({
    createTables: createTables(sql),
    // Both or neither: so the deliveries say exactly what is in the counts, whenever the process is killed.
    count: (delivery, increments) =>
      sql.withTransaction(
        Effect.zipRight(addToCounts(sql, increments), insertDelivery(sql, delivery, increments))
      ).pipe(Effect.asVoid),
    counted: sql.withTransaction(Effect.all({
      counts: sql<CountRow>`SELECT * FROM sluice_route_counts ORDER BY route`,
      deliveries: sql<DeliveryRow>`SELECT * FROM sluice_route_deliveries ORDER BY process, delivery, first_seq`
    }))
  }))
)

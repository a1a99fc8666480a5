/**
 * The slow store: two SQLite tables, written a batch at a time. Each batch is one write of the coordinator.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import type { WriteError } from "@sluice/sql"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Writes } from "./database.ts"
import { problemOf, UnusableDatabase } from "./errors.ts"
import { Failures, type SinkFailure } from "./failures.ts"
import type { Departure } from "./Flight.ts"

/** A row of the table of flights. */
export interface FlightRow {
  readonly seq: number
  readonly date: string
  readonly delay: number
  readonly distance: number
  readonly origin: string
  readonly destination: string
  /** How many flights the row stands for, and their delays together. */
  readonly flights: number
  readonly delay_sum: number
}

/** A row of the board: the last departure of an airport. */
export interface BoardRow {
  readonly airport: string
  readonly seq: number
  readonly date: string
  readonly delay: number
  readonly destination: string
  /** Of all departures so far. */
  readonly flights: number
  readonly delay_sum: number
  /** How many times the row was written. */
  readonly writes: number
}

export interface Written {
  readonly flights: ReadonlyArray<FlightRow>
  readonly board: ReadonlyArray<BoardRow>
}

type Items = ReadonlyArray<Departure>

type WriteFailure = SqlError.SqlError | SinkFailure | WriteError.WriteError

export class Sink extends Context.Tag("flights/Sink")<Sink, {
  readonly writeFlights: (items: Items) => Effect.Effect<void, WriteFailure>
  readonly writeBoard: (items: Items) => Effect.Effect<void, WriteFailure>
  readonly written: Effect.Effect<Written, SqlError.SqlError>
  readonly sqliteVersion: string
}>() {}

const createTables = (sql: SqlClient.SqlClient) =>
  Effect.gen(function*() {
    yield* sql`DROP TABLE IF EXISTS sluice_flights`
    yield* sql`DROP TABLE IF EXISTS sluice_board`
    yield* sql`CREATE TABLE sluice_flights (
      seq INTEGER PRIMARY KEY, date TEXT NOT NULL, delay INTEGER NOT NULL, distance INTEGER NOT NULL,
      origin TEXT NOT NULL, destination TEXT NOT NULL, flights INTEGER NOT NULL, delay_sum INTEGER NOT NULL)`
    yield* sql`CREATE TABLE sluice_board (
      airport TEXT PRIMARY KEY, seq INTEGER NOT NULL, date TEXT NOT NULL, delay INTEGER NOT NULL,
      destination TEXT NOT NULL, flights INTEGER NOT NULL, delay_sum INTEGER NOT NULL, writes INTEGER NOT NULL)`
    const [{ version }] = yield* sql<{ version: string }>`SELECT sqlite_version() AS version`
    return version
  })

const insertFlights = (sql: SqlClient.SqlClient, items: Items) =>
  sql`INSERT INTO sluice_flights ${
    sql.insert(items.map(({ delaySum, flight, flights, seq }) => ({
      seq,
      date: flight.date,
      delay: flight.delay,
      distance: flight.distance,
      origin: flight.origin,
      destination: flight.destination,
      flights,
      delay_sum: delaySum
    })))
  }`

const upsertBoard = (sql: SqlClient.SqlClient, items: Items) =>
  sql`INSERT INTO sluice_board ${
    sql.insert(items.map(({ delaySum, flight, flights, seq }) => ({
      airport: flight.origin,
      seq,
      date: flight.date,
      delay: flight.delay,
      destination: flight.destination,
      flights,
      delay_sum: delaySum,
      writes: 1
    })))
  } ON CONFLICT (airport) DO UPDATE SET
    seq = excluded.seq, date = excluded.date, delay = excluded.delay, destination = excluded.destination,
    flights = flights + excluded.flights, delay_sum = delay_sum + excluded.delay_sum, writes = writes + 1`

export const layer = (options: {
  /** What every write waits before it begins, as if the database were far away. */
  readonly delay: Duration.DurationInput
  /** For messages. */
  readonly file: string
}): Layer.Layer<Sink, UnusableDatabase, SqlClient.SqlClient | Writes | Failures> =>
  Layer.effect(
    Sink,
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      const failures = yield* Failures
      const sqliteVersion = yield* sql.withTransaction(createTables(sql)).pipe(
        Effect.mapError((error) => new UnusableDatabase({ file: options.file, problem: problemOf(error) }))
      )
      const write = (queue: string, statement: Effect.Effect<unknown, SqlError.SqlError>) =>
        Effect.zipRight(
          Effect.sleep(options.delay),
          // The failure comes after the statement and before the commit. It rolls back this write and no other of its
          // group, which makes it safe to try again: the counts on the board would otherwise be added twice.
          // Not `retryable`: the queue tries again by itself, whatever has failed, and later each time.
          writes.submit(Effect.zipRight(statement, failures.strike(queue)), { name: queue })
        )
      return {
        writeFlights: (items) => write("flights", insertFlights(sql, items)),
        writeBoard: (items) => write("board", upsertBoard(sql, items)),
        // In a transaction, so that both tables are of the same moment.
        written: sql.withTransaction(Effect.all({
          flights: sql<FlightRow>`SELECT * FROM sluice_flights ORDER BY seq`,
          board: sql<BoardRow>`SELECT * FROM sluice_board ORDER BY airport`
        })),
        sqliteVersion
      }
    })
  )

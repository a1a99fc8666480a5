/**
 * The new slots that airports have given to late departures, which have missed theirs: one row each, in the order of the
 * airport's versions. An airport has so many to give a day; a departure that finds none is refused.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import { Retry } from "@sluice/core"
import type { WriteError } from "@sluice/sql"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Writes } from "../database.ts"
import { problemOf, UnusableDatabase } from "../errors.ts"
import { Failures, type SinkFailure } from "../failures.ts"
import { dayOf, type NumberedFlight } from "../Flight.ts"

/** Numbers that are shown to the user as well. */
export const settings = { slotsADay: 2 }

/** A row of the table: a slot that was given to a departure. */
export interface SlotRow {
  readonly airport: string
  /** 1, 2, 3, ... at each airport. */
  readonly version: number
  readonly seq: number
  readonly day: string
  /** Which of the day's slots it is: 1 is the first. */
  readonly slot: number
}

/** The day's slots are all given. Nothing has been written. */
export class NoSlotLeft extends Data.TaggedError("NoSlotLeft")<{ readonly airport: string; readonly day: string }> {}

/** The departure has a slot already. Nothing has been written. */
export class AlreadyGiven extends Data.TaggedError("AlreadyGiven")<{ readonly version: number }> {}

/** The slot may have been given, and nobody was told. */
export class AnswerLost extends Data.TaggedError("AnswerLost")<{ readonly seq: number }> {}

export type BookFailure =
  | NoSlotLeft
  | AlreadyGiven
  | AnswerLost
  | SinkFailure
  | SqlError.SqlError
  | WriteError.WriteError

export interface BookCounts {
  /** Attempts to write a row that were rolled back by a failure. */
  readonly rolledBack: number
  /** How many times the version of an airport was looked up. */
  readonly lookups: number
}

export class SlotBook extends Context.Tag("flights/SlotBook")<SlotBook, {
  /** Gives a slot, under this version; or writes nothing, and says why. */
  readonly give: (departing: NumberedFlight, version: number) => Effect.Effect<void, BookFailure>
  /** The version of the last slot that was given; 0 where none was. */
  readonly currentVersion: (airport: string) => Effect.Effect<number, SqlError.SqlError>
  readonly written: Effect.Effect<ReadonlyArray<SlotRow>, SqlError.SqlError>
  readonly counts: Effect.Effect<BookCounts>
}>() {}

const createTable = (sql: SqlClient.SqlClient) =>
  Effect.zipRight(
    sql`DROP TABLE IF EXISTS sluice_airport_slots`,
    // No version twice, and no flight twice: should the pool be wrong, the database says so.
    sql`CREATE TABLE sluice_airport_slots (
      airport TEXT NOT NULL, version INTEGER NOT NULL, seq INTEGER NOT NULL UNIQUE, day TEXT NOT NULL,
      slot INTEGER NOT NULL, PRIMARY KEY (airport, version)) WITHOUT ROWID`
  )

/** The last slot that the airport has given, and whether this flight has one already. */
interface LastSlot {
  readonly day: string
  readonly slot: number
  /** The version of this flight's slot. */
  readonly given: number | null
}

/** Looks and writes in one write of the coordinator: what is refused or fails is rolled back as a whole. */
const insertSlot = (sql: SqlClient.SqlClient, { flight, seq }: NumberedFlight, version: number) =>
  Effect.gen(function*() {
    const { origin: airport } = flight
    const day = dayOf(flight)
    const [last] = yield* sql<LastSlot>`
      SELECT day, slot, (SELECT version FROM sluice_airport_slots WHERE seq = ${seq}) AS given
      FROM sluice_airport_slots WHERE airport = ${airport} ORDER BY version DESC LIMIT 1`
    if (typeof last?.given === "number") return yield* new AlreadyGiven({ version: last.given })
    const slot = last?.day === day ? last.slot + 1 : 1
    yield* sql`INSERT INTO sluice_airport_slots ${sql.insert({ airport, version, seq, day, slot })}`
    // Too late on purpose: the row is there, and has to go again.
    if (slot > settings.slotsADay) return yield* new NoSlotLeft({ airport, day })
  })

/** Until the write is committed, the airport's other commands wait: the pool runs one after another. */
const retry = Retry.exponential({ base: "1 millis", cap: "200 millis", retries: 10 })

export const layer = (options: {
  /** For messages. */
  readonly file: string
}): Layer.Layer<SlotBook, UnusableDatabase, SqlClient.SqlClient | Writes | Failures> =>
  Layer.effect(
    SlotBook,
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const writes = yield* Writes
      const failures = yield* Failures
      yield* sql.withTransaction(createTable(sql)).pipe(
        Effect.mapError((error) => new UnusableDatabase({ file: options.file, problem: problemOf(error) }))
      )
      const counts = { rolledBack: 0, lookups: 0 }
      const strike = failures.strike("slots").pipe(Effect.tapError(() => Effect.sync(() => counts.rolledBack += 1)))
      return {
        give: (departing, version) =>
          writes.submit(Effect.zipRight(insertSlot(sql, departing, version), strike), { name: "slots" }).pipe(
            // What was rolled back has certainly not happened: it is tried again under the same version.
            Effect.retry({ schedule: retry, while: (error) => error._tag === "SinkFailure" }),
            // Here it is committed, and nobody hears of it, as when a connection breaks.
            Effect.zipLeft(
              failures.strike("slots: answer").pipe(
                Effect.mapError(() => new AnswerLost({ seq: departing.seq }))
              )
            )
          ),
        currentVersion: (airport) =>
          Effect.suspend(() => {
            counts.lookups += 1
            return sql<{ version: number }>`
              SELECT coalesce(max(version), 0) AS version FROM sluice_airport_slots WHERE airport = ${airport}`
          }).pipe(Effect.map(([{ version }]) => version)),
        written: sql<SlotRow>`SELECT * FROM sluice_airport_slots ORDER BY airport, version`,
        counts: Effect.sync(() => ({ ...counts }))
      }
    })
  )

/**
 * The events in SQLite. An event has the next version of its instrument, and the database lets each version be there
 * once: of two processes that write the same version one is told that it is taken.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { QueueError } from "@sluice/core"
import { WriteCoordinator } from "@sluice/sql"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Event } from "./Book.ts"

/** Commands of different instruments run at the same time, and their events share a commit. */
class Writes extends Context.Tag("order-book/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const Row = Schema.Struct({
  instrument: Schema.String,
  version: Schema.Int,
  /** The command that has led to it. */
  command: Schema.Int,
  event: Schema.parseJson(Event)
})

/** An event at its place. */
export type Entry = typeof Row.Type

const encode = Schema.encode(Row)
const decodeAll = Schema.decodeUnknown(Schema.Array(Row))

/** The events could not be read or not be written. */
export class JournalUnavailable extends Data.TaggedError("JournalUnavailable")<{ readonly cause: unknown }> {}

const unavailable = Effect.mapError((cause: unknown) => new JournalUnavailable({ cause }))

export class Journal extends Context.Tag("order-book/Journal")<Journal, {
  /** The version of the last event; 0 where there is none. */
  readonly currentVersion: (instrument: string) => Effect.Effect<number, JournalUnavailable>
  /** The events after one version, up to another. */
  readonly between: (
    instrument: string,
    after: number,
    upTo: number
  ) => Effect.Effect<ReadonlyArray<Entry>, JournalUnavailable>
  /** **Errors**: `VersionConflict` where somebody else has written that version: nothing is written. */
  readonly append: (entry: Entry) => Effect.Effect<void, QueueError.VersionConflict | JournalUnavailable>
  /** Everything, by instrument and version. */
  readonly all: Effect.Effect<ReadonlyArray<Entry>, JournalUnavailable>
}>() {}

const make = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const writes = yield* Writes
  yield* sql`CREATE TABLE IF NOT EXISTS events (
    instrument TEXT NOT NULL,
    version INTEGER NOT NULL,
    command INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (instrument, version)
  ) WITHOUT ROWID`
  const read = (where: ReturnType<typeof sql.and>) =>
    sql`SELECT instrument, version, command, event FROM events WHERE ${where} ORDER BY instrument, version`.pipe(
      Effect.flatMap(decodeAll),
      unavailable
    )
  return Journal.of({
    currentVersion: (instrument) =>
      sql<{ version: number }>`SELECT coalesce(max(version), 0) AS version FROM events WHERE instrument = ${instrument}`
        .pipe(Effect.map(([{ version }]) => version), unavailable),
    between: (instrument, after, upTo) =>
      read(sql.and([sql`instrument = ${instrument}`, sql`version > ${after}`, sql`version <= ${upTo}`])),
    append: (entry) =>
      Effect.gen(function*() {
        const row = yield* encode(entry)
        // Answers no row where the version is taken: so we need not know the error codes of a driver.
        const appended = yield* writes.submit(
          sql`INSERT INTO events ${sql.insert({ ...row })}
            ON CONFLICT (instrument, version) DO NOTHING RETURNING version`,
          { name: "append" }
        )
        return appended.length > 0
      }).pipe(
        unavailable,
        Effect.flatMap((isAppended) =>
          isAppended
            ? Effect.void
            : Effect.fail(new QueueError.VersionConflict({ key: entry.instrument, version: entry.version }))
        )
      ),
    all: read(sql.and([]))
  })
})

export const layer = Layer.effect(Journal, make).pipe(
  Layer.provide(WriteCoordinator.layer(Writes, { name: "events" }))
)

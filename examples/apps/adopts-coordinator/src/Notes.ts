// A service as many apps have it: it knows SqlClient, and nothing of a coordinator.
import { Reactivity } from "@effect/experimental"
import { SqlClient } from "@effect/sql"
import { Effect, Schema } from "effect"

export class UnknownNote extends Schema.TaggedError<UnknownNote>()("UnknownNote", { id: Schema.Int }) {}

export class Notes extends Effect.Service<Notes>()("app/Notes", {
  effect: Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const reactivity = yield* Reactivity.Reactivity
    yield* sql`CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0)`
    yield* sql`CREATE TABLE IF NOT EXISTS history (note INTEGER NOT NULL, what TEXT NOT NULL)`

    // Queries that are watched run again after the commit.
    const write = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      reactivity.mutation(["notes"], sql.withTransaction(effect))

    const count = Effect.map(
      sql<{ open: number }>`SELECT count(*) AS open FROM notes WHERE done = 0`,
      ([row]) => row?.open ?? 0
    )

    return {
      /** Adds a note and a line of its history, or neither. */
      add: (text: string) =>
        write(Effect.gen(function*() {
          const [note] = yield* sql<{ id: number }>`INSERT INTO notes ${sql.insert({ text })} RETURNING id`
          yield* sql`INSERT INTO history ${sql.insert({ note: note?.id ?? 0, what: "added" })}`
          return note?.id ?? 0
        })),

      finish: (id: number) =>
        write(Effect.gen(function*() {
          yield* sql`INSERT INTO history ${sql.insert({ note: id, what: "done" })}`
          const rows = yield* sql`UPDATE notes SET done = 1 WHERE id = ${id} RETURNING id`
          if (rows.length === 0) return yield* new UnknownNote({ id })
        })),

      count,
      /** How many notes are open, now and whenever that changes. */
      open: sql.reactive(["notes"], count),
      history: sql<{ note: number; what: string }>`SELECT * FROM history`
    }
  })
}) {}

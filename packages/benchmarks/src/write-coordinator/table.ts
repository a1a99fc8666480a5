/** What is written, and whether it has arrived. */
import Sqlite from "better-sqlite3"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { expectLevel, type Level, type Query } from "../files.ts"

export const createTable = "CREATE TABLE writes (id INTEGER PRIMARY KEY, value TEXT NOT NULL)"
export const valueOf = (id: number): string => `value ${id}`

/**
 * Fails unless the connection commits as it should, and the rows 0, 1, 2, ..., `count` - 1 are in the file, and nothing
 * else. It looks through a connection of its own, which sees only what is committed.
 */
export const makeCheck = (
  filename: string,
  query: Query,
  level: Level
): Effect.Effect<(count: number) => Effect.Effect<void>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Sqlite(filename, { readonly: true })),
      (reader) => Effect.sync(() => reader.close())
    ),
    (reader) => {
      const counting = reader.prepare<[number], { readonly found: number; readonly correct: number }>(
        "SELECT count(*) AS found, count(*) FILTER (WHERE id >= 0 AND id < ? AND value = 'value ' || id) AS correct"
          + " FROM writes"
      )
      return (count) =>
        Effect.gen(function*() {
          yield* expectLevel(query, level)
          const { correct, found } = counting.get(count)!
          if (found !== count || correct !== count) {
            throw new Error(`${found} rows, ${correct} of them as expected, instead of ${count}`)
          }
        })
    }
  )

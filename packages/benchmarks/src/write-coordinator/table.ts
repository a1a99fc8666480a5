/** The files that are written, what is written into them, and whether it has arrived. */
import Sqlite from "better-sqlite3"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdtempSync, rmSync, statfsSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** When a commit is answered: once the disk has it, or once the operating system has it. */
export type Level = "FULL" | "NORMAL"

/** What `PRAGMA synchronous` answers. */
const levelNumber = { NORMAL: 1, FULL: 2 }

/** Runs a query on the connection that writes. */
export type Query = (sql: string) => Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>>

export const createTable = "CREATE TABLE writes (id INTEGER PRIMARY KEY, value TEXT NOT NULL)"
export const valueOf = (id: number): string => `value ${id}`

/** The number of a file system that is kept in memory, on Linux. */
const tmpfs = 0x01021994

/** A directory that is gone when the scope is. */
export const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"))
    if (statfsSync(directory).type === tmpfs) {
      process.emitWarning(`${directory} is in memory, where a sync costs nothing: set TMPDIR to a directory on a disk`)
    }
    return directory
  }),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const expectPragma = (query: Query, pragma: string, expected: unknown) =>
  Effect.map(query(`PRAGMA ${pragma}`), ([row]) => {
    if (row?.[pragma] !== expected) throw new Error(`${pragma} is ${String(row?.[pragma])} instead of ${expected}`)
  })

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
          yield* expectPragma(query, "journal_mode", "wal")
          yield* expectPragma(query, "synchronous", levelNumber[level])
          // On macOS a plain sync does not reach the disk.
          if (level === "FULL") yield* expectPragma(query, "fullfsync", 1)
          const { correct, found } = counting.get(count)!
          if (found !== count || correct !== count) {
            throw new Error(`${found} rows, ${correct} of them as expected, instead of ${count}`)
          }
        })
    }
  )

/** The files of SQLite that a benchmark writes to, and when their commits are answered. */
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

/** Fails unless the connection commits as it should. */
export const expectLevel = (query: Query, level: Level): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* expectPragma(query, "journal_mode", "wal")
    yield* expectPragma(query, "synchronous", levelNumber[level])
    // On macOS a plain sync does not reach the disk.
    if (level === "FULL") yield* expectPragma(query, "fullfsync", 1)
  })

/**
 * The SQLite database and its one writer as Layers: the user's file, or a temporary one that is removed with the scope.
 *
 * The queues write through `Writes`. Whatever of theirs waits at the same moment shares a transaction, and so one sync
 * of the disk; each write in it can still fail alone.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import type { QueueError } from "@sluice/core"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import { UnusableDatabase } from "./errors.ts"

export class Writes extends Context.Tag("flights/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

/** How long a lock of another program is waited for: with the default of 10 seconds one might think that we hang. */
const defaultBusyTimeout = "5 seconds"

const problems: Readonly<Record<QueueError.UnavailableReason, string>> = {
  "locked": "another program is writing to it, and does not end",
  "full": "the disk is full",
  "io": "the disk failed",
  "read-only": "it cannot be written to",
  "permission": "there is no permission to open it",
  "missing-directory": "its directory does not exist",
  "missing-file": "it does not exist",
  "cannot-open": "it cannot be opened: it must be a file that can be read and written",
  "not-a-database": "the file is not a database",
  "corrupt": "the database is damaged",
  "moved": "it was deleted, renamed or replaced while it was open",
  "unreachable": "its server cannot be reached",
  "timeout": "its server does not answer",
  "exhausted": "its server has no free connection",
  "missing-database": "it does not exist on its server",
  "unsupported": "its server is too old, or set up in a way that does not work",
  "closed": "it is closed",
  "memory": "there is not enough memory to open it",
  "driver": "the driver of SQLite does not work here",
  "failed": "it answered with an error that is not known"
}

/** The path of a file in a directory of its own, which is removed with the scope. */
export const temporary = (
  name: string
): Effect.Effect<string, UnusableDatabase, FileSystem.FileSystem | Path.Path | Scope> =>
  Effect.gen(function*() {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    return path.join(yield* files.makeTempDirectoryScoped({ prefix: "sluice-flights-" }), name)
  }).pipe(Effect.mapError((error) => new UnusableDatabase({ file: "(temporary)", problem: error.message })))

export const unusable = (file: string, { reason }: QueueError.StoreUnavailable): UnusableDatabase =>
  new UnusableDatabase({ file, problem: problems[reason] })

export const open = (
  filename: string,
  busyTimeout: Duration.DurationInput = defaultBusyTimeout
): Effect.Effect<Context.Context<SqliteStore.Services>, UnusableDatabase, Scope> =>
  Layer.build(SqliteStore.layer({ filename, busyTimeout })).pipe(
    Effect.catchTags({
      StoreUnavailable: (error) => Effect.fail(unusable(filename, error)),
      InvalidOption: ({ limit }) =>
        Effect.fail(new UnusableDatabase({ file: filename, problem: `it must be ${limit}` }))
    })
  )

const openFlights = (file: Option.Option<string>) =>
  Effect.flatMap(
    Option.match(file, { onNone: () => temporary("flights.sqlite"), onSome: Effect.succeed }),
    (filename) => open(filename)
  )

/** Closing ends the writer first, and then closes the file. */
export const layer = (
  file: Option.Option<string>
): Layer.Layer<
  SqliteStore.Services | Writes,
  UnusableDatabase | QueueError.InvalidOption,
  FileSystem.FileSystem | Path.Path
> => Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes" }), Layer.scopedContext(openFlights(file)))

/**
 * The SQLite database as a Layer: the user's file, or a temporary one that is removed with the scope.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import { problemOf, UnusableDatabase } from "./errors.ts"

const temporary: Effect.Effect<string, UnusableDatabase, FileSystem.FileSystem | Path.Path | Scope> = Effect.gen(
  function*() {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    return path.join(yield* files.makeTempDirectoryScoped({ prefix: "sluice-flights-" }), "flights.sqlite")
  }
).pipe(Effect.mapError((error) => new UnusableDatabase({ file: "(temporary)", problem: error.message })))

export const layer = (
  file: Option.Option<string>
): Layer.Layer<SqlClient, UnusableDatabase, FileSystem.FileSystem | Path.Path> =>
  Layer.unwrapScoped(Effect.map(
    Option.match(file, { onNone: () => temporary, onSome: Effect.succeed }),
    (filename) =>
      // The client throws where the file cannot be opened, so that a user's mistake would come as a defect.
      Layer.catchAllCause(
        SqliteClient.layer({ filename }),
        (cause) => Layer.fail(new UnusableDatabase({ file: filename, problem: problemOf(Cause.squash(cause)) }))
      )
  ))

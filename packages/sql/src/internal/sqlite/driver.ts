/**
 * The driver of SQLite: Effect's client on top of better-sqlite3. No other file imports it. `connection.ts` works around
 * the quirks of its connection. `driverErrors.ts` knows its errors, and can be imported without the driver.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** The stock connection to a file. It closes with the scope, and fails with what the driver throws. */
export const openStock = (
  options: { readonly filename: string; readonly readonly: boolean; readonly prepareCacheSize: number }
): Effect.Effect<Connection, unknown, Scope.Scope> =>
  SqliteClient.make({
    ...options,
    // Changing the journal mode needs a lock, and the driver would block for five seconds to get it.
    disableWAL: true
  }).pipe(
    Effect.flatMap((client) => client.reserve),
    Effect.catchAllDefect(Effect.fail),
    Effect.provide(Reactivity.layer)
  )

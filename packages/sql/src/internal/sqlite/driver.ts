/**
 * The driver of SQLite: Effect's client on top of better-sqlite3. No other file imports it. `connection.ts` works around
 * the quirks of its connection. `driverErrors.ts` knows its errors, and `driverFaults.ts` what is wrong with the driver
 * itself; both can be imported without it.
 *
 * It is loaded when the first file is opened: then a driver that is missing is an error like any other.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import type { Connection } from "@effect/sql/SqlConnection"
import type { BackupMetadata, SqliteClient, SqliteClientConfig } from "@effect/sql-sqlite-node/SqliteClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createRequire } from "node:module"
import { clientPackage, driverFault, driverPackage, refusedPair } from "./driverFaults.ts"

// In a bundle of CommonJS modules, nothing tells where a module is.
const fromHere = () => createRequire(import.meta.url ?? process.argv[1])

const fromClient = () => createRequire(fromHere().resolve(`${clientPackage}/package.json`))

/** The version of better-sqlite3 that Effect's client finds. Undefined where it is not found: then loading it says why. */
const versionOfDriver = (): string | undefined => {
  // Where the client is part of a bundle, the driver is found from there.
  for (const from of [fromClient, fromHere]) {
    try {
      return from()(`${driverPackage}/package.json`).version
    } catch {
      // The next one, or the driver itself.
    }
  }
  return undefined
}

/** Refuses a driver that would end the process, before it is loaded. */
const refuse = Effect.suspend(() => {
  const version = versionOfDriver()
  const refused = version === undefined ? undefined : refusedPair(process.versions, version)
  return refused === undefined ? Effect.void : Effect.fail(refused)
})

const load = Effect.tryPromise({
  // A bundler takes a package that is missing for one that may be missing where that is caught right there.
  try: () => import("@effect/sql-sqlite-node/SqliteClient").catch((error: unknown) => Promise.reject(error)),
  catch: (error) => error
})

let client: Effect.Effect.Success<typeof load> | undefined

const loaded = Effect.suspend(() =>
  client !== undefined
    ? Effect.succeed(client)
    : Effect.tap(Effect.zipRight(refuse, load), (module) => Effect.sync(() => void (client = module)))
)

export type { SqliteClient, SqliteClientConfig }

/** A stock connection, with what its type does not tell. */
export interface StockConnection extends Connection {
  readonly export: Effect.Effect<Uint8Array, SqlError>
  readonly backup: (destination: string) => Effect.Effect<BackupMetadata, SqlError>
}

/** The stock connection to a file. It closes with the scope, and fails with what the driver throws. */
export const openStock = (
  options: { readonly filename: string; readonly readonly: boolean; readonly prepareCacheSize: number }
): Effect.Effect<StockConnection, unknown, Scope.Scope> =>
  loaded.pipe(
    Effect.flatMap((SqliteClient) =>
      SqliteClient.make({
        ...options,
        // Changing the journal mode needs a lock, and the driver would block for five seconds to get it.
        disableWAL: true
      })
    ),
    Effect.flatMap((client) => client.reserve as Effect.Effect<StockConnection, SqlError, Scope.Scope>),
    Effect.catchAllDefect(Effect.fail),
    Effect.mapError((error) => driverFault(error, process.versions.node) ?? error),
    Effect.provide(Reactivity.layer)
  )

/**
 * Opens a database of PostgreSQL with a pool of its own, typed errors, and an option that says what "stored" means.
 *
 * Transactions run side by side, each on a connection of the pool. An app that has a client already does not need this:
 * `SqlTransaction.layer` makes transactions of that.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import type { InvalidOption, StoreUnavailable } from "@sluice/core/QueueError"
import * as Table from "@sluice/core/unstable/OptionTable"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { openStock } from "./internal/postgres/driver.ts"
import { type Checked, module, type Options, table } from "./internal/postgres/options.ts"
import { addressOf } from "./internal/server/storeOf.ts"
import { openServices, unavailable } from "./internal/postgres/server.ts"
import * as SqlTransaction from "./SqlTransaction.ts"

export type { Options }

/**
 * The services that an open database provides.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = SqlClient | SqlTransaction.SqlTransaction

/** The host, the port and the database: what errors name, without what is secret. */
const storeOf = (options: Checked): string => {
  const url = options.url === undefined ? undefined : urlOf(Redacted.value(options.url))
  const host = options.host ?? url?.hostname ?? process.env["PGHOST"] ?? "localhost"
  const port = options.port ?? (url?.port || process.env["PGPORT"] || 5432)
  return addressOf(
    "postgres",
    host,
    port,
    options.database ?? url?.pathname.slice(1) ?? process.env["PGDATABASE"] ?? ""
  )
}

const urlOf = (text: string): URL | undefined => Option.getOrUndefined(Option.liftThrowable(() => new URL(text))())

/**
 * Opens a database in a scope, with a pool of connections. Closing the scope closes the pool.
 *
 * **Waits** for the server, at most `acquireTimeout` and `operationTimeout`. **Errors**: `InvalidOption`;
 * `StoreUnavailable`, with host and database and the reason: `"unreachable"`, `"timeout"`, `"permission"` (also a wrong
 * password), `"missing-database"`, `"exhausted"`, `"read-only"` (a replica, for example), `"unsupported"` (a server that
 * is too old, or does not sync its commits although they are to be durable).
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  Context.Context<Services>,
  InvalidOption | StoreUnavailable,
  Scope.Scope | Reactivity.Reactivity
> =>
  Effect.gen(function*() {
    const checked = yield* Table.check(table, module, options)
    const store = storeOf(checked)
    const stock = yield* Effect.mapError(openStock(checked), (error) => unavailable(store, error))
    const { client, transaction } = yield* openServices({ store, client: stock, options: checked })
    return Context.make(SqlClient, client).pipe(Context.add(SqlTransaction.SqlTransaction, transaction))
  })

/**
 * Opens a database for as long as the layer lives, and provides its `SqlClient` and its `SqlTransaction`.
 *
 * @example
 * ```ts
 * import { PostgresStore, SqlBatchStore } from "@sluice/sql"
 * import { Layer, Redacted } from "effect"
 *
 * const Store = SqlBatchStore.layer().pipe(
 *   Layer.provideMerge(PostgresStore.layer({ url: Redacted.make("postgres://app@localhost/app") }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Services, InvalidOption | StoreUnavailable> =>
  Layer.provide(Layer.scopedContext(make(options)), Reactivity.layer)

/**
 * Like `layer`, with options from a `Config`.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. Also those of `layer`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Table.Configs<Options>
): Layer.Layer<Services, InvalidOption | StoreUnavailable | ConfigError.ConfigError> =>
  Layer.provide(
    Layer.scopedContext(Effect.flatMap(Table.withConfigs(table, {}, config), make)),
    Reactivity.layer
  )

/**
 * Opens a SQLite file with typed errors, and with an option that says what "stored" means.
 *
 * A process has two connections to a file, no matter how often it opens the file. One writes, one transaction at a
 * time. The other only reads, and sees committed data at any time. Several processes may open the same file.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Check from "@sluice/core/unstable/OptionCheck"
import { type InvalidOption, StoreUnavailable } from "@sluice/core/QueueError"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import { withMessages } from "@sluice/core/unstable/ErrorText"
import { forkScoped, makeBreaks } from "@sluice/core/unstable/Fibers"
import { makeClient } from "./internal/writer/client.ts"
import { fileAt, isThere, watchFile } from "./internal/sqlite/file.ts"
import { Line } from "./internal/writer/line.ts"
import { sleepFor } from "@sluice/core/unstable/Sleep"
import * as Table from "@sluice/core/unstable/OptionTable"
import { type Checked, checkOptions, module, type Options, table } from "./internal/sqlite/options.ts"
import { SharedStores } from "./internal/sqlite/sharedStores.ts"
import { sqliteConnection } from "./internal/sqlite/connection.ts"
import { copyOfFile, withCopies } from "./internal/sqlite/copies.ts"
import { openStock, type SqliteClient, type StockConnection } from "./internal/sqlite/driver.ts"
import { isDriverError, PragmaRefused, unavailableReason } from "./internal/sqlite/driverErrors.ts"
import { makeTransaction } from "./internal/writer/behind.ts"
import { toSqlError } from "./internal/writer/transaction.ts"
import { Transactions } from "./internal/writer/transactions.ts"
import { dialect } from "./SqliteDialect.ts"
import * as SqlTransaction from "./SqlTransaction.ts"

export type { Options }

/**
 * The open file.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqliteStore {
  readonly filename: string
  /** Whether the data outlives the process. */
  readonly persistent: boolean
  /** Whether a commit waits until the data is on disk. */
  readonly durable: boolean
  /**
   * Copies the log into the file, and truncates the log unless a connection still reads from it. Returns the size of
   * the log before, in bytes.
   *
   * **Waits** for its turn to write. **Errors**: `StoreUnavailable`: the log stays, and nothing is lost.
   */
  readonly checkpoint: Effect.Effect<{ readonly logBytes: number; readonly cut: boolean }, StoreUnavailable>
}

/**
 * The tag of the open file.
 *
 * @since 0.1.0
 * @category tags
 */
export const SqliteStore: Context.Tag<SqliteStore, SqliteStore> = Context.GenericTag<SqliteStore>(
  "@sluice/sql/SqliteStore"
)

/**
 * The size of the log at the last checkpoint, in bytes. A value that keeps growing means that some connection never
 * stops reading.
 *
 * @since 0.1.0
 * @category metrics
 */
export const logBytes = Metric.gauge("sluice_sqlite_log_bytes", {
  description: "What was in the write-ahead log at the last checkpoint, in bytes"
})

/**
 * How long the driver itself may wait, with the event loop blocked, for connections that still read from the log before
 * it is truncated. It does not wait for locks at all: callers that wait for a lock poll for it.
 */
const cutWaitMillis = 20

/**
 * The size that the log file may keep. A truncated log has to grow again, and a commit that makes it grow takes about
 * twice as long as one that overwrites old contents.
 */
const keptLogBytes = 16 * 1024 * 1024

/** The tag of Effect's client of SQLite, whose module is only loaded with the driver. */
const sqliteClient = Context.GenericTag<SqliteClient>("@effect/sql-sqlite-node/SqliteClient")

/**
 * The services that an open file provides. `SqliteClient` is that of `@effect/sql-sqlite-node`, for its `backup` and
 * `export`: they copy what is committed when they begin, over a connection of their own, while others write. An
 * interruption waits for the end of the copy. `loadExtension` fails.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = SqlClient | SqliteClient | SqlTransaction.SqlTransaction | SqliteStore

/** Why the file cannot be used. An error that does not come from the driver is a bug, and stays a defect. */
const unavailable = (filename: string) => (error: unknown): Effect.Effect<never, StoreUnavailable> => {
  if (error instanceof StoreUnavailable) return Effect.fail(error)
  const cause = error instanceof SqlError ? error.cause : error
  if (cause instanceof StoreUnavailable) return Effect.fail(cause)
  const reason = unavailableReason(cause) ?? (isDriverError(cause) ? "cannot-open" : undefined)
  return reason === undefined
    ? Effect.die(error)
    : Effect.fail(new StoreUnavailable({ store: filename, reason, cause }))
}

/** A connection to the file. It fails with what the driver throws. */
const connect = (
  { filename, prepareCacheSize }: Checked,
  readonly: boolean
): Effect.Effect<Connected, unknown, Scope.Scope> =>
  openStock({ filename, readonly, prepareCacheSize }).pipe(
    Effect.map((stock) => ({ stock, connection: sqliteConnection(stock, prepareCacheSize) })),
    Effect.tap(({ connection }) => pragma(connection, `busy_timeout = 0`)),
    Effect.catchAllDefect(Effect.fail)
  )

interface Connected {
  readonly stock: StockConnection
  readonly connection: Connection
}

/** Runs a pragma and returns its first value. */
const pragma = (connection: Connection, text: string): Effect.Effect<unknown, SqlError> =>
  Effect.map(connection.executeUnprepared(`PRAGMA ${text}`, [], undefined), (rows) => {
    const row: Record<string, unknown> | undefined = rows[0]
    return row === undefined ? undefined : Object.values(row)[0]
  })

/** Sets a pragma and checks that it took effect. SQLite does not report it otherwise. */
const setPragma = (connection: Connection, name: string, value: string, expected: unknown) =>
  Effect.gen(function*() {
    yield* pragma(connection, `${name} = ${value}`)
    const actual = yield* pragma(connection, name)
    if (actual !== expected) {
      yield* Effect.fail(
        new SqlError({ cause: new PragmaRefused(name, value, actual), message: "a pragma was refused" })
      )
    }
  })

const configure = (connection: Connection, { durable, persistent }: { durable: boolean; persistent: boolean }) =>
  Effect.gen(function*() {
    // Reading the file shows whether it is a database, and whether it is broken.
    yield* connection.executeUnprepared("SELECT count(*) FROM sqlite_schema", [], undefined)
    if (persistent) yield* setPragma(connection, "journal_mode", "WAL", "wal")
    yield* setPragma(connection, "synchronous", durable ? "FULL" : "NORMAL", durable ? 2 : 1)
    // On macOS a plain sync does not reach the disk.
    if (durable) yield* setPragma(connection, "fullfsync", "1", 1)
    yield* setPragma(connection, "journal_size_limit", String(keptLogBytes), keptLogBytes)
    // SQLite silently opens a file that it may not write to, and even begins to write to it.
    yield* connection.executeUnprepared("BEGIN IMMEDIATE", [], undefined)
    yield* pragma(connection, "user_version = 1")
    yield* connection.executeUnprepared("ROLLBACK", [], undefined)
  })

/** What all stores for a file share within this process. */
interface Opened {
  readonly transactions: Transactions
  readonly checkpoint: SqliteStore["checkpoint"]
  readonly copy: Parameters<typeof withCopies>[2]
}

const open = (options: Checked): Effect.Effect<Opened, StoreUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const { filename } = options
    const failed = unavailable(filename)
    const { connection: writer, stock } = yield* Effect.catchAll(connect(options, false), failed)
    const breaks = yield* makeBreaks
    // Another connection may hold the file just now.
    const bound = { store: filename, dialect, busyTimeoutMillis: options.busyTimeoutMillis }
    yield* Effect.catchAll(new Line(bound, breaks).withoutTurn(configure(writer, options)), failed)
    const transactions = new Transactions({
      ...bound,
      writer: Effect.succeed(writer),
      reader: options.persistent ? (yield* Effect.catchAll(connect(options, true), failed)).connection : undefined,
      watch: options.persistent ? watchFile(filename, yield* Effect.clock) : undefined,
      client: {
        compiler: Statement.makeCompilerSqlite(options.transformQueryNames),
        transformRows: options.transformResultNames === undefined
          ? undefined
          : Statement.defaultTransforms(options.transformResultNames).array,
        spanAttributes: [...Object.entries(options.spanAttributes), ["db.system.name", "sqlite"] as const]
      }
    }, breaks)
    const cut = Effect.catchAll(checkpoint(transactions), failed)
    if (options.persistent) {
      const keepSmall = Effect.whenEffect(cut, Effect.catchAll(isLogLarge(transactions), failed))
      yield* forkScoped(Effect.forever(Effect.zipRight(
        sleepFor(options.checkpointIntervalMillis),
        // Any failure: otherwise there would be no further checkpoint, and no report of it.
        Effect.catchAllCause(keepSmall, (cause) => Effect.logWarning("a checkpoint failed", withMessages(cause)))
      )))
    }
    const copy: Opened["copy"] = options.persistent
      ? copyOfFile(openStock({ filename, readonly: true, prepareCacheSize: 1 }))
      : (run) => transactions.autocommit(() => Effect.uninterruptible(run(stock)))
    return { transactions, checkpoint: cut, copy }
  })

const files = new SharedStores<Checked, Opened, StoreUnavailable>()

/** The options that must be the same for all stores of a file, with their values. */
const shared = (options: Checked) => ({
  durable: options.durable,
  busyTimeout: options.busyTimeoutMillis,
  checkpointInterval: options.checkpointIntervalMillis,
  transformResultNames: options.transformResultNames,
  transformQueryNames: options.transformQueryNames,
  prepareCacheSize: options.prepareCacheSize,
  spanAttributes: Data.struct(options.spanAttributes)
})

/** Refuses options that differ from those that the file was opened with. */
const alike = (options: Options, checked: Checked) => (opened: Checked): Effect.Effect<void, InvalidOption> => {
  const [wanted, present] = [shared(checked), shared(opened)]
  return Effect.forEach(Struct.keys(wanted), (field) =>
    Check.check(
      Equal.equals(wanted[field], present[field]),
      module,
      field,
      options[field],
      `as where the same file is open in this process already, which is ${describe(present[field])}`
    ), { discard: true })
}

const describe = (value: unknown): string => typeof value === "function" ? "another function" : JSON.stringify(value)

/**
 * Opens the file in a scope. Closing the scope closes the file. All stores for the same file in this process share it,
 * no matter how they write its path, and the last one closes it. Their options must be the same, except for `filename`
 * and `create`.
 *
 * **Waits** for a lock that another process holds, at most `busyTimeout`. **Errors**: `InvalidOption`, also if the same
 * file is already open with another value of the option that it names; `StoreUnavailable`, with the path and the
 * reason: `"missing-directory"`, `"missing-file"`, `"cannot-open"`, `"permission"`, `"not-a-database"`, `"corrupt"`,
 * `"read-only"`, `"locked"`, `"full"`, `"io"`, or `"driver"`, with what to run.
 *
 * The first one in a process loads the driver, so it cannot be run with `Effect.runSync`.
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
    const { filename } = options
    const checked = yield* checkOptions(options)
    const { durable, persistent } = checked
    if (!checked.create && persistent && !isThere(filename)) {
      return yield* new StoreUnavailable({ store: filename, reason: "missing-file", cause: undefined })
    }
    const file = persistent ? fileAt(filename) : undefined
    const { checkpoint, copy, transactions } = yield* file === undefined
      ? open(checked)
      : files.share(file, checked, open(checked), alike(options, checked))
    const reactivity = yield* Reactivity.Reactivity
    yield* Effect.acquireRelease(
      Effect.sync(() => transactions.listen(reactivity)),
      (unlisten) => Effect.sync(unlisten)
    )
    const client = makeClient(transactions, reactivity, {
      statement: (run) => transactions.autocommit(run),
      transaction: (effect) => transactions.withTransaction(effect, toSqlError)
    })
    const { prepareCacheSize, spanAttributes, transformQueryNames, transformResultNames } = checked
    const named = { filename, prepareCacheSize, spanAttributes, transformQueryNames, transformResultNames }
    return Context.make(SqlClient, client).pipe(
      Context.add(sqliteClient, withCopies(client, named, copy)),
      Context.add(SqlTransaction.SqlTransaction, makeTransaction(transactions, reactivity)),
      Context.add(SqliteStore, { filename, persistent, durable, checkpoint })
    )
  })

/**
 * Copies as much of the log as it can into the file, without waiting for other connections. Returns the size of the
 * log, in bytes.
 */
const measureLog = (connection: Connection): Effect.Effect<number, SqlError> =>
  Effect.gen(function*() {
    const [page] = yield* connection.execute("PRAGMA page_size", [], undefined)
    const [{ log }] = yield* connection.execute("PRAGMA wal_checkpoint(PASSIVE)", [], undefined)
    const bytes = Math.max(0, log) * page.page_size
    yield* Metric.set(logBytes, bytes)
    return bytes
  })

const isLogLarge = (transactions: Transactions): Effect.Effect<boolean, SqlError> =>
  Effect.map(transactions.autocommit(measureLog), (bytes) => bytes > keptLogBytes)

const checkpoint = (transactions: Transactions) =>
  transactions.autocommit((connection) =>
    Effect.gen(function*() {
      const bytes = yield* measureLog(connection)
      const cut = Effect.acquireUseRelease(
        pragma(connection, `busy_timeout = ${cutWaitMillis}`),
        () => connection.execute("PRAGMA wal_checkpoint(TRUNCATE)", [], undefined),
        () => Effect.ignore(pragma(connection, "busy_timeout = 0"))
      )
      const [{ busy }] = yield* cut
      return { logBytes: bytes, cut: busy === 0 }
    })
  )

/**
 * Opens the file for as long as the layer lives, and provides its `SqlClient`, its `SqlTransaction` and itself.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { SqliteStore } from "@sluice/sql"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY)`
 *   yield* sql.withTransaction(sql`INSERT INTO orders ${sql.insert({ id: "a-1" })}`)
 * }).pipe(
 *   Effect.provide(SqliteStore.layer({ filename: "orders.db" })),
 *   Effect.catchTag("StoreUnavailable", ({ reason, store }) => Effect.logError(`cannot open ${store}: ${reason}`))
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
    Layer.scopedContext(Effect.flatMap(Table.withConfigs(table, {} as Options, config), make)),
    Reactivity.layer
  )

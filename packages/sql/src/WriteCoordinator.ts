/**
 * All writes to a database go through one fiber, and those that wait together share one transaction: one commit, one
 * sync of the disk, for many callers.
 *
 * A write's life here: `submit` puts it into a bounded queue. The fiber takes what is waiting, begins a transaction, and
 * runs the writes one after another, each in a savepoint of its own: one that fails, dies or takes too long is rolled
 * back alone. Then it commits, and only then every caller gets its result. Committed writes are announced, and the
 * queries that depend on them run again.
 *
 * At every moment accepted = completed + failed + cancelled + depth + inFlight. The counts are published through
 * Effect's `Metric` too, within a second of a change and with the tags that `QueueMetrics` of core tells of:
 *
 * | metric | kind |
 * | --- | --- |
 * | `sluice_writes_accepted_total` | counter |
 * | `sluice_writes_completed_total` | counter |
 * | `sluice_writes_failed_total` | counter |
 * | `sluice_writes_cancelled_total` | counter |
 * | `sluice_write_groups_total` | counter |
 * | `sluice_write_group_duration_ms` | histogram |
 * | `sluice_depth_writes` | gauge |
 * | `sluice_in_flight_writes` | gauge |
 * | `sluice_waiting_writes` | gauge |
 *
 * Where a tracer is provided, each group has a span that is linked to those that its writes were submitted in.
 *
 * @since 0.1.0
 */
import { SafeIntegers, SqlClient } from "@effect/sql/SqlClient"
import { currentTransformer } from "@effect/sql/Statement"
import * as EventHub from "@sluice/core/unstable/EventHub"
import * as Table from "@sluice/core/unstable/OptionTable"
import { InvalidOption } from "@sluice/core/QueueError"
import type { Missed } from "@sluice/core/QueueEvent"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { waitsInLease } from "./internal/writer/bounds.ts"
import { makeClient } from "./internal/writer/client.ts"
import { GroupWriter, withoutDefects } from "./internal/coordinator/groupWriter.ts"
import { type Checked, checkOptions, type Configurable, type Options, table } from "./internal/coordinator/options.ts"
import { Pending } from "./internal/coordinator/waitingWrites.ts"
import { sleepFor } from "@sluice/core/unstable/Sleep"
import { isStatementFor, SingleStatement, singleStatement } from "./internal/writer/singleStatement.ts"
import { forkLoop, isTracing } from "@sluice/core/unstable/Fibers"
import { toSqlError, type Transaction } from "./internal/writer/transaction.ts"
import type { Transactions } from "./internal/writer/transactions.ts"
import { replicaOf } from "./internal/coordinator/metrics.ts"
import { type RealCoordinator, realOf, submitAs } from "./internal/coordinator/realCoordinator.ts"
import { behindFor } from "./internal/writer/realTransaction.ts"
import type { SqlTransaction } from "./SqlTransaction.ts"
import type { WriteChange, WriteOptions } from "./Write.ts"
import type { WriteError } from "./WriteError.ts"

/**
 * A coordinator of writes. Make a tag of your own for each, and fill it with `layer`.
 *
 * @example
 * ```ts
 * import { WriteCoordinator } from "@sluice/sql"
 * import { Context } from "effect"
 *
 * class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteCoordinator {
  readonly name: string
  /**
   * Runs a write, and answers with its result once the transaction that it shares with others is committed.
   *
   * `write` is an Effect that uses `SqlClient`, with as many statements as it likes, or one statement
   * (``sql`INSERT ...` ``) of a client of the same store, which runs on the connection directly and is several times as
   * fast: it gets no span. The Effect runs with the context and the fiber refs of the caller; what it forks ends with it.
   * Inside another write, or a transaction of the same database, it runs at once, as a part of that, also while the
   * coordinator closes.
   *
   * **Waits** for its turn, in the order submitted, first of all for room in the queue; and for the commit. **Errors**:
   * those of the write. `WriteDied` (it died, or interrupted itself) and `WriteTimeout` (it took longer than
   * `writeTimeout`): this write alone is rolled back. `StoreUnavailable`, `TransactionFailed`, `TransactionEnded`: the
   * whole group is rolled back; retry where that error says so, or let the coordinator do it with `retryable`.
   * `CoordinatorClosed`: it did not run. **Interruption** takes the write out while it waits; once it has started, the
   * caller waits for its end.
   */
  readonly submit: <A, E, R>(
    write: Effect.Effect<A, E, R>,
    options: WriteOptions
  ) => Effect.Effect<A, E | WriteError, R>
  /**
   * The committed writes that have a topic, in the order of their commits, from the moment of subscription until the
   * coordinator is closed. A subscriber that is too slow slows nothing down: it loses the oldest, and is told how many.
   *
   * It is not called `events`, because it tells nothing of what becomes of writes: it is data of yours, with your topics
   * and payloads, and only what is committed.
   */
  readonly changes: Stream.Stream<WriteChange | Missed>
  /** The counts at one moment; also after the coordinator has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * The counts of a coordinator at one moment: accepted = completed + failed + cancelled + depth + inFlight. A write
 * inside another is a part of that, and not counted by itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics {
  readonly name: string
  /**
   * How many writes have ever been in the queue. It is not called `offered`, because those that wait for room, leave
   * while they wait for it, or are refused after the closing, are not counted.
   */
  readonly accepted: number
  readonly completed: number
  /** Failed, died, timed out, rolled back with their group, or refused by the closing. */
  readonly failed: number
  /** Taken out by an interruption before they started. */
  readonly cancelled: number
  /** How many are in the queue. */
  readonly depth: number
  /** How many have been taken from the queue and not been answered: they are in a group, or go into the next one. */
  readonly inFlight: number
  /** How many submitters wait for room in the queue. */
  readonly waiting: number
  /** The option of that name: how many may be in the queue. */
  readonly capacity: number
  /** How many transactions there have been. */
  readonly groups: number
}

export type { Configurable, Options }

export type { WriteChange, WriteOptions } from "./Write.ts"

/** Takes note of how long a write may hold the writer, until the scope closes, if the leases of the queues outlast it. */
const registerTimeout = (
  { name, writeTimeoutMillis: millis }: Checked,
  { bounds }: Transactions,
  value: unknown
): Effect.Effect<void, InvalidOption, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const lease = bounds.shortestLease
      const limit = `at most a third of the leaseDuration of queue "${lease?.queue}", which is ${lease?.leaseMillis} ms`
      return lease !== undefined && lease.leaseMillis < waitsInLease * millis
        ? Effect.fail(new InvalidOption({ queue: name, field: "writeTimeout", value, limit }))
        : Effect.sync(() => bounds.registerWriteTimeout(millis))
    }),
    (unregister) => Effect.sync(unregister)
  )

class WriteCoordinatorImpl implements WriteCoordinator, RealCoordinator {
  readonly name: string
  readonly changes: Stream.Stream<WriteChange | Missed>
  readonly metrics: Effect.Effect<Metrics>
  private readonly writer: GroupWriter
  private readonly transactions: Transactions

  constructor(writer: GroupWriter, transactions: Transactions, changes: Stream.Stream<WriteChange | Missed>) {
    this.name = writer.options.name
    this.writer = writer
    this.transactions = transactions
    this.changes = changes
    this.metrics = Effect.sync(() => writer.snapshot())
  }

  submit<A, E, R>(write: Effect.Effect<A, E, R>, options: WriteOptions): Effect.Effect<A, E | WriteError, R> {
    return this[submitAs](write, options, identity)
  }

  [submitAs]<A, E, R, E2>(
    write: Effect.Effect<A, E, R> | SingleStatement<A, E>,
    options: WriteOptions,
    onError: (error: WriteError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return Effect.withFiberRuntime<unknown, unknown>((fiber) => {
      const transformed = fiber.getFiberRef(currentTransformer)._tag === "Some"
      const work = !transformed && isStatementFor(write, this.transactions)
        ? singleStatement(write, this.transactions)
        : write as Pending["work"]
      const pending = new Pending(options, work, fiber, onError)
      const current = this.transactions.currentIn(fiber.currentContext)
      return current === undefined ? this.enqueue(pending) : this.join(current, pending)
      // The fiber that runs the write has the context of this one, and so what the write requires.
    }) as Effect.Effect<A, E | E2, R>
  }

  private enqueue(write: Pending): Effect.Effect<unknown, unknown> {
    // The write is put in, and its exit waited for, in one step: an interruption cannot come between.
    return Effect.uninterruptibleMask((restore) => {
      if (!this.writer.isOpen) return this.writer.refuse(write)
      this.writer.add(write)
      return write.wait(restore)
    })
  }

  /** Runs a write as a part of the transaction that its caller is in. */
  private join(transaction: Transaction, write: Pending): Effect.Effect<unknown, unknown> {
    const { onError, options, work } = write
    const effect = work instanceof SingleStatement
      // Looked up when it runs, because in the savepoint it has another connection.
      ? Effect.flatMap(
        Effect.context<never>(),
        (context) => work.run(this.transactions.currentIn(context)!.connection)
      )
      : work
    return Effect.flatMap(
      Effect.exit(transaction.savepoint(effect, onError, () => this.writer.announce(options))),
      (exit) => withoutDefects(write, exit)
    )
  }
}

/**
 * Makes a coordinator in a scope, whose closing ends it:
 *
 * 1. new writes are refused with `CoordinatorClosed`, and so are those that wait, unless `drain` is set;
 * 2. the group in progress is completed, and with `drain` everything that waits is run;
 * 3. after `drainTimeout`, the write that is running is rolled back and those after it are refused; what had been run of
 *    its group is committed.
 *
 * Where the scope is closed inside a write, or a transaction of the same database, closing does not wait: 2. and 3. are
 * done in the background once that is over. The end of `changes` tells when.
 *
 * **Errors**: `InvalidOption`, which names the field, its value and the limit; also where a queue of the same database
 * has a lease that is shorter than three times `writeTimeout`, or the `SqlTransaction` is a double.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { SqliteStore, WriteCoordinator } from "@sluice/sql"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   const writes = yield* WriteCoordinator.make({ name: "writes" })
 *   // A thousand callers, eight commits.
 *   yield* Effect.forEach(
 *     Array.from({ length: 1_000 }, (_, n) => n),
 *     (n) => writes.submit(sql`INSERT INTO events ${sql.insert({ n })}`, { name: "event" }),
 *     { concurrency: "unbounded" }
 *   )
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(SqliteStore.layer({ filename: "events.db" }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<
  WriteCoordinator,
  InvalidOption,
  SqlTransaction | Scope.Scope
> =>
  Effect.gen(function*() {
    const checked = yield* checkOptions(options)
    const { transactions } = yield* behindFor(checked.name)
    yield* registerTimeout(checked, transactions, options.writeTimeout ?? checked.writeTimeoutMillis)
    // What is closed after the caller's scope, where that is closed inside a transaction.
    const scope = yield* Scope.make()
    const hub = yield* Scope.extend(EventHub.make<WriteChange>(), scope)
    const tracing = yield* isTracing
    const replica = yield* Scope.extend(replicaOf(checked.name), scope)
    const writer = new GroupWriter({ ...checked, replica, tracing }, transactions, hub, yield* Effect.clock)
    const close = { drain: checked.drain }
    const end = (exit: Exit.Exit<unknown, unknown>) =>
      Effect.withFiberRuntime<void>((fiber) => {
        const current = transactions.currentIn(fiber.currentContext)
        if (current === undefined || current.isOver) return Scope.close(scope, exit)
        // It would wait for what holds the writer: the write that closes it.
        writer.unsafeClose(close)
        const over = Effect.unsafeMakeLatch()
        current.unsafeOnOver(() => over.unsafeOpen())
        const rest = Effect.uninterruptible(Effect.zipRight(over.await, Scope.close(scope, exit)))
        return Effect.asVoid(Effect.forkDaemon(rest))
      })
    // A release of `acquireRelease` would run in the context of this fiber, and not of the one that closes.
    yield* Effect.flatMap(Effect.scope, (outer) => Scope.addFinalizerExit(outer, end))
    const context = Context.add(yield* Effect.context<never>(), SafeIntegers, false)
    const fork = (loop: Effect.Effect<void>) => forkLoop(loop, context, (cause) => writer.fail(cause))
    yield* Effect.acquireRelease(
      Effect.all([fork(writer.run), fork(writer.alarm.run), fork(writer.metrics.run)]),
      ([loop, ...timers]) =>
        Effect.gen(function*() {
          writer.unsafeClose(close)
          // Otherwise it may be waiting for a lock, for writes that have been refused.
          if (writer.hasWork) {
            // A finalizer cannot be interrupted, and then a timeout would do nothing.
            const ended = yield* Effect.raceFirst(
              Effect.as(Effect.interruptible(Fiber.await(loop)), true),
              Effect.as(Effect.interruptible(sleepFor(checked.drainTimeoutMillis)), false)
            )
            if (!ended) writer.unsafeCutShort()
          }
          yield* Fiber.interruptAll([loop, ...timers])
          writer.unsafeEnd()
          writer.metrics.publish()
          yield* writer.failure
        })
    ).pipe(Scope.extend(scope))
    return new WriteCoordinatorImpl(writer, transactions, hub.stream)
  })

/**
 * Fills a tag of your own with a coordinator of the database that `SqliteStore.layer` opens. It is closed when the layer
 * is torn down.
 *
 * @example
 * ```ts
 * import { SqliteStore, WriteCoordinator } from "@sluice/sql"
 * import { Context, Layer } from "effect"
 *
 * class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}
 *
 * const WritesLive = WriteCoordinator.layer(Writes, { name: "writes", linger: "2 millis" }).pipe(
 *   Layer.provideMerge(SqliteStore.layer({ filename: "app.db" }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <I>(
  tag: Context.Tag<I, WriteCoordinator>,
  options: Options
): Layer.Layer<I, InvalidOption, SqlTransaction> => Layer.scoped(tag, make(options))

/**
 * Like `layer`, with some of the options from a `Config`, which wins.
 *
 * **Errors**: `ConfigError` where the configuration is missing or malformed, and `InvalidOption`.
 *
 * @example
 * ```ts
 * import { WriteCoordinator } from "@sluice/sql"
 * import { Config, Context } from "effect"
 *
 * class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}
 *
 * const WritesLive = WriteCoordinator.layerConfig(Writes, { name: "writes" }, {
 *   batchSize: Config.integer("WRITES_BATCH_SIZE").pipe(Config.withDefault(128)),
 *   writeTimeout: Config.duration("WRITES_TIMEOUT").pipe(Config.withDefault("10 seconds"))
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <I>(
  tag: Context.Tag<I, WriteCoordinator>,
  options: Options,
  config: Config.Config.Wrap<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, SqlTransaction> =>
  Layer.scoped(
    tag,
    Effect.flatMap(Config.unwrap(config), (configured) => make(Table.configured(table, options, configured)))
  )

/**
 * A `SqlClient` whose writes go through a coordinator, so that an app whose queries do not change gains one. Outside of a
 * transaction a `SELECT` or `VALUES` reads past the writer, what has been committed, on a connection that sees nothing of
 * what is temporary on the writer's; what does not work in a transaction (`PRAGMA`, `VACUUM`, `ATTACH`) waits for its
 * turn and runs by itself; every other statement is a write, with the name `"sql.statement"`. `withTransaction` submits
 * its whole effect as one write, with the name `"sql.transaction"`: it runs with the context and the fiber refs of its
 * caller, what it changes in them is not seen outside, what it forks ends with it, and `writeTimeout` is its time.
 *
 * What asks for the state of a connection, or sets it, would be silently wrong by itself, because others use the same
 * ones (`last_insert_rowid()`, `changes()`, `BEGIN`, `CREATE TEMP`, a `PRAGMA` that the store relies on): it fails, and
 * says what to do instead.
 *
 * **Waits** like `submit`. **Errors**: those of the coordinator come as the `cause` of a `SqlError`; the layer fails with
 * `InvalidOption` where the coordinator or the `SqlTransaction` is a double. **Interruption** as for `submit`: a
 * transaction that has started is committed.
 *
 * @example
 * ```ts
 * import { SqlClient } from "@effect/sql"
 * import { SqliteStore, WriteCoordinator } from "@sluice/sql"
 * import { Context, Effect, Layer } from "effect"
 *
 * class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}
 *
 * const Sql = WriteCoordinator.layerSqlClient(Writes).pipe(
 *   Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes" })),
 *   Layer.provide(SqliteStore.layer({ filename: "app.db" }))
 * )
 *
 * const app = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`INSERT INTO visits ${sql.insert({ page: "/" })}`
 *   return yield* sql`SELECT count(*) AS visits FROM visits`
 * }).pipe(Effect.provide(Sql))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSqlClient = <I>(
  tag: Context.Tag<I, WriteCoordinator>
): Layer.Layer<SqlClient, InvalidOption, I | SqlTransaction> =>
  Layer.effect(
    SqlClient,
    Effect.gen(function*() {
      const { reactivity, transactions } = yield* behindFor("layerSqlClient")
      const coordinator = yield* realOf("layerSqlClient", yield* tag)
      return makeClient(transactions, reactivity, {
        statement: (run) => coordinator[submitAs](new SingleStatement(run), { name: "sql.statement" }, toSqlError),
        transaction: (effect) => coordinator[submitAs](effect, { name: "sql.transaction" }, toSqlError)
      })
    })
  )

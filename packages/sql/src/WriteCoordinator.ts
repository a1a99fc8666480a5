/**
 * Sends all writes to a database through one fiber. Writes that wait together share one transaction: one commit and one
 * disk sync for many callers.
 *
 * The life of a write: `submit` puts it into a bounded queue. The fiber takes the waiting writes, begins a transaction,
 * and runs them one after another, each in its own savepoint. A write that fails, dies or takes too long is rolled back
 * alone. Then the fiber commits, and only then does each caller get its result. Committed writes are announced, and the
 * queries that depend on them run again.
 *
 * At every moment offered = refused + cancelled + settled + held, and settled = succeeded + failed. The counts are
 * published through Effect's `Metric` too, within a second of a change, under the names that `QueueMetrics` of core
 * lists, with `system="write_coordinator"`: a write is an item there, and a group is a batch.
 *
 * With a tracer, each group has a span that is linked to the spans in which its writes were submitted.
 *
 * @since 0.1.0
 */
import { SafeIntegers, SqlClient } from "@effect/sql/SqlClient"
import { currentTransformer } from "@effect/sql/Statement"
import * as EventHub from "@sluice/core/unstable/EventHub"
import * as Table from "@sluice/core/unstable/OptionTable"
import { InvalidOption } from "@sluice/core/QueueError"
import type { Missed } from "@sluice/core/QueueEvent"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { waitsInLease } from "./internal/writer/bounds.ts"
import { makeClient } from "./internal/writer/client.ts"
import { GroupWriter, withoutDefects } from "./internal/coordinator/groupWriter.ts"
import { type Checked, checkOptions, type Configurable, type Options, table } from "./internal/coordinator/options.ts"
import { Pending } from "./internal/coordinator/waitingWrites.ts"
import { isStatementFor, SingleStatement, singleStatement } from "./internal/writer/singleStatement.ts"
import {
  awaitAllWithin,
  contextOf,
  forkLoop,
  forkUninterruptible,
  interruptAll,
  isTracing,
  refOf,
  withFiber
} from "@sluice/core/unstable/Fibers"
import { toSqlError, type Transaction } from "./internal/writer/transaction.ts"
import type { Transactions } from "./internal/writer/transactions.ts"
import { replicaOf } from "./internal/coordinator/metrics.ts"
import { type RealCoordinator, realOf, submitAs } from "./internal/coordinator/realCoordinator.ts"
import { behindFor } from "./internal/writer/realTransaction.ts"
import type { SqlTransaction } from "./SqlTransaction.ts"
import type { WriteChange, WriteOptions } from "./Write.ts"
import type { WriteError } from "./WriteError.ts"

/**
 * A coordinator of writes. Define a tag for each coordinator, and provide it with `layer`.
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
  /** The option `name`. It is not called that, so that the coordinator can be the service of an `Effect.Tag`. */
  readonly queueName: string
  /**
   * Runs a write, and returns its result once the transaction that it shares with other writes is committed.
   *
   * `write` is an Effect that uses `SqlClient`, with any number of statements, or a single statement (``sql`INSERT ...`
   * ``) of a client of the same store. A single statement runs directly on the connection, without a span, and is
   * several times as fast. The Effect runs with the context and the fiber refs of the caller; fibers that it forks end
   * with it. Inside another write, or a transaction of the same database, it runs at once as a part of it, even while
   * the coordinator closes.
   *
   * **Waits** for room in the queue, for its turn in order of submission, and for the commit. **Errors**: those of the
   * write. `WriteDied` (it died, or interrupted itself) and `WriteTimeout` (it took longer than `writeTimeout`): only
   * this write is rolled back. `StoreUnavailable`, `TransactionFailed`, `TransactionEnded`: the whole group is rolled
   * back; retry if that error says so, or let the coordinator retry with `retryable`. `CoordinatorClosed`: the write
   * did not run. **Interruption** withdraws a waiting write; once it has started, the caller waits for its end.
   */
  readonly submit: <A, E, R>(
    write: Effect.Effect<A, E, R>,
    options: WriteOptions
  ) => Effect.Effect<A, E | WriteError, R>
  /**
   * The committed writes that have a topic, in the order of their commits, from the moment of subscription until the
   * coordinator is closed. A slow subscriber does not slow the coordinator down: it loses the oldest changes, and
   * learns how many.
   *
   * It is not called `events`, because it does not report what happens to writes: it carries your own topics and
   * payloads, and only those that are committed.
   */
  readonly changes: Stream.Stream<WriteChange | Missed>
  /** The counts at one moment, also after the coordinator has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * The counts of a coordinator at one moment: offered = refused + cancelled + settled + held, settled = succeeded +
 * failed, and held = waiting + depth + inFlight. A write inside another write is a part of it, and is not counted
 * separately.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics {
  readonly name: string
  /** How many writes have been submitted. */
  readonly offered: number
  /** Not run: the coordinator was closed, or the caller was interrupted while it waited for room in the queue. */
  readonly refused: number
  /** Withdrawn by an interruption before they started. */
  readonly cancelled: number
  /** Answered: succeeded or failed. */
  readonly settled: number
  /** Committed. */
  readonly succeeded: number
  /** Failed, died, timed out, or rolled back with their group; or the lock could not be taken. */
  readonly failed: number
  /** Waiting for room, waiting in the queue, or in flight. */
  readonly held: number
  /** How many writes are in the queue. */
  readonly depth: number
  /** How many writes have left the queue without an answer yet: they are in a group, or go into the next one. */
  readonly inFlight: number
  /** How many callers wait for room in the queue. */
  readonly waiting: number
  /** The option of that name: how many writes the queue may hold. */
  readonly capacity: number
  /** How many groups, that is transactions, there have been so far. */
  readonly batches: number
}

export type { Configurable, Options }

export type { WriteChange, WriteOptions } from "./Write.ts"

/**
 * Registers how long a write may hold the writer, until the scope closes. Fails if a lease of a queue is too short for
 * it.
 */
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

class WriteCoordinatorImpl extends Inspectable.Class implements WriteCoordinator, RealCoordinator {
  readonly queueName: string
  readonly changes: Stream.Stream<WriteChange | Missed>
  readonly metrics: Effect.Effect<Metrics>
  private readonly writer: GroupWriter
  private readonly transactions: Transactions

  constructor(writer: GroupWriter, transactions: Transactions, changes: Stream.Stream<WriteChange | Missed>) {
    super()
    this.queueName = writer.options.name
    this.writer = writer
    this.transactions = transactions
    this.changes = changes
    this.metrics = Effect.sync(() => writer.snapshot())
  }

  readonly submit = <A, E, R>(
    write: Effect.Effect<A, E, R>,
    options: WriteOptions
  ): Effect.Effect<A, E | WriteError, R> => this[submitAs](write, options, identity)

  toJSON(): unknown {
    const { name: queueName, ...counts } = this.writer.snapshot()
    return { _id: "WriteCoordinator", queueName, state: this.writer.state, counts }
  }

  [submitAs]<A, E, R, E2>(
    write: Effect.Effect<A, E, R> | SingleStatement<A, E>,
    options: WriteOptions,
    onError: (error: WriteError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return withFiber<unknown, unknown>((fiber) => {
      const transformed = refOf(fiber, currentTransformer)._tag === "Some"
      const work = !transformed && isStatementFor(write, this.transactions)
        ? singleStatement(write, this.transactions)
        : write as Pending["work"]
      const pending = new Pending(options, work, fiber, onError)
      const current = this.transactions.currentIn(contextOf(fiber))
      return current === undefined ? this.enqueue(pending) : this.join(current, pending)
      // The fiber that runs the write has the context of this one, and so the services that the write requires.
    }) as Effect.Effect<A, E | E2, R>
  }

  private enqueue(write: Pending): Effect.Effect<unknown, unknown> {
    // Enters the write and waits for its exit in one step, so that no interruption can come in between.
    return Effect.uninterruptibleMask((restore) => {
      if (!this.writer.isOpen) return this.writer.refuseNew(write)
      this.writer.add(write)
      return write.wait(restore)
    })
  }

  /** Runs a write as a part of the transaction that its caller is in. */
  private join(transaction: Transaction, write: Pending): Effect.Effect<unknown, unknown> {
    const { onError, options, work } = write
    const effect = work instanceof SingleStatement
      // Looked up when it runs, because it has another connection in the savepoint.
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
 * Makes a coordinator in a scope. Closing the scope closes the coordinator:
 *
 * 1. new writes fail with `CoordinatorClosed`, and so do waiting ones, unless `drain` is set;
 * 2. the current group is completed, and with `drain` all waiting writes run;
 * 3. after `drainTimeout`, the running write is rolled back and the writes after it are refused; the completed writes
 *    of its group are committed.
 *
 * If the scope is closed inside a write, or inside a transaction of the same database, closing does not wait: steps 2
 * and 3 happen in the background after it. `changes` ends when they are done.
 *
 * **Errors**: `InvalidOption`, which names the field, its value and the limit; also if a queue of the same database has
 * a lease that is shorter than three times `writeTimeout`, or if the `SqlTransaction` is a double.
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
    // Closed after the caller's scope, if that scope is closed inside a transaction.
    const scope = yield* Scope.make()
    const hub = yield* Scope.extend(EventHub.make<WriteChange>(checked.name), scope)
    const tracing = yield* isTracing
    const replica = yield* Scope.extend(replicaOf(checked.name), scope)
    const writer = new GroupWriter({ ...checked, replica, tracing }, transactions, hub, yield* Effect.clock)
    const close = { drain: checked.drain }
    const end = (exit: Exit.Exit<unknown, unknown>) =>
      withFiber<void>((fiber) => {
        const current = transactions.currentIn(contextOf(fiber))
        if (current === undefined || current.isOver) return Scope.close(scope, exit)
        // It would wait for the holder of the writer: the write that closes it.
        writer.unsafeClose(close)
        const over = Effect.unsafeMakeLatch()
        current.unsafeOnOver(() => over.unsafeOpen())
        return Effect.asVoid(forkUninterruptible(Effect.zipRight(over.await, Scope.close(scope, exit))))
      })
    // A release of `acquireRelease` would run in the context of this fiber, not of the closing one.
    yield* Effect.flatMap(Effect.scope, (outer) => Scope.addFinalizerExit(outer, end))
    const context = Context.add(yield* Effect.context<never>(), SafeIntegers, false)
    const fork = (loop: Effect.Effect<void>) => forkLoop(loop, context, (cause) => writer.fail(cause))
    yield* Effect.acquireRelease(
      Effect.all([
        fork(writer.run),
        fork(writer.alarm.run),
        fork(writer.lingering.run),
        fork(writer.metrics.publishing.run)
      ]),
      ([loop, ...timers]) =>
        Effect.gen(function*() {
          writer.unsafeClose(close)
          // Otherwise it may wait for a lock on behalf of writes that have been refused.
          if (writer.hasWork) {
            const ended = yield* awaitAllWithin([loop], checked.drainTimeoutMillis)
            if (!ended) writer.unsafeCutShort()
          }
          yield* interruptAll([loop, ...timers])
          writer.unsafeEnd()
          writer.metrics.publish()
          yield* writer.failure
        })
    ).pipe(Scope.extend(scope))
    return new WriteCoordinatorImpl(writer, transactions, hub.stream)
  })

/**
 * Provides your own tag with a coordinator for the database that `SqliteStore.layer` opens. Closing the layer closes
 * the coordinator.
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
 * Like `layer`, with some of the options from a `Config`, which takes precedence.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. `InvalidOption` for the other options.
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
  config: Table.Configs<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, SqlTransaction> =>
  Layer.scoped(
    tag,
    Effect.flatMap(Table.withConfigs(table, options, config), make)
  )

/**
 * A `SqlClient` whose writes go through a coordinator, for an app whose queries do not change.
 *
 * Outside of a transaction, a `SELECT` or `VALUES` does not wait for the writer: it reads committed data on another
 * connection, which does not see temporary objects of the writing connection. Statements that do not work in a
 * transaction (`PRAGMA`, `VACUUM`, `ATTACH`) wait for their turn and run alone. Every other statement is a write with
 * the name `"sql.statement"`. `withTransaction` submits its whole effect as one write with the name
 * `"sql.transaction"`. It runs with the context and the fiber refs of its caller; its changes to fiber refs are not
 * visible outside, fibers that it forks end with it, and `writeTimeout` applies to it.
 *
 * A single statement that reads or sets the state of a connection would silently do the wrong thing, because others use
 * the same connections (`last_insert_rowid()`, `changes()`, `BEGIN`, `CREATE TEMP`, a `PRAGMA` that the store relies
 * on). It fails, and the error says what to do instead.
 *
 * **Waits** like `submit`. **Errors** of the coordinator are the `cause` of a `SqlError`. The layer fails with
 * `InvalidOption` if the coordinator or the `SqlTransaction` is a double. **Interruption** as for `submit`: a
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
  tag: Context.ReadonlyTag<I, WriteCoordinator>
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

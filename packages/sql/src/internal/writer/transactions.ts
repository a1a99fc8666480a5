/**
 * The one writer of a database: transactions and single statements, one at a time, first come, first served.
 */
import { Reactivity } from "@effect/experimental/Reactivity"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import type { SqlClient } from "@effect/sql/SqlClient"
import type * as Statement from "@effect/sql/Statement"
import { StoreUnavailable } from "@sluice/core/QueueError"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { TransactionError, TransactionFailed } from "../../TransactionError.ts"
import { Bounds } from "./bounds.ts"
import { type Breaks, inFiberOfItsOwn, type Restore } from "@sluice/core/unstable/Fibers"
import type { FileWatch } from "../sqlite/file.ts"
import { GuardedConnection, type Transform } from "./guardedConnection.ts"
import { untilCommitted, waitForCommits } from "./reactivity.ts"
import { type Bound, Line } from "./line.ts"
import { sideBySide, Turn, type Turns } from "./turns.ts"
import { type Surroundings, toSqlError, toTransactionError, Transaction } from "./transaction.ts"

/** What opening a database hands over. */
export interface Database extends Bound {
  /** A connection for exclusive use until the scope closes. */
  readonly writer: Effect.Effect<Connection, SqlError, Scope.Scope>
  /** A connection that sees committed data, independent of the writer; undefined if there is none. */
  readonly reader: Connection | undefined
  /** Notices where the file is not at its place any more; undefined where there is no file. */
  readonly watch: FileWatch | undefined
  /** Makes statements, or is the client of the app, which does. */
  readonly client: Statements | SqlClient
  /** Where each user has a connection of its own, and none waits for another. */
  readonly sideBySide?: boolean | undefined
  /** How far the clock that leases go by is ahead of ours, where it is another one. */
  readonly offsetMillis?: (() => number) | undefined
  /** A connection on which each statement has to end in time, where it is not that already. */
  readonly bounded?: ((connection: Connection) => Connection) | undefined
}

/** What statements are made of. */
export interface Statements {
  readonly compiler: Statement.Compiler
  readonly transformRows: Transform | undefined
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
}

/** Where in the line something waits. */
export interface Place {
  /** From which point on the wait for somebody else's lock counts; see `waitedMillis`. Default: from now on. */
  readonly since?: number | undefined
  /** Whether it goes before all others. */
  readonly first?: boolean | undefined
}

export class Transactions {
  readonly database: Database
  readonly breaks: Breaks
  /**
   * Who is told of changes, each as often as it has asked for it: everybody who uses the database hears of all writes.
   */
  private readonly listeners = new Map<Reactivity.Service, { count: number; readonly end: () => void }>()
  readonly bounds: Bounds
  /** For the writer's connection. */
  private readonly line: Turns
  /** For the connection that reads, where somebody else keeps even that out. */
  private readonly readers: Turns
  private readonly surroundings: Surroundings
  /** Under this the context of a fiber has the transaction of this database that the fiber is in. */
  private readonly key = Context.GenericTag<Transaction>(`@sluice/sql/Transaction/${nextKey++}`)
  /** The writer's connection, where it is always the same: that needs no scope. */
  private readonly only: Connection | undefined
  /** The connections whose rollback has failed, so that a transaction may still be open there. */
  private readonly mayBeOpen = new WeakSet<Connection>()

  constructor(database: Database, breaks: Breaks) {
    this.database = database
    this.bounds = new Bounds(database.busyTimeoutMillis)
    const turns = () => database.sideBySide ? sideBySide : new Line(database, breaks)
    this.line = turns()
    this.readers = turns()
    this.only = valueOf(database.writer)
    this.breaks = breaks
    this.surroundings = {
      store: database.store,
      dialect: database.dialect,
      breaks,
      provide: (transaction, effect) =>
        Effect.mapInputContext(
          effect,
          (context: Context.Context<any>) => this.enclose(context, transaction)
        )
    }
  }

  /** Tells somebody of changes, and only after their commit. Answers what ends that. */
  listen(reactivity: Reactivity.Service): () => void {
    const { listeners } = this
    const known = listeners.get(reactivity)
    const listener = known ?? { count: 0, end: waitForCommits(reactivity, (context) => this.currentIn(context)) }
    listener.count += 1
    listeners.set(reactivity, listener)
    return () => {
      listener.count -= 1
      if (listener.count > 0) return
      listeners.delete(reactivity)
      listener.end()
    }
  }

  /** Queries that depend on these keys run again. */
  unsafeInvalidate(keys: Parameters<Reactivity.Service["unsafeInvalidate"]>[0]): void {
    for (const reactivity of this.listeners.keys()) reactivity.unsafeInvalidate(keys)
  }

  /** How long a wait for the writer may be: the longest bound of all that may hold it. */
  get longestWaitMillis(): number {
    return this.bounds.longestWaitMillis
  }

  /** Registers the length of a queue's leases, which a coordinator must respect. Returns a function that ends that. */
  registerLease(leaseMillis: number, queue: string): () => void {
    return this.bounds.registerLease(leaseMillis, queue)
  }

  // --- the line -----------------------------------------------------------------------------------------------------

  /** The total time spent waiting for locks of others, in milliseconds: a starting point for counting. */
  get waitedMillis(): number {
    return this.line.waitedMillis
  }

  /** Whether somebody else's lock has been waited for as long as there is a bound, since this point. */
  isOver(since: number): boolean {
    return this.line.isOver(since)
  }

  /** Whether somebody waits who goes before all others. */
  get hasFirst(): boolean {
    return this.line.hasFirst
  }

  // --- transactions -------------------------------------------------------------------------------------------------

  /** The transaction that a fiber with this context is in, also one that is over. */
  currentIn(context: Context.Context<never>): Transaction | undefined {
    return context.unsafeMap.get(this.key.key)
  }

  /** The context of what runs in a transaction. */
  enclose<R>(context: Context.Context<R>, transaction: Transaction): Context.Context<R> {
    const services = new Map(context.unsafeMap)
    services.set(this.key.key, transaction)
    const reactivity = services.get(Reactivity.key)
    // A query that is told before the commit would read what was there before, and not be told again.
    if (reactivity !== undefined) services.set(Reactivity.key, untilCommitted(reactivity, transaction))
    return Context.unsafeMake(services)
  }

  /**
   * Runs an effect in a transaction of its own, or in a savepoint of the one that the fiber is in. The errors of the
   * transaction are told as `onError` makes them, those of the effect as they are.
   */
  withTransaction<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    onError: (error: TransactionError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return Effect.flatMap(Effect.context<never>(), (context) => {
      const current = this.currentIn(context)
      return current === undefined ? this.outermost(effect, onError) : current.savepoint(effect, onError)
    })
  }

  private outermost<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    onError: (error: TransactionError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.mapError(this.begin(restore), onError), (open) =>
        Effect.flatMap(
          inFiberOfItsOwn(restore, this.surroundings.provide(open.transaction, effect)),
          (exit): Effect.Effect<A, E | E2> =>
            Effect.zipRight(Exit.isSuccess(exit) ? Effect.mapError(open.commit, onError) : open.rollback, exit)
        ))
    )
  }

  /**
   * Waits for the lock and begins. Somebody else's lock is waited for from `since` on. To be called where interruption is
   * off, and followed by `commit` or `rollback`.
   */
  begin(
    restore: Restore,
    since = this.line.waitedMillis
  ): Effect.Effect<OpenTransaction, StoreUnavailable | TransactionFailed> {
    return Effect.gen(this, function*() {
      const turn = new Turn(since)
      yield* this.line.take(turn, restore)
      const scope = yield* Scope.make()
      const giveBack = Effect.zipRight(Scope.close(scope, Exit.void), Effect.sync(() => this.line.release(turn)))
      const connection = yield* Effect.onError(
        Effect.mapError(
          restore(Scope.extend(this.database.writer, scope)),
          (error) => toTransactionError(this.surroundings, "begin", error)
        ),
        () => giveBack
      )
      // An interruption may come right after BEGIN; or where others go first, and then what is open is theirs.
      const undo = Effect.suspend(() => turn.isHeld ? this.rollback(connection) : Effect.void)
      yield* Effect.onError(
        restore(this.beginOn(connection, turn, always)),
        () => Effect.zipRight(undo, giveBack)
      )
      return new OpenTransaction(this.surroundings, new Transaction(this.surroundings, connection), {
        commit: this.commit(connection),
        rollback: this.rollback(connection),
        giveBack
      })
    })
  }

  /** Begins a transaction, unless it is no longer wanted. Returns whether it has begun. */
  private beginOn(
    connection: Connection,
    turn: Turn,
    isWanted: () => boolean
  ): Effect.Effect<boolean, StoreUnavailable | TransactionFailed> {
    const begin = Effect.as(connection.execute(this.database.dialect.begin, [], undefined), true)
    const begun = this.outside(connection, Effect.suspend(() => isWanted() ? begin : Effect.succeed(false)))
    return Effect.mapError(
      this.line.begin(turn, begun),
      (error) => error instanceof StoreUnavailable ? error : toTransactionError(this.surroundings, "begin", error)
    )
  }

  /** Runs one statement that is a transaction by itself, as soon as it is its turn. */
  autocommit<X>(
    run: (connection: Connection) => Effect.Effect<X, SqlError>,
    place?: Place
  ): Effect.Effect<X, SqlError> {
    return Effect.zipLeft(
      asSqlError(
        this.exclusively(place, (connection, turn) => this.line.begin(turn, this.outside(connection, run(connection))))
      ),
      this.breaks.whenDue
    )
  }

  /**
   * Runs internal statements in a transaction, as soon as it is its turn and unless it is no longer wanted then. No
   * other code knows the transaction, so it needs nothing that revokes it, and costs a fraction of one that does. What
   * has failed by itself fails with its own error. To be called where interruption is off.
   */
  inTransaction<X>(
    run: (connection: Connection) => Effect.Effect<X, SqlError>,
    isWanted: () => boolean,
    place?: Place
  ): Effect.Effect<X | undefined, SqlError | StoreUnavailable | TransactionFailed> {
    const { bounded = identity } = this.database
    return this.exclusively(place, (given, turn) => {
      const connection = bounded(given)
      const rest = Effect.matchCauseEffect(Effect.suspend(() => run(connection)), {
        onFailure: (cause) => Effect.zipRight(this.rollback(connection), Effect.failCause(cause)),
        onSuccess: (value) => Effect.as(this.commit(connection), value)
      })
      return Effect.flatMap(
        this.beginOn(connection, turn, isWanted),
        (isBegun): Effect.Effect<X | undefined, SqlError | StoreUnavailable | TransactionFailed> =>
          isBegun ? rest : Effect.succeed(undefined)
      )
    })
  }

  /** Runs something on the writer's connection, as soon as it is its turn. */
  private exclusively<X, E>(
    place: Place | undefined,
    run: (connection: Connection, turn: Turn) => Effect.Effect<X, E>
  ): Effect.Effect<X, E | SqlError | StoreUnavailable> {
    const { line, only } = this
    return Effect.suspend(() => {
      const turn = new Turn(place?.since ?? line.waitedMillis, place?.first)
      return line.with(
        turn,
        only === undefined
          ? Effect.scoped(Effect.flatMap(this.database.writer, (connection) => run(connection, turn)))
          : Effect.suspend(() => run(only, turn))
      )
    })
  }

  /** Runs something that only reads on the connection for it. */
  read<X>(run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return Effect.zipLeft(asSqlError(this.readers.withoutTurn(this.inPlace(run))), this.breaks.whenDue)
  }

  /** The writer's connection for as long as the scope is open; a transaction that is left open is rolled back. */
  readonly reserve: Effect.Effect<Connection, SqlError, Scope.Scope> = Effect.flatMap(
    Effect.context<never>(),
    // In a transaction that is the connection already; waiting for the writer would be waiting for oneself.
    (context): Effect.Effect<Connection, SqlError, Scope.Scope> => {
      const current = this.currentIn(context)
      return current === undefined ? this.reserveWriter : Effect.succeed(current.connection)
    }
  )

  private readonly reserveWriter = Effect.uninterruptibleMask((restore) =>
    Effect.gen(this, function*() {
      const scope = yield* Effect.scope
      const turn = this.line.turn()
      yield* Effect.mapError(this.line.take(turn, restore), toSqlError)
      const giveBack = Effect.sync(() => this.line.release(turn))
      yield* Scope.addFinalizer(scope, giveBack)
      // The scope may be one that stays open for long.
      const connection = yield* Effect.onError(
        restore(Effect.tap(
          this.database.writer,
          (connection) => asSqlError(this.line.begin(turn, this.outside(connection, Effect.void)))
        )),
        () => giveBack
      )
      // The wait for somebody else's lock is one until the first statement has run.
      let since: number | undefined = turn.since
      let closed = false
      yield* Scope.addFinalizer(
        scope,
        Effect.suspend(() => {
          closed = true
          return this.rollback(connection)
        })
      )
      const whenClosed = new SqlError({ message: "the connection was reserved for a scope that has closed" })
      return new GuardedConnection(connection, (_, run) =>
        Effect.suspend(() =>
          closed ? Effect.fail(whenClosed) : Effect.tap(asSqlError(this.line.goOn(this.inPlace(run), since)), () => {
            since = undefined
          })
        ))
    })
  )

  private commit(connection: Connection): Effect.Effect<void, StoreUnavailable | TransactionFailed> {
    return this.line.goOn(this.inPlace(connection.execute(this.database.dialect.commit, [], undefined))).pipe(
      Effect.mapError((error) =>
        error instanceof StoreUnavailable ? error : toTransactionError(this.surroundings, "commit", error)
      ),
      // A commit that failed may have left the transaction open.
      Effect.tapError(() => this.rollback(connection)),
      Effect.asVoid
    )
  }

  /** Rolls back any open transaction. The database may have done so by itself, which must not hide the cause. */
  private rollback(connection: Connection): Effect.Effect<void> {
    return Effect.ignore(Effect.sandbox(this.tryRollback(connection)))
  }

  /** Rolls back any open transaction. Until that has worked, nothing else runs on the connection. */
  private tryRollback(connection: Connection): Effect.Effect<void, SqlError> {
    const { dialect } = this.database
    return Effect.matchCauseEffect(connection.execute(dialect.rollback, [], undefined), {
      onFailure: (cause) => {
        const error = Cause.failureOption(cause)
        if (Option.isSome(error) && dialect.isNoTransaction(error.value)) {
          this.mayBeOpen.delete(connection)
          return Effect.void
        }
        this.mayBeOpen.add(connection)
        return Effect.failCause(cause)
      },
      onSuccess: () => {
        this.mayBeOpen.delete(connection)
        return Effect.void
      }
    })
  }

  /**
   * Runs something that must not get into a transaction that could not be rolled back: where it still cannot, it fails.
   */
  private outside<X>(connection: Connection, run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return this.inPlace(
      Effect.suspend(() => this.mayBeOpen.has(connection) ? Effect.zipRight(this.tryRollback(connection), run) : run)
    )
  }

  /** Runs something unless the file is not at its place any more. */
  private inPlace<X>(run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    const { watch } = this.database
    if (watch === undefined) return run
    return Effect.suspend(() => {
      const moved = watch.look()
      return moved === undefined ? run : Effect.fail(toSqlError(moved))
    })
  }
}

const always = () => true

let nextKey = 0

/** What an Effect answers that has nothing to do. */
const valueOf = <A, E, R>(effect: Effect.Effect<A, E, R>): A | undefined =>
  Exit.isExit(effect) && Exit.isSuccess(effect) ? effect.value as A : undefined

/** A transaction that somebody has to commit or roll back. */
export class OpenTransaction {
  readonly transaction: Transaction
  private readonly surroundings: Surroundings
  private readonly steps: {
    readonly commit: Effect.Effect<void, StoreUnavailable | TransactionFailed>
    readonly rollback: Effect.Effect<void>
    readonly giveBack: Effect.Effect<void>
  }

  /** Whether the connection and the lock have been given back. */
  private done = false

  constructor(surroundings: Surroundings, transaction: Transaction, steps: OpenTransaction["steps"]) {
    this.surroundings = surroundings
    this.transaction = transaction
    this.steps = steps
  }

  /** Commits, or rolls back and fails. To be called where interruption is off. */
  readonly commit: Effect.Effect<void, TransactionError> = Effect.suspend((): Effect.Effect<void, TransactionError> => {
    const { transaction } = this
    if (transaction.isOver) return Effect.zipRight(this.rollback, Effect.fail(transaction.ended))
    transaction.unsafeEnd("finished")
    // Told before the next transaction can be: in the order of the commits.
    const steps = Effect.matchCauseEffect(Effect.zipRight(this.undoOpen, this.steps.commit), {
      onFailure: (cause) => Effect.zipRight(transaction.undone, Effect.failCause(cause)),
      onSuccess: () => transaction.committed
    })
    return Effect.ensuring(transaction.using(steps), this.giveBack)
  })

  /** What was forked inside may be in the middle of a savepoint. */
  private readonly undoOpen: Effect.Effect<void, StoreUnavailable | TransactionFailed> = Effect.suspend(() => {
    const { openSavepoint, raw } = this.transaction
    return openSavepoint === undefined ? Effect.void : raw.execute(
      this.surroundings.dialect.rollbackTo(openSavepoint),
      [],
      undefined
    ).pipe(
      Effect.mapError((error) => toTransactionError(this.surroundings, "commit", error)),
      Effect.tapError(() => this.steps.rollback),
      Effect.asVoid
    )
  })

  /** Rolls back. To be called where interruption is off. */
  readonly rollback: Effect.Effect<void> = Effect.suspend(() => {
    this.transaction.unsafeEnd("finished")
    const steps = Effect.zipRight(this.steps.rollback, this.transaction.undone)
    return Effect.ensuring(this.transaction.using(steps), this.giveBack)
  })

  /** Rolls back, unless it has been committed or rolled back already. */
  readonly abandon: Effect.Effect<void> = Effect.suspend(() => this.done ? Effect.void : this.rollback)

  private readonly giveBack: Effect.Effect<void> = Effect.suspend(() => {
    this.done = true
    return this.steps.giveBack
  })
}

/** For callers that run statements, every failure of a statement is a `SqlError`. */
const asSqlError = <X>(run: Effect.Effect<X, SqlError | StoreUnavailable>): Effect.Effect<X, SqlError> =>
  Effect.mapError(
    run,
    (error) => error instanceof StoreUnavailable ? toSqlError(error) : error
  )

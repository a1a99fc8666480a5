/**
 * Group commit for internal operations: waiting operations share one transaction, because a commit costs as much as
 * hundreds of rows.
 *
 * The states of an operation: waiting (its caller may still withdraw it) -> begun -> answered, once it is committed. If
 * one operation of a group fails, the group is rolled back and each operation runs alone, so that each fails for
 * itself.
 *
 * Unlike a write of the WriteCoordinator, an operation is internal code: it only uses its connection, does not hang,
 * and may be run again. So it needs no fiber, no savepoint and no timeout.
 *
 * There are two lines, each with its own fiber: urgent operations go before everything else that waits for the writer,
 * including a group that already waits.
 */
import { SafeIntegers } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable } from "@sluice/core/QueueError"
import { Bell, Call, forkUninterruptible, type OnInterrupt, park } from "@sluice/core/unstable/Fibers"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Dialect } from "../../Dialect.ts"
import type { TransactionError } from "../../TransactionError.ts"
import type { Transaction } from "../writer/transaction.ts"
import type { Transactions } from "../writer/transactions.ts"

/** What is to be done. */
export interface Operation<A> {
  /** Whether it may be committed statement by statement. */
  readonly single: boolean
  /** What it locks until the transaction ends, if it makes others wait: those of a group come last, in this order. */
  readonly lock?: number | undefined
  readonly run: (connection: Connection) => Effect.Effect<A, SqlError>
}

/** An operation that somebody waits for. */
class Waiting extends Call<any, StoreUnavailable> {
  readonly operation: Operation<any>
  /** From which point on the wait for somebody else's lock counts. */
  readonly since: number
  begun = false
  private readonly takeBack: (waiting: Waiting) => void

  constructor(operation: Operation<any>, since: number, takeBack: (waiting: Waiting) => void) {
    super()
    this.operation = operation
    this.since = since
    this.takeBack = takeBack
  }

  protected interrupted(): OnInterrupt {
    if (this.begun) return "wait"
    this.takeBack(this)
    return "leave"
  }
}

/** How many operations share a transaction at most: a bound to how long others wait for the lock. */
const mostInGroup = 256

/** What an error of a statement or of a transaction is for those who use the store. */
export const toUnavailable = (
  { dialect, store }: { readonly dialect: Dialect; readonly store: string },
  error: SqlError | TransactionError
): StoreUnavailable => {
  if (error instanceof StoreUnavailable) return error
  if (!(error instanceof SqlError)) return new StoreUnavailable({ store, reason: "failed", cause: error })
  if (error.cause instanceof StoreUnavailable) return error.cause
  return new StoreUnavailable({ store, reason: dialect.unavailable(error) ?? "failed", cause: error.cause ?? error })
}

/** All of them wait at the same time, so any order is right. */
const inOrderOfLocks = (group: ReadonlyArray<Waiting>): ReadonlyArray<Waiting> => {
  const lockOf = ({ operation: { lock = -Infinity } }: Waiting) => lock
  return group.some((waiting) => lockOf(waiting) > -Infinity)
    // Not their difference: that of two infinities is no number.
    ? [...group].sort((one, other) => lockOf(one) < lockOf(other) ? -1 : lockOf(one) > lockOf(other) ? 1 : 0)
    : group
}

/** Operations that wait, and the fiber that runs them. */
class OperationLine {
  private readonly transactions: Transactions
  /** Whether it goes before everything else that waits for the writer. */
  private readonly first: boolean
  private readonly waiting = new Set<Waiting>()
  /** What has begun. */
  private group: ReadonlyArray<Waiting> = []
  private closed = false
  /** How many have begun and are not answered. */
  private running = 0
  private readonly bell = new Bell(() => this.waiting.size > 0 || this.closed)
  /** Resumes the closing fiber. */
  private whenIdle: (() => void) | undefined

  constructor(transactions: Transactions, first: boolean) {
    this.transactions = transactions
    this.first = first
  }

  // --- callers ------------------------------------------------------------------------------------------------------

  /** Runs an operation with those of others, and answers once it is committed. */
  submit<A>(operation: Operation<A>): Effect.Effect<A, StoreUnavailable> {
    // It is put in, and its exit waited for, in one step: an interruption cannot come between.
    return Effect.uninterruptibleMask((restore) => {
      if (this.closed) return Effect.fail(this.whenClosed())
      const waiting = new Waiting(operation, this.transactions.waitedMillis, this.takeBack)
      this.waiting.add(waiting)
      this.bell.ring()
      return waiting.wait(restore)
    })
  }

  private readonly takeBack = (waiting: Waiting): void => {
    this.waiting.delete(waiting)
    this.lookIdle()
  }

  // --- the fiber ----------------------------------------------------------------------------------------------------

  /** Runs what is waiting, until it is closed. No generator: this is where the time goes. */
  readonly run: Effect.Effect<void> = Effect.uninterruptible(
    Effect.whileLoop({
      while: () => this.waiting.size > 0 || !this.closed,
      body: () => {
        if (this.waiting.size === 0) return this.bell.wait
        const [first] = this.waiting
        return this.waiting.size === 1 && first.operation.single ? this.runSingle(first) : this.runGroup
      },
      step: () => {}
    })
  )

  /** Refuses what has not begun. */
  unsafeClose(): void {
    this.closed = true
    const closed = Exit.fail(this.whenClosed())
    for (const waiting of this.waiting) this.answer(waiting, closed)
    this.waiting.clear()
    this.bell.ring()
  }

  /**
   * Waits until what has begun is done, once it is closed. Not for the fiber: it may be waiting for a lock for somebody
   * who has gone.
   */
  readonly ended: Effect.Effect<void> = park<void>((resume) => {
    this.whenIdle = () => resume(Effect.void)
    this.lookIdle()
  })

  private lookIdle(): void {
    if (this.closed && this.waiting.size === 0 && this.running === 0) this.whenIdle?.()
  }

  /** The fiber has ended: operations that are still here will not run. */
  unsafeEnd(cause: Cause.Cause<StoreUnavailable>): void {
    this.closed = true
    for (const waiting of [...this.group, ...this.waiting]) {
      if (waiting.exit === undefined) this.answer(waiting, Exit.failCause(cause))
    }
    this.waiting.clear()
  }

  whenClosed(): StoreUnavailable {
    const { store } = this.transactions.database
    return new StoreUnavailable({ store, reason: "closed", cause: new Error("the store of batches is closed") })
  }

  /** One that needs no transaction around it. While somebody else has the lock, it has not begun. */
  private runSingle(waiting: Waiting): Effect.Effect<void> {
    const { bounded = identity, dialect } = this.transactions.database
    const run = (connection: Connection) =>
      Effect.suspend(() => {
        // A caller that has withdrawn it meanwhile is no longer waiting.
        if (waiting.exit !== undefined || !waiting.begun && !this.waiting.delete(waiting)) return Effect.void
        this.begin(waiting)
        return Effect.catchAll(waiting.operation.run(bounded(connection)), (error) => {
          if (dialect.isBusy(error)) this.putBack(waiting)
          return Effect.fail(error)
        })
      })
    return this.answerWith(waiting, this.transactions.autocommit(run, { since: waiting.since, first: this.first }))
  }

  private begin(waiting: Waiting): void {
    if (waiting.begun) return
    waiting.begun = true
    this.running += 1
  }

  private putBack(waiting: Waiting): void {
    waiting.begun = false
    this.running -= 1
    this.waiting.add(waiting)
  }

  private runAlone(waiting: Waiting): Effect.Effect<void> {
    const { run, single } = waiting.operation
    const place = { since: waiting.since, first: this.first }
    return single
      ? this.runSingle(waiting)
      : this.answerWith(waiting, this.transactions.inTransaction(run, always, place))
  }

  private readonly runGroup: Effect.Effect<void> = Effect.suspend(() => {
    const here = [...this.waiting]
    // Who has waited longest is told when its time is over. The others wait on, for as long as each may.
    const place = { since: Math.min(...here.map(({ since }) => since)), first: this.first }
    this.group = []
    const run = (connection: Connection) => {
      this.group = this.takeGroup()
      return this.runAll(connection)
    }
    return Effect.matchCauseEffect(this.transactions.inTransaction(run, () => this.waiting.size > 0, place), {
      onFailure: (cause) => {
        const { group } = this
        const error = Option.getOrUndefined(Cause.failureOption(cause))
        const unavailable = error instanceof StoreUnavailable ? error.reason : undefined
        if (group.length === 0) {
          const failed = unavailable === "locked" ? this.whoseTimeIsOver : here
          return this.failAll(failed.filter((waiting) => this.waiting.delete(waiting)), cause)
        }
        // The commit has failed, and would again.
        if (unavailable !== undefined) return this.failAll(group, cause)
        return Effect.forEach(group, (waiting) => this.runAlone(waiting), { discard: true })
      },
      onSuccess: (answers) =>
        Effect.sync(() => this.group.forEach((waiting, index) => this.answer(waiting, Exit.succeed(answers?.[index]))))
    })
  })

  private get whoseTimeIsOver(): ReadonlyArray<Waiting> {
    return [...this.waiting].filter(({ since }) => this.transactions.isOver(since))
  }

  private takeGroup(): ReadonlyArray<Waiting> {
    const group: Array<Waiting> = []
    for (const waiting of this.waiting) {
      if (group.length === mostInGroup) break
      this.waiting.delete(waiting)
      this.begin(waiting)
      group.push(waiting)
    }
    return inOrderOfLocks(group)
  }

  private runAll(connection: Connection): Effect.Effect<ReadonlyArray<unknown>, SqlError> {
    const { group } = this
    const { breaks } = this.transactions
    const answers: Array<unknown> = []
    return Effect.as(
      Effect.whileLoop({
        while: () => answers.length < group.length,
        body: () => {
          const run = group[answers.length].operation.run(connection)
          return breaks.isDue ? Effect.zipRight(breaks.take, run) : run
        },
        step: (answer) => answers.push(answer)
      }),
      answers
    )
  }

  private failAll(
    group: ReadonlyArray<Waiting>,
    cause: Cause.Cause<SqlError | TransactionError>
  ): Effect.Effect<void> {
    const exit = Exit.failCause(Cause.map(cause, (error) => toUnavailable(this.transactions.database, error)))
    return Effect.sync(() => group.forEach((waiting) => this.answer(waiting, exit)))
  }

  private answerWith(
    waiting: Waiting,
    run: Effect.Effect<unknown, SqlError | TransactionError>
  ): Effect.Effect<void> {
    const exit = Effect.exit(Effect.mapError(run, (error) => toUnavailable(this.transactions.database, error)))
    return Effect.map(exit, (exit) => {
      this.waiting.delete(waiting)
      this.answer(waiting, exit)
    })
  }

  private answer(waiting: Waiting, exit: Exit.Exit<any, StoreUnavailable>): void {
    // It may have been refused while it waited for a lock.
    if (waiting.exit !== undefined) return
    if (waiting.begun) this.running -= 1
    waiting.begun = true
    waiting.end(exit)
    this.lookIdle()
  }
}

const always = () => true

export class GroupCommit {
  private readonly transactions: Transactions
  private readonly ordinary: OperationLine
  private readonly urgent: OperationLine

  constructor(transactions: Transactions, ordinary: OperationLine, urgent: OperationLine) {
    this.transactions = transactions
    this.ordinary = ordinary
    this.urgent = urgent
  }

  /** Runs an operation with those of others, and answers once it is committed. */
  submit<A>(operation: Operation<A>): Effect.Effect<A, StoreUnavailable> {
    return this.ordinary.submit(operation)
  }

  /** The same, before everything else that waits for the writer. */
  submitFirst<A>(operation: Operation<A>): Effect.Effect<A, StoreUnavailable> {
    return this.urgent.submit(operation)
  }

  /** Runs an operation as a part of the transaction that the caller is in, which is rolled back with that. */
  join<A>(transaction: Transaction, { run }: Operation<A>): Effect.Effect<A, StoreUnavailable> {
    const unavailable = (error: SqlError | TransactionError) => toUnavailable(this.transactions.database, error)
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.mapError(transaction.enter(restore), unavailable), (child) =>
        Effect.flatMap(
          Effect.exit(Effect.provideService(run(child.connection), SafeIntegers, false)),
          (exit): Effect.Effect<A, StoreUnavailable> =>
            Exit.isSuccess(exit)
              ? Effect.as(Effect.mapError(transaction.leave(child, true), unavailable), exit.value)
              : Effect.zipRight(
                Effect.ignore(transaction.leave(child, false)),
                Effect.failCause(Cause.map(exit.cause, unavailable))
              )
        ))
    )
  }
}

/** Makes a line that runs until it is closed. */
const startLine = (transactions: Transactions, first: boolean): Effect.Effect<OperationLine> =>
  Effect.suspend(() => {
    const line = new OperationLine(transactions, first)
    const loop = Effect.interruptible(line.run).pipe(
      Effect.provideService(SafeIntegers, false),
      Effect.onExit((exit) =>
        Effect.sync(() => line.unsafeEnd(Exit.isFailure(exit) ? exit.cause : Cause.fail(line.whenClosed())))
      )
    )
    return Effect.as(forkUninterruptible(loop), line)
  })

/** Makes one that runs until the scope closes. */
export const makeGroupCommit = (transactions: Transactions): Effect.Effect<GroupCommit, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.all([startLine(transactions, false), startLine(transactions, true)]),
      // All are refused before any is waited for.
      (lines) =>
        Effect.suspend(() => {
          for (const line of lines) line.unsafeClose()
          return Effect.forEach(lines, ({ ended }) => ended, { discard: true })
        })
    ),
    ([ordinary, urgent]) => new GroupCommit(transactions, ordinary, urgent)
  )

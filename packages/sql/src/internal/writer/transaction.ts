/**
 * One open transaction, or a savepoint in one: the connection for the code that runs in it, and the savepoints below.
 *
 * Nothing is concurrent inside a transaction: a statement or a savepoint waits for the one before it. When a
 * transaction ends, its connection is revoked, and so are those of the savepoints in it, so that a fiber that was
 * forked inside cannot write into a transaction that comes later. If such a fiber has begun a statement, the
 * transaction waits for it first.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable } from "@sluice/core/QueueError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Dialect, SqlKind } from "../../Dialect.ts"
import { TransactionEnded, type TransactionError, TransactionFailed } from "../../TransactionError.ts"
import { type Breaks, inFiberOfItsOwn, type Restore } from "@sluice/core/unstable/Fibers"
import { messageOf, withMessages } from "@sluice/core/unstable/ErrorText"
import { GuardedConnection } from "./guardedConnection.ts"
import { Lock } from "./lock.ts"

/** Runs what a transaction is for, in the context that leads back to it. */
export type Provide = <A, E, R>(transaction: Transaction, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** What all transactions of a database have in common. */
export interface Surroundings {
  readonly store: string
  readonly dialect: Dialect
  readonly breaks: Breaks
  readonly provide: Provide
}

export class Transaction {
  /** Runs statements for as long as the transaction is open. */
  readonly connection: Connection
  /** Runs them unconditionally: for the owner of the transaction. */
  readonly raw: Connection
  private readonly surroundings: Surroundings
  private readonly parent: Transaction | undefined
  private readonly depth: number
  /** Held by the statement, or the savepoint, that is the turn of. */
  private readonly lock = new Lock()
  /** Held by the current user of the connection. One for the whole transaction. */
  private readonly use: Lock
  private child: Transaction | undefined
  /** Why it is over, once it is. */
  private end: { readonly reason: TransactionEnded["reason"]; readonly cause: unknown } | undefined
  private onCommit: Array<() => void> | undefined
  private onEnd: Array<(committed: boolean) => void> | undefined
  /** What has become of what was written in this part: once it is kept, that is for the parent to say. */
  private outcome: "committed" | "kept" | "undone" | undefined

  constructor(surroundings: Surroundings, raw: Connection, parent?: Transaction) {
    this.surroundings = surroundings
    this.raw = raw
    this.parent = parent
    this.depth = parent === undefined ? 0 : parent.depth + 1
    this.use = parent === undefined ? new Lock() : parent.use
    this.connection = new GuardedConnection(raw, (sql, run) => this.execute(sql, run))
  }

  /** Whether it has ended, or one that it is in. */
  get isOver(): boolean {
    return this.end !== undefined || this.parent !== undefined && this.parent.isOver
  }

  /** Why it is over. */
  get ended(): TransactionEnded {
    if (this.end === undefined) return this.parent!.ended
    return new TransactionEnded({ store: this.surroundings.store, ...this.end })
  }

  /** Calls back once the whole transaction is committed, and not at all if this part of it is rolled back. */
  unsafeAfterCommit(callback: () => void): void {
    ;(this.onCommit ??= []).push(callback)
  }

  /**
   * Calls back once, when it is clear what becomes of this part: whether the whole transaction is committed with it, or
   * it is rolled back.
   */
  unsafeOnEnd(listener: (committed: boolean) => void): void {
    if (this.outcome === undefined) (this.onEnd ??= []).push(listener)
    else if (this.outcome === "kept") this.parent!.unsafeOnEnd(listener)
    else listener(this.outcome === "committed")
  }

  /** Calls back once, when the whole transaction has ended, regardless of this part. */
  unsafeOnOver(listener: () => void): void {
    this.root.unsafeOnEnd(() => listener())
  }

  private execute<X>(sql: string, run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    const { breaks, dialect } = this.surroundings
    const kind = dialect.kindOf(sql)
    if (kind === "transaction") return Effect.fail(refusal(sql, kind))
    const executed = Effect.uninterruptibleMask((restore) => {
      const use = () =>
        this.lock.releaseAfter(this.whileOpen(() => this.noticeEnd(restore(run)), () => toSqlError(this.ended)))
      return this.lock.tryTake() ? use() : Effect.flatMap(this.lock.take(restore), use)
    })
    return Effect.flatMap(executed, (result) => breaks.isDue ? Effect.as(breaks.take, result) : Effect.succeed(result))
  }

  /**
   * Uses the connection, if the transaction is still open then. The code that ends the transaction uses it too, and so
   * waits until this is done, or is seen here to have been first. To be called where interruption is off, and run at
   * once.
   */
  private whileOpen<X, E>(run: () => Effect.Effect<X, E>, whenOver: () => E): Effect.Effect<X, E> {
    const use = () => this.use.releaseAfter(this.isOver ? Effect.fail(whenOver()) : run())
    return this.use.tryTake() ? use() : Effect.flatMap(this.use.take((effect) => effect), use)
  }

  /** Uses the connection: for the code that has ended the transaction. */
  using<X, E>(run: Effect.Effect<X, E>): Effect.Effect<X, E> {
    return this.use.with(run)
  }

  private noticeEnd<X>(run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return Effect.catchAll(run, (error) => Effect.zipRight(this.afterFailure(error), Effect.fail(error)))
  }

  /**
   * To be called after a statement has failed. It may have ended the transaction: `OR ROLLBACK`, a full disk. Those
   * after it would each be committed by themselves. On some servers it only leaves a rollback of this part.
   */
  afterFailure(error: unknown): Effect.Effect<void> {
    const { dialect } = this.surroundings
    return Effect.map(dialect.isOpen(this.raw, error), (open) => {
      if (!open) this.root.unsafeEnd("ended-inside", error)
      else if (dialect.failureAborts) this.unsafeEnd("ended-inside", error)
    })
  }

  /**
   * Runs an effect in a savepoint, which is rolled back where the effect fails. Waits for a sibling to end. Calls back
   * as `unsafeAfterCommit` does.
   */
  savepoint<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    onError: (error: TransactionError) => E2,
    afterCommit?: () => void
  ): Effect.Effect<A, E | E2, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.mapError(this.enter(restore), onError), (child) =>
        Effect.flatMap(
          inFiberOfItsOwn(restore, this.surroundings.provide(child, effect)),
          (exit): Effect.Effect<A, E | E2> => {
            if (Exit.isSuccess(exit)) {
              if (afterCommit !== undefined) child.unsafeAfterCommit(afterCommit)
              return Effect.zipRight(Effect.mapError(this.leave(child, true), onError), exit)
            }
            // The first cause counts; a savepoint that cannot be rolled back has ended the transaction.
            return Effect.zipRight(Effect.ignore(this.leave(child, false)), exit)
          }
        ))
    )
  }

  /** Begins a savepoint. To be called where interruption is off, run at once, and followed by `leave`. */
  enter(restore: Restore): Effect.Effect<Transaction, TransactionError> {
    const child = new Transaction(this.surroundings, this.raw, this)
    const savepoint = () =>
      Effect.map(this.noticeEnd(this.control(this.surroundings.dialect.savepoint(child.name))), () => {
        this.child = child
        return child
      })
    const begin = () =>
      Effect.mapError(
        this.whileOpen<Transaction, SqlError | TransactionEnded>(savepoint, () => this.ended),
        (error) => {
          this.lock.release()
          if (error instanceof TransactionEnded) return error
          return this.isOver ? this.ended : toTransactionError(this.surroundings, "savepoint", error)
        }
      )
    return this.lock.tryTake() ? begin() : Effect.flatMap(this.lock.take(restore), begin)
  }

  /**
   * Ends a savepoint: keeps what was written in it, or rolls it back. To be called where interruption is off, and run at
   * once.
   */
  leave(child: Transaction, keep: boolean): Effect.Effect<void, TransactionEnded> {
    const cutOff = child.isOver ? child.ended : undefined
    const kept = keep && cutOff === undefined
    child.unsafeEnd("finished")
    const end = () => {
      const { release, rollbackTo } = this.surroundings.dialect
      // What was forked in it may be in the middle of a savepoint of its own.
      const undo = kept ? child.child : child
      const released = this.control(release(child.name))
      const steps = undo === undefined ? released : Effect.zipRight(this.control(rollbackTo(undo.name)), released)
      return Effect.mapBoth(steps, {
        onFailure: (error) => {
          // The savepoint is gone, and with it the transaction that it was in.
          this.root.unsafeEnd("ended-inside", error)
          return this.ended
        },
        onSuccess: () => {
          this.child = undefined
          if (kept) this.adopt(child)
        }
      }).pipe(Effect.zipLeft(Effect.suspend(() => undo === undefined ? Effect.void : undo.undone)))
    }
    // If this is over there is nothing to release any more.
    const left = this.lock.releaseAfter(this.whileOpen(end, () => this.ended))
    return keep && cutOff !== undefined ? Effect.zipRight(Effect.ignore(left), Effect.fail(cutOff)) : left
  }

  /** Takes over what is to be called back for a savepoint that is kept. */
  private adopt(child: Transaction): void {
    child.outcome = "kept"
    if (child.onCommit !== undefined) this.onCommit = [...this.onCommit ?? [], ...child.onCommit]
    if (child.onEnd !== undefined) this.onEnd = [...this.onEnd ?? [], ...child.onEnd]
    child.onEnd = undefined
  }

  /** Revokes the connection, and those of the savepoints in it. */
  unsafeEnd(reason: TransactionEnded["reason"], cause?: unknown): void {
    if (!this.isOver) this.end = { reason, cause }
  }

  /** The savepoint that is open directly below, if any. */
  get openSavepoint(): string | undefined {
    return this.child?.name
  }

  /** Everything has been committed: calls back. What is thrown is logged, and changes nothing. */
  readonly committed: Effect.Effect<void> = Effect.suspend(() => {
    const callbacks = this.onCommit ?? []
    return Effect.zipRight(this.told("committed"), this.callBack(callbacks, "commit"))
  })

  /** It has been rolled back: calls back. */
  readonly undone: Effect.Effect<void> = Effect.suspend(() => this.told("undone"))

  /** A savepoint that is still open when this ends is never kept: what was forked inside has begun it. */
  private told(outcome: "committed" | "undone"): Effect.Effect<void> {
    if (this.outcome !== undefined) return Effect.void
    this.outcome = outcome
    const listeners = this.onEnd ?? []
    this.onEnd = undefined
    const calls = listeners.map((listener) => () => listener(outcome === "committed"))
    const own = this.callBack(calls, outcome === "committed" ? "commit" : "rollback")
    return this.child === undefined ? own : Effect.zipRight(this.child.undone, own)
  }

  private callBack(callbacks: ReadonlyArray<() => void>, after: "commit" | "rollback"): Effect.Effect<void> {
    if (callbacks.length === 0) return Effect.void
    const thrown: Array<unknown> = []
    for (const callback of callbacks) {
      try {
        callback()
      } catch (error) {
        thrown.push(error)
      }
    }
    const log = (error: unknown) =>
      Effect.logError(
        `${this.surroundings.store}: what was called after a ${after} threw`,
        withMessages(Cause.die(error))
      )
    // A logger that throws must not make a failure of what is committed either.
    return Effect.ignore(Effect.sandbox(Effect.forEach(thrown, log, { discard: true })))
  }

  /** Unique among those that are open, because siblings wait for one another. */
  private get name(): string {
    return `sluice_${this.depth}`
  }

  private get root(): Transaction {
    return this.parent === undefined ? this : this.parent.root
  }

  private control(sql: string): Effect.Effect<unknown, SqlError> {
    return this.raw.execute(sql, [], undefined)
  }
}

/** What those who only know `SqlError` see of an error of ours. */
export const toSqlError = (error: Error): SqlError => new SqlError({ cause: error, message: messageOf(error) })

/** What is told of a statement that may not run where it is. */
export const refusal = (sql: string, kind: SqlKind): SqlError =>
  refused(
    sql,
    kind === "outside"
      ? "this statement does not work in a transaction: run it with SqlClient, by itself"
      : "a transaction is begun and ended by withTransaction, not by a statement"
  )

/** The same, for any reason. */
export const refused = (sql: string, message: string): SqlError =>
  new SqlError({ cause: new Error(sql.trim()), message })

/** What a failed step of a transaction means. */
export const toTransactionError = (
  { dialect, store }: Pick<Surroundings, "dialect" | "store">,
  step: TransactionFailed["step"],
  error: SqlError
): StoreUnavailable | TransactionFailed => {
  if (error.cause instanceof StoreUnavailable) return error.cause
  const reason = dialect.unavailable(error)
  return reason === undefined
    ? new TransactionFailed({ store, step, cause: error })
    : new StoreUnavailable({ store, reason, cause: error.cause })
}

/**
 * One open transaction, or a savepoint in one: the connection that what runs in it may use, and the savepoints below.
 *
 * Nothing is concurrent inside a transaction: a statement or a savepoint waits for the one before it. When a
 * transaction ends, its connection is revoked, and so are those of the savepoints in it, so that a fiber that was forked
 * inside cannot write into a transaction that comes later.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Dialect } from "../Dialect.ts"
import { TransactionEnded, type TransactionError, TransactionFailed } from "../TransactionError.ts"
import type { Breaks } from "./breaks.ts"
import { GuardedConnection } from "./guardedConnection.ts"
import { Lock } from "./lock.ts"

/** @internal */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Runs what a transaction is for, in the context that leads back to it. */
export type Provide = <A, E, R>(transaction: Transaction, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * What all transactions of a database have in common.
 * @internal
 */
export interface Surroundings {
  readonly store: string
  readonly dialect: Dialect
  readonly breaks: Breaks
  readonly provide: Provide
}

/** @internal */
export class Transaction {
  /** Runs statements for as long as the transaction is open. */
  readonly connection: Connection
  /** Runs them whatever is the case: for whoever owns the transaction. */
  readonly raw: Connection
  private readonly surroundings: Surroundings
  private readonly parent: Transaction | undefined
  private readonly depth: number
  private readonly lock = new Lock()
  private child: Transaction | undefined
  /** Why it is over, once it is. */
  private end: { readonly reason: TransactionEnded["reason"]; readonly cause: unknown } | undefined
  private onCommit: Array<Effect.Effect<void>> | undefined

  constructor(surroundings: Surroundings, raw: Connection, parent?: Transaction) {
    this.surroundings = surroundings
    this.raw = raw
    this.parent = parent
    this.depth = parent === undefined ? 0 : parent.depth + 1
    this.connection = new GuardedConnection(raw, (sql, run) => this.execute(sql, run))
  }

  get isOver(): boolean {
    return this.end !== undefined
  }

  /** Why it is over. */
  get ended(): TransactionEnded {
    return new TransactionEnded({ store: this.surroundings.store, ...this.end! })
  }

  /** To be run once the whole transaction is committed, and not at all if this part of it is rolled back. */
  unsafeAfterCommit(effect: Effect.Effect<void>): void {
    ;(this.onCommit ??= []).push(effect)
  }

  private execute<X>(sql: string, run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    const { breaks, dialect } = this.surroundings
    if (dialect.kindOf(sql) === "transaction") return Effect.fail(refusal(sql))
    const checked = Effect.suspend(() =>
      !this.isOver
        ? this.noticeEnd(run)
        : Effect.fail(toSqlError(this.ended))
    )
    return Effect.zipLeft(this.lock.with(checked), breaks.whenDue)
  }

  /**
   * A statement that fails may have ended the transaction: `OR ROLLBACK`, a full disk. Those after it would each be
   * committed by themselves.
   */
  noticeEnd<X>(run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return Effect.catchAll(run, (error) =>
      Effect.flatMap(this.surroundings.dialect.isOpen(this.raw), (open) => {
        if (!open) this.root.unsafeEnd("ended-inside", error)
        return Effect.fail(error)
      }))
  }

  /** Runs an effect in a savepoint, which is rolled back where the effect fails. Waits for a sibling to end. */
  savepoint<A, E, R, E2>(
    effect: Effect.Effect<A, E, R>,
    onError: (error: TransactionError) => E2
  ): Effect.Effect<A, E | E2, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.mapError(this.enter(restore), onError), (child) =>
        Effect.flatMap(
          Effect.exit(restore(this.surroundings.provide(child, effect))),
          (exit): Effect.Effect<A, E | E2> =>
            Exit.isSuccess(exit)
              ? Effect.zipRight(Effect.mapError(this.leave(child, true), onError), exit)
              // The first cause counts; a savepoint that cannot be rolled back has ended the transaction.
              : Effect.zipRight(Effect.ignore(this.leave(child, false)), exit)
        ))
    )
  }

  /** Begins a savepoint. To be called where interruption is off, and followed by `leave`. */
  enter(restore: Restore): Effect.Effect<Transaction, TransactionError> {
    return Effect.zipRight(
      this.lock.take(restore),
      Effect.suspend((): Effect.Effect<Transaction, TransactionError> => {
        if (this.isOver) {
          this.lock.release()
          return Effect.fail(this.ended)
        }
        const child = new Transaction(this.surroundings, this.raw, this)
        return Effect.matchEffect(this.noticeEnd(this.control(this.surroundings.dialect.savepoint(child.name))), {
          onFailure: (error) => {
            this.lock.release()
            return Effect.fail(
              this.isOver ? this.ended : toTransactionError(this.surroundings, "savepoint", error)
            )
          },
          onSuccess: () => {
            this.child = child
            return Effect.succeed(child)
          }
        })
      })
    )
  }

  /** Ends a savepoint: keeps what was written in it, or rolls it back. */
  leave(child: Transaction, keep: boolean): Effect.Effect<void, TransactionEnded> {
    return Effect.suspend(() => {
      const cutOff = child.isOver ? child.ended : undefined
      const open = child.child
      child.unsafeEnd("finished")
      // It was a part of a transaction that has ended: there is nothing to release any more.
      if (this.isOver) {
        this.lock.release()
        return Effect.fail(cutOff ?? this.ended)
      }
      const { release, rollbackTo } = this.surroundings.dialect
      const kept = keep && cutOff === undefined
      // What was forked in it may be in the middle of a savepoint of its own.
      const undo = kept ? open : child
      const steps = undo === undefined
        ? this.control(release(child.name))
        : Effect.zipRight(this.control(rollbackTo(undo.name)), this.control(release(child.name)))
      return Effect.matchEffect(steps, {
        onFailure: (error) => {
          // The savepoint is gone, and with it the transaction that it was in.
          this.child = undefined
          this.root.unsafeEnd("ended-inside", error)
          this.lock.release()
          return Effect.fail(this.ended)
        },
        onSuccess: () => {
          if (kept && child.onCommit !== undefined) this.onCommit = [...this.onCommit ?? [], ...child.onCommit]
          this.child = undefined
          this.lock.release()
          return keep && cutOff !== undefined ? Effect.fail(cutOff) : Effect.void
        }
      })
    })
  }

  /** Revokes the connection, and those of the savepoints that are open below. */
  unsafeEnd(reason: TransactionEnded["reason"], cause?: unknown): void {
    if (this.isOver) return
    this.end = { reason, cause }
    this.child?.unsafeEnd(reason, cause)
  }

  /** The savepoint that is open directly below, if any. */
  get openSavepoint(): string | undefined {
    return this.child?.name
  }

  /** Everything has been committed: runs what was to be run then. What dies is logged, and changes nothing. */
  committed(): Effect.Effect<void> {
    if (this.onCommit === undefined) return Effect.void
    return Effect.forEach(
      this.onCommit,
      Effect.catchAllCause((cause) =>
        Effect.logError(`${this.surroundings.store}: what was to be done after a commit died`, cause)
      ),
      { discard: true }
    )
  }

  /** Unique among those that are open, because siblings wait for one another. */
  private get name(): string {
    return `sluice_${this.depth}`
  }

  private get root(): Transaction {
    return this.parent === undefined ? this : this.parent.root
  }

  private control(sql: string): Effect.Effect<unknown, SqlError> {
    return this.raw.executeRaw(sql, [])
  }
}

/**
 * What those who only know `SqlError` see of an error of ours.
 * @internal
 */
export const toSqlError = (error: Error): SqlError => new SqlError({ cause: error, message: error.message })

/** @internal */
export const refusal = (sql: string): SqlError =>
  new SqlError({
    cause: new Error(sql.trim()),
    message: "a transaction is begun and ended by withTransaction, not by a statement"
  })

/**
 * What a failed step of a transaction means.
 * @internal
 */
export const toTransactionError = (
  { dialect, store }: Pick<Surroundings, "dialect" | "store">,
  step: TransactionFailed["step"],
  error: SqlError
): StoreUnavailable | TransactionFailed => {
  const reason = dialect.unavailable(error)
  return reason === undefined
    ? new TransactionFailed({ store, step, cause: error })
    : new StoreUnavailable({ store, reason, cause: error.cause })
}

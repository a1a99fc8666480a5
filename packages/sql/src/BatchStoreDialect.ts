/**
 * What the store of batches has to know of a database: the schema and the statements, as one value of this type, in one
 * file for each dialect.
 *
 * Every operation runs on the connection that it is given, in a transaction that somebody else begins and commits. It
 * fails with what the database says, and knows nothing of groups, savepoints and typed errors.
 *
 * @since 0.1.0
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type {
  Amount,
  Append,
  Appended,
  Claim,
  ClaimedBatch,
  DeadLetter,
  Failure,
  NewBatch,
  Stats
} from "@sluice/core/BatchStore"
import type * as Arr from "effect/Array"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"

/**
 * A dialect.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchStoreDialect {
  /** The name of the `Dialect` that this goes with. */
  readonly name: string
  /** What makes the schema, in order, each as its statements. Once published they stay as they are. */
  readonly migrations: (prefix: string) => Readonly<Record<string, ReadonlyArray<string>>>
  /** The operations on the tables with this prefix. */
  readonly operations: (prefix: string) => Operations
}

/**
 * An operation, on a connection.
 *
 * @since 0.1.0
 * @category models
 */
export type Run<A> = Effect.Effect<A, SqlError>

/**
 * What the store does. Milliseconds are integers, and texts are well-formed and without NUL.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations {
  /** The key of a queue, which is made where there is none. */
  readonly queueId: (connection: Connection, name: string) => Run<number>
  /** Whether an append is one statement, which needs no transaction around it. */
  readonly isSingle: (append: Append) => boolean
  readonly append: (connection: Connection, queueId: number, append: Append, now: number) => Run<Appended>
  /** Each of its statements may be committed by itself. */
  readonly claim: (
    connection: Connection,
    queueId: number,
    options: { readonly limit: number; readonly leaseUntil: number },
    now: number
  ) => Run<{ readonly batches: ReadonlyArray<ClaimedBatch>; readonly nextAtMillis: number | undefined }>
  /** These four are one statement each. They answer which claims do not hold any more. */
  readonly settle: (connection: Connection, queueId: number, claims: Claims) => Run<ReadonlyArray<Claim>>
  readonly extend: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    options: { readonly leaseUntil: number; readonly failure: Failure | undefined }
  ) => Run<ReadonlyArray<Claim>>
  readonly release: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    options: {
      /** Undefined: at once. */
      readonly readyAt: number | undefined
      readonly failure: Failure | undefined
      readonly giveBack: boolean
    }
  ) => Run<ReadonlyArray<Claim>>
  readonly deadLetter: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    options: { readonly reason: string; readonly failure: Failure; readonly diedAt: number }
  ) => Run<ReadonlyArray<Claim>>
  /** Changes nothing where one of the claims does not hold. */
  readonly replace: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    remainder: NewBatch
  ) => Run<ReadonlyArray<Claim>>
  readonly deadLetters: (
    connection: Connection,
    queueId: number,
    options: { readonly limit: number; readonly after: number }
  ) => Run<ReadonlyArray<DeadLetter>>
  readonly inspect: (
    connection: Connection,
    queueId: number,
    id: number
  ) => Run<Option.Option<DeadLetter & { readonly payload: Uint8Array }>>
  /** These two are one statement each. */
  readonly redrive: (connection: Connection, queueId: number, which: Which) => Run<Changed>
  readonly discard: (connection: Connection, queueId: number, which: Which) => Run<Changed>
  readonly stats: (connection: Connection, queueId: number, now: number) => Run<Stats>
}

/**
 * One claim or more.
 *
 * @since 0.1.0
 * @category models
 */
export type Claims = Arr.NonEmptyReadonlyArray<Claim>

/**
 * Which dead letters: those with an id of these, or the first so many after one.
 *
 * @since 0.1.0
 * @category models
 */
export type Which = ReadonlyArray<number> | { readonly after: number; readonly limit: number }

/**
 * How many dead letters something was done with, and the last of them; 0 where there was none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Changed extends Amount {
  readonly last: number
}

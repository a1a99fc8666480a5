/**
 * What the store of batches needs from a database: the schema and the statements, as one value of this type, in one
 * file per dialect.
 *
 * Every operation runs on the connection that it is given, in a transaction that its caller begins and commits. It
 * fails with the error of the database, and knows nothing about groups, savepoints and typed errors.
 *
 * @since 0.1.0
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type {
  Append,
  Appended,
  Claim,
  Claimed,
  DeadLetter,
  Failure,
  Part,
  Portion,
  Portioned,
  ReleaseOptions,
  Stats,
  Turn
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
  /** The name of the `Dialect` that this belongs to. */
  readonly name: string
  /** The migrations that create the schema, in order, each as a list of steps. Published migrations never change. */
  readonly migrations: (prefix: string) => Readonly<Record<string, ReadonlyArray<MigrationStep>>>
  /** The operations on the tables with this prefix. */
  readonly operations: (prefix: string) => Operations
}

/**
 * A statement, or statements that are repeated for as long as another statement returns rows. Statements over all rows
 * work in portions, so that other operations run in between.
 *
 * @since 0.1.0
 * @category models
 */
export type MigrationStep = string | { readonly while: string; readonly run: ReadonlyArray<string> }

/**
 * An operation, on a connection.
 *
 * @since 0.1.0
 * @category models
 */
export type Run<A> = Effect.Effect<A, SqlError>

/**
 * The operations of the store. Milliseconds are integers, except for durations. Text is well-formed and without NUL.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations extends HeldOperations {
  /** The key of a queue; undefined if it does not exist. */
  readonly findQueue: (connection: Connection, name: string) => Run<number | undefined>
  /** The key of a queue, which is created if it does not exist. In a group, this comes before what has a lock. */
  readonly queueId: (connection: Connection, name: string) => Run<number>
  /**
   * What an append locks until its transaction ends, if it makes others wait. In a group, such appends come last, and in
   * the order of these numbers: otherwise two processes could wait for each other. Default: nothing.
   */
  readonly lockOf?: (queueId: number, append: Append) => number | undefined
  /** Whether an append without ids is one statement, which needs no transaction around it. */
  readonly isSingle: (append: Append) => boolean
  /** An append without ids. */
  readonly append: (connection: Connection, queueId: number, append: Append) => Run<Appended>
  /**
   * An append with ids. Undefined if `clipIds` must run first, because the remembered ids are not where a window of
   * this length, or an earlier longer one, looks for them.
   */
  readonly appendWithIds: (
    connection: Connection,
    queueId: number,
    append: Append,
    now: number
  ) => Run<Appended | undefined>
  /**
   * Corrects ids after the clock was set back: ids that were remembered later than now count as remembered now. Also
   * moves the remembered ids to where the longest window looks for them.
   */
  readonly clipIds: ClipPart
  /** Corrects times after the clock was set back: nothing is due later than now plus the duration that it was given. */
  readonly clip: ClipPart
  /** Each of its statements may be committed separately. */
  readonly claim: (
    connection: Connection,
    queueId: number,
    options: Claiming,
    now: number
  ) => Run<Omit<Claimed, "lost">>
  /** A claim in a damaged file: it skips unreadable places and records them. */
  readonly claimPast: (
    connection: Connection,
    queueId: number,
    options: Claiming,
    now: number,
    damage: Damage
  ) => Run<Omit<Claimed, "lost">>
  /** The operations on claims in a damaged file, which record more damage. Each runs in a transaction of its own. */
  readonly past: (damage: Damage) => HeldOperations
  readonly hold: (connection: Connection, queueId: number, millis: number, now: number) => Run<void>
  /**
   * At most as many letters as one statement looks at, and the id after which to continue. With damage, this and the
   * following operations skip unreadable places and record them.
   */
  readonly deadLetters: (
    connection: Connection,
    queueId: number,
    portion: Portion,
    now: number,
    damage: Damage | undefined
  ) => Run<{ readonly letters: ReadonlyArray<DeadLetter>; readonly last: number | undefined }>
  readonly inspect: (
    connection: Connection,
    queueId: number,
    id: number
  ) => Run<Option.Option<DeadLetter & { readonly payload: Uint8Array }>>
  readonly redrive: ChangeDead
  readonly discard: ChangeDead
  readonly countDead: ChangeDead
  readonly stats: (connection: Connection, queueId: number, now: number) => Run<Stats>
  /** Only the counters, for a file in which nothing else can be read. */
  readonly counters: (connection: Connection, queueId: number, now: number) => Run<Stats>
}

/**
 * One part of a clip, which looks at a bounded number of rows. Other operations run before the next part. Returns where
 * the next part begins, or undefined once everything is clipped. Without a mark it runs the first part.
 *
 * Clipped rows stay clipped, even if a later part fails. Each statement of a part of `clip` may be committed
 * separately.
 *
 * @since 0.1.0
 * @category models
 */
export type ClipPart = (
  connection: Connection,
  queueId: number,
  from: ClipMark | undefined,
  now: number
) => Run<ClipMark | undefined>

/**
 * Where a part of a clip begins. Only the dialect knows its meaning.
 *
 * @since 0.1.0
 * @category models
 */
export type ClipMark = ReadonlyArray<number | string>

/**
 * The operations on claims.
 *
 * @since 0.1.0
 * @category models
 */
export interface HeldOperations {
  /**
   * Each of its statements may be committed separately, and only one of them affects a given claim. The same holds for
   * `extend`.
   */
  readonly settle: (connection: Connection, queueId: number, claims: Claims) => Run<ReadonlyArray<Claim>>
  /** This operation and the next four return the claims that no longer hold. */
  readonly extend: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    options: { readonly leaseMillis: number; readonly failure: Failure | undefined },
    now: number
  ) => Run<ReadonlyArray<Claim>>
  readonly release: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    options: ReleaseOptions,
    now: number
  ) => Run<ReadonlyArray<Claim>>
  readonly deadLetter: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    options: { readonly reason: string; readonly failure: Failure },
    now: number
  ) => Run<ReadonlyArray<Claim>>
  /** Changes nothing if one of the claims does not hold. */
  readonly divide: (
    connection: Connection,
    queueId: number,
    claims: Claims,
    parts: ReadonlyArray<Part>,
    now: number
  ) => Run<{ readonly lost: ReadonlyArray<Claim>; readonly parts: ReadonlyArray<Claim> }>
  readonly forgive: (connection: Connection, queueId: number, claims: Claims) => Run<void>
}

/**
 * What is damaged: a batch that can be claimed, one that rests, or a dead letter.
 *
 * @since 0.1.0
 * @category models
 */
export type DamageKind = "batches" | "resting" | "dead"

/**
 * The places of a queue that cannot be read. Places that were found once are skipped from then on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Damage {
  /** The last error that showed the damage. */
  error: SqlError | undefined
  /** Records that nothing can be read from one place to another, both included. */
  readonly add: (kind: DamageKind, from: number, to: number) => void
  readonly has: (kind: DamageKind, place: number) => boolean
  /** Records that a place can be read but not deleted. */
  readonly addStuck: (kind: DamageKind, place: number) => void
  readonly isStuck: (kind: DamageKind, place: number) => boolean
  /** The last place of the gap around a place, or otherwise the place before it. */
  readonly endOf: (kind: DamageKind, place: number) => number
  /** The damaged places of a kind that lie alone. */
  readonly placesOf: (kind: DamageKind) => ReadonlyArray<number>
}

/**
 * The operations on a portion of the dead letters.
 *
 * @since 0.1.0
 * @category models
 */
export type ChangeDead = (
  connection: Connection,
  queueId: number,
  portion: Portion,
  now: number,
  damage: Damage | undefined
) => Run<Portioned>

/**
 * One claim or more.
 *
 * @since 0.1.0
 * @category models
 */
export type Claims = Arr.NonEmptyReadonlyArray<Claim>

/**
 * The options of a claim, without those for what happens before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claiming {
  readonly limit: number
  readonly leaseMillis: number
  readonly turn: Turn
  readonly version: number
}

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
  /** The name of the `Dialect` that this goes with. */
  readonly name: string
  /** What makes the schema, in order, each as its steps. Once published they stay as they are. */
  readonly migrations: (prefix: string) => Readonly<Record<string, ReadonlyArray<MigrationStep>>>
  /** The operations on the tables with this prefix. */
  readonly operations: (prefix: string) => Operations
}

/**
 * A statement; or statements that are run again and again as long as another one answers anything: what goes through all
 * rows does so in portions, between which others get their turn.
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
 * What the store does. Milliseconds are integers but for spans, and texts are well-formed and without NUL.
 *
 * @since 0.1.0
 * @category models
 */
export interface Operations extends HeldOperations {
  /** The key of a queue; undefined where there is none. */
  readonly findQueue: (connection: Connection, name: string) => Run<number | undefined>
  /** The key of a queue, which is made where there is none. */
  readonly queueId: (connection: Connection, name: string) => Run<number>
  /** Whether an append without ids is one statement, which needs no transaction around it. */
  readonly isSingle: (append: Append) => boolean
  /** An append without ids. */
  readonly append: (connection: Connection, queueId: number, append: Append) => Run<Appended>
  /**
   * An append with ids. Undefined where `clipIds` has to be done first, because what is remembered is not where a window
   * of this length, or one that was longer, looks for it.
   */
  readonly appendWithIds: (
    connection: Connection,
    queueId: number,
    append: Append,
    now: number
  ) => Run<Appended | undefined>
  /**
   * The clock may have been set back: ids that were remembered later than now were remembered now. And what is remembered
   * moves to where the longest window looks for it.
   */
  readonly clipIds: ClipPart
  /** The clock may have been set back: nothing is due later than now and the time that it was given. */
  readonly clip: ClipPart
  /** Each of its statements may be committed by itself. */
  readonly claim: (
    connection: Connection,
    queueId: number,
    options: Claiming,
    now: number
  ) => Run<Omit<Claimed, "lost">>
  /** A claim in a damaged file: past what cannot be read, which it notes. */
  readonly claimPast: (
    connection: Connection,
    queueId: number,
    options: Claiming,
    now: number,
    damage: Damage
  ) => Run<Omit<Claimed, "lost">>
  /** What is done with claims in a damaged file, of which it learns more: in transactions alone. */
  readonly past: (damage: Damage) => HeldOperations
  readonly hold: (connection: Connection, queueId: number, millis: number, now: number) => Run<void>
  /**
   * At most as many letters as one statement looks at, and after which id to go on. Where there is damage, this and the
   * next ones go past what cannot be read, and note it.
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
  /** The counters alone: for a file in which nothing else can be read. */
  readonly counters: (connection: Connection, queueId: number, now: number) => Run<Stats>
}

/**
 * A part of a clip, which looks at a bounded number of rows: others have their turn before the next one. Answers where
 * that begins; undefined once everything is clipped. Without a mark it is the first part.
 *
 * What is clipped stays so, whatever becomes of the rest. Each statement of a part of `clip` may be committed by itself.
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
 * Where a part of a clip begins: only the dialect knows what it means.
 *
 * @since 0.1.0
 * @category models
 */
export type ClipMark = ReadonlyArray<number | string>

/**
 * What is done with claims.
 *
 * @since 0.1.0
 * @category models
 */
export interface HeldOperations {
  /** Each of its statements may be committed by itself, and of one claim one alone does something. So with `extend`. */
  readonly settle: (connection: Connection, queueId: number, claims: Claims) => Run<ReadonlyArray<Claim>>
  /** This and the next four answer which claims do not hold any more. */
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
  /** Changes nothing where one of the claims does not hold. */
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
 * What of a queue cannot be read any more: what has been come upon, and is passed over from then on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Damage {
  /** How it showed last. */
  error: SqlError | undefined
  /** Nothing can be read from one place to another, both included. */
  readonly add: (kind: DamageKind, from: number, to: number) => void
  readonly has: (kind: DamageKind, place: number) => boolean
  /** It can be read, and not be deleted. */
  readonly addStuck: (kind: DamageKind, place: number) => void
  readonly isStuck: (kind: DamageKind, place: number) => boolean
  /** The last place of the gap that a place is in, or else the place before. */
  readonly endOf: (kind: DamageKind, place: number) => number
  /** Those of a kind that lie alone. */
  readonly placesOf: (kind: DamageKind) => ReadonlyArray<number>
}

/**
 * What is done with a portion of the dead letters.
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
 * What is to be claimed, without what is done before.
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

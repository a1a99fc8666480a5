/**
 * What a durable queue asks of its store: the models of `BatchStore`, which has them too.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { LeaseLost, StoreUnavailable } from "./QueueError.ts"

/**
 * A batch as it is appended.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewBatch {
  readonly payload: Uint8Array
  /** How many items are in it. */
  readonly items: number
  /** When the oldest of them was offered. */
  readonly oldestAtMillis: number
  /** The ids of items that are to count once, each at most once in all the batches of one `append`. Default: none. */
  readonly ids?: ReadonlyArray<string> | undefined
}

/**
 * What is to be appended, and under which conditions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Append {
  readonly batches: Arr.NonEmptyReadonlyArray<NewBatch>
  /**
   * How many items may be pending afterwards; those of dead letters do not count. Of the batches, the longest beginning
   * that fits is appended. Default: no limit.
   */
  readonly maxPendingItems?: number | undefined
  /** For how long an id is remembered, in milliseconds, where batches have ids. */
  readonly idWindowMillis?: number | undefined
}

/**
 * What has been appended: all or nothing of these batches, at once and durably.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  /** How many of the batches, from the first on. */
  readonly appended: number
  /** Ids of the batches that are remembered from before. Where there are any, nothing was appended. */
  readonly duplicates: ReadonlyArray<string>
}

/**
 * The right to one batch, for as long as the lease holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  /** The place of the batch in its queue. A batch keeps it for life; later batches have higher ones. */
  readonly sequence: number
  /** The fencing token: every claim of a batch gets a higher one than the claim before. */
  readonly token: number
}

/**
 * A batch as it is claimed.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimedBatch extends Claim {
  readonly payload: Uint8Array
  readonly items: number
  readonly oldestAtMillis: number
  /** How many times it has been claimed, this time included, but for claims that were given back. */
  readonly deliveries: number
  /** How many attempts at it have failed, as the store was last told. */
  readonly attempts: number
  /** When the first of those failed; 0 where none has. */
  readonly failedAtMillis: number
  /** Why the last of them failed; empty where none has. */
  readonly error: string
}

/**
 * Whose turn it is at a claim: that of what nobody has had in hand yet, or that of what comes back because it has failed,
 * has rested, or had a lease that ran out.
 *
 * @since 0.1.0
 * @category models
 */
export type Turn = "fresh" | "returned"

/**
 * What is to be claimed.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimOptions {
  /** At most so many batches. */
  readonly limit: number
  /** How long they are leased for, in milliseconds. */
  readonly leaseMillis: number
  /** Which are looked for first. Where there are none of these, the others are claimed. Default: `"fresh"`. */
  readonly turn?: Turn | undefined
  /** The newest envelope that the caller can read: what was released with a newer version is passed over. Default: any. */
  readonly version?: number | undefined
  /** Batches to settle in the same transaction. Default: none. */
  readonly settle?: ReadonlyArray<Claim> | undefined
  /**
   * What the caller holds, and has not renewed for a while. It is asked in the moment of the claim, which may have waited
   * for long; those leases run anew before anything is claimed, or the claim could take them away. Default: nothing.
   */
  readonly renew?: (() => ReadonlyArray<Claim>) | undefined
}

/**
 * What was claimed: fresh batches, oldest first, or a single one that comes back. The two never come together, so that
 * what has failed takes nothing else with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed {
  readonly batches: ReadonlyArray<ClaimedBatch>
  /** Of which kind they are; `"fresh"` where there are none. */
  readonly turn: Turn
  /** Those of `settle` that could not be settled, because their lease was lost. The others are settled. */
  readonly lost: ReadonlyArray<Claim>
  /**
   * Where fewer were claimed than asked for, and none that comes back: when the next of any kind can be claimed, if
   * nothing is appended until then. It may be over by now.
   */
  readonly nextAtMillis: number | undefined
}

/**
 * What is remembered of attempts that have failed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure {
  readonly attempts: number
  readonly failedAtMillis: number
  readonly error: string
}

/**
 * What takes the place of claimed batches, in part: those of their items that are not done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Part extends NewBatch {
  readonly becomes:
    /**
     * It stays in the hands of whoever divides, for as long as the oldest of the claims is leased, under a token of its
     * own. At most one part does.
     */
    | { readonly _tag: "Kept"; readonly failure: Failure }
    | ({ readonly _tag: "Released" } & ReleaseOptions)
    | { readonly _tag: "Dead"; readonly reason: string; readonly failure: Failure }
}

/**
 * How a batch is put back.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReleaseOptions {
  /** For how long it rests before it can be claimed, in milliseconds. Default: not at all. */
  readonly delayMillis?: number | undefined
  /** What is to be remembered of a failed attempt. Default: what was remembered before. */
  readonly failure?: Failure | undefined
  /** Takes the delivery of the claim back as well. Default: false. */
  readonly giveBack?: boolean | undefined
  /** Its envelope is of this version, which is too new for the caller: for those who can read it. Default: for everybody. */
  readonly version?: number | undefined
}

/**
 * A batch that was set aside: one item, unless it cannot be read.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter {
  /** Its sequence. */
  readonly id: number
  readonly items: number
  /** Why it was set aside, such as `"retries-exhausted"` or `"corrupt"`. */
  readonly reason: string
  /** What its last attempt failed with, or why it cannot be read. */
  readonly error: string
  readonly deliveries: number
  readonly attempts: number
  /** When its item was offered, or the oldest of its items. */
  readonly oldestAtMillis: number
  /** When it was set aside. */
  readonly diedAtMillis: number
}

/**
 * Which dead letters: those for which everything holds that is given here.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetterFilter {
  /** Their ids are among these. */
  readonly ids?: ReadonlyArray<number> | undefined
  /** Why they were set aside. */
  readonly reason?: string | undefined
  /** Text that is in their error, upper and lower case as it is. */
  readonly error?: string | undefined
  /** They were set aside so many milliseconds ago, or longer. */
  readonly olderThanMillis?: number | undefined
}

/**
 * A portion of the dead letters that a filter is for. A store may look at a bounded number of letters only, and do
 * something with fewer than `limit` although there are more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Portion {
  readonly filter: DeadLetterFilter
  /** Only those after the one with this id. Default: from the first. */
  readonly after?: number | undefined
  /** At most so many. */
  readonly limit: number
}

/**
 * What was done with a portion of the dead letters.
 *
 * @since 0.1.0
 * @category models
 */
export interface Portioned extends Amount {
  /** After which id to go on; undefined where there are no more. */
  readonly last: number | undefined
}

/**
 * How much of something there is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Amount {
  readonly batches: number
  readonly items: number
}

/**
 * What a queue has in the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** To be claimed, now or later, or claimed. */
  readonly pending: Amount
  readonly dead: Amount
  /** Of the pending: what only a newer version of Sluice can read, as far as somebody has tried. */
  readonly newer: Amount
  /** When the oldest item of the next fresh batch was offered, or of the next that comes back; undefined: none can be claimed. */
  readonly oldestAtMillis: number | undefined
  /** Until when nobody claims anything, where the queue is held. */
  readonly heldUntilMillis: number | undefined
}

/**
 * The part of a store that belongs to one queue.
 *
 * **Errors**: each operation is done as a whole or not at all, and fails with `StoreUnavailable` where the store cannot be used; a retry may succeed. Names and ids must
 * be well-formed text without NUL; of longer errors and reasons the beginning is kept. `LeaseLost` means that somebody else may have the batch by now. Where the commit itself
 * failed with `"io"`, a crash of the machine may bring the operation back. **Interruption** before the operation has
 * begun takes it back; after that it waits for its end.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueStore {
  /** Appends batches at the end, in order, in one transaction. Answers once they are as durable as the store makes them. */
  readonly append: (append: Append) => Effect.Effect<Appended, StoreUnavailable>
  /**
   * Claims batches that nobody holds: the oldest fresh ones, or the one that has been due for longest of those that come
   * back. Two claims never have the same batch. Each batch gets a delivery more, and a higher token.
   *
   * Nothing is due later than now and the time that it was given: where the clock was set back, the claim clips leases,
   * rests and the hold of the queue to that.
   */
  readonly claim: (options: ClaimOptions) => Effect.Effect<Claimed, StoreUnavailable>
  /**
   * Lets the leases run from now on, for so many milliseconds, and notes a failed attempt where there was one. Those
   * that are still held are extended also where it fails with `LeaseLost` for others. It goes before other writes that
   * wait.
   */
  readonly extend: (
    claims: ReadonlyArray<Claim>,
    options: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /** Deletes batches that are done. Those still held are deleted also where it fails with `LeaseLost` for others. */
  readonly settle: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Puts parts in place of all of the claimed batches, in one step. The part that is kept has the oldest place, or else
   * the first part; each other one gets a new place, behind everything that is stored. Parts have the deliveries of the
   * oldest batch. Answers the place and the token of each part: of the one that is kept they are its claim, with a higher
   * token than before, so that what was divided once is not divided again where the answer was lost. With `LeaseLost`,
   * nothing is changed.
   */
  readonly divide: (
    claims: Arr.NonEmptyReadonlyArray<Claim>,
    parts: ReadonlyArray<Part>
  ) => Effect.Effect<ReadonlyArray<Claim>, StoreUnavailable | LeaseLost>
  /**
   * Puts batches back, each in its old place. One that is put back at once and has not failed is fresh again; any other
   * comes back. Those still held are released also where it fails with `LeaseLost` for others.
   */
  readonly release: (
    claims: ReadonlyArray<Claim>,
    options: ReleaseOptions
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /** Sets batches aside. Those still held are set aside also where it fails with `LeaseLost` for others. */
  readonly deadLetter: (
    claims: ReadonlyArray<Claim>,
    options: { readonly reason: string; readonly failure: Failure }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Takes back the deliveries of claims that were lost although their process lives. To be called once for each: it is
   * counted against the batch otherwise that its process was slow.
   */
  readonly forgive: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, StoreUnavailable>
  /**
   * Nobody claims anything of the queue for so many milliseconds from now on, in no process. Of two holds the one that
   * ends later counts; 0 ends it.
   */
  readonly hold: (millis: number) => Effect.Effect<void, StoreUnavailable>
  /** Dead letters, by id. At most `limit`, and as many as that where there are so many. */
  readonly deadLetters: (portion: Portion) => Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable>
  /** One dead letter, with what is in it. */
  readonly inspect: (
    id: number
  ) => Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>, StoreUnavailable>
  /** Puts dead letters back, each in its old place, as if they had never been claimed. */
  readonly redrive: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  /** Deletes dead letters. */
  readonly discard: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  /** Counts dead letters, and changes nothing. */
  readonly countDead: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  readonly stats: Effect.Effect<Stats, StoreUnavailable>
  /** The transaction of the store's database that the calling fiber is in, if it is in one. */
  readonly transaction: Effect.Effect<Option.Option<StoreTransaction>>
}

/**
 * A transaction of the user's own, on the database that the store is in.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoreTransaction {
  /** Calls back once, when it is clear whether what was done so far in the transaction is committed. */
  readonly unsafeOnEnd: (listener: (committed: boolean) => void) => void
  /**
   * Calls back once, when the whole transaction is over, however it ended: others may write again. Where only a part of it
   * is rolled back, such as a savepoint, `unsafeOnEnd` calls back before that. Default: as `unsafeOnEnd`.
   */
  readonly unsafeOnOver?: ((listener: () => void) => void) | undefined
}

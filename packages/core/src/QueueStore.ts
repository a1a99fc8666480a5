/**
 * What a durable queue requires of its store. `BatchStore` exports these models too.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { LeaseLost, StoreUnavailable } from "./QueueError.ts"

/**
 * A batch to append.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewBatch {
  readonly payload: Uint8Array
  /** How many items are in the batch. */
  readonly items: number
  /** When the oldest of its items was offered. */
  readonly oldestAtMillis: number
  /**
   * The ids of items that count once. Each id occurs at most once in all the batches of one `append`. Default: none.
   */
  readonly ids?: ReadonlyArray<string> | undefined
}

/**
 * What to append, and under which conditions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Append {
  readonly batches: Arr.NonEmptyReadonlyArray<NewBatch>
  /**
   * How many items may be pending afterwards, not counting dead letters. The longest prefix of the batches that fits is
   * appended. Default: no limit.
   */
  readonly maxPendingItems?: number | undefined
  /** For how long ids are remembered, in milliseconds, if the batches have any. */
  readonly idWindowMillis?: number | undefined
}

/**
 * What was appended, in one step and durably.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  /** How many of the batches were appended, from the first on. */
  readonly appended: number
  /** Ids of the batches that were already remembered. If there are any, nothing was appended. */
  readonly duplicates: ReadonlyArray<string>
}

/**
 * The right to one batch, for as long as the lease holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claim {
  /** The place of the batch in its queue. A batch never changes its place; later batches have higher places. */
  readonly sequence: number
  /** The fencing token: each claim of a batch gets a higher token than the previous one. */
  readonly token: number
}

/**
 * A claimed batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimedBatch extends Claim {
  readonly payload: Uint8Array
  readonly items: number
  readonly oldestAtMillis: number
  /** How many times it has been claimed, including this time, excluding claims that were given back. */
  readonly deliveries: number
  /** How many attempts have failed, according to the last report to the store. */
  readonly attempts: number
  /** When the first of those failed; 0 if none has. */
  readonly failedAtMillis: number
  /** Why the last of them failed; empty if none has. */
  readonly error: string
}

/**
 * Whose turn it is at a claim: `"fresh"` batches have not been claimed yet; `"returned"` batches have failed, have
 * rested, or had a lease that expired.
 *
 * @since 0.1.0
 * @category models
 */
export type Turn = "fresh" | "returned"

/**
 * The options of a claim.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimOptions {
  /** The maximum number of batches. */
  readonly limit: number
  /** The length of the leases, in milliseconds. */
  readonly leaseMillis: number
  /** Which kind to claim first. If there are none of this kind, the other kind is claimed. Default: `"fresh"`. */
  readonly turn?: Turn | undefined
  /**
   * The newest envelope version that the caller can read. Batches that were released with a newer version are skipped.
   * Default: any.
   */
  readonly version?: number | undefined
  /** Batches to settle in the same transaction. Default: none. */
  readonly settle?: ReadonlyArray<Claim> | undefined
  /**
   * Returns the claims that the caller holds and has not renewed for a while. It is called at the moment of the claim,
   * which may have waited for long. Those leases are renewed before anything is claimed, because otherwise the claim
   * could take them. Default: none.
   */
  readonly renew?: (() => ReadonlyArray<Claim>) | undefined
}

/**
 * What was claimed: fresh batches, oldest first, or a single returned one. The two kinds never come together, so that a
 * failing batch does not affect others.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed {
  readonly batches: ReadonlyArray<ClaimedBatch>
  /** The kind of the batches; `"fresh"` if there are none. */
  readonly turn: Turn
  /** The claims of `settle` that could not be settled because their lease was lost. The others are settled. */
  readonly lost: ReadonlyArray<Claim>
  /**
   * If fewer batches were claimed than asked for, and no returned one: when the next batch of any kind can be claimed,
   * provided that nothing is appended before. It may be in the past.
   */
  readonly nextAtMillis: number | undefined
}

/**
 * What the store remembers about failed attempts.
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
 * A part that replaces claimed batches: some of their items that are not done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Part extends NewBatch {
  readonly becomes:
    /**
     * The caller of `divide` keeps it, for as long as the oldest of the claims is leased, under a token of its own. At
     * most one part is kept.
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
  /** For how long it rests before it can be claimed, in milliseconds. Default: 0. */
  readonly delayMillis?: number | undefined
  /** What to remember about the failed attempt. Default: what was remembered before. */
  readonly failure?: Failure | undefined
  /** Whether to take back the delivery of the claim as well. Default: false. */
  readonly giveBack?: boolean | undefined
  /**
   * The version of its envelope, if that is too new for the caller: only claims that can read it get it. Default: any
   * claim gets it.
   */
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
  /** The error of its last attempt, or why it cannot be read. */
  readonly error: string
  readonly deliveries: number
  readonly attempts: number
  /** When its item was offered, or its oldest item. */
  readonly oldestAtMillis: number
  /** When it was set aside. */
  readonly diedAtMillis: number
}

/**
 * Selects the dead letters that match every given field.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetterFilter {
  /** The id is one of these. */
  readonly ids?: ReadonlyArray<number> | undefined
  /** The reason for which it was set aside. */
  readonly reason?: string | undefined
  /** A case-sensitive part of its error. */
  readonly error?: string | undefined
  /** It was set aside at least this many milliseconds ago. */
  readonly olderThanMillis?: number | undefined
}

/**
 * A portion of the dead letters that match a filter. A store may bound how many letters it looks at, and process fewer
 * than `limit` although there are more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Portion {
  readonly filter: DeadLetterFilter
  /** Only letters after this id. Default: from the first. */
  readonly after?: number | undefined
  /** The maximum number of letters. */
  readonly limit: number
}

/**
 * How much of a portion was processed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Portioned extends Amount {
  /** The id after which to continue; undefined if there are no more. */
  readonly last: number | undefined
}

/**
 * A number of batches and items.
 *
 * @since 0.1.0
 * @category models
 */
export interface Amount {
  readonly batches: number
  readonly items: number
}

/**
 * The contents of a queue in the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stats {
  /** Batches that are claimed, or can be claimed now or later. */
  readonly pending: Amount
  readonly dead: Amount
  /**
   * Those of the pending batches that only a newer version of Sluice can read, as far as a worker has tried to read
   * them.
   */
  readonly newer: Amount
  /** When the oldest item of the next fresh or returned batch was offered; undefined if no batch can be claimed. */
  readonly oldestAtMillis: number | undefined
  /** Until when the queue is held, if it is. */
  readonly heldUntilMillis: number | undefined
}

/**
 * The part of a store that belongs to one queue.
 *
 * **Errors**: each operation is done as a whole or not at all. It fails with `StoreUnavailable` if the store is
 * unavailable; a retry may succeed. Names and ids must be well-formed text without NUL. Long errors and reasons are
 * truncated. `LeaseLost` means that another worker may have the batch by now. If the commit itself failed with `"io"`,
 * a crash of the machine may bring the operation back. **Interruption** before the operation has begun cancels it;
 * after that the call waits for its end.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueStore {
  /**
   * Appends batches at the end, in order, in one transaction. Returns once they are as durable as the store makes them.
   */
  readonly append: (append: Append) => Effect.Effect<Appended, StoreUnavailable>
  /**
   * Claims batches that are not leased: the oldest fresh ones, or the returned one that has been due for longest. Two
   * claims never hold the same batch. Each batch gets one more delivery and a higher token.
   *
   * Nothing is due later than now plus the duration that it was given. If the clock was set back, the claim clips
   * leases, rests and the hold of the queue to that.
   */
  readonly claim: (options: ClaimOptions) => Effect.Effect<Claimed, StoreUnavailable>
  /**
   * Renews the leases from now on, for `leaseMillis`, and records a failed attempt if there was one. If it fails with
   * `LeaseLost` for some claims, the others are extended nevertheless. It goes before other waiting writes.
   */
  readonly extend: (
    claims: ReadonlyArray<Claim>,
    options: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Deletes batches that are done. If it fails with `LeaseLost` for some claims, the others are deleted nevertheless.
   */
  readonly settle: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Replaces all of the claimed batches by parts, in one step. The kept part gets the oldest place; if none is kept,
   * the first part gets it. Each other part gets a new place behind everything that is stored. Parts have the
   * deliveries of the oldest batch. Returns the place and the token of each part. For the kept part they are its claim,
   * with a higher token than before, so that a lost answer does not lead to a second division. With `LeaseLost`,
   * nothing is changed.
   */
  readonly divide: (
    claims: Arr.NonEmptyReadonlyArray<Claim>,
    parts: ReadonlyArray<Part>
  ) => Effect.Effect<ReadonlyArray<Claim>, StoreUnavailable | LeaseLost>
  /**
   * Puts batches back, each in its old place. A batch that is put back without delay and has not failed is fresh again;
   * any other is a returned one. If it fails with `LeaseLost` for some claims, the others are released nevertheless.
   */
  readonly release: (
    claims: ReadonlyArray<Claim>,
    options: ReleaseOptions
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Sets batches aside as dead letters. If it fails with `LeaseLost` for some claims, the others are set aside
   * nevertheless.
   */
  readonly deadLetter: (
    claims: ReadonlyArray<Claim>,
    options: { readonly reason: string; readonly failure: Failure }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Takes back the deliveries of claims that were lost although their process is alive, so that a slow process does not
   * count against the batch. Call it once for each claim.
   */
  readonly forgive: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, StoreUnavailable>
  /**
   * Stops all processes from claiming from the queue for this many milliseconds, from now on. Of two holds, the one
   * that ends later counts; 0 ends a hold.
   */
  readonly hold: (millis: number) => Effect.Effect<void, StoreUnavailable>
  /** Lists dead letters by id: exactly `limit` of them, or all if there are fewer. */
  readonly deadLetters: (portion: Portion) => Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable>
  /** One dead letter, with its payload. */
  readonly inspect: (
    id: number
  ) => Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>, StoreUnavailable>
  /** Puts dead letters back, each in its old place, as if they had never been claimed. */
  readonly redrive: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  /** Deletes dead letters. */
  readonly discard: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  /** Counts dead letters and changes nothing. */
  readonly countDead: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  readonly stats: Effect.Effect<Stats, StoreUnavailable>
  /** The transaction of the store's database that the calling fiber is in, if it is in one. */
  readonly transaction: Effect.Effect<Option.Option<StoreTransaction>>
}

/**
 * A transaction of the user on the database of the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoreTransaction {
  /** Calls the listener once, when it is known whether the work done so far in the transaction is committed. */
  readonly unsafeOnEnd: (listener: (committed: boolean) => void) => void
  /**
   * Calls the listener once, when the whole transaction has ended in any way, and others may write again. If only a
   * part of it is rolled back, such as a savepoint, `unsafeOnEnd` is called before that. Default: as `unsafeOnEnd`.
   */
  readonly unsafeOnOver?: ((listener: () => void) => void) | undefined
}

/**
 * The longest beginning of batches whose items fit into some room, for `append` under `maxPendingItems`.
 *
 * @since 0.1.0
 * @category utils
 */
export const longestFitting = (batches: ReadonlyArray<NewBatch>, room: number): ReadonlyArray<NewBatch> => {
  let left = room
  const end = batches.findIndex(({ items }) => (left -= items) < 0)
  return end < 0 ? batches : batches.slice(0, end)
}

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
  /** How many attempts at it have failed, as `extend` and `release` were last told. */
  readonly attempts: number
  /** When the first of those failed; 0 where none has. */
  readonly failedAtMillis: number
  /** Why the last of them failed; empty where none has. */
  readonly error: string
}

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
  /** Batches to settle in the same transaction. Default: none. */
  readonly settle?: ReadonlyArray<Claim> | undefined
}

/**
 * What was claimed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed {
  /** Oldest first. */
  readonly batches: ReadonlyArray<ClaimedBatch>
  /** Those of `settle` that could not be settled, because their lease was lost. The others are settled. */
  readonly lost: ReadonlyArray<Claim>
  /** Where fewer batches than asked for could be claimed: when the next can be, if nothing is appended until then. */
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
 * A batch that was set aside.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter {
  /** Its sequence. */
  readonly id: number
  readonly items: number
  /** Why it was set aside, such as `"deliveries-exhausted"` or `"undecodable"`. */
  readonly reason: string
  /** What its last attempt failed with, or why it cannot be decoded. */
  readonly error: string
  readonly deliveries: number
  readonly attempts: number
  readonly oldestAtMillis: number
  /** When it was set aside. */
  readonly diedAtMillis: number
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
  /** When the oldest item of the next batch to be claimed was offered; undefined where none can be claimed now. */
  readonly oldestAtMillis: number | undefined
}

/**
 * The part of a store that belongs to one queue.
 *
 * **Errors**: each operation is done as a whole or not at all (but `redrive` and `discard` of `"all"`, which may be done
 * in portions), and fails with `StoreUnavailable` where the store cannot be used; a retry may succeed. Names and ids must
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
   * Claims the oldest batches that can be claimed: nobody has them, or their lease has run out, and they are not released
   * for later. Two claims never have the same batch. Each batch gets a delivery more, and a higher token.
   */
  readonly claim: (options: ClaimOptions) => Effect.Effect<Claimed, StoreUnavailable>
  /**
   * Lets the leases run from now on, for so many milliseconds, and notes a failed attempt where there was one. Those
   * that are still held are extended also where it fails with `LeaseLost` for others.
   */
  readonly extend: (
    claims: ReadonlyArray<Claim>,
    options: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /** Deletes batches that are done. Those still held are deleted also where it fails with `LeaseLost` for others. */
  readonly settle: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /**
   * Puts one batch in place of all of the claimed ones, at the oldest place, under the lease of that. With `LeaseLost`,
   * nothing is changed.
   */
  readonly replace: (
    claims: Arr.NonEmptyReadonlyArray<Claim>,
    remainder: NewBatch
  ) => Effect.Effect<Claim, StoreUnavailable | LeaseLost>
  /**
   * Puts batches back, each in its old place, to be claimed from `readyAtMillis` on (default: at once). `giveBack` takes
   * the delivery of the claim back as well. Those still held are released also where it fails with `LeaseLost` for
   * others.
   */
  readonly release: (
    claims: ReadonlyArray<Claim>,
    options: {
      readonly readyAtMillis?: number | undefined
      readonly failure?: Failure | undefined
      readonly giveBack?: boolean | undefined
    }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /** Sets batches aside. Those still held are set aside also where it fails with `LeaseLost` for others. */
  readonly deadLetter: (
    claims: ReadonlyArray<Claim>,
    options: { readonly reason: string; readonly failure: Failure }
  ) => Effect.Effect<void, StoreUnavailable | LeaseLost>
  /** Dead letters after the one with this id (default: from the first), by id, at most so many. */
  readonly deadLetters: (
    options: { readonly limit: number; readonly after?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable>
  /** One dead letter, with what is in it. */
  readonly inspect: (
    id: number
  ) => Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>, StoreUnavailable>
  /**
   * Puts dead letters back, each in its old place, as if they had never been claimed. Answers how much that was; an id
   * that there is no dead letter of changes nothing.
   */
  readonly redrive: (ids: ReadonlyArray<number> | "all") => Effect.Effect<Amount, StoreUnavailable>
  /** Deletes dead letters. Answers how much that was. */
  readonly discard: (ids: ReadonlyArray<number> | "all") => Effect.Effect<Amount, StoreUnavailable>
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
}

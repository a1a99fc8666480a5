/**
 * A bounded queue under a backpressure policy, with typed outcomes, counts, and closing as a state of its own.
 *
 * An item's life here: `offer` puts it into an Effect `Queue` made from the policy's pair; whoever consumes takes it
 * from `dequeue`; the policy may drop or coalesce it in between. At every moment
 * offered = refused + coalesced + dropped + taken + held.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Backpressure from "./Backpressure.ts"
import type { EffectDequeue } from "./internal/intake/effectQueue.ts"
import * as Impl from "./internal/intake/policyQueue.ts"
import type { InvalidOption, OfferError } from "./QueueError.ts"
import type { Outcome, UnsafeOutcome } from "./QueueEvent.ts"

export type { AllOrNoneError } from "./QueueError.ts"
export type { UnsafeOutcome } from "./QueueEvent.ts"

/**
 * What became of the items of an `offerAll` that took them all.
 *
 * @since 0.1.0
 * @category models
 */
export interface Taken {
  readonly accepted: number
  readonly coalesced: number
  readonly dropped: number
}

/**
 * The counts of a queue at one moment: offered = refused + coalesced + dropped + taken + held.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counts {
  readonly offered: number
  /** Not taken: full, timed out, closed, interrupted, or of an impossible weight. */
  readonly refused: number
  readonly coalesced: number
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
  /** Handed to a consumer. */
  readonly taken: number
  /** In the queue, or waiting to get in. */
  readonly held: number
}

/**
 * A bounded queue under a policy.
 *
 * @since 0.1.0
 * @category models
 */
export interface PolicyQueue<in out A> {
  readonly name: string
  readonly capacity: number
  /**
   * Offers one item and answers what became of it.
   *
   * **Waits** under `suspend` while there is no room, first come first served. **Errors**: `QueueFull` (policy
   * `reject`; retry later), `OfferTimeout` (retry later), `QueueClosed`, `InvalidWeight` and `InvalidKey` (retrying makes
   * no sense); each carries what was not taken, in `notTaken`. What the policy's key, `merge` or `weigh` throws, the
   * offer dies of. **Interruption** while it waits takes the item out; where room came in the same moment, the item
   * stays in, and a caller that is uninterruptible gets its outcome.
   */
  readonly offer: (item: A) => Effect.Effect<Outcome, OfferError<A>>
  /**
   * Offers items in order and answers the counts. Where there are many, others get their turn now and then. It takes a
   * prefix: where it fails, the error says how many were taken
   * and carries the rest; where it is interrupted, `onInterrupt` is told.
   */
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, OfferError<A>>
  /** Offers one item at once, without an Effect. It never waits: under `suspend` it answers `"full"`. */
  readonly unsafeOffer: (item: A) => UnsafeOutcome
  /** Takes up to `limit` of the items that wait, at once. */
  readonly unsafeTakeUpTo: (limit: number) => ReadonlyArray<A>
  /**
   * The consumer's side: an Effect Queue. Shutting it down closes this queue. Like every Effect Queue it can lose an
   * item when a `take` that waits is interrupted in the moment in which it is handed one.
   */
  readonly dequeue: EffectDequeue<A>
  /** How many items are in the queue now. */
  readonly unsafeLength: () => number
  /** How many items wait to get in. */
  readonly unsafeWaiting: () => number
  readonly unsafeCounts: () => Counts
  /** Refuses every later offer, and wakes the waiting ones, with `QueueClosed`. What is held can still be taken. */
  readonly close: Effect.Effect<void>
  /** Closes, drops what is held with reason `"shutdown"`, and shuts the Effect Queue down. */
  readonly shutdown: Effect.Effect<void>
}

/**
 * What a queue is made from.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in A> extends Backpressure.QueueOptions<A> {
  readonly policy: Backpressure.Policy<A>
  /** Called once for each item that is coalesced, in the step in which it is. */
  readonly onCoalesce?: ((replaced: A, item: A) => void) | undefined
  /** Called when an offer is interrupted while it waits. */
  readonly onInterrupt?: ((taken: number, notTaken: ReadonlyArray<A>) => void) | undefined
}

/**
 * How many items can be offered all or none: they are put in at one go, while everybody waits.
 *
 * @since 0.1.0
 * @category constants
 */
export const mostAllOrNone = Impl.mostAllOrNone

/**
 * Makes a queue under a policy. It holds no resource: closing it is up to you.
 *
 * **Errors**: `InvalidOption` where the capacity is no integer of at least 1, a function is none, or the policy cannot
 * serve the options.
 *
 * A callback that throws is logged; it never disturbs the queue or the offer.
 *
 * @example
 * ```ts
 * import { Backpressure, PolicyQueue } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const queue = yield* PolicyQueue.make<number>({ policy: Backpressure.dropNewest, capacity: 1 })
 *   yield* queue.offer(1) // "accepted"
 *   return yield* queue.offer(2) // "dropped"
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A>(options: Options<A>): Effect.Effect<PolicyQueue<A>, InvalidOption> => Impl.makeImpl(options)

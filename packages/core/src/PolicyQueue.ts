/**
 * A bounded queue under a backpressure policy, with typed outcomes, counts, and closing as a state of its own.
 *
 * The life of an item: `offer` puts it into an Effect `Queue` made from the policy's pair, and a consumer takes it from
 * `dequeue`. In between, the policy may drop or coalesce it. At every moment, offered = refused + coalesced + dropped +
 * taken + held.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import type * as Backpressure from "./Backpressure.ts"
import type { EffectDequeue } from "./internal/intake/effectQueue.ts"
import { mostAllOrNone as most } from "./internal/intake/allOrNone.ts"
import { makeImpl, type PolicyQueueImpl } from "./internal/intake/policyQueue.ts"
import type { InvalidOption, OfferError } from "./QueueError.ts"
import type { Outcome, UnsafeOutcome } from "./QueueEvent.ts"

export type { AllOrNoneError } from "./QueueError.ts"
export type { UnsafeOutcome } from "./QueueEvent.ts"

/**
 * The outcomes of an `offerAll` that took all of its items.
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
  /**
   * Not taken: the queue was full or closed, the offer timed out or was interrupted, or the item had an invalid weight
   * or key.
   */
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
  /** The option `name`. */
  readonly queueName: string
  readonly capacity: number
  /**
   * Offers one item and returns its outcome.
   *
   * **Waits** under `suspend` while there is no room, first come first served. **Errors**: `QueueFull` (policy
   * `reject`; retry later), `OfferTimeout` (retry later), `QueueClosed`, `InvalidWeight` and `InvalidKey` (a retry
   * cannot succeed). Each carries the items that were not taken in `notTaken`. If the policy's key, `merge` or `weigh`
   * throws, the offer dies with what it threw. **Interruption** while it waits withdraws the item. If room became free
   * at the same moment, the item stays in the queue, and an uninterruptible caller gets its outcome.
   */
  readonly offer: (item: A) => Effect.Effect<Outcome, OfferError<A>>
  /**
   * Offers items in order and returns the counts. A large call lets other fibers run now and then. It takes a prefix:
   * if it fails, the error says how many items were taken and carries the rest; if it is interrupted, `onInterrupt` is
   * called.
   */
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, OfferError<A>>
  /** Offers one item synchronously, without an Effect. It never waits: under `suspend` it returns `"full"`. */
  readonly unsafeOffer: (item: A) => UnsafeOutcome
  /** Takes up to `limit` waiting items, synchronously. */
  readonly unsafeTakeUpTo: (limit: number) => ReadonlyArray<A>
  /**
   * The consumer's side: an Effect Queue. Shutting it down closes this queue. Like every Effect Queue, it can lose an
   * item if a waiting `take` is interrupted at the moment in which it receives one.
   */
  readonly dequeue: EffectDequeue<A>
  /** How many items are in the queue now. */
  readonly unsafeLength: () => number
  /** How many items wait to get in. */
  readonly unsafeWaiting: () => number
  readonly unsafeCounts: () => Counts
  /** Fails every later offer, and every waiting one, with `QueueClosed`. Held items can still be taken. */
  readonly close: Effect.Effect<void>
  /** Closes the queue, drops held items with reason `"shutdown"`, and shuts the Effect Queue down. */
  readonly shutdown: Effect.Effect<void>
}

/**
 * The options of `make`.
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
 * How many items an all-or-none offer may have: 50,000. The items are put in in one step, while every other fiber
 * waits.
 *
 * @since 0.1.0
 * @category constants
 */
export const mostAllOrNone = most

/**
 * Makes a queue under a policy. It needs no scope: closing it is up to you.
 *
 * **Errors**: `InvalidOption` if the capacity is not an integer of at least 1, an option that must be a function is not
 * one, or the policy does not support the options.
 *
 * If a callback throws, the error is logged. The queue and the offer are not affected.
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
export const make = <A>(options: Options<A>): Effect.Effect<PolicyQueue<A>, InvalidOption> =>
  Effect.map(makeImpl<A>(options), (queue) => new PolicyQueueHandle(queue))

/** The queue as its user has it: methods can be taken off it, and it is shown without its items. */
class PolicyQueueHandle<in out A> extends Inspectable.Class implements PolicyQueue<A> {
  readonly queueName: string
  readonly capacity: number
  readonly offer: PolicyQueue<A>["offer"]
  readonly offerAll: PolicyQueue<A>["offerAll"]
  readonly unsafeOffer: PolicyQueue<A>["unsafeOffer"]
  readonly unsafeTakeUpTo: PolicyQueue<A>["unsafeTakeUpTo"]
  readonly unsafeLength: PolicyQueue<A>["unsafeLength"]
  readonly unsafeWaiting: PolicyQueue<A>["unsafeWaiting"]
  readonly unsafeCounts: PolicyQueue<A>["unsafeCounts"]
  readonly close: Effect.Effect<void>
  readonly shutdown: Effect.Effect<void>
  private readonly queue: PolicyQueueImpl<A>

  constructor(queue: PolicyQueueImpl<A>) {
    super()
    this.queue = queue
    this.queueName = queue.queueName
    this.capacity = queue.capacity
    this.offer = (item) => queue.offer(item)
    this.offerAll = (items) => queue.offerAll(items)
    this.unsafeOffer = (item) => queue.unsafeOffer(item)
    this.unsafeTakeUpTo = (limit) => queue.unsafeTakeUpTo(limit)
    this.unsafeLength = () => queue.unsafeLength()
    this.unsafeWaiting = () => queue.unsafeWaiting()
    this.unsafeCounts = () => queue.unsafeCounts()
    this.close = queue.close
    this.shutdown = queue.shutdown
  }

  /** Items are offered to Effect's queue as soon as somebody has asked for it. */
  get dequeue(): EffectDequeue<A> {
    return this.queue.dequeue
  }

  toJSON(): unknown {
    const state = this.queue.isClosed ? "closed" : "open"
    return { _id: "PolicyQueue", queueName: this.queueName, state, counts: this.queue.unsafeCounts() }
  }
}

/**
 * What happens when a queue is full: the backpressure policies.
 *
 * A policy is data (`_tag` and parameters) plus the two halves of a queue: a `BackingQueue` that evicts, drops and
 * coalesces, and a `Strategy` that makes offers wait. `queue` builds an Effect `Queue` from them. `PolicyQueue` adds
 * typed outcomes, counts and closing.
 *
 * A policy of your own implements `Policy` with its own pair; `BackingQueue` and `Strategy` provide the parts. The
 * guide "write your own policy" and the example `KeepHighest` show how.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type EffectQueue, makeQueue } from "./internal/intake/effectQueue.ts"
import * as BackingQueue from "./BackingQueue.ts"
import { makeGuard } from "./internal/fibers/guard.ts"
import { byKey, type Identity } from "./internal/intake/keys.ts"
import { type HasOwn, own } from "./internal/intake/ownPair.ts"
import { checkPolicy } from "./internal/intake/policyCheck.ts"
import * as Check from "./unstable/OptionCheck.ts"
import { WaitingRoom } from "./internal/intake/waitingRoom.ts"
import { isWeight } from "./internal/intake/weight.ts"
import { InvalidOption } from "./QueueError.ts"
import type { DropReason, Outcome } from "./QueueEvent.ts"
import type { Key } from "./Sharding.ts"
import * as Strategy from "./Strategy.ts"

/**
 * A backpressure policy for items of type `A`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Policy<in A> {
  readonly _tag: string
  /**
   * Makes the pair for one queue. The options have been checked. It may throw an `InvalidOption` for a combination
   * that the policy cannot serve.
   */
  readonly pair: <B extends A>(options: PairOptions<B>) => Pair<B>
  /**
   * Never set. It only exists for the type checker: TypeScript does not compare the bounds of `B`, and would otherwise
   * accept a `CoalesceByKey` of orders as a policy of dates.
   */
  readonly _A?: ((item: A) => void) | undefined
}

/**
 * The input of `Policy.pair`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PairOptions<in A> {
  /** The name of the queue, for errors. */
  readonly name: string
  /** An integer of at least 1: items, or weight where `weigh` is given. */
  readonly capacity: number
  readonly weigh: ((item: A) => number) | undefined
  /** How many bytes an item has, for the backing queue, where batches are bounded by them. */
  readonly measure?: ((item: A) => number) | undefined
  /** To be told of every item that is dropped or coalesced, once, after the state has changed. */
  readonly report: BackingQueue.Report<A>
}

/**
 * The two halves of a queue.
 *
 * `backing.offer` returns whether the item is in. If it is not, either it has been reported as dropped, or the
 * strategy's `handleSurplus` decides: true if the item gets in later, false if it is refused.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pair<in out A> {
  readonly backing: BackingQueue.BackingQueue<A>
  readonly strategy: Strategy.Strategy<A>
  /**
   * Whether the pair only ever drops the oldest item or the one being offered. Then `WriteBehind.flushNow` knows which
   * items have left; otherwise it may also wait for some later items. Default: false.
   */
  readonly dropsOldestOnly?: boolean
}

/**
 * Offers wait, first come first served.
 *
 * @since 0.1.0
 * @category models
 */
export interface Suspend extends Policy<unknown> {
  readonly _tag: "suspend"
  /** How long an offer waits. Undefined: without limit. */
  readonly timeout: Duration.DurationInput | undefined
}

/** @since 0.1.0 @category models */
export interface Reject extends Policy<unknown> {
  readonly _tag: "reject"
}

/** @since 0.1.0 @category models */
export interface DropNewest extends Policy<unknown> {
  readonly _tag: "dropNewest"
}

/** @since 0.1.0 @category models */
export interface DropOldest extends Policy<unknown> {
  readonly _tag: "dropOldest"
}

/**
 * Keeps the latest item of each key.
 *
 * @since 0.1.0
 * @category models
 */
export interface CoalesceByKey<in A> extends Policy<A> {
  readonly _tag: "coalesceByKey"
  readonly key: (item: A) => Key
  /** Merges the waiting item and the offered one into one. Without it, the offered item replaces the waiting one. */
  readonly merge: ((queued: any, offered: any) => any) | undefined
  /** What happens to an item of a new key when the queue is full. */
  readonly whenFull: Suspend | Reject | DropNewest | DropOldest
}

const waitingPair = <A>(
  { capacity, measure, name, report, weigh }: PairOptions<A>,
  timeout: Duration.DurationInput | undefined,
  makeBacking: (options: BackingQueue.Options<A>) => BackingQueue.BackingQueue<A>,
  key?: (item: A) => unknown
): Pair<A> & HasOwn<A> => {
  /** Items that were coalesced while waiting items were admitted. */
  const untold: Array<readonly [replaced: A, item: A]> = []
  const telling: BackingQueue.Report<A> = {
    dropped: report.dropped,
    coalesced: (replaced, item) => {
      if (room.taking) untold.push([replaced, item])
      else report.coalesced(replaced, item)
    }
  }
  const take = (item: A): Outcome | "full" => {
    const before = untold.length
    if (!backing.offer(item)) return "full"
    return untold.length === before ? "accepted" : "coalesced"
  }
  const room: WaitingRoom<A> = new WaitingRoom(take, key)
  const backing = makeBacking({ capacity, weigh, measure, report: telling, reserved: () => room.reserved })
  if (key !== undefined) {
    room.onAdmitted = () => {
      for (const [replaced, item] of untold.splice(0)) report.coalesced(replaced, item)
    }
  }
  if (timeout !== undefined && !Check.isDuration(timeout)) {
    throw new InvalidOption({ queue: name, field: "policy.timeout", value: timeout, limit: Check.durationLimit })
  }
  const timeoutMillis = timeout === undefined ? undefined : Duration.toMillis(timeout)
  const fitsEver = (item: A) => weigh === undefined || isWeight(weigh(item), capacity)
  return {
    backing,
    strategy: Strategy.waiting({ backing, report, room, timeoutMillis, fitsEver }),
    dropsOldestOnly: true,
    [own]: { waiting: { room, timeoutMillis } }
  }
}

const answeringPair = <A>(backing: BackingQueue.BackingQueue<A>, { report }: PairOptions<A>): Pair<A> & HasOwn<A> => ({
  backing,
  strategy: Strategy.answering({ backing, report }),
  dropsOldestOnly: true
})

/**
 * The pair of a policy over another kind of backing queue, which is told what to do when it is full.
 *
 * @internal
 */
export const pairOver = <A>(
  policy: Suspend | Reject | DropNewest | DropOldest,
  options: PairOptions<A>,
  makeBacking: (options: BackingQueue.Options<A>, whenFull: BackingQueue.WhenFull) => BackingQueue.BackingQueue<A>,
  key?: (item: A) => unknown
): Pair<A> & HasOwn<A> => {
  switch (policy._tag) {
    case "suspend":
      return waitingPair(options, policy.timeout, (options) => makeBacking(options, "refuse"), key)
    case "reject":
      return answeringPair(makeBacking(options, "refuse"), options)
    case "dropNewest":
      return answeringPair(makeBacking(options, "drop-newest"), options)
    case "dropOldest":
      return answeringPair(makeBacking(options, "drop-oldest"), options)
  }
}

/**
 * The offer waits until there is room, first come, first served. No item is lost. With a `timeout` (default: none) the
 * offer fails with `OfferTimeout`, which carries the item.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 *
 * const patient = Backpressure.suspend()
 * const hasty = Backpressure.suspend({ timeout: "50 millis" })
 * ```
 *
 * @since 0.1.0
 * @category policies
 */
export const suspend = (options?: { readonly timeout?: Duration.DurationInput | undefined }): Suspend => {
  const timeout = options?.timeout
  return {
    _tag: "suspend",
    timeout,
    pair: (pairOptions) => waitingPair(pairOptions, timeout, BackingQueue.refusing)
  }
}

/**
 * The offer fails at once with `QueueFull`, which carries the item. All accepted items are kept.
 *
 * @since 0.1.0
 * @category policies
 */
export const reject: Reject = {
  _tag: "reject",
  pair: (options) => answeringPair(BackingQueue.refusing(options), options)
}

/**
 * The new item is dropped: the first N are kept.
 *
 * @since 0.1.0
 * @category policies
 */
export const dropNewest: DropNewest = {
  _tag: "dropNewest",
  pair: (options) => answeringPair(BackingQueue.droppingNewest(options), options)
}

/**
 * The oldest item is dropped to make room: the last N are kept.
 *
 * @since 0.1.0
 * @category policies
 */
export const dropOldest: DropOldest = {
  _tag: "dropOldest",
  pair: (options) => answeringPair(BackingQueue.droppingOldest(options), options)
}

/**
 * Keeps the latest item of each key. An offered item replaces the waiting item of its key, or is merged into it, at
 * once and in its place, whether or not the queue is full. `whenFull` (default: `dropOldest`) applies to an item of a
 * new key when the queue is full.
 *
 * Keys are those of `Sharding`: `1` and `"1"` are the same, and an item without a valid key is refused with
 * `InvalidKey` (an offer to an Effect `Queue` dies with it). Items cannot be weighed. `merge` should be quick and pure.
 * If it throws, the offer dies with what it threw and the queue is unchanged.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 *
 * interface Reading {
 *   readonly sensor: string
 *   readonly value: number
 * }
 * const latest = Backpressure.coalesceByKey((reading: Reading) => reading.sensor)
 * const highest = Backpressure.coalesceByKey((reading: Reading) => reading.sensor, {
 *   merge: (held, next) => next.value > held.value ? next : held,
 *   whenFull: Backpressure.suspend()
 * })
 * ```
 *
 * @since 0.1.0
 * @category policies
 */
export const coalesceByKey = <A>(
  key: (item: A) => Key,
  options?: {
    readonly merge?: ((queued: A, offered: A) => A) | undefined
    readonly whenFull?: Suspend | Reject | DropNewest | DropOldest | undefined
  }
): CoalesceByKey<A> => {
  const whenFull = options?.whenFull ?? dropOldest
  // A queue of a subtype holds what `merge` answers: merging must give an item of the queue's own type.
  const merge = options?.merge as ((queued: any, offered: any) => any) | undefined
  return {
    _tag: "coalesceByKey",
    key,
    merge,
    whenFull,
    pair: (pairOptions) => coalescingPair(pairOptions, { merge, whenFull, identity: byKey(pairOptions.name, key) })
  }
}

/**
 * A policy by its name in a configuration: `suspend` (without a timeout), `reject`, `dropNewest` or `dropOldest`.
 *
 * **Errors**: `ConfigError` if the name is missing, or is another one; it lists the choices.
 *
 * @example
 * ```ts
 * import { Backpressure, WriteBehind } from "@sluice/core"
 * import { Console, Effect } from "effect"
 *
 * const lines = Effect.flatMap(Backpressure.config("LINES_POLICY"), (policy) =>
 *   WriteBehind.make<string>({ name: "lines", capacity: 1_000, policy, flush: (batch) => Console.log(batch.items) }))
 * ```
 *
 * @since 0.1.0
 * @category policies
 */
export const config = (name: string): Config.Config<Suspend | Reject | DropNewest | DropOldest> =>
  Config.map(
    Config.literal("suspend", "reject", "dropNewest", "dropOldest")(name),
    (chosen) => ({ suspend: suspend(), reject, dropNewest, dropOldest })[chosen]
  )

/**
 * The pair of a policy that coalesces items of the same identity.
 *
 * @internal
 */
export const coalescingPair = <A>(
  options: PairOptions<A>,
  { identity, merge, whenFull }: {
    readonly identity: Identity<A>
    readonly merge: ((queued: A, offered: A) => A) | undefined
    readonly whenFull: CoalesceByKey<any>["whenFull"]
  }
): Pair<A> => {
  if (options.weigh !== undefined) {
    throw new InvalidOption({
      queue: options.name,
      field: "weigh",
      value: options.weigh,
      limit: "absent with coalesceByKey, which counts items"
    })
  }
  const pair = pairOver(
    whenFull,
    options,
    (backing, whenFull) => BackingQueue.coalescingBy({ ...backing, merge, whenFull }, identity),
    identity.of
  )
  const identityOf = (item: A) => {
    const known = identity.of(item)
    identity.check(known)
    return known
  }
  const both: Pair<A> & HasOwn<A> = { ...pair, [own]: { ...pair[own], identityOf } }
  return both
}

/**
 * The options of a queue under a policy.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueOptions<in A> {
  /** For errors. Default: "queue". */
  readonly name?: string | undefined
  /** How much it holds, in items, or in weight where `weigh` is given: an integer of at least 1. */
  readonly capacity: number
  /** The weight of an item: an integer from 1 to `capacity`. Default: every item weighs 1. */
  readonly weigh?: ((item: A) => number) | undefined
  /** Called once for each item that is dropped, in the step in which it is dropped. */
  readonly onDrop?: ((item: A, reason: DropReason) => void) | undefined
}

/**
 * Checks the options and makes the pair.
 *
 * @internal
 */
export const makePair = <A>(policy: Policy<A>, options: PairOptions<A>): Effect.Effect<Pair<A>, InvalidOption> =>
  Effect.zipRight(
    Effect.zipRight(checkPolicy(options.name, policy), Check.optionalFunction(options.name, "weigh", options.weigh)),
    pairOf(policy, options)
  )

const pairOf = <A>(policy: Policy<A>, options: PairOptions<A>): Effect.Effect<Pair<A>, InvalidOption> =>
  Effect.try({
    try: () => {
      if (!Number.isSafeInteger(options.capacity) || options.capacity < 1) {
        throw new InvalidOption({
          queue: options.name,
          field: "capacity",
          value: options.capacity,
          limit: "an integer of at least 1"
        })
      }
      return policy.pair(options)
    },
    catch: (error) => {
      // Anything else that a policy throws is a bug of that policy, and no option's fault.
      if (error instanceof InvalidOption) return error
      throw error
    }
  })

/**
 * Makes an Effect `Queue` under a policy. `Stream.fromQueue`, `Queue.takeBetween` and the like work on it.
 *
 * **Waits**: `Queue.offer` only waits under `suspend`. **Errors**: Effect's `Queue.offer` returns a boolean: true if
 * the item is in, false if it was dropped (`onDrop` is called), was refused, found no room within the timeout, or has
 * an invalid weight. For typed outcomes use `PolicyQueue`. **Interruption**: as for `PolicyQueue.offer`. On
 * `Queue.shutdown`, every remaining item is reported to `onDrop` as `"shutdown"`.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import { Effect, Queue } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const queue = yield* Backpressure.queue<number>(Backpressure.dropOldest, { capacity: 2 })
 *   yield* Queue.offerAll(queue, [1, 2, 3])
 *   return yield* Queue.takeAll(queue) // 2, 3
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const queue = <A>(
  policy: Policy<A>,
  options: QueueOptions<A>
): Effect.Effect<EffectQueue<A>, InvalidOption> =>
  Effect.gen(function*() {
    const name = options.name ?? "queue"
    yield* Check.optionalFunction(name, "onDrop", options.onDrop)
    const guard = yield* makeGuard(name)
    const pair = yield* makePair(policy, {
      name,
      capacity: options.capacity,
      weigh: options.weigh,
      report: { dropped: options.onDrop ? guard("onDrop", options.onDrop) : () => {}, coalesced: () => {} }
    })
    return yield* makeQueue(pair)
  })

/**
 * The producer never waits for the slow store: items are offered to a bounded queue under a backpressure policy, and
 * flushed in batches by one fiber a shard.
 *
 * An item's life here: `offer` puts it into the intake of its shard, where the policy may still drop or coalesce it;
 * when a batch is due, the shard's fiber takes the oldest items and calls the user's `flush`, again and again under the
 * retry schedule; then the items are settled, or dropped with reason `"retries-exhausted"`. Closing the scope drains.
 *
 * At every moment offered = refused + coalesced + dropped + settled + held.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Batch } from "./Batch.ts"
import * as FlushPolicy from "./FlushPolicy.ts"
import { awaitAllWithin } from "./internal/fibers/alarm.ts"
import { type Batcher, makeBatcher } from "./internal/writeBehind/batcher.ts"
import {
  type BatchBytes,
  type Checked,
  checkOptions,
  type Configurable,
  defaultRetry,
  type Options,
  type RetryInput,
  table
} from "./internal/writeBehind/options.ts"
import * as EventHub from "./unstable/EventHub.ts"
import * as Table from "./unstable/OptionTable.ts"
import { makeGuard } from "./internal/fibers/guard.ts"
import { identityIn, isKey } from "./internal/intake/keys.ts"
import { replicaOf } from "./unstable/Replicas.ts"
import { sum } from "./internal/shapes/counts.ts"
import { Tally } from "./internal/writeBehind/tally.ts"
import { forkLoop, Lifecycle } from "./internal/fibers/lifecycle.ts"
import { isTracing, linksTo, withCurrentSpan } from "./internal/fibers/tracing.ts"
import type { Settlement } from "./internal/writeBehind/settlements.ts"
import { Offer, offerEach, unsafeOfferAllOrNone, unsafeOfferEach, whyNone } from "./internal/intake/policyQueue.ts"
import type { AllOrNoneError, Taken, UnsafeOutcome } from "./PolicyQueue.ts"
import type { InvalidOption, OfferError, QueueClosed, QueueFull } from "./QueueError.ts"
import { queueClosed } from "./internal/intake/refusals.ts"
import type { Outcome, QueueEvent } from "./QueueEvent.ts"
import type { Snapshot } from "./QueueMetrics.ts"
import * as Sharding from "./Sharding.ts"

/**
 * A write-behind queue of items of type `A`. Make a tag of your own for each, and fill it with `layer`.
 *
 * @example
 * ```ts
 * import { WriteBehind } from "@sluice/core"
 * import { Context } from "effect"
 *
 * interface Order {
 *   readonly id: string
 * }
 * class Orders extends Context.Tag("app/Orders")<Orders, WriteBehind.WriteBehind<Order>>() {}
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteBehind<in out A> {
  readonly name: string
  /**
   * Offers one item and answers what became of it: `"accepted"`, `"coalesced"` or `"dropped"`.
   *
   * **Waits** under the policy `suspend` while its shard has no room, first come first served. **Errors**: `QueueFull`
   * (policy `reject`) and `OfferTimeout`: retry later; `QueueClosed`, `InvalidWeight`, `InvalidKey`: retrying makes no
   * sense. Each carries what was not taken, in `notTaken`. What the policy's key, `merge` or `weigh` throws, the offer
   * dies of.
   * **Interruption** while it waits takes the item out; where room came in the same moment it stays in. An
   * `OfferInterrupted` event says which.
   */
  readonly offer: (item: A) => Effect.Effect<Outcome, OfferError<A>>
  /**
   * Offers items in order and answers the counts. Takes a prefix. Where there are many, others get their turn now and
   * then, also to offer.
   *
   * **Waits** like `offer`, item by item. **Errors** are those of `offer`: `taken` says how many were taken, `notTaken`
   * carries the rest. **Interruption** is possible while it waits; an `OfferInterrupted` event says how many were
   * taken.
   */
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, OfferError<A>>
  /**
   * Offers one item at once, without an Effect, for hot loops. It never waits: under `suspend` it answers `"full"`.
   * A loop that never yields starves the shards: leave it now and then.
   */
  readonly unsafeOffer: (item: A) => UnsafeOutcome
  /**
   * Offers several items, at most 50,000 (`PolicyQueue.mostAllOrNone`), all of them or none. It never waits for room:
   * under `suspend` it fails with `QueueFull` too.
   *
   * **Errors**: `QueueFull` where there is no room for all of them: retry later; `TooManyItems` where there can never be:
   * retry with fewer; `QueueClosed`, `InvalidWeight`, `InvalidKey`. None of the items is in (of a policy of your own
   * that refuses what there is room for: those before are). Of a backing queue of your own the length and the capacity
   * decide. What the policy's key, `merge` or `weigh` throws, the offer dies of; where `merge` throws, the items before
   * that one are in.
   */
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<Taken, AllOrNoneError<A>>
  /**
   * Offers several items, all of them or none, and answers what became of them once each is settled, coalesced or
   * dropped. Nothing is hurried: they are flushed when their batch is due. Offer objects that are not in the queue yet:
   * they are told apart by identity. Equal numbers or texts are taken to end in the order in which they came, which need
   * not be so where the policy drops or merges them.
   *
   * **Waits** until then, for as long as the retries of their batch take. **Errors** are those of `offerAllOrNone`.
   * **Interruption** ends only the waiting: the items are in.
   */
  readonly offerSettled: (items: ReadonlyArray<A>) => Effect.Effect<Settlement, AllOrNoneError<A>>
  /**
   * Like `offerSettled` in two steps: the first offers the items, and answers the second, which waits. Whoever does not
   * run the second leaves nothing behind.
   */
  readonly offerTracked: (items: ReadonlyArray<A>) => Effect.Effect<Effect.Effect<Settlement>, AllOrNoneError<A>>
  /**
   * Flushes everything offered before, and answers what became of it.
   *
   * **Waits** until those items are settled or dropped; a backoff that is running is honoured. Offers that wait for
   * room count as offered before it; where one of them gives up, an item that came later is waited for in its place.
   * **Errors**: `QueueClosed`. **Interruption** ends only the waiting.
   */
  readonly flushNow: Effect.Effect<Flushed, QueueClosed>
  /**
   * Waits until nothing is held, without hurrying anything: with several shards, until each of them has been idle.
   * Fails with `QueueClosed` once the queue is closed.
   */
  readonly awaitIdle: Effect.Effect<void, QueueClosed>
  /** How many items wait in the queue now, over all shards. */
  readonly depth: Effect.Effect<number>
  /** How many items are in a batch that is being flushed or retried, over all shards. */
  readonly inFlight: Effect.Effect<number>
  /**
   * What happens, from the moment of subscription until the queue is closed. A subscriber that is too slow slows
   * nothing down: it is told how many events it has missed.
   */
  readonly events: Stream.Stream<QueueEvent<A>>
  /** The counts at one moment; also after the queue has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * What became of the items that `flushNow` waited for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Flushed {
  readonly settled: number
  readonly dropped: number
}

/**
 * The counts of a queue at one moment: offered = refused + coalesced + dropped + settled + held.
 *
 * @since 0.1.0
 * @category models
 */
export type Metrics = Snapshot

export type { AllOrNoneError, BatchBytes, Configurable, Options, RetryInput, Settlement, Taken }
export { defaultRetry }

class WriteBehindImpl<in out A> implements WriteBehind<A> {
  readonly name: string
  readonly events: Stream.Stream<QueueEvent<A>>
  readonly offer: (item: A) => Effect.Effect<Outcome, OfferError<A>>
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, OfferError<A>>
  readonly unsafeOffer: (item: A) => UnsafeOutcome
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<Taken, AllOrNoneError<A>>
  readonly offerTracked: (items: ReadonlyArray<A>) => Effect.Effect<Effect.Effect<Settlement>, AllOrNoneError<A>>
  readonly offerSettled: (items: ReadonlyArray<A>) => Effect.Effect<Settlement, AllOrNoneError<A>>
  private readonly shards: ReadonlyArray<Batcher<A>>
  private readonly tally: Tally<A>
  private readonly lifecycle = new Lifecycle()

  constructor(name: string, shards: ReadonlyArray<Batcher<A>>, tally: Tally<A>, route: Route<A>, tracing: boolean) {
    this.name = name
    this.shards = shards
    this.tally = tally
    this.events = tally.hub.stream
    const intakeOf = (item: A) => shards[route(item)].intake
    const only = shards.length === 1 ? shards[0].intake : undefined
    this.unsafeOffer = only === undefined
      ? (item) => intakeOf(item).unsafeOffer(item)
      : (item) => only.unsafeOffer(item)
    const offerAllOrNone = (items: ReadonlyArray<A>, span?: unknown) =>
      Effect.suspend(() => {
        const taken = unsafeOfferAllOrNone(items, intakeOf, span)
        return "accepted" in taken ? Effect.succeed(taken) : Effect.fail(taken)
      })
    const offerTracked = (items: ReadonlyArray<A>, span?: unknown) =>
      Effect.suspend(() => {
        const refusal = whyNone(items, intakeOf)
        return refusal === undefined
          ? this.track(items, () => unsafeOfferEach(items, intakeOf, span))
          : Effect.fail(refusal)
      })
    this.offerAllOrNone = tracing ? (items) => withCurrentSpan((span) => offerAllOrNone(items, span)) : offerAllOrNone
    this.offerTracked = tracing ? (items) => withCurrentSpan((span) => offerTracked(items, span)) : offerTracked
    this.offerSettled = (items) => Effect.flatten(this.offerTracked(items))
    if (tracing) {
      this.offer = (item) => withCurrentSpan((span) => new Offer(intakeOf(item), item, span))
      this.offerAll = (items) => withCurrentSpan((span) => offerEach(items, intakeOf, span))
    } else {
      this.offer = only === undefined
        ? (item) => Effect.suspend(() => intakeOf(item).offer(item))
        : (item) => only.offer(item)
      this.offerAll = (items) => offerEach(items, intakeOf)
    }
  }

  get flushNow(): Effect.Effect<Flushed, QueueClosed> {
    return this.awaitDone({ flush: true })
  }

  get awaitIdle(): Effect.Effect<void, QueueClosed> {
    return Effect.asVoid(this.awaitDone({ flush: false }))
  }

  private track(
    items: ReadonlyArray<A>,
    offer: () => Taken | QueueFull<A>
  ): Effect.Effect<Effect.Effect<Settlement>, AllOrNoneError<A>> {
    const { settlements } = this.tally
    const ticket = settlements.await(items, (counts) => this.shards.forEach((shard) => shard.countInto(counts)))
    let taken: Taken | QueueFull<A> | undefined
    try {
      taken = offer()
    } finally {
      // It was refused, or the user's code threw.
      if (taken === undefined || !("accepted" in taken)) settlements.withdraw(ticket)
    }
    if (!("accepted" in taken)) return Effect.fail(taken)
    return Effect.succeed(Effect.async((resume) => {
      ticket.onDone = () => {
        const { coalesced, dropped, droppedByReason, settled } = ticket
        resume(Effect.succeed({ settled, coalesced, dropped, droppedByReason: { ...droppedByReason } }))
      }
      if (ticket.isDone) return ticket.onDone()
      return Effect.sync(() => settlements.forget(ticket))
    }))
  }

  private awaitDone(options: { readonly flush: boolean }): Effect.Effect<Flushed, QueueClosed> {
    return Effect.suspend(() => {
      if (!this.lifecycle.isOpen) return this.whenNotOpen
      const reached = Effect.unsafeMakeLatch()
      let missing = this.shards.length
      const onReached = () => {
        missing -= 1
        if (missing === 0) reached.unsafeOpen()
      }
      const barriers = this.shards.map((shard) => shard.unsafeAwait(options, onReached))
      const done = Effect.suspend(() =>
        this.lifecycle.hasFailed
          ? this.whenNotOpen
          : Effect.succeed({
            settled: sum(barriers, ({ settled }) => settled),
            dropped: sum(barriers, ({ dropped }) => dropped)
          })
      )
      const forget = Effect.sync(() => this.shards.forEach((shard, i) => shard.unsafeForget(barriers[i])))
      return Effect.onInterrupt(Effect.zipRight(reached.await, done), () => forget)
    })
  }

  private get whenNotOpen(): Effect.Effect<never, QueueClosed> {
    return this.lifecycle.refuse(() => queueClosed<never>(this.name, 0, []))
  }

  get depth(): Effect.Effect<number> {
    return Effect.sync(() => sum(this.shards, (shard) => shard.intake.unsafeLength()))
  }

  get inFlight(): Effect.Effect<number> {
    return Effect.sync(() => sum(this.shards, (shard) => shard.inFlight))
  }

  get metrics(): Effect.Effect<Metrics> {
    return Effect.sync(() => this.tally.snapshot())
  }

  /** A fiber of ours has died: what is held is reported as dropped. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    return this.lifecycle.fail(cause, `${this.name}: a fiber of the queue died; what it held is dropped`, () =>
      // Giving up releases everybody who waits; what died may be needed for it.
      Effect.forEach(this.shards, (shard) => Effect.exit(shard.abandon), { discard: true }))
  }

  /**
   * 1. Offers are refused, and those that wait are woken, with `QueueClosed`.
   * 2. A backoff that is running is cut short; what is held is flushed, with retries.
   * 3. After `drainTimeout` the fibers are interrupted, and what is left is dropped with reason `"shutdown"`. A handler
   *    that cannot be interrupted is not waited for; what it answers later is ignored.
   */
  close({ loops, timers }: Fibers, timeoutMillis: number): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      if (this.lifecycle.beginToClose()) {
        for (const shard of this.shards) shard.unsafeDrain()
        yield* awaitAllWithin(loops, timeoutMillis)
      }
      // First of all: a strategy of the user may die of its shutdown, and no fiber may be left behind then.
      yield* Effect.forEach([...loops, ...timers], Fiber.interruptFork, { discard: true })
      // Where a fiber of ours has died, everything has been given up already.
      if (!this.lifecycle.hasFailed) {
        yield* Effect.forEach(this.shards, (shard) => shard.abandon, { discard: true })
        this.lifecycle.close()
      }
      this.tally.publish()
      yield* this.lifecycle.failure
    })
  }
}

/** The fibers of a queue: for each shard one that flushes, and one that keeps the time. */
interface Fibers {
  readonly loops: ReadonlyArray<Fiber.RuntimeFiber<void>>
  readonly timers: ReadonlyArray<Fiber.RuntimeFiber<void>>
}

/** The shard of an item. */
type Route<in A> = (item: A) => number

const makeRoute = <A>({ shardBy, shards }: Checked): Route<A> =>
  shards === 1 || shardBy === undefined ? () => 0 : (item) => {
    const key = shardBy(item)
    // The intake of whatever shard refuses what is no key.
    return isKey(key) ? Sharding.shardOf(key, shards) : 0
  }

/**
 * Makes a queue in a scope, whose closing drains it:
 *
 * 1. offers are refused, and those that wait are woken, with `QueueClosed`;
 * 2. a backoff that is running is cut short for one attempt at once, and what is held is flushed in batches, with
 *    retries, for at most `drainTimeout`;
 * 3. what is left then is dropped with reason `"shutdown"`, and reported like every drop. Of a flush that was still
 *    running, the outcome is unknown.
 *
 * **Errors**: `InvalidOption`, which names the field, its value and the limit.
 *
 * @example
 * ```ts
 * import { Backpressure, WriteBehind } from "@sluice/core"
 * import { Console, Effect } from "effect"
 *
 * const program = Effect.scoped(
 *   Effect.gen(function*() {
 *     const queue = yield* WriteBehind.make({
 *       name: "measurements",
 *       capacity: 10_000,
 *       policy: Backpressure.dropOldest,
 *       flush: (batch) => Console.log(`${batch.items.length} items, because of ${batch.trigger}`)
 *     })
 *     yield* queue.offerAll([1, 2, 3])
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E, R, R2 = never>(
  options: Options<A, E, R, R2>
): Effect.Effect<WriteBehind<A>, InvalidOption, R | R2 | Scope.Scope> =>
  Effect.gen(function*() {
    const { name } = options
    const checked = yield* checkOptions(options)
    const tracing = yield* isTracing
    const context = yield* Effect.context<R | R2>()
    const guard = yield* makeGuard(name)
    const hub = yield* EventHub.make<QueueEvent<A>>()
    const tally = new Tally<A>(
      name,
      yield* replicaOf(["write_behind", name]),
      hub,
      options.onDrop ? guard("onDrop", options.onDrop) : () => {},
      options.policy !== undefined && "merge" in options.policy && options.policy.merge !== undefined
    )
    const flushPolicy = FlushPolicy.make({
      size: checked.batchSize,
      bytes: options.batchBytes?.limit,
      linger: checked.flushIntervalMillis
    })
    const measure = options.batchBytes && measureBy(options.batchBytes)
    const { shardBy } = options
    const identityOf = shardBy && checked.shards > 1 ? (item: A) => identityIn(name, shardBy(item)) : undefined
    const handle = (batch: Batch<A>, origins: ReadonlyArray<unknown>) =>
      tracing ? withFlushSpan(name, batch, origins, options.flush(batch)) : options.flush(batch)
    const shards = yield* Effect.forEach(
      Array.from({ length: checked.shards }, (_, shard) => shard),
      (shard) =>
        makeBatcher<A>({
          intake: {
            ...tally.intake,
            name,
            capacity: options.capacity,
            weigh: options.weigh,
            measure,
            identityOf,
            policy: checked.policy
          },
          batchSize: checked.batchSize,
          flushPolicy,
          // Both run in the shard's fiber, which has the context.
          handle: handle as (batch: Batch<A>, origins: ReadonlyArray<unknown>) => Effect.Effect<void, unknown>,
          retry: checked.retry as Schedule.Schedule<unknown, unknown>,
          observer: tally.observer(shard)
        })
    )
    tally.watch(shards)
    const queue = new WriteBehindImpl(name, shards, tally, makeRoute<A>(checked), tracing)
    const fork = (loop: Effect.Effect<void>) => forkLoop(loop, context, (cause) => queue.fail(cause))
    yield* Effect.acquireRelease(
      Effect.all({
        loops: Effect.forEach(shards, (shard) => fork(shard.run)),
        timers: Effect.forEach(shards, (shard) => fork(shard.timekeeper.run))
      }),
      (fibers) => queue.close(fibers, checked.drainTimeoutMillis)
    )
    return queue
  })

/** What cannot be counted is more than a batch may have, so that it is flushed by itself. */
const measureBy = <A>({ limit, of }: BatchBytes<A>) => (item: A): number => {
  try {
    const bytes = of(item)
    return Number.isSafeInteger(bytes) && bytes >= 0 ? Math.min(bytes, limit + 1) : limit + 1
  } catch {
    return limit + 1
  }
}

/** The span of one attempt, linked to the spans of its offers. */
const withFlushSpan = <A, E, R>(
  name: string,
  batch: Batch<A>,
  origins: ReadonlyArray<unknown>,
  flush: Effect.Effect<void, E, R>
): Effect.Effect<void, E, R> =>
  Effect.withSpan(flush, "WriteBehind.flush", {
    root: true,
    links: linksTo(origins),
    attributes: {
      "sluice.queue": name,
      "sluice.batch.items": batch.items.length,
      "sluice.batch.trigger": batch.trigger,
      "sluice.batch.attempt": batch.attempt
    }
  }) as Effect.Effect<void, E, R>

/**
 * Fills a tag of your own with a queue, which is drained when the layer is torn down.
 *
 * @example
 * ```ts
 * import { WriteBehind } from "@sluice/core"
 * import { Console, Context } from "effect"
 *
 * class Orders extends Context.Tag("app/Orders")<Orders, WriteBehind.WriteBehind<string>>() {}
 *
 * const OrdersLive = WriteBehind.layer(Orders, {
 *   name: "orders",
 *   capacity: 1_000,
 *   flush: (batch) => Console.log(batch.items)
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <I, A, E, R, R2 = never>(
  tag: Context.Tag<I, WriteBehind<A>>,
  options: Options<NoInfer<A>, E, R, R2>
): Layer.Layer<I, InvalidOption, R | R2> => Layer.scoped(tag, make<A, E, R, R2>(options))

/**
 * Like `layer`, with some of the options from a `Config`, which wins.
 *
 * **Errors**: `ConfigError` where the configuration is missing or malformed, and `InvalidOption`.
 *
 * @example
 * ```ts
 * import { WriteBehind } from "@sluice/core"
 * import { Config, Console, Context } from "effect"
 *
 * class Orders extends Context.Tag("app/Orders")<Orders, WriteBehind.WriteBehind<string>>() {}
 *
 * const OrdersLive = WriteBehind.layerConfig(
 *   Orders,
 *   { name: "orders", flush: (batch) => Console.log(batch.items) },
 *   {
 *     capacity: Config.integer("ORDERS_CAPACITY").pipe(Config.withDefault(1_000)),
 *     flushInterval: Config.duration("ORDERS_FLUSH_INTERVAL").pipe(Config.withDefault("1 second"))
 *   }
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <I, A, E, R, R2 = never>(
  tag: Context.Tag<I, WriteBehind<A>>,
  options: Omit<Options<NoInfer<A>, E, R, R2>, keyof Configurable> & Configurable,
  config: Config.Config.Wrap<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, R | R2> =>
  Layer.scoped(
    tag,
    Effect.flatMap(Config.unwrap(config), (configured) => {
      const all = Table.configured(table, options, configured)
      const limit = all.batchBytesLimit
      const batchBytes = limit === undefined ? all.batchBytes : { ...all.batchBytes, limit }
      return make<A, E, R, R2>({ ...all, batchBytes } as Options<A, E, R, R2>)
    })
  )

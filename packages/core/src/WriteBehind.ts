/**
 * A bounded in-memory queue whose items are flushed in batches, so that producers need not wait for a slow store. A
 * backpressure policy decides what happens when it is full. One fiber per shard flushes.
 *
 * The life of an item: `offer` puts it into the intake of its shard, where the policy may still drop or coalesce it.
 * When a batch is due, the shard's fiber takes the oldest items and calls the user's `flush`, and retries it under the
 * retry schedule. Then the items are settled, or dropped with reason `"retries-exhausted"`. Closing the scope drains
 * the queue.
 *
 * At every moment offered = refused + coalesced + dropped + settled + held.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import type { Batch } from "./Batch.ts"
import * as FlushPolicy from "./FlushPolicy.ts"
import { awaitAllWithin } from "./internal/fibers/alarm.ts"
import { type Batcher, makeBatcher } from "./internal/writeBehind/batcher.ts"
import {
  type BatchBytes,
  type Checked,
  checkOptions,
  type Configurable,
  type ConfiguredOptions,
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
import { isTracing, withBatchSpan, withCurrentSpan } from "./internal/fibers/tracing.ts"
import type { Settlement } from "./internal/writeBehind/settlements.ts"
import { unsafeOfferAllOrNone, unsafeOfferEach, whyNone } from "./internal/intake/allOrNone.ts"
import {
  type EffectEnqueue,
  type EffectTake,
  enqueueOf,
  enqueueTakesOf,
  type Viewed
} from "./internal/intake/effectQueue.ts"
import { Offer } from "./internal/intake/offer.ts"
import { sinkOf } from "./internal/intake/sink.ts"
import { offerEach } from "./internal/intake/offerEach.ts"
import type { AllOrNoneError, Taken, UnsafeOutcome } from "./PolicyQueue.ts"
import type { InvalidOption, OfferError, QueueClosed, QueueFull } from "./QueueError.ts"
import { queueClosed } from "./internal/intake/refusals.ts"
import type { Outcome, QueueEvent } from "./QueueEvent.ts"
import type { Snapshot } from "./QueueMetrics.ts"
import * as Sharding from "./Sharding.ts"
import { interruptSoon, type Running } from "./internal/fibers/fiber.ts"
import { park } from "./internal/fibers/parking.ts"

/**
 * A write-behind queue of items of type `A`. Define a tag for each queue, and provide it with `layer`.
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
  /** The option `name`. It is not called that, so that the queue can be the service of an `Effect.Tag`. */
  readonly queueName: string
  /**
   * Offers one item and returns its outcome: `"accepted"`, `"coalesced"` or `"dropped"`.
   *
   * **Waits** under the policy `suspend` while its shard has no room, first come first served. **Errors**: `QueueFull`
   * (policy `reject`) and `OfferTimeout`: retry later; `QueueClosed`, `InvalidWeight`, `InvalidKey`: a retry cannot
   * succeed. Each carries the items that were not taken in `notTaken`. If the policy's key, `merge` or `weigh` throws,
   * the offer dies with what it threw. **Interruption** while it waits withdraws the item. If room became free at the
   * same moment, the item stays in the queue. An `OfferInterrupted` event says which.
   */
  readonly offer: (item: A) => Effect.Effect<Outcome, OfferError<A>>
  /**
   * Offers items in order and returns the counts. It takes a prefix. A large call lets other fibers run now and then;
   * they may offer, too.
   *
   * **Waits** like `offer`, item by item. **Errors** are those of `offer`: `taken` says how many were taken, `notTaken`
   * carries the rest. **Interruption** is possible while it waits; an `OfferInterrupted` event says how many were
   * taken.
   */
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, OfferError<A>>
  /**
   * Offers every item of a stream, in order: `Stream.run(items, queue.sink)`. Its result says what became of them.
   *
   * **Waits** like `offerAll`: under the policy `suspend`, the stream is not asked for more while there is no room.
   * **Errors** are those of `offerAll`: `taken` and `notTaken` are about the chunk of the stream that was refused; the
   * chunks before it are in. **Interruption** is that of `offerAll`.
   */
  readonly sink: Sink.Sink<Taken, A, never, OfferError<A>>
  /**
   * A view for producers that offer to an Effect Queue: `Queue.offer(queue.enqueue, item)`. Each read makes one of its
   * own.
   *
   * **Waits** like `offer`. It has no **errors**: an offer answers `true` if the item is in, and `false` if it was
   * dropped or refused, which `metrics` counts. `offerAll` goes on with the other items. Once the queue is closed,
   * offers are interrupted, and count as refused. `Queue.shutdown` ends this view alone: later offers through it are
   * interrupted, and not counted; offers that wait stay. `size` is how many items wait in the queue or for room,
   * over all shards, whatever they weigh. `capacity` is that of all shards.
   */
  readonly enqueue: EffectEnqueue<A>
  /**
   * A view that a stream is run into: `Stream.runIntoQueue(stream, queue.enqueueTakes)`. Prefer `sink`, which says what
   * became of the items: here, a refused item is only counted, and the stream goes on.
   *
   * **Waits** like `enqueue`, and is closed like it. The end of the stream leaves the queue open. The stream cannot fail,
   * because nobody would learn of it. Of a defect of the stream, the call dies.
   */
  readonly enqueueTakes: EffectEnqueue<EffectTake<A>>
  /**
   * Offers one item synchronously, without an Effect, for hot loops. It never waits: under `suspend` it returns
   * `"full"`. A loop that never yields starves the shards, so yield now and then.
   */
  readonly unsafeOffer: (item: A) => UnsafeOutcome
  /**
   * Offers up to 50,000 items (`PolicyQueue.mostAllOrNone`), all of them or none. It never waits for room: under
   * `suspend` it fails with `QueueFull` too.
   *
   * **Errors**: `QueueFull` if there is no room for all of them: retry later. `TooManyItems` if there can never be
   * room: retry with fewer. `QueueClosed`, `InvalidWeight`, `InvalidKey`: a retry cannot succeed. After an error, none
   * of the items is in. (If a policy of your own refuses an item although there is room, the items before it are in.
   * For a backing queue of your own, its length and capacity decide whether there is room.) If the policy's key,
   * `merge` or `weigh` throws, the offer dies with what it threw; if `merge` throws, the items before that one are in.
   */
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<Taken, AllOrNoneError<A>>
  /**
   * Offers several items, all of them or none, and returns the outcome once each is settled, coalesced or dropped. It
   * does not force a flush: the items are flushed when their batch is due. Offer objects that are not in the queue yet,
   * because items are told apart by identity. Equal numbers or strings are assumed to end in order of arrival, which
   * may be wrong if the policy drops or merges them.
   *
   * **Waits** until then, including the retries of their batch. **Errors** are those of `offerAllOrNone`.
   * **Interruption** only ends the wait: the items stay in.
   */
  readonly offerSettled: (items: ReadonlyArray<A>) => Effect.Effect<Settlement, AllOrNoneError<A>>
  /**
   * `offerSettled` in two steps: the outer Effect offers the items, and returns an Effect that waits for the outcome.
   * Not running the second Effect leaks nothing.
   */
  readonly offerTracked: (items: ReadonlyArray<A>) => Effect.Effect<Effect.Effect<Settlement>, AllOrNoneError<A>>
  /**
   * Flushes everything that was offered before it, and returns the outcome.
   *
   * **Waits** until those items are settled or dropped; it does not cut a running backoff short. Offers that wait for
   * room count as offered before it. If one of them gives up, `flushNow` waits for a later item in its place.
   * **Errors**: `QueueClosed`. **Interruption** only ends the wait.
   */
  readonly flushNow: Effect.Effect<Flushed, QueueClosed>
  /**
   * Waits until the queue holds no item, without forcing a flush. With several shards, waits until each of them has
   * been idle. Fails with `QueueClosed` once the queue is closed.
   */
  readonly awaitIdle: Effect.Effect<void, QueueClosed>
  /** How many items wait in the queue now, over all shards. */
  readonly depth: Effect.Effect<number>
  /** How many items are in a batch that is being flushed or retried, over all shards. */
  readonly inFlight: Effect.Effect<number>
  /**
   * The events from the moment of subscription until the queue is closed. A slow subscriber does not slow the queue
   * down: it loses events, and learns how many it missed.
   */
  readonly events: Stream.Stream<QueueEvent<A>>
  /** The counts at one moment, also after the queue has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * The outcome of the items that `flushNow` waited for.
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

export type { AllOrNoneError, BatchBytes, Configurable, ConfiguredOptions, Options, RetryInput, Settlement, Taken }
export { defaultRetry }

class WriteBehindImpl<in out A> extends Inspectable.Class implements WriteBehind<A> {
  readonly queueName: string
  readonly events: Stream.Stream<QueueEvent<A>>
  readonly offer: (item: A) => Effect.Effect<Outcome, OfferError<A>>
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, OfferError<A>>
  readonly sink: Sink.Sink<Taken, A, never, OfferError<A>>
  readonly unsafeOffer: (item: A) => UnsafeOutcome
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<Taken, AllOrNoneError<A>>
  readonly offerTracked: (items: ReadonlyArray<A>) => Effect.Effect<Effect.Effect<Settlement>, AllOrNoneError<A>>
  readonly offerSettled: (items: ReadonlyArray<A>) => Effect.Effect<Settlement, AllOrNoneError<A>>
  private readonly shards: ReadonlyArray<Batcher<A>>
  private readonly tally: Tally<A>
  private readonly lifecycle = new Lifecycle()

  constructor(name: string, shards: ReadonlyArray<Batcher<A>>, tally: Tally<A>, route: Route<A>, tracing: boolean) {
    super()
    this.queueName = name
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
    this.sink = sinkOf(this.offerAll)
  }

  get enqueue(): EffectEnqueue<A> {
    return enqueueOf(this.viewed)
  }

  get enqueueTakes(): EffectEnqueue<EffectTake<A>> {
    return enqueueTakesOf(this.viewed)
  }

  private get viewed(): Viewed<A> {
    const { lifecycle, offer, shards, unsafeOffer } = this
    return {
      offer,
      unsafeOffer,
      capacity: sum(shards, ({ intake }) => intake.capacity),
      unsafeSize: () => sum(shards, ({ intake }) => intake.unsafeLength() + intake.unsafeWaiting()),
      lifecycle
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
    return Effect.succeed(park((resume) => {
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
    return this.lifecycle.refuse(() => queueClosed<never>(this.queueName, 0, []))
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

  toJSON(): unknown {
    return { _id: "WriteBehind", queueName: this.queueName, state: this.lifecycle.state, counts: this.tally.snapshot() }
  }

  /** An internal fiber has died: all held items are reported as dropped. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    return this.lifecycle.fail(cause, `${this.queueName}: a fiber of the queue died; what it held is dropped`, () =>
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
      yield* Effect.forEach([...loops, ...timers], interruptSoon, { discard: true })
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
  readonly loops: ReadonlyArray<Running<void>>
  readonly timers: ReadonlyArray<Running<void>>
}

/** Maps an item to its shard. */
type Route<in A> = (item: A) => number

const makeRoute = <A>({ shardBy, shards }: Checked): Route<A> =>
  shards === 1 || shardBy === undefined ? () => 0 : (item) => {
    const key = shardBy(item)
    // The intake of any shard refuses an invalid key.
    return isKey(key) ? Sharding.shardOf(key, shards) : 0
  }

/**
 * Makes a queue in a scope. Its items are those of whatever says what they are: a policy with a key, an annotated
 * parameter of `flush: (batch: Batch.Batch<Order>) => ...`, of `onDrop` or of another function. `make<Order>(...)` says
 * it too, if `flush` neither fails nor needs anything. With `layer` the tag says it. Closing the scope drains the queue:
 *
 * 1. offers fail with `QueueClosed`, including those that wait;
 * 2. a running backoff ends early with one immediate attempt, and the held items are flushed in batches, with retries,
 *    for at most `drainTimeout`;
 * 3. the remaining items are dropped with reason `"shutdown"`, and reported like every drop. The outcome of a flush
 *    that was still running is unknown.
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
export const make = <A, E = never, R = never, R2 = never>(
  options: Options<A, E, R, R2>
): Effect.Effect<WriteBehind<A>, InvalidOption, Types.NoInfer<R> | Types.NoInfer<R2> | Scope.Scope> =>
  Effect.gen(function*() {
    const { name } = options
    const checked = yield* checkOptions(options)
    const tracing = yield* isTracing
    const context = yield* Effect.context<R | R2>()
    const guard = yield* makeGuard(name)
    const hub = yield* EventHub.make<QueueEvent<A>>(name)
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
      tracing ? withBatchSpan("WriteBehind.flush", name, batch, options.flush(batch), origins) : options.flush(batch)
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

/** An item whose bytes cannot be counted exceeds the limit, so that it is flushed alone. */
const measureBy = <A>({ limit, of }: BatchBytes<A>) => (item: A): number => {
  try {
    const bytes = of(item)
    return Number.isSafeInteger(bytes) && bytes >= 0 ? Math.min(bytes, limit + 1) : limit + 1
  } catch {
    return limit + 1
  }
}

/**
 * Provides your own tag with a queue. Closing the layer drains the queue.
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
export const layer = <I, A, E = never, R = never, R2 = never>(
  tag: Context.Tag<I, WriteBehind<A>>,
  options: Options<NoInfer<A>, E, R, R2>
): Layer.Layer<I, InvalidOption, R | R2> => Layer.scoped(tag, make<A, E, R, R2>(options))

/**
 * Like `layer`, with some of the options from a `Config`, which takes precedence.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. `InvalidOption` for the other options.
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
export const layerConfig = <I, A, E = never, R = never, R2 = never>(
  tag: Context.Tag<I, WriteBehind<A>>,
  options: ConfiguredOptions<NoInfer<A>, E, R, R2>,
  config: Table.Configs<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, R | R2> =>
  Layer.scoped(
    tag,
    Effect.flatMap(Table.withConfigs(table, options, config), (all) => {
      const limit = (all as typeof all & Pick<Configurable, "batchBytesLimit">).batchBytesLimit
      const batchBytes = limit === undefined ? all.batchBytes : { ...all.batchBytes, limit }
      return make<A, E, R, R2>({ ...all, batchBytes } as Options<A, E, R, R2>)
    })
  )

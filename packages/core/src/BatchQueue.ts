/**
 * The durable queue. It gathers items in memory and stores them in batches; workers claim, handle, retry and settle
 * them. Stored items outlive the process if the store does.
 *
 * The life of an item: `offer` puts it into the intake, and from there into the open batch. When the batch is due, it
 * is encoded and appended to the store. A worker claims it, oldest first, under a lease that it renews, and passes it
 * to the user's `process`. Then the batch is settled, retried, or set aside as a dead letter. `docs/state-machine.md`
 * draws the states.
 *
 * An item is handled at least once: a worker that dies, or loses its lease, may already have handled it.
 *
 * Over all processes of a queue, offered = refused + coalesced + duplicates + dropped + settled + discarded + held + what
 * the store has, pending and dead.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type * as Sink from "effect/Sink"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import type { Batch } from "./Batch.ts"
import { BatchStore } from "./BatchStore.ts"
import type { Buffer } from "./Buffer.ts"
import * as Codec from "./Codec.ts"
import type * as Decision from "./Decision.ts"
import * as EventHub from "./unstable/EventHub.ts"
import { awaitAllWithin } from "./internal/fibers/alarm.ts"
import { Appender } from "./internal/batchQueue/appender.ts"
import { Backlog } from "./internal/batchQueue/backlog.ts"
import {
  type Checked,
  checkLease,
  checkOptions,
  type Configurable,
  defaultRetry,
  type Handle,
  type IntakePolicy,
  type Options,
  type RetryInput,
  table
} from "./internal/batchQueue/options.ts"
import { BatchTally, type Totals } from "./internal/batchQueue/tally.ts"
import { type Breaks, makeBreaks } from "./internal/fibers/breaks.ts"
import {
  type DeadLetterQuery,
  type DeadLetters,
  type InspectedLetter,
  type LetterOptions,
  makeDeadLetters,
  type WhichLetters
} from "./internal/batchQueue/deadLetters.ts"
import type { Entry } from "./internal/batchQueue/entry.ts"
import { entryPolicy, suspends } from "./internal/batchQueue/entryPolicy.ts"
import { guarded, logInternalError, logProcessError } from "./internal/batchQueue/reporting.ts"
import { makeGuard } from "./internal/fibers/guard.ts"
import { type BatchAllOrNoneError, Entering } from "./internal/batchQueue/entering.ts"
import { Offers, type UnsafeBatchOutcome } from "./internal/batchQueue/offers.ts"
import { StoredOffers, type Storing } from "./internal/batchQueue/storedOffers.ts"
import { Repeats } from "./internal/batchQueue/repeats.ts"
import { Retrying } from "./internal/fibers/retrying.ts"
import { Own } from "./internal/batchQueue/own.ts"
import { forkLoop, Lifecycle } from "./internal/fibers/lifecycle.ts"
import { isTracing, withBatchSpan } from "./internal/fibers/tracing.ts"
import { Judge } from "./internal/batchQueue/verdict.ts"
import type { Options as WorkersOptions } from "./internal/batchQueue/pool.ts"
import { Workers } from "./internal/batchQueue/workers.ts"
import { replicaOf } from "./unstable/Replicas.ts"
import * as Check from "./unstable/OptionCheck.ts"
import * as Table from "./unstable/OptionTable.ts"
import {
  type EffectEnqueue,
  type EffectTake,
  enqueueOf,
  enqueueTakesOf,
  type Viewed
} from "./internal/intake/effectQueue.ts"
import { sinkOf } from "./internal/intake/sink.ts"
import { makeImpl, type PolicyQueueImpl } from "./internal/intake/policyQueue.ts"
import type { Taken } from "./PolicyQueue.ts"
import {
  type BatchOfferError,
  InvalidOption,
  type ItemDropped,
  type QueueClosed,
  type StoreUnavailable
} from "./QueueError.ts"
import type { BatchQueueEvent, Outcome } from "./QueueEvent.ts"
import type { BatchQueueOptions } from "./QueueMetrics.ts"
import { makeMetrics } from "./internal/batchQueue/metrics.ts"
import { reservedTags } from "./internal/metrics/scheme.ts"
import type { QueueStore, Stats, StoreTransaction } from "./QueueStore.ts"
import { interruptSoon, type Running, withFiber } from "./internal/fibers/fiber.ts"
import { forkUninterruptible } from "./internal/fibers/forking.ts"

/**
 * A durable queue of items of type `A`. Define a tag for each queue, and provide it with `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchQueue<in out A> {
  /** The option `name`. It is not called that, so that the queue can be the service of an `Effect.Tag`. */
  readonly queueName: string
  /**
   * Offers one item and returns its outcome: `"accepted"`, `"coalesced"` or `"dropped"`. The item is not stored yet. It
   * is stored when its batch is due; until then it is lost if the process dies.
   *
   * **Waits** under the policy `suspend` while the intake has no room, first come first served. **Errors**:
   * `MalformedItem`, `InvalidKey`, `QueueClosed`: a retry cannot succeed. `QueueFull` (policy `reject`, or a
   * `maxPending` that rejects) and `OfferTimeout`: retry later. After an error, the item is not in. **Interruption**
   * while it waits withdraws the item; once it is in, it stays. Inside a transaction of the store's database, an offer
   * that finds no room does not wait: it stores the waiting items in that transaction. Within a handler of this queue,
   * and in fibers that the handler forks, it never waits for room, because room may only come once the handler is done:
   * the item bypasses the policy and `maxPending`, as with `Handle.offer`, and may overtake others.
   */
  readonly offer: (item: A) => Effect.Effect<Outcome, BatchOfferError<A>>
  /**
   * Offers items in order and returns the counts. It takes a prefix. A large call lets other fibers run now and then;
   * they may offer, too. Do not change the items until it is done.
   *
   * **Waits** and **Interruption** are those of `offer`, item by item; an `OfferInterrupted` event says how many were
   * taken. **Errors** are those of `offer`: `taken` says how many were taken, `notTaken` carries the rest.
   */
  readonly offerAll: (items: Iterable<A>) => Effect.Effect<Taken, BatchOfferError<A>>
  /**
   * Offers every item of a stream, in order: `Stream.run(items, queue.sink)`. Its result says what became of them.
   *
   * **Waits** like `offerAll`: under the policy `suspend`, the stream is not asked for more while there is no room.
   * **Errors** are those of `offerAll`: `taken` and `notTaken` are about the chunk of the stream that was refused; the
   * chunks before it are in. **Interruption** is that of `offerAll`. After that, `flush` waits until the items
   * are stored.
   */
  readonly sink: Sink.Sink<Taken, A, never, BatchOfferError<A>>
  /**
   * A view for producers that offer to an Effect Queue: `Queue.offer(queue.enqueue, item)`. Each read makes one of its
   * own.
   *
   * **Waits** like `offer`. It has no **errors**: an offer answers `true` if the item is in, and `false` if it was
   * dropped or refused, which `metrics` counts. `offerAll` goes on with the other items. Once the queue is closed,
   * offers are interrupted, and count as refused. `Queue.shutdown` ends this view alone: later offers through it are
   * interrupted, and not counted; offers that wait stay. `size` is how many items wait in the intake or for
   * room.
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
   * `"full"`. A refused item is not in. A loop that never yields starves the queue, so yield now and then.
   */
  readonly unsafeOffer: (item: A) => UnsafeBatchOutcome
  /**
   * Offers one item and returns once it is stored. Its batch is due at once, and concurrent callers share one commit.
   * With an `id`, the item counts once for as long as ids are remembered (`idWindow`), whether or not it has been
   * handled since: `"duplicate"` means that the id was already stored. Such an item is never merged or coalesced with
   * others on its way in. Ascending ids, such as UUIDv7, are cheaper to remember than random ones.
   *
   * Inside a transaction of the store's database, the item joins that transaction: it is rolled back with it, and can
   * be claimed once it is committed.
   *
   * **Waits** like `offer`, and then until the commit, for as long as the store is unavailable. Inside a transaction it
   * does not wait. Within a handler of this queue it does not wait for room in the store either. **Errors**: those of
   * `offer`. Inside a transaction also `QueueFull` if `maxPending` is reached, because no room can come meanwhile (but
   * not within a handler if `maxPending` suspends), and `StoreUnavailable`: the item is not stored. `ItemDropped`: the
   * policy dropped the item, or the merged item cannot be stored, or the queue was closed before the store had
   * answered, in which case the item may still be stored. **Interruption** while it waits for room withdraws the item;
   * after that it only ends the wait.
   */
  readonly offerStored: (
    item: A,
    options?: { readonly id?: string | undefined }
  ) => Effect.Effect<"stored" | "duplicate", BatchOfferError<A> | ItemDropped<A> | StoreUnavailable>
  /**
   * Offers up to 50,000 items (`PolicyQueue.mostAllOrNone`), all of them or none. A large call lets other fibers run
   * while it encodes; then the items are put in in one step. It never waits for room: under `suspend` it fails with
   * `QueueFull` too, even within a handler.
   *
   * **Errors**: `QueueFull` if there is no room for all of them, in the intake or under a `maxPending` that rejects:
   * retry later. `TooManyItems` if there can never be room: retry with fewer. `MalformedItem`, whose `item` is the
   * first one that cannot be stored; `InvalidKey`; `QueueClosed`: a retry cannot succeed. After an error, none of the
   * items is in.
   */
  readonly offerAllOrNone: (items: ReadonlyArray<A>) => Effect.Effect<Taken, BatchAllOrNoneError<A>>
  /**
   * Offers several items, all of them or none, and returns the outcome once each is stored, a duplicate, or dropped. An
   * item is dropped by the policy, or because the queue was closed before the store had answered (`"shutdown"`: it may
   * still be stored). `ids` has one id for each item, as in `offerStored`. The items share one commit, unless there are
   * many. A crash between commits leaves some of them stored; offering the same items again with their ids completes
   * the rest.
   *
   * **Waits** until the commit, but not for room in the intake. Within a handler of a queue with a `maxPending`, the
   * items bypass both. **Errors** are those of `offerAllOrNone`. **Interruption** only ends the wait. Inside a
   * transaction of the store's database, the items join that transaction. If the call fails there (also with
   * `StoreUnavailable`), some of the items may be part of the transaction, so roll it back.
   */
  readonly offerStoredAllOrNone: (
    items: ReadonlyArray<A>,
    options?: { readonly ids?: ReadonlyArray<string> | undefined }
  ) => Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable>
  /**
   * Stores everything that was offered before it.
   *
   * **Waits** until those items are committed or dropped. Within a handler of this queue it bypasses `maxPending`,
   * which may only have room once the handler is done. Inside a transaction of the store's database it stores the items
   * in that transaction and does not wait; items that are already being stored elsewhere are stored after it.
   * **Errors**: `QueueClosed`; inside a transaction also `StoreUnavailable`: all items are still held. **Interruption**
   * only ends the wait.
   */
  readonly flush: Effect.Effect<void, QueueClosed | StoreUnavailable>
  /**
   * Stops claiming in this process, until `resume`. Running handlers continue, and offers are stored. It does not wait:
   * `metrics` shows when nothing is `inFlight` any more.
   */
  readonly pause: Effect.Effect<void>
  /** Resumes claiming. It does not wait, and has no effect if the queue is not paused. */
  readonly resume: Effect.Effect<void>
  readonly isPaused: Effect.Effect<boolean>
  readonly deadLetters: DeadLetters<A>
  /** The contents of the store, from this and other processes. Fails with `StoreUnavailable`: a retry may succeed. */
  readonly stats: Effect.Effect<Stats, StoreUnavailable>
  /**
   * The events of this process, from the moment of subscription until the queue is closed. A slow subscriber does not
   * slow the queue down: it loses events, and learns how many it missed.
   */
  readonly events: Stream.Stream<BatchQueueEvent<A>>
  /** The counts of this process, also after the queue has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

export type {
  BatchAllOrNoneError,
  BatchOfferError,
  Configurable,
  DeadLetterQuery,
  DeadLetters,
  Handle,
  InspectedLetter,
  IntakePolicy,
  LetterOptions,
  Options,
  RetryInput,
  Storing,
  Taken,
  UnsafeBatchOutcome,
  WhichLetters
}
export { defaultRetry }

/**
 * The counts of one process. Over all processes of a queue, offered = refused + coalesced + duplicates + dropped +
 * settled + discarded + held + the items that the store has, pending and dead (`stats`).
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics extends Totals {
  /** Items that are not stored yet: waiting for room in the intake, in it, or buffered. */
  readonly held: number
  /** Items in the intake. */
  readonly depth: number
  /** Items in the open batch, or being stored. */
  readonly buffered: number
  /** Items that workers are handling. They are also stored. */
  readonly inFlight: number
}

/** The minimum time for which closing tries to store buffered items and to put back claimed batches. */
const lastWordsMillis = 5000

/** How often the gauges are read from the store. */
const readEveryMillis = 1000

/** How many items one transaction stores at most. */
const mostInRound = 10_000

/** The parts of a queue. */
interface Parts<in out A> {
  readonly name: string
  readonly codec: Codec.Codec<A>
  readonly store: QueueStore
  readonly intake: PolicyQueueImpl<Entry<A>, A>
  readonly offers: Offers<A>
  readonly storedOffers: StoredOffers<A>
  readonly appender: Appender<A>
  readonly workers: Workers<A>
  readonly tally: BatchTally<A>
  readonly backlog: Backlog
  readonly breaks: Breaks
  readonly lifecycle: Lifecycle
  readonly drainTimeoutMillis: number
  readonly events: Stream.Stream<BatchQueueEvent<A>>
}

class BatchQueueImpl<in out A> extends Inspectable.Class implements BatchQueue<A> {
  readonly queueName: string
  readonly events: Stream.Stream<BatchQueueEvent<A>>
  readonly deadLetters: DeadLetters<A>
  readonly offer: BatchQueue<A>["offer"]
  readonly offerAll: BatchQueue<A>["offerAll"]
  readonly sink: BatchQueue<A>["sink"]
  readonly unsafeOffer: BatchQueue<A>["unsafeOffer"]
  readonly offerStored: BatchQueue<A>["offerStored"]
  readonly offerAllOrNone: BatchQueue<A>["offerAllOrNone"]
  readonly offerStoredAllOrNone: BatchQueue<A>["offerStoredAllOrNone"]
  readonly flush: BatchQueue<A>["flush"]
  private readonly parts: Parts<A>

  constructor(parts: Parts<A>) {
    super()
    this.queueName = parts.name
    this.events = parts.events
    this.parts = parts
    this.deadLetters = makeDeadLetters({ ...parts, observer: parts.tally })
    this.offer = parts.offers.offer
    this.offerAll = parts.offers.offerAll
    this.sink = sinkOf(this.offerAll)
    this.unsafeOffer = parts.offers.unsafeOffer
    this.offerStored = parts.storedOffers.offerStored
    this.offerAllOrNone = parts.offers.offerAllOrNone
    this.offerStoredAllOrNone = parts.storedOffers.offerStoredAllOrNone
    this.flush = parts.storedOffers.flush
  }

  get enqueue(): EffectEnqueue<A> {
    return enqueueOf(this.viewed)
  }

  get enqueueTakes(): EffectEnqueue<EffectTake<A>> {
    return enqueueTakesOf(this.viewed)
  }

  private get viewed(): Viewed<A> {
    const { intake, lifecycle } = this.parts
    return {
      offer: this.offer,
      unsafeOffer: this.unsafeOffer,
      capacity: intake.capacity,
      unsafeSize: () => intake.unsafeLength() + intake.unsafeWaiting(),
      lifecycle
    }
  }

  // --- operating ----------------------------------------------------------------------------------------------------

  readonly pause: Effect.Effect<void> = Effect.sync(() => this.parts.workers.unsafePause())
  readonly resume: Effect.Effect<void> = Effect.sync(() => this.parts.workers.unsafeResume())
  readonly isPaused: Effect.Effect<boolean> = Effect.sync(() => this.parts.workers.isPaused)

  get stats(): Effect.Effect<Stats, StoreUnavailable> {
    return this.parts.store.stats
  }

  get metrics(): Effect.Effect<Metrics> {
    return Effect.sync(() => this.snapshot())
  }

  toJSON(): unknown {
    const { lifecycle, workers } = this.parts
    const { state } = lifecycle
    const shown = state === "open" && workers.isPaused ? "paused" : state
    return { _id: "BatchQueue", queueName: this.queueName, state: shown, counts: this.snapshot() }
  }

  private snapshot(): Metrics {
    const { appender, intake, tally, workers } = this.parts
    const totals = tally.totals(intake.unsafeCounts())
    return {
      ...totals,
      coalesced: totals.coalesced + appender.merged,
      held: appender.held,
      depth: intake.unsafeLength(),
      buffered: appender.buffered,
      inFlight: workers.inFlight
    }
  }

  /** Reads the gauges, for as long as the queue is open. */
  get readings(): Effect.Effect<void> {
    const { backlog, store, tally } = this.parts
    const read = Effect.map(store.stats, (stats) => {
      backlog.read(stats.pending.items)
      tally.publishStats(stats)
    })
    const publish = Effect.sync(() => tally.publish(this.snapshot()))
    // Other users of the store report that it is unavailable.
    const round = Effect.zipRight(Effect.ignore(Effect.sandbox(read)), publish)
    return Effect.forever(Effect.zipLeft(round, Effect.sleep(readEveryMillis)))
  }

  // --- ending -------------------------------------------------------------------------------------------------------

  /** An internal fiber has died: items that were not stored are reported as dropped. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    const { appender, lifecycle, name, workers } = this.parts
    return lifecycle.fail(cause, `${name}: a fiber of the queue died; what was not stored is dropped`, () => {
      workers.unsafeStop()
      workers.unsafeInterrupt()
      return Effect.exit(appender.abandon)
    })
  }

  /** Refuses offers and stops claiming. */
  private unsafeStop(): void {
    if (!this.parts.lifecycle.beginToClose()) return
    this.parts.intake.unsafeClose()
    this.parts.workers.unsafeStop()
  }

  /**
   * Closes inside a transaction of the store's database, which holds the only writer: buffered items join the
   * transaction, and the rest of the closing happens in the background after it.
   */
  closeWithin(transaction: StoreTransaction, close: Effect.Effect<void>): Effect.Effect<void> {
    const { unsafeOnEnd, unsafeOnOver = (listener) => unsafeOnEnd(() => listener()) } = transaction
    return Effect.suspend(() => {
      if (this.parts.lifecycle.hasFailed) return close
      this.unsafeStop()
      const over = Effect.unsafeMakeLatch()
      // If it fails, everything is still held.
      const flushed = Effect.ignore(Effect.sandbox(this.parts.appender.flushWithin(unsafeOnEnd)))
      const rest = forkUninterruptible(Effect.zipRight(over.await, close))
      return Effect.zipRight(flushed, Effect.zipLeft(rest, Effect.sync(() => unsafeOnOver(() => over.unsafeOpen()))))
    })
  }

  /** `closer`: the worker whose handler closes the queue, and cannot end before that is done. */
  close({ loop, timers, workers: loops }: Fibers, closer: number | undefined): Effect.Effect<void> {
    const { appender, drainTimeoutMillis, lifecycle, tally, workers } = this.parts
    return Effect.gen(this, function*() {
      if (!lifecycle.hasFailed) {
        this.unsafeStop()
        appender.unsafeDrain()
        const others = loops.filter((_, worker) => worker !== closer)
        const ended = yield* awaitAllWithin(others, drainTimeoutMillis)
        if (!ended) {
          workers.unsafeInterrupt()
          yield* awaitAllWithin(others, lastWordsMillis)
        }
        appender.unsafeFinish()
        yield* awaitAllWithin([loop], Math.max(drainTimeoutMillis, lastWordsMillis))
      }
      workers.unsafeGiveUp()
      // A call to the store may hang, and end only now. Closing continues.
      workers.unsafeInterruptAllBut(closer)
      // This comes first: a strategy may die in its shutdown, and no fiber may be left behind then.
      yield* Effect.forEach([loop, ...loops, ...timers], interruptSoon, { discard: true })
      if (lifecycle.close()) yield* appender.abandon
      tally.publish(this.snapshot())
      yield* lifecycle.failure
    })
  }
}

/** The fibers of a queue. */
interface Fibers {
  /** The one that stores. */
  readonly loop: Running<void>
  readonly workers: ReadonlyArray<Running<void>>
  readonly timers: ReadonlyArray<Running<void>>
}

/**
 * Makes a queue in a scope. Closing the scope closes the queue:
 *
 * 1. offers fail with `QueueClosed`, including those that wait, and claiming stops;
 * 2. buffered items are stored. Running handlers may finish, and offer items, within `drainTimeout`. A retry that a
 *    worker waits for is put back for others;
 * 3. handlers that still run are interrupted, and their batches are put back without counting a delivery;
 * 4. items that handlers have offered are stored, again within `drainTimeout`, but at least 5 seconds. If the store is
 *    unavailable for that long, the remaining items are dropped with reason `"shutdown"`, and reported like every drop.
 *
 * A clean shutdown leaves no lease behind. It does not wait for stored batches that no worker handles: they stay
 * stored.
 *
 * If the scope is closed inside a transaction of the store's database, closing does not wait, because that transaction
 * holds the writer. Buffered items join the transaction. Everything else, including storing items that were rolled back
 * with it, happens in the background after it, within the same times. `events` ends when it is done. The store must
 * still be open then, or the remaining items are dropped. The queue detects this from the context of the closing fiber;
 * note that a finalizer of `Effect.acquireRelease` runs in the context of the acquiring fiber.
 *
 * Closing does not wait for a handler that closes its own queue. The handler may continue until its batch is settled,
 * as long as its lease holds and the store is open.
 *
 * **Errors**: `InvalidOption`, which names the field, its value and the limit; `StoreUnavailable`.
 *
 * @example
 * ```ts
 * import { BatchQueue, BatchStore } from "@sluice/core"
 * import { Console, Effect, Schema } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const queue = yield* BatchQueue.make({
 *     name: "emails",
 *     schema: Schema.Struct({ to: Schema.String }),
 *     flush: { size: 100, linger: "50 millis" },
 *     workers: 4,
 *     process: (batch) => Console.log(`${batch.items.length} emails, attempt ${batch.attempt}`)
 *   })
 *   yield* queue.offerStored({ to: "ada@example.com" })
 * }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I, E = never, R = never, R2 = never, R3 = never, RS = never>(
  options: Options<A, I, E, R, R2, R3, RS>
): Effect.Effect<
  BatchQueue<A>,
  InvalidOption | StoreUnavailable,
  Types.NoInfer<R> | Types.NoInfer<R2> | Types.NoInfer<R3> | Types.NoInfer<RS> | BatchStore | Scope.Scope
> =>
  Effect.gen(function*() {
    const { buffer, name } = options
    const checked = yield* checkOptions(options)
    const stores = yield* BatchStore
    // A process that only offers has no leases.
    if (checked.workers > 0) {
      yield* checkLease(name, checked.leaseMillis, stores.longestWaitMillis)
      yield* Effect.acquireRelease(
        Effect.sync(() => stores.registerLease?.(checked.leaseMillis, name)),
        (takeBack) => Effect.sync(() => takeBack?.())
      )
    }
    const store = yield* stores.queue(name)
    // Its fibers would run their statements in that transaction forever.
    const isInside = Option.isSome(yield* store.transaction)
    yield* Check.check(
      !isInside,
      name,
      "make",
      "inside a transaction",
      "called outside of the transactions of its store"
    )
    const context = yield* Effect.context<R | R2 | R3 | RS>()
    const clock = yield* Effect.clock
    const tracing = yield* isTracing
    const guard = yield* makeGuard(name)
    // Closed after the caller's scope, if that scope is closed inside a transaction.
    const scope = yield* Scope.make()
    const hub = yield* Scope.extend(EventHub.make<BatchQueueEvent<A>>(name), scope)
    const metrics = options.metrics === false
      ? undefined
      : yield* Scope.extend(publishing(name, options.metrics, stores), scope)
    const breaks = yield* makeBreaks
    const repeats = new Repeats(() => breaks.now)
    const tally = new BatchTally<A>({
      name,
      metrics,
      clock,
      onDrop: options.onDrop ? guard("onDrop", options.onDrop) : () => {},
      onProcessError: guarded(name, "onProcessError", options.onProcessError ?? logProcessError(name, repeats)),
      onInternalError: guarded(name, "onInternalError", options.onInternalError ?? logInternalError(name, repeats))
    }, hub)
    const shared: Shared<A> = {
      name,
      checked,
      clock,
      breaks,
      codec: Codec.makeWith(options.schema, context, { format: checked.format, limits: checked.limits }),
      buffer,
      store,
      backlog: new Backlog(),
      lifecycle: new Lifecycle(),
      own: new Own(),
      tally
    }
    const wayIn = yield* makeWayIn(shared, checked.policy)
    const handle: Handle<A> = { name, offer: (items) => wayIn.offers.offerBack(items) }
    const process = (batch: Batch<A>) => options.process(batch, handle)
    const workers = makeWayOut(shared, {
      // They run in the fibers of workers, which have the context.
      process: (tracing
        ? (batch: Batch<A>) => withBatchSpan("BatchQueue.process", name, batch, process(batch))
        : process) as (
          batch: Batch<A>
        ) => Effect.Effect<void, unknown>,
      decide: options.decide as ((error: unknown) => Decision.Decision) | undefined,
      retry: checked.retry as Schedule.Schedule<unknown, unknown>
    })
    const { own } = shared
    const { appender } = wayIn
    const queue = new BatchQueueImpl<A>({
      ...shared,
      ...wayIn,
      workers,
      drainTimeoutMillis: checked.drainTimeoutMillis,
      events: hub.stream
    })
    const isRead = metrics !== undefined || checked.maxPending?.whenFull === "reject"
    const fork = (loop: Effect.Effect<void>, worker?: number) =>
      forkLoop(loop, own.mark(context, worker), (cause) => queue.fail(cause))
    let closer: number | undefined
    const end = (exit: Exit.Exit<unknown, unknown>) =>
      Effect.flatMap(store.transaction, (transaction) =>
        Option.isSome(transaction)
          ? queue.closeWithin(transaction.value, Scope.close(scope, exit))
          : withFiber<void>((fiber) => {
            closer = own.workerOf(fiber)
            return Scope.close(scope, exit)
          }))
    // A release of `acquireRelease` would run in the context of this fiber, not of the closing one.
    yield* Effect.flatMap(Effect.scope, (outer) => Scope.addFinalizerExit(outer, end))
    yield* Effect.acquireRelease(
      Effect.all({
        loop: fork(appender.run),
        workers: Effect.forEach(workers.loops, (loop, worker) => fork(loop, worker)),
        timers: Effect.forEach(
          [
            appender.lingering.run,
            appender.polling.run,
            workers.polling.run,
            workers.heartbeat.run,
            ...isRead ? [queue.readings] : []
          ],
          (loop) => fork(loop)
        )
      }),
      (fibers) => queue.close(fibers, closer)
    ).pipe(Scope.extend(scope))
    return queue
  })

/** The parts that both ways share: the store, what is known of it, and the observers. */
interface Shared<in out A> {
  readonly name: string
  readonly checked: Checked
  readonly clock: Clock.Clock
  readonly breaks: Breaks
  readonly codec: Codec.Codec<A>
  readonly buffer: Buffer<A, any> | undefined
  readonly store: QueueStore
  readonly backlog: Backlog
  readonly lifecycle: Lifecycle
  readonly own: Own
  readonly tally: BatchTally<A>
}

/** The way in: from an offer through the intake into the store. */
const makeWayIn = <A>(shared: Shared<A>, policy: IntakePolicy<A>) =>
  Effect.gen(function*() {
    const { buffer, checked, tally } = shared
    const { capacity, flushPolicy, maxPending } = checked
    const intake = yield* makeImpl<Entry<A>, A>(
      {
        name: shared.name,
        capacity,
        policy: entryPolicy(policy),
        itemOf: ({ offered }) => offered,
        onDrop: (entry, reason) => {
          tally.droppedByPolicy(entry.item, reason)
          entry.end({ _tag: "Dropped", reason })
        },
        onCoalesce: (replaced, entry) => tally.coalescedInIntake(replaced.item, entry.item),
        onInterrupt: (taken, notTaken, part) => {
          const left = part === undefined ? notTaken.map(({ offered }) => offered) : part.items.slice(taken)
          tally.interrupted(taken, left as ReadonlyArray<A>)
        }
      },
      {
        accepted: () => appender.signal(),
        coalesced: () => {},
        waiting: () => appender.signal()
      }
    )
    const most = Math.max(capacity, flushPolicy.size)
    const appender: Appender<A> = new Appender({
      ...shared,
      intake,
      flushPolicy,
      mostInBatch: Math.min(most, maxPending?.items ?? Infinity),
      mostClosed: Math.min(mostInRound, most),
      maxPendingItems: maxPending?.items,
      idWindowMillis: checked.idWindowMillis,
      pollMillis: checked.pollMillis,
      observer: tally
    })
    const entering = new Entering<A>({
      ...shared,
      ...checked,
      intake,
      appender,
      suspends: suspends(policy),
      keyOf: Predicate.hasProperty(buffer, "key") ? buffer.key as (item: A) => unknown : undefined,
      isMerging: buffer !== undefined || policy._tag === "coalesceByKey" && policy.merge !== undefined
    })
    return { intake, appender, offers: new Offers(entering), storedOffers: new StoredOffers(entering) }
  })

/** The way out: from the store through the workers to the user's handler. */
const makeWayOut = <A>(
  shared: Shared<A>,
  { retry, ...user }: Pick<WorkersOptions<A>, "decide" | "process"> & {
    readonly retry: Schedule.Schedule<unknown, unknown>
  }
): Workers<A> => {
  const { checked, clock, name, tally } = shared
  const tellHurry = Effect.logWarning(
    `${name}: the retry schedule has more than 100 attempts without a delay: 10 ms are waited between them`
  )
  return new Workers({
    ...shared,
    ...checked,
    ...user,
    judge: new Judge({
      ...checked,
      retrying: new Retrying(retry, tellHurry),
      clock,
      died: (cause) => tally.failed("retry", cause)
    }),
    observer: tally
  })
}

const publishing = (name: string, options: BatchQueueOptions = {}, stores: BatchStore) =>
  Effect.gen(function*() {
    // A store in memory belongs to its layer; a file is the same store, no matter how often it is opened.
    const owner = stores.persistent ? stores.name : stores
    const tags = Object.entries(options?.tags ?? {}).map(([tag, value]) => [tag, String(value)])
    const replica = yield* replicaOf(["batch_queue", name, tags], owner)
    const limit = `tags and boundaries; no tag is called ${Array.from(reservedTags).join(", ")}`
    const refused = () => new InvalidOption({ queue: name, field: "metrics", value: options, limit })
    if (tags.some(([tag]) => reservedTags.has(tag))) return yield* Effect.fail(refused())
    return yield* Effect.try({ try: () => makeMetrics(name, options, replica), catch: refused })
  })

/**
 * Provides your own tag with a queue. Closing the layer closes the queue.
 *
 * @example
 * ```ts
 * import { BatchQueue, BatchStore } from "@sluice/core"
 * import { Console, Context, Layer, Schema } from "effect"
 *
 * class Emails extends Context.Tag("app/Emails")<Emails, BatchQueue.BatchQueue<string>>() {}
 *
 * const EmailsLive = BatchQueue.layer(Emails, {
 *   name: "emails",
 *   schema: Schema.String,
 *   process: (batch) => Console.log(batch.items)
 * }).pipe(Layer.provide(BatchStore.layerMemory))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Id, A, I, E = never, R = never, R2 = never, R3 = never, RS = never>(
  tag: Context.Tag<Id, BatchQueue<A>>,
  options: Options<NoInfer<A>, I, E, R, R2, R3, RS>
): Layer.Layer<Id, InvalidOption | StoreUnavailable, R | R2 | R3 | RS | BatchStore> =>
  Layer.scoped(tag, make<A, I, E, R, R2, R3, RS>(options))

/**
 * Like `layer`, with some of the options from a `Config`, which takes precedence.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. Also those of `layer`.
 *
 * @example
 * ```ts
 * import { BatchQueue } from "@sluice/core"
 * import { Config, Console, Context, Schema } from "effect"
 *
 * class Emails extends Context.Tag("app/Emails")<Emails, BatchQueue.BatchQueue<string>>() {}
 *
 * const EmailsLive = BatchQueue.layerConfig(
 *   Emails,
 *   { name: "emails", schema: Schema.String, process: (batch) => Console.log(batch.items) },
 *   { workers: Config.integer("EMAILS_WORKERS").pipe(Config.withDefault(4)) }
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <Id, A, I, E = never, R = never, R2 = never, R3 = never, RS = never>(
  tag: Context.Tag<Id, BatchQueue<A>>,
  options: Options<NoInfer<A>, I, E, R, R2, R3, RS>,
  config: Table.Configs<Configurable>
): Layer.Layer<Id, InvalidOption | StoreUnavailable | ConfigError.ConfigError, R | R2 | R3 | RS | BatchStore> =>
  Layer.scoped(
    tag,
    Effect.flatMap(
      Table.withConfigs(table, options, config),
      (configured) => make<A, I, E, R, R2, R3, RS>(configured)
    )
  )

/**
 * Loads a resource, runs every waiting operation on it, saves it once, and answers every caller. Hundreds of callers
 * share one load and one save.
 *
 * The life of an operation: `modify` puts it into the open batch of its key, or opens one. The batch loads the
 * resource, runs operations on it in order of arrival for `minDuration`, and saves the result. Then every caller gets
 * the result of its own operation. Batches of one key never overlap; batches of different keys do not wait for one
 * another. Closing the scope ends the running batches, and saves.
 *
 * At every moment offered = refused + cancelled + settled + held, and settled = succeeded + failed.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Types from "effect/Types"
import * as EventHub from "./unstable/EventHub.ts"
import { closingUnderTestClock } from "./internal/fibers/standstill.ts"
import { makeBreaks } from "./internal/fibers/breaks.ts"
import { Deadlines } from "./internal/keyedBatch/deadlines.ts"
import {
  checkOptions,
  type CommonOptions,
  type Configurable,
  type Initial,
  type Loading,
  type Options,
  table
} from "./internal/keyedBatch/options.ts"
import { Lifecycle } from "./internal/fibers/lifecycle.ts"
import { makeFork, supervise } from "./internal/fibers/forking.ts"
import type { Action, Operation } from "./internal/keyedBatch/resource.ts"
import { KeyedShard } from "./internal/keyedBatch/shard.ts"
import { KeyedTally } from "./internal/keyedBatch/tally.ts"
import type { Router } from "./internal/intake/keys.ts"
import { Timekeeper } from "./internal/fibers/timekeeper.ts"
import { monotonicMillis } from "./unstable/Sleep.ts"
import { isTracing, linksTo, withCurrentSpan } from "./internal/fibers/tracing.ts"
import { replicaOf } from "./unstable/Replicas.ts"
import * as Table from "./unstable/OptionTable.ts"
import type { BatchTimeout, InvalidKey, InvalidOption, ProcessorClosed } from "./QueueError.ts"
import { processorClosed } from "./internal/intake/refusals.ts"
import type { Missed, Stamp } from "./QueueEvent.ts"
import type { Key } from "./Sharding.ts"
import { interruptSoon, type Running } from "./internal/fibers/fiber.ts"

/**
 * A processor of batches for resources of type `S`, by keys of type `K`, whose loads and saves fail with `E`. Define a
 * tag for each processor, and provide it with `layer`.
 *
 * @example
 * ```ts
 * import { KeyedBatch } from "@sluice/core"
 * import { Context } from "effect"
 *
 * interface Account {
 *   readonly balance: number
 * }
 * class Accounts extends Context.Tag("app/Accounts")<Accounts, KeyedBatch.KeyedBatch<string, Account>>() {}
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyedBatch<in out K extends Key, in out S, out E = never> {
  /** The option `name`. It is not called that, so that the processor can be the service of an `Effect.Tag`. */
  readonly queueName: string
  /**
   * Runs a pure function on the resource of a key. It returns a result and the new resource. Keep it quick. If it
   * throws, only its caller dies, and the resource is unchanged.
   *
   * **Waits** for the previous batch, the load, the operations before it, `minDuration` after the start of its batch,
   * and the save. **Errors** of load and save pass through unchanged, including defects. The batch was not saved then,
   * unless the error of `save` leaves that open, and the next operation loads again. `BatchTimeout`: the batch took
   * longer than `maxDuration`; `phase` says whether it may be saved. `ProcessorClosed`, `InvalidKey`: the operation has
   * not run, and a retry cannot succeed. If `shardOf` throws, the call dies with what it threw. **Interruption** while
   * it waits withdraws the operation, and it does not run. Once it has run, the call waits for the end of the batch.
   */
  readonly modify: <A>(
    key: K,
    run: (resource: S) => readonly [result: A, resource: S]
  ) => Effect.Effect<A, E | RunError>
  /**
   * Like `modify`, with an Effect. If it fails, the resource is unchanged and only its caller fails, once the batch has
   * ended: with its own error if the batch was saved, and otherwise with the error of the batch, because the operation
   * may have failed over changes of the batch that were never saved. Other operations of the key wait for it, so it
   * must not wait for another operation of its own key. It runs in a fiber of the processor, with the services of its
   * caller. **Interruption** while it runs interrupts it.
   */
  readonly modifyEffect: <A, E2, R = never>(
    key: K,
    run: (resource: S) => Effect.Effect<readonly [result: A, resource: S], E2, R>
  ) => Effect.Effect<A, E | E2 | RunError, R>
  /**
   * Like `modify`, for a resource that is changed in place. An operation that throws must leave the resource unchanged:
   * check first, then change. Changes that it made before it threw are not undone.
   */
  readonly mutate: <A>(key: K, run: (resource: S) => A) => Effect.Effect<A, E | RunError>
  /**
   * The events from the moment of subscription until the processor is closed: one for each batch that begins after that
   * moment, emitted when the batch has ended. A slow subscriber does not slow the processor down: it loses events, and
   * learns how many it missed.
   */
  readonly events: Stream.Stream<BatchRecord<K> | Missed>
  /** The counts at one moment, also after the processor has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * The errors of an operation, in addition to those of your own code.
 *
 * @since 0.1.0
 * @category models
 */
export type RunError = BatchTimeout | ProcessorClosed | InvalidKey

/**
 * The event for a batch that has ended, at `atMillis`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchRecord<out K> extends Stamp {
  readonly _tag: "Batch"
  /** When the batch began, in milliseconds since 1970. */
  readonly startMillis: number
  readonly key: K
  /** How many operations the batch ran, or failed. */
  readonly operations: number
  readonly loadMillis: number
  /** Zero if nothing was saved. */
  readonly saveMillis: number
  /** From the beginning of the batch to the answers. */
  readonly totalMillis: number
  /** Why the batch failed as a whole, if it did. */
  readonly error?: Cause.Cause<unknown>
}

/**
 * The counts of a processor at one moment: offered = refused + cancelled + settled + held, settled = succeeded + failed,
 * and held = depth + inFlight.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics {
  readonly offered: number
  /** Not taken: the processor was closed, or the key was invalid. */
  readonly refused: number
  /** Withdrawn before they ran, because their callers were interrupted. */
  readonly cancelled: number
  /** Those whose callers have their answer: they succeeded, or failed. */
  readonly settled: number
  readonly succeeded: number
  /** Failed by themselves, or with their batch. */
  readonly failed: number
  /** Waiting, or in flight. */
  readonly held: number
  /** Waiting to be run. */
  readonly depth: number
  /** Running, or waiting for the end of the batch that has run them. */
  readonly inFlight: number
  /** Batches that have ended. */
  readonly batches: number
  /** Those of them that failed as a whole. */
  readonly batchesFailed: number
  readonly loads: number
  readonly saves: number
  /** How many keys have operations now. */
  readonly keys: number
}

export type { CommonOptions, Configurable, Initial, Loading, Options }

/** How long after a change the metrics are published. */
const publishWithinMillis = 1000

class KeyedBatchImpl<in out K extends Key, in out S, out E> extends Inspectable.Class implements KeyedBatch<K, S, E> {
  readonly queueName: string
  readonly events: Stream.Stream<BatchRecord<K> | Missed>
  private readonly shards: ReadonlyArray<KeyedShard<S>>
  private readonly tally: KeyedTally<BatchRecord<K>>
  private readonly router: Router
  private readonly tracing: boolean
  private readonly idle = Effect.unsafeMakeLatch()
  private readonly lifecycle = new Lifecycle()

  constructor(options: {
    readonly name: string
    readonly events: Stream.Stream<BatchRecord<K> | Missed>
    readonly shards: ReadonlyArray<KeyedShard<S>>
    readonly tally: KeyedTally<BatchRecord<K>>
    readonly router: Router
    readonly tracing: boolean
  }) {
    super()
    this.queueName = options.name
    this.events = options.events
    this.shards = options.shards
    this.tally = options.tally
    this.router = options.router
    this.tracing = options.tracing
  }

  readonly modify = <A>(key: K, run: (resource: S) => readonly [A, S]): Effect.Effect<A, E | RunError> =>
    this.run(key, { _tag: "Modify", run })

  readonly modifyEffect = <A, E2, R = never>(
    key: K,
    run: (resource: S) => Effect.Effect<readonly [A, S], E2, R>
  ): Effect.Effect<A, E | E2 | RunError, R> =>
    Effect.contextWithEffect((context: Context.Context<R>) =>
      this.run(key, { _tag: "Effect", run: (resource) => Effect.provide(run(resource), context) })
    )

  readonly mutate = <A>(key: K, run: (resource: S) => A): Effect.Effect<A, E | RunError> =>
    this.run(key, { _tag: "Mutate", run })

  private run(key: K, action: Action<S>): Effect.Effect<any, any> {
    return this.tracing
      ? withCurrentSpan((span) => this.runFrom(key, action, span))
      : this.runFrom(key, action, undefined)
  }

  /** Enters the operation and waits for its end within one mask, so that no interruption can come in between. */
  private runFrom(key: K, action: Action<S>, origin: unknown): Effect.Effect<any, any> {
    return Effect.uninterruptibleMask((restore): Effect.Effect<any, any> => {
      if (!this.lifecycle.isOpen) return this.refuse(processorClosed(this.queueName))
      const index = this.router.route(key)
      if (typeof index !== "number") return this.refuse(index)
      this.tally.entered()
      return this.shards[index].enter(key, action, origin).wait(restore)
    })
  }

  private refuse(error: RunError): Effect.Effect<never, RunError> {
    this.tally.refused()
    return this.lifecycle.refuse(() => error)
  }

  get metrics(): Effect.Effect<Metrics> {
    return Effect.sync(() => this.snapshot())
  }

  private snapshot(): Metrics {
    return { ...this.tally.snapshot(), keys: this.shards.reduce((keys, shard) => keys + shard.keys, 0) }
  }

  toJSON(): unknown {
    return { _id: "KeyedBatch", queueName: this.queueName, state: this.lifecycle.state, counts: this.snapshot() }
  }

  /** To be called when nothing may be running any more. */
  lookIdle(): void {
    if (this.lifecycle.isClosing && this.tally.held === 0 && this.shards.every(({ isQuiet }) => isQuiet)) {
      this.idle.unsafeOpen()
    }
  }

  /** An internal fiber has died. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    return this.lifecycle.fail(
      cause,
      `${this.queueName}: a fiber of the processor died; what it held has failed`,
      () => {
        for (const shard of this.shards) shard.unsafeFail(Exit.failCause(cause))
        this.idle.unsafeOpen()
        return Effect.void
      }
    )
  }

  /**
   * 1. Operations fail with `ProcessorClosed`.
   * 2. Open batches are closed and saved; operations that wait for the next batch of their key get one.
   * 3. When every caller has its answer, the fibers end.
   */
  close(timers: ReadonlyArray<Running<unknown>>): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      if (this.lifecycle.beginToClose()) {
        for (const shard of this.shards) shard.unsafeClose()
        this.lookIdle()
        yield* closingUnderTestClock(this.idle.await, () => {
          for (const shard of this.shards) shard.unsafeTimeOut()
        })
      }
      for (const shard of this.shards) shard.unsafeEnd()
      yield* Effect.forEach(timers, interruptSoon, { discard: true })
      this.tally.publish()
      this.lifecycle.close()
      yield* this.lifecycle.failure
    })
  }
}

/**
 * Makes a processor in a scope. Closing the scope:
 *
 * 1. operations fail with `ProcessorClosed`;
 * 2. `minDuration` is cut short: running batches are saved, and operations that wait for the next batch of their key
 *    get one;
 * 3. closing waits for all of them. `maxDuration` bounds the wait.
 *
 * The type of the resource is what `load` or `initial` makes. Where that says too little, as `{ fills: [] }` does, whose
 * list is a `never[]` to the compiler, annotate `save: (key, book: Book) => ...`, or what `load` returns.
 *
 * **Errors**: `InvalidOption`, which names the field, its value and the limit.
 *
 * @example
 * ```ts
 * import { KeyedBatch } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.scoped(
 *   Effect.gen(function*() {
 *     const table = new Map([["alice", 10]])
 *     const balances = yield* KeyedBatch.make({
 *       name: "balances",
 *       load: (account: string) => Effect.sync(() => table.get(account) ?? 0),
 *       save: (account, balance) => Effect.sync(() => void table.set(account, balance)),
 *       minDuration: "10 millis"
 *     })
 *     return yield* balances.modify("alice", (balance) => [balance + 5, balance + 5]) // 15
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <K extends Key, S, E = never, R = never, E2 = never, R2 = never>(
  options: Options<K, S, E, R, E2, R2>
): Effect.Effect<KeyedBatch<K, S, E | E2>, InvalidOption, Types.NoInfer<R> | Types.NoInfer<R2> | Scope.Scope> =>
  Effect.gen(function*() {
    const { name, save } = options
    const load = options.load as ((key: Key) => Effect.Effect<S, unknown>) | undefined
    const checked = yield* checkOptions(options)
    const tracing = yield* isTracing
    const clock = yield* Effect.clock
    const breaks = yield* makeBreaks
    const fork = yield* makeFork<R | R2>()
    const hub = yield* EventHub.make<BatchRecord<K>>(name)
    const publishing = new Timekeeper(clock, () => tally.publish())
    const tally = new KeyedTally<BatchRecord<K>>({
      name,
      replica: yield* replicaOf(["keyed_batch", name]),
      hub,
      recordOf: ({ cause, key, ...told }) => ({
        _tag: "Batch",
        ...told,
        key: key as K,
        ...(cause === undefined ? {} : { error: cause })
      }),
      onChange: () => publishing.within(publishWithinMillis)
    })
    const deadlines = new Deadlines(clock, checked.minMillis, checked.maxMillis)
    const shards = Array.from({ length: checked.shards }, () =>
      new KeyedShard<S>({
        name,
        batchSize: checked.batchSize,
        initial: options.initial as ((key: Key) => S) | undefined,
        load: load && ((key, operations) => inSpan("KeyedBatch.load", operations, load(key))),
        save: save
          && ((key, resource, operations) =>
            inSpan("KeyedBatch.save", operations, save(key as K, resource) as Effect.Effect<void, unknown>)),
        deadlines,
        fork,
        breaks,
        onQuiet: () => processor.lookIdle(),
        observer: tally,
        nowMillis: () => clock.unsafeCurrentTimeMillis(),
        monotonicMillis: () => monotonicMillis(clock)
      }))
    const inSpan = <A, E>(
      span: string,
      operations: () => ReadonlyArray<Operation<S>>,
      effect: Effect.Effect<A, E>
    ): Effect.Effect<A, E> => tracing ? withSpan(span, name, operations(), effect) : effect
    const processor: KeyedBatchImpl<K, S, E | E2> = new KeyedBatchImpl<K, S, E | E2>({
      name,
      events: hub.stream,
      shards,
      tally,
      router: checked.router,
      tracing
    })
    const onDied = (cause: Cause.Cause<never>) => fork(processor.fail(cause))
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        for (const shard of shards) {
          supervise(fork(shard.run), onDied)
        }
        return [publishing, deadlines].map(({ run }) => supervise(fork(run), onDied))
      }),
      (timers) => processor.close(timers)
    )
    return processor
  })

/** The span of a load or a save, linked to the spans of the operations. */
const withSpan = <A, E>(
  span: string,
  name: string,
  operations: ReadonlyArray<Operation<any>>,
  effect: Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.withSpan(effect, span, {
    root: true,
    links: linksTo(operations.map(({ origin }) => origin).filter((origin) => origin !== undefined)),
    attributes: { "sluice.queue": name, "sluice.batch.operations": operations.length }
  })

/**
 * Provides your own tag with a processor. Closing the layer saves its batches.
 *
 * @example
 * ```ts
 * import { KeyedBatch } from "@sluice/core"
 * import { Context } from "effect"
 *
 * class Counters extends Context.Tag("app/Counters")<Counters, KeyedBatch.KeyedBatch<string, number>>() {}
 *
 * const CountersLive = KeyedBatch.layer(Counters, { name: "counters", initial: () => 0 })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <I, K extends Key, S, E = never, R = never, R2 = never>(
  tag: Context.Tag<I, KeyedBatch<K, S, E>>,
  options: Options<NoInfer<K>, NoInfer<S>, NoInfer<E>, R, NoInfer<E>, R2>
): Layer.Layer<I, InvalidOption, R | R2> => Layer.scoped(tag, make<K, S, E, R, E, R2>(options))

/**
 * Like `layer`, with some of the options from a `Config`, which takes precedence.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. `InvalidOption` for the other options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <I, K extends Key, S, E = never, R = never, R2 = never>(
  tag: Context.Tag<I, KeyedBatch<K, S, E>>,
  options: Options<NoInfer<K>, NoInfer<S>, NoInfer<E>, R, NoInfer<E>, R2>,
  config: Table.Configs<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, R | R2> =>
  Layer.scoped(
    tag,
    Effect.flatMap(
      Table.withConfigs(table, options, config),
      (configured) => make<K, S, E, R, E, R2>(configured)
    )
  )

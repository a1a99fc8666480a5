/**
 * Loads a resource, runs every operation on it that waits, saves it once, and answers every caller: hundreds of callers
 * share one load and one save.
 *
 * An operation's life here: `modify` puts it into the batch of its key, or opens one. The batch loads the resource, runs
 * operations on it in the order in which they came, for `minDuration`, and saves what they have made of it. Then every
 * caller gets the result of its own operation. Batches of one key never overlap; those of different keys do not wait for
 * one another. Closing the scope ends the batches that are running, and saves.
 *
 * At every moment offered = refused + cancelled + succeeded + failed + held.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as EventHub from "./unstable/EventHub.ts"
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
import type { Missed } from "./QueueEvent.ts"
import type { Key } from "./Sharding.ts"

/**
 * A processor of batches for resources of type `S`, by keys of type `K`, whose loads and saves fail with `E`. Make a tag
 * of your own for each, and fill it with `layer`.
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
  readonly name: string
  /**
   * Runs a pure function on the resource of a key, which answers a result and the resource that follows. It should be
   * quick. What it throws, its caller alone dies of, and the resource is as it was.
   *
   * **Waits** for the batch before, for the load, for the operations before it, for `minDuration` after the start of its
   * batch, and for the save. **Errors**: those of load and save come through untouched, defects too: nothing that the
   * batch did is saved as far as they say, and the next operation loads again. `BatchTimeout`: the batch took longer
   * than `maxDuration`; `phase` says whether it may be saved. `ProcessorClosed`, `InvalidKey`: it has not run, and a
   * retry makes no sense. What `shardOf` throws, the call dies of. **Interruption** while it waits takes it out, and it
   * does not run; once it has run, the call waits for the end of the batch.
   */
  readonly modify: <A>(
    key: K,
    run: (resource: S) => readonly [result: A, resource: S]
  ) => Effect.Effect<A, E | RunError>
  /**
   * Like `modify`, with an Effect. Where it fails, the resource is as it was, and its caller alone fails, once the batch
   * has ended: with its own error where the batch was saved, and with that of the batch where it was not, because it may
   * have failed over what the batch has made of the resource. Other operations of the key wait for it, so it must not
   * wait for another of its own key. It runs in the context in which the processor was made. **Interruption** while it
   * runs interrupts it.
   */
  readonly modifyEffect: <A, E2>(
    key: K,
    run: (resource: S) => Effect.Effect<readonly [result: A, resource: S], E2>
  ) => Effect.Effect<A, E | E2 | RunError>
  /**
   * Like `modify`, for a resource that is changed in place. An operation that throws must leave the resource as it was:
   * check first, then change. What it has changed before it threw is not undone.
   */
  readonly mutate: <A>(key: K, run: (resource: S) => A) => Effect.Effect<A, E | RunError>
  /**
   * What happens, from the moment of subscription until the processor is closed: one event for each batch that begins
   * after that moment, when it has ended. A subscriber that is too slow slows nothing down: it is told how many events
   * it has missed.
   */
  readonly events: Stream.Stream<BatchRecord<K> | Missed>
  /** The counts at one moment; also after the processor has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * What an operation can fail with beside the errors of the user's own code.
 *
 * @since 0.1.0
 * @category models
 */
export type RunError = BatchTimeout | ProcessorClosed | InvalidKey

/**
 * The event that tells of a batch that has ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchRecord<out K> {
  readonly _tag: "Batch"
  /** When it began, in milliseconds since 1970. */
  readonly startMillis: number
  readonly key: K
  /** How many operations it ran, or failed. */
  readonly operations: number
  readonly loadMillis: number
  /** Zero where nothing was saved. */
  readonly saveMillis: number
  /** From its beginning to the answers. */
  readonly totalMillis: number
  /** Why it failed as a whole, where it did. */
  readonly error?: Cause.Cause<unknown>
}

/**
 * The counts of a processor at one moment: offered = refused + cancelled + succeeded + failed + held.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics {
  readonly offered: number
  /** Not taken: closed, or of an impossible key. */
  readonly refused: number
  /** Taken out before they ran, because their callers were interrupted. */
  readonly cancelled: number
  readonly succeeded: number
  /** By themselves, or with their batch. */
  readonly failed: number
  /** Waiting, running, or waiting for the end of their batch. */
  readonly held: number
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

class KeyedBatchImpl<in out K extends Key, in out S, out E> implements KeyedBatch<K, S, E> {
  readonly name: string
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
    this.name = options.name
    this.events = options.events
    this.shards = options.shards
    this.tally = options.tally
    this.router = options.router
    this.tracing = options.tracing
  }

  readonly modify = <A>(key: K, run: (resource: S) => readonly [A, S]): Effect.Effect<A, E | RunError> =>
    this.run(key, { _tag: "Modify", run })

  readonly modifyEffect = <A, E2>(
    key: K,
    run: (resource: S) => Effect.Effect<readonly [A, S], E2>
  ): Effect.Effect<A, E | E2 | RunError> => this.run(key, { _tag: "Effect", run })

  readonly mutate = <A>(key: K, run: (resource: S) => A): Effect.Effect<A, E | RunError> =>
    this.run(key, { _tag: "Mutate", run })

  private run(key: K, action: Action<S>): Effect.Effect<any, any> {
    return this.tracing
      ? withCurrentSpan((span) => this.runFrom(key, action, span))
      : this.runFrom(key, action, undefined)
  }

  /** It is put in, and its end waited for, within one mask: an interruption cannot come between. */
  private runFrom(key: K, action: Action<S>, origin: unknown): Effect.Effect<any, any> {
    return Effect.uninterruptibleMask((restore): Effect.Effect<any, any> => {
      if (!this.lifecycle.isOpen) return this.refuse(processorClosed(this.name))
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
    return Effect.sync(() => ({
      ...this.tally.counts,
      keys: this.shards.reduce((keys, shard) => keys + shard.keys, 0)
    }))
  }

  /** To be called when nothing may go on any more. */
  lookIdle(): void {
    if (this.lifecycle.isClosing && this.tally.counts.held === 0 && this.shards.every(({ isQuiet }) => isQuiet)) {
      this.idle.unsafeOpen()
    }
  }

  /** A fiber of ours has died. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    return this.lifecycle.fail(cause, `${this.name}: a fiber of the processor died; what it held has failed`, () => {
      for (const shard of this.shards) shard.unsafeFail(Exit.failCause(cause))
      this.idle.unsafeOpen()
      return Effect.void
    })
  }

  /**
   * 1. Operations are refused with `ProcessorClosed`.
   * 2. Batches that are open are closed and saved; what waits for the next batch of its key gets one.
   * 3. When every caller has its answer, the fibers end.
   */
  close(timers: ReadonlyArray<Fiber.RuntimeFiber<unknown>>): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      if (this.lifecycle.beginToClose()) {
        for (const shard of this.shards) shard.unsafeClose()
        this.lookIdle()
        yield* this.idle.await
      }
      for (const shard of this.shards) shard.unsafeEnd()
      yield* Effect.forEach(timers, Fiber.interruptFork, { discard: true })
      this.tally.publish()
      this.lifecycle.close()
      yield* this.lifecycle.failure
    })
  }
}

/**
 * Makes a processor in a scope. Closing the scope:
 *
 * 1. operations are refused with `ProcessorClosed`;
 * 2. `minDuration` is cut short: the batches that are running are saved, and what waits for the next batch of its key
 *    gets one;
 * 3. it waits for all of them. `maxDuration` bounds that.
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
): Effect.Effect<KeyedBatch<K, S, E | E2>, InvalidOption, R | R2 | Scope.Scope> =>
  Effect.gen(function*() {
    const { name, save } = options
    const load = options.load as ((key: Key) => Effect.Effect<S, unknown>) | undefined
    const checked = yield* checkOptions(options)
    const tracing = yield* isTracing
    const clock = yield* Effect.clock
    const breaks = yield* makeBreaks
    const fork = yield* makeFork<R | R2>()
    const hub = yield* EventHub.make<BatchRecord<K>>()
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
    attributes: { "sluice.processor": name, "sluice.batch.operations": operations.length }
  })

/**
 * Fills a tag of your own with a processor, whose batches are saved when the layer is torn down.
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
export const layer = <I, K extends Key, S, E, R = never, R2 = never>(
  tag: Context.Tag<I, KeyedBatch<K, S, E>>,
  options: Options<NoInfer<K>, NoInfer<S>, NoInfer<E>, R, NoInfer<E>, R2>
): Layer.Layer<I, InvalidOption, R | R2> => Layer.scoped(tag, make<K, S, E, R, E, R2>(options))

/**
 * Like `layer`, with some of the options from a `Config`, which wins.
 *
 * **Errors**: `ConfigError` where the configuration is missing or malformed, and `InvalidOption`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <I, K extends Key, S, E, R = never, R2 = never>(
  tag: Context.Tag<I, KeyedBatch<K, S, E>>,
  options: Options<NoInfer<K>, NoInfer<S>, NoInfer<E>, R, NoInfer<E>, R2>,
  config: Config.Config.Wrap<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, R | R2> =>
  Layer.scoped(
    tag,
    Effect.flatMap(Config.unwrap(config), (configured) =>
      make<K, S, E, R, E, R2>(Table.configured(table, options, configured)))
  )

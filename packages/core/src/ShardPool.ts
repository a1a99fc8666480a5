/**
 * Runs commands by key. The commands of one key run one at a time, in order of submission. Different keys run in
 * parallel. Each command receives the next version of its key.
 *
 * The life of a command: `submit` puts it into the queue of its key's shard, under a backpressure policy. It waits in
 * the lane of its key until the previous command of that lane has ended and a worker of the shard is free. The worker
 * determines the next version and runs the user's `execute`. If that succeeds, the version is taken; if it rejects the
 * command, the version is given back. Then the caller gets its answer. Closing the scope drains the pool.
 *
 * At every moment offered = refused + cancelled + dropped + settled + held, and
 * settled = succeeded + rejected + failed.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type * as Types from "effect/Types"
import type { Options as BackingQueueOptions, WhenFull } from "./BackingQueue.ts"
import * as Backpressure from "./Backpressure.ts"
import * as EventHub from "./unstable/EventHub.ts"
import { withAlarm } from "./internal/fibers/alarm.ts"
import { withMessages } from "./internal/fibers/failure.ts"
import { makeBreaks } from "./internal/fibers/breaks.ts"
import { closingUnderTestClock } from "./internal/fibers/standstill.ts"
import type { Router } from "./internal/intake/keys.ts"
import {
  type BuiltInPolicy,
  checkOptions,
  type Configurable,
  type Options,
  type Run,
  table
} from "./internal/shardPool/options.ts"
import { Lanes, type LanesOptions, Submission, type SubmissionOptions } from "./internal/shardPool/lanes.ts"
import { Lifecycle } from "./internal/fibers/lifecycle.ts"
import { makeFork, supervise } from "./internal/fibers/forking.ts"
import { Shard, type ShardOptions } from "./internal/shardPool/shard.ts"
import { ShardTally } from "./internal/shardPool/tally.ts"
import { sum } from "./internal/shapes/counts.ts"
import { Timekeeper } from "./internal/fibers/timekeeper.ts"
import { isTracing, withCurrentSpan } from "./internal/fibers/tracing.ts"
import { replicaOf } from "./unstable/Replicas.ts"
import * as Check from "./unstable/OptionCheck.ts"
import * as Table from "./unstable/OptionTable.ts"
import { makeImpl } from "./internal/intake/policyQueue.ts"
import {
  type CommandDropped,
  DrainTimeout,
  InvalidKey,
  type InvalidOption,
  type OfferError,
  type OfferTimeout,
  type PoolClosed,
  type QueueFull,
  type Undrained
} from "./QueueError.ts"
import { invalidKey, poolClosed } from "./internal/intake/refusals.ts"
import type { Outcome, ShardPoolEvent } from "./QueueEvent.ts"
import type { Key } from "./Sharding.ts"
import { interruptSoon, type Running } from "./internal/fibers/fiber.ts"

/**
 * A pool for commands of type `C`, which return `A` or fail with `E`. Define a tag for each pool, and provide it with
 * `layer`.
 *
 * @example
 * ```ts
 * import { ShardPool } from "@sluice/core"
 * import { Context } from "effect"
 *
 * interface Order {
 *   readonly instrument: string
 *   readonly quantity: number
 * }
 * class Book extends Context.Tag("app/Book")<Book, ShardPool.ShardPool<Order, number>>() {}
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export interface ShardPool<in out C, out A, out E = never> {
  /** The option `name`. It is not called that, so that the pool can be the service of an `Effect.Tag`. */
  readonly queueName: string
  /**
   * Submits a command and returns its result.
   *
   * **Waits** under the policy `suspend` while its shard is full, first come, first served; then until the earlier
   * commands of its key have ended, a worker is free, and it has run. A command that submits another command and waits
   * for it waits forever if both have the same key, or if all workers of the shard wait like that.
   *
   * **Errors** of `execute` and `currentVersion` pass through unchanged, including defects. `QueueFull` and
   * `OfferTimeout`: the command has not run, retry later. `CommandDropped`: the policy dropped it, or the pool was
   * closed. If `started` is true, it had begun to run, and its outcome is unknown. `PoolClosed`, `InvalidKey`: it has
   * not run, and a retry cannot succeed. If `key` or `shardOf` throws, the call dies with what it threw.
   *
   * **Interruption** while the command waits withdraws it, and it does not run. A running command is interrupted too,
   * and the call returns once it has ended; its outcome is unknown. With `detach` the command keeps running, and the
   * call returns at once.
   */
  readonly submit: (
    command: C,
    options?: {
      /** Whether a running command continues when its caller is interrupted. Default: false. */
      readonly detach?: boolean | undefined
    }
  ) => Effect.Effect<A, E | SubmitError<C>>
  /**
   * Puts a command into the queue, and returns `"accepted"` or `"dropped"`. `events` and `metrics` report how it ends.
   * If it fails or dies (and was not rejected), that is also logged.
   *
   * **Waits** under the policy `suspend` while its shard is full. **Errors** are those of `submit`, except for those of
   * its result. **Interruption** while it waits withdraws the command. If room became free at the same moment, it stays
   * in the queue.
   */
  readonly offer: (
    command: C
  ) => Effect.Effect<Offered, OfferCommandError<C>>
  /**
   * Drains the pool in two phases: refuses further commands with `PoolClosed`, including those that wait for room, then
   * runs every accepted command. After that, the pool is closed.
   *
   * **Waits** until all of them have run, for at most `timeout` (default: the pool's `drainTimeout`). A command must
   * not wait for it. **Errors**: `DrainTimeout` lists the remaining commands. They are not abandoned: they keep
   * running, and you can call `drain` again. If the scope was closed meanwhile, it lists the commands that were
   * abandoned then. **Interruption** only ends the wait: the pool still refuses further commands.
   */
  readonly drain: (timeout?: Duration.DurationInput) => Effect.Effect<void, DrainTimeout<C> | InvalidOption>
  /** How many commands wait now, over all shards. */
  readonly depth: Effect.Effect<number>
  /**
   * The events from the moment of subscription until the pool is closed. A slow subscriber does not slow the pool down:
   * it loses events, and learns how many it missed.
   */
  readonly events: Stream.Stream<ShardPoolEvent<C, E>>
  /** The counts at one moment, also after the pool has been closed. */
  readonly metrics: Effect.Effect<Metrics>
}

/**
 * The outcome of an offered command that was not refused.
 *
 * @since 0.1.0
 * @category models
 */
export type Offered = Exclude<Outcome, "coalesced">

/**
 * The errors of an offer of a command.
 *
 * @since 0.1.0
 * @category models
 */
export type OfferCommandError<C> = QueueFull<C> | OfferTimeout<C> | PoolClosed<C> | InvalidKey<C>

/**
 * The errors of a submission, in addition to those of your own code.
 *
 * @since 0.1.0
 * @category models
 */
export type SubmitError<C> = OfferCommandError<C> | CommandDropped<C>

/**
 * The counts of a pool at one moment: offered = refused + cancelled + dropped + settled + held, and
 * settled = succeeded + rejected + failed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metrics {
  readonly offered: number
  /**
   * Not taken: the queue was full or closed, the offer timed out or was interrupted while it waited for room, or the
   * key was invalid.
   */
  readonly refused: number
  /** Withdrawn before they ran, because their callers were interrupted. */
  readonly cancelled: number
  /** Dropped by the policy, or because the pool was closed. */
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
  /** Run to their end: those that succeeded, were rejected, or failed. */
  readonly settled: number
  readonly succeeded: number
  readonly rejected: number
  readonly failed: number
  /** How many times a command was run once more, because its version was taken. */
  readonly conflicts: number
  /** Waiting for room, waiting in the queue, or running. */
  readonly held: number
  /** Waiting in the queue, over all shards. */
  readonly depth: number
  /** Running. */
  readonly inFlight: number
  /** How many keys the pool currently remembers. */
  readonly keys: number
}

export type { BuiltInPolicy, Configurable, Options, Run }

/** How long after a change the metrics are published. */
const publishWithinMillis = 1000

const attached: SubmissionOptions = { isAwaited: true, isDetached: false, origin: undefined }
const detached: SubmissionOptions = { isAwaited: true, isDetached: true, origin: undefined }
const unawaited: SubmissionOptions = { isAwaited: false, isDetached: true, origin: undefined }

class ShardPoolImpl<in out C, out A, out E> extends Inspectable.Class implements ShardPool<C, A, E> {
  readonly queueName: string
  readonly events: Stream.Stream<ShardPoolEvent<C, E>>
  private readonly hub: EventHub.EventHub<ShardPoolEvent<C>>
  private readonly shards: ReadonlyArray<Shard<C>>
  private readonly tally: ShardTally<C>
  private readonly router: Router
  private readonly keyOf: (command: C) => Key
  private readonly tracing: boolean
  private readonly drainTimeoutMillis: number
  private readonly waiters = new Set<() => void>()
  private readonly lifecycle = new Lifecycle()
  /** The commands that were abandoned at the end. */
  private leftAtEnd: ReadonlyArray<Undrained<C>> = []

  constructor(options: {
    readonly name: string
    readonly hub: EventHub.EventHub<ShardPoolEvent<C>>
    readonly shards: ReadonlyArray<Shard<C>>
    readonly tally: ShardTally<C>
    readonly router: Router
    readonly key: (command: C) => Key
    readonly tracing: boolean
    readonly drainTimeoutMillis: number
  }) {
    super()
    this.queueName = options.name
    this.hub = options.hub
    // What is rejected has failed with an error of `execute`.
    this.events = options.hub.stream as Stream.Stream<ShardPoolEvent<C, E>>
    this.shards = options.shards
    this.tally = options.tally
    this.router = options.router
    this.keyOf = options.key
    this.tracing = options.tracing
    this.drainTimeoutMillis = options.drainTimeoutMillis
  }

  readonly submit = (
    command: C,
    options?: { readonly detach?: boolean | undefined }
  ): Effect.Effect<A, E | SubmitError<C>> => {
    const isDetached = options?.detach === true
    return this.tracing
      ? withCurrentSpan((origin) => this.submitWith(command, { isAwaited: true, isDetached, origin }))
      : this.submitWith(command, isDetached ? detached : attached)
  }

  /** Enters the command and waits for its end within one mask, so that no interruption can come in between. */
  private submitWith(command: C, options: SubmissionOptions): Effect.Effect<A, E | SubmitError<C>> {
    return Effect.uninterruptibleMask((restore) => {
      const submission = this.enter(command, options)
      if (submission instanceof InvalidKey) return Effect.fail(submission)
      const offered = this.shards[submission.shard.index].intake.offerNow(submission, undefined, restore)
      if (typeof offered === "string") return submission.wait(restore)
      return Effect.flatMap(this.orClosed(offered, command), () => submission.wait(restore))
    })
  }

  readonly offer = (command: C): Effect.Effect<Offered, OfferCommandError<C>> =>
    this.tracing
      ? withCurrentSpan((origin) => this.offerWith(command, { isAwaited: false, isDetached: true, origin }))
      : this.offerWith(command, unawaited)

  private offerWith(command: C, options: SubmissionOptions): Effect.Effect<Offered, OfferCommandError<C>> {
    return Effect.uninterruptibleMask((restore): Effect.Effect<Offered, OfferCommandError<C>> => {
      const submission = this.enter(command, options)
      if (submission instanceof InvalidKey) return Effect.fail(submission)
      const offered = this.shards[submission.shard.index].intake.offerNow(submission, undefined, restore)
      if (typeof offered === "string") return Effect.succeed(offered as Offered)
      return this.orClosed(offered as Effect.Effect<Offered, OfferError<C>>, command)
    })
  }

  private enter(command: C, options: SubmissionOptions): Submission<C> | InvalidKey<C> {
    const key = this.keyOf(command)
    const index = this.router.route(key)
    this.tally.changed()
    if (typeof index === "number") return new Submission(command, key, this.shards[index], options)
    this.tally.refused()
    return invalidKey(index, { item: command, taken: 0, notTaken: [command] })
  }

  /** A pool has an error of its own for being closed. Weights and keys do not get as far as its queues. */
  private orClosed<B>(
    offered: Effect.Effect<B, OfferError<C>>,
    command: C
  ): Effect.Effect<B, QueueFull<C> | OfferTimeout<C> | PoolClosed<C>> {
    return Effect.catchAll(
      offered,
      (error): Effect.Effect<never, QueueFull<C> | OfferTimeout<C> | PoolClosed<C>> =>
        error._tag === "QueueFull" || error._tag === "OfferTimeout"
          ? Effect.fail(error)
          : this.lifecycle.refuse(() => poolClosed(this.queueName, command))
    )
  }

  get depth(): Effect.Effect<number> {
    return Effect.sync(() => sum(this.shards, ({ intake }) => intake.unsafeLength()))
  }

  get metrics(): Effect.Effect<Metrics> {
    return Effect.sync(() => this.tally.snapshot())
  }

  toJSON(): unknown {
    return { _id: "ShardPool", queueName: this.queueName, state: this.lifecycle.state, counts: this.tally.snapshot() }
  }

  readonly drain = (timeout?: Duration.DurationInput): Effect.Effect<void, DrainTimeout<C> | InvalidOption> =>
    Effect.flatMap(
      Check.millis(this.queueName, "timeout", timeout ?? this.drainTimeoutMillis),
      (timeoutMillis) =>
        Effect.flatMap(this.awaitDrained(timeoutMillis, false), (): Effect.Effect<void, DrainTimeout<C>> => {
          const { failure, hasFailed, isClosed } = this.lifecycle
          const left = isClosed ? this.leftAtEnd : this.left
          return hasFailed || isClosed && left.length === 0
            ? failure
            : Effect.fail(new DrainTimeout<C>({ queue: this.queueName, timeoutMillis, left }))
        })
    )

  /** Begins to drain, and waits until everything has run, up to the timeout. */
  private awaitDrained(timeoutMillis: number, isClosing: boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.beginToDrain()
      if (this.lifecycle.isOver) return Effect.void
      const waiter = Effect.unsafeMakeLatch()
      const end = () => waiter.unsafeOpen()
      this.waiters.add(end)
      const drained = withAlarm(waiter.await, timeoutMillis, end)
      return Effect.ensuring(
        isClosing ? closingUnderTestClock(drained, end) : drained,
        Effect.sync(() => this.waiters.delete(end))
      )
    })
  }

  private get left(): ReadonlyArray<Undrained<C>> {
    const named = (state: "running" | "waiting") => ({ command, key, shard }: Submission<C>): Undrained<C> => ({
      command,
      key,
      shard: shard.index,
      state
    })
    return this.shards.flatMap(({ lanes, running }) => [
      ...running.map(named("running")),
      ...Array.from(lanes, named("waiting"))
    ])
  }

  private beginToDrain(): void {
    if (!this.lifecycle.beginToClose()) return
    for (const shard of this.shards) {
      shard.isDraining = true
      shard.intake.unsafeClose()
    }
    this.lookDrained()
  }

  /** To be called when a shard may have nothing left. */
  lookDrained(): void {
    if (this.lifecycle.isClosing && this.shards.every(({ isIdle }) => isIdle)) this.end([])
  }

  private end(left: ReadonlyArray<Undrained<C>>): void {
    this.lifecycle.close()
    this.leftAtEnd = left
    for (const shard of this.shards) shard.unsafeStop()
    this.hub.unsafeEnd()
    for (const end of Array.from(this.waiters)) end()
  }

  /** An internal fiber has died. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    return this.lifecycle.fail(cause, `${this.queueName}: a fiber of the pool died; what it held is dropped`, () => {
      this.end(this.giveUp())
      return Effect.void
    })
  }

  /** Drops waiting commands and interrupts running ones. Returns all of them. */
  private giveUp(): ReadonlyArray<Undrained<C>> {
    const { left } = this
    for (const shard of this.shards) {
      shard.intake.unsafeClose()
      for (const submission of shard.unsafeAbort()) this.tally.abandoned(submission)
      shard.lanes.removeAll("shutdown")
    }
    return left
  }

  /**
   * 1. Commands fail with `PoolClosed`, including those that wait for room.
   * 2. Accepted commands run.
   * 3. After `drainTimeout`, waiting commands are dropped, and running ones are interrupted without waiting for them.
   */
  close(timers: ReadonlyArray<Running<unknown>>): Effect.Effect<void> {
    return Effect.gen(this, function*() {
      yield* this.awaitDrained(this.drainTimeoutMillis, true)
      if (!this.lifecycle.isOver) {
        const left = this.giveUp()
        this.end(left)
        yield* Effect.logWarning(`${this.queueName}: closed with ${left.length} commands left, which are dropped`)
      }
      yield* Effect.forEach(timers, interruptSoon, { discard: true })
      this.tally.publish()
      yield* this.lifecycle.failure
    })
  }
}

/**
 * Makes a pool in a scope. Closing the scope drains the pool:
 *
 * 1. commands fail with `PoolClosed`, including those that wait for room;
 * 2. accepted commands run, for at most `drainTimeout`;
 * 3. then waiting commands are dropped. Running commands are interrupted without waiting for them, and their outcome is
 *    unknown. The callers get `CommandDropped` with the reason `"shutdown"`.
 *
 * **Errors**: `InvalidOption`, which names the field, its value and the limit.
 *
 * @example
 * ```ts
 * import { ShardPool } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.scoped(
 *   Effect.gen(function*() {
 *     const pool = yield* ShardPool.make({
 *       name: "counters",
 *       key: (command: { readonly counter: string }) => command.counter,
 *       execute: (command, { version }) => Effect.succeed(`${command.counter} is at ${version}`)
 *     })
 *     return yield* pool.submit({ counter: "visits" }) // "visits is at 1"
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <C, A, E = never, R = never, E2 = never, R2 = never, K extends Key = Key>(
  options: Options<C, A, E, R, E2, R2, K>
): Effect.Effect<ShardPool<C, A, E | E2>, InvalidOption, Types.NoInfer<R> | Types.NoInfer<R2> | Scope.Scope> =>
  Effect.gen(function*() {
    const { currentVersion, name } = options
    const checked = yield* checkOptions(options)
    const tracing = yield* isTracing
    const clock = yield* Effect.clock
    const breaks = yield* makeBreaks
    const fork = yield* makeFork<R | R2>()
    const hub = yield* EventHub.make<ShardPoolEvent<C>>(name)
    const publishing = new Timekeeper(clock, () => tally.publish())
    const tally = new ShardTally<C>({
      pool: name,
      replica: yield* replicaOf(["shard_pool", name]),
      hub,
      onChange: () => publishing.within(publishWithinMillis),
      log: (cause) => fork(Effect.logError(`${name}: a command failed that nobody waits for`, withMessages(cause)))
    })
    const forgetting = new Timekeeper(clock, () => {
      const kept = shards.filter((shard) => shard.lanes.forget(shard.running))
      if (kept.length > 0) forgetting.within(checked.idleTimeToLiveMillis)
    })
    const shards = yield* Effect.forEach(
      Array.from({ length: checked.shards }, (_, index) => index),
      (index) =>
        makeShard<C>({
          name,
          capacity: checked.capacity,
          policy: checked.policy,
          tally,
          lanes: {
            unknown: currentVersion === undefined ? 0 : undefined,
            forgetsAtOnce: currentVersion !== undefined && checked.idleTimeToLiveMillis === 0,
            onKnown: () => {
              if (currentVersion !== undefined && checked.idleTimeToLiveMillis > 0) {
                forgetting.within(checked.idleTimeToLiveMillis)
              }
            }
          },
          shard: {
            index,
            workers: checked.workersPerShard,
            // Both run in a fiber that has the context.
            execute: executeWith(options, tracing) as ShardOptions<C>["execute"],
            currentVersion: currentVersion as ShardOptions<C>["currentVersion"],
            isRejection: checked.isRejection,
            fork,
            breaks,
            observer: tally,
            onIdle: () => pool.lookDrained(),
            onBroken: (cause) => fork(pool.fail(cause))
          }
        })
    )
    tally.watch(shards)
    const pool: ShardPoolImpl<C, A, E | E2> = new ShardPoolImpl<C, A, E | E2>({
      name,
      hub,
      shards,
      tally,
      router: checked.router,
      key: options.key,
      tracing,
      drainTimeoutMillis: checked.drainTimeoutMillis
    })
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        for (const shard of shards) shard.start()
        return [publishing, forgetting].map(({ run }) => supervise(fork(run), (cause) => fork(pool.fail(cause))))
      }),
      (timers) => pool.close(timers)
    )
    return pool
  })

const makeShard = <C>(options: {
  readonly name: string
  readonly capacity: number
  readonly policy: BuiltInPolicy
  readonly tally: ShardTally<C>
  readonly lanes: Omit<LanesOptions, "onReady">
  readonly shard: ShardOptions<C>
}): Effect.Effect<Shard<C>, InvalidOption> =>
  Effect.gen(function*() {
    const { capacity, name, tally } = options
    let lanes: Lanes<C>
    const makeLanes = (backing: BackingQueueOptions<Submission<C>>, whenFull: WhenFull) =>
      lanes = new Lanes<C>(backing, whenFull, { ...options.lanes, onReady: () => shard.wake() })
    const pair = (pairOptions: Backpressure.PairOptions<Submission<C>>) =>
      Backpressure.pairOver(options.policy, pairOptions, makeLanes)
    const intake = yield* makeImpl<Submission<C>, C>({
      itemOf: ({ command }) => command,
      name,
      capacity,
      policy: { _tag: options.policy._tag, pair: pair as Backpressure.Policy<Submission<C>>["pair"] },
      onDrop: (submission, reason) => tally.dropped(submission, reason),
      onInterrupt: (_taken, submissions) => tally.offerInterrupted(submissions)
    })
    const shard = new Shard(options.shard, lanes!, intake)
    return shard
  })

/** Runs the user's code; with tracing, in its own span inside that of the caller. */
const executeWith = <C, A, E, R, K extends Key>(
  { execute, name }: Options<C, A, E, R, any, any, K>,
  tracing: boolean
): (submission: Submission<C>, version: number) => Effect.Effect<A, E, R> => {
  const run = ({ command, key, shard }: Submission<C>, version: number) =>
    execute(command, { key: key as K, version, shard: shard.index })
  if (!tracing) return run
  return (submission, version) => {
    const parent = submission.origin as Tracer.AnySpan | undefined
    return Effect.withSpan(Effect.suspend(() => run(submission, version)), "ShardPool.execute", {
      ...(parent === undefined ? { root: true } : { parent }),
      attributes: { "sluice.queue": name, "sluice.shard": submission.shard.index, "sluice.version": version }
    }) as Effect.Effect<A, E, R>
  }
}

/**
 * Provides your own tag with a pool. Closing the layer drains the pool.
 *
 * @example
 * ```ts
 * import { ShardPool } from "@sluice/core"
 * import { Context, Effect } from "effect"
 *
 * interface Rename {
 *   readonly id: string
 *   readonly name: string
 * }
 * class Renames extends Context.Tag("app/Renames")<Renames, ShardPool.ShardPool<Rename, number>>() {}
 *
 * const RenamesLive = ShardPool.layer(Renames, {
 *   name: "renames",
 *   key: ({ id }) => id,
 *   execute: (_, { version }) => Effect.succeed(version)
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <I, C, A, E = never, R = never, R2 = never, K extends Key = Key>(
  tag: Context.Tag<I, ShardPool<C, A, E>>,
  options: Options<NoInfer<C>, NoInfer<A>, NoInfer<E>, R, NoInfer<E>, R2, K>
): Layer.Layer<I, InvalidOption, R | R2> => Layer.scoped(tag, make<C, A, E, R, E, R2, K>(options))

/**
 * Like `layer`, with some of the options from a `Config`, which takes precedence.
 *
 * **Errors**: `ConfigError` if the configuration is missing, malformed, or beyond the limit of its option: it names the
 * variable. `InvalidOption` for the other options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <I, C, A, E = never, R = never, R2 = never, K extends Key = Key>(
  tag: Context.Tag<I, ShardPool<C, A, E>>,
  options: Options<NoInfer<C>, NoInfer<A>, NoInfer<E>, R, NoInfer<E>, R2, K>,
  config: Table.Configs<Configurable>
): Layer.Layer<I, InvalidOption | ConfigError.ConfigError, R | R2> =>
  Layer.scoped(
    tag,
    Effect.flatMap(
      Table.withConfigs(table, options, config),
      (configured) => make<C, A, E, R, E, R2, K>(configured)
    )
  )

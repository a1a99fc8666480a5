/**
 * The options of a `ShardPool`: what they are, and the table that they are checked by.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Backpressure from "../../Backpressure.ts"
import type { InvalidOption } from "../../QueueError.ts"
import type { Key, ShardOf } from "../../Sharding.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import * as Table from "../../unstable/OptionTable.ts"
import { fibers, Router, shardOfEntry } from "../intake/keys.ts"
import { isPlain, policyEntry } from "../intake/policyCheck.ts"

/**
 * What a command is run with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run<out K extends Key = Key> {
  readonly key: K
  /** The next version of its key: one more than that of the last command that succeeded. */
  readonly version: number
  readonly shard: number
}

/**
 * The policies that a pool can be under.
 *
 * @since 0.1.0
 * @category models
 */
export type BuiltInPolicy =
  | Backpressure.Suspend
  | Backpressure.Reject
  | Backpressure.DropNewest
  | Backpressure.DropOldest

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<C, A, E, R, E2 = never, R2 = never, K extends Key = Key> {
  /** The name in metrics, events, spans and errors. */
  readonly name: string
  /** How many shards there are. Each has a queue of its own. Default: 16. */
  readonly shards?: number | undefined
  /** How many commands of one shard run at the same time, for different keys. Default: 1. */
  readonly workersPerShard?: number | undefined
  /** How many commands may wait in each shard. Default: 1,024. */
  readonly capacity?: number | undefined
  /**
   * What happens when a shard is full: `suspend`, `reject`, `dropNewest` or `dropOldest`. Commands cannot be coalesced.
   * Default: `Backpressure.suspend()`.
   */
  readonly policy?: BuiltInPolicy | undefined
  /** The key of a command: text of at most 512 bytes, or a finite number. */
  readonly key: (command: C) => K
  /**
   * The number of a key's shard. (`shardBy` of a `WriteBehind` is the key of an item, which is `key` here.)
   * Default: `Sharding.shardOf`.
   */
  readonly shardOf?: ShardOf | undefined
  /**
   * Runs a command. It may fail with a `VersionConflict` of its own key. Then it runs once more, with the version that
   * `currentVersion` answers. The caller is told a second conflict in a row, and without `currentVersion` the first. A
   * version guards what is appended and nothing else: where others write to the same keys, a command that is rejected may
   * have been judged by what was true before.
   *
   * It runs in the fiber of its worker, like the commands before and after it. Fibers that it forks live on when it has
   * ended or was interrupted, so give them a scope. The next commands see what it sets with `FiberRef.set`, so use
   * `Effect.locally`.
   */
  readonly execute: (command: C, run: Run<K>) => Effect.Effect<A, E, R>
  /**
   * The version of a key's last command that succeeded, an integer from 0. The pool asks on first use of a key, and
   * whenever it does not know the version any more. Default: 0 on first use, and a command that fails counts as not done.
   */
  readonly currentVersion?: ((key: K) => Effect.Effect<number, E2, R2>) | undefined
  /**
   * Whether an error of `execute` says that nothing has happened, so that the version is free again. After every other
   * failure, defect or interruption the pool asks `currentVersion`. Where it throws, the error says nothing. Default:
   * every error says so.
   */
  readonly isRejection?: ((error: NoInfer<E>) => boolean) | undefined
  /**
   * How long the pool knows a key after its last command, at most twice that long. Without `currentVersion` it knows all
   * keys forever, because versions would repeat otherwise. Default: 5 minutes.
   */
  readonly idleTimeToLive?: Duration.DurationInput | undefined
  /** How long closing the scope may run what is held. Then the rest is dropped. Default: 30 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
}

type AnyOptions = Options<any, any, any, any, any, any, any>

const policy = policyEntry<BuiltInPolicy, BuiltInPolicy>()

/** A caller waits for each command, and two cannot be one. */
const plainPolicy: typeof policy = {
  ...policy,
  check: (queue, field, value) =>
    Effect.tap(policy.check(queue, field, value), ({ _tag }) =>
      Check.check(
        isPlain(value),
        queue,
        field,
        _tag,
        "suspend, reject, dropNewest or dropOldest: commands cannot be coalesced"
      ))
}

export const table = {
  name: Table.name,
  shards: Table.withDefault(fibers, 16),
  workersPerShard: Table.withDefault(fibers, 1),
  capacity: Table.withDefault(Table.positiveInteger, 1024),
  policy: Table.withDefault(plainPolicy, Backpressure.suspend(), "`Backpressure.suspend()`"),
  key: Table.callback(),
  shardOf: shardOfEntry,
  execute: Table.callback(),
  currentVersion: Table.optionalCallback("0 on first use, and a command that fails counts as not done"),
  isRejection: Table.withDefault(
    Table.callback<(error: any) => boolean>("a function, or absent"),
    () => true,
    "every error says so"
  ),
  idleTimeToLive: Table.withDefault(Table.duration, "5 minutes"),
  drainTimeout: Table.withDefault(Table.duration, "30 seconds")
} satisfies Table.Of<AnyOptions>

/**
 * The options that can come from a configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configurable extends Table.Configurable<typeof table, AnyOptions> {}

export interface Checked extends Table.Checked<typeof table> {
  readonly router: Router
}

export const checkOptions = (options: AnyOptions): Effect.Effect<Checked, InvalidOption> =>
  Effect.map(Table.check(table, "ShardPool", options), (checked) => ({
    ...checked,
    router: new Router(checked.name, checked.shards, checked.shardOf)
  }))

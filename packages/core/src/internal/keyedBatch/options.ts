/**
 * The options of a `KeyedBatch`: what they are, and the table that they are checked by.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { InvalidOption } from "../../QueueError.ts"
import type { Key, ShardOf } from "../../Sharding.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import * as Table from "../../unstable/OptionTable.ts"
import { fibers, Router, shardOfEntry } from "../intake/keys.ts"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export type Options<K extends Key, S, E, R, E2 = never, R2 = never> =
  & CommonOptions<K, S, E2, R2>
  & (Loading<K, S, E, R> | Initial<K, S>)

/**
 * Where a batch gets its resource from: it is loaded.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loading<in K, out S, out E, out R> {
  /** Loads the resource of a key, once for each batch. Default: none, where there is `initial`. */
  readonly load: (key: K) => Effect.Effect<S, E, R>
  readonly initial?: undefined
}

/**
 * Where a batch gets its resource from: it is made anew.
 *
 * @since 0.1.0
 * @category models
 */
export interface Initial<in K, out S> {
  readonly load?: undefined
  /** Makes the resource of a key, once for each batch. Default: none, where there is `load`. */
  readonly initial: (key: K) => S
}

/**
 * The options that do not say where the resource comes from, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommonOptions<K extends Key, S, E2, R2> {
  /** The name in metrics, spans and errors. */
  readonly name: string
  /**
   * Saves what the operations of a batch have made of the resource, where at least one of them succeeded. Default:
   * nothing is saved.
   */
  readonly save?: ((key: K, resource: S) => Effect.Effect<void, E2, R2>) | undefined
  /**
   * How long a batch takes operations, from its start. Zero: it takes the operations that wait when the resource is
   * loaded. It is not called `linger`, because operations run at once, and only the save waits. Default: 100
   * milliseconds.
   */
  readonly minDuration?: Duration.DurationInput | undefined
  /**
   * How long a batch may take, from load to save, before it is aborted. It must be longer than `minDuration`. Zero or
   * infinite: as long as it likes. It is not called `timeout`, because it bounds the batch as a whole, the time in which
   * it takes operations included. It is unknown whether an aborted save was written, so allow more time than your store
   * may ever take to answer, for example to wait for a lock. Default: twice `minDuration`, and no limit where that is
   * zero.
   */
  readonly maxDuration?: Duration.DurationInput | undefined
  /**
   * How many operations a batch takes at most. The last of them closes it at once, even before `minDuration` is over. Use
   * it where the save grows with the operations: SQLite takes at most 32,766 bound values in a statement. Default: no
   * limit.
   */
  readonly batchSize?: number | undefined
  /** How many shards there are. Each has a fiber of its own. Default: 16. */
  readonly shards?: number | undefined
  /**
   * The shard of a key: a number. It is not called `shardBy`, which names the key of an item; here each operation has
   * one. Default: `Sharding.shardOf`.
   */
  readonly shardOf?: ShardOf | undefined
}

interface AnyOptions extends CommonOptions<any, any, any, any> {
  readonly load?: ((key: any) => Effect.Effect<any, any, any>) | undefined
  readonly initial?: ((key: any) => any) | undefined
}

const loads = "a function that loads a resource, or absent where there is \"initial\""
const makes = "a function that makes a resource, or absent where there is \"load\""

const unlimited: typeof Table.positiveInteger = {
  ...Table.positiveInteger,
  check: (queue, field, value) =>
    value === Infinity ? Effect.succeed(value) : Table.positiveInteger.check(queue, field, value)
}

export const table = {
  name: Table.name,
  load: Table.optional(Table.callback(loads), "none, where there is `initial`"),
  initial: Table.optional(Table.callback(makes), "none, where there is `load`"),
  save: Table.optionalCallback("nothing is saved"),
  minDuration: Table.withDefault(Table.where(Table.duration, Number.isFinite, "a finite duration"), 100),
  maxDuration: Table.optional(
    Table.limited(Table.duration, "longer than `minDuration`"),
    "twice `minDuration`, and no limit where that is zero"
  ),
  batchSize: Table.withDefault(unlimited, Infinity, "no limit"),
  shards: Table.withDefault(fibers, 16),
  shardOf: shardOfEntry
} satisfies Table.Of<AnyOptions>

/**
 * The options that can come from a configuration.
 *
 * @since 0.1.0
 * @category models
 */
export interface Configurable extends Table.Configurable<typeof table, AnyOptions> {}

export interface Checked {
  readonly router: Router
  readonly shards: number
  readonly minMillis: number
  readonly maxMillis: number
  readonly batchSize: number
}

export const checkOptions = (options: AnyOptions): Effect.Effect<Checked, InvalidOption> =>
  Effect.gen(function*() {
    const checked = yield* Table.check(table, "KeyedBatch", options)
    const { batchSize, initial, load, minDurationMillis: minMillis, name, shards } = checked
    yield* Check.check(load !== undefined || initial !== undefined, name, "load", load, loads)
    const { maxDurationMillis = 2 * minMillis } = checked
    const maxMillis = maxDurationMillis === 0 ? Infinity : maxDurationMillis
    yield* Check.check(
      maxMillis > minMillis,
      name,
      "maxDuration",
      options.maxDuration,
      `longer than "minDuration", which is ${minMillis} ms`
    )
    return { router: new Router(name, shards, checked.shardOf), shards, minMillis, maxMillis, batchSize }
  })

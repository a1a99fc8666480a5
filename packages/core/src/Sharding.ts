/**
 * The sharding that all systems share: a stable, well-spread map from a key to a shard number.
 *
 * The same key goes to the same shard in every process, on every machine and in every later version. Golden vectors in
 * the tests guarantee this.
 *
 * @since 0.1.0
 */

/**
 * A key: a string, or a number, which counts as its decimal string. So `1` and `"1"` are the same key, and so are `0`
 * and `-0`. Text is compared by its code units. This holds wherever keys are used: `ShardPool`, `KeyedBatch`, `shardBy`
 * of a `WriteBehind`, `coalesceByKey`, and `Buffer.merging`.
 *
 * A key must be a finite number, or well-formed text of at most 512 bytes without NUL; the empty string is valid. An
 * item with any other key (NaN, a bigint, a boolean, an object, undefined) is refused with `InvalidKey`, or by the
 * `buffer` of a `BatchQueue` with `MalformedItem`. The ids by which a `BatchQueue` counts items once are not keys: they
 * are text.
 *
 * @since 0.1.0
 * @category models
 */
export type Key = string | number

/**
 * The identity of a key, as text. Two keys are the same if their identities are equal.
 *
 * @example
 * ```ts
 * import { Sharding } from "@sluice/core"
 *
 * Sharding.identityOf(1) === Sharding.identityOf("1") // true
 * ```
 *
 * @since 0.1.0
 * @category models
 */
export const identityOf = (key: Key): string => typeof key === "string" ? key : String(key)

/**
 * The 32-bit hash behind `shardOf`: FNV-1a over the UTF-16 code units, low byte first, followed by the finalizer of
 * MurmurHash3. Without the finalizer, the low bits of short keys are badly spread.
 *
 * Sources: the [FNV hash](http://www.isthe.com/chongo/tech/comp/fnv/) and
 * [MurmurHash3](https://github.com/aappleby/smhasher/wiki/MurmurHash3).
 *
 * @since 0.1.0
 * @category hashing
 */
export const hash = (key: Key): number => {
  const text = identityOf(key)
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    h = Math.imul(h ^ (unit & 0xff), 0x01000193)
    h = Math.imul(h ^ (unit >>> 8), 0x01000193)
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/**
 * The shard of a key, from 0 to `shards - 1`. `shards` must be an integer of at least 1.
 *
 * @example
 * ```ts
 * import { Sharding } from "@sluice/core"
 *
 * const shard = Sharding.shardOf("customer-7", 16) // always the same number
 * ```
 *
 * @since 0.1.0
 * @category sharding
 */
export const shardOf = (key: Key, shards: number): number => shards === 1 ? 0 : hash(key) % shards

/**
 * A function from the identity of a key (see `identityOf`) to its shard, from 0 to `shards - 1`: `shardOf`, or your
 * own. It must always return the same shard for the same key. `shardBy` of a `WriteBehind` is the step before: it names
 * the key of an item.
 *
 * @since 0.1.0
 * @category models
 */
export type ShardOf = (key: string, shards: number) => number

/**
 * One notion of shard for the whole house: a stable, well-spread map from a key to a shard number.
 *
 * The same key goes to the same shard in every process, on every machine and in every later version: the golden
 * vectors in the tests hold this still.
 *
 * @since 0.1.0
 */

/**
 * A key: a string, or a number, which counts as its decimal string.
 *
 * @since 0.1.0
 * @category models
 */
export type Key = string | number

/**
 * The 32-bit hash behind `shardOf`: FNV-1a over the UTF-16 code units, low byte first, then the finalizer of
 * MurmurHash3, without which the low bits of short keys are badly spread.
 *
 * Sources: the [FNV hash](http://www.isthe.com/chongo/tech/comp/fnv/) and
 * [MurmurHash3](https://github.com/aappleby/smhasher/wiki/MurmurHash3).
 *
 * @since 0.1.0
 * @category hashing
 */
export const hash = (key: Key): number => {
  const text = typeof key === "string" ? key : String(key)
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
 * const shard = Sharding.shardOf("customer-7", 16) // the same number for ever
 * ```
 *
 * @since 0.1.0
 * @category sharding
 */
export const shardOf = (key: Key, shards: number): number => shards === 1 ? 0 : hash(key) % shards

/**
 * A function from a key to its shard, from 0 to `shards - 1`: `shardOf`, or one of your own. The same key must always
 * have the same shard, and a number and its decimal string are one key.
 *
 * @since 0.1.0
 * @category models
 */
export type ShardOf = (key: Key, shards: number) => number

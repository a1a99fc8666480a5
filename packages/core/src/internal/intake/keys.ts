/**
 * What a key may be, and which shard it has, for the queues that go by keys.
 */
import * as Effect from "effect/Effect"
import * as Check from "../../unstable/OptionCheck.ts"
import { InvalidKey, type InvalidOption } from "../../QueueError.ts"
import * as Sharding from "../../Sharding.ts"
import { malformed, utf8Bytes } from "../codec/inspection.ts"

const mostBytes = 512

/** @internal */
export const isKey = (key: unknown): key is Sharding.Key =>
  typeof key === "string"
    ? key.length <= mostBytes && !key.includes("\0") && isWithinBytes(utf8Bytes(key))
    : Number.isFinite(key)

const isWithinBytes = (bytes: number): boolean => bytes !== malformed && bytes <= mostBytes

/**
 * What a key must be, in words.
 * @internal
 */
export const keyLimit = "well-formed text of at most 512 bytes, without NUL, or a finite number"

/**
 * What a key is known by. Throws an `InvalidKey`.
 * @internal
 */
export const identityIn = (queue: string, key: unknown): string => {
  if (!isKey(key)) throw InvalidKey.of({ queue, key, limit: keyLimit })
  return Sharding.identityOf(key)
}

/** @internal */
export class Router {
  private readonly queue: string
  private readonly shards: number
  private readonly shardOf: Sharding.ShardOf

  constructor(queue: string, shards: number, shardOf: Sharding.ShardOf) {
    this.queue = queue
    this.shards = shards
    this.shardOf = shardOf
  }

  /** The shard of a key. */
  route(key: Sharding.Key): number | InvalidKey {
    const { queue } = this
    if (!isKey(key)) return InvalidKey.of({ queue, key, limit: keyLimit })
    const shard = this.shardOf(Sharding.identityOf(key), this.shards)
    if (Number.isInteger(shard) && shard >= 0 && shard < this.shards) return shard
    return InvalidKey.of({ queue, key, limit: `one that "shardOf" maps to an integer from 0 to ${this.shards - 1}` })
  }
}

/** Each shard and each worker is a fiber. */
const mostFibers = 65_536

/**
 * Checks how many of something there are to be, each with a fiber of its own.
 * @internal
 */
export const checkCount = (queue: string, field: string, count: number): Check.Check =>
  Check.check(
    Number.isSafeInteger(count) && count >= 1 && count <= mostFibers,
    queue,
    field,
    count,
    `an integer from 1 to ${mostFibers}`
  )

/**
 * Checks the options that every queue with keys has.
 * @internal
 */
export const makeRouter = (
  queue: string,
  options: { readonly shards?: number | undefined; readonly shardOf?: Sharding.ShardOf | undefined }
): Effect.Effect<{ readonly router: Router; readonly shards: number }, InvalidOption> => {
  const { shardOf = Sharding.shardOf, shards = 16 } = options
  return Effect.as(
    Effect.zipRight(
      checkCount(queue, "shards", shards),
      Check.check(typeof shardOf === "function", queue, "shardOf", shardOf, "a function from a key to its shard")
    ),
    { router: new Router(queue, shards, shardOf), shards }
  )
}

/**
 * What a valid key is, and which shard it has, for the systems that use keys.
 */
import type { InvalidKey } from "../../QueueError.ts"
import * as Table from "../../unstable/OptionTable.ts"
import { invalidKey } from "./refusals.ts"
import * as Sharding from "../../Sharding.ts"
import { malformed, utf8Bytes } from "../codec/inspection.ts"

const mostBytes = 512

export const isKey = (key: unknown): key is Sharding.Key =>
  typeof key === "string"
    ? key.length <= mostBytes && (isPlain(key) || !key.includes("\0") && isWithinBytes(utf8Bytes(key)))
    : Number.isFinite(key)

/** ASCII without NUL, as most keys are: as many bytes as letters, and found out in one go. */
const isPlain = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 0 || unit > 0x7f) return false
  }
  return true
}

const isWithinBytes = (bytes: number): boolean => bytes !== malformed && bytes <= mostBytes

/** What a key must be, in words. */
export const keyLimit = "well-formed text of at most 512 bytes, without NUL, or a finite number"

/** What a key is known by. Throws an `InvalidKey`. */
export const identityIn = (queue: string, key: unknown): string => {
  if (!isKey(key)) throw invalidKey({ queue, key, limit: keyLimit })
  return Sharding.identityOf(key)
}

/** How items are told apart. */
export interface Identity<in A> {
  /** What an item is known by in a Map. */
  readonly of: (item: A) => unknown
  /** Throws an `InvalidKey` where that cannot be. It need not be asked about what the Map knows already. */
  readonly check: (known: unknown) => void
}

/** Items with the same key are the same. */
export const byKey = <A>(queue: string, key: (item: A) => unknown): Identity<A> => ({
  of: (item) => inMap(key(item)),
  check: (known) => {
    if (!isKey(known)) throw invalidKey({ queue, key: known, limit: keyLimit })
  }
})

/** What finds a key in a Map: texts that are written like a number are that number, which is quick to find. */
const inMap = (key: unknown): unknown => typeof key === "string" && mayBeNumber(key.charCodeAt(0)) ? asNumber(key) : key

/** A digit or a minus. */
const mayBeNumber = (unit: number): boolean => unit <= 0x39 && unit >= 0x30 || unit === 0x2d

const asNumber = (text: string): string | number => {
  const number = Number(text)
  return Number.isFinite(number) && String(number) === text ? number : text
}

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
    if (!isKey(key)) return invalidKey({ queue, key, limit: keyLimit })
    const shard = this.shardOf(Sharding.identityOf(key), this.shards)
    if (Number.isInteger(shard) && shard >= 0 && shard < this.shards) return shard
    return invalidKey({ queue, key, limit: `one that "shardOf" maps to an integer from 0 to ${this.shards - 1}` })
  }
}

/** Each shard and each worker is a fiber. */
const mostFibers = 65_536

/** An option that says how many of something there are, each with a fiber of its own. */
export const fibers: Table.Entry<number, number, number, ""> = Table.integerBetween(1, mostFibers)

/** An option that says which shard a key has. */
export const shardOfEntry: Table.Entry<Sharding.ShardOf | undefined, Sharding.ShardOf, never, ""> = Table.withDefault(
  Table.callback<Sharding.ShardOf>("a function from a key to its shard"),
  Sharding.shardOf,
  "`Sharding.shardOf`"
)

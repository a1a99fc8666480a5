import { Sharding } from "@sluice/core"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"

describe("golden vectors", () => {
  // Computed by another implementation, from the published descriptions. They must never change: a key that moved to
  // another shard would overtake its own earlier items.
  it.each<readonly [Sharding.Key, number, of16: number, of7: number]>([
    ["", 0xab3e7c0b, 11, 4],
    ["a", 0x91e9da27, 7, 3],
    ["b", 0x080eef51, 1, 2],
    ["ab", 0xf5af2b5a, 10, 3],
    ["ba", 0xaff4e26d, 13, 3],
    [" ", 0x181159f7, 7, 3],
    ["customer-7", 0x42d5fd92, 2, 5],
    ["__proto__", 0x916b0481, 1, 0],
    [0, 0x499b8aef, 15, 5],
    [42, 0xec5cc434, 4, 3],
    [-1, 0xb1d6eedc, 12, 6],
    [1.5, 0x7789487a, 10, 5],
    [Number.MAX_SAFE_INTEGER, 0x296571bb, 11, 0],
    ["\u00fc", 0xca3d4920, 0, 4],
    ["u\u0308", 0x907be545, 5, 3],
    ["\u65e5\u672c\u8a9e", 0x961643fe, 14, 2],
    ["\u{1f600}", 0xadd01006, 6, 1],
    ["\ud83d", 0xea06c86a, 10, 4],
    ["a\u0000b", 0x66941f75, 5, 2],
    ["x".repeat(512), 0x4baaeaa1, 1, 0]
  ])("%j", (key, hash, of16, of7) => {
    expect(Sharding.hash(key)).toBe(hash)
    expect(Sharding.shardOf(key, 16)).toBe(of16)
    expect(Sharding.shardOf(key, 7)).toBe(of7)
    expect(Sharding.shardOf(key, 1)).toBe(0)
  })
})

describe("a key", () => {
  it("that is a number counts as its decimal string", () => {
    FastCheck.assert(FastCheck.property(FastCheck.oneof(FastCheck.integer(), FastCheck.double()), (key) => {
      expect(Sharding.hash(key)).toBe(Sharding.hash(String(key)))
    }))
    expect(Sharding.hash(-0)).toBe(Sharding.hash("0"))
  })

  it("has a shard from 0 to shards - 1, always the same", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.fullUnicodeString(), FastCheck.integer({ min: 1, max: 2 ** 31 }), (key, shards) => {
        const shard = Sharding.shardOf(key, shards)
        expect(Number.isInteger(shard) && shard >= 0 && shard < shards).toBe(true)
        expect(Sharding.shardOf(key, shards)).toBe(shard)
      })
    )
  })
})

describe("the spread over shards", () => {
  const kinds: ReadonlyArray<readonly [string, (index: number) => Sharding.Key]> = [
    ["numbers", (index) => index],
    ["names with numbers", (index) => `customer-${index}`],
    ["even numbers", (index) => 2 * index],
    ["multiples of 16", (index) => 16 * index],
    ["numbers in hexadecimal", (index) => index.toString(16).padStart(8, "0")],
    ["names that differ at their start", (index) => `${index}-customer-of-the-shop`],
    ["single characters", (index) => String.fromCharCode(index)]
  ]

  it.each(kinds)("of %s is even", (_, keyOf) => {
    const keys = 20_000
    for (const shards of [2, 3, 7, 16, 64]) {
      const counts = new Array<number>(shards).fill(0)
      for (let index = 0; index < keys; index++) counts[Sharding.shardOf(keyOf(index), shards)] += 1
      const expected = keys / shards
      const chiSquared = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
      // Its mean is shards - 1 and its variance twice that; five standard deviations leave room for bad luck, and none
      // for a shard that is left out.
      expect(chiSquared).toBeLessThan(shards - 1 + 5 * Math.sqrt(2 * (shards - 1)))
    }
  })
})

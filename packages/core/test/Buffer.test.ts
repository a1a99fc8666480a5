import { Buffer, Sharding } from "@sluice/core"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"

interface Entry {
  readonly key: Sharding.Key
  readonly value: number
}

const entries = FastCheck.array(
  FastCheck.record({
    key: FastCheck.constantFrom<Array<Sharding.Key>>("a", "b", "__proto__", "constructor", "", 0, -0, "0", "-0"),
    value: FastCheck.nat(99)
  }, { noNullPrototype: true })
)

const fill = <A, S>(buffer: Buffer.Buffer<A, S>, items: ReadonlyArray<A>): S =>
  items.reduce(buffer.push, buffer.empty())

const summing = Buffer.merging<Entry>(
  (item) => item.key,
  (held, next) => ({ key: held.key, value: held.value + next.value })
)

describe("an appending buffer", () => {
  it("keeps every item in order", () => {
    FastCheck.assert(FastCheck.property(entries, (items) => {
      const buffer = Buffer.appending<Entry>()
      const state = fill(buffer, items)
      expect(buffer.items(state)).toEqual(items)
      expect(buffer.size(state)).toBe(items.length)
      expect(buffer.pushes(state)).toBe(items.length)
    }))
  })
})

describe("a merging buffer", () => {
  it("holds one item a key, in the order in which keys first came", () => {
    FastCheck.assert(FastCheck.property(entries, (items) => {
      const state = fill(summing, items)
      const keys = Array.from(new Set(items.map(({ key }) => Sharding.identityOf(key))))
      expect(summing.items(state).map(({ key }) => Sharding.identityOf(key))).toEqual(keys)
      expect(summing.items(state)).toHaveLength(keys.length)
      expect(summing.size(state)).toBe(keys.length)
      expect(summing.pushes(state)).toBe(items.length)
    }))
  })

  it("merges all items of a key, and none of another", () => {
    FastCheck.assert(FastCheck.property(entries, (items) => {
      for (const { key, value } of summing.items(fill(summing, items))) {
        const same = items.filter((item) => Sharding.identityOf(item.key) === Sharding.identityOf(key))
        expect(value).toBe(same.reduce((sum, item) => sum + item.value, 0))
      }
    }))
  })

  it("merges the held item with the next one, in this order", () => {
    const joining = Buffer.merging<string>((item) => item[0], (held, next) => `${held}+${next}`)
    expect(joining.items(fill(joining, ["a1", "b1", "a2", "a3"]))).toEqual(["a1+a2+a3", "b1"])
  })

  it("goes by the key of what is pushed, whatever merging has made of it", () => {
    const renaming = Buffer.merging<Entry>((item) => item.key, (_, next) => ({ key: "other", value: next.value }))
    const items = [0, 1, 2].map((value) => ({ key: "a", value }))
    expect(renaming.items(fill(renaming, items))).toEqual([{ key: "other", value: 2 }])
  })

  it("leaves the state as it was where merge throws", () => {
    const throwing = Buffer.merging<string>((item) => item[0], () => {
      throw new Error("no merge")
    })
    const state = fill(throwing, ["a1", "b1"])
    expect(() => throwing.push(state, "a2")).toThrow("no merge")
    expect([throwing.items(state), throwing.size(state), throwing.pushes(state)]).toEqual([["a1", "b1"], 2, 2])
  })
})

describe.each<readonly [string, Buffer.Buffer<Entry, any>]>([
  ["an appending buffer", Buffer.appending<Entry>()],
  ["a merging buffer", summing]
])("%s", (_, buffer) => {
  it("makes a new empty state each time", () => {
    buffer.push(buffer.empty(), { key: "a", value: 1 })
    expect(buffer.items(buffer.empty())).toEqual([])
    expect(buffer.size(buffer.empty())).toBe(0)
    expect(buffer.pushes(buffer.empty())).toBe(0)
  })
})

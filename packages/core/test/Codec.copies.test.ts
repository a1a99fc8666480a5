/**
 * An encoded item is nobody else's, whatever its schema hands back.
 */
import { Codec, Result } from "@sluice/core"
import { Schema } from "effect"
import { describe, expect, it } from "vitest"
import { failureOf } from "./support/failureOf.ts"

/** It stores what `carries` vouches for by itself; the rest of it is of no interest here. */
const carrying = (carries: (value: unknown) => boolean): Codec.Format => ({ ...Codec.json, carries })

const encoded = (codec: Codec.Codec<any>, item: unknown) => Result.getOrThrow(codec.encodeItem(item)).value

interface Tree {
  readonly any: unknown
  readonly next: Tree | null
}
const Tree: Schema.Schema<Tree> = Schema.Struct({
  any: Schema.Unknown,
  next: Schema.NullOr(Schema.suspend(() => Tree))
})

const inner = () => ({ list: [1, { deep: "before" }], gone: undefined })

const aliasing: ReadonlyArray<readonly [string, Schema.Schema<any, any>, (inner: object) => unknown]> = [
  ["Unknown", Schema.Unknown, (inner) => inner],
  ["Any", Schema.Any, (inner) => inner],
  ["Object", Schema.Object, (inner) => inner],
  ["Void", Schema.Void as Schema.Schema<any>, (inner) => inner],
  ["a struct of nothing", Schema.Struct({}), (inner) => inner],
  ["a declaration", Schema.declare((value): value is object => typeof value === "object"), (inner) => inner],
  ["a field", Schema.Struct({ a: Schema.String, b: Schema.Unknown }), (b) => ({ a: "", b })],
  ["an optional field", Schema.Struct({ b: Schema.optional(Schema.Unknown) }), (b) => ({ b })],
  ["a value of a record", Schema.Record({ key: Schema.String, value: Schema.Unknown }), (a) => ({ a })],
  ["an element of an array", Schema.Array(Schema.Unknown), (a) => [a]],
  ["an element of a tuple", Schema.Tuple(Schema.Number, Schema.Unknown), (a) => [1, a]],
  ["a member of a union", Schema.Union(Schema.String, Schema.Struct({ a: Schema.Unknown })), (a) => ({ a })],
  ["a refinement", Schema.Unknown.pipe(Schema.filter(() => true)), (inner) => inner],
  ["a suspended one", Tree, (any) => ({ any: 1, next: { any, next: null } })],
  [
    "what a transformation is encoded to",
    Schema.transform(Schema.Unknown, Schema.Unknown, { strict: true, decode: (a) => a, encode: (a) => a }),
    (inner) => inner
  ],
  [
    "fields that are not known",
    Schema.Struct({ a: Schema.String }).annotations({ parseOptions: { onExcessProperty: "preserve" } }),
    (b) => ({ a: "", b })
  ]
]

describe("what is encoded by", () => {
  it.each(aliasing)("%s is copied", (_, schema, wrap) => {
    const codec = Codec.make(schema)
    const object = inner()
    const value = encoded(codec, wrap(object))
    expect(value).toEqual(wrap(inner()))
    Object.assign(object.list[1], { deep: "after" })
    object.list.push(2)
    expect(value).toEqual(wrap(inner()))
  })

  it("a schema that makes everything anew is not copied once more", () => {
    // A copy would have read it once more.
    let reads = 0
    const counting = Schema.transform(Schema.Struct({ a: Schema.Number }), Schema.Number, {
      strict: true,
      decode: ({ a }) => a,
      encode: (a) => ({ a })
    })
    const item = Object.defineProperty({}, "b", { enumerable: true, get: () => ++reads })
    expect(encoded(Codec.make(Schema.Struct({ b: counting })), item)).toEqual({ b: { a: 1 } })
    expect(reads).toBe(1)
  })
})

describe("a copy", () => {
  const codec = Codec.make(Schema.Unknown)
  const faultOf = (item: unknown, limits?: Partial<Codec.Limits>) =>
    failureOf(Codec.make(Schema.Unknown, { limits }).encodeItem(item))

  it("is what is looked at: a getter runs once", () => {
    let reads = 0
    const item = Object.defineProperty({}, "a", { enumerable: true, get: () => reads++ === 0 ? "short" : NaN })
    expect(encoded(codec, item)).toEqual({ a: "short" })
    expect(reads).toBe(1)
  })

  it("has the limits of an item, and its faults", () => {
    const nested = (depth: number) => JSON.parse("[".repeat(depth) + "]".repeat(depth))
    expect(encoded(codec, nested(64))).toEqual(nested(64))
    expect(faultOf(nested(65))).toMatchObject({ reason: "too-deep", path: "[0]".repeat(64) })
    expect(faultOf({ a: [{}] }, { maxDepth: 2 })).toMatchObject({ reason: "too-deep", path: "a[0]" })
    expect(faultOf(nested(100_000), { maxDepth: Infinity })).toMatchObject({ reason: "too-deep" })
    expect(faultOf("x".repeat(100), { maxItemBytes: 101 })).toMatchObject({ reason: "too-large" })
    expect(faultOf(new Array(2 ** 32 - 1))).toMatchObject({ reason: "too-large" })
    expect(faultOf([NaN])).toMatchObject({ reason: "unsupported", path: "[0]" })
    expect(faultOf(JSON.parse("{\"a\":{\"__proto__\":1}}"))).toMatchObject({ reason: "unsupported", path: "a" })
    const circle: Array<unknown> = []
    circle.push(circle, circle)
    expect(faultOf(circle).reason).toBe("too-large")
    const shared = new Array(1000).fill(1)
    expect(faultOf(new Array(1_000_000).fill(shared)).reason).toBe("too-large")
    const absent = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`key${i}`, undefined]))
    expect(Result.isSuccess(Codec.make(Schema.Unknown, { limits: { maxItemBytes: 100 } }).encodeItem(absent))).toBe(
      true
    )
  })

  it("is that of a date, of bytes and of a map, where the format carries them", () => {
    const codec = Codec.make(Schema.Unknown, { format: carrying(() => true) })
    const memory = new Uint8Array(1000).fill(7)
    const given = { date: new Date(5), bytes: memory.subarray(10, 13), map: new Map([["a", [1]]]) }
    const value = encoded(codec, given) as typeof given
    given.date.setTime(6)
    memory.fill(0)
    given.map.get("a")!.push(2)
    expect(value.date).toEqual(new Date(5))
    expect(value.bytes).toEqual(Uint8Array.of(7, 7, 7))
    expect(value.bytes.buffer.byteLength).toBe(3)
    expect(value.map).toEqual(new Map([["a", [1]]]))
  })

  it("is what the format makes of an object that cannot be cloned", () => {
    class Money {
      cents: number
      constructor(cents: number) {
        this.cents = cents
      }
    }
    const format: Codec.Format = {
      name: "money",
      carries: (value) => value instanceof Money,
      encode: (values) =>
        new TextEncoder().encode(
          JSON.stringify(values, (_, value) => value instanceof Money ? { $cents: value.cents } : value)
        ),
      decode: (bytes) =>
        JSON.parse(new TextDecoder().decode(bytes), (_, value) => value?.$cents ? new Money(value.$cents) : value)
    }
    const codec = Codec.make(Schema.Array(Schema.instanceOf(Money)), { format })
    const money = new Money(12)
    const value = encoded(codec, [money]) as Array<Money>
    money.cents = 13
    expect(value).toEqual([new Money(12)])
    expect(value[0]).toBeInstanceOf(Money)
  })
})

describe("an item with something in it that only the format vouches for", () => {
  const format: Codec.Format = {
    name: "odd",
    carries: (value) => typeof value === "bigint" || value instanceof Uint8Array,
    encode: (values) =>
      new TextEncoder().encode(
        JSON.stringify(values, (_, value) => {
          if (value === 13n) throw new Error("no thirteen")
          return typeof value === "bigint" ? Number(value) : value instanceof Uint8Array ? Array.from(value) : value
        })
      ),
    decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes))
  }
  const codec = Codec.make(Schema.Unknown, { format, limits: { maxItemBytes: 1000 } })

  it("is refused where the format throws at it", () => {
    expect(Result.isSuccess(codec.encodeItem([12n]))).toBe(true)
    expect(codec.encodeItem([12n, 13n])).toEqual(
      Result.fail({ reason: "unsupported", path: "", detail: "no thirteen" })
    )
  })

  it("is as large as the format makes it", () => {
    expect(Result.getOrThrow(codec.encodeItem(new Uint8Array(100))).bytes).toBe("[]".length + 201)
    expect(failureOf(codec.encodeItem(new Uint8Array(1000))).reason).toBe("too-large")
  })
})

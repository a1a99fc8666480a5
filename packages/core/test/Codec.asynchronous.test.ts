/**
 * Schemas that are asynchronous, in one direction or in both, for all items or for some.
 */
import { Codec, Result } from "@sluice/core"
import { Effect, ParseResult, Schema } from "effect"
import { describe, expect, it } from "vitest"

const later = <A>(value: A): Effect.Effect<A> => Effect.promise(() => Promise.resolve(value))

/** Text that is decoded asynchronously, and counts how often it is. */
const slow = (counts: { decoded: number } = { decoded: 0 }, decode: (text: string) => Effect.Effect<string> = later) =>
  Schema.transformOrFail(Schema.String, Schema.String, {
    decode: (text) => {
      counts.decoded += 1
      return decode(text)
    },
    encode: (text) => ParseResult.succeed(text)
  })

const quick = (counts: { decoded: number }) =>
  Schema.transform(Schema.String, Schema.String, {
    decode: (text) => {
      counts.decoded += 1
      return text
    },
    encode: (text) => text
  })

/** Whether each of the items can be encoded. */
const taken = <A, I>(schema: Schema.Schema<A, I>, ...items: ReadonlyArray<A>) => {
  const codec = Codec.make(schema)
  return items.map((item) => Result.isSuccess(codec.encodeItem(item)))
}

describe("an item whose decoding is asynchronous", () => {
  it("is refused, and told why", () => {
    expect(Codec.make(slow()).encodeItem("a")).toEqual(Result.fail({
      reason: "unsupported",
      path: "",
      detail: "its schema decodes it asynchronously, but what is stored is decoded synchronously"
    }))
  })

  it("is refused each time, whatever was offered before", () => {
    expect(taken(Schema.Struct({ a: Schema.Array(slow()) }), { a: [] }, { a: ["x"] }, { a: [] }, { a: ["x"] }))
      .toEqual([true, false, true, false])
  })

  interface Tree {
    readonly at: Date
    readonly text?: string | undefined
    readonly children: ReadonlyArray<Tree>
  }
  interface Stored {
    readonly at: string
    readonly text?: string | undefined
    readonly children: ReadonlyArray<Stored>
  }
  const Tree: Schema.Schema<Tree, Stored> = Schema.Struct({
    at: Schema.Date,
    text: Schema.optional(slow()),
    children: Schema.Array(Schema.suspend((): Schema.Schema<Tree, Stored> => Tree))
  })
  const leaf: Tree = { at: new Date(0), children: [] }
  const declared = Schema.declare([], {
    decode: () => (text) => later(text as string) as Effect.Effect<string, ParseResult.ParseIssue>,
    encode: () => (text) => ParseResult.succeed(text as string)
  })
  const a = { _tag: "A" as const, text: "x" }
  const b = { _tag: "B" as const, text: "x" }
  it.each<readonly [string, Schema.Schema<any, any>, valid: unknown, asynchronous: unknown]>([
    [
      "of one of a union",
      Schema.Union(
        Schema.Struct({ _tag: Schema.Literal("A"), text: Schema.String }),
        Schema.Struct({ _tag: Schema.Literal("B"), text: slow() })
      ),
      a,
      b
    ],
    ["of a field that may be missing", Schema.Struct({ text: Schema.optional(slow()) }), {}, { text: "x" }],
    ["of a tuple", Schema.Tuple(Schema.String, Schema.optionalElement(slow())), ["x"], ["x", "y"]],
    ["of the rest of a tuple", Schema.Tuple([Schema.String], slow()), ["x"], ["x", "y"]],
    ["of a record", Schema.Record({ key: Schema.String, value: slow() }), {}, { x: "x" }],
    ["of a refinement", Schema.Array(slow().pipe(Schema.minLength(1))), [], ["x"]],
    ["of a transformation", Schema.Array(Schema.compose(slow(), Schema.NonEmptyString)), [], ["x"]],
    ["of a declaration", Schema.Array(declared), [], ["x"]],
    ["of a filter that is an Effect", Schema.Array(Schema.filterEffect(Schema.String, () => later(true))), [], ["x"]],
    ["of what a schema is defined by itself", Tree, { ...leaf, children: [leaf] }, {
      ...leaf,
      children: [{ ...leaf, children: [{ ...leaf, text: "x" }] }]
    }]
  ])("is refused where that is the one %s, and others are taken", (_, schema, valid, asynchronous) => {
    expect(taken(schema, valid, valid, asynchronous, valid, asynchronous)).toEqual([true, true, false, true, false])
  })

  it("is refused where it is asynchronous for some texts only, as long as none was decoded without an Effect", () => {
    const lazily = slow(undefined, (text) => text === "slow" ? later(text) : Effect.suspend(() => Effect.succeed(text)))
    expect(taken(lazily, "quick", "slow", "quick")).toEqual([true, false, true])
  })

  it("is refused where its encoding is asynchronous as well", () => {
    const both = Schema.transformOrFail(Schema.String, Schema.String, { decode: later, encode: later })
    expect(taken(both, "a")).toEqual([false])
  })
})

describe("what is decoded synchronously", () => {
  it("is decoded once for all, to find that out", () => {
    const counts = { decoded: 0 }
    const codec = Codec.make(Schema.Struct({ a: quick(counts), b: Schema.optional(quick(counts)) }))
    for (let i = 0; i < 10; i++) expect(Result.isSuccess(codec.encodeItem({ a: "x" }))).toBe(true)
    expect(counts.decoded).toBe(1)
    for (let i = 0; i < 10; i++) expect(Result.isSuccess(codec.encodeItem({ a: "x", b: "y" }))).toBe(true)
    expect(counts.decoded).toBe(3)
  })

  it("is taken where it cannot be decoded for another reason: that is not what is found out", () => {
    const oneWay = Schema.transformOrFail(Schema.String, Schema.String, {
      decode: (text, _, ast) => ParseResult.fail(new ParseResult.Type(ast, text)),
      encode: (text) => ParseResult.succeed(text)
    })
    expect(taken(oneWay, "a")).toEqual([true])
  })

  it("comes back as it was, from every kind of schema", () => {
    class Order extends Schema.Class<Order>("Order")({ id: Schema.String, at: Schema.Date }) {}
    const schema = Schema.Struct({
      order: Order,
      at: Schema.Date,
      map: Schema.ReadonlyMap({ key: Schema.String, value: Schema.NumberFromString }),
      option: Schema.Option(Schema.Date),
      some: Schema.optionalWith(Schema.Number, { default: () => 7 }),
      any: Schema.Union(Schema.Date, Schema.String),
      pair: Schema.Tuple(Schema.BigInt, Schema.Date)
    })
    const { decodeUnknownSync } = Schema
    const stored = {
      order: { id: "a", at: "2026-01-01T00:00:00.000Z" },
      at: "2026-01-01T00:00:00.000Z",
      map: [["x", "1"]],
      option: { _tag: "Some", value: "2026-01-01T00:00:00.000Z" },
      any: "text",
      pair: ["12", "2026-01-01T00:00:00.000Z"]
    }
    const item = decodeUnknownSync(schema)(stored)
    const codec = Codec.make(schema)
    const { value } = Result.getOrThrow(codec.encodeItem(item))
    expect(value).toEqual({ ...stored, some: 7 })
    const back = Result.getOrThrow(codec.decodeItem(value))
    expect(back).toEqual(item)
    expect(back.order).toBeInstanceOf(Order)
  })
})

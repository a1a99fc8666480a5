import { Codec, Result } from "@sluice/core"
import { FastCheck } from "effect"
import { describe, expect, it } from "vitest"
import { failureOf } from "./support/failureOf.ts"

const inspect = Codec.inspect()

const faultOf = (value: unknown, limits?: Partial<Codec.Limits>) => failureOf(Codec.inspect(limits)(value))

const bytesOf = (value: unknown) => Result.getOrThrow(inspect(value)).bytes

/** So many arrays, or objects, around a value. */
const nested = (depth: number, kind: "array" | "object", value: unknown = 1): unknown => {
  for (let i = 0; i < depth; i++) value = kind === "array" ? [value] : { a: value }
  return value
}

describe("inspect", () => {
  it("answers a plain value as it is", () => {
    const value = { a: [1, "two", null, true, { b: [] }] }
    expect(Result.getOrThrow(inspect(value)).value).toBe(value)
  })

  it.each(["array", "object"] as const)("takes 64 levels of %ss by default, and not 65", (kind) => {
    expect(Result.isSuccess(inspect(nested(64, kind)))).toBe(true)
    expect(faultOf(nested(65, kind))).toMatchObject({ reason: "too-deep" })
    expect(faultOf(nested(65, kind)).detail).toContain("64")
  })

  it("counts arrays and objects as levels, and what is in them is none", () => {
    expect(Result.isSuccess(Codec.inspect({ maxDepth: 2 })([{ a: 1 }]))).toBe(true)
    expect(faultOf([{ a: [] }], { maxDepth: 2 })).toMatchObject({ reason: "too-deep", path: "[0].a" })
    expect(Result.isSuccess(Codec.inspect({ maxDepth: 0 })("text"))).toBe(true)
    expect(faultOf([], { maxDepth: 0 })).toMatchObject({ reason: "too-deep", path: "" })
  })

  it.each(["array", "object"] as const)("does not throw at 100,000 levels of %ss, nor at a circle", (kind) => {
    const fault = faultOf(nested(100_000, kind))
    expect(fault.reason).toBe("too-deep")
    const circle: Array<unknown> = []
    circle.push(kind === "array" ? circle : { circle })
    expect(faultOf(circle).reason).toBe("too-deep")
  })

  it("looks at JSON that JSON.parse makes of deep text", () => {
    expect(faultOf(JSON.parse("[".repeat(5000) + "]".repeat(5000))).reason).toBe("too-deep")
  })

  it.each([
    ["\ud800", ""],
    ["\udc00", ""],
    ["\udc00\ud800", ""],
    [["fine", "a\ud83d"], "[1]"],
    [{ a: { b: [0, { c: "\ud83db" }] } }, "a.b[1].c"],
    [[[["\udfff"]]], "[0][0][0]"]
  ])("finds half of a surrogate pair in %j", (value, path) => {
    expect(faultOf(value)).toMatchObject({ reason: "text", path })
  })

  it("cuts a path that would be longer than is of use", () => {
    const { path } = faultOf({ a: { ["k".repeat(300)]: NaN } })
    expect(path).toBe(`a.${"k".repeat(198)}`)
  })

  it("finds it in a key, too, and says in which object", () => {
    expect(faultOf({ a: [{ ["\ud800"]: 1 }] })).toMatchObject({ reason: "text", path: "a[0]" })
    expect(faultOf({ ["\ud800"]: 1 }).detail).toContain("key")
  })

  it("takes whole pairs, at any place", () => {
    for (const text of ["\u{1f600}", "a\u{1f600}b", "\u{10ffff}\u{10000}"]) {
      expect(Result.isSuccess(inspect({ [text]: text }))).toBe(true)
    }
  })

  it("refuses a key __proto__ that is a key, and takes a prototype that is none", () => {
    expect(faultOf(JSON.parse("{\"a\": [{\"__proto__\": {\"b\": 1}}]}"))).toMatchObject({
      reason: "unsupported",
      path: "a[0]"
    })
    expect(faultOf(JSON.parse("{\"__proto__\": null}")).detail).toContain("__proto__")
    expect(Result.isSuccess(inspect(Object.assign(Object.create(null), { a: 1 })))).toBe(true)
    expect(Result.isSuccess(inspect(JSON.parse("{\"constructor\": 1, \"prototype\": 2}")))).toBe(true)
  })

  it.each([
    [NaN, "NaN"],
    [Infinity, "Infinity"],
    [1n, "bigint"],
    [undefined, "undefined"],
    [Symbol("s"), "symbol"],
    [() => 1, "function"],
    [new Date(0), "Date"],
    [new Map(), "Map"],
    [new Uint8Array(1), "Uint8Array"]
  ])("refuses %s, which JSON cannot carry, where it stands", (value, name) => {
    expect(faultOf(value)).toMatchObject({ reason: "unsupported", path: "" })
    expect(faultOf(value).detail).toContain(name)
    expect(faultOf([0, { a: [value] }])).toMatchObject({ reason: "unsupported", path: "[1].a[0]" })
  })

  it("leaves out a key without a value, as JSON does", () => {
    expect(bytesOf({ a: 1, b: undefined })).toBe(bytesOf({ a: 1 }))
  })

  it("measures text as UTF-8, and takes as many bytes as it may have, and not one more", () => {
    expect(["a", "é", "€", "\u{1f600}"].map((text) => bytesOf(text) - bytesOf(""))).toEqual([1, 2, 3, 4])
    expect(Result.isSuccess(Codec.inspect({ maxItemBytes: 100 })("x".repeat(98)))).toBe(true)
    expect(faultOf("x".repeat(99), { maxItemBytes: 100 })).toMatchObject({ reason: "too-large", path: "" })
    expect(faultOf("x".repeat(99), { maxItemBytes: 100 }).detail).toBe("it has 101 bytes, and may have 100")
    const megabyte = 1024 * 1024
    expect(Result.isSuccess(inspect("x".repeat(megabyte - 2)))).toBe(true)
    expect(faultOf("x".repeat(megabyte - 1)).reason).toBe("too-large")
    expect(faultOf(["x".repeat(megabyte / 2), "x".repeat(megabyte / 2)]).reason).toBe("too-large")
  })

  it("keeps one limit where only the other is given", () => {
    expect(faultOf(nested(65, "array"), { maxItemBytes: 10_000 }).reason).toBe("too-deep")
    expect(faultOf("x".repeat(1024 * 1024), { maxDepth: 1 }).reason).toBe("too-large")
  })

  it("looks at each value anew", () => {
    expect(Result.isFailure(inspect(NaN))).toBe(true)
    expect(Result.isSuccess(inspect(1))).toBe(true)
    expect(faultOf([NaN]).path).toBe("[0]")
    const fault = failureOf(inspect([[NaN]]))
    expect(Result.isFailure(inspect({ a: NaN }))).toBe(true)
    expect(fault.path).toBe("[0][0]")
  })

  it("takes what JSON.parse gives, and measures at least as much as JSON has, and not much more", () => {
    const value = FastCheck.oneof(
      FastCheck.jsonValue({ maxDepth: 6 }),
      FastCheck.array(FastCheck.oneof(FastCheck.double(), FastCheck.integer(), FastCheck.maxSafeInteger())),
      FastCheck.array(FastCheck.string({ unit: "binary", maxLength: 200 })),
      FastCheck.array(FastCheck.string({ unit: FastCheck.constantFrom("\"", "\\", "\n", "\u0001", "\u007f", "a") })),
      FastCheck.dictionary(FastCheck.string({ unit: "binary" }), FastCheck.constant(null))
    )
    FastCheck.assert(
      FastCheck.property(value, (value) => {
        const parsed = JSON.parse(JSON.stringify(value))
        const text = JSON.stringify(parsed)
        const result = inspect(parsed)
        if (text.includes("\"__proto__\"") || /\\ud[89a-f]/.test(text)) return
        const { bytes } = Result.getOrThrow(result)
        const length = new TextEncoder().encode(text).length
        expect(bytes).toBeGreaterThanOrEqual(length)
        const numbers = (text.match(/-?\d[\d.e+-]*/g) ?? []).length
        const containers = (text.match(/[[{]/g) ?? []).length
        expect(bytes).toBeLessThanOrEqual(length + 24 * numbers + containers + text.split("true").length)
      }),
      { seed: 6, numRuns: 2000 }
    )
  })

  it.each([
    [0, 8],
    [99_999_999, 8],
    [-9_999_999, 8],
    [-10_000_000, 24],
    [100_000_000, 24],
    [-2.2250738585072014e-308, 24],
    [0.1, 24]
  ])("counts %d as %i bytes", (number, bytes) => {
    expect(bytesOf(number)).toBe(bytes)
    expect(JSON.stringify(number).length).toBeLessThanOrEqual(bytes)
  })

  it("throws at nothing: neither with a limit of depth that a stack has not, nor at a value that throws", () => {
    expect(Result.isFailure(Codec.inspect({ maxDepth: Infinity })(nested(100_000, "array")))).toBe(true)
    const throwing = Object.defineProperty({}, "a", {
      enumerable: true,
      get: () => {
        throw new Error("a getter")
      }
    })
    expect(faultOf(throwing).detail).toBe("a getter")
  })
})

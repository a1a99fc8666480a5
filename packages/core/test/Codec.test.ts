import { Codec, Result } from "@sluice/core"
import { FastCheck, Schema } from "effect"
import { describe, expect, it } from "vitest"

const envelope = { trigger: "linger", openedAtMillis: 1_700_000_000_000 } as const

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

describe("a codec", () => {
  it("writes a line that says what follows, and then the items", () => {
    const codec = Codec.make(Schema.Struct({ at: Schema.Date }))
    const bytes = codec.encodeBatch([{ at: "2026-01-01T00:00:00.000Z" }], envelope)
    expect(text(bytes)).toMatch(
      /^sluice\/2 [\da-f]{8} json linger 1700000000000\n\[{"at":"2026-01-01T00:00:00.000Z"}\]$/
    )
    expect(codec.decodeBatch(bytes)).toEqual(
      Result.succeed({
        ...envelope,
        offeredAtMillis: [1_700_000_000_000],
        items: [{ at: new Date("2026-01-01T00:00:00.000Z") }]
      })
    )
  })

  it("gives back every JSON value that it takes", () => {
    const codec = Codec.make(Schema.Any as Schema.Schema<unknown>)
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.jsonValue(), { maxLength: 5 }), (values) => {
        const encoded = values.map((value) => codec.encodeItem(value))
        const taken = encoded.filter(Result.isSuccess).map(({ success }) => success.value)
        const decoded = Result.getOrThrow(codec.decodeBatch(codec.encodeBatch(taken, envelope)))
        // JSON has no negative zero.
        expect(JSON.stringify(decoded.items)).toBe(JSON.stringify(taken))
      }),
      { seed: 4 }
    )
  })

  it("never throws at bytes that are not its own", () => {
    const codec = Codec.make(Schema.Number)
    const good = codec.encodeBatch([1, 2, 3], envelope)
    FastCheck.assert(
      FastCheck.property(
        FastCheck.uint8Array({ maxLength: 60 }),
        FastCheck.nat(good.length - 1),
        FastCheck.nat(255),
        (noise, at, byte) => {
          const broken = Uint8Array.from(good)
          broken[at] = byte
          codec.decodeBatch(noise)
          codec.decodeBatch(broken)
          codec.decodeBatch(good.subarray(0, at))
          expect(Result.isFailure(codec.decodeBatch(good.subarray(0, at)))).toBe(true)
        }
      ),
      { seed: 5 }
    )
  })

  it("reads JSON whatever its own format is, because formats change", () => {
    const json = Codec.make(Schema.Number)
    const other = Codec.make(Schema.Number, {
      format: {
        name: "raw-1",
        encode: (values) => Uint8Array.from(values as Array<number>),
        decode: (b) => Array.from(b)
      }
    })
    expect(Result.getOrThrow(other.decodeBatch(other.encodeBatch([1, 2], envelope))).items).toEqual([1, 2])
    expect(Result.getOrThrow(other.decodeBatch(json.encodeBatch([1, 2], envelope))).items).toEqual([1, 2])
    expect(Result.isFailure(json.decodeBatch(other.encodeBatch([1, 2], envelope)))).toBe(true)
  })

  it("asks the format what it carries beyond JSON", () => {
    const format = { ...Codec.json, carries: (value: unknown) => value instanceof Date }
    const codec = Codec.make(Schema.Any as Schema.Schema<unknown>, { format })
    expect(Result.isSuccess(codec.encodeItem({ d: new Date() }))).toBe(true)
    expect(Result.isFailure(codec.encodeItem({ d: 1n }))).toBe(true)
  })

  it("refuses what a schema of the user's throws at, or cannot encode at once", () => {
    const throwing = Schema.transform(Schema.String, Schema.String, {
      strict: true,
      decode: (s) => s,
      encode: () => {
        throw new Error("no luck")
      }
    })
    expect(Codec.make(throwing).encodeItem("a")).toMatchObject(
      Result.fail({ reason: "type", detail: expect.stringContaining("no luck") })
    )
    const Tree: Schema.Schema<any> = Schema.Struct({ next: Schema.NullOr(Schema.suspend(() => Tree)) })
    let deep: unknown = null
    for (let i = 0; i < 20_000; i++) deep = { next: deep }
    expect(Codec.make(Tree).encodeItem(deep)).toMatchObject(Result.fail({ reason: "too-deep" }))
  })
})

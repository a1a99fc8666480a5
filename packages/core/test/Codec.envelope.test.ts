import { Codec, Result } from "@sluice/core"
import { FastCheck, Schema } from "effect"
import { describe, expect, it } from "vitest"
import { failureOf } from "./support/failureOf.ts"
import { seal } from "../src/internal/codec/envelope.ts"

const at = 1_700_000_000_000
const bytesOf = (text: string) => new TextEncoder().encode(text)
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

const raw: Codec.Format = {
  name: "raw-1",
  encode: (values) => Uint8Array.from(values as Array<number>),
  decode: (bytes) => Array.from(bytes)
}

const numbers = Codec.make(Schema.Number)
const written = (values: ReadonlyArray<unknown>, offeredAtMillis?: ReadonlyArray<number>, openedAtMillis = at) =>
  numbers.encodeBatch(values, { trigger: "size", openedAtMillis, offeredAtMillis })

/** What is found in place of a batch: a version, or a tag and a detail. */
const whyNot = (bytes: Uint8Array | string) => {
  const read = numbers.decodeBatch(typeof bytes === "string" ? bytesOf(bytes) : bytes)
  if (Result.isSuccess(read)) return "nothing"
  const why = read.failure
  return why._tag === "Newer" ? why.version : `${why._tag}: ${why.detail}`
}

/** An envelope of the second version, with a checksum that is right. */
const sealed = (rest: string) => seal(bytesOf(`sluice/2 00000000${rest}`))

describe("an envelope of which a byte has changed", () => {
  const words = Codec.make(Schema.Array(Schema.String))
  const envelopes: ReadonlyArray<readonly [string, Codec.Codec<any>, Uint8Array]> = [
    ["of JSON", numbers, written([1, 2, 3])],
    ["of JSON with times", numbers, written([1, 2, 3], [at + 7, at + 7, at - 3])],
    [
      "of text",
      words,
      words.encodeBatch([["ä", "\u{1f600}", "x".repeat(300)]], { trigger: "bytes", openedAtMillis: 0 })
    ],
    ["without items", numbers, numbers.encodeBatch([], { trigger: "linger", openedAtMillis: at })],
    [
      "of another format",
      Codec.make(Schema.Number, { format: raw }),
      Codec.make(Schema.Number, { format: raw }).encodeBatch([0, 10, 255], { trigger: "manual", openedAtMillis: at })
    ]
  ]

  it.each(envelopes)("%s is corrupt, whichever byte it is", (_, codec, good) => {
    const bytes = Uint8Array.from(good)
    expect(Result.isSuccess(codec.decodeBatch(bytes))).toBe(true)
    for (let position = 0; position < bytes.length; position++) {
      for (let mask = 1; mask < 256; mask++) {
        bytes[position] ^= mask
        const decoded = codec.decodeBatch(bytes)
        if (!Result.isFailure(decoded) || decoded.failure._tag !== "Corrupt") {
          expect.fail(`byte ${position}, mask ${mask}: ${JSON.stringify(decoded)}`)
        }
        bytes[position] ^= mask
      }
    }
  })

  it.each(envelopes)("%s is corrupt where it is cut off, or goes on", (_, codec, good) => {
    for (let length = 0; length < good.length; length++) {
      expect(failureOf(codec.decodeBatch(good.subarray(0, length)))._tag).toBe("Corrupt")
    }
    const longer = Uint8Array.of(...good, 0)
    expect(failureOf(codec.decodeBatch(longer))._tag).toBe("Corrupt")
  })
})

describe("an envelope", () => {
  it("of a newer version is newer where its checksum is right, and corrupt where it is not", () => {
    expect(Codec.version).toBe(2)
    // A later version may have anything behind the checksum.
    const newer = bytesOf("sluice/3 ")
    const later = Uint8Array.of(...newer, ...bytesOf("00000000"), 255, 0, 10)
    const good = written([1])
    good[7] = "3".charCodeAt(0)
    expect(whyNot(good)).toContain("Corrupt")
    expect(whyNot(seal(later))).toBe(3)
    expect(whyNot("sluice/17 json size 0\n[1]")).toContain("Corrupt")
  })

  it("of the first version, which has no checksum, is read as before", () => {
    expect(Result.getOrThrow(numbers.decodeBatch(bytesOf("sluice/1 json size 1700000000000\n[1,2]")))).toEqual({
      items: [1, 2],
      trigger: "size",
      openedAtMillis: at,
      offeredAtMillis: [at, at]
    })
    expect(whyNot("sluice/1 yaml size 0\n[1]")).toMatch(/^Broken: .*yaml/)
    expect(whyNot("sluice/1 json whenever 0\n[1]")).toMatch(/^Broken: .*whenever/)
    expect(whyNot("sluice/1 json\n[1]")).toMatch(/^Broken: .*envelope/)
    expect(whyNot("sluice/1 json size 0")).toMatch(/^Broken: .*envelope/)
    expect(whyNot("sluice/1 json size 0\n{\"a\":1}")).toMatch(/^Broken: .*Array/)
    expect(whyNot("sluice/1 json size 0\n[\"1\"]")).toMatch(/^Broken: .*number/)
    expect(whyNot("[1]")).toMatch(/^Corrupt: .*envelope/)
    expect(whyNot("sluice/0 json size 0\n[1]")).toContain("Corrupt")
  })

  it("whose checksum is right, but which is none of its version, is broken", () => {
    expect(whyNot(sealed(" json size 0\n[1]"))).toBe("nothing")
    expect(whyNot(sealed(" json size 0"))).toContain("Broken")
    expect(whyNot(sealed(""))).toContain("Broken")
    expect(whyNot(sealed(" json size 0 0 0\n[1]"))).toContain("Broken")
    expect(whyNot(sealed(" yaml size 0\n[1]"))).toMatch(/^Broken: .*yaml/)
    expect(whyNot(sealed(" json whenever 0\n[1]"))).toMatch(/^Broken: .*whenever/)
    expect(whyNot(sealed(" json size 0\n[1"))).toContain("Broken")
    expect(whyNot(sealed(" json size 0\n{\"a\":1}"))).toMatch(/^Broken: .*Array/)
  })

  it("throws at no bytes, and is done with all of them at once", () => {
    const noise = FastCheck.uint8Array({ maxLength: 60 })
    FastCheck.assert(
      FastCheck.property(noise, (bytes) => {
        numbers.decodeBatch(bytes)
        numbers.readBatch(seal(Uint8Array.of(...bytesOf("sluice/2 00000000 json size 0 "), ...bytes)))
        numbers.readBatch(seal(Uint8Array.of(...bytesOf("sluice/2 00000000 "), ...bytes)))
      }),
      { seed: 21, numRuns: 2000 }
    )
    const long = 1_000_000
    expect(whyNot(sealed(` json size 0 ${",".repeat(long)}\n[1]`))).toContain("Broken")
    expect(whyNot(sealed(` json size 0 ${"z".repeat(long)}\n[1]`))).toContain("Broken")
    expect(whyNot(sealed(` json size 0 ${"0*1,".repeat(long)}0\n[1]`))).toContain("Broken")
    expect(whyNot(sealed(` json size ${"0".repeat(long)}\n[1]`))).toContain("Broken")
    expect(whyNot(sealed(` ${"json size ".repeat(long)}\n[1]`))).toContain("Broken")
    expect(whyNot(sealed(" json size 0 0*zzzzzzzzzz\n[1]"))).toContain("Broken")
  })
})

describe("the times of an envelope", () => {
  const timesOf = (bytes: Uint8Array) => Result.getOrThrow(numbers.decodeBatch(bytes)).offeredAtMillis
  const line = (bytes: Uint8Array) => text(bytes).split("\n", 1)[0].slice("sluice/2 00000000 ".length)

  it("are not written where each item was offered when the batch was opened", () => {
    expect(line(written([1, 2], [at, at]))).toBe("json size 1700000000000")
    expect(line(written([1, 2]))).toBe("json size 1700000000000")
    expect(timesOf(written([1, 2]))).toEqual([at, at])
    expect(timesOf(written([]))).toEqual([])
  })

  it("are written as the distances of runs", () => {
    expect(line(written([1, 2, 3, 4], [at + 10, at + 10, at + 10, at + 15]))).toBe("json size 1700000000000 a*3,5")
    expect(line(written([1, 2, 3], [at - 36, at, at]))).toBe("json size 1700000000000 -10,10*2")
  })

  it("come back as they were, whatever they are", () => {
    const time = FastCheck.oneof(
      FastCheck.integer({ min: -50, max: 50 }),
      FastCheck.integer({ min: -at, max: at }),
      FastCheck.constant(0)
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(time, { maxLength: 40 }), (distances) => {
        const times = distances.map((distance) => at + distance)
        expect(timesOf(written(times.map(() => 1), times))).toEqual(times)
      }),
      { seed: 22, numRuns: 1000 }
    )
  })

  it("of a clock that is out of its mind make nothing unreadable", () => {
    expect(timesOf(written([1, 2], [0.4, -7.6], -3))).toEqual([0, -8])
    expect(timesOf(written([1], undefined, Number.NaN))).toEqual([0])
    for (const time of [Infinity, -Infinity, 1e300, -1e300]) {
      expect(timesOf(written([1, 2], [time, 0], -time))).toHaveLength(2)
    }
  })

  it("are as many as there are items, or the envelope is broken", () => {
    for (const times of ["0", "0*3", "0,0,0", "0*0,0*2", "0*2,", ",0*2", "-", "*2", "0**2", "0*-2", "0*2*2"]) {
      expect([times, whyNot(sealed(` json size 0 ${times}\n[1,2]`))]).toEqual([
        times,
        expect.stringContaining("Broken")
      ])
    }
    expect(whyNot(sealed(" json size 0 0*2\n[1,2]"))).toBe("nothing")
  })
})

describe("reading a batch without decoding it", () => {
  it("gives the values as their schema has encoded them", () => {
    const codec = Codec.make(Schema.Struct({ at: Schema.Date }))
    const value = { at: "2026-01-01T00:00:00.000Z" }
    const bytes = codec.encodeBatch([value], { trigger: "linger", openedAtMillis: at, offeredAtMillis: [at - 1] })
    expect(codec.readBatch(bytes)).toEqual(
      Result.succeed({ values: [value], trigger: "linger", openedAtMillis: at, offeredAtMillis: [at - 1] })
    )
    expect(Result.isSuccess(Codec.make(Schema.Number).readBatch(bytes))).toBe(true)
    expect(Result.isFailure(Codec.make(Schema.Number).decodeBatch(bytes))).toBe(true)
    expect(Result.isFailure(codec.readBatch(bytesOf("garbage")))).toBe(true)
  })
})

import { describe, expect, it } from "vitest"
import { xxHash32 } from "../src/internal/codec/checksum.ts"

const bytesOf = (text: string) => new TextEncoder().encode(text)

const hashOf = (bytes: Uint8Array, seed?: number, from?: number, to?: number) =>
  xxHash32(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), seed, from, to)

/** What the reference implementation checks itself with. */
const noise = (length: number) => {
  const bytes = new Uint8Array(length)
  let generator = 2654435761
  for (let i = 0; i < length; i++) {
    bytes[i] = generator >>> 24
    generator = Math.imul(generator, generator)
  }
  return bytes
}

describe("xxHash32", () => {
  it.each([
    ["", 0x02cc5d05],
    ["a", 0x550d7456],
    ["abc", 0x32d153ff],
    ["Nobody inspects the spammish repetition", 0xe2293b2f]
  ])("of %j is what others say it is", (text, hash) => {
    expect(hashOf(bytesOf(text))).toBe(hash)
  })

  it.each([
    [0, 0, 0x02cc5d05],
    [0, 2654435761, 0x36b78ae7],
    [1, 0, 0xb85cbee5],
    [1, 2654435761, 0xd5845d64],
    [14, 0, 0xe5aa0ab4],
    [14, 2654435761, 0x4481951d],
    [101, 0, 0x1f1aa412],
    [101, 2654435761, 0x498ec8e2]
  ])("of %i bytes with seed %i is what the reference implementation makes of them", (length, seed, hash) => {
    expect(hashOf(noise(length), seed)).toBe(hash)
  })

  it("is that of a part of the bytes, wherever they are in memory", () => {
    const bytes = noise(101)
    for (let shift = 0; shift < 8; shift++) {
      const memory = new Uint8Array(200)
      memory.set(bytes, 40 + shift)
      expect(hashOf(memory, 0, 40 + shift, 141 + shift)).toBe(0x1f1aa412)
      expect(hashOf(memory.subarray(40 + shift, 141 + shift))).toBe(0x1f1aa412)
      expect(hashOf(memory.subarray(7), 0, 33 + shift, 134 + shift)).toBe(0x1f1aa412)
    }
  })

  it("is another for every change within one word", () => {
    for (const length of [3, 4, 15, 16, 23, 64, 67]) {
      const bytes = noise(length)
      const hash = hashOf(bytes)
      for (let at = 0; at < length; at++) {
        const byte = bytes[at]
        for (let mask = 1; mask < 256; mask++) {
          bytes[at] = byte ^ mask
          if (hashOf(bytes) === hash) expect.fail(`byte ${at} of ${length}, mask ${mask}`)
        }
        bytes[at] = byte
      }
    }
  })
})

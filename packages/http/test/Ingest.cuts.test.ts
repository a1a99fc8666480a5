/**
 * A body is the same wherever it is cut into pieces. The requests come without a network in between, whose buffers would
 * put pieces together again.
 */
import { HttpApp } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { HttpQueue, HttpQueues, Ingest } from "@sluice/http"
import { Effect, FastCheck as fc, Layer, Schema } from "effect"
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib"
import { counts, json, ndjson } from "./support/raw.ts"

const maxLineBytes = 40

interface Answer {
  readonly status: number
  readonly body: any
  readonly items: ReadonlyArray<unknown>
}

/** Sends a body in pieces, to a queue of anything. Answers what is in, too. */
const makeSend = Effect.gen(function*() {
  const taken: Array<unknown> = []
  const queue = yield* WriteBehind.make<unknown, never, never>({
    name: "any",
    capacity: 1000,
    policy: Backpressure.reject,
    flush: ({ items }) => Effect.sync(() => void taken.push(...items))
  })
  const mounted = HttpQueues.layer([Effect.succeed(HttpQueue.fromWriteBehind(queue, { schema: Schema.Unknown }))], {
    maxLineBytes
  })
  const router = yield* Effect.provide(Ingest.router(), yield* Layer.build(mounted))
  const handle = HttpApp.toWebHandler(router)
  return (
    pieces: ReadonlyArray<Uint8Array>,
    type = ndjson,
    headers: Record<string, string> = {}
  ): Effect.Effect<Answer> =>
    Effect.gen(function*() {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          for (const piece of pieces) controller.enqueue(piece)
          controller.close()
        }
      })
      const request = new Request("http://localhost/queues/any", {
        method: "POST",
        headers: { "content-type": type, ...headers },
        body,
        duplex: "half"
      } as RequestInit)
      const response = yield* Effect.promise(() => handle(request))
      const answer = yield* Effect.promise(() => response.json())
      yield* Effect.orDie(queue.flushNow)
      return { status: response.status, body: answer, items: taken.splice(0) }
    })
})

/** The bytes in pieces that begin at these places as well. */
const cutAt = (bytes: Uint8Array, places: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const starts = [0, ...Array.from(new Set(places)).sort((a, b) => a - b), bytes.length]
  return starts.slice(1).map((end, i) => bytes.subarray(starts[i], end))
}

/** Every way to cut it once, and into single bytes. */
const cutsOf = (bytes: Uint8Array): ReadonlyArray<ReadonlyArray<Uint8Array>> => [
  ...Array.from(bytes, (_, at) => cutAt(bytes, [at])),
  cutAt(bytes, Array.from(bytes.keys()))
]

const mark = "\ufeff"
const long = `"${"x".repeat(maxLineBytes - 2)}"`
const fault = (position: number, reason: string) => ({
  status: 400,
  body: { _tag: "InvalidItems", taken: position, faults: [{ position, reason }] }
})
const taken = (items: number) => ({ status: 202, body: counts({ items, accepted: items }) })

const bodies: ReadonlyArray<readonly [string | Uint8Array, object]> = [
  ["", taken(0)],
  ["1", taken(1)],
  ["1\n2\n3\n", taken(3)],
  ["\n\r\n \t\n\"ä€😀\"\r\n\n{\"ñ\":[1,\"𝒳\"]}", taken(2)],
  // At the beginning it says how the body is encoded.
  [mark, taken(0)],
  [`${mark}\n1`, taken(1)],
  [`${mark}{"a":1}\r\n2\n`, taken(2)],
  [`${mark}${long}\n${long}`, taken(2)],
  [`${mark}${long} \n`, { status: 413, body: { what: "line", taken: 0 } }],
  [`1\n${long}\n ${long}`, { status: 413, body: { what: "line", taken: 2 } }],
  // In text it is a part of that.
  [`"${mark}"\n"a${mark}b"\n{"${mark}":"${mark}"}`, taken(3)],
  // Elsewhere it is no JSON.
  [`${mark}${mark}1\n2`, fault(0, "json")],
  [`1\n${mark}2\n3`, fault(1, "json")],
  [`1\n${mark}\n3`, fault(1, "json")],
  [`1\n2${mark}\n3`, fault(1, "json")],
  [`1\n2\n${mark}`, fault(2, "json")],
  ["1\n\u00a0\n2", fault(1, "json")],
  [Buffer.from([0xef, 0xbb]), fault(0, "text")],
  [Buffer.from([0xef, 0x0a, 0x31]), fault(0, "text")],
  [Buffer.from([0x31, 0x0a, 0xef, 0xbb, 0x0a, 0x32]), fault(1, "text")]
]

describe("a stream of lines", () => {
  it.scopedLive("has one answer, wherever it is cut", () =>
    Effect.gen(function*() {
      const send = yield* makeSend
      for (const [body, expected] of bodies) {
        const bytes = Buffer.from(body as string)
        const whole = yield* send([bytes])
        expect([body, whole]).toMatchObject([body, expected])
        for (const pieces of cutsOf(bytes)) {
          expect([body, pieces.map(({ length }) => length), yield* send(pieces)])
            .toEqual([body, pieces.map(({ length }) => length), whole])
        }
      }
    }))

  const text = fc.stringOf(fc.constantFrom("a", "ä", "€", "😀", mark, " ", "\t"), { maxLength: 6 })
  const line = fc.oneof(
    fc.oneof(text, fc.integer(), fc.record({ a: text })).map((value) => JSON.stringify(value)),
    fc.constantFrom("", " ", "\t", mark, "{", long, `${long} `),
    text
  )
  const body = fc.array(fc.tuple(line, fc.constantFrom("\n", "\r\n")), { maxLength: 6 })
    .chain((lines) => fc.tuple(fc.constantFrom("", mark), fc.constantFrom("", "1"), fc.constant(lines)))
    .map(([start, end, lines]) => Buffer.from(start + lines.flat().join("") + end))
    .chain((bytes) => fc.tuple(fc.constant(bytes), fc.array(fc.nat(bytes.length), { maxLength: 8 })))

  it.scopedLive.prop(
    "has one answer, whatever is in it and wherever it is cut",
    { body },
    ({ body: [bytes, places] }) =>
      Effect.gen(function*() {
        const send = yield* makeSend
        expect(yield* send(cutAt(bytes, places))).toEqual(yield* send([bytes]))
      }),
    { fastCheck: { numRuns: 200 } }
  )
})

describe("a body that is compressed", () => {
  it.scopedLive("has the answer of what it is, wherever it is cut", () =>
    Effect.gen(function*() {
      const send = yield* makeSend
      for (const [body] of bodies) {
        for (const type of [ndjson, json]) {
          const bytes = Buffer.from(body as string)
          const whole = yield* send([bytes], type)
          for (
            const [coding, compress] of Object.entries({ gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync })
          ) {
            const compressed = compress(bytes)
            const places = Array.from(compressed.keys())
            for (
              const pieces of [
                [compressed],
                cutAt(compressed, places),
                cutAt(compressed, places.filter((n) => n % 7 === 3))
              ]
            ) {
              expect([coding, body, yield* send(pieces, type, { "content-encoding": coding })])
                .toEqual([coding, body, whole])
            }
          }
        }
      }
    }))
})

describe("a whole body", () => {
  it.scopedLive("may begin with a byte order mark, wherever it is cut, and has none elsewhere", () =>
    Effect.gen(function*() {
      const send = yield* makeSend
      const whole: ReadonlyArray<readonly [string, number, ReadonlyArray<unknown>]> = [
        [`${mark}[1,"${mark}"]`, 202, [1, mark]],
        [`${mark}${mark}1`, 400, []],
        [`[1,${mark}2]`, 400, []],
        [`1${mark}`, 400, []]
      ]
      for (const [body, status, items] of whole) {
        for (const pieces of cutsOf(Buffer.from(body))) {
          expect([body, yield* send(pieces, json)]).toMatchObject([body, { status, items }])
        }
      }
    }))
})

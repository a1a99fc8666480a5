import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as zlib from "node:zlib"
import { withDead } from "./support/deadLetters.ts"
import { admin } from "./support/operating.ts"
import { chunk, chunkedHead, connect, counts, json, ndjson, until } from "./support/raw.ts"
import { ask, type Reading, type Running, serve } from "./support/server.ts"

const path = "/queues/readings"
const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")

/** What the zlib of this Node compresses with, and its header. */
const codings: ReadonlyArray<readonly [coding: string, compress: (text: string | Uint8Array) => Buffer]> = [
  ["gzip", zlib.gzipSync],
  ["x-gzip", zlib.gzipSync],
  ["GZIP", zlib.gzipSync],
  ["deflate", zlib.deflateSync],
  ["br", zlib.brotliCompressSync],
  ...("zstdCompressSync" in zlib ? [["zstd", zlib.zstdCompressSync as typeof zlib.gzipSync] as const] : [])
]

const known = codings.map(([coding]) => coding).filter((coding) => /^[a-z]{2,7}$/.test(coding))

/** What has not ended, so that more may come. */
const begun = (text: string | Uint8Array): Buffer => zlib.gzipSync(text, { finishFlush: zlib.constants.Z_SYNC_FLUSH })

const send = (server: Running, type: string, coding: string, body: Uint8Array) =>
  ask(server, path, {
    method: "POST",
    headers: { "content-type": type, "content-encoding": coding },
    body: new Uint8Array(body)
  })

const offered = (server: Running) => Effect.map(server.readings.metrics, ({ offered }) => offered)

describe("a compressed body", () => {
  for (const [coding, compress] of codings) {
    it.scopedLive(`is taken: an item, an array and a stream in ${coding}`, () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const bodies = [
          [json, JSON.stringify(reading(1)), 1],
          [json, JSON.stringify([reading(2, "ä€😀"), reading(3)]), 2],
          [ndjson, lines(reading(4), reading(5)), 2]
        ] as const
        for (const [type, body, items] of bodies) {
          const answer = yield* send(server, type, coding, compress(body))
          expect([answer.status, answer.body]).toEqual([202, counts({ items, accepted: items })])
        }
        yield* server.readings.flushNow
        expect(server.flushed.map(({ celsius }) => celsius)).toEqual([1, 2, 3, 4, 5])
      }))

    it.scopedLive(`may be as large as a body may be once it is out of ${coding}, and no larger`, () =>
      Effect.gen(function*() {
        const limit = 100_000
        const server = yield* serve({ queues: { maxBodyBytes: limit, maxLineBytes: limit } })
        const sized = (bytes: number) =>
          JSON.stringify(reading(1, "x".repeat(bytes - JSON.stringify(reading(1, "")).length)))
        for (const [type, what] of [[json, "body"], [ndjson, "line"]]) {
          expect((yield* send(server, type, coding, compress(sized(limit)))).status).toBe(202)
          const answer = yield* send(server, type, coding, compress(sized(limit + 1)))
          expect([answer.status, answer.body]).toEqual([413, { _tag: "TooLarge", what, limit, taken: 0 }])
        }
      }))

    it.scopedLive(`is refused where it is no ${coding}, is cut short, or goes on behind its end`, () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const good = compress(JSON.stringify(reading(1)))
        const bad = [
          Buffer.from(JSON.stringify(reading(1))),
          Buffer.alloc(0),
          good.subarray(0, good.length - 1),
          good.subarray(0, 1),
          Buffer.concat([good, Buffer.from("x")]),
          ...(coding === "deflate" || coding === "br" ? [Buffer.concat([good, good])] : [])
        ]
        for (const body of bad) {
          const whole = yield* send(server, json, coding, body)
          expect([whole.status, whole.body]).toEqual([400, {
            _tag: "InvalidRequest",
            field: "body",
            message: expect.stringContaining("Content-Encoding")
          }])
        }
        expect(yield* offered(server)).toBe(0)
        expect((yield* send(server, json, coding, good)).status).toBe(202)
      }))
  }

  it.scopedLive("is answered as soon as it is too large, while it is still being sent", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const zeros = Buffer.alloc(32 * 1024 * 1024)
      for (const [type, what, start] of [[json, "body", ""], [ndjson, "line", lines(reading(1))]] as const) {
        const client = yield* connect(server)
        yield* client.send(chunkedHead(path, type, { "content-encoding": "gzip" }))
        yield* client.send(chunk(begun(Buffer.concat([Buffer.from(start), zeros]))))
        expect(yield* client.answer).toMatchObject({
          status: 413,
          body: { _tag: "TooLarge", what, limit: 1024 * 1024, taken: start === "" ? 0 : 1 }
        })
      }
    }))

  it.scopedLive("whose stream breaks has in what came before, and says how many", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      yield* client.send(chunkedHead(path, ndjson, { "content-encoding": "gzip" }))
      yield* client.send(chunk(begun(lines(reading(1), reading(2)))))
      yield* until(() => Effect.map(offered(server), (offered) => offered === 2))
      yield* client.send(chunk(Buffer.alloc(100, 0xff)))
      expect(yield* client.answer).toMatchObject({
        status: 400,
        body: { _tag: "InvalidItems", taken: 2, faults: [{ position: 2, reason: "encoding" }] }
      })
      expect(yield* offered(server)).toBe(2)
    }))

  it.scopedLive("whose client goes away has in what came before", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const type of [ndjson, json]) {
        const client = yield* connect(server)
        yield* client.send(chunkedHead(path, type, { "content-encoding": "gzip" }))
        yield* client.send(chunk(begun(lines(reading(1), reading(2)))))
        if (type === ndjson) yield* until(() => Effect.map(offered(server), (offered) => offered === 2))
        client.socket.destroy()
      }
      expect((yield* send(server, ndjson, "gzip", zlib.gzipSync(lines(reading(3))))).status).toBe(202)
      yield* server.readings.flushNow
      expect(server.flushed.map(({ celsius }) => celsius)).toEqual([1, 2, 3])
    }))

  it.scopedLive("in an encoding that is not known, or in two, is refused: the answer says which are", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const coding of ["compress", "gzip, gzip", "br, gzip", "identity, gzip", "identity, identity", ",", "x"]) {
        const answer = yield* send(server, json, coding, Buffer.from("{}"))
        expect([answer.status, answer.body._tag]).toEqual([415, "UnsupportedMediaType"])
        const accepted = answer.headers.get("accept-encoding")?.split(", ")
        expect(accepted).toEqual(expect.arrayContaining([...known, "identity"]))
      }
    }))
})

describe("a compressed command for dead letters", () => {
  it.scopedLive("is read, or refused where it is broken, too large or in an unknown encoding", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["a"])
      const discard = (coding: string, body: Uint8Array) =>
        admin(server, "/queues/emails/dead-letters/discard", {
          method: "POST",
          headers: { "content-type": json, "content-encoding": coding },
          body: new Uint8Array(body)
        })
      const command = zlib.gzipSync(JSON.stringify({ ids: "all" }))
      const unknown = yield* discard("compress", command)
      expect([unknown.status, unknown.headers.get("accept-encoding")]).toEqual([415, expect.stringContaining("gzip")])
      expect(yield* discard("gzip", command.subarray(0, 10))).toMatchObject({ status: 400, body: { field: "body" } })
      expect((yield* discard("gzip", zlib.gzipSync(" ".repeat(300_000)))).status).toBe(413)
      expect(yield* list()).toHaveLength(1)
      expect((yield* discard("gzip", command)).body).toEqual({ batches: 1, items: 1 })
    }))
})

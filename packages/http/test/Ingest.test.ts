import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { Effect } from "effect"
import { chunk, chunkedHead, connect, counts, head, json, lastChunk, makeHold, ndjson } from "./support/raw.ts"
import { ask, post, type Reading, serve } from "./support/server.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")

const postLines = (server: { readonly url: string }, path: string, body: string, headers = {}) =>
  ask(server, path, { method: "POST", headers: { "content-type": ndjson, ...headers }, body })

describe("an item", () => {
  it.scopedLive("is answered with 202, JSON, and what became of it", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const answer = yield* post(server, "/queues/readings", reading(21))
      expect(answer.status).toBe(202)
      expect(answer.headers.get("content-type")).toBe(json)
      expect(answer.body).toEqual(counts({ items: 1, accepted: 1 }))
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([reading(21)])
    }))

  it.scopedLive("is taken by a queue with a store, too, and decoded by the schema", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const answer = yield* post(server, "/queues/emails?wait=stored", { to: "ada", at: "2026-01-02T03:04:05.000Z" })
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 1, stored: 1 })])
      const plain = yield* post(server, "/queues/emails", { to: "bob" })
      expect([plain.status, plain.body]).toEqual([202, counts({ items: 1, accepted: 1 })])
      yield* server.emails.flush
      yield* Effect.sleep(1).pipe(Effect.repeat({ until: () => server.sent.length === 2 }))
      expect(server.sent).toEqual([{ to: "ada", at: new Date("2026-01-02T03:04:05.000Z") }, { to: "bob" }])
    }))

  it.scopedLive("that the policy drops is answered with 202 and counted as dropped", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({
        readings: { capacity: 1, policy: Backpressure.dropNewest, batchSize: 1, flush: () => hold.pass }
      })
      // One is in the hands of the sink, one waits, and there is no more room.
      yield* post(server, "/queues/readings", reading(1))
      yield* Effect.sleep(1).pipe(Effect.repeat({ until: () => hold.waiting() === 1 }))
      yield* post(server, "/queues/readings", reading(2))
      const one = yield* post(server, "/queues/readings", reading(3))
      expect([one.status, one.body]).toEqual([202, counts({ items: 1, dropped: 1 })])
      const stream = yield* postLines(server, "/queues/readings", lines(reading(4), reading(5)))
      expect([stream.status, stream.body]).toEqual([202, counts({ items: 2, dropped: 2 })])
      yield* hold.open
    }))

  it.scopedLive("of a key that waits already is answered as coalesced, alone, in an array and in a stream", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        readings: {
          policy: Backpressure.coalesceByKey(({ sensor }: Reading) => sensor),
          batchSize: 1000,
          flushInterval: "1 hour"
        }
      })
      expect((yield* post(server, "/queues/readings", reading(1))).body).toEqual(counts({ items: 1, accepted: 1 }))
      expect((yield* post(server, "/queues/readings", reading(2))).body).toEqual(counts({ items: 1, coalesced: 1 }))
      const array = yield* post(server, "/queues/readings", [reading(3), reading(3, "cellar"), reading(4)])
      expect(array.body).toEqual(counts({ items: 3, accepted: 1, coalesced: 2 }))
      const stream = yield* postLines(server, "/queues/readings", lines(reading(5), reading(5, "door")))
      expect(stream.body).toEqual(counts({ items: 2, accepted: 1, coalesced: 1 }))
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([reading(5), reading(3, "cellar"), reading(5, "door")])
    }))
})

describe("an array", () => {
  it.scopedLive("is taken in order", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const items = Array.from({ length: 50 }, (_, i) => reading(i))
      const answer = yield* post(server, "/queues/readings", items)
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 50, accepted: 50 })])
      yield* server.readings.flushNow
      expect(server.flushed).toEqual(items)
    }))

  it.scopedLive("that is empty is taken, and nothing is in", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const path of ["/queues/readings", "/queues/emails", "/queues/emails?wait=stored"]) {
        const answer = yield* post(server, path, [])
        expect([answer.status, answer.body]).toEqual([202, counts({})])
      }
      const settled = yield* post(server, "/queues/readings?wait=settled", [], { "idempotency-key": "empty" })
      expect([settled.status, settled.body]).toEqual([202, counts({})])
      expect((yield* server.readings.metrics).offered).toBe(0)
      expect((yield* server.emails.metrics).offered).toBe(0)
    }))

  it.scopedLive("of exactly the capacity is taken", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { capacity: 3, flushInterval: "1 hour", batchSize: 10 } })
      const answer = yield* post(server, "/queues/readings", [reading(1), reading(2), reading(3)])
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 3, accepted: 3 })])
    }))
})

describe("the kind of a body", () => {
  it.scopedLive("may be named in upper case, with a charset in UTF-8 and other parameters", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const types = [
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF8",
        "application/json; charset=\"utf-8\"",
        "application/json; profile=x"
      ]
      for (const type of types) {
        const answer = yield* post(server, "/queues/readings", reading(1), { "content-type": type })
        expect([type, answer.status, answer.body]).toEqual([type, 202, counts({ items: 1, accepted: 1 })])
      }
      for (const type of ["application/x-ndjson", "application/ndjson", "application/jsonl; charset=utf-8"]) {
        const answer = yield* postLines(server, "/queues/readings", lines(reading(1), reading(2)), {
          "content-type": type
        })
        expect([type, answer.status, answer.body]).toEqual([type, 202, counts({ items: 2, accepted: 2 })])
      }
      const identity = yield* post(server, "/queues/readings", reading(1), { "content-encoding": "identity" })
      expect(identity.status).toBe(202)
    }))

  it.scopedLive("is JSON whether its length is known or it comes in chunks, also inside a character", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      const bytes = Buffer.from(JSON.stringify(reading(1, "Dachböden €😀")))
      yield* client.send(chunkedHead("/queues/readings", json))
      for (const byte of bytes) yield* client.send(chunk(Uint8Array.of(byte)))
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 202, body: counts({ items: 1, accepted: 1 }) })
      // The connection can be used again.
      yield* client.send(head("/queues/readings", { "content-type": json, "content-length": bytes.length }))
      yield* client.send(bytes)
      expect(yield* client.answer).toMatchObject({ status: 202, body: counts({ items: 1, accepted: 1 }) })
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([reading(1, "Dachböden €😀"), reading(1, "Dachböden €😀")])
    }))
})

describe("a stream of lines", () => {
  it.scopedLive("is taken line by line: with CRLF, blank lines, and a last line that does not end", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const body = `\n${JSON.stringify(reading(1))}\r\n\r\n  \t\n${JSON.stringify(reading(2))}\n\n${
        JSON.stringify(reading(3))
      }`
      const answer = yield* postLines(server, "/queues/readings", body)
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 3, accepted: 3 })])
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([reading(1), reading(2), reading(3)])
    }))

  it.scopedLive("that is empty, or blank, is taken, and nothing is in", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const body of ["", "\n", "\r\n\r\n", "   "]) {
        const answer = yield* postLines(server, "/queues/readings", body)
        expect([body, answer.status, answer.body]).toEqual([body, 202, counts({})])
      }
      expect((yield* server.readings.metrics).offered).toBe(0)
    }))

  it.scopedLive("may be cut anywhere: in a line, in a character, in a CRLF", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const items = [reading(1, "ä€😀"), reading(2, "ñ"), reading(3, "𝒳")]
      const bytes = Buffer.from(items.map((item) => JSON.stringify(item)).join("\r\n"))
      const client = yield* connect(server)
      for (const size of [1, 2, 3, 7]) {
        yield* client.send(chunkedHead("/queues/readings", ndjson))
        for (let i = 0; i < bytes.length; i += size) {
          yield* client.send(chunk(bytes.subarray(i, i + size)))
          // In a packet of its own, or it would be read together with its neighbours.
          if (i % 5 === 0) yield* Effect.sleep(1)
        }
        yield* client.send(lastChunk)
        expect(yield* client.answer).toMatchObject({ status: 202, body: counts({ items: 3, accepted: 3 }) })
      }
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([...items, ...items, ...items, ...items])
    }))

  it.scopedLive("is taken while it is still being sent", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      yield* client.send(chunk(lines(reading(1)) + JSON.stringify(reading(2)).slice(0, 10)))
      yield* Effect.sleep(1).pipe(Effect.repeat({ until: () => server.flushed.length === 1 }))
      expect(client.hasAnswer).toBe(false)
      yield* client.send(chunk(JSON.stringify(reading(2)).slice(10)))
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 202, body: counts({ items: 2, accepted: 2 }) })
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([reading(1), reading(2)])
    }))

  it.scopedLive("is a stream also where its length is known", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 64 }, readings: { capacity: 1000 } })
      const body = lines(...Array.from({ length: 300 }, (_, i) => reading(i)))
      const answer = yield* postLines(server, "/queues/readings", body)
      // It is longer than a body may be that is read as a whole.
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 300, accepted: 300 })])
    }))

  it.scopedLive("has items, and no arrays of items", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const answer = yield* postLines(server, "/queues/readings", lines(reading(1), [reading(2)], reading(3)))
      expect([answer.status, answer.body]).toMatchObject([400, { _tag: "InvalidItems", taken: 1 }])
      expect(answer.body.faults).toMatchObject([{ position: 1, field: "", reason: "type" }])
    }))

  it.scopedLive("takes what came before a line that is wrong, and says how many: no JSON, a wrong item, a deep one", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const wrong = [
        ["{", { position: 2, field: "", reason: "json" }],
        ["{\"sensor\":\"a\",\"celsius\":\"x\"}", { position: 2, field: "celsius", reason: "type" }],
        [
          `{"sensor":"a","celsius":1,"tags":${"[".repeat(70)}${"]".repeat(70)}}`,
          { position: 2, reason: "too-deep" }
        ],
        ["{\"sensor\":\"\\ud800\",\"celsius\":1}", { position: 2, field: "sensor", reason: "text" }]
      ] as const
      for (const [line, fault] of wrong) {
        const answer = yield* postLines(
          server,
          "/queues/readings",
          `${lines(reading(1), reading(2))}\n${line}\n${lines(reading(3))}`
        )
        expect([line, answer.status, answer.body]).toMatchObject([line, 400, {
          _tag: "InvalidItems",
          queue: "readings",
          taken: 2,
          faults: [fault]
        }])
      }
      yield* server.readings.flushNow
      expect(server.flushed).toHaveLength(2 * wrong.length)
      expect(server.flushed.some(({ celsius }) => celsius === 3)).toBe(false)
    }))

  it.scopedLive("is stored, and waited for, where the queue has a store", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const items = Array.from({ length: 600 }, (_, i) => ({ to: `u${i}` }))
      const answer = yield* postLines(server, "/queues/emails?wait=stored", lines(...items))
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 600, stored: 600 })])
      yield* Effect.sleep(5).pipe(Effect.repeat({ until: () => server.sent.length === 600 }))
      expect(server.sent).toEqual(items)
    }))
})

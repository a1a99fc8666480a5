import { describe, expect, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { chunk, chunkedHead, connect, head, json, lastChunk, ndjson } from "./support/raw.ts"
import { ask, post, type Reading, type Running, serve } from "./support/server.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")

const nothingIsIn = ({ emails, readings }: Running) =>
  Effect.gen(function*() {
    expect((yield* readings.metrics).offered).toBe(0)
    expect((yield* emails.metrics).offered).toBe(0)
  })

const send = (server: Running, path: string, body: string | Uint8Array, headers: Record<string, string> = {}) =>
  ask(server, path, { method: "POST", body, headers })

describe("400", () => {
  it.scopedLive("answers a body that is no JSON", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const body of ["", " ", "{", "[1,", "nul", "{\"a\":1}x", "'a'", "\u0000", "NaN", "[1]]", "undefined"]) {
        const answer = yield* send(server, "/queues/readings", body, { "content-type": json })
        expect([body, answer.status, answer.body]).toEqual([body, 400, {
          _tag: "InvalidRequest",
          field: "body",
          message: expect.any(String)
        }])
        expect(answer.headers.get("content-type")).toBe(json)
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("names the position and the field of an item that does not fit the schema", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const faults = [
        [{ sensor: "a" }, { position: 0, field: "celsius" }],
        [{ sensor: 1, celsius: 1 }, { position: 0, field: "sensor" }],
        [{ ...reading(1), tags: ["a", "b", 3] }, { position: 0, field: "tags[2]" }],
        [[reading(1), { sensor: "b", celsius: "x" }], { position: 1, field: "celsius" }],
        [null, { position: 0, field: "" }],
        [[[reading(1)]], { position: 0, field: "" }],
        ["text", { position: 0, field: "" }]
      ] as const
      for (const [body, fault] of faults) {
        // Text would be sent as it is.
        const answer = yield* send(server, "/queues/readings", JSON.stringify(body), { "content-type": json })
        expect([body, answer.status, answer.body]).toEqual([body, 400, {
          _tag: "InvalidItems",
          queue: "readings",
          taken: 0,
          faults: [{ ...fault, reason: "type", message: expect.any(String) }]
        }])
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("names each item of an array that is wrong, up to a hundred faults, and takes none", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const some = yield* post(server, "/queues/readings", [reading(1), {}, reading(2), { sensor: 1, celsius: 1 }])
      expect([some.status, some.body.faults.map(({ field, position }: any) => [position, field])]).toEqual([400, [
        [1, "sensor"],
        [1, "celsius"],
        [3, "sensor"]
      ]])
      const many = yield* post(server, "/queues/readings", Array.from({ length: 500 }, () => ({})))
      expect(many.status).toBe(400)
      // Each has two fields that are missing.
      const positions = Array.from({ length: 100 }, (_, i) => Math.floor(i / 2))
      expect(many.body.faults.map(({ position }: any) => position)).toEqual(positions)
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers text that is not well-formed, wherever it is", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const bodies = [
        ["{\"to\":\"\\ud800\"}", "to"],
        ["{\"to\":\"a\\udc00b\"}", "to"],
        ["{\"to\":\"a\",\"body\":{\"x\":[\"\\ud83d\"]}}", "body.x[0]"],
        ["{\"to\":\"a\",\"body\":{\"\\ud83d\":1}}", "body"]
      ]
      for (const [body, field] of bodies) {
        for (const [path, text] of [["/queues/emails", body], ["/queues/emails?wait=stored", `[{"to":"x"},${body}]`]]) {
          const answer = yield* send(server, path, text, { "content-type": json })
          expect([text, answer.status, answer.body]).toMatchObject([text, 400, {
            _tag: "InvalidItems",
            faults: [{ position: text.startsWith("[") ? 1 : 0, field, reason: "text" }]
          }])
        }
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers a key __proto__, at the top and within", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const bodies = [
        "{\"to\":\"a\",\"__proto__\":{\"x\":1}}",
        "{\"to\":\"a\",\"body\":{\"deep\":[{\"__proto__\":null}]}}",
        "{\"to\":\"a\",\"body\":{\"\\u005f_proto__\":1}}"
      ]
      for (const body of bodies) {
        const answer = yield* send(server, "/queues/emails", body, { "content-type": json })
        expect([body, answer.status, answer.body]).toMatchObject([body, 400, {
          _tag: "InvalidItems",
          faults: [{ position: 0, reason: "unsupported" }]
        }])
      }
      expect(({} as any).x).toBeUndefined()
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers what is nested deeper than 64, and not what is nested 64 deep", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      // The item is the first level.
      const nested = (depth: number) => `{"to":"a","body":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`
      for (const depth of [65, 66, 1000, 100_000]) {
        const answer = yield* send(server, "/queues/emails", nested(depth), { "content-type": json })
        expect([depth, answer.status, answer.body]).toMatchObject([depth, 400, {
          _tag: "InvalidItems",
          faults: [{ position: 0, reason: "too-deep" }]
        }])
        expect(answer.body.faults[0].field.length).toBeLessThanOrEqual(200)
      }
      yield* nothingIsIn(server)
      expect((yield* send(server, "/queues/emails", nested(64), { "content-type": json })).status).toBe(202)
    }))

  it.scopedLive("answers an item that is larger than an item may be", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 4 * 1024 * 1024 } })
      const answer = yield* post(server, "/queues/emails", { to: "x".repeat(1024 * 1024) })
      expect([answer.status, answer.body]).toMatchObject([400, {
        _tag: "InvalidItems",
        faults: [{ position: 0, reason: "too-large" }]
      }])
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers an Idempotency-Key that is empty, too long, or has what is not visible", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const key of ["", "x".repeat(256), "a b", "a\tb", "ä", "\u00ff"]) {
        for (const [path, item] of [["/queues/readings", reading(1)], ["/queues/emails", { to: "a" }]] as const) {
          const answer = yield* post(server, path, item, { "idempotency-key": key })
          expect([key, answer.status, answer.body]).toEqual([key, 400, {
            _tag: "InvalidRequest",
            field: "Idempotency-Key",
            message: "it must be 1 to 255 visible ASCII characters"
          }])
        }
      }
      yield* nothingIsIn(server)
      expect((yield* post(server, "/queues/readings", reading(1), { "idempotency-key": "x".repeat(255) })).status)
        .toBe(202)
    }))

  it.scopedLive("answers two Idempotency-Keys", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      const body = JSON.stringify(reading(1))
      yield* client.send(
        head("/queues/readings", { "content-type": json, "content-length": body.length, "idempotency-key": "a" })
          .replace("idempotency-key: a", "idempotency-key: a\r\nidempotency-key: b") + body
      )
      expect(yield* client.answer).toMatchObject({ status: 400, body: { field: "Idempotency-Key" } })
      yield* nothingIsIn(server)
    }))
})

describe("401", () => {
  const secret = "a token for producers"
  const token = Redacted.make(secret)

  it.scopedLive("answers whoever has not the token, and says how to authenticate", () =>
    Effect.gen(function*() {
      const server = yield* serve({ ingest: { token } })
      const wrong = [
        undefined,
        "",
        "Bearer",
        "Bearer ",
        secret,
        `Basic ${secret}`,
        `Token ${secret}`,
        `Bearer${secret}`,
        `Bearer ${secret.slice(0, -1)}`,
        `Bearer ${secret.slice(0, 1)}`,
        `Bearer ${secret}x`,
        `Bearer ${secret}${secret}`,
        `Bearer ${secret.toUpperCase()}`,
        `Bearer "${secret}"`,
        `Bearer Bearer ${secret}`
      ]
      for (const authorization of wrong) {
        for (const path of ["/queues/readings", "/queues/%72eadings", "/queues/ghost"]) {
          const answer = yield* post(server, path, reading(1), authorization === undefined ? {} : { authorization })
          expect([authorization, path, answer.status, answer.body]).toEqual([authorization, path, 401, {
            _tag: "Unauthorized",
            message: "a bearer token is required"
          }])
          expect(answer.headers.get("www-authenticate")).toBe("Bearer")
        }
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("is not for whoever has the token, in whatever case the scheme is", () =>
    Effect.gen(function*() {
      const server = yield* serve({ ingest: { token } })
      for (const authorization of [`Bearer ${secret}`, `bearer ${secret}`, `BEARER   ${secret} `]) {
        const answer = yield* post(server, "/queues/readings", reading(1), { authorization })
        expect([authorization, answer.status]).toEqual([authorization, 202])
      }
      expect((yield* server.readings.metrics).offered).toBe(3)
    }))

  it.scopedLive("comes before the body is read, however large it says it is", () =>
    Effect.gen(function*() {
      const server = yield* serve({ ingest: { token } })
      const client = yield* connect(server)
      yield* client.send(head("/queues/readings", { "content-type": json, "content-length": 1e12 }))
      expect(yield* client.answer).toMatchObject({ status: 401, headers: { "www-authenticate": "Bearer" } })
    }))
})

describe("404", () => {
  it.scopedLive("answers a queue that is not mounted, and says which", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const name of ["ghost", "reading", "readings2", "__proto__", "constructor", "toString", "a%20b"]) {
        const answer = yield* post(server, `/queues/${name}`, reading(1))
        expect([name, answer.status, answer.body]).toEqual([name, 404, {
          _tag: "UnknownQueue",
          queue: decodeURIComponent(name)
        }])
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers a path that is none", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const path of ["/queues", "/queues/readings/x", "/queue/readings", "/", "//", "/queues/", "/%71ueues"]) {
        const answer = yield* post(server, path, reading(1))
        expect([path, answer.status]).toEqual([path, 404])
      }
      yield* nothingIsIn(server)
    }))
})

describe("405", () => {
  it.scopedLive("answers every method but POST", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const method of ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]) {
        for (const path of ["/queues/readings", "/queues/%72eadings"]) {
          const body = method === "GET" || method === "HEAD" ? {} : { body: JSON.stringify(reading(1)) }
          const answer = yield* ask(server, path, { method, headers: { "content-type": json }, ...body })
          expect([method, path, answer.status, answer.headers.get("allow")]).toEqual([method, path, 405, "POST"])
        }
      }
      yield* nothingIsIn(server)
    }))
})

describe("413", () => {
  it.scopedLive("answers a body that says that it is too large, before any of it was sent", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 100 } })
      for (const length of [101, 1e6, 1e15, Number.MAX_SAFE_INTEGER]) {
        const client = yield* connect(server)
        yield* client.send(head("/queues/readings", { "content-type": json, "content-length": length }))
        expect(yield* client.answer).toMatchObject({
          status: 413,
          headers: { "content-type": json },
          body: { _tag: "TooLarge", what: "body", limit: 100, taken: 0 }
        })
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("is not for a body of exactly the limit", () =>
    Effect.gen(function*() {
      const body = JSON.stringify(reading(1, "€".repeat(20)))
      const maxBodyBytes = Buffer.byteLength(body)
      const server = yield* serve({ queues: { maxBodyBytes } })
      expect((yield* send(server, "/queues/readings", body, { "content-type": json })).status).toBe(202)
      expect((yield* send(server, "/queues/readings", `${body} `, { "content-type": json })).status).toBe(413)
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", json))
      yield* client.send(chunk(body))
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 202 })
      yield* client.send(chunkedHead("/queues/readings", json))
      yield* client.send(chunk(`${body} `))
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 413, body: { limit: maxBodyBytes } })
      expect((yield* server.readings.metrics).offered).toBe(2)
    }))

  it.scopedLive("is not for a body that is larger than the platform takes by itself, where the limit is", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 12 * 1024 * 1024 } })
      const body = JSON.stringify(reading(1)) + " ".repeat(11 * 1024 * 1024)
      const known = yield* send(server, "/queues/readings", body, { "content-type": json })
      expect([known.status, known.body.accepted]).toEqual([202, 1])
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", json))
      yield* client.send(chunk(body))
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 202, body: { accepted: 1 } })
    }))

  it.scopedLive("reaches a client that is still sending a body of unknown length, whose connection lives on", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 1000 } })
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", json))
      const piece = chunk("x".repeat(64 * 1024))
      for (let i = 0; i < 20; i++) yield* client.send(piece)
      expect(yield* client.answer).toMatchObject({
        status: 413,
        headers: { "content-type": json },
        body: { _tag: "TooLarge", what: "body", limit: 1000, taken: 0 }
      })
      // It goes on for a while, ends its request, and sends another.
      for (let i = 0; i < 20; i++) yield* client.send(piece)
      yield* client.send(lastChunk)
      const body = JSON.stringify(reading(1))
      yield* client.send(head("/queues/readings", { "content-type": json, "content-length": body.length }) + body)
      expect(yield* client.answer).toMatchObject({ status: 202 })
      expect((yield* server.readings.metrics).offered).toBe(1)
    }))

  it.scopedLive("reaches a client that is still sending a body that said how large it is, and is", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 1000 } })
      const client = yield* connect(server)
      const size = 4 * 1024 * 1024
      yield* client.send(head("/queues/readings", { "content-type": json, "content-length": size }))
      for (let i = 0; i < 32; i++) yield* client.send("x".repeat(size / 64))
      expect(yield* client.answer).toMatchObject({ status: 413 })
      for (let i = 0; i < 32; i++) yield* client.send("x".repeat(size / 64))
      const body = JSON.stringify(reading(1))
      yield* client.send(head("/queues/readings", { "content-type": json, "content-length": body.length }) + body)
      expect(yield* client.answer).toMatchObject({ status: 202 })
    }))

  it.scopedLive("reaches many clients that send everything before they read", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxBodyBytes: 1000 } })
      const body = "x".repeat(3 * 1024 * 1024)
      const answers = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, i) => i),
        (i) =>
          i % 2 === 0
            ? Effect.map(send(server, "/queues/readings", body, { "content-type": json }), ({ status }) => status)
            : Effect.scoped(Effect.gen(function*() {
              const client = yield* connect(server)
              yield* client.send(chunkedHead("/queues/readings", json))
              yield* client.send(chunk(body))
              yield* client.send(lastChunk)
              return (yield* client.answer).status
            })),
        { concurrency: 5 }
      )
      expect(answers).toEqual(answers.map(() => 413))
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers a line that is too long, and what came before it is in", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxLineBytes: 100 } })
      const long = JSON.stringify(reading(1, "x".repeat(100)))
      const bodies = [
        `${lines(reading(1), reading(2))}${long}\n${lines(reading(3))}`,
        `${lines(reading(1), reading(2))}${long}`
      ]
      for (const body of bodies) {
        const answer = yield* send(server, "/queues/readings", body, { "content-type": ndjson })
        expect([answer.status, answer.body]).toEqual([413, { _tag: "TooLarge", what: "line", limit: 100, taken: 2 }])
      }
      yield* server.readings.flushNow
      expect(server.flushed).toEqual([reading(1), reading(2), reading(1), reading(2)])
    }))

  it.scopedLive("answers a line without an end while the client is still sending it", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxLineBytes: 1000 } })
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      yield* client.send(chunk(lines(reading(1))))
      for (let i = 0; i < 10; i++) yield* client.send(chunk("x".repeat(64 * 1024)))
      expect(yield* client.answer).toMatchObject({
        status: 413,
        body: { _tag: "TooLarge", what: "line", limit: 1000, taken: 1 }
      })
      for (let i = 0; i < 10; i++) yield* client.send(chunk("x".repeat(64 * 1024)))
      yield* client.send(lastChunk)
    }))

  it.scopedLive("counts a line in bytes", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxLineBytes: 100 } })
      const line = JSON.stringify(reading(1, "€".repeat(60)))
      expect(Buffer.byteLength(line)).toBeGreaterThan(200)
      const answer = yield* send(server, "/queues/readings", line, { "content-type": ndjson })
      expect(answer.status).toBe(413)
    }))

  it.scopedLive("answers an array that is larger than the queue could ever hold", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { capacity: 3 }, emails: { capacity: 3 } })
      const four = [1, 2, 3, 4]
      const readings = yield* post(server, "/queues/readings", four.map((each) => reading(each)))
      const settled = yield* post(server, "/queues/readings?wait=settled", four.map((each) => reading(each)))
      const emails = yield* post(server, "/queues/emails", four.map((each) => ({ to: `u${each}` })))
      const stored = yield* post(server, "/queues/emails?wait=stored", four.map((each) => ({ to: `u${each}` })))
      for (const answer of [readings, settled, emails, stored]) {
        expect([answer.status, answer.body]).toEqual([413, { _tag: "TooLarge", what: "items", limit: 3, taken: 0 }])
      }
      for (const metrics of [yield* server.readings.metrics, yield* server.emails.metrics]) {
        expect(metrics.offered - metrics.refused).toBe(0)
      }
    }))
})

describe("415", () => {
  it.scopedLive("answers a body of another kind, of none, in another charset, or compressed otherwise", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const body = new Uint8Array(Buffer.from(JSON.stringify(reading(1))))
      const wrong: ReadonlyArray<Record<string, string>> = [
        {},
        { "content-type": "text/plain" },
        { "content-type": "application/x-www-form-urlencoded" },
        { "content-type": "application/jsonx" },
        { "content-type": "application/vnd.api+json" },
        { "content-type": "text/json" },
        { "content-type": "multipart/form-data; boundary=x" },
        { "content-type": "application/json, text/plain" },
        { "content-type": "application/json; charset=utf-16" },
        { "content-type": "application/json; charset=iso-8859-1" },
        { "content-type": "application/json; charset=" },
        { "content-type": "application/x-ndjson; charset=latin1" },
        { "content-type": json, "content-encoding": "compress" },
        { "content-type": json, "content-encoding": "gzip, br" },
        { "content-type": ndjson, "content-encoding": "gzip;q=1" }
      ]
      for (const headers of wrong) {
        const answer = yield* send(server, "/queues/readings", body, headers)
        expect([headers, answer.status, answer.body]).toEqual([headers, 415, {
          _tag: "UnsupportedMediaType",
          message: expect.any(String)
        }])
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers a body that is not in UTF-8, whole or in chunks", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const bodies = [
        Buffer.from([0x22, 0xff, 0x22]),
        Buffer.from([0x22, 0xc3, 0x28, 0x22]),
        Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]),
        Buffer.from([0x22, 0xc0, 0x80, 0x22]),
        Buffer.from("\ufeff\"x\"", "utf16le"),
        Buffer.from([0xe2, 0x82])
      ]
      for (const bytes of bodies) {
        const whole = yield* send(server, "/queues/readings", new Uint8Array(bytes), { "content-type": json })
        expect([bytes, whole.status, whole.body]).toMatchObject([bytes, 415, { _tag: "UnsupportedMediaType" }])
        const client = yield* connect(server)
        yield* client.send(chunkedHead("/queues/readings", json))
        yield* client.send(chunk(bytes))
        yield* client.send(lastChunk)
        expect(yield* client.answer).toMatchObject({ status: 415, body: { _tag: "UnsupportedMediaType" } })
      }
      yield* nothingIsIn(server)
    }))

  it.scopedLive("answers a stream that is not in UTF-8; the lines that came before are in", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      for (const bytes of [Buffer.from([0xff, 0x0a]), Buffer.from([0x22, 0xe2, 0x82])]) {
        const before = server.flushed.length
        yield* client.send(chunkedHead("/queues/readings", ndjson))
        yield* client.send(chunk(lines(reading(1))))
        yield* Effect.sleep(1).pipe(Effect.repeat({ until: () => server.flushed.length === before + 1 }))
        yield* client.send(chunk(bytes))
        yield* client.send(lastChunk)
        expect(yield* client.answer).toMatchObject({
          status: 400,
          body: { _tag: "InvalidItems", faults: [{ position: 1, reason: "text" }], taken: 1 }
        })
      }
      expect((yield* server.readings.metrics).offered).toBe(2)
    }))
})

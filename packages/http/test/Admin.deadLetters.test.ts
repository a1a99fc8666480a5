/**
 * What an operator does with dead letters: looks at them, puts them back, throws them away.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import { SluiceApi } from "@sluice/http"
import { Context, Effect, Layer, Schema } from "effect"
import { path, withDead } from "./support/deadLetters.ts"
import { admin, command, secret, until } from "./support/operating.ts"
import { ask, serve } from "./support/server.ts"

const decodeLetter = Schema.decodeUnknownSync(SluiceApi.InspectedLetter, { onExcessProperty: "error" })

describe("the list", () => {
  it.scopedLive("has each with why it died, by id", () =>
    Effect.gen(function*() {
      const before = Date.now()
      const { list } = yield* withDead(["a", "b"])
      const letters = yield* list()
      expect(letters).toMatchObject([
        { id: 1, items: 1, reason: "retries-exhausted", error: "Error: no route", deliveries: 1, attempts: 1 },
        { id: 2, items: 1, reason: "retries-exhausted", error: "Error: no route", deliveries: 1, attempts: 1 }
      ])
      for (const { diedAtMillis, oldestAtMillis } of letters) {
        expect(oldestAtMillis).toBeGreaterThanOrEqual(before)
        expect(diedAtMillis).toBeGreaterThanOrEqual(oldestAtMillis)
      }
    }))

  it.scopedLive("is given page by page, with limit and after", () =>
    Effect.gen(function*() {
      const { list } = yield* withDead(["a", "b", "c", "d", "e"])
      const ids = (query: string) => Effect.map(list(query), (letters) => letters.map(({ id }) => id))
      expect(yield* ids("")).toEqual([1, 2, 3, 4, 5])
      expect(yield* ids("?limit=2")).toEqual([1, 2])
      expect(yield* ids("?limit=2&after=2")).toEqual([3, 4])
      expect(yield* ids("?limit=2&after=4")).toEqual([5])
      expect(yield* ids("?after=5")).toEqual([])
      expect(yield* ids("?after=-1")).toEqual([1, 2, 3, 4, 5])
      expect(yield* ids("?limit=0")).toEqual([])
    }))

  it.scopedLive("is not given for a limit or an id that makes no sense", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead([])
      for (const query of ["limit=-1", "limit=1001", "limit=x", "limit=", "limit=1.5", "after=x", "after=1e400"]) {
        expect([query, (yield* admin(server, `${path}?${query}`)).status]).toEqual([query, 400])
      }
    }))
})

describe("an inspection", () => {
  it.scopedLive("shows the items as the schema encodes them", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["ada"])
      const [listed] = yield* list()
      const { body, status } = yield* admin(server, `${path}/1`)
      expect(status).toBe(200)
      expect(decodeLetter(body)).toEqual({
        ...listed,
        bytes: expect.any(Number),
        content: [{ to: "ada", at: "2023-11-14T22:13:20.000Z", body: { of: "ada" } }],
        unreadable: null
      })
      expect(body.bytes).toBeGreaterThan(50)
    }))

  it.scopedLive("says why a letter cannot be read", () =>
    Effect.gen(function*() {
      const stores = Context.get(yield* Layer.build(BatchStore.layerMemory), BatchStore.BatchStore)
      const store = yield* stores.queue("emails")
      const batch = (text: string) => ({
        payload: new TextEncoder().encode(text),
        items: 3,
        oldestAtMillis: 1
      })
      yield* store.append({
        batches: [
          batch("no envelope at all"),
          batch("sluice/1 json size 1700000000000\n[{\"to\":\"ada\"}"),
          batch("sluice/1 json size 1700000000000\n[{\"to\":\"\"}]"),
          batch("sluice/9 1a02737b json size 1700000000000\n[{\"to\":\"ada\"}]")
        ]
      })
      // Nobody sets a letter of a newer version aside by itself.
      const { batches } = yield* store.claim({ limit: 4, leaseMillis: 60_000 })
      yield* store.deadLetter(batches, {
        reason: "undecodable",
        failure: { attempts: 0, failedAtMillis: 0, error: "by hand" }
      })
      const server = yield* serve({ store: Layer.succeed(BatchStore.BatchStore, stores) })
      const letters = yield* Effect.forEach([1, 2, 3, 4], (id) =>
        Effect.map(admin(server, `${path}/${id}`), ({ body, status }) => {
          expect(status).toBe(200)
          return decodeLetter(body)
        }))
      for (const { content, items, unreadable } of letters) {
        expect([content, items]).toEqual([null, 3])
        expect(unreadable!.length).toBeGreaterThan(0)
      }
      expect(letters[0].bytes).toBe("no envelope at all".length)
      expect(letters[0].unreadable).toBe("it is corrupt: it has no envelope of Sluice")
      expect(letters[2].unreadable).toContain("to")
      expect(letters[3].unreadable).toBe("it was written by a newer version (9)")
    }))

  it.scopedLive("of one that is not there is a 404, and of what is no id a 400", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead(["ada"])
      for (const id of [0, 2, -1, 9007199254740991]) {
        const { body, status } = yield* admin(server, `${path}/${id}`)
        expect([id, status, body]).toEqual([id, 404, { _tag: "UnknownDeadLetter", queue: "emails", id }])
      }
      for (const id of ["x", "1.5", "1e400", "NaN", "%00"]) {
        expect([id, (yield* admin(server, `${path}/${id}`)).status]).toEqual([id, 400])
      }
    }))
})

describe("a redrive", () => {
  it.scopedLive("by ids puts those back, to be handled as if they were new, and answers how much that was", () =>
    Effect.gen(function*() {
      const { failing, list, sent, server } = yield* withDead(["a", "b", "c"])
      failing.isOn = false
      const { body, status } = yield* command(server, `${path}/redrive`, { ids: [1, 3, 3, 99] })
      expect([status, body]).toEqual([200, { batches: 2, items: 2 }])
      yield* until(server.emails.metrics, ({ settled }) => settled === 2)
      expect(sent).toEqual(["a", "c"])
      expect((yield* list()).map(({ id }) => id)).toEqual([2])
      const again = yield* command(server, `${path}/redrive`, { ids: [1, 3] })
      expect([again.status, again.body]).toEqual([200, { batches: 0, items: 0 }])
    }))

  it.scopedLive("of \"all\" puts all of them back", () =>
    Effect.gen(function*() {
      const { failing, list, sent, server } = yield* withDead(["a", "b", "c"])
      failing.isOn = false
      const { body } = yield* command(server, `${path}/redrive`, { ids: "all" })
      expect(body).toEqual({ batches: 3, items: 3 })
      yield* until(server.emails.metrics, ({ settled }) => settled === 3)
      expect([yield* list(), sent]).toEqual([[], ["a", "b", "c"]])
    }))

  it.scopedLive("of none does nothing", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["a"])
      const { body, status } = yield* command(server, `${path}/redrive`, { ids: [] })
      expect([status, body]).toEqual([200, { batches: 0, items: 0 }])
      expect(yield* list()).toHaveLength(1)
    }))
})

describe("a discard", () => {
  it.scopedLive("by ids, and of \"all\", throws them away for good", () =>
    Effect.gen(function*() {
      const { failing, list, sent, server } = yield* withDead(["a", "b", "c"])
      failing.isOn = false
      const one = yield* command(server, `${path}/discard`, { ids: [2] })
      expect([one.status, one.body]).toEqual([200, { batches: 1, items: 1 }])
      expect((yield* list()).map(({ id }) => id)).toEqual([1, 3])
      const rest = yield* command(server, `${path}/discard`, { ids: "all" })
      expect([rest.status, rest.body]).toEqual([200, { batches: 2, items: 2 }])
      const { body } = yield* admin(server, "/queues/emails")
      expect(body).toMatchObject({ store: { dead: { batches: 0, items: 0 } }, counts: { discarded: 3 } })
      expect([yield* list(), sent]).toEqual([[], []])
    }))
})

describe("a command whose body is wrong", () => {
  const manyIds = Array.from({ length: 10_001 }, (_, id) => id)
  const bodies: ReadonlyArray<readonly [what: string, body: string, field: string]> = [
    ["empty", "", "body"],
    ["no JSON", "{", "body"],
    ["no object", "\"all\"", "body"],
    ["an array", "[1]", "body"],
    ["null", "null", "body"],
    ["without ids and where", "{}", "body"],
    ["only with options", "{\"limit\":1,\"rate\":1,\"dryRun\":false}", "body"],
    ["nested without end", "[".repeat(100_000), "body"],
    ["nested deeply", "[".repeat(100_000) + "]".repeat(100_000), "[0]".repeat(64)],
    ["another word", "{\"ids\":\"ALL\"}", "ids"],
    ["one number", "{\"ids\":1}", "ids"],
    ["null for ids", "{\"ids\":null}", "ids"],
    ["NaN, which is no JSON", "{\"ids\":[NaN]}", "body"],
    ["an id of null", "{\"ids\":[null]}", "ids[0]"],
    ["an id of text", "{\"ids\":[\"1\"]}", "ids[0]"],
    ["a negative id", "{\"ids\":[1,-1]}", "ids[1]"],
    ["half an id", "{\"ids\":[1.5]}", "ids[0]"],
    ["an infinite id", "{\"ids\":[1e400]}", "ids[0]"],
    ["an id past all integers", "{\"ids\":[1e300]}", "ids[0]"],
    ["too many ids", JSON.stringify({ ids: manyIds }), "ids"],
    ["both", "{\"ids\":\"all\",\"where\":{\"reason\":\"corrupt\"}}", "where"],
    ["both, one of them null", "{\"ids\":null,\"where\":{\"reason\":\"corrupt\"}}", "where"],
    ["a where that is for everything", "{\"where\":{}}", "where"],
    ["text for where", "{\"where\":\"all\"}", "where"],
    ["null for where", "{\"where\":null}", "where"],
    ["an array for where", "{\"where\":[1]}", "where"],
    ["a field that nobody knows", "{\"ids\":\"all\",\"max\":1}", "max"],
    ["a field that objects have", "{\"ids\":\"all\",\"constructor\":1}", "constructor"],
    ["a prototype", "{\"ids\":\"all\",\"__proto__\":{\"limit\":1}}", "body"],
    ["a field in another case", "{\"ids\":\"all\",\"dryrun\":true}", "dryrun"],
    ["a field of where that nobody knows", "{\"where\":{\"reason\":\"corrupt\",\"olderThan\":1}}", "where.olderThan"],
    ["an option within where", "{\"where\":{\"reason\":\"corrupt\",\"limit\":1}}", "where.limit"],
    ["no text for a reason", "{\"where\":{\"reason\":1}}", "where.reason"],
    ["null for a reason", "{\"where\":{\"reason\":null}}", "where.reason"],
    ["an empty reason", "{\"where\":{\"reason\":\"\"}}", "where.reason"],
    ["an empty error", "{\"where\":{\"error\":\"\"}}", "where.error"],
    ["half a character", "{\"where\":{\"error\":\"\\ud800\"}}", "where.error"],
    ["a negative age", "{\"where\":{\"olderThanMillis\":-1}}", "where.olderThanMillis"],
    ["a part of an age", "{\"where\":{\"olderThanMillis\":0.5}}", "where.olderThanMillis"],
    ["an age with a unit", "{\"where\":{\"olderThanMillis\":\"1 day\"}}", "where.olderThanMillis"],
    ["a negative limit", "{\"ids\":\"all\",\"limit\":-1}", "limit"],
    ["half a limit", "{\"ids\":\"all\",\"limit\":0.5}", "limit"],
    ["an infinite limit", "{\"ids\":\"all\",\"limit\":1e400}", "limit"],
    ["null for a limit", "{\"ids\":\"all\",\"limit\":null}", "limit"],
    ["a rate of 0", "{\"ids\":\"all\",\"rate\":0}", "rate"],
    ["a negative rate", "{\"where\":{\"reason\":\"corrupt\"},\"rate\":-1}", "rate"],
    ["an infinite rate", "{\"ids\":\"all\",\"rate\":1e400}", "rate"],
    ["a rate of text", "{\"ids\":\"all\",\"rate\":\"1\"}", "rate"],
    ["no yes or no", "{\"ids\":\"all\",\"dryRun\":1}", "dryRun"]
  ]

  it.scopedLive("is answered with 400, the field and a reason, and changes nothing", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["a"])
      for (const operation of ["redrive", "discard"]) {
        for (const [what, body, field] of bodies) {
          const answer = yield* command(server, `${path}/${operation}`, body)
          expect([what, answer.status, answer.body]).toMatchObject([what, 400, { _tag: "InvalidRequest", field }])
          expect([what, answer.body.message.length > 5, answer.body.message.length <= 500]).toEqual([what, true, true])
        }
      }
      expect(yield* list()).toHaveLength(1)
    }))

  it.scopedLive("takes as many ids as may be", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead(["a"])
      const ids = Array.from({ length: 10_000 }, (_, id) => id)
      const { body, status } = yield* command(server, `${path}/discard`, { ids })
      expect([status, body]).toEqual([200, { batches: 1, items: 1 }])
    }))

  it.scopedLive("is answered with 413 where it is too large, also where it does not say how large", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead([])
      const large = `{"ids":"all","more":"${"x".repeat(256 * 1024)}"}`
      const limit = 256 * 1024
      const whole = yield* command(server, `${path}/discard`, large)
      expect([whole.status, whole.body]).toMatchObject([413, { _tag: "TooLarge", what: "body", limit }])
      const pieces = yield* admin(server, `${path}/discard`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: new Blob([large]).stream(),
        duplex: "half"
      } as RequestInit)
      expect([pieces.status, pieces.body]).toMatchObject([413, { _tag: "TooLarge", limit }])
    }))

  it.scopedLive("is answered with 415 where it is not said to be JSON, and with 400 where it is no text", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["a"])
      for (const type of [undefined, "text/plain", "application/x-ndjson", "application/json5", "application/jsonp"]) {
        const { body, status } = yield* ask(server, `/admin${path}/discard`, {
          method: "POST",
          token: secret,
          ...type === undefined ? {} : { headers: { "content-type": type } },
          body: new TextEncoder().encode("{\"ids\":\"all\"}")
        })
        expect([type, status, body]).toMatchObject([type, 415, { _tag: "UnsupportedMediaType" }])
      }
      const binary = yield* ask(server, `/admin${path}/discard`, {
        method: "POST",
        token: secret,
        headers: { "content-type": "application/json" },
        body: new Uint8Array([0x7b, 0xff, 0xfe])
      })
      expect([binary.status, binary.body]).toMatchObject([400, { _tag: "InvalidRequest", field: "body" }])
      expect(yield* list()).toHaveLength(1)
      const named = yield* ask(server, `/admin${path}/discard`, {
        method: "POST",
        token: secret,
        headers: { "content-type": "Application/JSON; charset=utf-8" },
        body: "{\"ids\":\"all\"}"
      })
      expect([named.status, named.body]).toEqual([200, { batches: 1, items: 1 }])
    }))
})

describe("a queue without dead letters", () => {
  it.scopedLive("answers all of it with 409", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const refusal = { _tag: "NotOffered", queue: "readings", operation: "deadLetters" }
      for (const path of ["", "/1"]) {
        const { body, status } = yield* admin(server, `/queues/readings/dead-letters${path}`)
        expect([path, status, body]).toEqual([path, 409, refusal])
      }
      for (const path of ["redrive", "discard"]) {
        const { body, status } = yield* command(server, `/queues/readings/dead-letters/${path}`, { ids: "all" })
        expect([path, status, body]).toEqual([path, 409, refusal])
      }
    }))
})

describe("an undecodable letter", () => {
  /** Of an item that the schema of today refuses. */
  const withUndecodable = Effect.gen(function*() {
    const stores = Context.get(yield* Layer.build(BatchStore.layerMemory), BatchStore.BatchStore)
    const server = yield* serve({ store: Layer.succeed(BatchStore.BatchStore, stores) })
    const store = yield* stores.queue("emails")
    yield* server.emails.pause
    yield* store.append({
      batches: [{
        payload: new TextEncoder().encode("sluice/1 json size 1700000000000\n[{\"to\":{\"password\":\"swordfish\"}}]"),
        items: 1,
        oldestAtMillis: 1
      }]
    })
    yield* server.emails.resume
    yield* until(server.emails.metrics, ({ deadLettered }) => deadLettered === 1)
    return server
  })

  it.scopedLive("is announced with its reason", () =>
    Effect.gen(function*() {
      const server = yield* withUndecodable
      const { body } = yield* until(
        admin(server, "/queues/emails/events"),
        ({ body }) => body.some(({ event }: any) => event._tag === "DeadLettered")
      )
      expect(body.find(({ event }: any) => event._tag === "DeadLettered").event).toMatchObject({
        reason: "undecodable",
        sequence: 1,
        size: 1
      })
    }))

  it.scopedLive("is announced with what the schema says of it, which has values of the item in it", () =>
    Effect.gen(function*() {
      const server = yield* withUndecodable
      const { body } = yield* until(
        admin(server, "/queues/emails/events"),
        ({ body }) => body.some(({ event }: any) => event._tag === "DeadLettered")
      )
      const { event } = body.find(({ event }: any) => event._tag === "DeadLettered")
      expect(event.error).toContain("swordfish")
      expect(Object.keys(event)).not.toContain("item")
    }))
})

/**
 * What a request is told of its faults: each field that is wrong, and not the first alone.
 */
import { describe, expect, it } from "@effect/vitest"
import { Codec, WriteBehind } from "@sluice/core"
import { HttpQueue } from "@sluice/http"
import { Context, Effect, Schema } from "effect"
import { path, withDead } from "./support/deadLetters.ts"
import { admin, command } from "./support/operating.ts"
import { post, serve } from "./support/server.ts"

const places = (body: any): ReadonlyArray<unknown> =>
  body.faults.map(({ field, position }: any) => position === undefined ? field : [position, field])

const wrong = { sensor: 1, celsius: "x", tags: ["a", 2, "c", 4] }
const fields = ["sensor", "celsius", "tags[1]", "tags[3]"]

describe("each field that is wrong", () => {
  it.scopedLive("of an item is named", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const answer = yield* post(server, "/queues/readings", wrong)
      expect([answer.status, places(answer.body)]).toEqual([400, fields.map((field) => [0, field])])
      expect(answer.body.faults[0].message).toBe("Expected string, actual 1")
      const durable = yield* post(server, "/queues/emails", { to: "", at: 7 })
      expect(places(durable.body)).toEqual([[0, "to"], [0, "at"]])
    }))

  it.scopedLive("of the items of an array is named, up to a hundred", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const some = yield* post(server, "/queues/readings", [{ sensor: "a", celsius: 1 }, wrong, {}])
      expect(places(some.body)).toEqual([...fields.map((field) => [1, field]), [2, "sensor"], [2, "celsius"]])
      const many = yield* post(server, "/queues/readings", Array.from({ length: 70 }, () => ({})))
      expect(places(many.body)).toHaveLength(100)
      const one = yield* post(server, "/queues/readings", [{}, { sensor: "a", celsius: 1, tags: Array(500).fill(1) }])
      expect(places(one.body)).toHaveLength(100)
    }))

  it.scopedLive("of a line of a stream is named", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const lines = [{ sensor: "a", celsius: 1 }, wrong, {}].map((line) => JSON.stringify(line)).join("\n")
      const answer = yield* post(server, "/queues/readings", lines, { "content-type": "application/x-ndjson" })
      expect([answer.status, answer.body.taken]).toEqual([400, 1])
      expect(places(answer.body)).toEqual(fields.map((field) => [1, field]))
    }))

  it.scopedLive("of a line with several inexact integers is named", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const line = "{\"sensor\":9007199254740993,\"celsius\":9007199254740995}"
      const answer = yield* post(server, "/queues/readings", line, { "content-type": "application/x-ndjson" })
      expect(places(answer.body)).toEqual([[0, "sensor"], [0, "celsius"]])
    }))

  it.scopedLive("of a request is named: parameter and header", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const answer = yield* post(server, "/queues/readings?wait=soon", [], { "idempotency-key": "a b" })
      expect([answer.status, answer.body.field]).toEqual([400, "Idempotency-Key"])
      expect(places(answer.body)).toEqual(["Idempotency-Key", "wait"])
    }))

  it.scopedLive("of a command for dead letters is named", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead([])
      const answer = yield* command(server, `${path}/redrive`, { ids: [1, -1, "x"], rate: 0, unknown: 1, limit: 0.5 })
      expect(answer.status).toBe(400)
      expect([...places(answer.body)].sort()).toEqual(["ids[1]", "ids[2]", "limit", "rate", "unknown"])
      expect(answer.body).toMatchObject(answer.body.faults[0])
      const one = yield* command(server, `${path}/redrive`, { ids: [-1] })
      expect([one.body.field, "faults" in one.body]).toEqual(["ids[0]", false])
    }))

  it.scopedLive("of the parameters of a list is named", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead([])
      const answer = yield* admin(server, `${path}?limit=x&after=y&olderThanMillis=-1`)
      expect(answer.status).toBe(400)
      for (const field of ["limit", "after", "olderThanMillis"]) expect(JSON.stringify(answer.body)).toContain(field)
    }))
})

describe("the faults of one value", () => {
  class Things extends Context.Tag("test/Things")<Things, WriteBehind.WriteBehind<any>>() {}

  const decoding = <A, I>(schema: Schema.Schema<A, I>, value: unknown) =>
    Effect.gen(function*() {
      const queue = yield* HttpQueue.writeBehind(Things, { schema: schema as Schema.Schema<any, any> })
      const decoded = queue.decode(value)
      return decoded._tag === "Success" ? [] : decoded.failure
    }).pipe(Effect.provide(WriteBehind.layer(Things, { name: "things", capacity: 1, flush: () => Effect.void })))

  it.effect("are one for each field, also where it may be one of several things", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({
        a: Schema.Union(Schema.String, Schema.Number),
        b: Schema.optional(Schema.Union(Schema.Literal("all"), Schema.Array(Schema.Number)))
      })
      expect(yield* decoding(schema, { a: true, b: [1, "x"] })).toMatchObject([
        { field: "a", message: "Expected string, actual true or Expected number, actual true" },
        { field: "b[1]", message: "Expected number, actual \"x\"" }
      ])
      expect((yield* decoding(schema, { a: 1, b: 7 })).map(({ field }) => field)).toEqual(["b"])
    }))

  it.effect("have short messages, and are no more than a hundred", () =>
    Effect.gen(function*() {
      const faults = yield* decoding(Schema.Array(Schema.Number), Array(1500).fill("x".repeat(30)))
      expect(faults).toHaveLength(100)
      const [long] = yield* decoding(Schema.Number, "x".repeat(10_000))
      expect(long.message).toHaveLength(500)
    }))

  it.effect("are the first alone, of an item with very many bytes", () =>
    Effect.gen(function*() {
      const faults = yield* decoding(Schema.Array(Schema.Number), Array(20_000).fill("x"))
      expect(faults.map(({ field }) => field)).toEqual(["[0]"])
      expect(Codec.defaultLimits.maxItemBytes).toBeGreaterThan(80_000)
    }))

  it.effect("are told of an item whose decoding is asynchronous, instead of a crash", () =>
    Effect.gen(function*() {
      const later = Schema.transformOrFail(Schema.String, Schema.String, {
        decode: (text) => Effect.promise(() => Promise.resolve(text)),
        encode: Effect.succeed
      })
      const faults = yield* decoding(Schema.Struct({ a: later, b: Schema.Number }), { a: "x", b: "y" })
      expect(faults.map(({ field }) => field)).toEqual(["a", "b"])
      expect(faults[0].message).toContain("synchronously")
    }))
})

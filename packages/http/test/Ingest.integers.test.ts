import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { HttpQueue } from "@sluice/http"
import { Effect, FastCheck as fc, Schema } from "effect"
import { inexactIntegers } from "../src/internal/integers.ts"
import { serveRouter } from "./support/custom.ts"
import { withDead } from "./support/deadLetters.ts"
import { admin } from "./support/operating.ts"
import { counts, json, ndjson } from "./support/raw.ts"
import { ask } from "./support/server.ts"

/** A server of a queue of anything, in which integers that no number holds are refused, and one in which they are not. */
const serve = Effect.gen(function*() {
  const taken: Array<unknown> = []
  const make = (name: string, unsafeIntegers?: HttpQueue.UnsafeIntegers) =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<unknown, never, never>({
        name,
        capacity: 1000,
        policy: Backpressure.reject,
        flush: ({ items }) => Effect.sync(() => void taken.push(...items))
      })
      return { queue, mounted: HttpQueue.fromWriteBehind(queue, { schema: Schema.Unknown, unsafeIntegers }) }
    })
  const queues = [yield* make("exact"), yield* make("rounded", "round")]
  const server = yield* serveRouter(queues.map(({ mounted }) => mounted))
  const send = (name: string, type: string, body: string) =>
    Effect.gen(function*() {
      const { body: answer, status } = yield* ask(server, `/queues/${name}`, {
        method: "POST",
        headers: { "content-type": type },
        body
      })
      for (const { queue } of queues) yield* queue.flushNow
      return { status, body: answer, items: taken.splice(0) }
    })
  return { send }
})

const inexact = [
  "9007199254740993",
  "-9007199254740993",
  "18446744073709551615",
  "1152921504606846976",
  "100000000000000000001",
  "1000000000000000000001",
  "1".repeat(400)
]

const exact = [
  "9007199254740991",
  "-9007199254740991",
  "9007199254740992",
  "1000000000000000",
  "100000000000000000000",
  "1000000000000000000000",
  "0.12345678901234567",
  "12345678901234567.5",
  "9007199254740993e0",
  "9007199254740993E-3",
  "1e-12345678901234567",
  "1E+00000000000000000",
  "1e00000000000000001",
  "-0.12345678901234567",
  "\"9007199254740993\"",
  "{\"9007199254740993\":1}",
  "\"\\\"9007199254740993\"",
  "[\"\\\\\",\"9007199254740993\"]"
]

describe("an integer that no number holds", () => {
  it.scopedLive("is refused, with the position of its item and its field", () =>
    Effect.gen(function*() {
      const { send } = yield* serve
      for (const literal of inexact) {
        const fault = { reason: "inexact", message: expect.stringContaining(literal.slice(0, 50)) }
        const item = `{"a,\\":[":["]\\"",{"id":${literal}}]}`
        const field = "a,\":[[1].id"
        const bodies = [
          [json, literal, [{ position: 0, field: "" }], 0],
          [json, item, [{ position: 0, field }], 0],
          [json, `[1,${item},{"b":2},${literal}]`, [{ position: 1, field }, { position: 3, field: "" }], 0],
          [ndjson, `1\n{"b":2}\n${item}\n${literal}\n`, [{ position: 2, field }], 2],
          [ndjson, `[1,[${literal}]]`, [{ position: 0, field: "[1][0]" }], 0]
        ] as const
        for (const [type, body, places, taken] of bodies) {
          expect([body, yield* send("exact", type, body)]).toEqual([body, {
            status: 400,
            body: {
              _tag: "InvalidItems",
              queue: "exact",
              taken,
              faults: places.map((place) => ({ ...place, ...fault }))
            },
            items: taken === 0 ? [] : [1, { b: 2 }]
          }])
        }
      }
    }))

  it.scopedLive("is rounded where the queue allows it", () =>
    Effect.gen(function*() {
      const { send } = yield* serve
      for (const [type, body] of [[json, "[9007199254740993]"], [ndjson, "9007199254740993"]]) {
        expect(yield* send("rounded", type, body)).toMatchObject({ status: 202, items: [9007199254740992] })
      }
    }))

  it.scopedLive("is none that a number holds, nor a fraction, nor digits in text or in a key", () =>
    Effect.gen(function*() {
      const { send } = yield* serve
      for (const literal of exact) {
        for (const [type, body] of [[json, `[${literal}]`], [ndjson, literal]]) {
          expect([literal, yield* send("exact", type, body)]).toEqual([literal, {
            status: 202,
            body: counts({ items: 1, accepted: 1 }),
            items: [JSON.parse(literal)]
          }])
        }
      }
    }))

  const leaf = fc.oneof(
    fc.constantFrom(...exact),
    fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
    fc.string().map((text) => JSON.stringify(text)),
    fc.constantFrom("null", "1e5", "-1.5")
  )
  const { text } = fc.letrec<{ text: string }>((tie) => ({
    text: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie("text"), { maxLength: 4 }).map((items) => `[${items.join(" , ")}]`),
      // Of two fields of one name the text has both, and what is read of it only the last.
      fc.uniqueArray(fc.tuple(fc.string(), tie("text")), { maxLength: 4, selector: ([key]) => key })
        .map((fields) => `{${fields.map(([key, value]) => `${JSON.stringify(key)} : ${value}`).join(",")}}`)
    )
  }))

  /** The integers of a text that come out otherwise, by taking its strings out of it first. */
  const expected = (text: string): ReadonlyArray<string> =>
    (text.replace(/"(\\.|[^"\\])*"/g, "\"\"").match(/-?\d+(\.\d+)?([eE][+-]?\d+)?/g) ?? [])
      .filter((literal) => /^-?\d+$/.test(literal))
      .filter((literal) =>
        BigInt(literal) !== BigInt(Number(literal).toLocaleString("fullwide", { useGrouping: false }))
      )

  it.prop("is found in any text", { text }, ({ text }) => {
    const found = inexactIntegers(text, Infinity)
    expect(found.map(({ message }) => message.split(" ")[2])).toEqual(expected(text))
    for (const { path } of found) {
      expect(() => path.reduce((value: any, key) => value[key], JSON.parse(text))).not.toThrow()
    }
  })
})

describe("a number in a command for dead letters", () => {
  it.scopedLive("is refused where no number holds it: another letter would be meant", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["a"])
      const bodies = [
        ["{\"ids\":[9007199254740993]}", "ids"],
        ["{\"where\":{\"olderThanMillis\":9007199254740993}}", "where"],
        ["{\"ids\":\"all\",\"limit\":9007199254740993}", "limit"]
      ]
      for (const [body, field] of bodies) {
        const answer = yield* admin(server, "/queues/emails/dead-letters/discard", {
          method: "POST",
          headers: { "content-type": json },
          body
        })
        expect([body, answer.status, answer.body.field]).toEqual([body, 400, expect.stringContaining(field)])
      }
      expect((yield* admin(server, "/queues/emails/dead-letters/9007199254740993")).status).toBe(400)
      expect((yield* admin(server, "/queues/emails/dead-letters?after=9007199254740993")).status).toBe(400)
      expect(yield* list()).toHaveLength(1)
    }))
})

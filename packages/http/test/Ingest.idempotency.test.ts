import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { Effect, Fiber } from "effect"
import {
  chunk,
  chunkedHead,
  connect,
  counts,
  heldStore,
  json,
  lastChunk,
  makeHold,
  ndjson,
  sharedStore,
  until
} from "./support/raw.ts"
import { ask, post, type Reading, type Running, serve } from "./support/server.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")
const key = (key: string) => ({ "idempotency-key": key })
const postLines = (server: { readonly url: string }, path: string, body: string, headers = {}) =>
  ask(server, path, { method: "POST", headers: { "content-type": ndjson, ...headers }, body })

/** Both queues, each with how its items are made, told apart and found at the end of their way. */
const queues = [
  {
    name: "readings",
    item: (i: number): unknown => reading(i),
    taken: "accepted",
    offered: (server: Running) => Effect.map(server.readings.metrics, ({ offered }) => offered),
    arrived: (server: Running) =>
      Effect.map(Effect.orDie(server.readings.flushNow), () => server.flushed.map(({ celsius }) => celsius))
  },
  {
    name: "emails",
    item: (i: number): unknown => ({ to: String(i) }),
    taken: "stored",
    offered: (server: Running) => Effect.map(server.emails.metrics, ({ offered }) => offered),
    arrived: (server: Running) =>
      Effect.gen(function*() {
        yield* Effect.orDie(server.emails.flush)
        yield* until(() => Effect.map(Effect.orDie(server.emails.stats), ({ pending }) => pending.items === 0))
        return server.sent.map(({ to }) => Number(to))
      })
  }
] as const

for (const { arrived, item, name, offered, taken } of queues) {
  const path = `/queues/${name}`
  describe(`a request to ${name} that is repeated with its Idempotency-Key`, () => {
    it.scopedLive("counts once: an item", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const first = yield* post(server, path, item(1), key("k"))
        expect([first.status, first.body]).toEqual([202, counts({ items: 1, [taken]: 1 })])
        for (let i = 0; i < 3; i++) {
          const again = yield* post(server, path, item(1), key("k"))
          expect([again.status, again.body]).toEqual([202, counts({ items: 1, duplicates: 1 })])
        }
        expect((yield* post(server, path, item(2), key("K"))).body).toEqual(counts({ items: 1, [taken]: 1 }))
        expect(yield* arrived(server)).toEqual([1, 2])
      }))

    it.scopedLive("counts once: an array", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const array = [item(1), item(2), item(3)]
        const first = yield* post(server, path, array, key("k"))
        expect([first.status, first.body]).toEqual([202, counts({ items: 3, [taken]: 3 })])
        const again = yield* post(server, path, array, key("k"))
        expect([again.status, again.body]).toEqual([202, counts({ items: 3, duplicates: 3 })])
        expect(yield* arrived(server)).toEqual([1, 2, 3])
      }))

    it.scopedLive("counts once: a stream, also of equal items", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const body = lines(item(1), item(1), item(2))
        const first = yield* postLines(server, path, body, key("k"))
        expect([first.status, first.body]).toEqual([202, counts({ items: 3, [taken]: 3 })])
        const again = yield* postLines(server, path, body, key("k"))
        expect([again.status, again.body]).toEqual([202, counts({ items: 3, duplicates: 3 })])
        expect(yield* arrived(server)).toEqual([1, 1, 2])
      }))

    it.scopedLive("counts once among twenty at the same time", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const array = [item(1), item(2)]
        const answers = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) => i % 2 === 0 ? post(server, path, array, key("k")) : postLines(server, path, lines(...array), key("k")),
          { concurrency: "unbounded" }
        )
        expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202))
        const sum = (of: string) => answers.reduce((sum, { body }) => sum + body[of], 0)
        expect([sum(taken), sum("duplicates"), sum("items")]).toEqual([2, 38, 40])
        expect((yield* arrived(server)).sort((a, b) => a - b)).toEqual([1, 2])
      }))

    it.scopedLive("counts apart from one of the other queue, and from one without a key", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        yield* post(server, "/queues/readings", reading(1), key("k"))
        yield* post(server, "/queues/emails", { to: "1" }, key("k"))
        yield* post(server, path, item(2))
        yield* post(server, path, item(2))
        expect(yield* arrived(server)).toEqual([1, 2, 2])
      }))

    it.scopedLive("counts again after the window", () =>
      Effect.gen(function*() {
        const server = yield* serve({
          queues: { idempotencyWindow: "50 millis" },
          emails: { idWindow: "50 millis" }
        })
        yield* post(server, path, item(1), key("k"))
        yield* Effect.sleep(200)
        const again = yield* post(server, path, item(1), key("k"))
        expect([again.status, again.body]).toEqual([202, counts({ items: 1, [taken]: 1 })])
        expect(yield* arrived(server)).toEqual([1, 1])
      }))

    it.scopedLive("counts where what it was refused for is mended", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        expect((yield* post(server, path, {}, key("k"))).status).toBe(400)
        expect((yield* post(server, path, [item(1), {}], key("k"))).status).toBe(400)
        expect((yield* post(server, path, "{", key("k"))).status).toBe(400)
        const array = yield* post(server, path, [item(1), item(2)], key("k"))
        expect([array.status, array.body]).toEqual([202, counts({ items: 2, [taken]: 2 })])
        // A stream goes on from where it was wrong.
        const bad = yield* postLines(server, path, `${lines(item(3))}x\n${lines(item(5))}`, key("s"))
        expect([bad.status, bad.body.taken]).toEqual([400, 1])
        const good = yield* postLines(server, path, lines(item(3), item(4), item(5)), key("s"))
        expect([good.status, good.body]).toEqual([202, counts({ items: 3, [taken]: 2, duplicates: 1 })])
        expect(yield* arrived(server)).toEqual([1, 2, 3, 4, 5])
      }))

    it.scopedLive("is refused with another body, which is lost by nobody: with a key of its own it counts", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const refused = {
          status: 422,
          body: { _tag: "IdempotencyKeyReused", queue: name, message: expect.stringContaining("new key") }
        }
        const sends = [
          ["item", (body: ReadonlyArray<unknown>, key: Record<string, string>) => post(server, path, body[0], key)],
          ["array", (body: ReadonlyArray<unknown>, key: Record<string, string>) => post(server, path, body, key)],
          [
            "stream",
            (body: ReadonlyArray<unknown>, key: Record<string, string>) => postLines(server, path, lines(...body), key)
          ]
        ] as const
        let next = 0
        const sent: Array<number> = []
        for (const [kind, send] of sends) {
          const [a, b, c] = [next++, next++, next++]
          const first = kind === "item" ? [a] : [a, b]
          const others = kind === "item" ? [[c]] : [[c, b], [a, c], [a], [a, b, c], [b, a], []]
          expect((yield* send(first.map(item), key(kind))).status).toBe(202)
          for (const other of others) {
            expect([kind, other, yield* send(other.map(item), key(kind))]).toMatchObject([kind, other, refused])
          }
          expect((yield* send(first.map(item), key(kind))).body)
            .toEqual(counts({ items: first.length, duplicates: first.length }))
          expect((yield* send([item(c)], key(`${kind} of its own`.replaceAll(" ", "-")))).body)
            .toEqual(counts({ items: 1, [taken]: 1 }))
          sent.push(...first, c)
        }
        expect((yield* arrived(server)).sort((a, b) => a - b)).toEqual(sent)
      }))

    it.scopedLive("is refused with another body than that of a stream that was cut, which its own completes", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        const body = lines(item(1), item(2), item(3))
        const cut = yield* connect(server)
        yield* cut.send(chunkedHead(path, ndjson, key("k")))
        yield* cut.send(chunk(lines(item(1), item(2))))
        yield* until(() => Effect.map(offered(server), (offered) => offered === 2))
        yield* arrived(server)
        cut.socket.destroy()
        for (const other of [lines(item(1), item(4), item(3)), lines(item(4)), lines(item(1))]) {
          expect((yield* postLines(server, path, other, key("k"))).status).toBe(422)
        }
        expect((yield* postLines(server, path, body, key("k"))).body)
          .toEqual(counts({ items: 3, [taken]: 1, duplicates: 2 }))
        expect(yield* arrived(server)).toEqual([1, 2, 3])
      }))

    it.scopedLive("is the same body however it is spelled, as a whole or as a stream", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        yield* post(server, path, [item(1), item(2)], key("k"))
        const again = [
          yield* post(server, path, ` ${JSON.stringify([item(1), item(2)], undefined, 2)}\n`, key("k")),
          yield* postLines(server, path, `\n ${JSON.stringify(item(1))} \r\n${JSON.stringify(item(2))}`, key("k"))
        ]
        for (const { body } of again) expect(body).toEqual(counts({ items: 2, duplicates: 2 }))
        expect(yield* arrived(server)).toEqual([1, 2])
      }))

    it.scopedLive("has the key that is in quotes, as a string of structured fields", () =>
      Effect.gen(function*() {
        const server = yield* serve()
        yield* post(server, path, item(1), key("\"k1\""))
        for (const same of ["k1", "\"k1\"", "\"k1\";a=1", "\"k1\" "]) {
          expect([same, (yield* post(server, path, item(1), key(same))).body.duplicates]).toEqual([same, 1])
        }
        yield* post(server, path, item(2), key("\"a\\\\\\\"b\""))
        expect((yield* post(server, path, item(2), key("a\\\"b"))).body.duplicates).toBe(1)
        for (const wrong of ["\"k1", "\"\"", "\"a b\"", "\"a\\b\"", "\"a\"b", "\"a\", \"b\"", `"${"x".repeat(256)}"`]) {
          expect([wrong, yield* post(server, path, item(3), key(wrong))]).toMatchObject([wrong, {
            status: 400,
            body: { _tag: "InvalidRequest", field: "Idempotency-Key" }
          }])
        }
        expect(yield* arrived(server)).toEqual([1, 2])
      }))

    it.scopedLive("has every item of a stream once that was cut half-way", () =>
      Effect.gen(function*() {
        const server = yield* serve({ readings: { capacity: 1000 } })
        const items = Array.from({ length: 500 }, (_, i) => item(i))
        const body = Buffer.from(lines(...items))
        const cut = yield* connect(server)
        yield* cut.send(chunkedHead(path, ndjson, key("k")))
        yield* cut.send(chunk(body.subarray(0, body.length / 2 | 0)))
        yield* until(() => Effect.map(offered(server), (offered) => offered > 100))
        cut.socket.destroy()
        const again = yield* postLines(server, path, body.toString(), key("k"))
        expect(again.status).toBe(202)
        expect(again.body.duplicates).toBeGreaterThan(100)
        expect(again.body).toEqual(counts({
          items: 500,
          duplicates: again.body.duplicates,
          [taken]: 500 - again.body.duplicates
        }))
        expect((yield* arrived(server)).sort((a, b) => a - b)).toEqual(Array.from({ length: 500 }, (_, i) => i))
      }))
  })
}

describe("a request to a queue that keeps its items in memory", () => {
  const serveStuck = (policy: Backpressure.Policy<Reading>) =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({
        readings: {
          capacity: 2,
          policy,
          batchSize: 1,
          flush: (batch) => Effect.zipRight(hold.pass, Effect.sync(() => void server.flushed.push(...batch.items)))
        }
      })
      yield* server.readings.offer(reading(0))
      yield* until(() => hold.waiting() === 1)
      return { server, hold }
    })

  it.scopedLive("that was refused because there was no room counts when it is tried again", () =>
    Effect.gen(function*() {
      const { hold, server } = yield* serveStuck(Backpressure.reject)
      const path = "/queues/readings"
      expect((yield* post(server, path, [reading(1), reading(2), reading(3)], key("too-many"))).status).toBe(413)
      yield* post(server, path, reading(1))
      expect((yield* post(server, path, [reading(2), reading(3)], key("array"))).status).toBe(429)
      const stream = lines(reading(4), reading(5), reading(6))
      const prefix = yield* postLines(server, path, stream, key("stream"))
      expect([prefix.status, prefix.body.taken]).toEqual([429, 1])
      expect((yield* post(server, path, reading(7), key("item"))).status).toBe(429)
      yield* hold.open
      yield* server.readings.flushNow
      expect((yield* post(server, path, [reading(2), reading(3)], key("array"))).body)
        .toEqual(counts({ items: 2, accepted: 2 }))
      yield* server.readings.flushNow
      expect((yield* postLines(server, path, stream, key("stream"))).body)
        .toEqual(counts({ items: 3, accepted: 2, duplicates: 1 }))
      yield* server.readings.flushNow
      expect((yield* post(server, path, reading(7), key("item"))).body).toEqual(counts({ items: 1, accepted: 1 }))
      yield* server.readings.flushNow
      expect(server.flushed.map(({ celsius }) => celsius)).toEqual([0, 1, 4, 2, 3, 5, 6, 7])
    }))

  it.scopedLive("has every item of a stream once that was cut while it waited for room", () =>
    Effect.gen(function*() {
      const { hold, server } = yield* serveStuck(Backpressure.suspend())
      const stream = lines(reading(1), reading(2), reading(3), reading(4))
      const cut = yield* connect(server)
      yield* cut.send(chunkedHead("/queues/readings", ndjson, key("k")))
      yield* cut.send(chunk(stream))
      yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 4))
      cut.socket.destroy()
      yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 3))
      yield* hold.open
      yield* server.readings.flushNow
      const again = yield* postLines(server, "/queues/readings", stream, key("k"))
      expect(again.status).toBe(202)
      yield* server.readings.flushNow
      expect(server.flushed.map(({ celsius }) => celsius)).toEqual([0, 1, 2, 3, 4])
    }))

  it.scopedLive("is not told that an item is in which another request waits with, and which is refused then", () =>
    Effect.gen(function*() {
      const { hold, server } = yield* serveStuck(Backpressure.suspend({ timeout: "300 millis" }))
      const stream = lines(reading(1), reading(2), reading(3))
      const first = yield* Effect.fork(postLines(server, "/queues/readings", stream, key("k")))
      yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 4))
      const second = yield* postLines(server, "/queues/readings", stream, key("k"))
      expect(yield* Fiber.join(first)).toMatchObject({ status: 429, body: { taken: 2 } })
      yield* hold.open
      yield* server.readings.flushNow
      // Whoever is answered with 202 has every item in.
      expect([second.status, server.flushed.map(({ celsius }) => celsius)]).not.toEqual([202, [0, 1, 2]])
    }))

  it.scopedLive("that was cut while it waited for its settlement is not taken again", () =>
    Effect.gen(function*() {
      const { hold, server } = yield* serveStuck(Backpressure.reject)
      const path = "/queues/readings?wait=settled"
      const body = JSON.stringify([reading(1), reading(2)])
      const cut = yield* connect(server)
      yield* cut.send(chunkedHead(path, json, key("k")))
      yield* cut.send(chunk(body))
      yield* cut.send(lastChunk)
      yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 3))
      cut.socket.destroy()
      yield* Effect.sleep(20)
      yield* hold.open
      const again = yield* post(server, path, body, key("k"))
      expect([again.status, again.body]).toEqual([202, counts({ items: 2, duplicates: 2 })])
      yield* server.readings.flushNow
      expect(server.flushed.map(({ celsius }) => celsius)).toEqual([0, 1, 2])
    }))

  it.scopedLive("is remembered while it is one of the newest", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { maxIdempotencyKeys: 2 } })
      for (const each of ["a", "b", "b", "c"]) yield* post(server, "/queues/readings", reading(1), key(each))
      const again = (name: string) =>
        Effect.map(post(server, "/queues/readings", reading(1), key(name)), ({ body }) => body.duplicates)
      expect(yield* again("b")).toBe(1)
      expect(yield* again("c")).toBe(1)
      expect(yield* again("a")).toBe(0)
    }))

  it.scopedLive("with another body than one that is under way waits for its item, and is refused then", () =>
    Effect.gen(function*() {
      const { hold, server } = yield* serveStuck(Backpressure.suspend())
      const first = yield* Effect.fork(
        postLines(server, "/queues/readings", lines(reading(1), reading(2), reading(3)), key("k"))
      )
      yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 4))
      const other = yield* Effect.fork(postLines(server, "/queues/readings", lines(reading(1), reading(8)), key("k")))
      yield* hold.open
      expect(yield* Fiber.join(other)).toMatchObject({ status: 422, body: { _tag: "IdempotencyKeyReused" } })
      expect(yield* Fiber.join(first)).toMatchObject({ status: 202, body: counts({ items: 3, accepted: 3 }) })
      yield* server.readings.flushNow
      expect(server.flushed.map(({ celsius }) => celsius)).toEqual([0, 1, 2, 3])
    }))
})

describe("a request to a queue with a store", () => {
  it.scopedLive("is remembered by the store: for a new queue, on a new server", () =>
    Effect.gen(function*() {
      const store = yield* sharedStore
      const body = [{ to: "1" }, { to: "2" }]
      const one = yield* serve({ store })
      yield* post(one, "/queues/emails", body, key("k"))
      yield* postLines(one, "/queues/emails", lines(...body), key("s"))
      yield* until(() => one.sent.length === 4)
      yield* one.stop
      const two = yield* serve({ store })
      expect((yield* post(two, "/queues/emails", body, key("k"))).body).toEqual(counts({ items: 2, duplicates: 2 }))
      expect((yield* postLines(two, "/queues/emails", lines(...body), key("s"))).body)
        .toEqual(counts({ items: 2, duplicates: 2 }))
      expect((yield* post(two, "/queues/emails", { to: "3" }, key("new"))).body).toEqual(
        counts({ items: 1, stored: 1 })
      )
      yield* until(() => two.sent.length === 1)
      expect(two.sent).toEqual([{ to: "3" }])
    }))

  it.scopedLive("is not taken for another body by a new server, which cannot know that one: nothing is lost", () =>
    Effect.gen(function*() {
      const store = yield* sharedStore
      const one = yield* serve({ store })
      yield* post(one, "/queues/emails", [{ to: "1" }, { to: "2" }], key("k"))
      yield* until(() => one.sent.length === 2)
      yield* one.stop
      const two = yield* serve({ store })
      const other = [{ to: "1" }, { to: "3" }]
      expect((yield* post(two, "/queues/emails", other, key("k"))).body)
        .toEqual(counts({ items: 2, stored: 1, duplicates: 1 }))
      yield* until(() => two.sent.length === 1)
      expect(two.sent).toEqual([{ to: "3" }])
      // It knows now whose the key is.
      expect((yield* post(two, "/queues/emails", [{ to: "1" }, { to: "2" }], key("k"))).status).toBe(422)
      expect((yield* post(two, "/queues/emails", other, key("k"))).body).toEqual(counts({ items: 2, duplicates: 2 }))
    }))

  it.scopedLive("with another body than one that waits for the store is refused once that is stored", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ store: heldStore(hold) })
      const cut = yield* connect(server)
      yield* cut.send(chunkedHead("/queues/emails", ndjson, key("k")))
      yield* cut.send(chunk(lines({ to: "1" }, { to: "2" })))
      yield* until(() => hold.waiting() === 1)
      const other = yield* Effect.fork(post(server, "/queues/emails", [{ to: "1" }, { to: "3" }], key("k")))
      yield* hold.open
      yield* cut.send(lastChunk)
      expect((yield* cut.answer).status).toBe(202)
      expect((yield* Fiber.join(other)).status).toBe(422)
      // One that has gone meanwhile has stored its items all the same.
      yield* hold.close
      const gone = yield* connect(server)
      yield* gone.send(chunkedHead("/queues/emails", ndjson, key("g")))
      yield* gone.send(chunk(lines({ to: "4" })))
      yield* until(() => hold.waiting() === 1)
      gone.socket.destroy()
      const late = yield* Effect.fork(post(server, "/queues/emails", [{ to: "5" }], key("g")))
      yield* hold.open
      expect((yield* Fiber.join(late)).status).toBe(422)
      yield* until(() => server.sent.length === 3)
      expect(server.sent).toEqual([{ to: "1" }, { to: "2" }, { to: "4" }])
    }))

  it.scopedLive("that was cut while it waited for the store is stored once", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ store: heldStore(hold) })
      const cut = yield* connect(server)
      yield* cut.send(chunkedHead("/queues/emails", ndjson, key("k")))
      yield* cut.send(chunk(lines({ to: "1" }, { to: "2" })))
      yield* until(() => hold.waiting() === 1)
      cut.socket.destroy()
      const asked = yield* Effect.fork(postLines(server, "/queues/emails", lines({ to: "1" }, { to: "2" }), key("k")))
      yield* Effect.sleep(50)
      expect(asked.unsafePoll()).toBeNull()
      yield* hold.open
      expect((yield* Fiber.join(asked)).body).toEqual(counts({ items: 2, duplicates: 2 }))
      yield* until(() => server.sent.length === 2)
      expect(server.sent).toEqual([{ to: "1" }, { to: "2" }])
    }))
})

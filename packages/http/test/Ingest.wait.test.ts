import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { Effect, Fiber, Schedule } from "effect"
import { chunk, chunkedHead, connect, counts, heldStore, lastChunk, makeHold, ndjson, until } from "./support/raw.ts"
import { ask, post, type Reading, serve } from "./support/server.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")
const postLines = (server: { readonly url: string }, path: string, body: string) =>
  ask(server, path, { method: "POST", headers: { "content-type": ndjson }, body })

/** A few turns of the network, in which an answer that is not held back would come. */
const aWhile = Effect.sleep(50)

describe("?wait=stored", () => {
  const bodies = [
    ["an item", { to: "ada" }, 1],
    ["an array", [{ to: "ada" }, { to: "bob" }], 2]
  ] as const

  for (const [what, body, items] of bodies) {
    it.scopedLive(`answers ${what} only after the store has it`, () =>
      Effect.gen(function*() {
        const hold = makeHold()
        const server = yield* serve({ store: heldStore(hold) })
        const asked = yield* Effect.fork(post(server, "/queues/emails?wait=stored", body))
        yield* until(() => hold.waiting() === 1)
        yield* aWhile
        expect(asked.unsafePoll()).toBeNull()
        expect((yield* server.emails.metrics).stored).toBe(0)
        yield* hold.open
        const answer = yield* Fiber.join(asked)
        expect([answer.status, answer.body]).toEqual([202, counts({ items, stored: items })])
        expect((yield* server.emails.metrics).stored).toBe(items)
      }))
  }

  it.scopedLive("answers a stream only after the store has it, and reads no further meanwhile", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ store: heldStore(hold) })
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/emails?wait=stored", ndjson))
      yield* client.send(chunk(lines({ to: "ada" })))
      yield* until(() => hold.waiting() === 1)
      yield* client.send(chunk(lines({ to: "bob" })))
      yield* client.send(lastChunk)
      yield* aWhile
      expect(client.hasAnswer).toBe(false)
      expect((yield* server.emails.metrics).offered).toBe(1)
      yield* hold.open
      expect(yield* client.answer).toMatchObject({ status: 202, body: counts({ items: 2, stored: 2 }) })
      expect((yield* server.emails.metrics).stored).toBe(2)
    }))

  it.scopedLive("is how an Idempotency-Key is answered by a queue with a store", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ store: heldStore(hold) })
      const asked = yield* Effect.fork(post(server, "/queues/emails", { to: "ada" }, { "idempotency-key": "k" }))
      yield* until(() => hold.waiting() === 1)
      yield* aWhile
      expect(asked.unsafePoll()).toBeNull()
      yield* hold.open
      expect((yield* Fiber.join(asked)).body).toEqual(counts({ items: 1, stored: 1 }))
    }))

  it.scopedLive("without it, an item is answered before the store has it", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ store: heldStore(hold) })
      const answer = yield* post(server, "/queues/emails", { to: "ada" })
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 1, accepted: 1 })])
      expect((yield* server.emails.metrics).stored).toBe(0)
      yield* hold.open
      yield* until(() => server.sent.length === 1)
    }))

  it.scopedLive("goes on with a stream that finds no room as it becomes available", () =>
    Effect.gen(function*() {
      const server = yield* serve({ emails: { capacity: 4, policy: Backpressure.suspend() } })
      const items = Array.from({ length: 100 }, (_, i) => ({ to: `u${i}` }))
      const answer = yield* postLines(server, "/queues/emails?wait=stored", lines(...items))
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 100, stored: 100 })])
      yield* until(() => server.sent.length === 100)
      expect(server.sent).toEqual(items)
    }))
})

describe("?wait=settled", () => {
  const bodies = [
    ["an item", reading(1), 1],
    ["an array", [reading(1), reading(2)], 2]
  ] as const

  for (const [what, body, items] of bodies) {
    it.scopedLive(`answers ${what} only after it was flushed`, () =>
      Effect.gen(function*() {
        const hold = makeHold()
        const server = yield* serve({ readings: { flush: () => hold.pass } })
        const asked = yield* Effect.fork(post(server, "/queues/readings?wait=settled", body))
        yield* until(() => hold.waiting() === 1)
        yield* aWhile
        expect(asked.unsafePoll()).toBeNull()
        expect((yield* server.readings.metrics).settled).toBe(0)
        yield* hold.open
        const answer = yield* Fiber.join(asked)
        expect([answer.status, answer.body]).toEqual([202, counts({ items, settled: items })])
        expect((yield* server.readings.metrics).settled).toBe(items)
      }))
  }

  it.scopedLive("answers a stream only after all of it was flushed, but reads on meanwhile", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ readings: { batchSize: 1, flush: () => hold.pass } })
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings?wait=settled", ndjson))
      yield* client.send(chunk(lines(reading(1))))
      yield* until(() => hold.waiting() === 1)
      yield* client.send(chunk(lines(reading(2), reading(3))))
      yield* client.send(lastChunk)
      yield* until(() => Effect.map(server.readings.metrics, ({ offered }) => offered === 3))
      yield* aWhile
      expect(client.hasAnswer).toBe(false)
      yield* hold.open
      expect(yield* client.answer).toMatchObject({ status: 202, body: counts({ items: 3, settled: 3 }) })
      expect((yield* server.readings.metrics).settled).toBe(3)
    }))

  it.scopedLive("counts as dropped what could not be flushed at the end of its retries", () =>
    Effect.gen(function*() {
      let attempts = 0
      const server = yield* serve({
        readings: {
          batchSize: 2,
          retry: Schedule.recurs(2),
          flush: ({ items }) =>
            Effect.suspend(() => {
              attempts += 1
              return items.some(({ celsius }) => celsius < 0) ? Effect.fail("cold") : Effect.void
            })
        }
      })
      const answer = yield* post(server, "/queues/readings?wait=settled", [reading(-1), reading(-2), reading(3)])
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 3, dropped: 2, settled: 1 })])
      expect(attempts).toBe(4)
      const stream = yield* postLines(server, "/queues/readings?wait=settled", lines(reading(-1), reading(-1)))
      expect([stream.status, stream.body]).toEqual([202, counts({ items: 2, dropped: 2 })])
    }))

  it.scopedLive("counts as coalesced what was replaced, by itself or by others", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        readings: {
          policy: Backpressure.coalesceByKey(({ sensor }: Reading) => sensor),
          batchSize: 1000,
          flushInterval: "1 hour"
        }
      })
      const asked = yield* Effect.fork(
        post(server, "/queues/readings?wait=settled", [reading(1), reading(2), reading(3, "door")])
      )
      yield* until(() => Effect.map(server.readings.metrics, ({ offered }) => offered === 3))
      yield* post(server, "/queues/readings", reading(4, "door"))
      yield* server.readings.flushNow
      const answer = yield* Fiber.join(asked)
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 3, coalesced: 2, settled: 1 })])
    }))

  it.scopedLive("takes of a stream as many as there is room for", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ readings: { capacity: 10, batchSize: 100, flush: () => hold.pass } })
      yield* hold.open
      const items = Array.from({ length: 8 }, (_, i) => reading(i))
      const answer = yield* postLines(server, "/queues/readings?wait=settled", lines(...items))
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 8, settled: 8 })])
    }))

  it.scopedLive("takes a prefix of a stream that has more items at once than the queue has room for", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { capacity: 10, batchSize: 100, flushInterval: "20 millis" } })
      const items = Array.from({ length: 50 }, (_, i) => reading(i))
      const answer = yield* postLines(server, "/queues/readings?wait=settled", lines(...items))
      expect([answer.status, answer.body]).toMatchObject([429, { _tag: "QueueIsFull", taken: 10 }])
    }))
})

describe("a wait that the queue does not offer", () => {
  it.scopedLive("is refused with 400, and nothing is in", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const stored = yield* post(server, "/queues/readings?wait=stored", reading(1))
      expect([stored.status, stored.body]).toEqual([400, {
        _tag: "InvalidRequest",
        field: "wait",
        message: "a WriteBehind has no store"
      }])
      const settled = yield* post(server, "/queues/emails?wait=settled", { to: "ada" })
      expect([settled.status, settled.body]).toEqual([400, {
        _tag: "InvalidRequest",
        field: "wait",
        message: "a BatchQueue does not tell when its items are settled"
      }])
      const stream = yield* postLines(server, "/queues/emails?wait=settled", lines({ to: "ada" }))
      expect([stream.status, stream.body]).toMatchObject([400, { _tag: "InvalidRequest", field: "wait" }])
      expect((yield* server.readings.metrics).offered).toBe(0)
      expect((yield* server.emails.metrics).offered).toBe(0)
    }))

  it.scopedLive("is refused with 400 where there is no such wait, or two", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const wait of ["?wait=x", "?wait=", "?wait=Stored", "?wait=stored&wait=settled", "?wait=accepted"]) {
        for (const path of ["/queues/readings", "/queues/%72eadings"]) {
          const answer = yield* post(server, `${path}${wait}`, reading(1))
          expect([path, wait, answer.status]).toEqual([path, wait, 400])
        }
      }
      expect((yield* server.readings.metrics).offered).toBe(0)
    }))

  it.scopedLive("is told in the same way by whatever spelling of the path", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const other = yield* post(server, "/queues/%72eadings?wait=x", reading(1))
      expect(other.body).toMatchObject({ _tag: "InvalidRequest", field: "wait" })
      const answer = yield* post(server, "/queues/readings?wait=x", reading(1))
      expect(answer.body).toMatchObject({ _tag: "InvalidRequest", field: "wait" })
    }))
})

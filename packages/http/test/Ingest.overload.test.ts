import { describe, expect, it } from "@effect/vitest"
import { Backpressure, type Batch, BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import { FaultyStore } from "@sluice/core/testing"
import { HttpQueue } from "@sluice/http"
import { Effect, Exit, Fiber, Layer, Redacted, Scope } from "effect"
import { serveApi } from "./support/custom.ts"
import { chunk, chunkedHead, connect, counts, heldStore, lastChunk, makeHold, ndjson, until } from "./support/raw.ts"
import { ask, Email, post, Reading, serve, token } from "./support/server.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")
const readings = (count: number) => Array.from({ length: count }, (_, i) => reading(i))

const postLines = (server: { readonly url: string }, path: string, body: string) =>
  ask(server, path, { method: "POST", headers: { "content-type": ndjson }, body })

/** A server of `readings` with room for so many, whose sink has one item in hand and never lets go of it. */
const serveStuck = (capacity: number, policy: Backpressure.Policy<Reading> = Backpressure.reject) =>
  Effect.gen(function*() {
    const hold = makeHold()
    const server = yield* serve({
      readings: { capacity, policy, batchSize: 1, drainTimeout: "1 milli", flush: () => hold.pass }
    })
    yield* server.readings.offer(reading(0))
    yield* until(() => hold.waiting() === 1)
    return server
  })

describe("429", () => {
  it.scopedLive("answers an item that there is no room for", () =>
    Effect.gen(function*() {
      const server = yield* serveStuck(1)
      expect((yield* post(server, "/queues/readings", reading(1))).status).toBe(202)
      const answer = yield* post(server, "/queues/readings", reading(2))
      expect([answer.status, answer.body]).toEqual([429, {
        _tag: "QueueIsFull",
        queue: "readings",
        retryAfterSeconds: expect.any(Number),
        taken: 0
      }])
      expect(answer.headers.get("retry-after")).toBe(String(answer.body.retryAfterSeconds))
    }))

  it.scopedLive("answers an array that there is no room for all of, and none of it is in", () =>
    Effect.gen(function*() {
      const server = yield* serveStuck(5)
      yield* post(server, "/queues/readings", readings(3))
      for (const wait of ["", "?wait=settled"]) {
        const answer = yield* post(server, `/queues/readings${wait}`, readings(3))
        expect([answer.status, answer.body]).toMatchObject([429, { _tag: "QueueIsFull", taken: 0 }])
      }
      expect(yield* server.readings.depth).toBe(3)
      expect((yield* post(server, "/queues/readings", readings(2))).status).toBe(202)
      expect(yield* server.readings.depth).toBe(5)
    }))

  it.scopedLive("answers a stream of which a prefix is in, and says how many", () =>
    Effect.gen(function*() {
      const server = yield* serveStuck(5)
      const answer = yield* postLines(server, "/queues/readings", lines(...readings(9)))
      expect([answer.status, answer.body]).toMatchObject([429, { _tag: "QueueIsFull", taken: 5 }])
      expect(answer.headers.get("retry-after")).toBe(String(answer.body.retryAfterSeconds))
      const next = yield* postLines(server, "/queues/readings", lines(reading(1)))
      expect([next.status, next.body]).toMatchObject([429, { taken: 0 }])
      expect(yield* server.readings.depth).toBe(5)
    }))

  it.scopedLive("reaches a client that is still sending its stream", () =>
    Effect.gen(function*() {
      const server = yield* serveStuck(5)
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      const piece = chunk(lines(...Array.from({ length: 1000 }, () => reading(1, "x".repeat(50)))))
      for (let i = 0; i < 10; i++) yield* client.send(piece)
      expect(yield* client.answer).toMatchObject({
        status: 429,
        body: { _tag: "QueueIsFull", taken: 5 },
        headers: { "retry-after": expect.stringMatching(/^\d+$/) }
      })
      for (let i = 0; i < 10; i++) yield* client.send(piece)
      yield* client.send(lastChunk)
      expect((yield* post(server, "/queues/emails", { to: "a" })).status).toBe(202)
    }))

  it.scopedLive("answers what waited longer for room than the policy has it", () =>
    Effect.gen(function*() {
      const server = yield* serveStuck(2, Backpressure.suspend({ timeout: "10 millis" }))
      const answer = yield* postLines(server, "/queues/readings", lines(...readings(4)))
      expect([answer.status, answer.body]).toMatchObject([429, { _tag: "QueueIsFull", taken: 2 }])
      const one = yield* post(server, "/queues/readings", reading(1))
      expect([one.status, one.body]).toMatchObject([429, { taken: 0 }])
    }))

  it.scopedLive("answers for a queue whose store cannot keep up, stored or not", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ store: heldStore(hold), emails: { capacity: 2 } })
      // Some are on their way into the store, some in the open batch, some in the intake: then it is full.
      let taken = 0
      const offers = Effect.flatMap(post(server, "/queues/emails", { to: "a" }), ({ status }) => {
        if (status === 202) taken += 1
        return Effect.succeed(status)
      })
      expect(yield* Effect.repeat(offers, { until: (status) => status !== 202 })).toBe(429)
      const two = [{ to: "a" }, { to: "b" }]
      for (const path of ["/queues/emails", "/queues/emails?wait=stored"]) {
        const array = yield* post(server, path, two)
        expect([path, array.status, array.body]).toMatchObject([path, 429, { _tag: "QueueIsFull", taken: 0 }])
        const stream = yield* postLines(server, path, lines(...two))
        expect([path, stream.status, stream.body]).toMatchObject([path, 429, { _tag: "QueueIsFull", taken: 0 }])
      }
      yield* hold.open
      yield* until(() => server.sent.length === taken)
    }))

  it.scopedLive("says of a stream that is stored how many are, where the store has as much as it may", () =>
    Effect.gen(function*() {
      const server = yield* serve({ emails: { maxPending: { items: 5, whenFull: "reject" }, workers: 0 } })
      const items = Array.from({ length: 9 }, (_, i) => ({ to: `u${i}` }))
      const answer = yield* postLines(server, "/queues/emails?wait=stored", lines(...items))
      expect([answer.status, answer.body]).toMatchObject([429, { _tag: "QueueIsFull" }])
      const { pending } = yield* server.emails.stats
      expect(answer.body.taken).toBe(pending.items)
      expect(answer.body.taken).toBeLessThan(9)
    }))
})

describe("Retry-After", () => {
  // The sink takes ten items every 100 ms: about a hundred in a second.
  const slow = (capacity: number) => ({
    readings: {
      capacity,
      batchSize: 10,
      flushInterval: "10 millis",
      policy: Backpressure.reject,
      drainTimeout: "1 milli",
      flush: () => Effect.sleep(100)
    } as const
  })

  it.scopedLive(
    "comes from how fast the queue drains, and from those who were refused before",
    () =>
      Effect.gen(function*() {
        const server = yield* serve(slow(2000))
        yield* post(server, "/queues/readings", readings(2000))
        const rateOf = Effect.map(
          ask(server, "/admin/queues/readings", { token: Redacted.value(token) }),
          ({ body }) => body.drainedPerSecond as number
        )
        const rate = yield* Effect.repeat(Effect.delay(rateOf, 100), { until: (rate) => rate > 20 })
        expect(rate).toBeLessThanOrEqual(110)
        // Each of these must wait for as many items to drain as all before it have.
        const waits: Array<number> = []
        for (let i = 0; i < 10; i++) {
          const answer = yield* post(server, "/queues/readings", readings(800))
          expect(answer.status).toBe(429)
          expect(answer.headers.get("retry-after")).toBe(String(answer.body.retryAfterSeconds))
          waits.push(answer.body.retryAfterSeconds)
        }
        // 800 items at 20 to 110 in a second.
        expect(waits[0]).toBeGreaterThanOrEqual(7)
        expect(waits[0]).toBeLessThanOrEqual(40)
        const capped = waits.findIndex((wait, i) => i > 0 && wait < waits[i - 1])
        const rising = capped < 0 ? waits : waits.slice(0, capped)
        for (let i = 1; i < rising.length; i++) expect(rising[i]).toBeGreaterThanOrEqual(rising[i - 1])
        expect(waits[1]).toBeGreaterThan(waits[0])
        // Ten times 800 items take longer than anybody is told to wait: those are told different times.
        expect(Math.max(...waits)).toBeLessThanOrEqual(60)
        expect(waits[9]).toBeGreaterThanOrEqual(30)
        expect(waits[9]).not.toBe(waits[8])
      })
  )

  it.scopedLive("is as long as nothing has moved, where nothing does", () =>
    Effect.gen(function*() {
      const server = yield* serveStuck(1)
      yield* server.readings.offer(reading(1))
      const wait = Effect.map(post(server, "/queues/readings", reading(2)), ({ body }) =>
        body.retryAfterSeconds as number)
      expect(yield* wait).toBeLessThanOrEqual(2)
      // It is looked at once a second.
      yield* Effect.sleep(4100)
      const waits = yield* Effect.all(Array.from({ length: 10 }, () =>
        wait))
      expect(Math.max(...waits)).toBeGreaterThanOrEqual(4)
      expect(Math.max(...waits)).toBeLessThanOrEqual(60)
      // Not all of them come back at once.
      expect(Math.min(...waits)).toBeLessThan(Math.max(...waits))
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(2)
    }))

  it.scopedLive("is at least a second, however fast the queue drains", () =>
    Effect.gen(function*() {
      const server = yield* serve(slow(50))
      const one = Effect.map(post(server, "/queues/readings", reading(1)), ({ body, status }) => {
        expect([202, 429]).toContain(status)
        return status === 429 ? body.retryAfterSeconds as number : undefined
      })
      // As the queue is kept full it drains, and a single item need not wait for long.
      const feed = Effect.forever(
        Effect.zipRight(Effect.ignore(server.readings.offerAll(readings(20))), Effect.sleep(20))
      )
      yield* Effect.forkScoped(feed)
      yield* Effect.sleep(2500)
      const wait = yield* Effect.repeat(one, { until: (wait): wait is number => wait !== undefined })
      expect(wait).toBe(1)
    }))
})

describe("503", () => {
  it.scopedLive("answers while a queue is being closed, and once it is, whatever is offered to it", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const readings = yield* Scope.extend(
        WriteBehind.make({
          name: "readings",
          capacity: 100,
          flushInterval: "1 milli",
          flush: (_batch: Batch.Batch<Reading>) => hold.pass
        }),
        scope
      )
      const server = yield* serveApi([HttpQueue.fromWriteBehind(readings, { schema: Reading })])
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      yield* client.send(chunk(lines(reading(1))))
      yield* until(() => hold.waiting() === 1)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* until(() => readings.unsafeOffer(reading(0)) === "closed")
      const closed = { _tag: "QueueUnavailable", queue: "readings", reason: "closing" }
      yield* client.send(chunk(lines(reading(2))))
      expect(yield* client.answer).toMatchObject({ status: 503, body: { ...closed, taken: 1 } })
      yield* client.send(lastChunk)
      const refusals = Effect.gen(function*() {
        const answers = [
          yield* post(server, "/queues/readings", reading(1)),
          yield* post(server, "/queues/readings", [reading(1)]),
          yield* post(server, "/queues/readings", reading(1), { "idempotency-key": "k" }),
          yield* post(server, "/queues/readings?wait=settled", [reading(1)]),
          yield* postLines(server, "/queues/readings", lines(reading(1))),
          yield* postLines(server, "/queues/readings?wait=settled", lines(reading(1)))
        ]
        for (const { body, headers, status } of answers) {
          expect([status, body, headers.get("retry-after")]).toEqual([503, { ...closed, taken: 0 }, "1"])
        }
      })
      yield* refusals
      yield* hold.open
      yield* Fiber.join(closing)
      yield* refusals
      const metrics = yield* readings.metrics
      expect(metrics.settled).toBe(metrics.offered - metrics.refused)
    }))

  it.scopedLive(
    "answers for a queue with a store that is closed, and for what its store has not answered by then",
    () =>
      Effect.gen(function*() {
        const hold = makeHold()
        const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
        const emails = yield* BatchQueue.make({
          name: "emails",
          schema: Email,
          drainTimeout: "1 milli",
          process: () => Effect.void
        }).pipe(Scope.extend(scope), Effect.provide(heldStore(hold)))
        const server = yield* serveApi([HttpQueue.fromBatchQueue(emails, { schema: Email })])
        const closed = { _tag: "QueueUnavailable", queue: "emails", reason: "closing", taken: 0 }
        const waiting = yield* Effect.fork(Effect.all([
          post(server, "/queues/emails?wait=stored", { to: "a" }),
          post(server, "/queues/emails?wait=stored", [{ to: "a" }]),
          postLines(server, "/queues/emails?wait=stored", lines({ to: "a" }, { to: "b" }))
        ], { concurrency: "unbounded" }))
        yield* until(() => Effect.map(emails.metrics, ({ offered }) => offered === 4))
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        // It waits five seconds for its store, and gives up.
        for (const { body, headers, status } of yield* Fiber.join(waiting)) {
          expect([status, body, headers.get("retry-after")]).toEqual([503, closed, "1"])
        }
        yield* Fiber.join(closing)
        for (const path of ["/queues/emails", "/queues/emails?wait=stored"]) {
          const one = yield* post(server, path, { to: "a" })
          expect([path, one.status, one.body]).toEqual([path, 503, closed])
          const stream = yield* postLines(server, path, lines({ to: "a" }))
          expect([path, stream.status, stream.body]).toEqual([path, 503, closed])
        }
        yield* hold.open
      })
  )

  it.scopedLive("answers while a queue is being drained, until it is resumed", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const admin = (operation: string) =>
        ask(server, `/admin/queues/readings/${operation}`, { method: "POST", token: Redacted.value(token) })
      expect((yield* admin("drain")).body).toEqual({ drained: true, held: 0, pending: 0 })
      for (
        const [body, type] of [
          [JSON.stringify(reading(1)), "application/json"],
          [JSON.stringify(readings(2)), "application/json"],
          ["nonsense", "application/json"],
          [lines(reading(1)), ndjson]
        ]
      ) {
        const answer = yield* ask(server, "/queues/readings", {
          method: "POST",
          body,
          headers: { "content-type": type }
        })
        expect([answer.status, answer.body]).toEqual([503, {
          _tag: "QueueUnavailable",
          queue: "readings",
          reason: "draining",
          taken: 0
        }])
        expect(answer.headers.get("retry-after")).toBe("1")
      }
      expect((yield* server.readings.metrics).offered).toBe(0)
      expect((yield* post(server, "/queues/emails", { to: "a" })).status).toBe(202)
      expect((yield* admin("resume")).status).toBe(200)
      expect((yield* post(server, "/queues/readings", reading(1))).status).toBe(202)
    }))

  it.scopedLive("ends a stream that is running as its queue begins to drain, and says how many are in", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      yield* client.send(chunk(lines(...readings(2))))
      yield* until(() => server.flushed.length === 2)
      yield* ask(server, "/admin/queues/readings/drain", { method: "POST", token: Redacted.value(token) })
      yield* client.send(chunk(lines(reading(3))))
      expect(yield* client.answer).toMatchObject({
        status: 503,
        body: { _tag: "QueueUnavailable", reason: "draining", taken: 2 }
      })
      yield* client.send(lastChunk)
      expect((yield* server.readings.metrics).offered).toBe(2)
    }))

  it.scopedLive("answers a body that was being sent as its queue began to drain", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", "application/json"))
      yield* client.send(chunk(JSON.stringify(reading(1)).slice(0, 5)))
      yield* Effect.sleep(20)
      yield* ask(server, "/admin/queues/readings/drain", { method: "POST", token: Redacted.value(token) })
      yield* client.send(chunk(JSON.stringify(reading(1)).slice(5)))
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 503, body: { reason: "draining", taken: 0 } })
      expect((yield* server.readings.metrics).offered).toBe(0)
    }))

  it.scopedLive("is not for a store that is away for a while: the request waits for it", () =>
    Effect.gen(function*() {
      let isAway = true
      const store = FaultyStore.layer(({ operation }) =>
        operation === "append" && isAway ? { _tag: "Fails" } : undefined
      )
      const server = yield* serve({
        store: Layer.provide(store, BatchStore.layerMemory),
        emails: { onInternalError: () => Effect.void, pollInterval: "20 millis" }
      })
      const asked = yield* Effect.fork(post(server, "/queues/emails?wait=stored", { to: "a" }))
      yield* Effect.sleep(200)
      expect(asked.unsafePoll()).toBeNull()
      isAway = false
      const answer = yield* Fiber.join(asked)
      expect([answer.status, answer.body]).toEqual([202, counts({ items: 1, stored: 1 })])
    }))
})

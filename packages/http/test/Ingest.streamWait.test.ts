import { HttpApp } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { HttpQueue, HttpQueues, Ingest } from "@sluice/http"
import { Effect, Exit, Fiber, Layer, Schema, TestClock } from "effect"
import { queueOf } from "./support/operating.ts"
import { chunk, chunkedHead, connect, counts, heldStore, makeHold, ndjson, until } from "./support/raw.ts"
import { ask, type Options, type Reading, type Running, serve } from "./support/server.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const readings = (count: number, from = 1) => Array.from({ length: count }, (_, i) => reading(from + i))
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")
const key = { "idempotency-key": "k" }

const postLines = (server: { readonly url: string }, path: string, body: string, headers = {}) =>
  ask(server, path, { method: "POST", headers: { "content-type": ndjson, ...headers }, body })

/** A server of Node that cuts what takes long, and lets streams wait for a moment. */
const serveCutting = (options: Options) =>
  serve({
    node: { requestTimeout: 10_000, headersTimeout: 10_000, connectionsCheckingInterval: 50 },
    ...options,
    queues: { maxStreamWait: "100 millis", ...options.queues }
  })

/** One whose queue of readings waits for room, and whose sink has one of them in hand. */
const serveStuck = (capacity: number) =>
  Effect.gen(function*() {
    const hold = makeHold()
    const server: Running = yield* serveCutting({
      readings: {
        capacity,
        policy: Backpressure.suspend(),
        batchSize: 1,
        drainTimeout: "1 milli",
        flush: ({ items }) => Effect.zipRight(hold.pass, Effect.sync(() => void server.flushed.push(...items)))
      }
    })
    yield* server.readings.offer(reading(0))
    yield* until(() => hold.waiting() === 1)
    return { server, hold }
  })

/** Sends a part of a stream whose end never comes. */
const begin = (server: Running, path: string, body: string, headers: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const client = yield* connect(server)
    yield* client.send(chunkedHead(path, ndjson, headers))
    yield* client.send(chunk(body))
    return client
  })

const full = (taken: number) => ({
  status: 429,
  headers: { "retry-after": expect.stringMatching(/^\d+$/) },
  body: { _tag: "QueueIsFull", taken, retryAfterSeconds: expect.any(Number) }
})

describe("a stream that is still being sent", () => {
  for (const headers of [{}, key]) {
    const how = "idempotency-key" in headers ? "with a key" : "without a key"
    it.scopedLive(`and waits for room, ${how}, is told how many are in, before the server cuts it`, () =>
      Effect.gen(function*() {
        const { hold, server } = yield* serveStuck(11)
        const client = yield* begin(server, "/queues/readings", lines(...readings(20)), headers)
        expect(yield* client.answer).toMatchObject(full(11))
        // What was waited with is out again.
        yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 12))
        yield* hold.open
        const again = yield* postLines(server, "/queues/readings", lines(...readings(20)), headers)
        expect(again.body).toEqual(
          counts(
            "idempotency-key" in headers ? { items: 20, accepted: 9, duplicates: 11 } : { items: 20, accepted: 20 }
          )
        )
        yield* server.readings.flushNow
        expect(server.flushed.slice(0, 12)).toEqual(readings(12, 0))
      }))
  }

  it.scopedLive("and waits for room in the store is told so", () =>
    Effect.gen(function*() {
      const server = yield* serveCutting({
        emails: {
          maxPending: { items: 3, whenFull: "suspend" },
          workers: 0,
          policy: Backpressure.suspend(),
          capacity: 1
        }
      })
      const items = Array.from({ length: 9 }, (_, i) => ({ to: `u${i}` }))
      const client = yield* begin(server, "/queues/emails?wait=stored", lines(...items))
      const answer = yield* client.answer
      expect(answer).toMatchObject({ status: 429, headers: { "retry-after": expect.any(String) } })
      expect(answer.body).toMatchObject({ _tag: "QueueIsFull", taken: 3 })
    }))

  it.scopedLive("and waits for a store that is away is told so", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serveCutting({ store: heldStore(hold) })
      const client = yield* begin(server, "/queues/emails", lines({ to: "1" }, { to: "2" }), key)
      expect(yield* client.answer).toMatchObject({
        status: 503,
        headers: { "retry-after": expect.any(String) },
        body: { _tag: "QueueUnavailable", reason: "store", taken: 0 }
      })
      yield* hold.open
      // They are stored once, whatever was known of them.
      expect((yield* postLines(server, "/queues/emails", lines({ to: "1" }, { to: "2" }), key)).body)
        .toEqual(counts({ items: 2, duplicates: 2 }))
    }))

  it.scopedLive("and waits for what is to be settled is told how many are in", () =>
    Effect.gen(function*() {
      const { server } = yield* serveStuck(1000)
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings?wait=settled", ndjson))
      const offered = () => Effect.map(server.readings.metrics, ({ offered }) => offered)
      for (let i = 1; i <= 64; i++) {
        yield* client.send(chunk(lines(reading(i))))
        yield* until(() => Effect.map(offered(), (offered) => offered === i + 1))
      }
      expect(client.hasAnswer).toBe(false)
      yield* client.send(chunk(lines(reading(65))))
      expect(yield* client.answer).toMatchObject(full(65))
    }))
})

describe("the longest wait of a stream", () => {
  const task = Effect.promise(() => new Promise<void>((resolve) => void setImmediate(resolve)))
  const eventually = (condition: Effect.Effect<boolean>) =>
    Effect.repeat(Effect.zipRight(task, condition), { until: (holds) => holds })

  it.scoped("is that of all its waits", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const queue = yield* WriteBehind.make<unknown, never, never>({
        name: "any",
        capacity: 2,
        policy: Backpressure.suspend(),
        batchSize: 1,
        flush: () => hold.pass
      })
      // Its end waits for the sink.
      yield* Effect.addFinalizer(() => hold.open)
      const mounted = HttpQueues.layer([Effect.succeed(HttpQueue.fromWriteBehind(queue, { schema: Schema.Unknown }))])
      const router = yield* Effect.provide(Ingest.router(), yield* Layer.build(mounted))
      const handle = HttpApp.toWebHandlerRuntime(yield* Effect.runtime<never>())(router)
      yield* queue.offer(0)
      yield* eventually(Effect.sync(() => hold.waiting() === 1))
      const sent = new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(Buffer.from("1\n2\n3\n4\n"))
      })
      const init = { method: "POST", headers: { "content-type": ndjson }, body: sent, duplex: "half" } as RequestInit
      const answer = yield* Effect.fork(Effect.promise(() => handle(new Request("http://localhost/queues/any", init))))
      const settled = (count: number) => eventually(Effect.map(queue.metrics, (metrics) => metrics.settled === count))
      const held = (count: number) => eventually(Effect.map(queue.metrics, (metrics) => metrics.held === count))
      yield* held(4)
      yield* TestClock.adjust("40 seconds")
      // One gets room, and the next waits.
      yield* hold.open
      yield* hold.close
      yield* settled(1)
      yield* held(4)
      yield* TestClock.adjust("19 seconds")
      expect(answer.unsafePoll()).toBeNull()
      yield* TestClock.adjust("1 seconds")
      const response = yield* Fiber.join(answer)
      expect([response.status, yield* Effect.promise(() => response.json())]).toMatchObject([429, { taken: 3 }])
    }))

  it.scoped("is more than nothing", () =>
    Effect.gen(function*() {
      for (const wrong of [0, -1, "0 seconds", "soon"]) {
        const exit = yield* Effect.exit(
          Layer.build(HttpQueues.layer([Effect.succeed(queueOf("any"))], { maxStreamWait: wrong as number }))
        )
        expect([wrong, Exit.isFailure(exit) && exit.cause]).toMatchObject([wrong, {
          error: { _tag: "InvalidOption", field: "maxStreamWait", value: wrong }
        }])
      }
    }))
})

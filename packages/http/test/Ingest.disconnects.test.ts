import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { Effect, Exit, Scope, Supervisor } from "effect"
import { request } from "node:http"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import {
  chunk,
  chunkedHead,
  connect,
  counts,
  head,
  heldStore,
  json,
  lastChunk,
  makeHold,
  ndjson,
  until
} from "./support/raw.ts"
import { type Options, post, type Reading, type Running, serve } from "./support/server.ts"
import { campaign } from "../../core/test/support/campaigns.ts"

const reading = (celsius: number, sensor = "roof"): Reading => ({ sensor, celsius })
const lines = (...items: ReadonlyArray<unknown>) => items.map((item) => `${JSON.stringify(item)}\n`).join("")

/** A server, and how many fibers run for it: those of its queues, and those of its requests. */
const serveWatched = (options?: Options) =>
  Effect.gen(function*() {
    const supervisor = yield* Supervisor.track
    const server = yield* Effect.supervised(serve(options), supervisor)
    const fibers = () => Effect.map(supervisor.value, (fibers) => fibers.length)
    // The fibers that make it come to their end.
    let before = -1
    yield* until(() =>
      Effect.map(fibers(), (now) => {
        const isStill = now === before
        before = now
        return isStill
      })
    )
    const idle = before
    return {
      ...server,
      /** Waits until as many fibers more than without any request. */
      awaitFibers: (more: (count: number) => boolean) => until(() => Effect.map(fibers(), (now) => more(now - idle)))
    }
  })

/** Collects garbage. */
const collect: () => void = (() => {
  setFlagsFromString("--expose-gc")
  return runInNewContext("gc") as () => void
})()

const isBusy = (more: number) => more > 0
const isIdle = (more: number) => more <= 0

// While a queue flushes, its time keeper sleeps, in a fiber of its own.
const isBusyBesideTimer = (more: number) => more > 1
const isIdleBesideTimer = (more: number) => more <= 1

describe("a client that goes away", () => {
  for (
    const [how, leave] of [["cuts the connection", "destroy"], ["resets it", "resetAndDestroy"], [
      "sends no more",
      "end"
    ]] as const
  ) {
    it.scopedLive(`and ${how} in the middle of a body leaves nothing in, and no fiber`, () =>
      Effect.gen(function*() {
        const server = yield* serveWatched()
        const body = JSON.stringify([reading(1), reading(2)])
        for (
          const start of [
            chunkedHead("/queues/readings", json) + chunk(body.slice(0, -1)).toString(),
            head("/queues/readings", { "content-type": json, "content-length": body.length + 1 }) + body
          ]
        ) {
          const client = yield* connect(server)
          yield* client.send(start)
          yield* server.awaitFibers(isBusy)
          client.socket[leave]()
          yield* server.awaitFibers(isIdle)
        }
        expect((yield* server.readings.metrics).offered).toBe(0)
        expect((yield* post(server, "/queues/readings", reading(1))).status).toBe(202)
      }))

    it.scopedLive(`and ${how} in the middle of a stream leaves in what it has sent, and no fiber`, () =>
      Effect.gen(function*() {
        const server = yield* serveWatched()
        const client = yield* connect(server)
        yield* client.send(chunkedHead("/queues/readings", ndjson))
        yield* client.send(chunk(lines(reading(1), reading(2)) + JSON.stringify(reading(3))))
        yield* until(() => server.flushed.length === 2)
        yield* server.awaitFibers(isBusy)
        client.socket[leave]()
        yield* server.awaitFibers(isIdle)
        // A line that has not ended may be a part of a longer one.
        expect((yield* server.readings.metrics).offered).toBe(2)
        expect(server.flushed).toEqual([reading(1), reading(2)])
      }))
  }

  it.scopedLive("while it waits for the store leaves its items in, and no fiber", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serveWatched({ store: heldStore(hold) })
      for (const [type, body] of [[json, JSON.stringify({ to: "a" })], [ndjson, lines({ to: "b" }, { to: "c" })]]) {
        const client = yield* connect(server)
        yield* client.send(
          head("/queues/emails?wait=stored", { "content-type": type, "content-length": body.length }) + body
        )
        const before = (yield* server.emails.metrics).offered
        yield* until(() => Effect.map(server.emails.metrics, ({ offered }) => offered > before || offered === 3))
        yield* server.awaitFibers(isBusy)
        client.socket.destroy()
        yield* Effect.sleep(20)
      }
      yield* hold.open
      yield* until(() => server.sent.length === 3)
      yield* server.awaitFibers(isIdle)
      expect(server.sent.map(({ to }) => to)).toEqual(["a", "b", "c"])
    }))

  it.scopedLive("while it waits for the flush leaves its items in, and no fiber", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serveWatched({
        readings: { flush: (batch) => Effect.zipRight(hold.pass, Effect.sync(() => void flushed.push(...batch.items))) }
      })
      const flushed: Array<Reading> = []
      for (const [type, body] of [[json, JSON.stringify(reading(1))], [ndjson, lines(reading(2), reading(3))]]) {
        const client = yield* connect(server)
        const before = (yield* server.readings.metrics).offered
        yield* client.send(
          head("/queues/readings?wait=settled", { "content-type": type, "content-length": body.length }) + body
        )
        yield* until(() => Effect.map(server.readings.metrics, ({ offered }) => offered > before))
        yield* server.awaitFibers(isBusyBesideTimer)
        client.socket.destroy()
        // Nobody waits for the flush any more, although it is not over.
        yield* server.awaitFibers(isIdleBesideTimer)
      }
      expect(flushed).toEqual([])
      yield* hold.open
      yield* server.readings.flushNow
      expect(flushed).toEqual([reading(1), reading(2), reading(3)])
    }))

  it.scopedLive("while its stream waits for room takes the item out that waits, and leaves no fiber", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serveWatched({
        readings: { capacity: 2, batchSize: 1, policy: Backpressure.suspend(), flush: () => hold.pass }
      })
      yield* server.readings.offer(reading(0))
      yield* until(() => hold.waiting() === 1)
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      yield* client.send(chunk(lines(reading(1), reading(2), reading(3), reading(4))))
      yield* until(() => Effect.map(server.readings.metrics, ({ held }) => held === 4))
      client.socket.destroy()
      yield* server.awaitFibers(isIdleBesideTimer)
      expect((yield* server.readings.metrics).held).toBe(3)
      yield* hold.open
    }))

  it.scopedLive("hundreds of times leaves nothing in, and no fiber", () =>
    Effect.gen(function*() {
      const server = yield* serveWatched()
      yield* Effect.forEach(Array.from({ length: 300 }, (_, i) => i), (i) =>
        Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(server)
          yield* client.send(chunkedHead("/queues/readings", i % 2 === 0 ? json : ndjson))
          yield* client.send(chunk("[{\"sensor\":"))
          if (i % 3 === 0) yield* Effect.sleep(5)
        })), { concurrency: 20 })
      expect((yield* post(server, "/queues/readings", reading(1))).status).toBe(202)
      yield* server.awaitFibers(isIdle)
      expect((yield* server.readings.metrics).offered).toBe(1)
    }))
})

describe("a client that is slow", () => {
  it.scopedLive("and sends a byte at a time is answered in the end", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const slowly = (type: string, body: string, isChunked: boolean) =>
        Effect.gen(function*() {
          const client = yield* connect(server)
          const bytes = Buffer.from(body)
          yield* client.send(
            isChunked
              ? chunkedHead("/queues/readings", type)
              : head("/queues/readings", { "content-type": type, "content-length": bytes.length })
          )
          for (const byte of bytes) {
            yield* client.send(isChunked ? chunk(Uint8Array.of(byte)) : Uint8Array.of(byte))
            yield* Effect.sleep(1)
          }
          if (isChunked) yield* client.send(lastChunk)
          return yield* client.answer
        })
      const answers = yield* Effect.all([
        slowly(json, JSON.stringify(reading(1, "ä€😀")), false),
        slowly(json, JSON.stringify(reading(1, "ä€😀")), true),
        slowly(ndjson, lines(reading(1, "ä€😀")), false),
        slowly(ndjson, lines(reading(1, "ä€😀")), true)
      ], { concurrency: "unbounded" })
      for (const answer of answers) {
        expect(answer).toMatchObject({ status: 202, body: counts({ items: 1, accepted: 1 }) })
      }
      yield* server.readings.flushNow
      expect(server.flushed).toEqual(answers.map(() => reading(1, "ä€😀")))
    }))

  it.scopedLive("and slower than Node allows is answered with 408, and nothing is in", () =>
    Effect.gen(function*() {
      const server = yield* serveWatched({
        node: { requestTimeout: 300, headersTimeout: 300, connectionsCheckingInterval: 50 }
      })
      const starts = [
        head("/queues/readings", { "content-type": json, "content-length": 100 }) + "[",
        chunkedHead("/queues/readings", json) + chunk("[").toString(),
        "POST /queues/readings HTTP/1.1\r\nhost: x\r\ncontent-"
      ]
      for (const start of starts) {
        const client = yield* connect(server)
        yield* client.send(start)
        const answer = yield* client.answer
        expect(answer.status).toBe(408)
        yield* until(() => client.isOver)
      }
      yield* server.awaitFibers(isIdle)
      expect((yield* server.readings.metrics).offered).toBe(0)
      expect((yield* post(server, "/queues/readings", reading(1))).status).toBe(202)
    }))

  it.scopedLive("does not hold up others, nor do two hundred of them", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const slow = yield* Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i),
        (i) =>
          Effect.gen(function*() {
            const client = yield* connect(server)
            yield* client.send(chunkedHead("/queues/readings", i % 2 === 0 ? json : ndjson))
            yield* client.send(chunk("{\"sensor\":\"slow\","))
            return client
          }),
        { concurrency: 20 }
      )
      // None of them has ended when this one has its answers.
      for (let i = 0; i < 20; i++) {
        expect((yield* post(server, "/queues/readings", reading(i))).status).toBe(202)
      }
      expect(slow.filter(({ hasAnswer }) => hasAnswer)).toEqual([])
      expect((yield* server.readings.metrics).offered).toBe(20)
      yield* server.readings.flushNow
      for (const client of slow) {
        yield* client.send(chunk("\"celsius\":1}"))
        yield* client.send(lastChunk)
        const { body, status } = yield* client.answer
        // All of them together are more than there is room for.
        expect([202, 429]).toContain(status)
        if (status === 202) expect(body.items).toBe(1)
      }
      yield* server.readings.flushNow
      expect(server.flushed.length).toBeGreaterThan(20)
    }))
})

describe("a stream that is long", () => {
  it.scopedLive("is read no faster than the sink takes it, and the client is held back", () =>
    Effect.gen(function*() {
      const itemBytes = 10_000
      const items = 5_000
      const capacity = 100
      let flushed = 0
      let mostAhead = 0
      let sentItems = 0
      let mostUnflushed = 0
      const server: Running = yield* serve({
        readings: {
          capacity,
          batchSize: 50,
          policy: Backpressure.suspend(),
          flush: (batch): Effect.Effect<void> =>
            Effect.gen(function*() {
              const { offered } = yield* server.readings.metrics
              mostAhead = Math.max(mostAhead, offered - flushed)
              mostUnflushed = Math.max(mostUnflushed, sentItems - flushed)
              yield* Effect.sleep(5)
              flushed += batch.items.length
            })
        }
      })
      const line = Buffer.from(lines(reading(1, "x".repeat(itemBytes - 30))))
      const status = yield* Effect.async<number>((resume) => {
        const client = request(`${server.url}/queues/readings`, {
          method: "POST",
          headers: { "content-type": ndjson, "transfer-encoding": "chunked" }
        }, (response) => {
          response.resume()
          response.on("end", () => resume(Effect.succeed(response.statusCode!)))
        })
        const write = () => {
          while (sentItems < items) {
            sentItems += 1
            if (!client.write(line)) return void client.once("drain", write)
          }
          client.end()
        }
        write()
      })
      expect(status).toBe(202)
      yield* server.readings.flushNow
      expect((yield* server.readings.metrics).settled).toBe(items)
      // What was decoded is in the queue, in the batch, or the one that waits: a piece of the body has a few items.
      expect(mostAhead).toBeLessThanOrEqual(capacity + 50 + 20)
      // What was sent besides is in the buffers of the sockets: a few megabytes of fifty.
      expect(mostUnflushed).toBeLessThan(items / 2)
    }))

  it.scopedLive("of any length is taken in memory that does not grow", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        readings: {
          capacity: 100,
          batchSize: 50,
          policy: Backpressure.suspend(),
          // The default of these tests would keep them all.
          flush: () => Effect.sleep(1)
        }
      })
      const line = Buffer.from(lines(reading(1, "x".repeat(9_970))))
      const piece = chunk(Buffer.concat(Array.from({ length: 50 }, () => line)))
      const client = yield* connect(server)
      yield* client.send(chunkedHead("/queues/readings", ndjson))
      const megabytes = Effect.gen(function*() {
        for (let i = 0; i < 20; i++) yield* client.send(piece)
        collect()
        return process.memoryUsage().heapUsed / 1e6
      })
      const used: Array<number> = []
      for (let i = 0; i < 5; i++) used.push(yield* megabytes)
      yield* client.send(lastChunk)
      expect(yield* client.answer).toMatchObject({ status: 202, body: { items: 5000, accepted: 5000 } })
      // Forty megabytes have come through since the first.
      expect(used[4] - used[0]).toBeLessThan(15)
    }))
})

describe("a server that is opened and closed again and again", () => {
  it.live(
    "leaves no fiber, timer or handle, also where a client was in the middle of a request",
    () =>
      Effect.gen(function*() {
        const supervisor = yield* Supervisor.track
        const resources = () => process.getActiveResourcesInfo().filter((name) => name !== "Immediate").length
        const once = (i: number) =>
          Effect.gen(function*() {
            const scope = yield* Scope.make()
            const server = yield* Scope.extend(serve({ graceful: { grace: 0 } }), scope)
            const client = yield* Scope.extend(connect(server), scope)
            const body = JSON.stringify(reading(1))
            yield* client.send(
              head("/queues/readings", { "content-type": json, "content-length": body.length, connection: "close" })
                + body
            )
            expect((yield* client.answer).status).toBe(202)
            const half = yield* Scope.extend(connect(server), scope)
            if (i % 4 === 0) {
              yield* half.send(chunkedHead("/queues/readings", i % 8 === 0 ? json : ndjson))
              yield* half.send(chunk("{"))
            }
            half.socket.destroy()
            yield* server.stop
            yield* Scope.close(scope, Exit.void)
          })
        // What is made once, and kept.
        for (let i = 0; i < 3; i++) yield* Effect.supervised(once(i), supervisor)
        yield* Effect.sleep(50)
        const before = resources()
        const fibersBefore = (yield* supervisor.value).length
        for (let i = 0; i < campaign(200); i++) yield* Effect.supervised(once(i), supervisor)
        yield* until(() => resources() <= before)
        yield* until(() => Effect.map(supervisor.value, (fibers) => fibers.length <= fibersBefore))
      })
  )
})

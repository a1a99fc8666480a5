/**
 * How an operator stops a queue, and lets it go on: pause, resume and drain.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { Duration, Effect, Fiber, TestClock } from "effect"
import { admin, command, operate, pause, queueOf, secret, until } from "./support/operating.ts"
import { ask, post, type Reading, serve } from "./support/server.ts"

const reading = (celsius: number): Reading => ({ sensor: "roof", celsius })

describe("a queue that is paused", () => {
  it.scopedLive("claims nothing any more, takes items in, and goes on when it is resumed", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const paused = yield* command(server, "/queues/emails/pause")
      expect([paused.status, paused.body.name, paused.body.paused]).toEqual([200, "emails", true])
      yield* post(server, "/queues/emails?wait=stored", [{ to: "a" }, { to: "b" }])
      yield* pause(50)
      expect((yield* admin(server, "/queues/emails")).body).toMatchObject({
        paused: true,
        held: 0,
        counts: { stored: 2, settled: 0, inFlight: 0 },
        store: { pending: { items: 2 } }
      })
      expect(server.sent).toEqual([])
      const resumed = yield* command(server, "/queues/emails/resume")
      expect([resumed.status, resumed.body.paused]).toEqual([200, false])
      yield* until(server.emails.metrics, ({ settled }) => settled === 2)
      expect(server.sent.map(({ to }) => to)).toEqual(["a", "b"])
    }))

  it.scopedLive("ends what it has begun", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({ emails: { process: () => gate.await } })
      yield* post(server, "/queues/emails?wait=stored", { to: "a" })
      yield* until(server.emails.metrics, ({ inFlight }) => inFlight === 1)
      yield* command(server, "/queues/emails/pause")
      yield* post(server, "/queues/emails?wait=stored", { to: "b" })
      yield* gate.open
      yield* until(server.emails.metrics, ({ settled }) => settled === 1)
      yield* pause(50)
      expect((yield* admin(server, "/queues/emails")).body).toMatchObject({ counts: { settled: 1, inFlight: 0 } })
      yield* command(server, "/queues/emails/resume")
      yield* until(server.emails.metrics, ({ settled }) => settled === 2)
    }))

  it.scopedLive("may be paused and resumed again and again", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const path of ["pause", "pause", "resume", "resume", "pause"]) {
        const { body, status } = yield* command(server, `/queues/emails/${path}`)
        expect([path, status, body.paused]).toEqual([path, 200, path === "pause"])
        expect(yield* server.emails.isPaused).toBe(path === "pause")
      }
    }))

  it.scopedLive("is none of a kind that cannot be paused, or that is not there", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const refused = yield* command(server, "/queues/readings/pause")
      expect([refused.status, refused.body]).toEqual([409, {
        _tag: "NotOffered",
        queue: "readings",
        operation: "pause"
      }])
      expect((yield* command(server, "/queues/readings/resume")).status).toBe(200)
      for (const path of ["pause", "resume", "drain"]) {
        const { body, status } = yield* command(server, `/queues/ghosts/${path}`)
        expect([path, status, body]).toEqual([path, 404, { _tag: "UnknownQueue", queue: "ghosts" }])
      }
    }))

  it.scopedLive("is not changed by a GET", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const path of ["pause", "resume", "drain"]) {
        expect([path, (yield* admin(server, `/queues/emails/${path}`)).status]).toEqual([path, 405])
      }
      expect(yield* server.emails.isPaused).toBe(false)
    }))
})

describe("a drain", () => {
  it.scopedLive("answers when the queue holds nothing, and takes nothing more through the server", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({ readings: { batchSize: 1, flush: () => gate.await } })
      yield* post(server, "/queues/readings", [reading(1), reading(2)])
      const draining = yield* Effect.fork(command(server, "/queues/readings/drain"))
      yield* until(admin(server, "/queues/readings"), ({ body }) => body.draining)
      for (const path of ["", "?wait=settled"]) {
        const refused = yield* post(server, `/queues/readings${path}`, reading(3))
        expect([refused.status, refused.body]).toMatchObject([503, {
          _tag: "QueueUnavailable",
          queue: "readings",
          reason: "draining",
          taken: 0
        }])
      }
      const lines = yield* ask(server, "/queues/readings", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: JSON.stringify(reading(3))
      })
      expect([lines.status, lines.body.reason]).toEqual([503, "draining"])
      expect((yield* post(server, "/queues/emails", { to: "ada" })).status).toBe(202)
      expect(draining.unsafePoll()).toBe(null)
      yield* gate.open
      const { body, status } = yield* Fiber.join(draining)
      expect([status, body]).toEqual([200, { drained: true, held: 0, pending: 0 }])
      expect(yield* server.readings.metrics).toMatchObject({ offered: 2, settled: 2 })
      expect((yield* post(server, "/queues/readings", reading(4))).status).toBe(503)
      expect((yield* command(server, "/queues/readings/resume")).body.draining).toBe(false)
      expect((yield* post(server, "/queues/readings?wait=settled", reading(5))).status).toBe(202)
    }))

  it.scopedLive("flushes what would wait for more", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { flushInterval: "1 hour" } })
      yield* post(server, "/queues/readings", [reading(1), reading(2)])
      expect((yield* command(server, "/queues/readings/drain")).body).toEqual({ drained: true, held: 0, pending: 0 })
      expect(server.flushed).toEqual([reading(1), reading(2)])
    }))

  it.scopedLive("of a BatchQueue stores what is buffered, and tells what is pending in its store after the timeout", () =>
    Effect.gen(function*() {
      const server = yield* serve({ emails: { flush: { linger: "1 hour" } } })
      yield* command(server, "/queues/emails/pause")
      yield* post(server, "/queues/emails", [{ to: "a" }, { to: "b" }])
      expect((yield* admin(server, "/queues/emails")).body).toMatchObject({ held: 2, counts: { stored: 0 } })
      expect((yield* command(server, "/queues/emails/drain?timeoutMillis=300")).body).toEqual({
        drained: false,
        held: 0,
        pending: 2
      })
      expect((yield* admin(server, "/queues/emails")).body).toMatchObject({
        paused: true,
        draining: true,
        counts: { stored: 2, settled: 0 },
        store: { pending: { items: 2 } }
      })
    }))

  it.scopedLive("of a BatchQueue waits for what is being handled", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({ emails: { process: () => gate.await } })
      yield* post(server, "/queues/emails?wait=stored", { to: "a" })
      yield* until(server.emails.metrics, ({ inFlight }) => inFlight === 1)
      const draining = yield* Effect.fork(command(server, "/queues/emails/drain"))
      yield* until(admin(server, "/queues/emails"), ({ body }) => body.draining)
      yield* pause(100)
      expect(draining.unsafePoll()).toBe(null)
      yield* gate.open
      expect((yield* Fiber.join(draining)).body).toEqual({ drained: true, held: 0, pending: 0 })
      expect(yield* server.emails.metrics).toMatchObject({ settled: 1 })
    }))

  it.scoped("answers after the timeout with what is still held, where the sink hangs", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({ readings: { batchSize: 1, flush: () => gate.await } })
      yield* post(server, "/queues/readings", [reading(1), reading(2), reading(3)])
      const draining = yield* Effect.fork(command(server, "/queues/readings/drain?timeoutMillis=1000"))
      yield* until(admin(server, "/queues/readings"), ({ body }) => body.draining)
      yield* TestClock.adjust(999)
      yield* pause(20)
      expect(draining.unsafePoll()).toBe(null)
      yield* TestClock.adjust(1)
      const { body, status } = yield* Fiber.join(draining)
      expect([status, body]).toEqual([200, { drained: false, held: 3, pending: 0 }])
      expect((yield* post(server, "/queues/readings", reading(4))).status).toBe(503)
      yield* command(server, "/queues/readings/resume")
      expect((yield* post(server, "/queues/readings", reading(5))).status).toBe(202)
      yield* gate.open
      yield* until(server.readings.metrics, ({ settled }) => settled === 4)
    }))

  it.scoped("waits for 30 seconds unless told otherwise", () =>
    Effect.gen(function*() {
      const server = yield* operate([queueOf("stuck", { now: { held: 7 } })])
      const draining = yield* Effect.fork(command(server, "/queues/stuck/drain"))
      yield* until(admin(server, "/queues/stuck"), ({ body }) => body.draining)
      yield* TestClock.adjust(29_999)
      yield* pause(20)
      expect(draining.unsafePoll()).toBe(null)
      yield* TestClock.adjust(1)
      expect((yield* Fiber.join(draining)).body).toEqual({ drained: false, held: 7, pending: 0 })
    }))

  it.scopedLive("with no time at all answers at once", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { flushInterval: "1 hour", flush: () => Effect.never, drainTimeout: 0 } })
      yield* post(server, "/queues/readings", reading(1))
      const { body } = yield* command(server, "/queues/readings/drain?timeoutMillis=0")
      expect(body).toEqual({ drained: false, held: 1, pending: 0 })
      for (const timeout of ["-1", "600001", "x", "", "NaN", "1.5"]) {
        const { status } = yield* command(server, `/queues/readings/drain?timeoutMillis=${timeout}`)
        expect([timeout, status]).toEqual([timeout, 400])
      }
    }))

  it.scopedLive("whose client goes away ends, and still nothing more is taken in", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({
        readings: { batchSize: 1, flush: () => gate.await },
        graceful: { grace: "30 seconds" }
      })
      yield* post(server, "/queues/readings", reading(1))
      const abort = new AbortController()
      const draining = yield* Effect.fork(Effect.exit(Effect.tryPromise(() =>
        fetch(`${server.url}/admin/queues/readings/drain?timeoutMillis=600000`, {
          method: "POST",
          headers: { authorization: `Bearer ${secret}` },
          signal: abort.signal
        })
      )))
      yield* until(admin(server, "/queues/readings"), ({ body }) =>
        body.draining)
      abort.abort()
      yield* Fiber.join(draining)
      expect((yield* admin(server, "/queues/readings")).body.draining).toBe(true)
      yield* gate.open
      yield* until(server.readings.metrics, ({ settled }) => settled === 1)
      // The request would hold this up for as long as its grace.
      const [lasted] = yield* Effect.timed(server.stop)
      expect(Duration.toSeconds(lasted)).toBeLessThan(20)
    }))

  it.scopedLive("cuts a stream of items short that has begun before", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { capacity: 10_000, policy: Backpressure.reject } })
      let push: (line: string) => void = () => {}
      let end: () => void = () => {}
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          push = (line) => controller.enqueue(new TextEncoder().encode(line))
          end = () => controller.close()
        }
      })
      const posting = yield* Effect.fork(ask(server, "/queues/readings", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body,
        duplex: "half"
      } as RequestInit))
      push(`${JSON.stringify(reading(1))}\n${JSON.stringify(reading(2))}\n`)
      yield* until(server.readings.metrics, ({ offered }) => offered === 2)
      expect((yield* command(server, "/queues/readings/drain")).body).toEqual({ drained: true, held: 0, pending: 0 })
      push(`${JSON.stringify(reading(3))}\n`)
      end()
      const { body: answer, status } = yield* Fiber.join(posting)
      expect([status, answer]).toMatchObject([503, { reason: "draining", taken: 2 }])
      expect(yield* server.readings.metrics).toMatchObject({ offered: 2, settled: 2 })
    }))

  it.scoped("is not held up by a flush that fails or a queue that is closed", () =>
    Effect.gen(function*() {
      const now = { held: 2 }
      const server = yield* operate([queueOf("odd", { now, flush: Effect.fail({ _tag: "StoreUnavailable" } as any) })])
      const draining = yield* Effect.fork(command(server, "/queues/odd/drain"))
      yield* until(admin(server, "/queues/odd"), ({ body }) => body.draining)
      now.held = 0
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(draining)).body).toEqual({ drained: true, held: 0, pending: 0 })
    }))
})

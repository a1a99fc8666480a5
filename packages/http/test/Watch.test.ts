/**
 * What others see of the queues of a process: whether it lives, and is ready.
 */
import { describe, expect, it } from "@effect/vitest"
import { type HttpQueue, HttpQueues } from "@sluice/http"
import { Context, Effect, Fiber, Layer, Logger, Schedule, TestClock } from "effect"
import { operate, pause, queueOf, until } from "./support/operating.ts"
import { ask, post, type Reading, serve } from "./support/server.ts"
import { mountedOf } from "../src/internal/mountedQueues.ts"

const reading = (celsius: number): Reading => ({ sensor: "roof", celsius })

const quiet = Logger.remove(Logger.defaultLogger)

const ready = (server: { readonly url: string }) =>
  Effect.map(ask(server, "/health/ready"), ({ body, status }) => [status, body])

describe("/health/live", () => {
  it.scopedLive("answers for as long as the process does, whatever its queues do", () =>
    Effect.gen(function*() {
      const server = yield* operate([queueOf("stuck", { now: { held: 1 } })], { queues: { stalledAfter: "1 milli" } })
      yield* until(ready(server), ([status]) => status === 503)
      const { body, status } = yield* ask(server, "/health/live")
      expect([status, body]).toEqual([200, { status: "live" }])
    }))
})

describe("/health/ready", () => {
  it.scopedLive("says that it is, and how many queues there are, without a token", () =>
    Effect.gen(function*() {
      const server = yield* serve({ admin: { token: undefined } })
      expect(yield* ready(server)).toEqual([200, { queues: 2 }])
    }))

  it.scoped("answers 503 with the name of a queue that holds items and gets nowhere, until it gets on", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({
        readings: { batchSize: 1, flush: () => gate.await },
        queues: { stalledAfter: "5 seconds" }
      })
      yield* TestClock.adjust("1 minute")
      expect(yield* ready(server)).toEqual([200, { queues: 2 }])
      yield* post(server, "/queues/readings", [reading(1), reading(2)])
      yield* until(server.readings.metrics, ({ inFlight }) => inFlight === 1)
      yield* TestClock.adjust("4 seconds")
      expect((yield* ready(server))[0]).toBe(200)
      yield* TestClock.adjust("3 seconds")
      const [status, body] = yield* ready(server)
      expect([status, body]).toEqual([503, {
        _tag: "NotReady",
        closing: false,
        stalled: [{ queue: "readings", forMillis: expect.any(Number) }]
      }])
      expect(body.stalled[0].forMillis).toBeGreaterThanOrEqual(5000)
      expect(body.stalled[0].forMillis).toBeLessThanOrEqual(7000)
      expect((yield* ask(server, "/health/live")).status).toBe(200)
      yield* gate.open
      yield* until(server.readings.metrics, ({ settled }) => settled === 2)
      yield* TestClock.adjust("1 second")
      expect(yield* ready(server)).toEqual([200, { queues: 2 }])
    }))

  it.scoped("answers 503 for a queue that tries in vain, and not for one that is slow", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        readings: {
          batchSize: 1,
          retry: Schedule.spaced("1 second"),
          flush: ({ items: [{ celsius }] }) => celsius < 0 ? Effect.fail("down") : Effect.sleep("4 seconds"),
          drainTimeout: 0
        },
        queues: { stalledAfter: "10 seconds" }
      })
      for (let n = 0; n < 5; n++) yield* server.readings.offer(reading(1))
      for (let n = 0; n < 5; n++) {
        yield* TestClock.adjust("4 seconds")
        expect([n, (yield* ready(server))[0]]).toEqual([n, 200])
      }
      yield* server.readings.offer(reading(-1))
      yield* TestClock.adjust("15 seconds")
      expect(yield* server.readings.metrics).toMatchObject({ settled: 5, held: 1 })
      expect(yield* ready(server)).toMatchObject([503, { stalled: [{ queue: "readings" }] }])
    }))

  it.scoped("does not count a BatchQueue that was paused, but one whose handler hangs", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({
        emails: { flush: { linger: "1 day" }, process: () => gate.await },
        queues: { stalledAfter: "10 seconds" }
      })
      yield* server.emails.pause
      yield* post(server, "/queues/emails", { to: "ada" })
      expect(yield* server.emails.metrics).toMatchObject({ buffered: 1 })
      yield* TestClock.adjust("1 minute")
      expect(yield* ready(server)).toEqual([200, { queues: 2 }])
      yield* server.emails.resume
      yield* server.emails.flush
      yield* until(server.emails.metrics, ({ inFlight }) => inFlight === 1)
      yield* TestClock.adjust("1 second")
      expect(yield* ready(server)).toEqual([200, { queues: 2 }])
      yield* TestClock.adjust("11 seconds")
      expect(yield* ready(server)).toMatchObject([503, { stalled: [{ queue: "emails" }] }])
      yield* gate.open
      yield* until(server.emails.metrics, ({ settled }) => settled === 1)
      yield* TestClock.adjust("1 second")
      expect(yield* ready(server)).toEqual([200, { queues: 2 }])
    }))

  it.scoped("names all queues that are stalled", () =>
    Effect.gen(function*() {
      const server = yield* operate([
        queueOf("a", { now: { held: 1 } }),
        queueOf("b"),
        queueOf("c", { now: { held: 3, progress: 9 } })
      ])
      yield* TestClock.adjust("61 seconds")
      const [status, body] = yield* ready(server)
      expect([status, body.stalled.map(({ queue }: any) => queue)]).toEqual([503, ["a", "c"]])
    }))

  it.scopedLive("tells that the server closes, while everything else is refused but for /health/live and /metrics", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({
        readings: { batchSize: 1, flush: () => gate.await },
        graceful: { grace: "10 minutes" }
      })
      const running = yield* Effect.fork(post(server, "/queues/readings?wait=settled", reading(1)))
      yield* until(server.readings.metrics, ({ inFlight }) => inFlight === 1)
      const closing = yield* Effect.fork(server.stop)
      yield* until(ready(server), ([status]) => status === 503)
      expect((yield* ask(server, "/health/ready")).body).toEqual({ _tag: "NotReady", closing: true, stalled: [] })
      expect((yield* ask(server, "/health/live")).status).toBe(200)
      expect((yield* ask(server, "/metrics")).body).toContain("sluice_items_offered_total")
      for (const path of ["/docs", "/admin/queues", "/nowhere"]) {
        const { body, headers, status } = yield* ask(server, path)
        const closing = { _tag: "ServerClosing", message: "the server is closing" }
        expect([status, body, headers.get("retry-after")]).toEqual([503, closing, "1"])
      }
      yield* gate.open
      expect((yield* Fiber.join(running)).body).toMatchObject({ settled: 1 })
      yield* Fiber.join(closing)
    }))
})

describe("progress", () => {
  const measured = (now: Partial<HttpQueue.Status>, options: HttpQueues.Options = {}) =>
    Effect.gen(function*() {
      const QueuesLive = HttpQueues.layer([Effect.succeed(queueOf("q", { now }))], options)
      const queues = mountedOf(Context.get(yield* Layer.build(QueuesLive), HttpQueues.HttpQueues))
      return queues.get("q")!
    })

  it.scoped("is made where items are done, and where none are held", () =>
    Effect.gen(function*() {
      const now = { held: 0, progress: 0 }
      const mounted = yield* measured(now)
      yield* TestClock.adjust("2 minutes")
      expect(yield* mounted.stalledForMillis).toBe(undefined)
      now.held = 5
      yield* TestClock.adjust("59 seconds")
      expect(yield* mounted.stalledForMillis).toBe(undefined)
      now.progress = 1
      yield* TestClock.adjust("59 seconds")
      expect(yield* mounted.stalledForMillis).toBe(undefined)
      yield* TestClock.adjust("2 seconds")
      expect(yield* mounted.stalledForMillis).toBeGreaterThanOrEqual(60_000)
      expect(yield* mounted.stalledForMillis).toBeLessThanOrEqual(61_000)
      now.progress = 2
      yield* TestClock.adjust("1 second")
      expect(yield* mounted.stalledForMillis).toBe(undefined)
    }))

  it.scoped("is measured over the last looks, as a rate", () =>
    Effect.gen(function*() {
      const now = { drained: 0 }
      const mounted = yield* measured(now)
      yield* TestClock.adjust(0)
      expect(mounted.drainedPerSecond).toBe(0)
      for (let second = 1; second <= 20; second++) {
        now.drained += 50
        yield* TestClock.adjust("1 second")
        expect(mounted.drainedPerSecond).toBe(50)
      }
      yield* TestClock.adjust("4 seconds")
      expect(mounted.drainedPerSecond).toBeGreaterThan(0)
      expect(mounted.drainedPerSecond).toBeLessThan(50)
      yield* TestClock.adjust("10 seconds")
      expect(mounted.drainedPerSecond).toBe(0)
    }))

  it.scopedLive("is measured of the other queues also where one dies of being looked at", () =>
    Effect.gen(function*() {
      const odd = queueOf("odd", { status: Effect.dieMessage("not today") })
      const now = { drained: 0 }
      const QueuesLive = HttpQueues.layer([Effect.succeed(odd), Effect.succeed(queueOf("q", { now }))])
      const queues = mountedOf(Context.get(yield* Layer.build(QueuesLive), HttpQueues.HttpQueues))
      yield* until(
        Effect.sync(() => {
          now.drained += 1
          return queues.get("q")!.drainedPerSecond
        }),
        (rate) => rate > 0
      )
      yield* pause()
    }).pipe(Effect.provide(quiet)))

  it.scoped("is not missed in an idle queue where stalledAfter is less than a second", () =>
    Effect.gen(function*() {
      const mounted = yield* measured({ held: 0 }, { stalledAfter: "200 millis" })
      yield* TestClock.adjust("10 seconds")
      yield* TestClock.adjust("300 millis")
      expect(yield* mounted.stalledForMillis).toBe(undefined)
    }))
})

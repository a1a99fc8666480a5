import { FetchHttpClient, HttpApi, HttpApiClient, HttpClient, HttpClientRequest } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, Decision, QueueError } from "@sluice/core"
import { HttpError, SluiceApi } from "@sluice/http"
import { Effect, Exit, Option, ParseResult, Redacted, Schedule, Schema } from "effect"
import { operate, queueOf } from "./support/operating.ts"
import { counts, makeHold, until } from "./support/raw.ts"
import { Api, serve, token } from "./support/server.ts"

const clientOf = ({ url }: { readonly url: string }, bearer?: string) =>
  HttpApiClient.make(Api, {
    baseUrl: url,
    transformClient: bearer === undefined
      ? undefined
      : HttpClient.mapRequest(HttpClientRequest.bearerToken(bearer))
  }).pipe(Effect.provide(FetchHttpClient.layer))

const reading = { sensor: "roof", celsius: 21 }

describe("a generated client", () => {
  it.scopedLive("offers an item, and an array, and is told what became of them", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* clientOf(server)
      const one = yield* client.queues.readings({ payload: reading, urlParams: {}, headers: {} })
      expect(one).toEqual(counts({ items: 1, accepted: 1 }))
      const many = yield* client.queues.readings({
        payload: [reading, { ...reading, tags: ["a"] }],
        urlParams: { wait: "settled" },
        headers: {}
      })
      expect(many).toEqual(counts({ items: 2, settled: 2 }))
      expect(server.flushed).toEqual([reading, reading, { ...reading, tags: ["a"] }])
    }))

  it.scopedLive("of SluiceApi offers a payload alone, or with the rest, and has the other groups", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* SluiceApi.client(Api, { baseUrl: server.url }).pipe(Effect.provide(FetchHttpClient.layer))
      expect(yield* client.queues.readings({ payload: reading })).toEqual(counts({ items: 1, accepted: 1 }))
      expect(yield* client.queues.readings({ payload: [reading], urlParams: { wait: "settled" } })).toEqual(
        counts({ items: 1, settled: 1 })
      )
      const once = { payload: { to: "ada" }, urlParams: undefined, headers: { "idempotency-key": "k" } } as const
      yield* client.queues.emails(once)
      expect(yield* client.queues.emails(once)).toEqual(counts({ items: 1, duplicates: 1 }))
      const [taken, response] = yield* client.queues.readings({ payload: reading, withResponse: true })
      expect([taken.items, response.status]).toEqual([1, 202])
      expect(yield* client.queueWatch.live()).toEqual({ status: "live" })
      yield* until(() => server.flushed.length === 3 && server.sent.length === 1)
    }))

  it.scopedLive("encodes items by the schema of their queue", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* clientOf(server)
      const at = new Date("2026-01-02T03:04:05.678Z")
      const taken = yield* client.queues.emails({
        payload: [{ to: "ada", at }, { to: "bob", body: { x: [1] } }],
        urlParams: { wait: "stored" },
        headers: {}
      })
      expect(taken).toEqual(counts({ items: 2, stored: 2 }))
      yield* until(() => server.sent.length === 2)
      expect(server.sent).toEqual([{ to: "ada", at }, { to: "bob", body: { x: [1] } }])
    }))

  it.scopedLive("repeats a request with its Idempotency-Key", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* clientOf(server)
      const request = { payload: { to: "ada" }, urlParams: {}, headers: { "idempotency-key": "k" } }
      expect(yield* client.queues.emails(request)).toEqual(counts({ items: 1, stored: 1 }))
      expect(yield* client.queues.emails(request)).toEqual(counts({ items: 1, duplicates: 1 }))
    }))

  it.scopedLive("does not send what does not fit the schema", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const client = yield* clientOf(server)
      const error = yield* Effect.flip(
        client.queues.readings({ payload: { sensor: "roof", celsius: Infinity }, urlParams: {}, headers: {} })
      )
      expect(ParseResult.isParseError(error)).toBe(true)
      expect((yield* server.readings.metrics).offered).toBe(0)
    }))
})

describe("what a generated client fails with", () => {
  /** The same API as another version of a client has it, whose schema is wider. */
  const Wider = HttpApi.make("wider").add(
    SluiceApi.ingest({ readings: Schema.Unknown, emails: Schema.Unknown, ghost: Schema.Unknown })
  )
  const widerOf = ({ url }: { readonly url: string }, bearer?: string) =>
    HttpApiClient.make(Wider, {
      baseUrl: url,
      transformClient: bearer === undefined
        ? undefined
        : HttpClient.mapRequest(HttpClientRequest.bearerToken(bearer))
    }).pipe(Effect.provide(FetchHttpClient.layer))
  const plain = { urlParams: {}, headers: {} }

  it.scopedLive("is the class of the refusal, with its fields", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({
        queues: { maxBodyBytes: 1000 },
        readings: { capacity: 2, batchSize: 1, policy: Backpressure.reject, flush: () => hold.pass }
      })
      const client = yield* widerOf(server)
      const invalid = yield* Effect.flip(client.queues.readings({ payload: { sensor: 1 }, ...plain }))
      expect(invalid).toBeInstanceOf(HttpError.InvalidItems)
      expect(invalid).toMatchObject({
        queue: "readings",
        taken: 0,
        faults: [{ position: 0, field: "sensor" }, { position: 0, field: "celsius" }]
      })

      const key = yield* Effect.flip(
        client.queues.readings({ payload: reading, urlParams: {}, headers: { "idempotency-key": "a b" } })
      )
      expect(key).toBeInstanceOf(HttpError.InvalidRequest)
      expect(key).toMatchObject({ field: "Idempotency-Key" })

      const wait = yield* Effect.flip(
        client.queues.readings({ payload: reading, urlParams: { wait: "stored" }, headers: {} })
      )
      expect(wait).toBeInstanceOf(HttpError.InvalidRequest)
      expect(wait).toMatchObject({ field: "wait" })

      const unknown = yield* Effect.flip(client.queues.ghost({ payload: reading, ...plain }))
      expect(unknown).toBeInstanceOf(HttpError.UnknownQueue)
      expect(unknown).toMatchObject({ queue: "ghost" })

      const large = yield* Effect.flip(
        client.queues.readings({ payload: { ...reading, x: "x".repeat(1000) }, ...plain })
      )
      expect(large).toBeInstanceOf(HttpError.TooLarge)
      expect(large).toMatchObject({ what: "body", limit: 1000, taken: 0 })

      const items = yield* Effect.flip(client.queues.readings({ payload: [reading, reading, reading], ...plain }))
      expect(items).toBeInstanceOf(HttpError.TooLarge)
      expect(items).toMatchObject({ what: "items", limit: 2, taken: 0 })

      yield* server.readings.offer(reading)
      yield* until(() => hold.waiting() === 1)
      yield* client.queues.readings({ payload: [reading, reading], ...plain })
      const full = yield* Effect.flip(client.queues.readings({ payload: reading, ...plain }))
      expect(full).toBeInstanceOf(HttpError.QueueIsFull)
      expect(full).toMatchObject({ queue: "readings", taken: 0, retryAfterSeconds: expect.any(Number) })
      yield* hold.open

      const operator = yield* clientOf(server, Redacted.value(token))
      yield* operator.queueAdmin.drain({ path: { name: "emails" }, urlParams: { timeoutMillis: 1000 } })
      const draining = yield* Effect.flip(client.queues.emails({ payload: { to: "a" }, ...plain }))
      expect(draining).toBeInstanceOf(HttpError.QueueUnavailable)
      expect(draining).toMatchObject({ queue: "emails", reason: "draining" })
    }))

  it.scopedLive("is Unauthorized without the token of producers, and nothing with it", () =>
    Effect.gen(function*() {
      const secret = "a token for producers"
      const server = yield* serve({ ingest: { token: Redacted.make(secret) } })
      for (const bearer of [undefined, "another token"]) {
        const client = yield* widerOf(server, bearer)
        const error = yield* Effect.flip(client.queues.readings({ payload: reading, ...plain }))
        expect(error).toBeInstanceOf(HttpError.Unauthorized)
      }
      const client = yield* widerOf(server, secret)
      expect(yield* client.queues.readings({ payload: reading, ...plain })).toMatchObject({ accepted: 1 })
    }))
})

describe("a generated client of an operator", () => {
  it.scopedLive("lists, looks, pauses, resumes and drains", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const { queueAdmin: admin, queues } = yield* clientOf(server, Redacted.value(token))
      yield* queues.emails({ payload: { to: "ada" }, urlParams: { wait: "stored" }, headers: {} })
      const all = yield* admin.list()
      expect(all.map(({ name, system }) => [name, system])).toEqual([["readings", "WriteBehind"], [
        "emails",
        "BatchQueue"
      ]])
      expect((yield* admin.pause({ path: { name: "emails" } })).paused).toBe(true)
      expect((yield* admin.state({ path: { name: "emails" } })).paused).toBe(true)
      expect((yield* admin.resume({ path: { name: "emails" } })).paused).toBe(false)
      const drained = yield* admin.drain({ path: { name: "readings" }, urlParams: { timeoutMillis: 1000 } })
      expect(drained).toEqual({ drained: true, held: 0, pending: 0 })
      expect(yield* Effect.flip(admin.state({ path: { name: "ghost" } }))).toBeInstanceOf(HttpError.UnknownQueue)
      expect(yield* Effect.flip(admin.pause({ path: { name: "readings" } }))).toBeInstanceOf(HttpError.NotOffered)
    }))

  it.scopedLive("looks at dead letters, puts them back and discards them", () =>
    Effect.gen(function*() {
      let isBroken = true
      const server = yield* serve({
        emails: {
          process: () => isBroken ? Effect.fail("broken") : Effect.void,
          maxDeliveries: 1,
          retry: Schedule.recurs(0),
          onProcessError: () => Effect.void
        }
      })
      const { queueAdmin: admin, queues } = yield* clientOf(server, Redacted.value(token))
      const path = { name: "emails" }
      const list = Effect.orDie(admin.deadLetters({ path, urlParams: { limit: 10 } }))
      yield* queues.emails({ payload: { to: "ada" }, urlParams: { wait: "stored" }, headers: {} })
      yield* until(() => Effect.map(list, (letters) => letters.length === 1))
      const [{ id, ...letter }] = yield* list
      expect(letter).toMatchObject({ items: 1, deliveries: 1, error: expect.stringContaining("broken") })
      expect(yield* admin.inspect({ path: { ...path, id } })).toMatchObject({ id, content: [{ to: "ada" }] })
      expect(yield* Effect.flip(admin.inspect({ path: { ...path, id: id + 1 } })))
        .toBeInstanceOf(HttpError.UnknownDeadLetter)
      expect(yield* admin.discard({ path, payload: { ids: [id + 1] } })).toEqual({ batches: 0, items: 0 })
      isBroken = false
      expect(yield* admin.redrive({ path, payload: { ids: "all" } })).toEqual({ batches: 1, items: 1 })
      yield* until(() =>
        Effect.map(Effect.orDie(server.emails.stats), ({ dead, pending }) => dead.items + pending.items === 0)
      )
      expect((yield* server.emails.metrics).settled).toBe(1)
    }))

  it.scopedLive("asks for dead letters by what they are like, so many of them, and so fast", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        emails: {
          process: ({ items: [{ to }] }) => Effect.fail(to),
          decide: (error) => error === "refused" ? Decision.deadLetter : Decision.retry,
          retry: Schedule.recurs(0),
          onProcessError: () => Effect.void
        }
      })
      const { queueAdmin: admin } = yield* clientOf(server, Redacted.value(token))
      const path = { name: "emails" }
      for (const to of ["down", "down", "refused", "refused"]) yield* server.emails.offerStored({ to })
      const listed = (
        query: { readonly reason?: string; readonly error?: string; readonly olderThanMillis?: number }
      ) =>
        Effect.map(
          Effect.orDie(admin.deadLetters({ path, urlParams: { limit: 10, ...query } })),
          (letters) => letters.map(({ id }) => id)
        )
      yield* until(() => Effect.map(listed({}), (ids) => ids.length === 4))
      expect(yield* listed({ reason: "rejected" })).toEqual([3, 4])
      expect(yield* listed({ error: "ow", olderThanMillis: 0 })).toEqual([1, 2])
      expect(yield* listed({ olderThanMillis: 3_600_000 })).toEqual([])
      const rejected = { where: { reason: "rejected", error: undefined } }
      expect(yield* admin.discard({ path, payload: { ...rejected, dryRun: true } })).toEqual({ batches: 2, items: 2 })
      expect(yield* admin.discard({ path, payload: { ...rejected, limit: 1, rate: 5 } })).toEqual({
        batches: 1,
        items: 1
      })
      expect(yield* admin.discard({ path, payload: { ids: [1, 4], limit: 1, rate: undefined } }))
        .toEqual({ batches: 1, items: 1 })
      expect(yield* listed({})).toEqual([2, 4])
    }))

  it.scopedLive("does not send a command for dead letters that would be for more than it says", () =>
    Effect.gen(function*() {
      const { queueAdmin: admin } = yield* clientOf({ url: "http://127.0.0.1:9" }, Redacted.value(token))
      const payloads = [
        {},
        { where: {} },
        { where: { reason: undefined } },
        { where: { reson: "rejected" } },
        { where: { error: "" } },
        { where: { olderThanMillis: -1 } },
        { ids: "all", where: { reason: "rejected" } },
        { ids: "all", max: 1 },
        { ids: "all", limit: -1 },
        { ids: "all", rate: 0 },
        { ids: "all", rate: NaN },
        { ids: "all", dryRun: "true" }
      ] as ReadonlyArray<any>
      for (const payload of payloads) {
        for (const operation of ["redrive", "discard"] as const) {
          const error = yield* Effect.flip(admin[operation]({ path: { name: "emails" }, payload }))
          expect([payload, ParseResult.isParseError(error)]).toEqual([payload, true])
        }
      }
    }))

  it.scopedLive("is told of a wrong option in a class that names it", () =>
    Effect.gen(function*() {
      const server = yield* operate([queueOf("emails", {
        deadLetters: {
          list: () => Effect.succeed([]),
          inspect: () => Effect.succeed(Option.none()),
          redrive: () =>
            Effect.fail(
              new QueueError.InvalidOption({ queue: "emails", field: "rate", value: 9, limit: "at most 5" })
            ),
          discard: () => Effect.never
        }
      })])
      const { queueAdmin: admin } = yield* clientOf(server, Redacted.value(token))
      const error = yield* Effect.flip(admin.redrive({ path: { name: "emails" }, payload: { ids: "all", rate: 9 } }))
      expect(error).toBeInstanceOf(HttpError.InvalidRequest)
      expect(error).toMatchObject({ field: "rate", message: "it must be at most 5" })
    }))

  it.scopedLive("is Unauthorized without the token", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const bearer of [undefined, "not the token for operators"]) {
        const { queueAdmin } = yield* clientOf(server, bearer)
        expect(yield* Effect.flip(queueAdmin.list())).toBeInstanceOf(HttpError.Unauthorized)
        const drain = queueAdmin.drain({ path: { name: "readings" }, urlParams: { timeoutMillis: 0 } })
        expect(yield* Effect.flip(drain)).toBeInstanceOf(HttpError.Unauthorized)
      }
      const { queues } = yield* clientOf(server)
      yield* queues.readings({ payload: reading, urlParams: {}, headers: {} })
    }))
})

describe("a generated client that watches", () => {
  it.scopedLive("reads health and metrics", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const { queueWatch } = yield* clientOf(server)
      expect(yield* queueWatch.live()).toEqual({ status: "live" })
      const ready = yield* queueWatch.ready()
      expect(ready).toBeInstanceOf(SluiceApi.Ready)
      expect(ready.queues).toBe(2)
      expect(yield* queueWatch.metrics()).toContain("# TYPE")
    }))

  it.scopedLive("is told in a class that the process is not ready", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({
        queues: { stalledAfter: "1500 millis" },
        readings: { flush: () => hold.pass, drainTimeout: "1 milli" }
      })
      const { queueWatch, queues } = yield* clientOf(server)
      yield* queues.readings({ payload: reading, urlParams: {}, headers: {} })
      yield* until(() => Effect.map(Effect.exit(queueWatch.ready()), Exit.isFailure))
      const error = yield* Effect.flip(queueWatch.ready())
      expect(error).toBeInstanceOf(SluiceApi.NotReady)
      expect(error).toMatchObject({ closing: false, stalled: [{ queue: "readings" }] })
      yield* hold.open
    }))

  it.scopedLive("is not told so of a queue that holds nothing", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { stalledAfter: "10 millis" } })
      const { queueWatch } = yield* clientOf(server)
      yield* Effect.sleep(100)
      expect(yield* Effect.exit(queueWatch.ready())).toMatchObject({ _tag: "Success" })
    }))
})

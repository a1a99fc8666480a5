import { HttpApi, HttpApiBuilder, HttpApiMiddleware } from "@effect/platform"
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { HttpError, HttpQueue, HttpQueues, Ingest, SluiceApi } from "@sluice/http"
import { Effect, Layer, Redacted, type Scope } from "effect"
import { type Address, type Options, serveApi, serveLayer, serveRouter } from "./support/custom.ts"
import { connect, head, json } from "./support/raw.ts"
import { ask, post, Reading } from "./support/server.ts"

const reading: Reading = { sensor: "roof", celsius: 21 }

/** Whatever guards a group of an API. */
class Locked extends HttpApiMiddleware.Tag<Locked>()("test/Locked", { failure: HttpError.Unauthorized }) {}

interface Served extends Address {
  /** The names of the queues that have an item. */
  readonly taken: Effect.Effect<ReadonlyArray<string>>
}

const makeQueues = (names: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const queues = yield* Effect.forEach(names, (name) =>
      WriteBehind.make<Reading, never, never>({
        name,
        capacity: 100,
        policy: Backpressure.reject,
        batchSize: 1000,
        flushInterval: "1 hour",
        flush: () => Effect.void
      }))
    const taken = Effect.map(
      Effect.filter(queues, ({ depth }) => Effect.map(depth, (depth) => depth > 0)),
      (queues) => queues.map(({ queueName }) => queueName)
    )
    return { queues: queues.map((queue) => HttpQueue.fromWriteBehind(queue, { schema: Reading })), taken }
  })

/** A server with queues of these names, of which the API describes some. */
const describing = (
  names: ReadonlyArray<string>,
  options?: Options
): Effect.Effect<Served, unknown, Scope.Scope> =>
  Effect.flatMap(
    makeQueues(names),
    ({ queues, taken }) => Effect.map(serveApi(queues, options), (address) => ({ ...address, taken }))
  )

/** The same queues behind the plain route. */
const routing = (names: ReadonlyArray<string>, options?: Ingest.Options): Effect.Effect<Served, unknown, Scope.Scope> =>
  Effect.flatMap(
    makeQueues(names),
    ({ queues, taken }) => Effect.map(serveRouter(queues, options), (address) => ({ ...address, taken }))
  )

const mounted = (names: ReadonlyArray<string>) =>
  Effect.map(makeQueues(names), ({ queues }) => HttpQueues.layer(queues.map((queue) => Effect.succeed(queue))))

/** They stand in a path as they are. */
const plain = ["orders", "~", "..a", "a.b_c-d", "0", "__proto__", "constructor"]

const odd = [
  ...plain,
  "a b",
  "a+b",
  "a/b",
  "a?b",
  "a#b",
  "a;b",
  "a:b",
  ":name",
  "100%",
  "%41",
  "größe",
  "注文",
  "😀",
  "a&b=c",
  "a,b@c$d",
  "~!'"
]

describe("the names of queues", () => {
  for (const name of plain) {
    it.scopedLive(`are found: ${JSON.stringify(name)}, of an API`, () =>
      Effect.gen(function*() {
        const server = yield* describing([name, "decoy"])
        const answer = yield* post(server, `/queues/${name}`, reading)
        expect([answer.status, answer.body]).toMatchObject([202, { accepted: 1 }])
        expect(yield* server.taken).toEqual([name])
      }))
  }

  for (const name of odd) {
    it.scopedLive(`are found: ${JSON.stringify(name)}, encoded, of a plain router`, () =>
      Effect.gen(function*() {
        const server = yield* routing([name, "decoy"])
        const answer = yield* post(server, `/queues/${encodeURIComponent(name)}`, reading)
        expect([answer.status, answer.body]).toMatchObject([202, { accepted: 1 }])
        expect(yield* server.taken).toEqual([name])
      }))
  }

  it.scopedLive("that differ in their case only are told apart by a plain router", () =>
    Effect.gen(function*() {
      for (const name of ["orders", "Orders", "ORDERS"]) {
        const server = yield* routing(["orders", "Orders", "ORDERS"])
        expect((yield* post(server, `/queues/${name}`, reading)).status).toBe(202)
        expect([name, yield* server.taken]).toEqual([name, [name]])
      }
    }))

  it.scopedLive("that an API does not describe are unknown, whoever mounts them and however they are written", () =>
    Effect.gen(function*() {
      const server = yield* describing(["orders", "Orders", "inner"], { described: ["orders"] })
      for (const name of ["Orders", "ORDERS", "inner", "%69nner", "ghost"]) {
        const answer = yield* post(server, `/queues/${name}`, reading)
        expect([name, answer.status, answer.body]).toEqual([
          name,
          404,
          { _tag: "UnknownQueue", queue: decodeURIComponent(name) }
        ])
      }
      expect(yield* server.taken).toEqual([])
    }))

  it.scopedLive("are found by any spelling of a path that means them", () =>
    Effect.gen(function*() {
      const server = yield* describing(["emails"])
      for (const path of ["/queues/em%61ils", "/queues/%65%6D%61%69%6c%73", "/queues/emails", "/queues/emails/"]) {
        const answer = yield* post(server, path, reading)
        expect([path, answer.status]).toEqual([path, 202])
      }
      expect(yield* server.taken).toEqual(["emails"])
    }))

  it.scopedLive("are below the prefix of the API", () =>
    Effect.gen(function*() {
      const server = yield* describing(["emails", "letters"], { described: ["emails"], prefix: "/v1" })
      for (const name of ["emails", "em%61ils"]) {
        expect([name, (yield* post(server, `/v1/queues/${name}`, reading)).status]).toEqual([name, 202])
        expect([name, (yield* post(server, `/queues/${name}`, reading)).status]).toEqual([name, 404])
      }
      const ghost = yield* post(server, "/v1/queues/letters", reading)
      expect([ghost.status, ghost.body]).toEqual([404, { _tag: "UnknownQueue", queue: "letters" }])
    }))

  it.scopedLive("that cannot be decoded are answered with 404, as no path", () =>
    Effect.gen(function*() {
      const server = yield* describing(["emails"])
      const body = JSON.stringify(reading)
      const paths = ["/queues/%", "/queues/%zz", "/queues/%c3%28", "/queues/%ed%a0%80", "/queues/emails%", "/%"]
      for (const path of paths) {
        const client = yield* connect(server)
        yield* client.send(head(path, { "content-type": json, "content-length": body.length }) + body)
        expect([path, (yield* client.answer).status]).toEqual([path, 404])
      }
      expect(yield* server.taken).toEqual([])
    }))

  it.scopedLive("cannot be left by dots", () =>
    Effect.gen(function*() {
      const server = yield* describing(["emails"])
      const body = JSON.stringify(reading)
      const paths = ["/queues/../queues/emails", "/x/../queues/emails", "/queues/%2e%2e/emails", "/queues/..%2femails"]
      for (const path of paths) {
        const client = yield* connect(server)
        yield* client.send(head(path, { "content-type": json, "content-length": body.length }) + body)
        expect([path, (yield* client.answer).status]).toEqual([path, 404])
      }
      expect(yield* server.taken).toEqual([])
    }))
})

describe("a plain router", () => {
  it.scopedLive("takes items, waits, and refuses like the API", () =>
    Effect.gen(function*() {
      const server = yield* routing(["orders"], { token: Redacted.make("a token for producers") })
      const authorization = "Bearer a token for producers"
      expect((yield* post(server, "/queues/orders", reading)).status).toBe(401)
      expect((yield* post(server, "/queues/orders", reading, { authorization })).status).toBe(202)
      const wait = yield* post(server, "/queues/orders?wait=x", reading, { authorization })
      expect([wait.status, wait.body]).toEqual([400, {
        _tag: "InvalidRequest",
        field: "wait",
        message: "it must be \"stored\" or \"settled\""
      }])
      const ghost = yield* post(server, "/queues/ghost", reading, { authorization })
      expect([ghost.status, ghost.body]).toEqual([404, { _tag: "UnknownQueue", queue: "ghost" }])
      const stream = yield* ask(server, "/queues/orders", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson", authorization },
        body: `${JSON.stringify(reading)}\n`
      })
      expect([stream.status, stream.body]).toMatchObject([202, { accepted: 1 }])
    }))
})

describe("layers of an ingest", () => {
  it.scoped("are refused where a queue of the API is not mounted", () =>
    Effect.gen(function*() {
      const QueuesLive = yield* mounted(["orders"])
      const Api = HttpApi.make("test").add(SluiceApi.ingest({ orders: Reading, ghosts: Reading }))
      const error = yield* Effect.flip(Layer.build(
        HttpApiBuilder.api(Api).pipe(
          Layer.provide(Ingest.layer(Api)),
          Layer.provide(QueuesLive)
        )
      ))
      expect(error).toMatchObject({ _tag: "InvalidOption", field: "api", value: "ghosts" })
    }))

  it.scoped("are refused where the name of a queue does not stand in a path as it is, or differs from another in case", () =>
    Effect.gen(function*() {
      for (const names of [["a b"], ["größe"], ["a/b"], [":name"], [".."], ["*"], ["a*b"], ["orders", "Orders"]]) {
        const QueuesLive = yield* mounted(names)
        const Api = HttpApi.make("test").add(
          SluiceApi.ingest(Object.fromEntries(names.map((name) => [name, Reading])))
        )
        const error = yield* Effect.flip(Layer.build(
          HttpApiBuilder.api(Api).pipe(Layer.provide(Ingest.layer(Api)), Layer.provide(QueuesLive))
        ))
        expect([names, error]).toMatchObject([names, { _tag: "InvalidOption", field: "api", value: names.at(-1) }])
      }
    }))

  it.scopedLive("leave nothing open that middleware of the group guards", () =>
    Effect.gen(function*() {
      const { queues, taken } = yield* makeQueues(["orders", "inner"])
      const Api = HttpApi.make("test").add(SluiceApi.ingest({ orders: Reading }).middleware(Locked))
      const server = yield* serveLayer(
        HttpApiBuilder.api(Api).pipe(
          Layer.provide(Ingest.layer(Api)),
          Layer.provide(Layer.succeed(Locked, Effect.fail(new HttpError.Unauthorized({ message: "locked" })))),
          Layer.provide(HttpQueues.layer(queues.map((queue) => Effect.succeed(queue))))
        )
      )
      for (const name of ["orders", "ORDERS", "%6frders", "inner", "ghost"]) {
        const { status } = yield* post(server, `/queues/${name}`, reading)
        expect([name, status === 401 || status === 404]).toEqual([name, true])
      }
      expect(yield* taken).toEqual([])
    }))

  it.scoped("are refused where a token could be guessed", () =>
    Effect.gen(function*() {
      const QueuesLive = yield* mounted(["orders"])
      const Api = HttpApi.make("test").add(SluiceApi.ingest({ orders: Reading }))
      for (const token of ["", "fifteen letters"]) {
        const options = { token: Redacted.make(token) }
        const error = yield* Effect.flip(Layer.build(
          HttpApiBuilder.api(Api).pipe(
            Layer.provide(Ingest.layer(Api, options)),
            Layer.provide(QueuesLive)
          )
        ))
        expect(error).toMatchObject({ _tag: "InvalidOption", field: "token", value: "<redacted>" })
        const plain = yield* Effect.flip(Effect.provide(Ingest.make(options), QueuesLive))
        expect(plain).toMatchObject({ _tag: "InvalidOption", field: "token", value: "<redacted>" })
      }
    }))

  it.scoped("are refused where two queues have one name, or a limit is none", () =>
    Effect.gen(function*() {
      const QueuesLive = yield* mounted(["orders", "orders"])
      expect(yield* Effect.flip(Layer.build(QueuesLive))).toMatchObject({
        _tag: "InvalidOption",
        field: "queues",
        value: "orders"
      })
      // Of an array that is empty the types know nothing.
      const none: ReadonlyArray<Effect.Effect<HttpQueue.HttpQueue>> = []
      const wrong: ReadonlyArray<HttpQueues.Options> = [
        { maxBodyBytes: 0 },
        { maxLineBytes: 1.5 },
        { maxIdempotencyKeys: -1 },
        { recentEvents: -1 },
        { recentEvents: 0.5 },
        { idempotencyWindow: "nonsense" as any },
        { stalledAfter: -1 }
      ]
      for (const options of wrong) {
        const error = yield* Effect.flip(Layer.build(HttpQueues.layer(none, options)))
        expect([options, error]).toMatchObject([options, { _tag: "InvalidOption", field: Object.keys(options)[0] }])
      }
    }))
})

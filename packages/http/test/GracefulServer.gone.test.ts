/**
 * Clients that give up while they wait for an answer: whenever that is, and however the server answers, nothing of the
 * request is left, and a server that closes does not wait for it.
 */
import { HttpApiBuilder, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer, NodeHttpServerRequest } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Result } from "@sluice/core"
import { Admin, GracefulServer, type HttpQueue, HttpQueues, Ingest, SluiceApi, Watch } from "@sluice/http"
import { Context, Effect, Layer, Option, Redacted, Schema, Stream, Supervisor } from "effect"
import { createServer } from "node:http"
import { connect as connectSocket } from "node:net"
import { Readable } from "node:stream"
import { campaign } from "../../core/test/support/campaigns.ts"
import { serveLayer } from "./support/custom.ts"
import { connect, head, json, makeHold, ndjson, until } from "./support/raw.ts"
import { serve, token } from "./support/server.ts"

/** A task of the event loop: after it has heard of its sockets, and before those that are closed tell so. */
const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

const socketOf = Effect.map(
  HttpServerRequest.HttpServerRequest,
  (request) => NodeHttpServerRequest.toIncomingMessage(request).socket
)

/** Waits for the moment in which the connection is destroyed, and nobody has been told so yet. */
const untilDestroyed = Effect.flatMap(socketOf, (socket) => Effect.repeat(turn, { until: () => socket.destroyed }))
  .pipe(Effect.asVoid)

/** Builds a server, and counts the fibers that it has forked: those of requests are among them. */
const watched = <A, E, R>(server: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const supervisor = yield* Supervisor.track
    const built = yield* Effect.supervised(server, supervisor)
    const fibers = Effect.map(supervisor.value, (fibers) => fibers.length)
    // The fibers that make it come to their end.
    let idle = -1
    yield* until(() => Effect.map(fibers, (now) => now === idle || (idle = now, false)))
    return {
      built,
      awaitBusy: (requests: number) => until(() => Effect.map(fibers, (now) => now >= idle + requests)),
      awaitIdle: until(() => Effect.map(fibers, (now) => now <= idle))
    }
  })

const serveApp = <E>(app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, any>) =>
  Effect.gen(function*() {
    const node = NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })
    const context = yield* Layer.build(
      HttpServer.serve(app).pipe(Layer.provideMerge(GracefulServer.layer(node, { grace: "1 hour" }))) as Layer.Layer<
        HttpServer.HttpServer
      >
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    return { port: address._tag === "TcpAddress" ? address.port : 0 }
  })

const get = (path = "/"): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`

const form = (): FormData => {
  const form = new FormData()
  form.append("name", "value")
  return form
}

describe("an answer in the moment in which the client has gone", () => {
  const answers: Readonly<Record<string, () => HttpServerResponse.HttpServerResponse>> = {
    "text": () => HttpServerResponse.text("here"),
    "bytes": () => HttpServerResponse.uint8Array(new Uint8Array(1_000_000)),
    "nothing": () => HttpServerResponse.empty(),
    "a body of Node's": () => HttpServerResponse.raw("here"),
    "a stream of Node's": () => HttpServerResponse.raw(Readable.from(["here"])),
    "a stream": () => HttpServerResponse.stream(Stream.make(new Uint8Array(10), new Uint8Array(1_000_000))),
    "a form": () => HttpServerResponse.formData(form())
  }
  for (const [name, answer] of Object.entries(answers)) {
    it.scopedLive(`leaves no fiber: ${name}`, () =>
      Effect.gen(function*() {
        let begun = 0
        const app = Effect.zipRight(Effect.sync(() => begun += 1), Effect.map(untilDestroyed, answer))
        for (const each of [app, Effect.uninterruptible(app)]) {
          const { awaitIdle, built: server } = yield* watched(serveApp(each))
          const before = begun
          const clients = yield* Effect.replicateEffect(connect(server), 20)
          for (const client of clients) yield* client.send(get())
          yield* until(() => begun === before + 20)
          for (const { socket } of clients) socket.resetAndDestroy()
          yield* awaitIdle
        }
      }))
  }

  it.scopedLive("leaves no fiber: the head alone, and an upgrade that is refused", () =>
    Effect.gen(function*() {
      let begun = 0
      const app = Effect.zipRight(
        Effect.sync(() => begun += 1),
        Effect.as(untilDestroyed, HttpServerResponse.text("here"))
      )
      const { awaitIdle, built: server } = yield* watched(serveApp(app))
      for (
        const [i, request] of [
          "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",
          "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        ].entries()
      ) {
        const client = yield* connect(server)
        yield* client.send(request)
        yield* until(() => begun === i + 1)
        client.socket.resetAndDestroy()
        yield* awaitIdle
      }
    }))
})

describe("requests that stand in line on a connection that is cut off", () => {
  it.scopedLive("leave no fiber, answered or not", () =>
    Effect.gen(function*() {
      const begun: Array<string> = []
      const hang = Effect.zipRight(Effect.sync(() => void begun.push("hang")), Effect.never)
      const answer = Effect.zipRight(
        Effect.sync(() => void begun.push("answer")),
        Effect.succeed(HttpServerResponse.text("here"))
      )
      const formed = Effect.zipRight(
        Effect.sync(() => void begun.push("form")),
        Effect.sync(() => HttpServerResponse.formData(form()))
      )
      const router = HttpRouter.empty.pipe(
        HttpRouter.get("/hang", hang),
        HttpRouter.get("/answer", answer),
        HttpRouter.get("/form", formed)
      )
      const { awaitIdle, built: server } = yield* watched(serveApp(router))
      const warnings: Array<string> = []
      const onWarning = ({ name }: Error) => void warnings.push(name)
      process.on("warning", onWarning)
      yield* Effect.addFinalizer(() => Effect.sync(() => process.off("warning", onWarning)))
      const client = yield* connect(server)
      yield* client.send(get("/hang") + (get("/answer") + get("/form") + get("/hang")).repeat(20))
      yield* until(() => begun.length === 61)
      // Those that can be answered are, behind the one that cannot.
      yield* Effect.repeatN(turn, 20)
      client.socket.destroy()
      yield* awaitIdle
      expect(warnings).toEqual([])
    }))

  it.scopedLive("are answered in turn where it is not", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      let answered = 0
      const slow = Effect.as(hold.pass, HttpServerResponse.text("slow"))
      const fast = Effect.sync(() => HttpServerResponse.text(`fast ${answered += 1}`))
      const router = HttpRouter.empty.pipe(HttpRouter.get("/slow", slow), HttpRouter.get("/fast", fast))
      const { awaitIdle, built: server } = yield* watched(serveApp(router))
      const client = yield* connect(server)
      yield* client.send(get("/slow") + get("/fast") + get("/fast"))
      yield* until(() => answered === 2)
      yield* hold.open
      for (const body of ["slow", "fast 1", "fast 2"]) expect(yield* client.answer).toMatchObject({ status: 200, body })
      yield* awaitIdle
    }))
})

describe("a server that is none of ours", () => {
  // The moment is the same for whatever a queue is asked.
  const atLast = <A>(value: A) => Effect.as(untilDestroyed, value) as Effect.Effect<A>
  const status: HttpQueue.Status = { held: 0, drained: 0, progress: 0, paused: false, counts: {}, droppedByReason: {} }
  const isAsked = Effect.contextWith((context: Context.Context<never>) =>
    Option.isSome(Context.getOption(context, HttpServerRequest.HttpServerRequest))
  )
  const queue = {
    name: "items",
    system: "Test",
    decode: Result.succeed,
    events: Stream.never,
    status: Effect.flatMap(isAsked, (isAsked) => isAsked ? atLast(status) : Effect.succeed(status)),
    flush: Effect.void,
    offerStoredAllOrNone: () => atLast({ stored: 1, duplicates: 0 }),
    offerTracked: () => atLast(Effect.succeed({ settled: 1, dropped: 0 }))
  } as unknown as HttpQueue.HttpQueue
  const Api = SluiceApi.make({ items: Schema.Any })
  const ApiLive = HttpApiBuilder.api(Api).pipe(
    Layer.provide([Ingest.layer(Api), Admin.layer(Api, { token }), Watch.layer(Api)]),
    Layer.provide(HttpQueues.layer([Effect.succeed(queue)]))
  )
  const post = (path: string) => head(path, { "content-type": json, "content-length": 4 }) + "[{}]"
  const watch = (path: string) =>
    `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${Redacted.value(token)}\r\n\r\n`
  for (
    const [what, request] of [
      ["items to be stored", post("/queues/items?wait=stored")],
      ["items to be settled", post("/queues/items?wait=settled")],
      ["the state of a queue", watch("/admin/queues/items")],
      ["the health", watch("/health/ready")]
    ] as const
  ) {
    it.scopedLive(`is left with no fiber either by clients of ${what}`, () =>
      Effect.gen(function*() {
        const { awaitBusy, awaitIdle, built: server } = yield* watched(serveLayer(ApiLive))
        const clients = yield* Effect.replicateEffect(connect(server), 20)
        for (const client of clients) yield* client.send(request)
        yield* awaitBusy(20)
        for (const { socket } of clients) socket.resetAndDestroy()
        yield* awaitIdle
      }))
  }
})

describe("thousands of clients that give up at any moment", () => {
  it.scopedLive("leave no fiber, and the server ends without waiting for them", () =>
    Effect.gen(function*() {
      const { awaitIdle, built: server } = yield* watched(
        serve({ graceful: { grace: "1 hour" }, readings: { flushInterval: "1 millis" } })
      )
      const reading = "{\"sensor\":\"roof\",\"celsius\":1}"
      const email = "{\"to\":\"ada\"}"
      const requests = [
        ["readings?wait=settled", json, reading],
        ["readings?wait=settled", json, `[${reading},${reading}]`],
        ["readings", ndjson, `${reading}\n${reading}\n`],
        ["emails?wait=stored", json, email],
        ["emails?wait=stored", json, `[${email},${email}]`],
        ["emails?wait=stored", ndjson, `${email}\n${email}\n`]
      ].map(([path, type, body]) =>
        head(`/queues/${path}`, { "content-type": type, "content-length": body.length }) + body
      )
      // Each request, each number of turns: from at once to long after the answer.
      const giveUp = (i: number) =>
        leaveAfter(server.port, requests[i % requests.length], Math.floor(i / requests.length) % 6)
      yield* Effect.forEach(Array.from({ length: campaign(5_000) }, (_, i) => i), giveUp, {
        concurrency: 50,
        discard: true
      })
      yield* awaitIdle
      yield* server.stop
    }))
})

/** Sends a request, and resets the connection so many turns of the event loop later, or as soon as it is answered. */
const leaveAfter = (port: number, request: string, turns: number): Effect.Effect<void> =>
  Effect.async((resume) => {
    const socket = connectSocket({ port, host: "127.0.0.1", noDelay: true }, () => socket.write(request, leave))
    let left = turns
    const leave = () => left-- > 0 ? void setImmediate(leave) : void socket.resetAndDestroy()
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.void))
  })

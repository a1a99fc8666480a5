// A server with queues, as a process of its own, to be ended by signals. It is told in JSON what to be, says in lines what
// it does, and writes what its queues flush to a file, which outlives it. It runs what has been compiled.
import { HttpApi, HttpApiBuilder, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Backpressure, BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import * as fs from "node:fs"
import { createServer } from "node:http"
import { Admin, GracefulServer, HttpQueue, HttpQueues, Ingest, SluiceApi, Watch } from "../../dist/index.js"

const {
  drainTimeout = "5 seconds",
  // Where what was flushed is written to.
  flushed,
  grace = "1 second",
  // Whether the sink hangs for ever.
  hangs = false,
  token
} = JSON.parse(process.argv[2])

const say = (line) => fs.writeSync(1, `${line}\n`)

const Item = Schema.Struct({ name: Schema.String })
class Readings extends Context.Tag("test/Readings")() {}
class Emails extends Context.Tag("test/Emails")() {}
class Api extends HttpApi.make("test").addHttpApi(SluiceApi.make({ readings: Item, emails: Item })) {}

const write = (queue) => ({ items }) =>
  Effect.sync(() => {
    for (const { name } of items) fs.appendFileSync(flushed, `${queue} ${name}\n`)
  })

// Nothing is due before the end: what is in the file then was drained.
const readings = WriteBehind.layer(Readings, {
  name: "readings",
  capacity: 10_000,
  policy: Backpressure.reject,
  batchSize: 1000,
  flushInterval: "1 hour",
  drainTimeout,
  flush: hangs ? () => Effect.never : write("readings"),
  onDrop: ({ name }, reason) => say(`dropped ${name} ${reason}`)
})

// Its worker takes a moment: what is being handled when the signal comes is not to be given up.
const emails = BatchQueue.layer(Emails, {
  name: "emails",
  schema: Item,
  policy: Backpressure.reject,
  pollInterval: 20,
  drainTimeout,
  process: (batch) =>
    Effect.gen(function*() {
      say(`handling ${batch.items.map(({ name }) => name).join(",")}`)
      yield* Effect.sleep(200)
      yield* write("emails")(batch)
    })
}).pipe(Layer.provide(BatchStore.layerMemory))

const offer = Effect.gen(function*() {
  const queue = yield* Readings
  const { url } = yield* HttpServerRequest.HttpServerRequest
  yield* Effect.orDie(queue.offer({ name: url.slice(url.indexOf("=") + 1) }))
  return HttpServerResponse.empty({ status: 202 })
})

/** Handlers that take their time. Each says when it has begun. */
const routes = HttpApiBuilder.Router.use((router) =>
  Effect.gen(function*() {
    const begin = (what) => Effect.sync(() => say(`begun ${what}`))
    yield* router.post("/slow", Effect.zipRight(begin("slow"), Effect.zipRight(Effect.sleep(300), offer)))
    yield* router.post(
      "/hang",
      Effect.zipRight(begin("hang"), Effect.onInterrupt(Effect.never, () => Effect.sync(() => say("interrupted"))))
    )
    yield* router.post("/stuck", Effect.uninterruptible(Effect.zipRight(begin("stuck"), Effect.never)))
  })
)

const queues = HttpQueues.layer([
  HttpQueue.writeBehind(Readings, { schema: Item }),
  HttpQueue.batchQueue(Emails, { schema: Item })
])

const api = HttpApiBuilder.api(Api).pipe(
  Layer.provide([Ingest.layer(Api), Admin.layer(Api, { token: Redacted.make(token) }), Watch.layer(Api)]),
  Layer.provide(queues)
)

const server = GracefulServer.layer(
  NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" }),
  { grace }
)

const listening = Layer.effectDiscard(
  Effect.map(HttpServer.HttpServer, ({ address }) => say(`listening ${address.port}`))
)

// Built from the inside out, and so torn down from the outside in: the server first, and then the queues.
const app = listening.pipe(
  Layer.provide(HttpApiBuilder.serve()),
  Layer.provide(api),
  Layer.provide(routes),
  Layer.provide(server),
  Layer.provide(Layer.merge(readings, emails))
)

process.on("exit", () => say("exit"))

NodeRuntime.runMain(Layer.launch(app), { disableErrorReporting: false })

// Places orders, has them sent by two processes, kills one of these half-way, and counts what the receiver has got.
import { Command, FileSystem, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeContext, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { Array, ConfigProvider, Console, Deferred, Effect, Layer } from "effect"
import assert from "node:assert/strict"
import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import { DatabaseLive, Order, Outbox, outboxLive, placeOrder } from "./Orders.ts"

const orders = Array.makeBy(200, (i) => new Order({ id: `order-${i}`, product: i % 2 === 0 ? "kettle" : "lamp" }))

/** Takes orders, and does each once: what it has done already, it only counts. */
const makeReceiver = Effect.gen(function*() {
  const done = new Set<string>()
  const halfWay = yield* Deferred.make<string>()
  const killed = yield* Effect.makeLatch()
  let duplicates = 0
  const receive = Effect.gen(function*() {
    const { id } = yield* HttpServerRequest.schemaBodyJson(Order)
    const { worker } = (yield* HttpServerRequest.HttpServerRequest).headers
    if (done.has(id)) duplicates++
    done.add(id)
    if (done.size >= orders.length / 2) {
      // The worker is killed before it has an answer, so that it cannot say that this order is done.
      yield* Deferred.succeed(halfWay, worker ?? "none")
      yield* killed.await
    }
    return HttpServerResponse.empty()
  })
  yield* HttpRouter.empty.pipe(HttpRouter.post("/", receive), HttpServer.serveEffect())
  const address = yield* HttpServer.addressFormattedWith(Effect.succeed)
  return { address, halfWay, killed, done, duplicates: Effect.sync(() => duplicates) }
})

const startWorker = (env: Record<string, string>) =>
  Command.make(process.execPath, fileURLToPath(new URL("worker.js", import.meta.url))).pipe(
    Command.env(env),
    Command.stdout("inherit"),
    Command.stderr("inherit"),
    Command.start
  )

const check = (database: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const outbox = yield* Outbox
    yield* sql`CREATE TABLE orders (id TEXT PRIMARY KEY, product TEXT NOT NULL)`
    yield* Effect.forEach(orders, placeOrder, { concurrency: "unbounded" })
    // An order that the database refuses leaves nothing in the outbox.
    const refused = yield* Effect.flip(placeOrder(new Order({ id: "order-0", product: "lamp" })))
    assert.equal(refused._tag, "SqlError")
    assert.equal((yield* outbox.stats).pending.items, orders.length)

    const receiver = yield* makeReceiver
    const start = (worker: string) => startWorker({ WORKER: worker, DATABASE: database, RECEIVER: receiver.address })
    const workers = { first: yield* start("first"), second: yield* start("second") }

    const victim = yield* Deferred.await(receiver.halfWay)
    assert.ok(victim === "first" || victim === "second")
    yield* workers[victim].kill("SIGKILL")
    const doneAtKill = receiver.done.size
    yield* receiver.killed.open

    const left = yield* outbox.stats.pipe(
      Effect.delay("50 millis"),
      Effect.repeat({ until: ({ pending }) => pending.items === 0 })
    )
    const survivor = workers[victim === "first" ? "second" : "first"]
    yield* survivor.kill("SIGTERM")
    assert.equal(yield* survivor.exitCode, 0)

    const missing = orders.filter(({ id }) => !receiver.done.has(id))
    const duplicates = yield* receiver.duplicates
    assert.deepEqual(missing, [])
    assert.equal(left.dead.items, 0)
    assert.ok(duplicates > 0, "the order of the killed worker was not sent again")

    yield* Console.log(`outbox: ${orders.length} orders placed, one refused by the database and not in the outbox`)
    yield* Console.log(`  worker "${victim}" was killed with SIGKILL after ${doneAtKill} orders`)
    yield* Console.log(`  received: ${receiver.done.size}, of which ${duplicates} twice; left: ${left.pending.items}`)
  })

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const database = `${yield* fs.makeTempDirectoryScoped()}/shop.db`
  const ShopLive = outboxLive({ workers: 0, send: () => Effect.void }).pipe(
    Layer.provideMerge(DatabaseLive),
    Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["DATABASE", database]]))))
  )
  yield* check(database).pipe(Effect.provide(ShopLive))
})

program.pipe(
  Effect.scoped,
  Effect.provide([NodeContext.layer, NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })]),
  NodeRuntime.runMain
)

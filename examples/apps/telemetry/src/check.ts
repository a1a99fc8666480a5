// Sends readings of many sensors, ends the service in the midst of it, and compares the file with the answers.
import { Command, FetchHttpClient, FileSystem, HttpApiClient, HttpClient } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { SqliteStore } from "@sluice/sql"
import { Array, Console, Deferred, Effect, Fiber, Layer, Stream } from "effect"
import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import { Api, Reading } from "./Api.ts"

const sensors = Array.makeBy(40, (i) => `sensor-${i}`)

/** Starts the service at a free port. Returns its process and its address. */
const start = (database: string) =>
  Effect.gen(function*() {
    const service = yield* Command.make(process.execPath, fileURLToPath(new URL("main.js", import.meta.url))).pipe(
      // The queue would flush after an hour: what is in the file before that was put there by the drain.
      Command.env({ DATABASE: database, PORT: "0", FLUSH_INTERVAL: "1 hour" }),
      Command.stderr("inherit"),
      Command.start
    )
    const address = yield* Deferred.make<string>()
    yield* service.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.runForEach((line) => {
        const found = /http:\/\/[\d.]+:\d+/.exec(line)
        return found ? Deferred.succeed(address, found[0]) : Effect.void
      }),
      Effect.zipRight(Deferred.die(address, "the service has ended")),
      Effect.forkScoped
    )
    return { service, address: yield* Deferred.await(address) }
  })

const rowsOf = (database: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ sensor: string; number: number }>`SELECT * FROM readings`).pipe(
    Effect.provide(SqliteStore.layer({ filename: database, create: false }))
  )

const check = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const database = `${yield* fs.makeTempDirectoryScoped()}/telemetry.db`
  const { address, service } = yield* start(database)
  const client = yield* HttpApiClient.make(Api, { baseUrl: address })

  // Each sensor sends one reading after another, until the service takes no more.
  const answered = new Map<string, number>()
  const busy = yield* Effect.makeLatch()
  const send = (sensor: string) =>
    Effect.gen(function*() {
      for (let number = 1;; number++) {
        yield* client.queues.readings({
          payload: new Reading({ sensor, number, celsius: 20 + number / 10 }),
          urlParams: {},
          headers: {}
        })
        answered.set(sensor, number)
        if (answered.size === sensors.length && number === 20) yield* busy.open
      }
    }).pipe(Effect.flip, Effect.map(({ _tag }) => _tag))
  const sending = yield* Effect.fork(Effect.forEach(sensors, send, { concurrency: "unbounded" }))
  yield* busy.await

  const ready = yield* HttpClient.get(`${address}/health/ready`)
  assert.equal(ready.status, 200)
  // A count is in the metrics within a second of its change.
  const count = (name: string, metrics: string) =>
    Number(new RegExp(`^${name}{.*queue="readings".*} (\\d+)`, "m").exec(metrics)?.[1])
  const { coalesced, offered } = yield* HttpClient.get(`${address}/metrics`).pipe(
    Effect.flatMap((response) => response.text),
    Effect.map((metrics) => ({
      offered: count("sluice_items_offered_total", metrics),
      coalesced: count("sluice_items_coalesced_total", metrics)
    })),
    Effect.delay("100 millis"),
    Effect.repeat({ until: ({ coalesced }) => coalesced > 0 })
  )
  assert.ok(coalesced < offered)
  assert.equal((yield* rowsOf(database)).length, 0)

  yield* service.kill("SIGTERM")
  assert.equal(yield* service.exitCode, 0)
  const ends = yield* Fiber.join(sending)

  const stored = new Map((yield* rowsOf(database)).map(({ number, sensor }) => [sensor, number]))
  const lost = sensors.filter((sensor) => (stored.get(sensor) ?? 0) < (answered.get(sensor) ?? 0))
  assert.deepEqual(lost, [])
  assert.equal(stored.size, sensors.length)

  const total = Array.reduce(answered.values(), 0, (sum, number) => sum + number)
  yield* Console.log(`telemetry: ${total} readings of ${sensors.length} sensors were accepted`)
  yield* Console.log(
    `  /metrics, while it ran: ${offered} offered, ${coalesced} replaced by a later one of their sensor`
  )
  yield* Console.log(`  SIGTERM: exit 0; the last requests of the clients: ${Array.dedupe(ends).join(", ")}`)
  yield* Console.log(`  in the file: the latest reading of ${stored.size} sensors; lost: ${lost.length}`)
})

check.pipe(Effect.scoped, Effect.provide(Layer.mergeAll(NodeContext.layer, FetchHttpClient.layer)), NodeRuntime.runMain)

/**
 * A server that listens before what it serves is there: whoever comes too early gets an answer, and is told to come
 * again. `packages/examples` has the server of the guide, with a store that takes its time.
 */
import { HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { GracefulServer } from "@sluice/http"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { connect, type Hold, makeHold, until } from "./support/raw.ts"

/** A server whose app is there once it is let through, or has failed. Built in the background. */
const begin = (hold: Hold, ready: Effect.Effect<void, string> = Effect.void) =>
  Effect.gen(function*() {
    const node = createServer()
    let served = 0
    const app = Effect.sync(() => HttpServerResponse.text(`served ${served += 1}`))
    const AppLive = Layer.unwrapEffect(Effect.as(Effect.zipRight(hold.pass, ready), HttpServer.serve(app)))
    const NodeLive = NodeHttpServer.layer(() => node, { port: 0, host: "127.0.0.1" })
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const building = yield* Effect.fork(
      Layer.buildWithScope(AppLive.pipe(Layer.provide(GracefulServer.layer(NodeLive, { grace: "1 hour" }))), scope)
    )
    yield* until(() => hold.waiting() === 1)
    const { port } = node.address() as AddressInfo
    return { port, building, served: () => served, stop: Scope.close(scope, Exit.void) }
  })

const get = (path = "/"): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`

const early = {
  status: 503,
  headers: { "retry-after": "1" },
  body: { _tag: "ServerStarting", message: "the server is starting" }
}

describe("a server that listens before what it serves is there", () => {
  it.scopedLive("answers whoever comes with 503 and when to come again, and serves them then", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* begin(hold)
      const client = yield* connect(server)
      for (const path of ["/", "/queues/readings", "/health/live", "/health/ready"]) {
        yield* client.send(get(path))
        expect(yield* client.answer).toMatchObject(early)
      }
      yield* hold.open
      yield* Fiber.join(server.building)
      // The connection is kept: who was too early need not connect again.
      yield* client.send(get())
      expect(yield* client.answer).toMatchObject({ status: 200, body: "served 1" })
    }))

  it.scopedLive("answers each request once, also those that come while it begins to serve", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 20; round++) {
        const hold = makeHold()
        const server = yield* begin(hold)
        const statuses: Array<ReadonlyArray<number>> = []
        const ask = Effect.gen(function*() {
          const client = yield* connect(server)
          const seen: Array<number> = []
          statuses.push(seen)
          while (seen.filter((status) => status === 200).length < 3) {
            yield* client.send(get())
            seen.push((yield* client.answer).status)
            if (seen.length === 3) asking += 1
          }
        })
        let asking = 0
        const clients = yield* Effect.fork(Effect.replicateEffect(ask, 10, { concurrency: "unbounded" }))
        yield* until(() => asking === 10)
        yield* hold.open
        yield* Fiber.join(clients)
        for (const seen of statuses) {
          const served = seen.indexOf(200)
          expect(seen).toEqual(seen.map((_, i) => i < served ? 503 : 200))
        }
        expect(server.served()).toBe(30)
        yield* server.stop
      }
    }))

  it.scopedLive("ends where what it serves cannot be made", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* begin(hold, Effect.fail("no store"))
      const client = yield* connect(server)
      yield* client.send(get())
      expect(yield* client.answer).toMatchObject(early)
      yield* hold.open
      expect(yield* Effect.flip(Fiber.join(server.building))).toBe("no store")
      yield* server.stop
      yield* client.over
    }))

  it.scopedLive("ends where it is stopped before", () =>
    Effect.gen(function*() {
      const server = yield* begin(makeHold())
      const client = yield* connect(server)
      yield* client.send(get())
      expect(yield* client.answer).toMatchObject(early)
      yield* Fiber.interrupt(server.building)
      yield* server.stop
      yield* client.over
    }))
})

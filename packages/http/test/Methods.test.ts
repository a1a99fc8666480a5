/**
 * Every route, asked for by each method that it is not for.
 */
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "@effect/platform"
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { HttpQueues, Ingest, SluiceApi } from "@sluice/http"
import { Context, Effect, Layer, Schema } from "effect"
import { createServer } from "node:http"
import { serveLayer, serveRouter } from "./support/custom.ts"
import { queueOf } from "./support/operating.ts"
import { ask, post, serve, token } from "./support/server.ts"

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const

/** What each of the methods that are not allowed is answered with. */
const refusals = (server: { readonly url: string }, path: string, allowed: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    for (const method of methods.filter((method) => !allowed.includes(method))) {
      const { body, headers, status } = yield* ask(server, path, { method })
      expect([method, path, status, headers.get("allow")]).toEqual([method, path, 405, allowed.join(", ")])
      expect(body).toEqual(method === "HEAD" ? "" : { _tag: "MethodNotAllowed", allowed })
    }
  })

const get = ["GET", "HEAD"]

describe("a path that is asked for by another method", () => {
  it.scopedLive("is answered with 405 and what is allowed, of every route", () =>
    Effect.gen(function*() {
      const server = yield* serve({ admin: { token } })
      for (
        const [path, allowed] of [
          ["/queues/readings", ["POST"]],
          ["/queues/READINGS", ["POST"]],
          ["/queues/emails/?wait=stored", ["POST"]],
          ["/admin/queues", get],
          ["/admin/queues/readings", get],
          ["/admin/queues/readings/events", get],
          ["/admin/queues/readings/dead-letters", get],
          ["/admin/queues/readings/dead-letters/1", get],
          ["/admin/queues/readings/pause", ["POST"]],
          ["/admin/queues/readings/resume", ["POST"]],
          ["/admin/queues/readings/drain", ["POST"]],
          ["/metrics", get],
          ["/health/live", get],
          ["/health/ready", get]
        ] as const
      ) {
        // Of letters one has any id, also one that is a word.
        if (path.endsWith("redrive")) continue
        yield* refusals(server, path, allowed)
      }
      for (
        const path of ["/admin/queues/readings/dead-letters/redrive", "/admin/queues/readings/dead-letters/discard"]
      ) {
        expect((yield* ask(server, path, { method: "PUT" })).status).toBe(405)
      }
    }))

  it.scopedLive("tells nobody which queues there are", () =>
    Effect.gen(function*() {
      const server = yield* serve({ ingest: { token } })
      yield* refusals(server, "/queues/readings", ["POST"])
      yield* refusals(server, "/queues/ghosts", ["POST"])
    }))

  it.scopedLive("is not there where its routes are not, or nothing is", () =>
    Effect.gen(function*() {
      const server = yield* serve({ admin: { token: undefined } })
      for (const path of ["/admin/queues", "/nothing", "/queues", "/queues/a/b", "/health"]) {
        for (const method of methods) expect((yield* ask(server, path, { method })).status).toBe(404)
      }
      expect((yield* post(server, "/queues/readings", { sensor: "roof", celsius: 1 })).status).toBe(202)
    }))

  it.scopedLive("is found where another group of the API has it for that method", () =>
    Effect.gen(function*() {
      const group = HttpApiGroup.make("own").add(HttpApiEndpoint.get("read", "/queues/items").addSuccess(Schema.String))
      const Api = HttpApi.make("test").add(SluiceApi.ingest({ items: Schema.Any })).add(group)
      const ApiLive = HttpApiBuilder.api(Api).pipe(
        Layer.provide([
          Ingest.layer(Api),
          HttpApiBuilder.group(Api, "own", (handlers) => handlers.handle("read", () => Effect.succeed("mine")))
        ]),
        Layer.provide(HttpQueues.layer([Effect.succeed(queueOf("items"))]))
      )
      const server = yield* serveLayer(ApiLive)
      expect(yield* ask(server, "/queues/items")).toMatchObject({ status: 200, body: "mine" })
      yield* refusals(server, "/queues/items", ["GET", "HEAD", "POST"])
      yield* refusals(server, "/queues/others", ["POST"])
    }))
})

describe("a plain router", () => {
  it.scopedLive("answers 405 as well", () =>
    Effect.gen(function*() {
      const server = yield* serveRouter([queueOf("items")])
      yield* refusals(server, "/queues/items", ["POST"])
      yield* refusals(server, "/queues/items/?wait=stored", ["POST"])
      for (const method of methods) expect((yield* ask(server, "/queues/a/b", { method })).status).toBe(404)
    }))

  it.scopedLive("leaves the other methods to those who have them, and can be put anywhere", () =>
    Effect.gen(function*() {
      const own = HttpRouter.empty.pipe(
        HttpRouter.get("/queues/:name", HttpServerResponse.text("mine")),
        HttpRouter.put("*", HttpServerResponse.text("else"))
      )
      const AppLive = Layer.unwrapEffect(Effect.map(Ingest.router(), (ingest) =>
        HttpServer.serve(
          HttpRouter.concat(own, ingest).pipe(
            HttpRouter.concat(HttpRouter.prefixAll(ingest, "/prefixed")),
            HttpRouter.mount("/mounted", ingest)
          )
        ))).pipe(Layer.provide(HttpQueues.layer([Effect.succeed(queueOf("items"))])))
      const NodeLive = NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })
      const context = yield* Layer.build(Layer.provideMerge(AppLive, NodeLive))
      const { address } = Context.get(context, HttpServer.HttpServer)
      const server = { url: `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}` }
      expect(yield* ask(server, "/queues/items")).toMatchObject({ status: 200, body: "mine" })
      expect((yield* ask(server, "/queues/items", { method: "HEAD" })).status).toBe(200)
      expect((yield* ask(server, "/queues/items", { method: "PUT" })).status).toBe(405)
      expect(yield* ask(server, "/other", { method: "PUT" })).toMatchObject({ status: 200, body: "else" })
      yield* refusals(server, "/prefixed/queues/items", ["POST"])
      yield* refusals(server, "/mounted/queues/items", ["POST"])
    }))
})

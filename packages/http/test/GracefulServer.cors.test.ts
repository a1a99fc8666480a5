/**
 * Web pages of elsewhere that ask: what a browser looks at before it lets them, and lets them see.
 */
import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { GracefulServer } from "@sluice/http"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { makeHold, until } from "./support/raw.ts"
import { ask, post, serve, token } from "./support/server.ts"

const app = "https://app.example.com"
const other = "https://other.example.com"

const only = { graceful: { grace: 0, cors: { origins: [app] } } } as const

const preflight = (server: { readonly url: string }, origin: string, headers: string, path = "/queues/readings") =>
  ask(server, path, {
    method: "OPTIONS",
    headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": headers }
  })

const corsOf = (headers: Headers): Readonly<Record<string, string>> =>
  Object.fromEntries(Array.from(headers).filter(([name]) => name.startsWith("access-control-")))

const listOf = (headers: Headers, name: string): ReadonlyArray<string> =>
  (headers.get(name) ?? "").split(",").map((each) => each.trim().toLowerCase())

describe("a server that says nothing of web pages", () => {
  it.scopedLive("lets none of elsewhere ask", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const asked = yield* preflight(server, app, "content-type")
      const offered = yield* post(server, "/queues/readings", { sensor: "roof", celsius: 1 }, { origin: app })
      expect([asked.status, corsOf(asked.headers)]).toEqual([405, {}])
      expect([offered.status, corsOf(offered.headers)]).toEqual([202, {}])
    }))
})

describe("a server that lets a page of elsewhere ask", () => {
  it.scopedLive("says so before an item is offered, with the headers that ingest takes", () =>
    Effect.gen(function*() {
      const server = yield* serve(only)
      const wanted = "authorization,content-encoding,content-type,idempotency-key"
      const { headers, status } = yield* preflight(server, app, wanted)
      expect([status, headers.get("access-control-allow-origin"), headers.get("vary")]).toEqual([204, app, "Origin"])
      expect(listOf(headers, "access-control-allow-headers")).toEqual(expect.arrayContaining(wanted.split(",")))
      expect(listOf(headers, "access-control-allow-headers")).toEqual(
        // What a client of Effect's sends by itself, and a client of events.
        expect.arrayContaining(["b3", "traceparent", "last-event-id"])
      )
      expect(listOf(headers, "access-control-allow-methods")).toEqual(expect.arrayContaining(["get", "post"]))
      expect(headers.get("access-control-max-age")).toBe("600")
      expect(headers.get("access-control-allow-credentials")).toBe(null)
    }))

  it.scopedLive("lets it see every answer, whatever that is, and when to come again", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({
        ...only,
        admin: { token },
        readings: { capacity: 1, batchSize: 1, flush: () => hold.pass }
      })
      const item = { sensor: "roof", celsius: 1 }
      const answers = [
        yield* post(server, "/queues/readings", item, { origin: app }),
        yield* post(server, "/queues/readings", {}, { origin: app }),
        yield* post(server, "/queues/ghosts", item, { origin: app }),
        yield* ask(server, "/queues/readings", { method: "PUT", headers: { origin: app } }),
        yield* ask(server, "/admin/queues", { headers: { origin: app } }),
        yield* ask(server, "/nothing", { headers: { origin: app } }),
        yield* ask(server, "/metrics", { headers: { origin: app } }),
        yield* Effect.repeat(post(server, "/queues/readings", item, { origin: app }), {
          until: ({ status }) => status === 429
        })
      ]
      expect(answers.map(({ status }) => status)).toEqual([202, 400, 404, 405, 401, 404, 200, 429])
      for (const { headers } of answers) {
        expect(headers.get("access-control-allow-origin")).toBe(app)
        expect(listOf(headers, "access-control-expose-headers")).toEqual(["allow", "retry-after", "www-authenticate"])
      }
      yield* hold.open
    }))

  it.scopedLive("lets it see too that the server is starting, and that it is closing", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const slow = makeHold()
      const node = createServer()
      const router = HttpRouter.empty.pipe(HttpRouter.get("/", Effect.as(slow.pass, HttpServerResponse.text("here"))))
      const AppLive = Layer.unwrapEffect(Effect.as(hold.pass, HttpServer.serve(router))).pipe(
        Layer.provide(GracefulServer.layer(NodeHttpServer.layer(() => node, { port: 0, host: "127.0.0.1" }), {
          cors: { origins: [app] }
        }))
      )
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const building = yield* Effect.fork(Layer.buildWithScope(AppLive, scope))
      yield* until(() => hold.waiting() === 1)
      const server = { url: `http://127.0.0.1:${(node.address() as AddressInfo).port}` }
      const get = ask(server, "/other", { headers: { origin: app } })
      const seen = ({ body, headers, status }: Effect.Effect.Success<typeof get>) => [
        status,
        body._tag,
        headers.get("access-control-allow-origin"),
        headers.get("retry-after")
      ]
      expect(seen(yield* get)).toEqual([503, "ServerStarting", app, "1"])
      expect((yield* preflight(server, app, "content-type")).status).toBe(204)
      yield* hold.open
      yield* Fiber.join(building)
      const running = yield* Effect.fork(ask(server, "/", { headers: { origin: app } }))
      yield* until(() => slow.waiting() === 1)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      const refused = yield* Effect.repeat(get, { until: ({ status }) => status === 503 })
      expect(seen(refused)).toEqual([503, "ServerClosing", app, "1"])
      yield* slow.open
      expect((yield* Fiber.join(running)).headers.get("access-control-allow-origin")).toBe(app)
      yield* Fiber.join(closing)
    }))

  it.scopedLive("tells each of several its own name, and others none", () =>
    Effect.gen(function*() {
      const server = yield* serve({ graceful: { grace: 0, cors: { origins: [app, other] } } })
      for (const [origin, allowed] of [[app, app], [other, other], ["https://evil.example.com", null]] as const) {
        const { headers } = yield* preflight(server, origin, "content-type")
        const answer = yield* ask(server, "/health/live", { headers: { origin } })
        expect([headers, answer.headers].map((headers) => headers.get("access-control-allow-origin")))
          .toEqual([allowed, allowed])
      }
    }))

  it.scopedLive("takes what else a page sends and reads, and its cookies, where it is told so", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        graceful: {
          grace: 0,
          cors: {
            origins: [app],
            methods: ["POST"],
            headers: ["X-Own"],
            exposedHeaders: ["X-Mine"],
            credentials: true,
            maxAge: "1 hour"
          }
        }
      })
      const { headers } = yield* preflight(server, app, "x-own")
      expect(listOf(headers, "access-control-allow-headers")).toEqual(expect.arrayContaining(["x-own", "content-type"]))
      expect(listOf(headers, "access-control-expose-headers")).toEqual(
        expect.arrayContaining(["x-mine", "retry-after"])
      )
      expect(corsOf(headers)).toMatchObject({
        "access-control-allow-methods": "POST",
        "access-control-allow-credentials": "true",
        "access-control-max-age": "3600"
      })
    }))

  it.scopedLive("lets all of them ask where it is told so", () =>
    Effect.gen(function*() {
      const server = yield* serve({ graceful: { grace: 0, cors: { origins: "*" } } })
      const { headers } = yield* preflight(server, other, "content-type")
      expect(headers.get("access-control-allow-origin")).toBe("*")
    }))
})

describe("which pages may ask", () => {
  const node = NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })
  it.scopedLive.each<readonly [string, any]>([
    ["origins", { origins: [] }],
    ["origins", { origins: ["*"] }],
    ["origins", { origins: "https://app.example.com" }],
    ["origins", { origins: ["https://app.example.com/"] }],
    ["origins", { origins: ["app.example.com"] }],
    ["origins", { origins: [app, 7] }],
    ["origins", {}],
    ["credentials", { origins: "*", credentials: true }],
    ["methods", { origins: [app], methods: ["GET, POST"] }],
    ["headers", { origins: [app], headers: ["a\r\nb"] }],
    ["exposedHeaders", { origins: [app], exposedHeaders: "retry-after" }],
    ["maxAge", { origins: [app], maxAge: -1 }],
    ["maxAge", { origins: [app], maxAge: Infinity }]
  ])("is refused where it makes no sense: %s", ([field, cors]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(GracefulServer.layer(node, { cors })))
      expect(error).toMatchObject({ _tag: "InvalidOption", queue: "GracefulServer", field: `cors.${field}` })
    }))
})

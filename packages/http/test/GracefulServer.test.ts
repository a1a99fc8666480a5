/**
 * The end of a server within its process: what happens in which order, what those hear who are still there, and that
 * nothing is left. `GracefulServer.process.test.ts` has signals.
 */
import { HttpMiddleware, HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { GracefulServer } from "@sluice/http"
import { Context, Effect, Exit, Fiber, Layer, Scope, Supervisor } from "effect"
import { createServer } from "node:http"
import { connect, makeHold, type Raw, until } from "./support/raw.ts"
import { campaign } from "../../core/test/support/campaigns.ts"

class Items extends Context.Tag("test/Items")<Items, WriteBehind.WriteBehind<string>>() {}

const { Closing } = GracefulServer

const node = (port = 0) => NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1" })

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`

type App = Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, any>

/** A server around a queue, and what has happened in it so far. */
const serve = (handlers: Readonly<Record<`/${string}`, App>>, options: GracefulServer.Options = {}) =>
  Effect.gen(function*() {
    const happened: Array<string> = []
    const note = (what: string) => Effect.sync(() => void happened.push(what))
    const items = WriteBehind.layer(Items, {
      name: "items",
      capacity: 10,
      policy: Backpressure.reject,
      flushInterval: "1 hour",
      flush: ({ items }) => note(`flushed ${items.join(",")}`)
    })
    let router: HttpRouter.HttpRouter<unknown, any> = HttpRouter.empty
    for (const [path, handler] of Object.entries(handlers)) router = HttpRouter.get(router, path as "/", handler)
    router = HttpRouter.get(router, "/", HttpServerResponse.text("here"))
    const server = HttpServer.serve(router).pipe(
      Layer.provideMerge(GracefulServer.layer(node(), options)),
      Layer.provideMerge(items)
    ) as Layer.Layer<Items | HttpServer.HttpServer, unknown>
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(server, scope)
    const { address } = Context.get(context, HttpServer.HttpServer)
    return {
      port: address._tag === "TcpAddress" ? address.port : 0,
      items: Context.get(context, Items),
      happened,
      note,
      stop: Effect.zipRight(Scope.close(scope, Exit.void), note("stopped"))
    }
  })

/** A connection that has been used, and is kept alive. */
const keptAlive = (server: { readonly port: number }): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.gen(function*() {
    const raw = yield* connect(server)
    yield* raw.send(get("/"))
    expect((yield* raw.answer).status).toBe(200)
    return raw
  })

/** Asks until the server refuses. */
const refusal = (raw: Raw) =>
  Effect.repeat(Effect.zipRight(raw.send(get("/")), raw.answer), { until: ({ status }) => status === 503 })

describe("a server that closes", () => {
  it.scopedLive("refuses, lets running requests end, and only then closes the queues", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({
        "/slow": Effect.gen(function*() {
          yield* hold.pass
          const items = yield* Items
          return HttpServerResponse.text(yield* items.offer("late"), { status: 202 })
        })
      })
      yield* server.items.offer("early")
      const slow = yield* connect(server)
      const other = yield* keptAlive(server)
      yield* slow.send(get("/slow"))
      yield* until(() => hold.waiting() === 1)
      const stopping = yield* Effect.fork(server.stop)
      const { body, headers, status } = yield* refusal(other)
      expect({ status, body, connection: headers["connection"] }).toEqual({
        status: 503,
        body: { _tag: "ServerClosing", message: "the server is closing" },
        connection: "close"
      })
      // It is refused, and the queue is still open: those who run need it.
      expect(yield* server.items.offer("meanwhile")).toBe("accepted")
      expect(server.happened).toEqual([])
      yield* hold.open
      expect(yield* slow.answer).toMatchObject({ status: 202, body: "accepted" })
      yield* Fiber.join(stopping)
      expect(server.happened).toEqual(["flushed early,meanwhile,late", "stopped"])
      expect(yield* Effect.flip(server.items.offer("too late"))).toMatchObject({ _tag: "QueueClosed" })
    }))

  it.scopedLive("refuses new connections too, while requests run", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const server = yield* serve({ "/slow": Effect.as(hold.pass, HttpServerResponse.empty()) })
      const slow = yield* connect(server)
      yield* slow.send(get("/slow"))
      yield* until(() => hold.waiting() === 1)
      const first = yield* keptAlive(server)
      const stopping = yield* Effect.fork(server.stop)
      yield* refusal(first)
      for (let i = 0; i < 3; i++) {
        const later = yield* connect(server)
        yield* later.send(get("/"))
        expect((yield* later.answer).status).toBe(503)
        yield* until(() => later.isOver)
      }
      yield* hold.open
      expect((yield* slow.answer).status).toBe(204)
      yield* Fiber.join(stopping)
    }))

  it.scopedLive("refuses while queues drain that are closed before the server is", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const flushed: Array<string> = []
      const items = WriteBehind.layer(Items, {
        name: "items",
        capacity: 10,
        flushInterval: "1 hour",
        flush: ({ items }) => Effect.zipRight(hold.pass, Effect.sync(() => void flushed.push(...items)))
      })
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const app = Effect.flatMap(Items, (items) => Effect.as(items.offer("item"), HttpServerResponse.empty()))
      const context = yield* Layer.buildWithScope(
        HttpServer.serve(app).pipe(Layer.provide(items), Layer.provideMerge(GracefulServer.layer(node()))),
        scope
      )
      const { address } = Context.get(context, HttpServer.HttpServer)
      const server = { port: address._tag === "TcpAddress" ? address.port : 0 }
      const first = yield* connect(server)
      yield* first.send(get("/"))
      expect((yield* first.answer).status).toBe(204)
      const stopping = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* until(() => hold.waiting() === 1)
      const later = yield* connect(server)
      for (const raw of [first, later]) {
        yield* raw.send(get("/"))
        expect((yield* raw.answer).status).toBe(503)
        yield* until(() => raw.isOver)
      }
      expect(flushed).toEqual([])
      yield* hold.open
      yield* Fiber.join(stopping)
      expect(flushed).toEqual(["item"])
    }))

  it.scopedLive("tells handlers, which need not be held up by what they wait for", () =>
    Effect.gen(function*() {
      const seen: Array<boolean> = []
      const server = yield* serve({
        "/wait": Effect.gen(function*() {
          const closing = yield* Closing
          seen.push(closing.unsafeIsClosing())
          yield* closing.await
          seen.push(closing.unsafeIsClosing())
          return HttpServerResponse.text("closing")
        })
      }, { grace: "1 minute" })
      const waiting = yield* Effect.all([connect(server), connect(server)])
      for (const raw of waiting) yield* raw.send(get("/wait"))
      yield* until(() => seen.length === 2)
      yield* server.stop
      for (const raw of waiting) expect(yield* raw.answer).toMatchObject({ status: 200, body: "closing" })
      expect(seen).toEqual([false, false, true, true])
    }))

  it.effect("is something that a handler can ask for without such a server: it never closes", () =>
    Effect.gen(function*() {
      const closing = yield* Closing
      expect(closing.unsafeIsClosing()).toBe(false)
      const waiting = yield* Effect.fork(closing.await)
      yield* Effect.yieldNow()
      expect(waiting.unsafePoll()).toBe(null)
      yield* Fiber.interrupt(waiting)
    }))

  it.scopedLive("interrupts those who have not ended when the grace is over, and they are answered with 503", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        "/hang": Effect.gen(function*() {
          const items = yield* Items
          // What it has to do at its end it can still do: the queue is open.
          return yield* Effect.onInterrupt(Effect.never, () => Effect.ignore(items.offer("last words")))
        })
      }, { grace: "200 millis" })
      const raw = yield* connect(server)
      yield* raw.send(get("/hang"))
      yield* Effect.sleep(50)
      const from = performance.now()
      yield* server.stop
      expect(performance.now() - from).toBeGreaterThanOrEqual(190)
      expect((yield* raw.answer).status).toBe(503)
      expect(server.happened).toEqual(["flushed last words", "stopped"])
    }))

  it.scopedLive("does not wait for running requests where the grace is 0", () =>
    Effect.gen(function*() {
      let begun = 0
      const hang = Effect.zipRight(Effect.sync(() => begun += 1), Effect.never)
      const server = yield* serve({ "/hang": hang, "/stuck": Effect.uninterruptible(hang) }, { grace: 0 })
      const hanging = yield* connect(server)
      const stuck = yield* connect(server)
      yield* hanging.send(get("/hang"))
      yield* stuck.send(get("/stuck"))
      yield* until(() => begun === 2)
      yield* server.stop
      expect((yield* hanging.answer).status).toBe(503)
      expect(stuck.hasAnswer).toBe(false)
    }))

  it.scopedLive("ends at once where nothing runs, whatever the grace is", () =>
    Effect.gen(function*() {
      const server = yield* serve({}, { grace: "1 hour" })
      const raw = yield* keptAlive(server)
      yield* server.stop
      yield* until(() => raw.isOver)
      expect(yield* refusesConnections(server)).toBe(true)
    }))

  it.scopedLive("counts a request whose client has gone as ended", () =>
    Effect.gen(function*() {
      let interrupted = 0
      let begun = 0
      const server = yield* serve({
        "/hang": Effect.onInterrupt(
          Effect.zipRight(Effect.sync(() => begun += 1), Effect.never),
          () => Effect.sync(() => interrupted += 1)
        )
      }, { grace: "1 hour" })
      const raw = yield* connect(server)
      yield* raw.send(get("/hang"))
      yield* until(() => begun === 1)
      raw.socket.destroy()
      yield* until(() => interrupted === 1)
      yield* server.stop
    }))

  it.scopedLive("stops waiting as soon as the clients of what runs have gone", () =>
    Effect.gen(function*() {
      let begun = 0
      const server = yield* serve({
        "/hang": Effect.zipRight(Effect.sync(() => begun += 1), Effect.never)
      }, { grace: "1 hour" })
      const raw = yield* connect(server)
      yield* raw.send(get("/hang"))
      yield* until(() => begun === 1)
      const other = yield* keptAlive(server)
      const stopping = yield* Effect.fork(server.stop)
      yield* refusal(other)
      raw.socket.destroy()
      yield* Fiber.join(stopping)
    }))

  it.scopedLive("waits for a request that fails or dies no longer than for others", () =>
    Effect.gen(function*() {
      const server = yield* serve({ "/fail": Effect.fail("no"), "/die": Effect.die("no") }, { grace: "1 hour" })
      for (const path of ["/fail", "/die"]) {
        const raw = yield* connect(server)
        yield* raw.send(get(path))
        expect((yield* raw.answer).status).toBe(500)
      }
      yield* server.stop
    }))

  it.scopedLive("runs the middleware of the user around requests that are let in, and not around refusals", () =>
    Effect.gen(function*() {
      const hold = makeHold()
      const paths: Array<string> = []
      const middleware = HttpMiddleware.make((app) => Effect.tap(app, () => Effect.sync(() => paths.push("answered"))))
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const app = Effect.as(hold.pass, HttpServerResponse.empty())
      const context = yield* Layer.buildWithScope(
        HttpServer.serve(app, middleware).pipe(Layer.provideMerge(GracefulServer.layer(node()))),
        scope
      )
      const { address } = Context.get(context, HttpServer.HttpServer)
      const server = { port: address._tag === "TcpAddress" ? address.port : 0 }
      const slow = yield* connect(server)
      yield* slow.send(get("/"))
      yield* until(() => hold.waiting() === 1)
      const stopping = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.sleep(50)
      const other = yield* connect(server)
      yield* other.send(get("/"))
      expect((yield* other.answer).status).toBe(503)
      expect(paths).toEqual([])
      yield* hold.open
      expect((yield* slow.answer).status).toBe(204)
      yield* Fiber.join(stopping)
      expect(paths).toEqual(["answered"])
    }))
})

const refusesConnections = (server: { readonly port: number }): Effect.Effect<boolean> =>
  Effect.promise(() => fetch(`http://127.0.0.1:${server.port}/`).then(() => false, () => true))

describe("the layer of a graceful server", () => {
  it.scopedLive.each<readonly [string, any]>([
    ["negative", -1],
    ["not a number", NaN],
    ["no duration", "soon"]
  ])("refuses a grace that is %s", ([, grace]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(GracefulServer.layer(node(), { grace })))
      expect(error).toMatchObject({ _tag: "InvalidOption", queue: "GracefulServer", field: "grace" })
    }))

  it.scopedLive("looks at its options before it listens", () =>
    Effect.gen(function*() {
      let created = 0
      const server = NodeHttpServer.layer(() => {
        created += 1
        return createServer()
      }, { port: 0 })
      yield* Effect.flip(Layer.build(GracefulServer.layer(server, { grace: -1 })))
      expect(created).toBe(0)
    }))

  it.scopedLive("passes the error of a port that is taken through", () =>
    Effect.gen(function*() {
      const { port } = yield* serve({})
      const error = yield* Effect.flip(Layer.build(GracefulServer.layer(node(port))))
      expect(error).toMatchObject({ _tag: "ServeError", cause: { code: "EADDRINUSE" } })
    }))

  it.scopedLive("gives on what else the layer of the server makes, and its address", () =>
    Effect.gen(function*() {
      class Else extends Context.Tag("test/Else")<Else, number>() {}
      const context = yield* Layer.build(
        GracefulServer.layer(Layer.merge(node(), Layer.succeed(Else, 7)))
      )
      expect(Context.get(context, Else)).toBe(7)
      expect(Context.get(context, HttpServer.HttpServer).address).toMatchObject({ _tag: "TcpAddress" })
    }))

  it.live("leaves no fiber, timer, handle or listener behind, again and again", () =>
    Effect.gen(function*() {
      const supervisor = yield* Supervisor.track
      const resources = () => process.getActiveResourcesInfo().filter((name) => name !== "Immediate").sort()
      const listeners = () => process.eventNames().map((name) => process.listenerCount(name))
      const once = Effect.scoped(Effect.gen(function*() {
        let begun = 0
        const hang = Effect.zipRight(Effect.sync(() => begun += 1), Effect.never)
        const server = yield* serve({ "/hang": hang }, { grace: 0 })
        const raw = yield* keptAlive(server)
        const hanging = yield* connect(server)
        yield* hanging.send(get("/hang"))
        yield* until(() => begun === 1)
        yield* server.items.offer("item")
        yield* server.stop
        expect((yield* hanging.answer).status).toBe(503)
        yield* until(() => raw.isOver && hanging.isOver)
      }))
      yield* once
      // What a client has left open is gone a moment later.
      yield* Effect.sleep(200)
      const before = { resources: resources(), listeners: listeners() }
      yield* Effect.repeatN(once, campaign(100) - 1).pipe(Effect.supervised(supervisor))
      yield* until(() => resources().length <= before.resources.length)
      expect({ resources: resources(), listeners: listeners() }).toEqual(before)
      const fibers = yield* supervisor.value
      expect(fibers).toEqual([])
    }))
})

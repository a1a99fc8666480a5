/**
 * A server as a process of its own, which is ended by a signal. Whatever clients and handlers do, it ends by itself, and
 * what it has answered for is flushed before.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { type Server, startServer } from "./children/spawn.ts"
import { connect, head, json, type Raw, until } from "./support/raw.ts"
import { post } from "./support/server.ts"

const item = (name: string): string => JSON.stringify({ name })

const request = (path: string): string => head(path, { "content-length": 0 })

const offerOf = (body: string): string =>
  head("/queues/readings", { "content-type": json, "content-length": body.length }) + body

/** Items that must be in the file in the end. */
const offerSome = (server: Server) =>
  Effect.gen(function*() {
    const one = yield* post(server, "/queues/readings", { name: "one" })
    const more = yield* post(server, "/queues/readings", [{ name: "two" }, { name: "three" }])
    const stored = yield* post(server, "/queues/emails?wait=stored", { name: "mail" })
    expect([one.status, more.status, stored.status]).toEqual([202, 202, 202])
    // Its handler has begun, or will not: the store is in memory, and ends with the process.
    yield* until(() => server.flushed.includes("emails mail"))
  })

const some = ["emails mail", "readings one", "readings three", "readings two"]

const endsWell = (server: Server, signal?: NodeJS.Signals) =>
  Effect.map(server.end(signal), ({ errors, how }) => {
    expect({ how, errors, exit: server.lines.at(-1) }).toEqual({ how: "0", errors: "", exit: "exit" })
  })

/** A connection that has been used, and is kept alive. */
const keptAlive = (server: Server): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.gen(function*() {
    const raw = yield* connect(server)
    yield* raw.send("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    expect((yield* raw.answer).status).toBe(200)
    return raw
  })

/** A client of events as they happen. */
const watch = (server: Server): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.gen(function*() {
    const raw = yield* connect(server)
    yield* raw.send(`GET /admin/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.token}\r\n\r\n`)
    yield* until(() => raw.hasAnswer)
    return raw
  })

describe("a process that serves and gets a signal", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.scopedLive(`lets a running request end, refuses new ones, drains its queues and exits with 0: ${signal}`, () =>
      Effect.gen(function*() {
        const server = yield* startServer({ grace: "5 seconds" })
        yield* offerSome(server)
        const slow = yield* connect(server)
        const other = yield* keptAlive(server)
        yield* slow.send(request("/slow?name=slow"))
        yield* server.heard(/^begun slow$/m)
        server.unsafeSignal(signal)
        // Whether the signal has arrived is seen in the answers: until then they are those of a server that runs.
        const refused = yield* Effect.repeat(
          Effect.zipRight(other.send(request("/health/live")), other.answer),
          { until: ({ status }) => status === 503 }
        )
        expect(refused.headers["connection"]).toBe("close")
        expect(refused.headers["retry-after"]).toBe("1")
        expect(refused.body).toEqual({ _tag: "ServerClosing", message: "the server is closing" })
        yield* until(() => other.isOver)
        expect((yield* slow.answer).status).toBe(202)
        expect(yield* server.exit).toBe("0")
        expect(server.flushed).toEqual([...some, "readings slow"].sort())
      }))
  }

  it.scopedLive("lets a worker end what it is handling", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      const { status } = yield* post(server, "/queues/emails?wait=stored", { name: "last" })
      expect(status).toBe(202)
      // It takes longer than the signal.
      yield* server.heard(/^handling last$/m)
      yield* endsWell(server)
      expect(server.flushed).toEqual(["emails last"])
    }))

  const clients: Readonly<Record<string, (server: Server) => Effect.Effect<unknown, unknown, Scope.Scope>>> = {
    "a client has sent half a body": (server) =>
      Effect.flatMap(connect(server), (raw) => raw.send(offerOf(item("half")).slice(0, -5))),
    "a client has sent half a line of a stream": (server) =>
      Effect.flatMap(connect(server), (raw) =>
        raw.send(
          head("/queues/readings", { "content-type": "application/x-ndjson", "transfer-encoding": "chunked" })
            + "8\r\n{\"name\":\r\n"
        )),
    "a client has sent half a header": (server) =>
      Effect.flatMap(connect(server), (raw) => raw.send("POST /queues/readings HTTP/1.1\r\nhost: x\r\ncontent-ty")),
    "a client has connected and sent nothing": connect,
    "a client keeps its connection alive": keptAlive,
    "a handler hangs": (server) =>
      Effect.gen(function*() {
        const raw = yield* connect(server)
        yield* raw.send(request("/hang"))
        yield* server.heard(/^begun hang$/m)
      }),
    "a handler hangs and cannot be interrupted": (server) =>
      Effect.gen(function*() {
        const raw = yield* connect(server)
        yield* raw.send(request("/stuck"))
        yield* server.heard(/^begun stuck$/m)
      }),
    "a client watches events": watch
  }

  for (const [what, client] of Object.entries(clients)) {
    it.scopedLive(`drains its queues and exits with 0 although ${what}`, () =>
      Effect.gen(function*() {
        const server = yield* startServer()
        yield* offerSome(server)
        yield* client(server)
        yield* Effect.sleep(50)
        yield* endsWell(server)
        expect(server.flushed).toEqual(some)
        if (what === "a handler hangs") expect(server.lines).toContain("interrupted")
      }))
  }

  it.scopedLive("drains its queues and exits with 0 although all of that comes together, many times", () =>
    Effect.gen(function*() {
      const server = yield* startServer()
      yield* offerSome(server)
      for (let i = 0; i < 5; i++) yield* Effect.all(Object.values(clients).map((client) => client(server)))
      yield* Effect.sleep(50)
      yield* endsWell(server)
      expect(server.flushed).toEqual(some)
    }))

  it.scopedLive("exits with 0 once its queues have given up although a sink hangs, and says what is lost", () =>
    Effect.gen(function*() {
      const server = yield* startServer({ hangs: true, drainTimeout: "500 millis" })
      expect((yield* post(server, "/queues/emails?wait=stored", { name: "mail" })).status).toBe(202)
      expect((yield* post(server, "/queues/readings", { name: "lost" })).status).toBe(202)
      yield* endsWell(server)
      expect(server.lines).toContain("dropped lost shutdown")
      // One queue holds up no other.
      expect(server.flushed).toEqual(["emails mail"])
    }))

  it.scopedLive("ends its streams of events as streams end, and does not wait for the grace to run out", () =>
    Effect.gen(function*() {
      const server = yield* startServer({ grace: "1 hour" })
      const raw = yield* watch(server)
      yield* endsWell(server)
      const { body, status } = yield* raw.answer
      expect(status).toBe(200)
      // It is an answer because its last chunk has come: the client knows that nothing is missing.
      expect(body).toMatch(/^retry: 1000\n\nid: \S+\n\n/)
    }))

  it.scopedLive("does not wait for the grace to run out where nothing runs", () =>
    Effect.gen(function*() {
      const server = yield* startServer({ grace: "1 hour" })
      yield* offerSome(server)
      yield* keptAlive(server)
      yield* endsWell(server)
      expect(server.flushed).toEqual(some)
    }))

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.scopedLive(`ends at once at a second signal: ${signal}`, () =>
      Effect.gen(function*() {
        const server = yield* startServer({ grace: "1 hour" })
        const raw = yield* connect(server)
        const other = yield* keptAlive(server)
        yield* raw.send(request("/hang"))
        yield* server.heard(/^begun hang$/m)
        server.unsafeSignal(signal)
        yield* Effect.repeat(Effect.zipRight(other.send(request("/health/live")), other.answer), {
          until: ({ status }) => status === 503
        })
        const { how } = yield* server.end(signal)
        expect(how).toBe(signal)
        expect(server.lines).not.toContain("exit")
      }))
  }
})

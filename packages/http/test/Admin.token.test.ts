/**
 * Who may operate: the token, and what is there without one.
 */
import { describe, expect, it } from "@effect/vitest"
import { Admin } from "@sluice/http"
import { Cause, Config, ConfigProvider, Effect, Exit, Layer, Option, Redacted } from "effect"
import { admin, command, secret } from "./support/operating.ts"
import { Api, ask, post, serve } from "./support/server.ts"

const routes: ReadonlyArray<readonly [method: string, path: string]> = [
  ["GET", "/admin/queues"],
  ["GET", "/admin/queues/emails"],
  ["GET", "/admin/queues/emails/events"],
  ["GET", "/admin/events"],
  ["GET", "/admin/queues/emails/dead-letters"],
  ["GET", "/admin/queues/emails/dead-letters/1"],
  ["POST", "/admin/queues/emails/dead-letters/redrive"],
  ["POST", "/admin/queues/emails/dead-letters/discard"],
  ["POST", "/admin/queues/emails/pause"],
  ["POST", "/admin/queues/emails/resume"],
  ["POST", "/admin/queues/emails/drain"]
]

/** All of it answers 404, with and without a token, and everything else is there. */
const expectNothingMounted = (server: Effect.Effect.Success<ReturnType<typeof serve>>) =>
  Effect.gen(function*() {
    for (const [method, path] of routes) {
      for (const token of [undefined, secret, ""]) {
        const { body, headers, status } = yield* ask(server, path, { method, ...token === undefined ? {} : { token } })
        expect([path, status, body]).toEqual([path, 404, ""])
        expect(headers.has("www-authenticate")).toBe(false)
      }
    }
    expect(yield* server.emails.isPaused).toBe(false)
    expect((yield* post(server, "/queues/readings?wait=settled", { sensor: "roof", celsius: 1 })).status).toBe(202)
    expect((yield* ask(server, "/metrics")).status).toBe(200)
    expect((yield* ask(server, "/health/ready")).status).toBe(200)
  })

const configured = (entries: ReadonlyArray<readonly [string, string]>) =>
  Layer.provide(
    Admin.layerConfig(Api),
    Layer.setConfigProvider(ConfigProvider.fromMap(new Map(entries)))
  )

describe("without a token", () => {
  it.scopedLive("nothing of it is there, and the rest works", () =>
    Effect.flatMap(serve({ admin: { token: undefined } }), expectNothingMounted))

  it.scopedLive("in the configuration, nothing of it is there either", () =>
    Effect.flatMap(serve({ adminLayer: configured([]) }), expectNothingMounted))
})

describe("a configured token", () => {
  it.scopedLive("opens it", () =>
    Effect.gen(function*() {
      const server = yield* serve({ adminLayer: configured([["SLUICE_ADMIN_TOKEN", "from the configuration"]]) })
      expect((yield* ask(server, "/admin/queues", { token: "from the configuration" })).status).toBe(200)
      expect((yield* ask(server, "/admin/queues", { token: secret })).status).toBe(401)
    }))

  it.scopedLive("may come from a Config of the user's", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        adminLayer: Admin.layerConfig(Api, Config.succeed(Option.some(Redacted.make("one of my own choice"))))
      })
      expect((yield* ask(server, "/admin/queues", { token: "one of my own choice" })).status).toBe(200)
    }))

  it.scopedLive("that is too short, or empty, fails the build and is not shown", () =>
    Effect.gen(function*() {
      for (const short of ["", "hunter2", "fifteen letters"]) {
        for (
          const options of [
            { admin: { token: Redacted.make(short) } },
            { adminLayer: configured([["SLUICE_ADMIN_TOKEN", short]]) }
          ]
        ) {
          const exit = yield* Effect.exit(Effect.scoped(serve(options)))
          expect(Exit.isFailure(exit)).toBe(true)
          const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
          const error = Cause.squash(cause)
          expect(error).toMatchObject({ _tag: "InvalidOption", queue: "Admin", field: "token" })
          const shown = `${Cause.pretty(cause)} ${String(error)} ${JSON.stringify(error)} ${JSON.stringify(cause)}`
          expect(shown).toContain("at least 16 characters of ASCII")
          if (short !== "") expect(shown).not.toContain(short)
        }
      }
    }))

  it.scopedLive("of sixteen characters is long enough", () =>
    Effect.gen(function*() {
      const server = yield* serve({ admin: { token: Redacted.make("sixteen letters.") } })
      expect((yield* ask(server, "/admin/queues", { token: "sixteen letters." })).status).toBe(200)
    }))
})

describe("a request with the wrong token", () => {
  it.scopedLive("is answered with 401, on every path, and changes nothing", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const headers: ReadonlyArray<Record<string, string>> = [
        {},
        { authorization: "" },
        { authorization: "Bearer" },
        { authorization: "Bearer " },
        { authorization: secret },
        { authorization: `Bearer ${secret.slice(0, -1)}` },
        { authorization: `Bearer ${secret}s` },
        { authorization: `Bearer ${secret}${secret}` },
        { authorization: `Bearer ${secret.toUpperCase()}` },
        { authorization: `Bearer ${"x".repeat(secret.length)}` },
        { authorization: `Bearer ${secret}\u00e9` }
      ]
      for (const [method, path] of routes) {
        for (const each of headers) {
          const { body, headers, status } = yield* ask(server, path, { method, headers: each })
          expect([path, each, status]).toEqual([path, each, 401])
          expect(headers.get("www-authenticate")).toBe("Bearer")
          expect(body).toMatchObject({ _tag: "Unauthorized" })
          expect(JSON.stringify(body)).not.toContain(secret)
        }
      }
      expect(yield* server.emails.isPaused).toBe(false)
      expect((yield* admin(server, "/queues")).body).toMatchObject([{ draining: false }, { draining: false }])
    }))

  it.scopedLive("is not told whether a queue is there", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const there = yield* ask(server, "/admin/queues/emails")
      const not = yield* ask(server, "/admin/queues/ghosts")
      expect([not.status, not.body]).toEqual([there.status, there.body])
    }))

  it.scopedLive("leaves the requests after it on the same connection as they are", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      yield* ask(server, "/admin/queues")
      const { headers, status } = yield* admin(server, "/queues")
      expect([status, headers.has("www-authenticate")]).toEqual([200, false])
      expect((yield* command(server, "/queues/emails/pause")).status).toBe(200)
    }))
})

import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { ask, post, serve } from "./support/server.ts"

describe("a request with items", () => {
  it.scopedLive("is answered with 202 and counts", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const one = yield* post(server, "/queues/readings", { sensor: "roof", celsius: 21 })
      expect([one.status, one.body]).toEqual([202, {
        items: 1,
        accepted: 1,
        coalesced: 0,
        dropped: 0,
        duplicates: 0,
        stored: 0,
        settled: 0
      }])
      const many = yield* post(server, "/queues/readings?wait=settled", [{ sensor: "a", celsius: 1 }, {
        sensor: "b",
        celsius: 2
      }])
      expect([many.status, many.body]).toMatchObject([202, { items: 2, settled: 2 }])
      const stored = yield* post(server, "/queues/emails?wait=stored", [{ to: "x" }, { to: "y" }], {
        "idempotency-key": "k"
      })
      expect([stored.status, stored.body]).toMatchObject([202, { items: 2, stored: 2 }])
      const again = yield* post(server, "/queues/emails", [{ to: "x" }, { to: "y" }], { "idempotency-key": "k" })
      expect([again.status, again.body]).toMatchObject([202, { items: 2, duplicates: 2 }])
      const bad = yield* post(server, "/queues/readings", [{ sensor: "a", celsius: 1 }, { sensor: "b", celsius: "x" }])
      console.log(bad.status, JSON.stringify(bad.body))
      const ghost = yield* post(server, "/queues/ghost", {})
      console.log(ghost.status, ghost.body)
      const nd = yield* ask(server, "/queues/readings", {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: `{"sensor":"n","celsius":1}\n{"sensor":"n2","celsius":1}\n{"sensor":3}\n`
      })
      console.log(nd.status, JSON.stringify(nd.body))
      const admin = yield* ask(server, "/admin/queues", { token: "a token for operators" })
      console.log(admin.status, JSON.stringify(admin.body).slice(0, 600))
      console.log((yield* ask(server, "/admin/queues")).status, (yield* ask(server, "/admin/queues")).headers)
      console.log((yield* ask(server, "/health/ready")).body, (yield* ask(server, "/metrics")).body.slice(0, 300))
      console.log((yield* ask(server, "/docs")).status, (yield* post(server, "/queues/readings?wait=x", {})).body)
      expect(server.flushed.length).toBe(5)
    }))
})

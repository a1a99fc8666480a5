/**
 * What the API says of itself.
 */
import { describe, expect, it } from "@effect/vitest"
import { OpenApi } from "@effect/platform"
import { Effect } from "effect"
import { Api, ask, serve } from "./support/server.ts"

const spec: any = OpenApi.fromApi(Api)

const statusesOf = (method: string, path: string): ReadonlyArray<number> =>
  Object.keys(spec.paths[path][method].responses).map(Number).sort((a, b) => a - b)

/** What a schema of the description refers to. */
const resolve = (schema: any): any =>
  typeof schema?.$ref === "string" ? spec.components.schemas[schema.$ref.split("/").at(-1)] : schema

const taking = [202, 400, 401, 404, 413, 415, 422, 429, 503]

describe("the description of the API", () => {
  it("has every path, with the statuses that it may answer", () => {
    const all = Object.fromEntries(
      Object.entries(spec.paths).flatMap(([path, methods]) =>
        Object.keys(methods as object).map((method) => [`${method} ${path}`, statusesOf(method, path)])
      )
    )
    expect(all).toEqual({
      "post /queues/readings": taking,
      "post /queues/emails": taking,
      "get /admin/queues": [200, 400, 401, 503],
      "get /admin/queues/{name}": [200, 400, 401, 404, 503],
      "get /admin/queues/{name}/events": [200, 400, 401, 404, 503],
      "get /admin/events": [200, 400, 401, 404, 503],
      "get /admin/queues/{name}/dead-letters": [200, 400, 401, 404, 409, 503],
      "get /admin/queues/{name}/dead-letters/{id}": [200, 400, 401, 404, 409, 503],
      "post /admin/queues/{name}/dead-letters/redrive": [200, 400, 401, 404, 409, 413, 415, 503],
      "post /admin/queues/{name}/dead-letters/discard": [200, 400, 401, 404, 409, 413, 415, 503],
      "post /admin/queues/{name}/pause": [200, 400, 401, 404, 409, 503],
      "post /admin/queues/{name}/resume": [200, 400, 401, 404, 503],
      "post /admin/queues/{name}/drain": [200, 400, 401, 404, 503],
      "get /metrics": [200, 400, 503],
      "get /health/live": [200, 400, 503],
      "get /health/ready": [200, 400, 503]
    })
  })

  it("has what an item of each queue is, alone or in an array", () => {
    const body = (queue: string) => spec.paths[`/queues/${queue}`].post.requestBody.content["application/json"].schema
    const [one, many] = resolve(body("readings")).anyOf.map(resolve)
    expect(one).toMatchObject({
      type: "object",
      required: ["sensor", "celsius"],
      properties: {
        sensor: { type: "string" },
        celsius: { type: "number" },
        tags: { type: "array", items: { type: "string" } }
      },
      additionalProperties: false
    })
    expect(many).toMatchObject({ type: "array", items: one })
    const [email] = resolve(body("emails")).anyOf.map(resolve)
    expect(email.required).toEqual(["to"])
    expect(resolve(email.properties.to)).toMatchObject({ type: "string", minLength: 1 })
    // As it is sent, not as the handler has it.
    expect(resolve(email.properties.at)).toMatchObject({ type: "string" })
  })

  it("has the parameters of a request", () => {
    const { parameters } = spec.paths["/queues/readings"].post
    expect(parameters.map((each: any) => [each.in, each.name, each.required])).toEqual([
      ["header", "idempotency-key", false],
      ["query", "wait", false]
    ])
    expect(parameters[1].schema.enum).toEqual(["stored", "settled"])
  })

  it("has what dead letters can be asked for by", () => {
    const { parameters } = spec.paths["/admin/queues/{name}/dead-letters"].get
    expect(parameters.map((each: any) => [each.in, each.name, each.required])).toEqual([
      ["path", "name", true],
      ["query", "limit", false],
      ["query", "after", false],
      ["query", "reason", false],
      ["query", "error", false],
      ["query", "olderThanMillis", false]
    ])
    for (const { description, name } of parameters.slice(3)) expect([name, description]).not.toEqual([name, undefined])
  })

  it("has what can be done with dead letters: by ids or by what they are like, and not both", () => {
    for (const operation of ["redrive", "discard"]) {
      const { description, requestBody } = spec.paths[`/admin/queues/{name}/dead-letters/${operation}`].post
      const [byIds, byQuery] = resolve(requestBody.content["application/json"].schema).anyOf.map(resolve)
      expect([byIds.required, byIds.additionalProperties]).toEqual([["ids"], false])
      expect([byQuery.required, byQuery.additionalProperties]).toEqual([["where"], false])
      expect([byIds.properties.where, byQuery.properties.ids]).toMatchObject([{ not: {} }, { not: {} }])
      expect(byIds.properties.ids.anyOf).toMatchObject([{ enum: ["all"] }, { type: "array", maxItems: 10_000 }])
      expect(byQuery.properties.where).toMatchObject({ minProperties: 1, additionalProperties: false })
      expect(Object.keys(byQuery.properties.where.properties)).toEqual(["reason", "error", "olderThanMillis"])
      for (const { properties } of [byIds, byQuery]) {
        expect(resolve(properties.limit)).toMatchObject({ type: "integer", minimum: 0 })
        expect(properties.rate).toMatchObject({ type: "number", exclusiveMinimum: 0 })
        expect(properties.dryRun).toMatchObject({ type: "boolean" })
      }
      expect(description).toContain("goes away")
    }
  })

  it("says what a client needs for each of the groups: a bearer token to operate, and nothing to watch", () => {
    expect(spec.components.securitySchemes).toMatchObject({ bearer: { type: "http", scheme: "bearer" } })
    for (const [path, methods] of Object.entries(spec.paths)) {
      for (const { security } of Object.values(methods as Record<string, any>)) {
        expect([path, security]).toEqual([path, path.startsWith("/admin") ? [{ bearer: [] }] : []])
      }
    }
  })

  it("says what the answers are", () => {
    const answer = (path: string, method: string, status: number) =>
      Object.entries(spec.paths[path][method].responses[status].content as Record<string, any>)
        .map(([type, { schema }]) => [type, resolve(schema)] as const)
    expect(answer("/queues/emails", "post", 202)[0]).toMatchObject(["application/json", {
      required: ["items", "accepted", "coalesced", "dropped", "duplicates", "stored", "settled"]
    }])
    expect(answer("/admin/events", "get", 200)[0][0]).toBe("text/event-stream")
    expect(answer("/metrics", "get", 200)[0][0]).toBe("text/plain")
    expect(answer("/queues/emails", "post", 429)[0][1].properties).toHaveProperty("retryAfterSeconds")
    const [starting, notReady] = answer("/health/ready", "get", 503)[0][1].anyOf.map(resolve)
    expect([notReady.properties, starting.properties]).toMatchObject([{ stalled: {} }, { _tag: {}, message: {} }])
  })
})

describe("a server with a page of documentation", () => {
  it.scopedLive("answers HTML that has the description in it", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const { body, headers, status } = yield* ask(server, "/docs")
      expect([status, headers.get("content-type")]).toEqual([200, expect.stringMatching(/^text\/html/)])
      expect(body).toMatch(/^<!DOCTYPE html>/i)
      const [, json] = /<script id="swagger-spec" type="application\/json">\s*(.*?)\s*<\/script>/s.exec(body)!
      expect(JSON.parse(json)).toEqual(JSON.parse(JSON.stringify(spec)))
    }))

  it.scopedLive("and one that serves the description answers it as JSON", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const { body, headers, status } = yield* ask(server, "/openapi.json")
      expect([status, headers.get("content-type")]).toEqual([200, expect.stringMatching(/^application\/json/)])
      expect(body).toEqual(JSON.parse(JSON.stringify(spec)))
    }))
})

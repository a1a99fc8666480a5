/**
 * Those who have no queue: they read a body, parse it, and answer 202. The answer is always the same, and made
 * beforehand, as ours is.
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import type { RequestError } from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { limitAnswer, path, Reading } from "./item.ts"
import { host, listen, type Running, Seen, urlOf } from "./listening.ts"

const running = (url: string, seen: Seen): Running => ({
  url,
  books: Effect.sync(() => seen.books),
  settle: Effect.void
})

const response = HttpServerResponse.unsafeJson(limitAnswer, { status: 202 })

const serve = <E>(
  handler: (
    seen: Seen
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, HttpServerRequest.HttpServerRequest>
) =>
  Effect.suspend(() => {
    const seen = new Seen()
    const router = HttpRouter.post(HttpRouter.empty, path, handler(seen))
    return Effect.map(
      listen(HttpServer.serve(router)),
      (url) => running(url, seen)
    )
  })

const text = new TextDecoder("utf-8", { fatal: true })

/** What is not JSON is a defect here. `request.json`, which remembers the text, costs a third more. */
const parsed = Effect.flatMap(
  HttpServerRequest.HttpServerRequest,
  (request) => Effect.map(request.arrayBuffer, (bytes): unknown => JSON.parse(text.decode(bytes)))
)

const answering = (parsed: Effect.Effect<unknown, RequestError, HttpServerRequest.HttpServerRequest>) =>
  serve((seen) =>
    Effect.map(parsed, (value) => {
      seen.see(value as Reading)
      return response
    })
  )

/** The limit: what an Effect server costs at the least that does no more than this. */
export const limit: Effect.Effect<Running, never, Scope.Scope> = answering(parsed)

/** The same, as one would write it. */
export const json: Effect.Effect<Running, never, Scope.Scope> = answering(
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.json)
)

const decode = Schema.decodeUnknown(Reading)

/** The limit, with the schema that ours decodes by. */
export const decoding: Effect.Effect<Running, never, Scope.Scope> = serve((seen) =>
  Effect.map(Effect.flatMap(parsed, (value) => decode(value)), (item) => {
    seen.see(item)
    return response
  })
)

const endpoints = HttpApiGroup.make("queues").add(
  HttpApiEndpoint.post("readings", path)
    .setPayload(Reading)
    .addSuccess(Schema.Struct({ accepted: Schema.Int }), { status: 202 })
)
class Api extends HttpApi.make("limit").add(endpoints) {}

/** An endpoint of an `HttpApi`, which decodes its payload. */
export const endpoint: Effect.Effect<Running, never, Scope.Scope> = Effect.suspend(() => {
  const seen = new Seen()
  const group = HttpApiBuilder.group(Api, "queues", (handlers) =>
    handlers.handle("readings", ({ payload }) => {
      seen.see(payload)
      return Effect.succeed(limitAnswer)
    }))
  const app = HttpApiBuilder.serve().pipe(Layer.provide(Layer.provide(HttpApiBuilder.api(Api), group)))
  return Effect.map(listen(app), (url) => running(url, seen))
})

/** The same as the limit, without Effect. */
export const node: Effect.Effect<Running, never, Scope.Scope> = Effect.gen(function*() {
  const seen = new Seen()
  const answer = JSON.stringify(limitAnswer)
  const headers = { "content-type": "application/json", "content-length": String(Buffer.byteLength(answer)) }
  const server = createServer((request, response) => {
    let text = ""
    request.setEncoding("utf8")
    request.on("data", (chunk: string) => {
      text += chunk
    })
    request.on("end", () => {
      seen.see(JSON.parse(text) as Reading)
      response.writeHead(202, headers)
      response.end(answer)
    })
  })
  yield* Effect.acquireRelease(
    Effect.async<void>((resume) => void server.listen({ port: 0, host }, () => resume(Effect.void))),
    () => Effect.sync(() => void server.close())
  )
  return running(urlOf((server.address() as AddressInfo).port), seen)
})

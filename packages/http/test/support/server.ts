/**
 * A real server on a port of its own, with two queues: `readings`, a WriteBehind, and `emails`, a BatchQueue.
 */
import { HttpApi, HttpApiBuilder, type HttpApiGroup, HttpApiSwagger, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Backpressure, BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import { Admin, GracefulServer, HttpQueue, HttpQueues, Ingest, SluiceApi, Watch } from "@sluice/http"
import { Context, Effect, Exit, Layer, Redacted, Schema, Scope } from "effect"
import { createServer, type ServerOptions } from "node:http"
import { mountedOf, type MountedQueues } from "../../src/internal/mountedQueues.ts"

export const Reading = Schema.Struct({
  sensor: Schema.String,
  celsius: Schema.Number.pipe(Schema.finite()),
  tags: Schema.optional(Schema.Array(Schema.String))
})
export type Reading = typeof Reading.Type

export const Email = Schema.Struct({
  to: Schema.NonEmptyString,
  at: Schema.optional(Schema.Date),
  body: Schema.optional(Schema.Unknown)
})
export type Email = typeof Email.Type

export class Readings extends Context.Tag("test/Readings")<Readings, WriteBehind.WriteBehind<Reading>>() {}
export class Emails extends Context.Tag("test/Emails")<Emails, BatchQueue.BatchQueue<Email>>() {}

export class Api extends HttpApi.make("test").addHttpApi(SluiceApi.make({ readings: Reading, emails: Email })) {}

export const token = Redacted.make("a token for operators")

export interface Options {
  readonly readings?: Partial<WriteBehind.Options<Reading, unknown, never>> | undefined
  readonly emails?: Partial<BatchQueue.Options<Email, any, unknown, never>> | undefined
  readonly queues?: HttpQueues.Options | undefined
  readonly ingest?: Ingest.Options | undefined
  readonly admin?: Admin.Options | undefined
  readonly store?: Layer.Layer<BatchStore.BatchStore> | undefined
  readonly graceful?: GracefulServer.Options | undefined
  readonly node?: ServerOptions | undefined
  /** In place of `Admin.layer` with `admin`. */
  readonly adminLayer?:
    | Layer.Layer<HttpApiGroup.ApiGroup<"test", "queueAdmin">, unknown, HttpQueues.HttpQueues>
    | undefined
}

/** What a test has in hand. */
export interface Running {
  readonly url: string
  readonly port: number
  readonly readings: WriteBehind.WriteBehind<Reading>
  readonly emails: BatchQueue.BatchQueue<Email>
  /** What the server knows of them. */
  readonly queues: MountedQueues
  /** What was flushed, and what was processed. */
  readonly flushed: Array<Reading>
  readonly sent: Array<Email>
  /** Tears everything down, as the scope of the test does otherwise. */
  readonly stop: Effect.Effect<void>
}

/** The server of a test, which ends with its scope. */
export const serve = (options: Options = {}): Effect.Effect<Running, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const flushed: Array<Reading> = []
    const sent: Array<Email> = []
    const ReadingsLive = WriteBehind.layer(Readings, {
      name: "readings",
      capacity: 100,
      policy: Backpressure.reject,
      flushInterval: "20 millis",
      flush: (batch) => Effect.sync(() => void flushed.push(...batch.items)),
      ...options.readings
    })
    const EmailsLive = BatchQueue.layer(Emails, {
      name: "emails",
      schema: Email,
      policy: Backpressure.reject,
      process: (batch) => Effect.sync(() => void sent.push(...batch.items)),
      ...options.emails
    }).pipe(Layer.provide(options.store ?? BatchStore.layerMemory))
    const QueuesLive = HttpQueues.layer([
      HttpQueue.writeBehind(Readings, { schema: Reading }),
      HttpQueue.batchQueue(Emails, { schema: Email })
    ], options.queues)
    const ApiLive = HttpApiBuilder.api(Api).pipe(
      Layer.provide([
        Ingest.layer(Api, options.ingest),
        options.adminLayer ?? Admin.layer(Api, options.admin ?? { token }),
        Watch.layer(Api)
      ]),
      Layer.provide(QueuesLive)
    )
    const ServerLive = GracefulServer.layer(
      NodeHttpServer.layer(() => createServer(options.node ?? {}), { port: 0, host: "127.0.0.1" }),
      options.graceful ?? { grace: "500 millis" }
    )
    const AppLive = HttpApiBuilder.serve().pipe(
      Layer.provide(HttpApiSwagger.layer({ path: "/docs" })),
      Layer.provide(HttpApiBuilder.middlewareOpenApi()),
      Layer.provide(ApiLive),
      Layer.provideMerge(QueuesLive),
      Layer.provideMerge(Layer.merge(ReadingsLive, EmailsLive)),
      Layer.provideMerge(ServerLive)
    )
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(AppLive, scope)
    const { address } = Context.get(context, HttpServer.HttpServer)
    const port = address._tag === "TcpAddress" ? address.port : 0
    return {
      url: `http://127.0.0.1:${port}`,
      port,
      readings: Context.get(context, Readings),
      emails: Context.get(context, Emails),
      queues: mountedOf(Context.get(context, HttpQueues.HttpQueues)),
      flushed,
      sent,
      stop: Scope.close(scope, Exit.void)
    }
  })

/** A request by `fetch`, with its answer as JSON where it is that. */
export const ask = (
  { url }: { readonly url: string },
  path: string,
  init?: RequestInit & { readonly token?: string }
): Effect.Effect<{ readonly status: number; readonly headers: Headers; readonly body: any }> =>
  Effect.promise(async () => {
    const headers = new Headers(init?.headers)
    if (init?.token !== undefined) headers.set("authorization", `Bearer ${init.token}`)
    const response = await fetch(`${url}${path}`, { ...init, headers })
    const text = await response.text()
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true
    return { status: response.status, headers: response.headers, body: isJson && text !== "" ? JSON.parse(text) : text }
  })

/** A POST of JSON. */
export const post = (
  server: { readonly url: string },
  path: string,
  body: unknown,
  headers: Record<string, string> = {}
) =>
  ask(server, path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body)
  })

/**
 * A server for queues that a test has made itself, and may close before the server is.
 */
import { HttpApi, HttpApiBuilder, HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { type HttpQueue, HttpQueues, Ingest, SluiceApi } from "@sluice/http"
import { Context, Effect, Layer, Schema, type Scope } from "effect"
import { createServer, type ServerOptions } from "node:http"

export interface Address {
  readonly url: string
  readonly port: number
}

const listen = <E>(
  AppLive: Layer.Layer<never, E, HttpServer.HttpServer | HttpRouter.HttpRouter.DefaultServices>,
  node: ServerOptions = {}
): Effect.Effect<Address, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const NodeLive = NodeHttpServer.layer(() => createServer(node), { port: 0, host: "127.0.0.1" })
    const context = yield* Layer.build(Layer.provideMerge(AppLive, NodeLive))
    const { address } = Context.get(context, HttpServer.HttpServer)
    const port = address._tag === "TcpAddress" ? address.port : 0
    return { url: `http://127.0.0.1:${port}`, port }
  })

const mount = (queues: ReadonlyArray<HttpQueue.HttpQueue>, options?: HttpQueues.Options) =>
  HttpQueues.layer(queues.map((queue) => Effect.succeed(queue)), options)

export interface Options {
  /** Which of the queues the API describes. Default: all. */
  readonly described?: ReadonlyArray<string> | undefined
  readonly prefix?: `/${string}` | undefined
  readonly queues?: HttpQueues.Options | undefined
  readonly node?: ServerOptions | undefined
}

/** The server of an API. */
export const serveApi = (
  queues: ReadonlyArray<HttpQueue.HttpQueue>,
  options: Options = {}
): Effect.Effect<Address, unknown, Scope.Scope> => {
  const described = options.described ?? queues.map(({ name }) => name)
  const group = SluiceApi.ingest(Object.fromEntries(described.map((name) => [name, Schema.Any])))
  const Api = HttpApi.make("test").add(options.prefix === undefined ? group : group.prefix(options.prefix))
  const ApiLive = HttpApiBuilder.api(Api as unknown as HttpApi.HttpApi<"test">).pipe(
    Layer.provide(Ingest.layer(Api) as Layer.Layer<never, unknown, HttpQueues.HttpQueues>),
    Layer.provide(mount(queues, options.queues))
  )
  return listen(HttpApiBuilder.serve().pipe(Layer.provide(ApiLive)), options.node)
}

/** The server of an API that a test has put together. */
export const serveLayer = <E>(ApiLive: Layer.Layer<HttpApi.Api, E>): Effect.Effect<Address, unknown, Scope.Scope> =>
  listen(HttpApiBuilder.serve().pipe(Layer.provide(ApiLive)))

/** The server of a plain router. */
export const serveRouter = (
  queues: ReadonlyArray<HttpQueue.HttpQueue>,
  options?: Ingest.Options
): Effect.Effect<Address, unknown, Scope.Scope> =>
  listen(
    Layer.unwrapEffect(
      Effect.map(Ingest.router(options), (router) => HttpServer.serve(HttpRouter.concat(HttpRouter.empty, router)))
    ).pipe(Layer.provide(mount(queues)))
  )

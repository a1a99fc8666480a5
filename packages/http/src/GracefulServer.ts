/**
 * An HTTP server that starts and stops gracefully. Requests that come too early are told to retry. When it stops, it
 * finishes running requests within a time limit and refuses new ones.
 *
 * Put it around the server of the platform. That server listens as soon as it is made, which may be long before the app
 * is ready. Until then, every request, including `/health`, is answered with 503 and `Retry-After`.
 *
 * When its scope closes (with `NodeRuntime.runMain`, at the first SIGTERM or SIGINT; the second one ends the process at
 * once):
 *
 * 1. new requests are answered with 503 and `Connection: close`, except for `/health` and `/metrics`. `Closing` is
 *    signalled, so that event streams end, and `/health/ready` answers 503;
 * 2. running requests may finish within `grace`. Those that do not, because a client has sent half a body or a handler
 *    hangs, are interrupted;
 * 3. the layers that the handlers were built from are closed: the queues drain, each within its `drainTimeout`.
 *    Requests are refused meanwhile;
 * 4. the server is closed. This waits at most one second, because a client may keep a connection open forever.
 *
 * So a process needs at most `grace`, plus two seconds, plus the longest `drainTimeout`.
 *
 * @since 0.1.0
 */
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServerError from "@effect/platform/HttpServerError"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import type { HttpServerResponse } from "@effect/platform/HttpServerResponse"
import type { InvalidOption } from "@sluice/core/QueueError"
import { timeoutOption } from "@sluice/core/unstable/Sleep"
import {
  awaitEnd,
  contextOf,
  forkUninterruptible,
  interruptNow,
  readRef,
  type Running,
  runNow,
  withFiber
} from "@sluice/core/unstable/Fibers"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { ServerClosing, ServerStarting } from "./HttpError.ts"
import { makeCors } from "./internal/cors.ts"
import { endWithClient } from "./internal/cutOff.ts"
import { refuse } from "./internal/respond.ts"
import { checkOptions, type Cors, type Options } from "./internal/serverOptions.ts"

/**
 * Whether the server is closing, for handlers that would otherwise run forever. Without a `GracefulServer`, it never
 * is.
 *
 * @since 0.1.0
 * @category references
 */
export class Closing extends Context.Reference<Closing>()("@sluice/http/GracefulServer/Closing", {
  defaultValue: (): Signal => ({ unsafeIsClosing: () => false, await: Effect.never })
}) {}

/**
 * Signals that the server is closing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Signal {
  readonly unsafeIsClosing: () => boolean
  /** Waits until the server begins to close. */
  readonly await: Effect.Effect<void>
}

export type { Cors, Options }

/** How long interrupted requests may take to answer, and the server to close. */
const lastWordsMillis = 1000

const notYet = refuse(ServerStarting, { message: "the server is starting" }, { "retry-after": "1" })

const refusal = refuse(ServerClosing, { message: "the server is closing" }, {
  connection: "close",
  "retry-after": "1"
})

const watching = /\/(?:health\/(?:live|ready)|metrics)\/?(?:\?|$)/

/** Requests for the state of the process are answered until the end. */
const isWatching = ({ method, url }: HttpServerRequest): boolean => method === "GET" && watching.test(url)

/** The running requests, and the gate that admits them. */
class Gate implements Signal {
  private readonly running = new Set<Running<unknown, unknown>>()
  private readonly closing = Effect.unsafeMakeLatch()
  private readonly idle = Effect.unsafeMakeLatch()
  private isClosing = false
  private readonly cors: HttpMiddleware.HttpMiddleware
  readonly await = this.closing.await

  constructor(cors: HttpMiddleware.HttpMiddleware = (app) => app) {
    this.cors = cors
  }

  unsafeIsClosing(): boolean {
    return this.isClosing
  }

  /** Admits a request, and tracks it until it is answered. */
  readonly through = <E, R>(inner: HttpApp.Default<E, R>): HttpApp.Default<E, R> => {
    const app = this.cors(inner) as HttpApp.Default<E, R>
    const refused = this.cors(asAnswer(refusal))
    return withFiber((fiber) => {
      const request = Context.unsafeGet(contextOf(fiber) as Context.Context<HttpServerRequest>, HttpServerRequest)
      endWithClient(request, () => interruptNow(fiber, HttpServerError.clientAbortFiberId))
      if (this.isClosing && !isWatching(request)) return refused
      this.running.add(fiber)
      return Effect.onExit(app, () => {
        this.running.delete(fiber)
        if (this.isClosing && this.running.size === 0) this.idle.unsafeOpen()
        return Effect.void
      })
    })
  }

  close(graceMillis: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isClosing = true
      this.closing.unsafeOpen()
      if (this.running.size === 0) return Effect.void
      const end = Effect.suspend(() => {
        for (const fiber of this.running) interruptNow(fiber)
        return within(this.idle.await, lastWordsMillis)
      })
      return Effect.zipRight(within(this.idle.await, graceMillis), Effect.when(end, () => this.running.size > 0))
    })
  }
}

/** An answer of a middleware. The platform writes it unchanged, plus what other middlewares add to every answer. */
const asAnswer = (response: HttpServerResponse): HttpApp.Default =>
  Effect.flatMap(readRef(HttpApp.currentPreResponseHandlers), (handler) =>
    Option.isNone(handler)
      ? Effect.succeed(response)
      : Effect.flatMap(HttpServerRequest, (request) => Effect.orDie(handler.value(request, response))))

/** A finalizer cannot be interrupted, so a timeout would have no effect. */
const within = (effect: Effect.Effect<unknown>, millis: number): Effect.Effect<void> =>
  Effect.asVoid(timeoutOption(Effect.interruptible(effect), millis))

/**
 * Wraps a server. It may stand anywhere among the layers: nothing needs to be built before it.
 *
 * **Errors**: those of the server, and `InvalidOption`.
 *
 * @example
 * ```ts
 * import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { GracefulServer } from "@sluice/http"
 * import { Layer } from "effect"
 * import { createServer } from "node:http"
 *
 * const ServerLive = HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.get("/", HttpServerResponse.text("hello")))).pipe(
 *   Layer.provide(GracefulServer.layer(NodeHttpServer.layer(() => createServer(), { port: 3000 })))
 * )
 *
 * NodeRuntime.runMain(Layer.launch(ServerLive))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <A, E, R>(
  server: Layer.Layer<HttpServer.HttpServer | A, E, R>,
  options: Options = {}
): Layer.Layer<HttpServer.HttpServer | A, E | InvalidOption, R> =>
  Layer.scopedContext(
    Effect.gen(function*() {
      const { cors: checkedCors, graceMillis } = yield* checkOptions(options)
      const cors = checkedCors && makeCors(checkedCors)
      const scope = yield* Effect.acquireRelease(
        Scope.make(),
        (scope, exit) =>
          Effect.flatMap(forkUninterruptible(Scope.close(scope, exit)), (fiber) =>
            within(awaitEnd(fiber), lastWordsMillis))
      )
      const context = yield* Layer.buildWithScope(server, scope)
      const inner = Context.get(context as Context.Context<HttpServer.HttpServer>, HttpServer.HttpServer)
      const started = yield* start(inner, scope, cors)
      return Context.add(context, HttpServer.HttpServer, gated(inner, graceMillis, scope, started, cors))
    })
  )

/** Refuses requests that come too early, until the app is ready. */
const start = (
  { serve }: HttpServer.HttpServer,
  scope: Scope.Scope,
  cors: HttpMiddleware.HttpMiddleware | undefined
): Effect.Effect<Effect.Effect<void>> =>
  Effect.gen(function*() {
    const early = yield* Scope.fork(scope, ExecutionStrategy.sequential)
    yield* Scope.extend(serve(Effect.succeed(notYet), new Gate(cors).through), early)
    // From this step on it admits no more requests. It does not wait for running ones.
    return Effect.sync(() => void runNow(Scope.close(early, Exit.void)))
  })

const gated = (
  { address, serve }: HttpServer.HttpServer,
  graceMillis: number,
  scope: Scope.Scope,
  started: Effect.Effect<void>,
  cors: HttpMiddleware.HttpMiddleware | undefined
): HttpServer.HttpServer =>
  HttpServer.make({
    address,
    serve: (app, middleware) =>
      Effect.gen(function*() {
        const gate = new Gate(cors)
        const told = Effect.provideService(app, Closing, gate)
        // As a middleware it also wraps the writing of the answer. It lives as long as the server: otherwise a request
        // that comes while the queues drain would get no answer.
        const served = Scope.extend(
          serve(told, (app) => gate.through(middleware === undefined ? app : middleware(app))),
          scope
        )
        // In one turn of the event loop: a request in between would get no answer.
        yield* Effect.withMaxOpsBeforeYield(Effect.zipRight(started, served), Number.MAX_SAFE_INTEGER)
        yield* Effect.addFinalizer(() => gate.close(graceMillis))
      })
  })

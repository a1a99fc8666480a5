/**
 * What an operator's tests have in hand: requests with the token, and looking again until something is so.
 */
import { HttpApi, HttpApiBuilder, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Admin, GracefulServer, type HttpQueue, HttpQueues, SluiceApi, Watch } from "@sluice/http"
import { Context, Effect, Exit, Layer, Redacted, Scope, Stream } from "effect"
import { createServer } from "node:http"
import { vi } from "vitest"
import { ask, token } from "./server.ts"
import { mountedOf } from "../../src/internal/mountedQueues.ts"

// Of a machine that has other things to do as well.
vi.setConfig({ testTimeout: 60_000 })

export const secret = Redacted.value(token)

/** A request with the token of an operator. */
export const admin = (server: { readonly url: string }, path: string, init: RequestInit = {}) =>
  ask(server, `/admin${path}`, { token: secret, ...init })

/** A command of an operator. */
export const command = (server: { readonly url: string }, path: string, body?: unknown) =>
  admin(server, path, {
    method: "POST",
    ...body === undefined
      ? {}
      : {
        headers: { "content-type": "application/json" },
        body: typeof body === "string" ? body : JSON.stringify(body)
      }
  })

/** Lets the sockets of the test, and the fibers of the server, go on: in real time, also under a TestClock. */
export const pause = (millis = 5): Effect.Effect<void> =>
  Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))

/** Looks again and again until it is so. Whoever gives up on it is told what was seen last. */
export const until = <A, E, R>(look: Effect.Effect<A, E, R>, isSo: (seen: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let last: A | undefined
    const again: Effect.Effect<A, E, R> = Effect.flatMap(look, (seen) => {
      last = seen
      return isSo(seen) ? Effect.succeed(seen) : Effect.zipRight(pause(), again)
    })
    return Effect.onInterrupt(again, () => Effect.logError("it never came to be; seen last:", last))
  })

/** A queue that does nothing, but for what the test says. */
export const queueOf = (
  name: string,
  parts: Partial<HttpQueue.HttpQueue> & { readonly now?: Partial<HttpQueue.Status> } = {}
): HttpQueue.HttpQueue => {
  const { now, ...rest } = parts
  const status: HttpQueue.Status = {
    held: 0,
    progress: 0,
    drained: 0,
    paused: false,
    counts: {},
    droppedByReason: {}
  }
  const unused = () => Effect.die(new Error("nobody offers"))
  return {
    name,
    system: "Test",
    decode: () => {
      throw new Error("nobody offers")
    },
    unsafeOffer: () => "closed",
    offer: unused,
    offerAllOrNone: unused,
    events: Stream.never,
    status: Effect.sync(() => ({ ...status, ...now })),
    flush: Effect.void,
    ...rest
  }
}

class Api extends HttpApi.make("test").add(SluiceApi.Admin).add(SluiceApi.Watch) {}

/** A server that operates and watches these queues, and takes nothing in. It ends with the scope of the test. */
export const operate = (
  queues: ReadonlyArray<HttpQueue.HttpQueue>,
  options: { readonly queues?: HttpQueues.Options; readonly graceful?: GracefulServer.Options } = {}
) =>
  Effect.gen(function*() {
    const QueuesLive = HttpQueues.layer(queues.map((queue) => Effect.succeed(queue)), options.queues)
    const AppLive = HttpApiBuilder.serve().pipe(
      Layer.provide(HttpApiBuilder.api(Api)),
      Layer.provide([Admin.layer(Api, { token }), Watch.layer(Api)]),
      Layer.provideMerge(QueuesLive),
      Layer.provideMerge(GracefulServer.layer(
        NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" }),
        options.graceful
      ))
    )
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(AppLive, scope)
    const { address } = Context.get(context, HttpServer.HttpServer)
    return {
      url: `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}`,
      queues: mountedOf(Context.get(context, HttpQueues.HttpQueues)),
      stop: Scope.close(scope, Exit.void)
    }
  })

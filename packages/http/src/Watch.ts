/**
 * Monitoring endpoints: `/metrics` for Prometheus, `/health/live` and `/health/ready`.
 *
 * @since 0.1.0
 */
import type * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Closing } from "./GracefulServer.ts"
import { HttpQueues } from "./HttpQueues.ts"
import { mountedOf } from "./internal/mountedQueues.ts"
import { endWithClient } from "./internal/cutOff.ts"
import { refuseOtherMethods } from "./internal/otherMethods.ts"
import * as Prometheus from "./Prometheus.ts"
import { type Having, NotReady, Ready, type Watch } from "./SluiceApi.ts"

/**
 * Implements the group `queueWatch` of an API. `/metrics` has every metric of the process, not only those of Sluice.
 * `/health/ready` answers 503 while the server is closing, and if a queue has held items for `stalledAfter` without
 * progress. A paused queue does not count as stalled.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <ApiId extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<ApiId, Groups, E, R> & Having<"queueWatch", Groups>
): Layer.Layer<HttpApiGroup.ApiGroup<ApiId, "queueWatch">, never, HttpQueues> => {
  const handlers = HttpApiBuilder.group(
    api as unknown as HttpApi.HttpApi<ApiId, typeof Watch>,
    "queueWatch",
    (handlers) =>
      Effect.map(Effect.map(HttpQueues, mountedOf), ({ all }) =>
        handlers
          .handleRaw("metrics", ({ request }) => {
            endWithClient(request)
            return Effect.map(
              Prometheus.snapshot,
              (text) => HttpServerResponse.text(text, { contentType: Prometheus.contentType })
            )
          })
          .handle("live", ({ request }) => {
            endWithClient(request)
            return Effect.succeed({ status: "live" as const })
          })
          .handle("ready", ({ request }) =>
            Effect.gen(function*() {
              endWithClient(request)
              const closing = (yield* Closing).unsafeIsClosing()
              const stalled: Array<{ readonly queue: string; readonly forMillis: number }> = []
              for (const { queue, stalledForMillis } of all) {
                const forMillis = yield* stalledForMillis
                if (forMillis !== undefined) {
                  stalled.push({ queue: queue.name, forMillis })
                }
              }
              if (closing || stalled.length > 0) {
                return yield* new NotReady({ closing, stalled })
              }
              return new Ready({ queues: all.length })
            })))
  )
  return Layer.merge(handlers, refuseOtherMethods(api, "queueWatch"))
}

/** Ours, by a plain route and by `HttpApi`, with nothing set but what the case is about. */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Backpressure from "@sluice/core/Backpressure"
import * as WriteBehind from "@sluice/core/WriteBehind"
import * as HttpQueue from "@sluice/http/HttpQueue"
import * as HttpQueues from "@sluice/http/HttpQueues"
import * as Ingest from "@sluice/http/Ingest"
import * as SluiceApi from "@sluice/http/SluiceApi"
import * as HttpApi from "@effect/platform/HttpApi"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { queueName, Reading } from "./item.ts"
import { listen, type Platform, type Running, Seen } from "./listening.ts"

/** It has room for whatever comes while its sink, which does nothing, waits for its turn: it never refuses anything. */
const capacity = 100_000

/** How much fits where there is more than a sink can take. */
export const overloadedCapacity = 1_000

/** So many items, and then a wait: a sink that takes 1,000 items in a second. */
const slowBatch = 100
const slowSink = "100 millis"

const openQueue = (options: Partial<WriteBehind.Options<Reading, never, never>>, seen: Seen) =>
  Effect.orDie(WriteBehind.make<Reading, never, never>({
    name: queueName,
    capacity,
    // What does not fit would be seen in the answers.
    policy: Backpressure.reject,
    flush: ({ items }) => {
      seen.seeAll(items)
      return Effect.void
    },
    ...options
  }))

/** What is served for the queues that are mounted. */
export type App = Layer.Layer<never, unknown, Platform | HttpQueues.HttpQueues>

/** By a plain route. */
export const plainApp: App = Layer.unwrapEffect(Effect.map(Ingest.router(), (router) => HttpServer.serve(router)))

class Api extends HttpApi.make("benchmark").add(SluiceApi.ingest({ [queueName]: Reading })) {}

/** By `HttpApi`. */
const apiApp: App = HttpApiBuilder.serve().pipe(
  Layer.provide(Layer.provide(HttpApiBuilder.api(Api), Ingest.layer(Api)))
)

export const mount = (app: App, queue: HttpQueue.HttpQueue<any>): Effect.Effect<string, never, Scope.Scope> =>
  Effect.orDie(listen(Layer.provide(app, HttpQueues.layer([Effect.succeed(queue)]))))

const writeBehind = (
  app: App,
  options: (seen: Seen) => Partial<WriteBehind.Options<Reading, never, never>> = () => ({})
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.gen(function*() {
    const seen = new Seen()
    const queue = yield* openQueue(options(seen), seen)
    return {
      url: yield* mount(app, HttpQueue.fromWriteBehind(queue, { schema: Reading })),
      books: Effect.map(queue.metrics, ({ coalesced, dropped, held, offered, refused, settled }) => ({
        accepted: offered - refused - coalesced,
        refused,
        dropped,
        settled,
        held,
        handled: seen.handled,
        broken: seen.broken
      })),
      settle: Effect.orDie(queue.flushNow)
    }
  })

export const plain = writeBehind(plainApp)

export const api = writeBehind(apiApp)

export const overloaded = writeBehind(plainApp, (seen) => ({
  capacity: overloadedCapacity,
  batchSize: slowBatch,
  flush: ({ items }) => Effect.map(Effect.sleep(slowSink), () => seen.seeAll(items))
}))

/** How a server listens, on this machine only, and keeps the books of what came to it. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import type * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import { isIntact, path, type Reading } from "./item.ts"
import type { Books } from "./server.ts"

/** A server that runs. */
export interface Running {
  readonly url: string
  readonly books: Effect.Effect<Books>
  /** Waits until all items are settled. */
  readonly settle: Effect.Effect<void>
}

export const host = "127.0.0.1"

export const urlOf = (port: number): string => `http://${host}:${port}${path}`

/** What an app finds in its server. */
export type Platform = HttpServer.HttpServer | HttpRouter.HttpRouter.DefaultServices

/** Serves an app, as a layer, and answers where. */
export const listen = <E>(app: Layer.Layer<never, E, Platform>): Effect.Effect<string, E, Scope.Scope> =>
  Effect.gen(function*() {
    const server = Layer.orDie(NodeHttpServer.layer(() => createServer(), { port: 0, host }))
    const context = yield* Layer.build(Layer.provideMerge(app, server))
    const { address } = Context.get(context, HttpServer.HttpServer)
    return urlOf(address._tag === "TcpAddress" ? address.port : 0)
  })

/** Of so many items one is looked at. */
const oneIn = 50

/** Notes the items that come out, in a few nanoseconds. */
export class Seen {
  handled = 0
  broken = 0

  see(item: Reading): void {
    if (this.handled++ % oneIn === 0 && !isIntact(item)) this.broken += 1
  }

  seeAll(items: ReadonlyArray<Reading>): void {
    for (const item of items) this.see(item)
  }

  /** The books of who has no queue. */
  get books(): Books {
    const { broken, handled } = this
    return { accepted: handled, refused: 0, dropped: 0, settled: handled, held: 0, handled, broken }
  }
}

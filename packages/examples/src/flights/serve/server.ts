/**
 * The server: it takes flights in, lets queues be operated and watched, and says under `/docs` how.
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiSwagger from "@effect/platform/HttpApiSwagger"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Admin, GracefulServer, Ingest, Watch } from "@sluice/http"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import { BadOption } from "../errors.ts"
import type { Address } from "../options.ts"
import { Api, queues } from "./api.ts"

export const adminToken = "SLUICE_ADMIN_TOKEN"

/** How long running requests may take once a signal has come. */
export const grace = Config.withDefault(Config.duration("SLUICE_GRACE"), Duration.seconds(5))

const admin = (token: Option.Option<Redacted.Redacted>) =>
  Layer.catchAll(
    Admin.layer(Api, { token: Option.getOrUndefined(token) }),
    ({ limit }) => Layer.fail(new BadOption({ problem: `${adminToken} must be ${limit}` }))
  )

/** What the system says of a port or a host that cannot be had: it is what the user has asked for that is wrong. */
const cannotListen = ({ host, port }: Address, cause: unknown): BadOption => {
  const problem = cause instanceof Error ? cause.message : String(cause)
  return new BadOption({ problem: `--host ${host} --port ${port}: ${problem}` })
}

const node = (address: Address) =>
  Layer.catchAll(
    NodeHttpServer.layer(() => createServer(), { ...address }),
    ({ cause }) => Layer.fail(cannotListen(address, cause))
  )

/** Closing it refuses new requests, and lets running ones end. The queues must be in a scope around it. */
export const layer = (address: Address, token: Option.Option<Redacted.Redacted>, grace: Duration.Duration) => {
  const api = HttpApiBuilder.api(Api).pipe(
    Layer.provide([Ingest.layer(Api), admin(token), Watch.layer(Api)]),
    Layer.provide(queues)
  )
  return HttpApiBuilder.serve().pipe(
    Layer.provide(HttpApiSwagger.layer({ path: "/docs" })),
    Layer.provide(api),
    Layer.provideMerge(GracefulServer.layer(node(address), { grace }))
  )
}

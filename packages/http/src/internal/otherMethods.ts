/**
 * Answers 405 and `Allow` to a request with another method for a known path. The platform would answer that the path
 * does not exist.
 */
import type * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { MethodNotAllowed } from "../HttpError.ts"
import { endWithClient } from "./cutOff.ts"
import { refuse } from "./respond.ts"

const notAllowed = (methods: Iterable<string>) => {
  const allowed = Array.from(new Set(methods)).sort()
  const response = refuse(MethodNotAllowed, { allowed }, { allow: allowed.join(", ") })
  return Effect.map(HttpServerRequest, (request) => {
    endWithClient(request)
    return response
  })
}

/** A router answers what is asked for by HEAD as if by GET. */
const withHead = (method: string): ReadonlyArray<string> => method === "GET" ? ["GET", "HEAD"] : [method]

/** The methods of each path of an API, whichever group they are in. */
const methodsOf = (api: HttpApi.HttpApi.Any): ReadonlyMap<string, ReadonlyArray<string>> => {
  const methods = new Map<string, Array<string>>()
  const { groups } = api as unknown as { readonly groups: Record<string, HttpApiGroup.HttpApiGroup.AnyWithProps> }
  for (const { endpoints } of Object.values(groups)) {
    for (const { method, path } of Object.values(endpoints)) {
      methods.set(path, [...methods.get(path) ?? [], ...withHead(method)])
    }
  }
  return methods
}

/**
 * For the paths of one group of an API, and more paths that are for POST. It is asked where no route was found: what an
 * API has at the same path in another group goes before.
 */
export const refuseOtherMethods = (
  api: HttpApi.HttpApi.Any,
  group: string,
  more: ReadonlyArray<string> = []
): Layer.Layer<never> => {
  const methods = methodsOf(api)
  const { groups } = api as unknown as { readonly groups: Record<string, HttpApiGroup.HttpApiGroup.AnyWithProps> }
  const paths = new Map<string, string>()
  // A route looks neither at case nor at the names of its parameters, and may be there once.
  for (const path of [...more, ...Object.values(groups[group].endpoints).map(({ path }) => path)]) {
    const route = path.toLowerCase().replace(/:[^/]+/g, ":")
    if (!paths.has(route)) paths.set(route, path)
  }
  let router: HttpRouter.HttpRouter = HttpRouter.empty
  for (const path of paths.values()) {
    router = HttpRouter.all(router, path as HttpRouter.PathInput, notAllowed(methods.get(path) ?? ["POST"]))
  }
  return HttpApiBuilder.middleware(Effect.map(HttpRouter.toHttpApp(router), (others) => (app) =>
    // The types of an API leave out what the platform makes of a path that is not there.
    Effect.catchAll(app as HttpApp.Default<unknown>, (error) =>
      isNotFound(error) ? others : Effect.fail(error)) as HttpApp.Default))
}

const isNotFound = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "RouteNotFound"

/**
 * For a router of one path with a parameter at its end, which is for POST. A wildcard stands behind what others may have
 * at the same path.
 */
export const postAlone = <E, R>(router: HttpRouter.HttpRouter<E, R>, parent: `/${string}/`) => {
  const refused = notAllowed(["POST"])
  const isOurs = ({ url }: HttpServerRequest) => /^[^/]+\/?$/.test(url.split(/[?;#]/, 1)[0].slice(parent.length))
  const handler = Effect.flatMap(
    HttpServerRequest,
    (request) => isOurs(request) ? refused : Effect.succeed(HttpServerResponse.empty({ status: 404 }))
  )
  return methods.reduce((router, method) => HttpRouter.route(method)(router, `${parent}*`, handler), router)
}

/** HEAD is found by GET. */
const methods = ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"] as const

/**
 * Accepts items: `POST /queues/:name` with an item, an array, or NDJSON.
 *
 * The life of a request: the server looks up the queue and checks the token and the kind of the body. It reads the body
 * within its limit, decodes it with the schema of the queue, and offers the items: an array all or none, a stream one
 * by one. Then it answers with the outcome: at once, with `?wait=stored` once the items are on disk, or with
 * `?wait=settled` once they are done.
 *
 * @since 0.1.0
 */
import * as Check from "@sluice/core/unstable/OptionCheck"
import type { InvalidOption } from "@sluice/core/QueueError"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApi from "@effect/platform/HttpApi"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { contextOf, withFiber } from "@sluice/core/unstable/Fibers"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import { type FieldFault, InvalidRequest, Unauthorized, UnknownQueue, UnsupportedMediaType } from "./HttpError.ts"
import { HttpQueues, type Queues } from "./HttpQueues.ts"
import { mountedOf } from "./internal/mountedQueues.ts"
import { readText } from "./internal/body.ts"
import { acceptEncoding, isKnown } from "./internal/contentCoding.ts"
import { endWithClient } from "./internal/cutOff.ts"
import type { Ask } from "./internal/offering.ts"
import { unavailable, unreadable } from "./internal/refusals.ts"
import { takeStream } from "./internal/stream.ts"
import { takeWhole } from "./internal/wholeBody.ts"
import type { Mounted } from "./internal/mounted.ts"
import { postAlone, refuseOtherMethods } from "./internal/otherMethods.ts"
import { refuse } from "./internal/respond.ts"
import type { Having } from "./SluiceApi.ts"
import { checkToken, isSecret, tokenOf } from "./internal/secret.ts"

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What a request must carry as its bearer token, of at least 16 characters. Default: everybody may offer. */
  readonly token?: Redacted.Redacted | undefined
}

const longestKey = 255

/** A string of structured fields (RFC 8941), with parameters, which are ignored. */
const quoted = /^"((?:[ !#-[\]-~]|\\["\\])*)"\s*(?:;.*)?$/

/** The key in a header, with or without quotes; undefined if it is invalid. */
const keyOf = (header: string): string | undefined => {
  const key = header.startsWith("\"") ? quoted.exec(header)?.[1].replace(/\\(.)/g, "$1") : header
  return key !== undefined && key.length <= longestKey && /^[!-~]+$/.test(key) ? key : undefined
}

const json = "application/json"
const ndjson = ["application/x-ndjson", "application/ndjson", "application/jsonl"]

/** The kind of body of a request, or why it is not supported. */
const kindOf = (request: HttpServerRequest.HttpServerRequest): "json" | "ndjson" | { readonly message: string } => {
  const header = request.headers["content-type"]
  if (header === json) return "json"
  const [type, ...parameters] = (header ?? "").toLowerCase().split(";").map((part) => part.trim())
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) return { message: "the body must be in UTF-8" }
  if (type === json) return "json"
  if (ndjson.includes(type)) return "ndjson"
  return { message: `the body must be ${json} or ${ndjson[0]}` }
}

const isAllowed = (request: HttpServerRequest.HttpServerRequest, token: Redacted.Redacted | undefined): boolean =>
  token === undefined || isSecret(tokenOf(request.headers["authorization"]), token)

/** The handler of one request to the queue of this name. */
const makeTake = (queues: Queues, token: Redacted.Redacted | undefined) =>
(
  request: HttpServerRequest.HttpServerRequest,
  params: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>,
  name: string
): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  endWithClient(request)
  if (!isAllowed(request, token)) return Effect.succeed(unauthorized)
  const mounted = mountedOf(queues).get(name)
  if (mounted === undefined) return Effect.succeed(refuse(UnknownQueue, { queue: name }))
  const kind = kindOf(request)
  if (typeof kind === "object") return Effect.succeed(refuse(UnsupportedMediaType, kind))
  if (!isKnown(request.headers["content-encoding"])) return Effect.succeed(unknownCoding)
  const ask = askOf(mounted, request.headers["idempotency-key"], params["wait"])
  if ("field" in ask) return Effect.succeed(refuse(InvalidRequest, ask))
  if (mounted.isDraining) return Effect.succeed(unavailable(mounted, "draining", 0))
  const { maxBodyBytes } = queues.limits
  if (kind === "ndjson") return takeStream(mounted, request, ask, queues.limits)
  return Effect.matchEffect(readText(request, maxBodyBytes), {
    onFailure: (unread) => Effect.succeed(unreadable(unread, "body", maxBodyBytes, 0)),
    onSuccess: (text) => takeWhole(mounted, text, ask)
  })
}

const unauthorized = refuse(Unauthorized, { message: "a bearer token is required" }, { "www-authenticate": "Bearer" })

const unknownCoding = refuse(UnsupportedMediaType, {
  message: `the body must have one Content-Encoding of ${acceptEncoding}`
}, { "accept-encoding": acceptEncoding })

const accepted: Ask = { wait: "accepted", key: undefined }

const askOf = (
  { queue }: Mounted,
  header: string | undefined,
  wait: unknown
): Ask | InvalidRequestFields => {
  if (header === undefined && wait === undefined) return accepted
  const key = header === undefined ? undefined : keyOf(header)
  const wrongWait = wrongWaitOf(queue, wait)
  const faults = [
    ...(key === undefined && header !== undefined
      ? [{ field: "Idempotency-Key", message: `it must be 1 to ${longestKey} visible ASCII characters` }]
      : []),
    ...(wrongWait === undefined ? [] : [{ field: "wait", message: wrongWait }])
  ]
  const [first, second] = faults
  if (second !== undefined) return { ...first, faults }
  if (first !== undefined) return first
  // The store remembers the key.
  const own = queue.offerStoredAllOrNone === undefined ? "accepted" : "stored"
  return { wait: wait === undefined ? own : wait as Ask["wait"], key }
}

interface InvalidRequestFields extends FieldFault {
  readonly faults?: ReadonlyArray<FieldFault>
}

const wrongWaitOf = (queue: Mounted["queue"], wait: unknown): string | undefined => {
  switch (wait) {
    case undefined:
      return undefined
    case "stored":
      return queue.offerStoredAllOrNone === undefined ? `a ${queue.system} has no store` : undefined
    case "settled":
      return queue.offerTracked === undefined
        ? `a ${queue.system} does not tell when its items are settled`
        : undefined
    default:
      return "it must be \"stored\" or \"settled\""
  }
}

/**
 * The handler of a plain route, for a server that is built from an `HttpRouter`. It answers every request itself.
 *
 * **Errors**: `InvalidOption` if the token is too short.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<
  Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    never,
    HttpServerRequest.HttpServerRequest | HttpServerRequest.ParsedSearchParams | HttpRouter.RouteContext
  >,
  InvalidOption,
  HttpQueues
> =>
  Effect.map(makeHandler(options), (take) =>
    withFiber((fiber) => {
      const context = contextOf(fiber)
      const request = Context.unsafeGet(context, HttpServerRequest.HttpServerRequest)
      const { params } = Context.unsafeGet(context, HttpRouter.RouteContext)
      return take(request, Context.unsafeGet(context, HttpServerRequest.ParsedSearchParams), params["name"] ?? "")
    }))

const makeHandler = ({ token }: Options): Effect.Effect<ReturnType<typeof makeTake>, InvalidOption, HttpQueues> =>
  Effect.gen(function*() {
    if (token !== undefined) yield* checkToken("Ingest", token)
    return makeTake(yield* HttpQueues, token)
  })

/**
 * A router with this one route, to concatenate with others or to mount. It answers 405 for methods other than POST,
 * unless another router handles them at the same path.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServer } from "@effect/platform"
 * import { HttpQueues, Ingest } from "@sluice/http"
 * import { Effect, Layer } from "effect"
 *
 * declare const QueuesLive: Layer.Layer<HttpQueues.HttpQueues>
 *
 * const ServerLive = Layer.unwrapEffect(
 *   Effect.map(Ingest.router(), (ingest) => HttpServer.serve(HttpRouter.concat(HttpRouter.empty, ingest)))
 * ).pipe(Layer.provide(QueuesLive))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const router = (options?: Options): Effect.Effect<HttpRouter.HttpRouter, InvalidOption, HttpQueues> =>
  Effect.map(
    make(options),
    (handler) => postAlone(HttpRouter.post(HttpRouter.empty, "/queues/:name", handler), "/queues/")
  )

/** Names that need no encoding in a path. */
const isPlain = (name: string): boolean => /^[A-Za-z0-9._~-]+$/.test(name) && !/^\.+$/.test(name)

/** What an API needs so that its endpoints can be implemented. */
const checkEndpoints = (queues: Queues, names: ReadonlyArray<string>): Effect.Effect<void, InvalidOption> => {
  const spellings = new Set<string>()
  const check = (holds: boolean, name: string, limit: string) => Check.check(holds, "Ingest", "api", name, limit)
  return Effect.forEach(names, (name) => {
    const isKnown = spellings.has(name.toLowerCase())
    spellings.add(name.toLowerCase())
    return Effect.all([
      check(mountedOf(queues).get(name) !== undefined, name, "an API whose queues are all mounted by HttpQueues"),
      check(isPlain(name), name, "an API whose queues have names of letters, digits, and . _ ~ -"),
      check(!isKnown, name, "an API whose queues differ in more than case: routes do not look at it")
    ])
  }, { discard: true })
}

/**
 * Implements the group `queues` of an API, made by `SluiceApi.ingest`. Queues that the API does not describe cannot be
 * reached: any other name is answered as unknown, including names that differ only in case.
 *
 * **Errors**: `InvalidOption` if a queue of the API is not mounted, if its name needs encoding in a path or differs
 * from another only in case, or if the token is too short.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <ApiId extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<ApiId, Groups, E, R> & Having<"queues", Groups>,
  options: Options = {}
): Layer.Layer<HttpApiGroup.ApiGroup<ApiId, "queues">, InvalidOption, HttpQueues> => {
  const group = (api.groups as unknown as Record<string, HttpApiGroup.HttpApiGroup.AnyWithProps>)["queues"]
  const endpoints = Object.values(group.endpoints)
  const implement = (handlers: Handlers) =>
    Effect.gen(function*() {
      const take = yield* makeHandler(options)
      yield* checkEndpoints(yield* HttpQueues, endpoints.map(({ name }) => name))
      return endpoints.reduce(
        (handlers, { name }) =>
          handlers.handleRaw(name, ({ request }) =>
            Effect.flatMap(HttpServerRequest.ParsedSearchParams, (params) =>
              // The route matches in any letter case.
              isCalled(request.url, name)
                ? take(request, params, name)
                : Effect.succeed(unknown(request, options.token)))),
        handlers
      )
    })
  const described = HttpApiBuilder.group(
    api as HttpApi.HttpApi<ApiId, Groups, E, R>,
    "queues" as HttpApiGroup.HttpApiGroup.Name<Groups>,
    implement as any
  )
  // The paths contain the prefixes of the API and its groups.
  const [path = "/queues/"] = endpoints.map(({ path }) => path.slice(0, path.lastIndexOf("/") + 1))
  const others = HttpApiBuilder.Router.use((router) =>
    router.post(
      `${path}:name` as HttpRouter.PathInput,
      Effect.map(HttpServerRequest.HttpServerRequest, (request) => unknown(request, options.token))
    )
  )
  // After the checks of the names: a refused name may not be a route.
  return Layer.provideMerge(
    refuseOtherMethods(api, "queues", [`${path}:name`]),
    Layer.merge(described as Layer.Layer<any, InvalidOption, HttpQueues>, others)
  )
}

/** A client that may not offer does not learn which queues exist, either. */
const unknown = (
  request: HttpServerRequest.HttpServerRequest,
  token: Redacted.Redacted | undefined
): HttpServerResponse.HttpServerResponse => {
  endWithClient(request)
  return isAllowed(request, token) ? refuse(UnknownQueue, { queue: lastOf(request.url) }) : unauthorized
}

const isCalled = (url: string, name: string): boolean => lastOf(url) === name

/** The last part of a path, decoded. */
const lastOf = (url: string): string => {
  const path = url.split(/[?;#]/, 1)[0].replace(/\/+$/, "")
  const last = path.slice(path.lastIndexOf("/") + 1)
  if (!last.includes("%")) return last
  try {
    return decodeURIComponent(last)
  } catch {
    return last
  }
}

/** The types of `HttpApiBuilder` for endpoints that are only known at run time. */
interface Handlers {
  readonly handleRaw: (
    name: string,
    handler: (request: {
      readonly request: HttpServerRequest.HttpServerRequest
    }) => Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.ParsedSearchParams>
  ) => Handlers
}

/**
 * Which web pages of elsewhere may ask: the middleware of the platform, with the headers that the routes of this package
 * take and give.
 */
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as Check from "@sluice/core/unstable/OptionCheck"
import type { InvalidOption } from "@sluice/core/QueueError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * Which web pages of elsewhere may ask (CORS). It is for every route and every answer of the server, also while it starts
 * and closes. `OPTIONS` is answered by it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cors {
  /** Origins such as `https://app.example.com`, at least one; or all there are. */
  readonly origins: ReadonlyArray<string> | "*"
  /** What may be asked by. Default: GET, HEAD, PUT, PATCH, POST, DELETE. */
  readonly methods?: ReadonlyArray<string> | undefined
  /**
   * Headers that a request may have, beside those that this package and Effect's client send: `Authorization`, `b3`,
   * `Content-Encoding`, `Content-Type`, `Idempotency-Key`, `Last-Event-ID`, `traceparent`. Default: none.
   */
  readonly headers?: ReadonlyArray<string> | undefined
  /** Headers of an answer that a page may read, beside `Allow`, `Retry-After` and `WWW-Authenticate`. Default: none. */
  readonly exposedHeaders?: ReadonlyArray<string> | undefined
  /** Whether cookies are sent and may be set; not for all origins. A bearer token needs none of it. Default: false. */
  readonly credentials?: boolean | undefined
  /** For how long a browser need not ask again whether it may. Default: 10 minutes. */
  readonly maxAge?: Duration.DurationInput | undefined
}

const requestHeaders = [
  "authorization",
  "b3",
  "content-encoding",
  "content-type",
  "idempotency-key",
  "last-event-id",
  "traceparent"
]

const answerHeaders = ["allow", "retry-after", "www-authenticate"]

/** What a browser sends as `Origin`: without a path, and without a slash at its end. */
const isOrigin = (origin: unknown): boolean =>
  typeof origin === "string" && /^(?:null|[a-z][a-z0-9+.-]*:\/\/[^/\s,@?#*]+)$/.test(origin)

const isName = (name: unknown): boolean => typeof name === "string" && /^[\w!#$%&'*+.^`|~-]+$/.test(name)

export const makeCors = (options: Cors): Effect.Effect<HttpMiddleware.HttpMiddleware, InvalidOption> =>
  Effect.gen(function*() {
    const { credentials = false, exposedHeaders = [], headers = [], methods, origins } = options
    const check = (holds: boolean, field: string, value: unknown, limit: string) =>
      Check.check(holds, "GracefulServer", `cors.${field}`, value, limit)
    yield* check(
      origins === "*" || Array.isArray(origins) && origins.length > 0 && origins.every(isOrigin),
      "origins",
      origins,
      "\"*\", or at least one origin such as https://app.example.com, without a slash at its end"
    )
    yield* check(!credentials || origins !== "*", "credentials", credentials, "false where all origins may ask")
    for (const [field, names] of Object.entries({ methods: methods ?? [], headers, exposedHeaders })) {
      yield* check(Array.isArray(names) && names.every(isName), field, names, "a list of names")
    }
    const maxAgeMillis = yield* Check.millis("GracefulServer", "cors.maxAge", options.maxAge ?? "10 minutes")
    yield* check(Number.isFinite(maxAgeMillis), "maxAge", options.maxAge, "a time that ends")
    return HttpMiddleware.cors({
      // Of the platform, none are all.
      allowedOrigins: origins === "*" ? [] : origins,
      ...methods === undefined ? {} : { allowedMethods: methods },
      allowedHeaders: [...requestHeaders, ...headers],
      exposedHeaders: [...answerHeaders, ...exposedHeaders],
      credentials,
      maxAge: Math.floor(maxAgeMillis / 1000)
    })
  })

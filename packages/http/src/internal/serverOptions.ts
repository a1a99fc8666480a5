/**
 * The options of a `GracefulServer`: what they are, and the table that they are checked by.
 */
import * as Check from "@sluice/core/unstable/OptionCheck"
import * as Table from "@sluice/core/unstable/OptionTable"
import type { InvalidOption } from "@sluice/core/QueueError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * Which pages of other origins may ask (CORS). It holds for every route and every answer of the server, also while it
 * starts and closes. The server then answers `OPTIONS` itself.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cors {
  /** Who may ask: origins such as `https://app.example.com`, or all of them with `"*"`. */
  readonly origins: ReadonlyArray<string> | "*"
  /** The methods that a page may use. Default: GET, HEAD, PUT, PATCH, POST, DELETE. */
  readonly methods?: ReadonlyArray<string> | undefined
  /**
   * Headers that a request may have, besides those that this package and Effect's client send: `Authorization`, `b3`,
   * `Content-Encoding`, `Content-Type`, `Idempotency-Key`, `Last-Event-ID`, `traceparent`. Default: none.
   */
  readonly headers?: ReadonlyArray<string> | undefined
  /** Headers of an answer that a page may read, besides `Allow`, `Retry-After` and `WWW-Authenticate`. Default: none. */
  readonly exposedHeaders?: ReadonlyArray<string> | undefined
  /**
   * Whether cookies are sent and may be set. It does not work with all origins, and a bearer token does not need it.
   * Default: false.
   */
  readonly credentials?: boolean | undefined
  /** How long a browser need not ask again whether it may. Default: 10 minutes. */
  readonly maxAge?: Duration.DurationInput | undefined
}

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long running requests may take to end. Default: 10 seconds. */
  readonly grace?: Duration.DurationInput | undefined
  /** Which pages of other origins may ask. Default: none. */
  readonly cors?: Cors | undefined
}

/** What a browser sends as `Origin`: without a path, and without a slash at its end. */
const isOrigin = (origin: unknown): boolean =>
  typeof origin === "string" && /^(?:null|[a-z][a-z0-9+.-]*:\/\/[^/\s,@?#*]+)$/.test(origin)

const isName = (name: unknown): boolean => typeof name === "string" && /^[\w!#$%&'*+.^`|~-]+$/.test(name)

type Names = ReadonlyArray<string>

const names = Table.holding<Names>("list", (value) => Array.isArray(value) && value.every(isName), "a list of names")
const ending = Table.where(Table.duration, Number.isFinite, "a time that ends")
const originsLimit = "\"*\", or at least one origin such as https://app.example.com, without a slash at its end"

export const table = {
  grace: Table.withDefault(ending, "10 seconds"),
  cors: Table.optional(
    Table.object(
      {
        origins: Table.holding<Names | "*">(
          "list, or text",
          (value) => value === "*" || Array.isArray(value) && value.length > 0 && value.every(isOrigin),
          originsLimit,
          originsLimit
        ),
        methods: Table.optional(names, "GET, HEAD, PUT, PATCH, POST, DELETE"),
        headers: Table.withDefault(names, [], "none"),
        exposedHeaders: Table.withDefault(names, [], "none"),
        credentials: Table.limited(Table.withDefault(Table.boolean, false), "false where all origins may ask"),
        maxAge: Table.withDefault(ending, "10 minutes")
      } satisfies Table.Of<Cors>,
      "an object with origins"
    ),
    "none"
  )
} satisfies Table.Of<Options>

export type CheckedCors = NonNullable<Table.Checked<typeof table>["cors"]>

export const checkOptions = (options: Options): Effect.Effect<Table.Checked<typeof table>, InvalidOption> =>
  Effect.tap(Table.check(table, "GracefulServer", options), ({ cors }) =>
    Check.check(
      cors === undefined || !cors.credentials || cors.origins !== "*",
      "GracefulServer",
      "cors.credentials",
      cors?.credentials,
      "false where all origins may ask"
    ))

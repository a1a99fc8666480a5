/**
 * Reads commands for dead letters. `HttpApi` would answer invalid JSON as a fault of the server, would not say which
 * field is wrong, and would drop unknown fields: a `where` with a typo would select everything.
 */
import * as HttpApp from "@effect/platform/HttpApp"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Codec from "@sluice/core/Codec"
import * as Result from "@sluice/core/Result"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import { InvalidRequest, TooLarge, UnsupportedMediaType } from "../HttpError.ts"
import type { LetterOptions, WhichLetters } from "../HttpQueue.ts"
import { ByIds, ByQuery } from "../SluiceApi.ts"
import { brokenBody, readText } from "./body.ts"
import { acceptEncoding, isKnown } from "./contentCoding.ts"
import { faultsIn } from "./field.ts"

/** How large the body of a command may be. */
const maxBodyBytes = 256 * 1024

/** What is wrong may be as large as the body. */
const longestMessage = 500

export interface LetterCommand {
  readonly which: WhichLetters
  readonly options: LetterOptions
}

export const readLetterCommand = (
  request: HttpServerRequest
): Effect.Effect<LetterCommand, InvalidRequest | TooLarge | UnsupportedMediaType> =>
  Effect.gen(function*() {
    const type = (request.headers["content-type"] ?? "").split(";")[0].trim().toLowerCase()
    if (type !== "application/json") {
      return yield* new UnsupportedMediaType({ message: "the body must be application/json" })
    }
    if (!isKnown(request.headers["content-encoding"])) {
      yield* Effect.provideService(tellEncodings, HttpServerRequest, request)
      return yield* new UnsupportedMediaType({
        message: `the body must have one Content-Encoding of ${acceptEncoding}`
      })
    }
    const text = yield* Effect.mapError(readText(request, maxBodyBytes), (unread) =>
      unread._tag === "TooLarge"
        ? new TooLarge({ what: "body", limit: maxBodyBytes, taken: 0 })
        : invalid("body", unread._tag === "Broken" ? brokenBody : "it must be text in UTF-8"))
    const decoded = decode(text)
    return Result.isFailure(decoded) ? yield* decoded.failure : decoded.success
  })

const tellEncodings = HttpApp.appendPreResponseHandler((_, response) =>
  Effect.succeed(HttpServerResponse.setHeader(response, "accept-encoding", acceptEncoding))
)

const invalid = (field: string, message: string): InvalidRequest =>
  new InvalidRequest({ field: field === "" ? "body" : field, message: message.slice(0, longestMessage) })

const inspect = Codec.inspect()

const decode = (text: string): Result.Result<LetterCommand, InvalidRequest> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return Result.fail(invalid("body", "it must be JSON"))
  }
  // A schema would overflow the stack at what is nested deeply.
  const inspected = inspect(value)
  if (Result.isFailure(inspected)) return Result.fail(invalid(inspected.failure.path, inspected.failure.detail))
  if (typeof value !== "object" || value === null) return Result.fail(invalid("body", "it must be an object"))
  const hasIds = Object.hasOwn(value, "ids")
  if (hasIds && Object.hasOwn(value, "where")) {
    return Result.fail(invalid("where", "there must be either \"ids\" or \"where\", and not both"))
  }
  return hasIds
    ? Result.map(decodeByIds(value), ({ ids, ...options }) => ({ which: ids, options }))
    : Object.hasOwn(value, "where")
    ? Result.map(decodeByQuery(value), ({ where, ...options }) => ({ which: where, options }))
    : Result.fail(invalid("body", "there must be \"ids\" or \"where\""))
}

const faultOf = (issue: ParseResult.ParseIssue): InvalidRequest => {
  const [first, ...others] = faultsIn(issue)
  return others.length === 0
    ? invalid(first.field, first.message)
    : new InvalidRequest({ ...first, faults: [first, ...others] })
}

/** Decodes by a schema, and says what is wrong. */
const decoder = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = ParseResult.decodeUnknownEither(schema, { errors: "all" })
  return (value: unknown): Result.Result<A, InvalidRequest> => {
    const decoded = decode(value)
    return Either.isLeft(decoded) ? Result.fail(faultOf(decoded.left)) : Result.succeed(decoded.right)
  }
}

const decodeByIds = decoder(ByIds)
const decodeByQuery = decoder(ByQuery)

/**
 * Answers a refusal as JSON. Under overload most answers are refusals, so it makes no error for one, which would
 * collect a stack.
 */
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Schema from "effect/Schema"

/** A class of errors that crosses the wire as JSON, whose fields need no encoding. */
interface ErrorClass<in Fields> extends Schema.Schema.Any {
  readonly _tag: string
  new(fields: Fields): unknown
}

/** Looking at the annotations of a schema costs more than the answer. */
const statuses = new Map<unknown, number>()

const statusOf = (errors: Schema.Schema.Any): number => {
  let status = statuses.get(errors)
  if (status === undefined) statuses.set(errors, status = HttpApiSchema.getStatusErrorAST(errors.ast))
  return status
}

export const refuse = <Fields extends object>(
  errors: ErrorClass<Fields>,
  fields: NoInfer<Fields>,
  headers: Record<string, string> = {}
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson({ _tag: errors._tag, ...fields }, {
    status: statusOf(errors),
    headers
  })

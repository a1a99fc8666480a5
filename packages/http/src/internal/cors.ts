/**
 * CORS: the middleware of the platform, with the headers that the routes of this package accept and send.
 */
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import type { CheckedCors } from "./serverOptions.ts"

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

/** The middleware, for options that have been checked. */
export const makeCors = (
  { credentials, exposedHeaders, headers, maxAgeMillis, methods, origins }: CheckedCors
): HttpMiddleware.HttpMiddleware =>
  HttpMiddleware.cors({
    // Of the platform, none are all.
    allowedOrigins: origins === "*" ? [] : origins,
    ...methods === undefined ? {} : { allowedMethods: methods },
    allowedHeaders: [...requestHeaders, ...headers],
    exposedHeaders: [...answerHeaders, ...exposedHeaders],
    credentials,
    maxAge: Math.floor(maxAgeMillis / 1000)
  })

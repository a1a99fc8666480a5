/**
 * Lets an operator inspect and control queues, under `/admin`, with a bearer token. Without a token in the
 * configuration, these routes do not exist.
 *
 * @since 0.1.0
 */
import type * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApp from "@effect/platform/HttpApp"
import { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { InvalidOption, StoreUnavailable } from "@sluice/core/QueueError"
import type { Stats } from "@sluice/core/QueueStore"
import * as Result from "@sluice/core/Result"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Closing } from "./GracefulServer.ts"
import {
  InvalidRequest,
  NotOffered,
  QueueUnavailable,
  Unauthorized,
  UnknownDeadLetter,
  UnknownQueue
} from "./HttpError.ts"
import { HttpQueues, type Queues } from "./HttpQueues.ts"
import { mountedOf } from "./internal/mountedQueues.ts"
import type { DeadLetters } from "./HttpQueue.ts"
import { endWithClient } from "./internal/cutOff.ts"
import type { Watched } from "./internal/eventLog.ts"
import { readLetterCommand } from "./internal/letterCommand.ts"
import type { Mounted } from "./internal/mounted.ts"
import { checkToken, isSecret, tokenOf } from "./internal/secret.ts"
import { refuseOtherMethods } from "./internal/otherMethods.ts"
import * as ServerSentEvents from "./internal/serverSentEvents.ts"
import { type Admin, AdminAuthorization, type Drained, type Having, type QueueState } from "./SluiceApi.ts"

/**
 * The options.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What a request must carry as its bearer token, of at least 16 characters. Without it nothing is mounted. */
  readonly token: Redacted.Redacted | undefined
}

/** How often a draining queue is checked. */
const lookEveryMillis = 50

const find = (queues: Queues, name: string): Effect.Effect<Mounted, UnknownQueue> => {
  const mounted = mountedOf(queues).get(name)
  return mounted === undefined ? Effect.fail(new UnknownQueue({ queue: name })) : Effect.succeed(mounted)
}

const stateOf = (mounted: Mounted): Effect.Effect<typeof QueueState.Type> =>
  Effect.gen(function*() {
    const { deadLetters, name, pause, stats, system } = mounted.queue
    const { counts, droppedByReason, held, paused } = yield* mounted.status
    // An unavailable store must not hide what the process knows.
    const stored = stats === undefined ? Option.none<Stats>() : yield* Effect.option(stats)
    return {
      name,
      system,
      held,
      paused,
      draining: mounted.isDraining,
      drainedPerSecond: mounted.drainedPerSecond,
      stalledForMillis: (yield* mounted.stalledForMillis) ?? null,
      operations: [
        ...pause === undefined ? [] : ["pause" as const],
        "resume" as const,
        "drain" as const,
        ...deadLetters === undefined ? [] : ["deadLetters" as const]
      ],
      counts,
      droppedByReason,
      store: Option.getOrNull(Option.map(stored, ({ dead, heldUntilMillis, newer, oldestAtMillis, pending }) => ({
        pending,
        dead,
        newer,
        oldestAgeMillis: oldestAtMillis === undefined
          ? null
          : Math.max(0, mounted.clock.unsafeCurrentTimeMillis() - oldestAtMillis),
        heldUntilMillis: heldUntilMillis ?? null
      })))
    }
  })

const withDeadLetters = <A, E>(
  queues: Queues,
  name: string,
  use: (deadLetters: DeadLetters) => Effect.Effect<A, E | StoreUnavailable>
): Effect.Effect<A, UnknownQueue | NotOffered | QueueUnavailable | Exclude<E, StoreUnavailable>> =>
  Effect.gen(function*() {
    const { queue: { deadLetters } } = yield* find(queues, name)
    if (deadLetters === undefined) return yield* new NotOffered({ queue: name, operation: "deadLetters" })
    return yield* Effect.mapError(use(deadLetters), (error) =>
      isStoreUnavailable(error)
        ? new QueueUnavailable({ queue: name, reason: "store", taken: 0 })
        : error as Exclude<E, StoreUnavailable>)
  })

const tagOf = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "_tag" in error ? error._tag : undefined

const isStoreUnavailable = (error: unknown): error is StoreUnavailable => tagOf(error) === "StoreUnavailable"

const isInvalidOption = (error: unknown): error is InvalidOption => tagOf(error) === "InvalidOption"

/** What the queue knows better than the description of the API. */
const asRequest = <A, E>(effect: Effect.Effect<A, E | InvalidOption>) =>
  Effect.mapError(effect, (error) =>
    isInvalidOption(error)
      ? new InvalidRequest({ field: error.field, message: `it must be ${error.limit}` })
      : error as Exclude<E, InvalidOption>)

/** Changes the dead letters that the body of a request selects, and returns how many it changed. */
const changeLetters = (
  queues: Queues,
  name: string,
  request: HttpServerRequest,
  operation: "redrive" | "discard"
) =>
  withDeadLetters(queues, name, (deadLetters) =>
    Effect.gen(function*() {
      const { options, which } = yield* readLetterCommand(request)
      return HttpServerResponse.unsafeJson(yield* asRequest(deadLetters[operation](which, options)))
    }))

/** Refuses further items for a queue, and waits until it is empty. */
const drain = (mounted: Mounted, timeoutMillis: number): Effect.Effect<typeof Drained.Type> =>
  Effect.gen(function*() {
    mounted.isDraining = true
    const { flush, stats } = mounted.queue
    const look = Effect.gen(function*() {
      const { held } = yield* mounted.status
      // If the store is unavailable, it is unknown whether it is empty.
      const stored = stats === undefined ? Option.none<Stats>() : yield* Effect.option(stats)
      const pending = Option.match(stored, { onNone: () => 0, onSome: ({ pending }) => pending.items })
      const isKnown = stats === undefined || Option.isSome(stored)
      return { drained: held === 0 && pending === 0 && isKnown, held, pending }
    })
    const empty = Effect.repeat(Effect.delay(look, lookEveryMillis), { until: ({ drained }) => drained })
    // Items that cannot be flushed are still held, and the answer says so.
    const wait = Effect.zipRight(
      Effect.ignore(flush),
      Effect.flatMap(look, ({ drained }) => drained ? Effect.void : empty)
    )
    yield* Effect.timeoutOption(wait, timeoutMillis)
    return yield* look
  })

const live = (queues: Queues, queue: string | undefined, lastId: string | undefined) =>
  Effect.map(Closing, (closing) => {
    const events = Stream.map(mountedOf(queues).log.live(queue, lastId), asServerSent)
    return HttpServerResponse.stream(Stream.interruptWhen(ServerSentEvents.encode(events), closing.await), {
      contentType: "text/event-stream",
      headers: { "cache-control": "no-cache", "x-accel-buffering": "no" }
    })
  })

const asServerSent = (watched: Watched): ServerSentEvents.ServerSentEvent => {
  switch (watched._tag) {
    case "Begun":
      // A client that is cut off before the first event also knows where to continue.
      return { id: watched.id, retryMillis: 1000 }
    case "Event":
      return { id: watched.id, type: watched.recorded.event._tag, data: watched.recorded }
    case "Missed":
      // Without an id: a client that is cut off before the next event gets it again.
      return { type: "Missed", data: { missed: watched.missed } }
  }
}

/** A browser without an id sends no header; other clients send an empty one. */
const lastIdOf = ({ headers }: HttpServerRequest): string | undefined => headers["last-event-id"]?.trim() || undefined

/**
 * Implements the group `queueAdmin` of an API. Without a token, its routes do not exist and answer 404.
 *
 * **Errors**: `InvalidOption` if the token is too short.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <ApiId extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<ApiId, Groups, E, R> & Having<"queueAdmin", Groups>,
  { token }: Options
): Layer.Layer<HttpApiGroup.ApiGroup<ApiId, "queueAdmin">, InvalidOption, HttpQueues> => {
  // The service of a group only exists in the types.
  if (token === undefined) return Layer.empty as Layer.Layer<any>
  const handlers = HttpApiBuilder.group(
    api as unknown as HttpApi.HttpApi<ApiId, typeof Admin>,
    "queueAdmin",
    (handlers) =>
      Effect.map(HttpQueues, (queues) =>
        handlers
          .handle("list", () => Effect.forEach(mountedOf(queues).all, stateOf))
          .handle("state", ({ path }) => Effect.flatMap(find(queues, path.name), stateOf))
          .handle("events", ({ path, urlParams }) =>
            Effect.map(find(queues, path.name), () => mountedOf(queues).log.recent(path.name, urlParams.limit)))
          .handleRaw("live", ({ request, urlParams: { queue } }) =>
            Effect.zipRight(
              queue === undefined ? Effect.void : find(queues, queue),
              live(queues, queue, lastIdOf(request))
            ))
          .handle("deadLetters", ({ path, urlParams }) =>
            withDeadLetters(queues, path.name, ({ list }) =>
              asRequest(list(urlParams))))
          .handle("inspect", ({ path: { id, name } }) =>
            withDeadLetters(queues, name, ({ inspect }) =>
              Effect.flatMap(inspect(id), (letter) => {
                if (Option.isNone(letter)) {
                  return Effect.fail(new UnknownDeadLetter({ queue: name, id }))
                }
                const { content, ...rest } = letter.value
                return Effect.succeed({
                  ...rest,
                  content: Result.isSuccess(content) ? content.success : null,
                  unreadable: Result.isFailure(content) ? content.failure : null
                })
              })))
          .handleRaw("redrive", ({ path, request }) =>
            changeLetters(queues, path.name, request, "redrive"))
          .handleRaw("discard", ({ path, request }) =>
            changeLetters(queues, path.name, request, "discard"))
          .handle("pause", ({ path: { name } }) =>
            Effect.flatMap(find(queues, name), (mounted) => {
              const { pause } = mounted.queue
              return pause === undefined
                ? Effect.fail(new NotOffered({ queue: name, operation: "pause" }))
                : Effect.zipRight(pause, stateOf(mounted))
            }))
          .handle("resume", ({ path: { name } }) =>
            Effect.flatMap(find(queues, name), (mounted) => {
              mounted.isDraining = false
              return Effect.zipRight(mounted.queue.resume ?? Effect.void, stateOf(mounted))
            }))
          .handle("drain", ({ path: { name }, urlParams: { timeoutMillis } }) =>
            Effect.flatMap(find(queues, name), (mounted) =>
              drain(mounted, timeoutMillis))))
  )
  const refused = Effect.zipRight(
    HttpApp.appendPreResponseHandler((_, response) =>
      Effect.succeed(HttpServerResponse.setHeader(response, "www-authenticate", "Bearer"))
    ),
    Effect.fail(new Unauthorized({ message: "a bearer token is required" }))
  )
  const authorization = Layer.effect(
    AdminAuthorization,
    Effect.as(checkToken("Admin", token), {
      // The platform decodes everything after the first seven characters.
      bearer: () =>
        Effect.flatMap(HttpServerRequest, (request) => {
          endWithClient(request)
          return isSecret(tokenOf(request.headers["authorization"]), token) ? Effect.void : refused
        })
    })
  )
  return Layer.merge(Layer.provide(handlers, authorization), refuseOtherMethods(api, "queueAdmin"))
}

/**
 * Like `layer`, with the token from a `Config`: by default `SLUICE_ADMIN_TOKEN`. Without it, nothing is mounted.
 *
 * **Errors**: `ConfigError`, `InvalidOption`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <ApiId extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<ApiId, Groups, E, R> & Having<"queueAdmin", Groups>,
  token: Config.Config<Option.Option<Redacted.Redacted>> = Config.option(Config.redacted("SLUICE_ADMIN_TOKEN"))
): Layer.Layer<HttpApiGroup.ApiGroup<ApiId, "queueAdmin">, InvalidOption | ConfigError.ConfigError, HttpQueues> =>
  Layer.unwrapEffect(Effect.map(token, (token) => layer(api, { token: Option.getOrUndefined(token) })))

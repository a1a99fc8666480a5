/**
 * The queues that a server takes items in for, operates and watches, and what it measures of them: how fast each drains,
 * whether it makes progress, and what has happened in it of late.
 *
 * @since 0.1.0
 */
import * as Check from "@sluice/core/unstable/OptionCheck"
import { InvalidOption } from "@sluice/core/QueueError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { HttpQueue } from "./HttpQueue.ts"
import * as EventLog from "./internal/eventLog.ts"
import { isTracing } from "@sluice/core/unstable/Fibers"
import { measure, Mounted } from "./internal/mounted.ts"
import { type MountedQueues, mountedQueues } from "./internal/mountedQueues.ts"

/**
 * The queues of a server. Only `layer` makes them: a server dies of a double.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queues {
  /** Their names in the URL, in the order in which they were mounted. */
  readonly names: ReadonlyArray<string>
  readonly limits: Limits
}

/**
 * The tag of the queues.
 *
 * @since 0.1.0
 * @category tags
 */
export class HttpQueues extends Context.Tag("@sluice/http/HttpQueues")<HttpQueues, Queues>() {}

/**
 * How large a request may be, and for how long it may wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  readonly maxBodyBytes: number
  readonly maxLineBytes: number
  readonly maxStreamWaitMillis: number
}

/**
 * The options, with their defaults.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How large a JSON body may be, in bytes. Default: 1 MiB. */
  readonly maxBodyBytes?: number | undefined
  /** How large a line of NDJSON may be, in bytes; a stream may have any number of them. Default: 1 MiB. */
  readonly maxLineBytes?: number | undefined
  /**
   * For how long, in all, a stream of NDJSON may wait while its body is being sent: for room, where the policy of its
   * queue is `suspend`, for the store, or for what is to be settled. Then it is answered with how many of its items are
   * in, and when to come again. The server must allow a request more than that, and the time in which it is sent:
   * `requestTimeout` of Node, or it cuts the request and says nothing of its items. More than 0; `Duration.infinity` is
   * no limit. Default: 1 minute.
   */
  readonly maxStreamWait?: Duration.DurationInput | undefined
  /**
   * For how long an `Idempotency-Key` is remembered where the queue keeps its items in memory, and which body it belongs
   * to of every queue. A queue with a store remembers it there, for its own `idWindow`. Default: 1 hour.
   */
  readonly idempotencyWindow?: Duration.DurationInput | undefined
  /** How many keys are remembered in memory for each queue; then the oldest is forgotten. Default: 100,000. */
  readonly maxIdempotencyKeys?: number | undefined
  /** How long a queue that holds items may make no progress before it counts as stalled. Default: 1 minute. */
  readonly stalledAfter?: Duration.DurationInput | undefined
  /**
   * How many events of each queue are kept, to be looked at later. With 0 none are, nobody can watch live, and the queues
   * make no events for it. Default: 100.
   */
  readonly recentEvents?: number | undefined
}

/** What mounts fail with and need; of no mounts, nothing. */
type Failure<Mount> = [Mount] extends [Effect.Effect<any, infer E, any>] ? E : never
type Needs<Mount> = [Mount] extends [Effect.Effect<any, any, infer R>] ? R : never

const defaultBytes = 1024 * 1024

/**
 * Mounts queues that are in the context. Their names are those in the URL.
 *
 * **Errors**: `InvalidOption`, also where two queues have one name.
 *
 * @example
 * ```ts
 * import { WriteBehind } from "@sluice/core"
 * import { HttpQueue, HttpQueues } from "@sluice/http"
 * import { Console, Context, Layer, Schema } from "effect"
 *
 * const Reading = Schema.Struct({ sensor: Schema.String, celsius: Schema.Number })
 * class Readings extends Context.Tag("app/Readings")<Readings, WriteBehind.WriteBehind<typeof Reading.Type>>() {}
 *
 * const ReadingsLive = WriteBehind.layer(Readings, {
 *   name: "readings",
 *   capacity: 10_000,
 *   flush: (batch) => Console.log(batch.items.length)
 * })
 *
 * const QueuesLive = HttpQueues.layer([HttpQueue.writeBehind(Readings, { schema: Reading })]).pipe(
 *   Layer.provide(ReadingsLive)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const Mounts extends ReadonlyArray<Effect.Effect<HttpQueue, any, any>>>(
  queues: Mounts,
  options: Options = {}
): Layer.Layer<
  HttpQueues,
  InvalidOption | Failure<Mounts[number]>,
  Needs<Mounts[number]>
> =>
  Layer.scoped(
    HttpQueues,
    Effect.gen(function*() {
      const { maxBodyBytes = defaultBytes, maxLineBytes = defaultBytes } = options
      const { maxIdempotencyKeys = 100_000, recentEvents = 100 } = options
      yield* Check.positiveInteger("HttpQueues", "maxBodyBytes", maxBodyBytes)
      yield* Check.positiveInteger("HttpQueues", "maxLineBytes", maxLineBytes)
      yield* Check.positiveInteger("HttpQueues", "maxIdempotencyKeys", maxIdempotencyKeys)
      yield* Check.check(
        Number.isSafeInteger(recentEvents) && recentEvents >= 0,
        "HttpQueues",
        "recentEvents",
        recentEvents,
        "an integer of at least 0"
      )
      const windowMillis = yield* Check.millis("HttpQueues", "idempotencyWindow", options.idempotencyWindow ?? "1 hour")
      const stalledAfterMillis = yield* Check.millis("HttpQueues", "stalledAfter", options.stalledAfter ?? "1 minute")
      const maxStreamWaitMillis = yield* Check.millis(
        "HttpQueues",
        "maxStreamWait",
        options.maxStreamWait ?? "1 minute"
      )
      yield* Check.check(
        maxStreamWaitMillis > 0,
        "HttpQueues",
        "maxStreamWait",
        options.maxStreamWait,
        "a duration of more than 0"
      )
      const clock = yield* Effect.clock
      const tracing = yield* isTracing
      const byName = new Map<string, Mounted>()
      for (const mount of queues) {
        const queue: HttpQueue = yield* mount
        if (byName.has(queue.name)) {
          return yield* new InvalidOption({
            queue: "HttpQueues",
            field: "queues",
            value: queue.name,
            limit: "queues of different names"
          })
        }
        byName.set(
          queue.name,
          new Mounted(queue, clock, { windowMillis, maxIdempotencyKeys, stalledAfterMillis, tracing })
        )
      }
      const all = Array.from(byName.values())
      yield* measure(all)
      const log = yield* EventLog.make(all.map(({ queue }) => queue), recentEvents)
      const mounted: MountedQueues = { get: (name) => byName.get(name), all, log }
      return {
        names: Array.from(byName.keys()),
        limits: { maxBodyBytes, maxLineBytes, maxStreamWaitMillis },
        [mountedQueues]: mounted
      }
    })
  ) as Layer.Layer<HttpQueues, any, any>

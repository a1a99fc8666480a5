/**
 * The queues of a server, and what it measures: how fast each queue drains, whether it makes progress, and its recent
 * events.
 *
 * @since 0.1.0
 */
import * as Table from "@sluice/core/unstable/OptionTable"
import { InvalidOption } from "@sluice/core/QueueError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { HttpQueue } from "./HttpQueue.ts"
import * as EventLog from "./internal/eventLog.ts"
import { isTracing } from "@sluice/core/unstable/Fibers"
import { measure, Mounted } from "./internal/mounted.ts"
import { type MountedQueues, mountedQueues } from "./internal/mountedQueues.ts"
import { type Options, table } from "./internal/queuesOptions.ts"

/**
 * The queues of a server. Only `layer` makes them: a server dies with a test double.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queues {
  /** The names in the URL, in the order in which the queues were mounted. */
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
 * How large a request may be, and how long it may wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  readonly maxBodyBytes: number
  readonly maxLineBytes: number
  readonly maxStreamWaitMillis: number
}

export type { Options }

/** The errors and requirements of mounts; none for no mounts. */
type Failure<Mount> = [Mount] extends [Effect.Effect<any, infer E, any>] ? E : never
type Needs<Mount> = [Mount] extends [Effect.Effect<any, any, infer R>] ? R : never

/**
 * Mounts queues from the context. Their names are the names in the URL.
 *
 * **Errors**: `InvalidOption`, also if two queues have the same name.
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
      const checked = yield* Table.check(table, "HttpQueues", options)
      const { maxBodyBytes, maxLineBytes, maxStreamWaitMillis } = checked
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
          new Mounted(queue, clock, { ...checked, windowMillis: checked.idempotencyWindowMillis, tracing })
        )
      }
      const all = Array.from(byName.values())
      yield* measure(all)
      const log = yield* EventLog.make(all.map(({ queue }) => queue), checked.recentEvents)
      const mounted: MountedQueues = { get: (name) => byName.get(name), all, log }
      return {
        names: Array.from(byName.keys()),
        limits: { maxBodyBytes, maxLineBytes, maxStreamWaitMillis },
        [mountedQueues]: mounted
      }
    })
  ) as Layer.Layer<HttpQueues, any, any>

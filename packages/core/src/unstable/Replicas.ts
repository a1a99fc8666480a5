/**
 * Tracks the open queues of this process, so that the metrics of queues with the same name can be told apart. A queue
 * that wrote the gauges of another would make both wrong.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import type * as Scope from "effect/Scope"

/** Queues that share their counts, and so their metrics. */
interface Place {
  readonly owner: unknown
  open: number
}

/** By the tags of their metrics. There is one registry of metrics, so there is one of these. */
const places = globalValue(
  "@sluice/core/replicas",
  () => new Map<string, Array<Place | undefined>>()
)

const enter = (tags: string, owner: unknown): readonly [Array<Place | undefined>, number] => {
  let row = places.get(tags)
  if (row === undefined) places.set(tags, row = [])
  const shared = row.findIndex((place) => place?.owner === owner)
  const free = row.findIndex((place) => place === undefined)
  const at = shared >= 0 ? shared : free >= 0 ? free : row.length
  const place = row[at] ??= { owner, open: 0 }
  place.open += 1
  return [row, at]
}

const leave = (tags: string, row: Array<Place | undefined>, at: number): void => {
  const place = row[at]!
  place.open -= 1
  if (place.open > 0) return
  row[at] = undefined
  if (row.every((other) => other === undefined)) places.delete(tags)
}

/**
 * The number of a queue among the open queues whose metrics have the same tags: the lowest free number, from 1, or the
 * number of queues with the same owner. Closing the scope frees it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const replicaOf = (
  tags: ReadonlyArray<unknown>,
  owner: unknown = {}
): Effect.Effect<number, never, Scope.Scope> => {
  const key = JSON.stringify(tags)
  return Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => enter(key, owner)),
      ([row, at]) => Effect.sync(() => leave(key, row, at))
    ),
    ([, at]) => at + 1
  )
}

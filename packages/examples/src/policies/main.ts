/**
 * Shows `KeepHighest` on a `WriteBehind`: while the store is away, thousands of alerts come in, and when it is back the
 * most severe ones are written. Then compares what was written with what sorting all alerts gives.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { WriteBehind } from "@sluice/core"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import { keepHighest } from "./KeepHighest.ts"

interface Alert {
  readonly id: number
  readonly severity: number
}

class Alerts extends Context.Tag("policies/Alerts")<Alerts, WriteBehind.WriteBehind<Alert>>() {}

const capacity = 20
const offered = 5_000

/** The queue flushes when its scope closes and not before: as if the store were away until then. */
const alertsLive = (written: Array<Alert>, dropped: Map<string, number>): Layer.Layer<Alerts, unknown> =>
  WriteBehind.layer(Alerts, {
    name: "alerts",
    capacity,
    policy: keepHighest((alert: Alert) => alert.severity),
    batchSize: capacity + 1,
    flushInterval: 0,
    flush: ({ items }) =>
      Effect.sync(() => {
        written.push(...items)
      }),
    onDrop: (_, reason) => {
      dropped.set(reason, (dropped.get(reason) ?? 0) + 1)
    }
  })

/** Severities from 1 to 1000: so many alerts are bound to have equals. */
const makeAlerts = Effect.forEach(
  Array.from({ length: offered }, (_, id) => id),
  (id) => Effect.map(Random.nextIntBetween(1, 1001), (severity): Alert => ({ id, severity }))
).pipe(Effect.withRandom(Random.make("keep the highest")))

/** The most severe, and among equals those that came first; in the order in which they came. */
const expectedOf = (alerts: ReadonlyArray<Alert>): ReadonlyArray<Alert> =>
  [...alerts].sort((a, b) => b.severity - a.severity || a.id - b.id).slice(0, capacity).sort((a, b) => a.id - b.id)

const idsOf = (alerts: ReadonlyArray<Alert>): string => alerts.map(({ id }) => id).join(" ")

const program = Effect.gen(function*() {
  const alerts = yield* makeAlerts
  const written: Array<Alert> = []
  const dropped = new Map<string, number>()
  const metrics = yield* Effect.gen(function*() {
    const queue = yield* Alerts
    yield* queue.offerAll(alerts)
    return queue.metrics
  }).pipe(
    // Closes the scope: the queue is drained.
    Effect.provide(alertsLive(written, dropped)),
    Effect.flatten
  )
  const rows = written.map(({ id, severity }) => `alert ${id}, severity ${severity}`)
  const reasons = [...dropped].map(([reason, count]) => `${count} ${reason}`)
  yield* Console.log(`kept ${written.length} of ${offered} alerts:\n  ${rows.join("\n  ")}`)
  yield* Console.log(`dropped: ${reasons.join(", ")}`)

  const adds = metrics.offered === offered && metrics.settled === capacity
    && metrics.dropped === offered - capacity && [...dropped.values()].reduce((a, b) => a + b, 0) === metrics.dropped
  if (!adds || idsOf(written) !== idsOf(expectedOf(alerts))) {
    yield* Effect.fail(new Error(`expected alerts ${idsOf(expectedOf(alerts))}`))
  }
  yield* Console.log("These are the most severe ones, in the order in which they came.")
})

NodeRuntime.runMain(program)

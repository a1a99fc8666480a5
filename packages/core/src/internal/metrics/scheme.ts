/**
 * The one table of metrics: what each count and each reading is called, whichever system it is of. `QueueMetrics` tells
 * of the scheme.
 */
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import { triggers } from "../../Batch.ts"
import { labelled } from "./labelled.ts"

type Described = readonly [name: string, description: string]

/** Totals. */
const counters = {
  offered: ["sluice_items_offered_total", "Items offered"],
  refused: ["sluice_items_refused_total", "Items refused"],
  coalesced: ["sluice_items_coalesced_total", "Items that replaced or were merged into a waiting one"],
  duplicates: ["sluice_items_duplicates_total", "Items that had been stored before"],
  cancelled: ["sluice_items_cancelled_total", "Items taken out by their callers before they ran"],
  batches: ["sluice_batches_total", "Batches handled, each counted once"],
  batchesFailed: ["sluice_batches_failed_total", "Attempts at a batch that failed"],
  retries: ["sluice_batch_retries_total", "Attempts at a batch after the first"],
  conflicts: ["sluice_version_conflicts_total", "Items that ran once more, because their version was taken"],
  loads: ["sluice_loads_total", "Resources loaded"],
  saves: ["sluice_saves_total", "Resources saved"]
} satisfies Record<string, Described>

/** Totals that are the parts of one: what is settled has an outcome. */
const outcomes = ["succeeded", "rejected", "failed"] as const
const settled: Described = ["sluice_items_settled_total", "Items settled"]

/** Totals by name, with the tag that the name becomes, and the names that are there from the start. */
const named = {
  droppedByReason: ["sluice_items_dropped_total", "Items dropped", "reason", []],
  storedByTrigger: ["sluice_items_stored_total", "Items stored", "trigger", triggers],
  batchesByTrigger: [...counters.batches, "trigger", triggers]
} satisfies Record<string, readonly [...Described, tag: string, known: ReadonlyArray<string>]>

/** Readings. */
const gauges = {
  held: ["sluice_held_items", "Items that are not settled yet: waiting for room, waiting, or in flight"],
  depth: ["sluice_depth_items", "Items waiting in the queue"],
  inFlight: ["sluice_in_flight_items", "Items being handled"],
  pendingBatches: ["sluice_pending_batches", "Batches stored and not done"],
  pendingItems: ["sluice_pending_items", "Items stored and not done"],
  deadBatches: ["sluice_dead_batches", "Dead letters"],
  deadItems: ["sluice_dead_items", "Items of dead letters"],
  newerBatches: ["sluice_newer_batches", "Batches stored that only a newer version can read"]
} satisfies Record<string, Described>

/** Readings in milliseconds, which are published in seconds. */
const spans = {
  oldestAgeMillis: ["sluice_oldest_age_seconds", "Age of the oldest item that waits"],
  holdMillis: ["sluice_hold_seconds", "How long nothing is claimed yet, because the queue is held"]
} satisfies Record<string, Described>

type Named = keyof typeof named
type Plain = keyof typeof counters | typeof outcomes[number] | keyof typeof gauges | keyof typeof spans

/** What can be published. */
export type Field = Named | Plain

/** What is published: the totals and readings of these fields, as they are now. */
export type Counts<F extends Field> =
  & { readonly [N in F & Plain]: number }
  & { readonly [N in F & Named]: Readonly<Record<string, number>> }

type Labels = ReadonlyArray<MetricLabel.MetricLabel>
type Make = ReturnType<typeof labelled>

const has = <O extends object>(table: O, field: PropertyKey): field is keyof O => Object.hasOwn(table, field)

/** Publishes totals by name. */
const publishNamed = (
  make: Make,
  [name, description, tag, known]: readonly [...Described, string, ReadonlyArray<string>]
) => {
  const publish = new Map<string, (total: number) => void>()
  const of = (value: string) => {
    const made = make.counter(name, description, MetricLabel.make(tag, value))
    publish.set(value, made)
    return made
  }
  for (const value of known) of(value)
  return (totals: Readonly<Record<string, number>>): void => {
    for (const value in totals) (publish.get(value) ?? of(value))(totals[value])
  }
}

const publishField = (make: Make, field: Field): (value: any) => void => {
  if (has(named, field)) return publishNamed(make, named[field])
  if (has(counters, field)) return make.counter(...counters[field] as Described)
  if (has(gauges, field)) return make.gauge(...gauges[field] as Described)
  if (has(spans, field)) {
    const update = make.gauge(...spans[field] as Described)
    return (millis: number) => update(millis / 1000)
  }
  return make.counter(...settled, MetricLabel.make("outcome", field))
}

/** Publishes the counts of these fields under their names. */
export const publisher = <F extends Field>(labels: Labels, fields: ReadonlyArray<F>): (counts: Counts<F>) => void => {
  const make = labelled(labels)
  const updates = fields.map((field) => [field, publishField(make, field)] as const)
  return (counts) => {
    for (const [field, update] of updates) update(counts[field])
  }
}

/** From a tenth of a millisecond to a minute and more, in seconds. */
const durationBoundaries = MetricBoundaries.exponential({ start: 0.0001, factor: 2, count: 21 })

/** Records how long a batch took, in milliseconds, which are published in seconds. */
export const batchDuration = (labels: Labels, boundaries = durationBoundaries): (millis: number) => void => {
  const record = labelled(labels).histogram(
    "sluice_batch_duration_seconds",
    boundaries,
    "Duration of an attempt at a batch"
  )
  return (millis) => record(millis / 1000)
}

/** What a tag of the user's must not be called. */
export const reservedTags: ReadonlySet<string> = new Set(["system", "queue", "replica", "outcome", "reason", "trigger"])

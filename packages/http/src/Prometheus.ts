/**
 * Effect's metrics as the text that Prometheus scrapes: format version 0.0.4.
 *
 * Each name becomes one family. Characters other than letters, digits, `_` and `:` become `_`. A counter that may go
 * down becomes a gauge; a frequency becomes a counter with a label `key`.
 *
 * Nothing is left out. A metric, label or series that cannot keep its name gets another one, and is counted in
 * `sluice_prometheus_renamed`. This gauge has a label `what`, and is only present if it is not 0:
 *
 * | `what` | which | its name |
 * | --- | --- | --- |
 * | `metric` | its name, or that of one of its series such as `_count`, is another metric's | with its type behind: `name_gauge` |
 * | `label` | it begins with `__`, or is `le` of a histogram, `quantile` of a summary, `key` of a frequency | `exported_le` |
 * | `label` | it is the same as another of the metric once it is written | `name_2` |
 * | `label` | a tag that was given again: the last one counts | |
 * | `series` | it has the name and the labels of another | with a label `duplicate="2"` |
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"
import { Exposition, type Sample, type Type } from "./internal/exposition.ts"

/**
 * The content type of a response with this text.
 *
 * @since 0.1.0
 * @category constants
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

/**
 * Writes metrics, with families ordered by name.
 *
 * @since 0.1.0
 * @category conversions
 */
export const format = (pairs: Iterable<MetricPair.MetricPair.Untyped>): string => {
  const exposition = new Exposition()
  for (const { metricKey, metricState } of pairs) {
    const key = metricKey as MetricKey.MetricKey.Untyped
    const type = typeOf(key, metricState)
    if (type === undefined) continue
    exposition.add({
      name: key.name,
      type,
      help: Option.getOrElse(key.description, () => ""),
      tags: key.tags,
      ownLabel: ownLabelOf(metricState),
      samples: samplesOf(metricState)
    })
  }
  for (const [what, count] of Object.entries({ ...exposition.renamed })) {
    if (count > 0) exposition.add(renamed(what, count))
  }
  return exposition.toString()
}

/**
 * The metrics of this process, now.
 *
 * @since 0.1.0
 * @category conversions
 */
export const snapshot: Effect.Effect<string> = Effect.map(Metric.snapshot, format)

const renamed = (what: string, count: number) => ({
  name: "sluice_prometheus_renamed",
  type: "gauge" as const,
  help: "How many metrics, labels and series of this text had to be renamed",
  tags: [{ key: "what", value: what }],
  ownLabel: undefined,
  samples: [{ suffix: "" as const, value: String(count) }]
})

const typeOf = ({ keyType }: MetricKey.MetricKey.Untyped, state: unknown): Type | undefined => {
  // A counter of Effect may go down, a counter of Prometheus may not.
  if (MetricKeyType.isCounterKey(keyType)) return keyType.incremental ? "counter" : "gauge"
  if (MetricState.isGaugeState(state)) return "gauge"
  if (MetricState.isHistogramState(state)) return "histogram"
  if (MetricState.isSummaryState(state)) return "summary"
  return MetricState.isFrequencyState(state) ? "counter" : undefined
}

const ownLabelOf = (state: unknown): string | undefined => {
  if (MetricState.isFrequencyState(state)) return "key"
  if (MetricState.isHistogramState(state)) return "le"
  return MetricState.isSummaryState(state) ? "quantile" : undefined
}

const samplesOf = (state: unknown): ReadonlyArray<Sample> => {
  if (MetricState.isCounterState(state)) return [{ suffix: "", value: numberOf(state.count) }]
  if (MetricState.isGaugeState(state)) return [{ suffix: "", value: numberOf(state.value) }]
  if (MetricState.isFrequencyState(state)) {
    return Array.from(state.occurrences, ([key, count]) => ({ suffix: "", own: ["key", key], value: numberOf(count) }))
  }
  if (MetricState.isHistogramState(state)) {
    const buckets = Array.from(state.buckets).filter(([boundary]) => boundary !== Infinity)
    return [
      ...buckets.map(([boundary, count]) => bucket(numberOf(boundary), count)),
      bucket("+Inf", state.count),
      ...totals(state)
    ]
  }
  if (MetricState.isSummaryState(state)) {
    const quantiles = state.quantiles.map(([quantile, value]): Sample => ({
      suffix: "",
      own: ["quantile", numberOf(quantile)],
      value: numberOf(Option.getOrElse(value, () => NaN))
    }))
    return [...quantiles, ...totals(state)]
  }
  return []
}

const bucket = (le: string, count: number): Sample => ({ suffix: "_bucket", own: ["le", le], value: numberOf(count) })

const totals = ({ count, sum }: { readonly count: number; readonly sum: number }): ReadonlyArray<Sample> => [
  { suffix: "_sum", value: numberOf(sum) },
  { suffix: "_count", value: numberOf(count) }
]

const numberOf = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

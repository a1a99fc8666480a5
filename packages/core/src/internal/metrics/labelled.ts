/**
 * Metrics with the labels of one queue, set from totals and readings.
 */
import * as Metric from "effect/Metric"
import type * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

/** A counter that is told totals. */
const makeTotal = (key: MetricKey.MetricKey.Counter<number>): (total: number) => void => {
  const metric = Metric.fromMetricKey(key)
  // It exists from the start: otherwise a rate over it would miss the first increments.
  metric.unsafeUpdate(0, [])
  let published = 0
  return (total) => {
    // Nothing that was counted is taken back.
    if (total <= published) return
    metric.unsafeUpdate(total - published, [])
    published = total
  }
}

export const labelsOf = (system: string, queue: string, replica: number): ReadonlyArray<MetricLabel.MetricLabel> => [
  MetricLabel.make("system", system),
  MetricLabel.make("queue", queue),
  ...replica === 1 ? [] : [MetricLabel.make("replica", String(replica))]
]

/** Makes metrics with these labels. */
export const labelled = (labels: ReadonlyArray<MetricLabel.MetricLabel>) => ({
  counter: (name: string, description: string, ...extra: ReadonlyArray<MetricLabel.MetricLabel>) =>
    makeTotal(
      MetricKey.taggedWithLabels(MetricKey.counter(name, { description, incremental: true }), [...labels, ...extra])
    ),
  gauge: (name: string, description: string) => {
    const metric = Metric.fromMetricKey(MetricKey.taggedWithLabels(MetricKey.gauge(name, { description }), labels))
    return (value: number) => metric.unsafeUpdate(value, [])
  },
  histogram: (name: string, boundaries: MetricBoundaries.MetricBoundaries, description: string) => {
    const key = MetricKey.histogram(name, boundaries, description)
    const metric = Metric.fromMetricKey(MetricKey.taggedWithLabels(key, labels))
    return (value: number) => metric.unsafeUpdate(value, [])
  }
})

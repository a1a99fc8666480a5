/**
 * Metrics of a system under its own names, with the tags that `QueueMetrics` describes.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import { durationBoundaries, labelled, labelsOf } from "../internal/metrics/labelled.ts"

/**
 * Publishes counts under their names: a total for each counter, a reading for each gauge.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeCounts = <Counter extends string, Gauge extends string>(
  system: string,
  queue: string,
  replica: number,
  counters: Readonly<Record<Counter, readonly [name: string, description: string]>>,
  gauges: Readonly<Record<Gauge, readonly [name: string, description: string]>>
): (counts: Readonly<Record<Counter | Gauge, number>>) => void => {
  const { counter, gauge } = labelled(labelsOf(system, queue, replica))
  const updates: Array<readonly [string, (value: number) => void]> = []
  for (const name in counters) updates.push([name, counter(counters[name][0], counters[name][1])])
  for (const name in gauges) updates.push([name, gauge(gauges[name][0], gauges[name][1])])
  return (counts) => {
    for (const [name, update] of updates) update(counts[name as Counter | Gauge])
  }
}

/**
 * Records durations, in milliseconds, under a name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDuration = (
  system: string,
  queue: string,
  replica: number,
  name: string,
  description: string
): (millis: number) => void =>
  labelled(labelsOf(system, queue, replica)).histogram(name, durationBoundaries, description)

/**
 * Metrics of a system under the names and tags that `QueueMetrics` describes.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import { labelsOf } from "../internal/metrics/labelled.ts"
import * as Scheme from "../internal/metrics/scheme.ts"

/**
 * What can be published: fields of the snapshots that the systems return as `metrics`.
 *
 * @since 0.1.0
 * @category models
 */
export type Field = Scheme.Field

/**
 * The totals and readings of some fields.
 *
 * @since 0.1.0
 * @category models
 */
export type Counts<F extends Field> = Scheme.Counts<F>

/**
 * Publishes the counts of some fields: a total for each counter, a reading for each gauge.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeCounts = <F extends Field>(
  system: string,
  queue: string,
  replica: number,
  fields: ReadonlyArray<F>
): (counts: Counts<F>) => void => Scheme.publisher(labelsOf(system, queue, replica), fields)

/**
 * Records how long batches took, in milliseconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDuration = (system: string, queue: string, replica: number): (millis: number) => void =>
  Scheme.batchDuration(labelsOf(system, queue, replica))

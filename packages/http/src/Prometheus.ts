/**
 * Effect's metrics as the text that Prometheus scrapes: format version 0.0.4.
 *
 * A name becomes one family: what is not a letter, a digit, `_` or `:` becomes `_`. A counter that may go down becomes a
 * gauge, a frequency a counter with a label `key`. Where metrics of one name have different types, the later ones are told apart by their type.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricLabel from "effect/MetricLabel"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

/**
 * What a response with this text is.
 *
 * @since 0.1.0
 * @category constants
 */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

type Type = "counter" | "gauge" | "histogram" | "summary"

interface Family {
  readonly type: Type
  readonly help: string
  readonly lines: Array<string>
  /** The labels that were written: no series comes twice. */
  readonly series: Set<string>
}

/**
 * Writes metrics, families in the order of their names.
 *
 * @since 0.1.0
 * @category conversions
 */
export const format = (pairs: Iterable<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  for (const { metricKey, metricState } of pairs) {
    const key = metricKey as MetricKey.MetricKey.Untyped
    const type = typeOf(key, metricState)
    if (type === undefined) continue
    const [name, family] = familyOf(families, nameOf(key.name), type, Option.getOrElse(key.description, () => ""))
    const labels = labelsOf(key.tags, reservedLabel(metricState))
    const series = labels.join(",")
    if (family.series.has(series)) continue
    family.series.add(series)
    writeState(family.lines, name, labels, metricState)
  }
  const text: Array<string> = []
  for (const [name, { help, lines, type }] of Array.from(families).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0)) {
    if (help !== "") text.push(`# HELP ${name} ${escapeHelp(help)}`)
    text.push(`# TYPE ${name} ${type}`)
    for (const line of lines) text.push(line)
  }
  return text.length === 0 ? "" : `${text.join("\n")}\n`
}

/**
 * The metrics of this process, now.
 *
 * @since 0.1.0
 * @category conversions
 */
export const snapshot: Effect.Effect<string> = Effect.map(Metric.snapshot, format)

/** The names of the series of a family. */
const seriesOf = (name: string, type: Type): ReadonlyArray<string> => {
  switch (type) {
    case "histogram":
      return [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]
    case "summary":
      return [name, `${name}_sum`, `${name}_count`]
    default:
      return [name]
  }
}

const familyOf = (
  families: Map<string, Family>,
  base: string,
  type: Type,
  help: string
): readonly [name: string, family: Family] => {
  for (let name = base;; name = `${name}_${type}`) {
    const known = families.get(name)
    if (known?.type === type) return [name, known]
    const own = seriesOf(name, type)
    const isTaken = Array.from(families).some(([other, { type }]) =>
      seriesOf(other, type).some((series) => own.includes(series))
    )
    if (isTaken) continue
    const family: Family = { type, help, lines: [], series: new Set() }
    families.set(name, family)
    return [name, family]
  }
}

const typeOf = ({ keyType }: MetricKey.MetricKey.Untyped, state: unknown): Type | undefined => {
  // A counter of Effect's may go down, which one of Prometheus may not.
  if (MetricKeyType.isCounterKey(keyType)) return keyType.incremental ? "counter" : "gauge"
  if (MetricState.isGaugeState(state)) return "gauge"
  if (MetricState.isHistogramState(state)) return "histogram"
  if (MetricState.isSummaryState(state)) return "summary"
  return MetricState.isFrequencyState(state) ? "counter" : undefined
}

const writeState = (lines: Array<string>, name: string, labels: ReadonlyArray<string>, state: unknown): void => {
  const line = (suffix: string, more: ReadonlyArray<string>, value: number | bigint) => {
    const all = [...labels, ...more]
    lines.push(`${name}${suffix}${all.length === 0 ? "" : `{${all.join(",")}}`} ${numberOf(value)}`)
  }
  if (MetricState.isCounterState(state)) line("", [], state.count)
  else if (MetricState.isGaugeState(state)) line("", [], state.value)
  else if (MetricState.isFrequencyState(state)) {
    for (const [key, count] of state.occurrences) line("", [labelOf("key", key)], count)
  } else if (MetricState.isHistogramState(state)) {
    for (const [boundary, count] of state.buckets) {
      if (boundary !== Infinity) line("_bucket", [labelOf("le", numberOf(boundary))], count)
    }
    line("_bucket", [labelOf("le", "+Inf")], state.count)
    line("_sum", [], state.sum)
    line("_count", [], state.count)
  } else if (MetricState.isSummaryState(state)) {
    for (const [quantile, value] of state.quantiles) {
      line("", [labelOf("quantile", numberOf(quantile))], Option.getOrElse(value, () => NaN))
    }
    line("_sum", [], state.sum)
    line("_count", [], state.count)
  }
}

const numberOf = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

const nameOf = (name: string): string => {
  const legal = name.replace(/[^a-zA-Z0-9_:]/g, "_")
  return /^[a-zA-Z_:]/.test(legal) ? legal : `_${legal}`
}

/** The label that a metric of this kind has by itself. */
const reservedLabel = (state: unknown): string | undefined => {
  if (MetricState.isFrequencyState(state)) return "key"
  if (MetricState.isHistogramState(state)) return "le"
  return MetricState.isSummaryState(state) ? "quantile" : undefined
}

/** Of tags of the same name the last one counts. One that has the name of ours is named as Prometheus itself would. */
const labelsOf = (
  tags: ReadonlyArray<MetricLabel.MetricLabel>,
  reserved: string | undefined
): ReadonlyArray<string> => {
  const labels = new Map(tags.map(({ key, value }) => {
    const name = nameOf(key).replaceAll(":", "_")
    return [name === reserved ? `exported_${name}` : name, value]
  }))
  return Array.from(labels, ([name, value]) => labelOf(name, value)).sort()
}

const labelOf = (name: string, value: string): string => `${name}="${escapeLabel(value)}"`

const escapeHelp = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const escapeLabel = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\"", "\\\"")

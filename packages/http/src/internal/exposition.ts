/**
 * Families, labels and series of the text that Prometheus scrapes. Prometheus refuses a whole scrape with a reserved
 * name or a repeated label, and drops a repeated series. Here each gets a unique name, and is counted.
 *
 * The first one keeps its name. Effect lists its metrics in order of creation, so a name does not change while a
 * process lives.
 */

export type Type = "counter" | "gauge" | "histogram" | "summary"

export type Label = readonly [name: string, value: string]

/** A value, and which one of its metric it is. */
export interface Sample {
  /** What comes after the name of the family. */
  readonly suffix: "" | "_bucket" | "_sum" | "_count"
  /** The label that Prometheus, or the kind of the metric, asks for. */
  readonly own?: Label | undefined
  readonly value: string
}

export interface Metric {
  readonly name: string
  readonly type: Type
  readonly help: string
  readonly tags: ReadonlyArray<{ readonly key: string; readonly value: string }>
  /** The name of the label that its samples have of their own. */
  readonly ownLabel: string | undefined
  readonly samples: ReadonlyArray<Sample>
}

interface Family {
  readonly name: string
  readonly type: Type
  readonly help: string
  readonly lines: Array<string>
  /** The series that were written. */
  readonly series: Set<string>
}

/** The names of the series of a family. */
const suffixes: Readonly<Record<Type, ReadonlyArray<string>>> = {
  counter: [""],
  gauge: [""],
  histogram: ["", "_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"]
}

export class Exposition {
  /** How many had to be renamed. */
  readonly renamed = { metric: 0, label: 0, series: 0 }
  /** By what they are of: the name of the metric as it is, and its type. */
  private readonly families = new Map<string, Family>()
  private readonly taken = new Set<string>()

  add(metric: Metric): void {
    const family = this.familyOf(metric)
    const labels = this.labelsOf(metric)
    const mark = this.markOf(family, labels, metric.samples)
    const written = new Set<string>()
    for (const sample of metric.samples) {
      // What has two values of one label is told apart line by line.
      let more = mark
      while (written.has(seriesOf(sample, labels, more))) more += 1
      if (more !== mark) this.renamed.series += 1
      written.add(seriesOf(sample, labels, more))
      family.series.add(seriesOf(sample, labels, more))
      family.lines.push(lineOf(family.name, sample, withMark(labels, more)))
    }
  }

  /** The text: families in the order of their names. */
  toString(): string {
    const text: Array<string> = []
    const families = Array.from(this.families.values()).sort((a, b) => a.name < b.name ? -1 : 1)
    for (const { help, lines, name, type } of families) {
      if (help !== "") text.push(`# HELP ${name} ${escapeHelp(help)}`)
      text.push(`# TYPE ${name} ${type}`)
      for (const line of lines) text.push(line)
    }
    return text.length === 0 ? "" : `${text.join("\n")}\n`
  }

  private familyOf({ help, name, type }: Metric): Family {
    const of = `${type} ${name}`
    const known = this.families.get(of)
    if (known !== undefined) return known
    const base = legal(name)
    let free = base
    // Of a histogram `h`, `h_count` is taken as well.
    while (suffixes[type].some((suffix) => this.taken.has(free + suffix))) free = `${free}_${type}`
    if (free !== base) this.renamed.metric += 1
    for (const suffix of suffixes[type]) this.taken.add(free + suffix)
    const family: Family = { name: free, type, help, lines: [], series: new Set() }
    this.families.set(of, family)
    return family
  }

  private labelsOf({ ownLabel, tags }: Metric): ReadonlyArray<Label> {
    // A repeated tag with the same name overrides the value.
    const given = new Map(tags.map(({ key, value }) => [key, value]))
    this.renamed.label += tags.length - given.size
    const labels = new Map<string, string>()
    const isOwn = (name: string) => name === ownLabel || name.startsWith("__")
    const isKept = (key: string) => labelNameOf(key) === key && !isOwn(key)
    // Names that can stay do, regardless of the others.
    for (const [key, value] of given) if (isKept(key)) labels.set(key, value)
    for (const [key, value] of Array.from(given).sort(([a], [b]) => a < b ? -1 : 1)) {
      if (isKept(key)) continue
      const name = labelNameOf(key)
      // As Prometheus itself names a label that stands in the way of one of its own.
      const wanted = isOwn(name) ? `exported_${name}` : name
      const free = freeName(wanted, (name) => labels.has(name) || name === ownLabel)
      if (free !== name) this.renamed.label += 1
      labels.set(free, value)
    }
    return sorted(Array.from(labels, ([name, value]): Label => [name, wellFormed(value)]))
  }

  /** Which one it is of those with the same name and labels: 1 is the first, which stays as it is. */
  private markOf(family: Family, labels: ReadonlyArray<Label>, samples: ReadonlyArray<Sample>): number {
    let mark = 1
    while (samples.some((sample) => family.series.has(seriesOf(sample, labels, mark)))) mark += 1
    if (mark > 1) this.renamed.series += 1
    return mark
  }
}

const sorted = (labels: Array<Label>): ReadonlyArray<Label> => labels.sort(([a], [b]) => a < b ? -1 : 1)

const freeName = (wanted: string, isTaken: (name: string) => boolean): string => {
  // A suffix of `_` must not make a reserved name.
  const base = wanted === "_" ? "" : wanted
  let free = wanted
  for (let n = 2; isTaken(free); n++) free = `${base}_${n}`
  return free
}

const withMark = (labels: ReadonlyArray<Label>, mark: number): ReadonlyArray<Label> => {
  if (mark === 1) return labels
  const name = freeName("duplicate", (name) => labels.some(([taken]) => taken === name))
  return sorted([...labels, [name, String(mark)]])
}

/** What Prometheus tells series apart by: to it, a label that is empty is not there. */
const seriesOf = ({ own, suffix }: Sample, labels: ReadonlyArray<Label>, mark: number): string => {
  const all: Array<Label> = withMark(labels, mark).filter(([, value]) => value !== "")
  if (own !== undefined && own[1] !== "") all.push([own[0], wellFormed(own[1])])
  return JSON.stringify([suffix, sorted(all)])
}

const lineOf = (name: string, { own, suffix, value }: Sample, labels: ReadonlyArray<Label>): string => {
  const all = own === undefined ? labels : [...labels, own]
  const text = all.map(([name, value]) => `${name}="${escapeLabel(wellFormed(value))}"`).join(",")
  return `${name}${suffix}${text === "" ? "" : `{${text}}`} ${value}`
}

const legal = (name: string): string => {
  const word = name.replace(/[^a-zA-Z0-9_:]/g, "_")
  return word === "" || /^[0-9]/.test(word) ? `_${word}` : word
}

const labelNameOf = (key: string): string => legal(key).replaceAll(":", "_")

/** As it comes out of UTF-8: two that differ before must not be one after. */
const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\ufffd")

const escapeHelp = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const escapeLabel = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\"", "\\\"")

/**
 * Reads the text that Prometheus scrapes, and does not forgive what the format does not allow.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import { execFileSync } from "node:child_process"

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly type: string
  readonly help: string | undefined
  readonly samples: Array<Sample>
}

const suffixes: Readonly<Record<string, ReadonlyArray<string>>> = {
  counter: [""],
  gauge: [""],
  summary: ["", "_sum", "_count"],
  histogram: ["_bucket", "_sum", "_count"]
}

const unescape = (text: string, escapes: Readonly<Record<string, string>>): string =>
  text.replace(/\\(.?)/gs, (whole, escaped: string) => {
    const meant = escapes[escaped]
    if (meant === undefined) throw new Error(`no escape: ${whole}`)
    return meant
  })

const numberOf = (text: string): number => {
  if (text === "+Inf") return Infinity
  if (text === "-Inf") return -Infinity
  if (text === "NaN") return NaN
  if (!/^[-+]?\d+(\.\d+)?(e[-+]\d+)?$/.test(text)) throw new Error(`no number: ${text}`)
  return Number(text)
}

const labelsOf = (text: string): Record<string, string> => {
  const labels: Record<string, string> = {}
  let rest = text
  while (rest !== "") {
    const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=[a-zA-Z_])|$)/.exec(rest)
    if (label === null) throw new Error(`no label: ${rest}`)
    if (Object.hasOwn(labels, label[1])) throw new Error(`the label ${label[1]} twice: ${text}`)
    if (label[1].startsWith("__")) throw new Error(`the label ${label[1]} is reserved`)
    labels[label[1]] = unescape(label[2], { "\\": "\\", n: "\n", "\"": "\"" })
    rest = rest.slice(label[0].length)
  }
  return labels
}

/** The families of a text. It throws where the text is not as the format says, or has anything twice. */
export const parse = (text: string): ReadonlyArray<Family> => {
  if (text === "") return []
  if (!text.endsWith("\n")) throw new Error("the last line does not end")
  const families = new Map<string, Family>()
  const series = new Set<string>()
  let help: readonly [name: string, help: string] | undefined
  let family: Family | undefined
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/s.exec(line)
    if (comment !== null) {
      const [, kind, name, what] = comment
      if (families.has(name)) throw new Error(`the family ${name} twice`)
      if (kind === "HELP") {
        if (help !== undefined) throw new Error(`help without a type: ${line}`)
        help = [name, unescape(what, { "\\": "\\", n: "\n" })]
      } else {
        if (help !== undefined && help[0] !== name) throw new Error(`the help of ${help[0]} before ${name}`)
        if (!Object.hasOwn(suffixes, what)) throw new Error(`no type: ${line}`)
        family = { name, type: what, help: help?.[1], samples: [] }
        families.set(name, family)
        help = undefined
      }
      continue
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s.exec(line)
    if (sample === null || family === undefined || help !== undefined) throw new Error(`no sample: ${line}`)
    const [, name, labels = "", value] = sample
    const of = family
    if (!suffixes[of.type].some((suffix) => `${of.name}${suffix}` === name)) {
      throw new Error(`${name} in the family ${of.name}`)
    }
    const parsed: Sample = { name, labels: labelsOf(labels), value: numberOf(value) }
    // A label that is empty is as good as none.
    const key = JSON.stringify([name, Object.entries(parsed.labels).filter(([, value]) => value !== "").sort()])
    if (series.has(key)) throw new Error(`the series ${line} twice`)
    series.add(key)
    of.samples.push(parsed)
  }
  if (help !== undefined) throw new Error("help without a type")
  return Array.from(families.values())
}

/** Whether a program is here. Where tests are to be complete it must be. */
export const isHere = (program: string): boolean => {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" })
    return true
  } catch (error) {
    if (process.env["CI"] === "true") {
      throw new Error(`${program} is missing: see scripts/install-prometheus.sh`, { cause: error })
    }
    return false
  }
}

const isPromtoolHere = isHere("promtool")

/** Has the tool of Prometheus look as well, where it is here. It throws what that finds. */
export const promtool = (text: string): void => {
  if (!isPromtoolHere) return
  try {
    execFileSync("promtool", ["check", "metrics"], { input: text, stdio: ["pipe", "pipe", "pipe"] })
  } catch (error) {
    // It exits with 3 where it would only have named something otherwise.
    if ((error as { readonly status?: number }).status !== 3) throw error
  }
}

/**
 * Metrics as the text that Prometheus scrapes.
 */
import { describe, expect, it } from "@effect/vitest"
import { Prometheus } from "@sluice/http"
import {
  Effect,
  FastCheck as fc,
  Metric,
  MetricBoundaries,
  MetricKey,
  MetricLabel,
  MetricPair,
  MetricState,
  Option
} from "effect"
import parseText from "parse-prometheus-text-format"
import { campaign } from "../../core/test/support/campaigns.ts"
import { parse, promtool } from "./support/prometheus.ts"

type Pair = MetricPair.MetricPair.Untyped

const tagged = <K extends MetricKey.MetricKey<any>>(key: K, tags: Readonly<Record<string, string>>): K =>
  MetricKey.taggedWithLabels(key, Object.entries(tags).map(([name, value]) => MetricLabel.make(name, value))) as K

const counter = (
  name: string,
  count: number | bigint,
  tags: Readonly<Record<string, string>> = {},
  help?: string
): Pair =>
  MetricPair.unsafeMake(
    tagged(MetricKey.counter(name, { incremental: true, ...help === undefined ? {} : { description: help } }), tags),
    MetricState.counter(count as number)
  )

const gauge = (
  name: string,
  value: number | bigint,
  tags: Readonly<Record<string, string>> = {},
  help?: string
): Pair =>
  MetricPair.unsafeMake(
    tagged(MetricKey.gauge(name, help === undefined ? {} : { description: help }), tags),
    MetricState.gauge(value as number)
  )

const histogram = (
  name: string,
  buckets: ReadonlyArray<readonly [boundary: number, count: number]>,
  { count, sum }: { readonly count: number; readonly sum: number },
  tags: Readonly<Record<string, string>> = {}
): Pair =>
  MetricPair.unsafeMake(
    tagged(MetricKey.histogram(name, MetricBoundaries.fromIterable(buckets.map(([boundary]) => boundary))), tags),
    MetricState.histogram({ buckets, count, sum, min: 0, max: 0 })
  )

const summary = (
  name: string,
  quantiles: ReadonlyArray<readonly [quantile: number, value: Option.Option<number>]>,
  tags: Readonly<Record<string, string>> = {}
): Pair =>
  MetricPair.unsafeMake(
    tagged(
      MetricKey.summary({ name, maxAge: 1000, maxSize: 10, error: 0, quantiles: quantiles.map(([each]) => each) }),
      tags
    ),
    MetricState.summary({ error: 0, quantiles, count: 4, sum: 2.5, min: 0, max: 1 })
  )

const frequency = (
  name: string,
  occurrences: ReadonlyArray<readonly [string, number]>,
  tags: Readonly<Record<string, string>> = {}
): Pair => MetricPair.unsafeMake(tagged(MetricKey.frequency(name), tags), MetricState.frequency(new Map(occurrences)))

/** What is written, once it was found to be in order. */
const written = (...pairs: ReadonlyArray<Pair>): string => {
  const text = Prometheus.format(pairs)
  parse(text)
  promtool(text)
  return text
}

describe("what is written", () => {
  it("is nothing for no metrics", () => {
    expect(Prometheus.format([])).toBe("")
  })

  it("has a counter, and one that may go down as a gauge", () => {
    const upAndDown = MetricPair.unsafeMake(MetricKey.counter("b"), MetricState.counter(-3))
    expect(written(counter("a", 7), upAndDown)).toBe("# TYPE a counter\na 7\n# TYPE b gauge\nb -3\n")
  })

  it("has numbers of all kinds", () => {
    const values: ReadonlyArray<readonly [number | bigint, string]> = [
      [0, "0"],
      [-0, "0"],
      [1.5, "1.5"],
      [-1e-7, "-1e-7"],
      [1e21, "1e+21"],
      [NaN, "NaN"],
      [Infinity, "+Inf"],
      [-Infinity, "-Inf"],
      [12345678901234567890n, "12345678901234567890"],
      [-1n, "-1"]
    ]
    for (const [value, text] of values) expect(written(gauge("g", value))).toBe(`# TYPE g gauge\ng ${text}\n`)
    expect(written(counter("c", 18446744073709551616n))).toBe("# TYPE c counter\nc 18446744073709551616\n")
  })

  it("has labels in the order of their names, and series of one family together", () => {
    expect(written(
      gauge("g", 1, { queue: "b", a: "1" }),
      counter("c", 1),
      gauge("g", 2, { queue: "a" }),
      gauge("g", 3)
    )).toBe("# TYPE c counter\nc 1\n# TYPE g gauge\ng{a=\"1\",queue=\"b\"} 1\ng{queue=\"a\"} 2\ng 3\n")
  })

  it("escapes what would end a label, a line or an escape", () => {
    const odd = "quote \" backslash \\ break \n return \r brace } comma , \\n \u{1f30a} \u2028 '"
    const text = written(gauge("g", 1, { odd }, "help with \" and \\ and \n and \\n."))
    expect(text.split("\n")).toHaveLength(4)
    expect(text).toContain("# HELP g help with \" and \\\\ and \\n and \\\\n.\n")
    const [{ help, samples }] = parse(text)
    expect([help, samples[0].labels["odd"]]).toEqual(["help with \" and \\ and \n and \\n.", odd])
    const [{ metrics }] = parseText(Prometheus.format([gauge("g", 1, { odd: odd.replace("\r", "") })]))
    expect(metrics[0].labels).toEqual({ odd: odd.replace("\r", "") })
  })

  it("has names that Prometheus takes", () => {
    const names: ReadonlyArray<readonly [string, string]> = [
      ["http.requests-total", "http_requests_total"],
      ["a:b", "a:b"],
      ["9lives", "_9lives"],
      ["gr\u00fc\u00dfe", "gr__e"],
      ["", "_"],
      ["a b\nc{d=\"e\"} 1", "a_b_c_d__e___1"],
      ["\u{1f30a}", "__"]
    ]
    for (const [name, legal] of names) expect(written(gauge(name, 1))).toBe(`# TYPE ${legal} gauge\n${legal} 1\n`)
    expect(written(gauge("g", 1, { "a.b": "1", "c:d": "2", "0": "3", "": "4" }))).toBe(
      "# TYPE g gauge\ng{_=\"4\",_0=\"3\",a_b=\"1\",c_d=\"2\"} 1\n"
    )
  })

  it("has help once, that of the first metric which has the name", () => {
    expect(written(gauge("g", 1, { a: "1" }, "first"), gauge("g", 1, { a: "2" }, "second"))).toBe(
      "# HELP g first\n# TYPE g gauge\ng{a=\"1\"} 1\ng{a=\"2\"} 1\n"
    )
  })

  it("has families in the order of their names", () => {
    const names = ["b", "a_total", "B", "_", "a", "a:b", "Z9"]
    const text = written(...names.map((name) => gauge(name, 1)))
    const families = parse(text).map(({ name }) => name)
    expect(families).toEqual([...names].sort())
  })
})

/** What had to be renamed, as the text says. */
const renamedIn = (text: string): Readonly<Record<string, number>> =>
  Object.fromEntries(
    parse(text).filter(({ name }) => name === "sluice_prometheus_renamed")
      .flatMap(({ samples }) => samples.map(({ labels, value }) => [labels["what"], value]))
  )

/** The lines of samples, but for those that say what was renamed. */
const samplesIn = (text: string): ReadonlyArray<string> =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("sluice_prometheus_"))

describe("what cannot have its name", () => {
  it("is counted, where there is any", () => {
    expect(written(gauge("g", 1))).not.toContain("renamed")
    expect(written(gauge("g", 1), gauge("g", 2))).toBe([
      "# TYPE g gauge",
      "g 1",
      "g{duplicate=\"2\"} 2",
      "# HELP sluice_prometheus_renamed How many metrics, labels and series of this text had to be renamed",
      "# TYPE sluice_prometheus_renamed gauge",
      "sluice_prometheus_renamed{what=\"series\"} 1",
      ""
    ].join("\n"))
  })

  it("is a label that is reserved", () => {
    const text = written(
      gauge("g", 1, { __name__: "a", __x: "b", "..": "c", _one: "d" }),
      counter("c", 1, { le: "e", quantile: "f", key: "g" })
    )
    expect(samplesIn(text)).toEqual([
      "c{key=\"g\",le=\"e\",quantile=\"f\"} 1",
      "g{_one=\"d\",exported___=\"c\",exported___name__=\"a\",exported___x=\"b\"} 1"
    ])
    expect(renamedIn(text)).toEqual({ label: 3 })
  })

  it("is a label that has the name of one of ours", () => {
    const text = written(
      frequency("f", [["x", 1]], { key: "mine", exported_key: "too" }),
      histogram("h", [], { count: 1, sum: 1 }, { le: "mine" }),
      summary("s", [[0.5, Option.some(1)]], { quantile: "mine" })
    )
    expect(samplesIn(text)).toEqual([
      "f{exported_key=\"too\",exported_key_2=\"mine\",key=\"x\"} 1",
      "h_bucket{exported_le=\"mine\",le=\"+Inf\"} 1",
      "h_sum{exported_le=\"mine\"} 1",
      "h_count{exported_le=\"mine\"} 1",
      "s{exported_quantile=\"mine\",quantile=\"0.5\"} 1",
      "s_sum{exported_quantile=\"mine\"} 2.5",
      "s_count{exported_quantile=\"mine\"} 4"
    ])
    expect(renamedIn(text)).toEqual({ label: 3 })
  })

  it("is a label that is another once it is written; the one that is written as it is keeps its name", () => {
    const text = written(gauge("g", 1, { "a.b": "1", "a-b": "2", a_b: "3", a_b_2: "4" }))
    expect(samplesIn(text)).toEqual(["g{a_b=\"3\",a_b_2=\"4\",a_b_3=\"2\",a_b_4=\"1\"} 1"])
    expect(renamedIn(text)).toEqual({ label: 2 })
  })

  it("is a tag that was given again: the last one counts", () => {
    const twice = MetricKey.taggedWithLabels(MetricKey.gauge("g"), [
      MetricLabel.make("a", "1"),
      MetricLabel.make("a", "2")
    ])
    const text = written(MetricPair.unsafeMake(twice, MetricState.gauge(1)))
    expect([samplesIn(text), renamedIn(text)]).toEqual([["g{a=\"2\"} 1"], { label: 1 }])
  })

  it("is a metric whose name is another's once it is written", () => {
    const text = written(gauge("g.", 1), gauge("g_", 2), gauge("g.", 3, { a: "1" }), gauge("g-", 4))
    expect(samplesIn(text)).toEqual(["g_ 1", "g_{a=\"1\"} 3", "g__gauge 2", "g__gauge_gauge 4"])
    expect(renamedIn(text)).toEqual({ metric: 2 })
  })

  it("is a metric of the same name and another type", () => {
    const pairs = [gauge("m", 1), counter("m", 2), frequency("m", [["x", 3]]), histogram("m", [], { count: 0, sum: 0 })]
    const text = written(...pairs)
    expect(parse(text).slice(0, 3).map(({ name, type }) => [name, type])).toEqual([
      ["m", "gauge"],
      ["m_counter", "counter"],
      ["m_histogram", "histogram"]
    ])
    expect(renamedIn(text)).toEqual({ metric: 2 })
    const taken = [gauge("m", 1), gauge("m_counter", 2), counter("m", 3), gauge("m", 4, { a: "1" })]
    expect(samplesIn(written(...taken))).toEqual(["m 1", "m{a=\"1\"} 4", "m_counter 2", "m_counter_counter 3"])
  })

  it("is a metric whose name is that of a series of another", () => {
    const text = written(
      histogram("h", [], { count: 1, sum: 1 }),
      counter("h_count", 5),
      gauge("h_sum", 6),
      gauge("h_bucket", 7, { le: "+Inf" }),
      gauge("s_count", 8),
      summary("s", [])
    )
    expect(samplesIn(text)).toEqual([
      "h_bucket{le=\"+Inf\"} 1",
      "h_sum 1",
      "h_count 1",
      "h_bucket_gauge{le=\"+Inf\"} 7",
      "h_count_counter 5",
      "h_sum_gauge 6",
      "s_count 8",
      "s_summary_sum 2.5",
      "s_summary_count 4"
    ])
    expect(renamedIn(text)).toEqual({ metric: 4 })
  })

  it("is a series with the name and the labels of another, be one an empty one or not in Unicode", () => {
    const text = written(
      gauge("g", 1, { a: "x" }, "one"),
      gauge("g", 2, { a: "x" }, "another"),
      gauge("g", 3, { a: "x", duplicate: "2" }),
      gauge("g", 4),
      gauge("g", 5, { a: "" }),
      gauge("g", 6, { a: "\ud800" }),
      gauge("g", 7, { a: "\udc00" })
    )
    expect(samplesIn(text)).toEqual([
      "g{a=\"x\"} 1",
      "g{a=\"x\",duplicate=\"2\"} 2",
      "g{a=\"x\",duplicate=\"2\",duplicate_2=\"2\"} 3",
      "g 4",
      "g{a=\"\",duplicate=\"2\"} 5",
      "g{a=\"\ufffd\"} 6",
      "g{a=\"\ufffd\",duplicate=\"2\"} 7"
    ])
    expect(renamedIn(text)).toEqual({ series: 4 })
  })

  it("is a histogram of other boundaries, as a whole, and what occurs twice in one metric", () => {
    const text = written(
      histogram("h", [[1, 1]], { count: 1, sum: 1 }),
      histogram("h", [[2, 5]], { count: 5, sum: 5 }),
      frequency("f", [["\ud800", 1], ["\udc00", 2]]),
      counter("f", 3, { key: "\ufffd" })
    )
    expect(samplesIn(text)).toEqual([
      "f{key=\"\ufffd\"} 1",
      "f{duplicate=\"2\",key=\"\ufffd\"} 2",
      "f{duplicate=\"3\",key=\"\ufffd\"} 3",
      "h_bucket{le=\"1\"} 1",
      "h_bucket{le=\"+Inf\"} 1",
      "h_sum 1",
      "h_count 1",
      "h_bucket{duplicate=\"2\",le=\"2\"} 5",
      "h_bucket{duplicate=\"2\",le=\"+Inf\"} 5",
      "h_sum{duplicate=\"2\"} 5",
      "h_count{duplicate=\"2\"} 5"
    ])
    expect(renamedIn(text)).toEqual({ series: 3 })
  })
})

describe("a histogram", () => {
  it("has its buckets, one for everything, its sum and its count", () => {
    const text = written(histogram("h", [[0.5, 1], [2, 3]], { count: 4, sum: 9.5 }, { queue: "q" }))
    expect(text).toBe([
      "# TYPE h histogram",
      "h_bucket{queue=\"q\",le=\"0.5\"} 1",
      "h_bucket{queue=\"q\",le=\"2\"} 3",
      "h_bucket{queue=\"q\",le=\"+Inf\"} 4",
      "h_sum{queue=\"q\"} 9.5",
      "h_count{queue=\"q\"} 4",
      ""
    ].join("\n"))
  })

  it("has one bucket for everything also where it has such a boundary, or none at all", () => {
    const endless = written(histogram("h", [[1, 1], [Infinity, 2]], { count: 2, sum: 5 }))
    expect(endless.match(/\+Inf/g)).toHaveLength(1)
    expect(written(histogram("h", [], { count: 2, sum: 5 }))).toBe(
      "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 5\nh_count 2\n"
    )
  })

  it("of Effect's has buckets that grow, up to its count", () => {
    const metric = Metric.histogram(
      "prometheus.test.histogram",
      MetricBoundaries.linear({ start: 0, width: 2, count: 4 })
    )
    for (const value of [-5, 0, 1, 3, 3, 100]) metric.unsafeUpdate(value, [])
    const [family] = parse(Effect.runSync(Prometheus.snapshot)).filter(({ name }) =>
      name === "prometheus_test_histogram"
    )
    const buckets = family.samples.filter(({ name }) => name.endsWith("_bucket"))
    expect(buckets.map(({ labels, value }) => [labels["le"], value])).toEqual([
      ["0", 2],
      ["2", 3],
      ["4", 5],
      ["+Inf", 6]
    ])
    expect(family.samples.filter(({ name }) => !name.endsWith("_bucket")).map(({ value }) => value)).toEqual([102, 6])
  })
})

describe("a summary", () => {
  it("has its quantiles, NaN where there is none yet, its sum and its count", () => {
    const text = written(summary("s", [[0.5, Option.some(1.25)], [0.99, Option.none()]], { a: "b" }))
    expect(text).toBe([
      "# TYPE s summary",
      "s{a=\"b\",quantile=\"0.5\"} 1.25",
      "s{a=\"b\",quantile=\"0.99\"} NaN",
      "s_sum{a=\"b\"} 2.5",
      "s_count{a=\"b\"} 4",
      ""
    ].join("\n"))
  })
})

describe("a frequency", () => {
  it("is a counter with a label for what has occurred", () => {
    expect(written(frequency("f", [["not \"found\"", 2], ["ok", 5]], { a: "b" }))).toBe(
      "# TYPE f counter\nf{a=\"b\",key=\"not \\\"found\\\"\"} 2\nf{a=\"b\",key=\"ok\"} 5\n"
    )
    expect(written(frequency("f", []))).toBe("# TYPE f counter\n")
  })
})

describe("whatever the metrics are, what is written", () => {
  const text = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: fc.constantFrom("\\", "n", "\"", "\n", "}") })
  )
  const name = fc.oneof(
    fc.constantFrom("m", "m.", "m_", "m_counter", "n.total", "9", "m_gauge", "m_bucket", "m_sum", "m_count"),
    fc.string({ unit: "grapheme" })
  )
  const label = fc.oneof(
    fc.constantFrom("queue", "system", "a.b", "a_b", "a_b_2", "le", "quantile", "key", "exported_le", "duplicate"),
    fc.constantFrom("__name__", "__", "__a", "exported___name__"),
    fc.string({ unit: "grapheme" })
  )
  const tags = fc.dictionary(label, text, { maxKeys: 3 })
  const number = fc.oneof(fc.double(), fc.integer(), fc.bigInt())
  const finite = fc.double({ noNaN: true, noDefaultInfinity: true })
  const pair: fc.Arbitrary<Pair> = fc.oneof(
    fc.tuple(name, number, tags, text).map((all) => counter(...all)),
    fc.tuple(name, number, tags, text).map((all) => gauge(...all)),
    fc.tuple(
      name,
      fc.uniqueArray(finite, { maxLength: 4, selector: String }).map((all) => all.sort((a, b) => a - b)),
      fc.nat(),
      finite,
      tags
    )
      .map(([name, boundaries, count, sum, tags]) =>
        histogram(name, boundaries.map((boundary) => [boundary, count] as const), { count, sum }, tags)
      ),
    fc.tuple(
      name,
      fc.uniqueArray(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3, selector: String }),
      fc.option(finite),
      tags
    ).map(([name, quantiles, value, tags]) =>
      summary(name, quantiles.map((quantile) => [quantile, Option.fromNullable(value)] as const), tags)
    ),
    fc.tuple(name, fc.dictionary(text, fc.nat()), tags).map(([name, occurrences, tags]) =>
      frequency(name, Object.entries(occurrences), tags)
    )
  )
  /** How many samples a metric has. */
  const sizeOf = ({ metricState }: Pair): number => {
    const state: unknown = metricState
    if (MetricState.isHistogramState(state)) {
      return state.buckets.filter(([boundary]) => boundary !== Infinity).length + 3
    }
    if (MetricState.isSummaryState(state)) return state.quantiles.length + 2
    return MetricState.isFrequencyState(state) ? state.occurrences.size : 1
  }

  it("is as the format says, with families in order, nothing twice, and nothing left out", () => {
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 8 }), (pairs) => {
        const text = Prometheus.format(pairs)
        const families = parse(text).filter(({ name }) => name !== "sluice_prometheus_renamed")
        const names = families.map(({ name }) => name)
        expect(names).toEqual([...new Set(names)].sort())
        const samples = families.reduce((sum, { samples }) => sum + samples.length, 0)
        expect(samples).toBe(pairs.reduce((sum, pair) => sum + sizeOf(pair), 0))
      }),
      { numRuns: campaign(2000) }
    )
  })

  it("gives the value, the labels and the help back", () => {
    fc.assert(
      fc.property(fc.double(), fc.dictionary(fc.constantFrom("a", "b", "c"), text), text, (value, tags, help) => {
        const families = parse(Prometheus.format([gauge("g", value, tags, help)]))
        // There is one zero.
        const read = value === 0 ? 0 : value
        expect(families).toEqual([{
          name: "g",
          type: "gauge",
          help: help === "" ? undefined : help,
          samples: [{ name: "g", labels: { ...tags }, value: read }]
        }])
      }),
      { numRuns: 500 }
    )
  })

  it("is read by others as well", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom("a", "b", "c"), fc.string({ minLength: 1 }), { minKeys: 1 }),
        fc.integer(),
        (tags, value) => {
          const [{ metrics, name, type }] = parseText(Prometheus.format([gauge("g", value, tags)]))
          expect([name, type, metrics]).toEqual(["g", "GAUGE", [{ value: String(value), labels: { ...tags } }]])
        }
      ),
      { numRuns: 200 }
    )
  })
})

import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { type Benchmark, type Case, type Goal, type Plan, timed, timesAsFast, timesItsTime } from "../src/Benchmark.ts"
import { run } from "../src/cli.ts"
import { isMet, measure } from "../src/measure.ts"
import type { Report } from "../src/report.ts"
import { quotients, slope, summarize } from "../src/statistics.ts"
import { writeBehind } from "../src/write-behind.ts"
import { Ring } from "../src/write-behind/Ring.ts"

/** A case whose samples are given: the last one is repeated. The first three are those of the warm-up. */
const told = (name: string, ...costs: ReadonlyArray<number>): Case => {
  let sample = 0
  return { name, unit: "ns/op", sample: Effect.sync(() => ({ cost: costs[Math.min(sample++, costs.length - 1)] })) }
}

/** A case that costs 1,000 ns, and whose callers waited that many times as long in each round. */
const waited = (name: string, ...times: ReadonlyArray<number>): Case => {
  const { sample, ...rest } = told(name, ...times)
  return {
    ...rest,
    sample: Effect.map(sample, ({ cost }) => ({ cost: 1_000, latency: { p50: cost * 1_000, p99: cost * 10_000 } }))
  }
}

const benchmarkOf = (name: string, goal: Goal = {}): Benchmark => ({
  name,
  title: "a benchmark for tests",
  packages: ["effect"],
  plan: Effect.sync((): Plan => ({
    cases: [told("ours", 10), told("theirs", 40)],
    ratios: [timesAsFast("ours against theirs", "ours", "theirs", goal), timesItsTime("the time", "ours", "theirs")]
  }))
})

const runWith = async (args: ReadonlyArray<string>, benchmarks: ReadonlyArray<Benchmark>) => {
  const stdout: Array<string> = []
  const stderr: Array<string> = []
  const code = await Effect.runPromise(
    run(args, benchmarks, { stdout: (text) => stdout.push(text), stderr: (text) => stderr.push(text) })
  )
  return { code, stdout, stderr: stderr.join("\n") }
}

describe("statistics", () => {
  it("the median of an odd number of values is the one in the middle", () => {
    expect(summarize([5, 1, 3]).median).toBe(3)
  })

  it("the median of an even number of values is between the two in the middle", () => {
    expect(summarize([4, 1, 3, 2]).median).toBe(2.5)
  })

  it("half of the values lie between low and high", () => {
    expect(summarize([1, 2, 3, 4, 100])).toEqual({ low: 2, median: 3, high: 4 })
  })

  it("one value is its own median", () => {
    expect(summarize([7])).toEqual({ low: 7, median: 7, high: 7 })
  })

  it("quotients are taken round by round", () => {
    expect(quotients([10, 100], [5, 20])).toEqual([2, 5])
  })

  it("a slope is that of the line that fits best", () => {
    expect(slope([1, 3, 5, 7])).toBe(2)
    expect(slope([5, 1, 1, 5])).toBe(0)
    expect(slope([5])).toBe(0)
  })

  it("a goal is met at its limit", () => {
    expect(isMet(4, { atLeast: 4 })).toBe(true)
    expect(isMet(3.99, { atLeast: 4 })).toBe(false)
    expect(isMet(1.6, { atMost: 1.6 })).toBe(true)
    expect(isMet(1.61, { atMost: 1.6 })).toBe(false)
    expect(isMet(0, {})).toBe(true)
  })
})

describe("measure", () => {
  it("takes the median of the ratios of the rounds, not the ratio of the medians", async () => {
    const plan: Plan = {
      // Rounds: 1/10, 2/2, 30/60. The medians are 2 and 10.
      cases: [told("ours", 0, 0, 0, 1, 2, 30), told("theirs", 0, 0, 0, 10, 2, 60)],
      ratios: [timesAsFast("speed", "ours", "theirs"), timesItsTime("time", "ours", "theirs")]
    }
    const [speed, time] = await Effect.runPromise(measure("test", plan, 3))
    expect(speed.ratio).toBe(2)
    expect(time.ratio).toBe(0.5)
    expect(speed.subject).toMatchObject({ case: "ours", cost: { median: 2 } })
    expect(time.against).toMatchObject({ case: "theirs", cost: { median: 10 } })
  })

  it("all cases take turns, and a self-contained one has no warm-up", async () => {
    const turns: Array<string> = []
    const noting = (name: string): Case => ({
      name,
      unit: "ns/op",
      sample: Effect.sync(() => ({ cost: turns.push(name) }))
    })
    const plan = { cases: [noting("a"), noting("b"), { ...noting("c"), selfContained: true as const }], ratios: [] }
    await Effect.runPromise(measure("test", plan, 2))
    // Three rounds of warm-up, and two that count.
    expect(turns.join("")).toBe("abbaabcbaabc")
  })

  it("a timed case says what one operation costs", async () => {
    const { sample } = timed("sleep", 10, Effect.sleep("20 millis"))
    const { cost } = await Effect.runPromise(sample)
    expect(cost).toBeGreaterThan(1e6)
  })

  it("reports how long callers waited, where a case says so", async () => {
    const plan: Plan = {
      cases: [waited("ours", 9, 9, 9, 3, 1, 2), told("theirs", 40)],
      ratios: [timesAsFast("speed", "ours", "theirs")]
    }
    const [{ against, subject }] = await Effect.runPromise(measure("test", plan, 3))
    expect(subject.latency).toEqual({
      p50: { low: 1_500, median: 2_000, high: 2_500 },
      p99: { low: 15_000, median: 20_000, high: 25_000 }
    })
    expect(against).not.toHaveProperty("latency")
  })
})

describe("the program", () => {
  it("prints one JSON document, and nothing else, on stdout", async () => {
    const { code, stdout } = await runWith(["fast", "--json", "--rounds", "2"], [benchmarkOf("fast", { atLeast: 3 })])
    expect(code).toBe(0)
    expect(stdout).toHaveLength(1)
    const report = JSON.parse(stdout[0]) as Report
    expect(Object.keys(report)).toEqual(["machine", "versions", "results"])
    expect(report.machine.cores).toBeGreaterThan(0)
    expect(report.versions).toEqual({ effect: expect.stringMatching(/^\d+\.\d+\.\d+/) })
    expect(report.results).toHaveLength(2)
    expect(report.results[0]).toMatchObject({
      benchmark: "fast",
      measure: "ours against theirs",
      ratio: 4,
      goal: { atLeast: 3 },
      met: true,
      rounds: 2
    })
  })

  it("prints a table with a row for each measure", async () => {
    const { stdout } = await runWith(["fast", "--rounds", "1"], [benchmarkOf("fast", { atLeast: 3 })])
    expect(stdout[0]).toMatch(/ours against theirs +4\.00 .*at least 3\.00 +met +10\.0 \/ 40\.0 ns\/op/)
  })

  it("prints a second table with a row for each case whose callers waited", async () => {
    const benchmark: Benchmark = {
      ...benchmarkOf("slow"),
      plan: Effect.sync((): Plan => ({
        cases: [waited("ours", 2), waited("theirs", 40), told("others", 1)],
        ratios: [
          timesAsFast("ours against theirs", "ours", "theirs"),
          timesAsFast("ours against others", "ours", "others")
        ]
      }))
    }
    const { stdout } = await runWith(["slow", "--rounds", "1"], [benchmark])
    const lines = stdout[0].split("\n")
    const header = lines.findIndex((line) => /^from call to answer, µs +p50 +p99 +p99, half of the rounds$/.test(line))
    expect(lines.slice(header + 2).map((line) => line.split(/ {2,}/))).toEqual([
      ["ours", "2.00", "20.0", "20.0 to 20.0"],
      ["theirs", "40.0", "400", "400 to 400"]
    ])
  })

  it("prints no such table where no case says how long callers waited", async () => {
    const { stdout } = await runWith(["fast", "--rounds", "1"], [benchmarkOf("fast")])
    expect(stdout[0]).not.toContain("from call to answer")
  })

  it("prints what is done in a second, and what trials have found", async () => {
    const benchmark: Benchmark = {
      ...benchmarkOf("served"),
      plan: Effect.sync((): Plan => ({
        cases: [
          {
            ...told("ours", 0),
            counts: "requests",
            sample: Effect.succeed({ cost: 10_000, cpu: 5_000 })
          },
          told("theirs", 40_000)
        ],
        ratios: [timesAsFast("ours against theirs", "ours", "theirs")],
        trials: [{
          name: "endurance",
          run: (seconds) =>
            Effect.succeed({
              figures: [{ figure: "waited", value: seconds, unit: "s" }],
              checks: [{ check: "it was worth it", met: false }]
            })
        }]
      }))
    }
    const table = await runWith(["served", "--rounds", "1", "--seconds", "7"], [benchmark])
    expect(table.stdout[0]).toMatch(/^ours +100,000 +requests +100,000 to 100,000 +5\.00$/m)
    expect(table.stdout[0]).toMatch(/^endurance, for 7 s/m)
    expect(table.stdout[0]).toMatch(/^waited +7\.00 +s$/m)
    expect(table.stdout[0]).toMatch(/^it was worth it +MISSED$/m)
    const { code, stdout } = await runWith(["served", "--json", "--only", "endurance"], [benchmark])
    expect(code).toBe(0)
    expect(JSON.parse(stdout[0])).toMatchObject({
      results: [],
      trials: [{ benchmark: "served", trial: "endurance", seconds: 60, checks: [{ met: false }] }]
    })
    const { stderr } = await runWith(["served", "--seconds", "0"], [benchmark])
    expect(stderr).toContain("--seconds must be an integer of at least 1")
  })

  it("a goal that is missed is reported, and is no failure", async () => {
    const { code, stdout } = await runWith(["fast", "--rounds", "1"], [benchmarkOf("fast", { atLeast: 5 })])
    expect(code).toBe(0)
    expect(stdout[0]).toContain("MISSED")
  })

  it("runs only the measures that are asked for", async () => {
    const { stdout } = await runWith(["fast", "--json", "--rounds", "1", "--only", "time"], [benchmarkOf("fast")])
    expect((JSON.parse(stdout[0]) as Report).results.map(({ measure }) => measure)).toEqual(["the time"])
  })

  it.each([
    [["slow"], "no benchmark is called \"slow\""],
    [[], "expected the name of one benchmark, got 0"],
    [["fast", "fast"], "expected the name of one benchmark, got 2"],
    [["fast", "--frob"], "--frob"],
    [["fast", "--rounds", "none"], "--rounds must be an integer of at least 1"],
    [["fast", "--only", "nothing of it"], "no measure of fast contains \"nothing of it\""]
  ])("%j is refused with 2, and it says why", async (args, message) => {
    const { code, stderr, stdout } = await runWith(args, [benchmarkOf("fast")])
    expect(code).toBe(2)
    expect(stdout).toEqual([])
    expect(stderr).toContain(message)
    expect(stderr).toContain("Usage: pnpm bench <name>")
  })

  it("prints its usage when asked", async () => {
    const { code, stdout } = await runWith(["--help"], [benchmarkOf("fast")])
    expect(code).toBe(0)
    expect(stdout[0]).toContain("a benchmark for tests")
  })
})

describe("write-behind", () => {
  it("every ratio names two of its cases, and no two measures are called the same", async () => {
    const { cases, ratios } = await Effect.runPromise(Effect.scoped(writeBehind.plan))
    const names = new Set(cases.map(({ name }) => name))
    expect(names.size).toBe(cases.length)
    for (const { above, below, subject } of ratios) {
      expect(names).toContain(above)
      expect(names).toContain(below)
      expect([above, below]).toContain(subject)
    }
    expect(new Set(ratios.map(({ measure }) => measure)).size).toBe(ratios.length)
  })

  it("the plain ring gives items back in order", () => {
    const ring = new Ring<number>()
    const taken: Array<number> = []
    for (let item = 0; item < 100; item++) {
      ring.push(item)
      if (item % 3 === 2) taken.push(...ring.takeUpTo(2))
    }
    taken.push(...ring.takeUpTo(Infinity))
    expect(taken).toEqual(Array.from({ length: 100 }, (_, item) => item))
  })
})

/**
 * `bench <name> [--json] [--rounds <n>] [--only <text>] [--seconds <n>]`.
 */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import type { Benchmark, Plan } from "./Benchmark.ts"
import { measure, runTrials } from "./measure.ts"
import { makeReport, toJson, toTable } from "./report.ts"

/** Enough for medians that hold; fewer are for a quick look. */
const defaultRounds = 9

/** How long a trial takes: enough for what grows to be seen to grow. */
const defaultSeconds = 60

interface Options {
  readonly benchmark: Benchmark
  readonly json: boolean
  readonly rounds: number
  readonly only: string
  readonly seconds: number
}

/** What the program writes to. */
export interface Output {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
}

const usage = (benchmarks: ReadonlyArray<Benchmark>): string =>
  [
    "Usage: pnpm bench <name> [options]",
    "",
    "Benchmarks:",
    ...benchmarks.map(({ name, title }) => `  ${name.padEnd(18)}${title}`),
    "",
    "Options:",
    "  --json            print one JSON document",
    `  --rounds <n>      how many rounds are measured (default: ${defaultRounds})`,
    "  --only <text>     only measures, and trials, whose name contains the text",
    `  --seconds <n>     how long a trial takes (default: ${defaultSeconds})`,
    "  --help            print this"
  ].join("\n")

/** The options, or what is wrong with them. */
const parse = (args: ReadonlyArray<string>, benchmarks: ReadonlyArray<Benchmark>): Options | "help" | Error => {
  try {
    const { positionals, values } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        rounds: { type: "string", default: String(defaultRounds) },
        only: { type: "string", default: "" },
        seconds: { type: "string", default: String(defaultSeconds) },
        help: { type: "boolean", default: false }
      }
    })
    if (values.help) return "help"
    if (positionals.length !== 1) return new Error(`expected the name of one benchmark, got ${positionals.length}`)
    const benchmark = benchmarks.find(({ name }) => name === positionals[0])
    if (benchmark === undefined) return new Error(`no benchmark is called "${positionals[0]}"`)
    const rounds = Number(values.rounds)
    if (!Number.isInteger(rounds) || rounds < 1) return new Error(`--rounds must be an integer of at least 1`)
    const seconds = Number(values.seconds)
    if (!Number.isInteger(seconds) || seconds < 1) return new Error(`--seconds must be an integer of at least 1`)
    return { benchmark, json: values.json, rounds, only: values.only, seconds }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** The measures and trials whose name contains the text, and the cases they need. */
const select = ({ cases, ratios, trials = [] }: Plan, text: string): Required<Plan> => {
  const selected = ratios.filter(({ measure }) => measure.includes(text))
  const needed = new Set(selected.flatMap(({ above, below }) => [above, below]))
  return {
    cases: cases.filter(({ name }) => needed.has(name)),
    ratios: selected,
    trials: trials.filter(({ name }) => name.includes(text))
  }
}

/** Runs the program and answers its exit code: 2 where it was called wrongly. A goal that is missed is no failure. */
export const run = (
  args: ReadonlyArray<string>,
  benchmarks: ReadonlyArray<Benchmark>,
  { stderr, stdout }: Output
): Effect.Effect<number> => {
  const options = parse(args, benchmarks)
  if (options === "help") return Effect.as(Effect.sync(() => stdout(usage(benchmarks))), 0)
  const refuse = (message: string) => Effect.as(Effect.sync(() => stderr(`${message}\n\n${usage(benchmarks)}`)), 2)
  if (options instanceof Error) return refuse(options.message)
  const { benchmark, json, only, rounds, seconds } = options
  return Effect.scoped(Effect.gen(function*() {
    const plan = select(yield* benchmark.plan, only)
    if (plan.ratios.length + plan.trials.length === 0) {
      return yield* refuse(`no measure of ${benchmark.name} contains "${only}"`)
    }
    const results = plan.ratios.length === 0 ? [] : yield* measure(
      benchmark.name,
      plan,
      rounds,
      (done, of) => stderr(`${benchmark.name}: round ${done} of ${of}`)
    )
    const trials = yield* runTrials(
      benchmark.name,
      plan.trials,
      seconds,
      (name) => stderr(`${benchmark.name}: ${name}, for ${seconds} s`)
    )
    const report = makeReport(results, benchmark.packages, trials)
    stdout(json ? toJson(report) : toTable(report))
    return 0
  }))
}

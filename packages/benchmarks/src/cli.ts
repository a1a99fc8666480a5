/**
 * `bench <name> [--json] [--rounds <n>] [--only <text>]`.
 */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import type { Benchmark, Plan } from "./Benchmark.ts"
import { measure } from "./measure.ts"
import { makeReport, toJson, toTable } from "./report.ts"

/** Enough for medians that hold; fewer are for a quick look. */
const defaultRounds = 9

interface Options {
  readonly benchmark: Benchmark
  readonly json: boolean
  readonly rounds: number
  readonly only: string
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
    "  --only <text>     only measures whose name contains the text",
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
        help: { type: "boolean", default: false }
      }
    })
    if (values.help) return "help"
    if (positionals.length !== 1) return new Error(`expected the name of one benchmark, got ${positionals.length}`)
    const benchmark = benchmarks.find(({ name }) => name === positionals[0])
    if (benchmark === undefined) return new Error(`no benchmark is called "${positionals[0]}"`)
    const rounds = Number(values.rounds)
    if (!Number.isInteger(rounds) || rounds < 1) return new Error(`--rounds must be an integer of at least 1`)
    return { benchmark, json: values.json, rounds, only: values.only }
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** The measures whose name contains the text, and the cases they need. */
const select = ({ cases, ratios }: Plan, text: string): Plan => {
  const selected = ratios.filter(({ measure }) => measure.includes(text))
  const needed = new Set(selected.flatMap(({ above, below }) => [above, below]))
  return { cases: cases.filter(({ name }) => needed.has(name)), ratios: selected }
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
  const { benchmark, json, only, rounds } = options
  return Effect.scoped(Effect.gen(function*() {
    const plan = select(yield* benchmark.plan, only)
    if (plan.ratios.length === 0) return yield* refuse(`no measure of ${benchmark.name} contains "${only}"`)
    const results = yield* measure(
      benchmark.name,
      plan,
      rounds,
      (done, of) => stderr(`${benchmark.name}: round ${done} of ${of}`)
    )
    const report = makeReport(results, benchmark.packages)
    stdout(json ? toJson(report) : toTable(report))
    return 0
  }))
}

import * as Effect from "effect/Effect"
import { run } from "./cli.ts"
import { writeBehind } from "./write-behind.ts"

const benchmarks = [writeBehind]

process.exitCode = await Effect.runPromise(
  run(process.argv.slice(2), benchmarks, {
    stdout: (text) => process.stdout.write(`${text}\n`),
    stderr: (text) => process.stderr.write(`${text}\n`)
  })
)

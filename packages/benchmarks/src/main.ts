import * as Effect from "effect/Effect"
import { batchQueue } from "./batch-queue.ts"
import { run } from "./cli.ts"
import { busy } from "./busy.ts"
import { failure, toMarkdown } from "./failure.ts"
import { house } from "./house.ts"
import { http } from "./http.ts"
import { keyed } from "./keyed.ts"
import { writeBehind } from "./write-behind.ts"
import { writeCoordinator } from "./write-coordinator.ts"

const benchmarks = [writeBehind, writeCoordinator, batchQueue, keyed, http, busy, house]

const args = process.argv.slice(2)
const print = (text: string) => process.stdout.write(`${text}\n`)

// No benchmark: it has no cases that take turns, and no options but this.
const printFailure = Effect.map(failure, (rows) => {
  print(args.includes("--json") ? JSON.stringify(rows, null, 2) : toMarkdown(rows))
  return 0
})

process.exitCode = await Effect.runPromise(
  args[0] === "failure"
    ? printFailure
    : run(args, benchmarks, { stdout: print, stderr: (text) => process.stderr.write(`${text}\n`) })
)

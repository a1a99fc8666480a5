import * as Effect from "effect/Effect"
import { batchQueue } from "./batch-queue.ts"
import { run } from "./cli.ts"
import { http } from "./http.ts"
import { keyed } from "./keyed.ts"
import { writeBehind } from "./write-behind.ts"
import { writeCoordinator } from "./write-coordinator.ts"

const benchmarks = [writeBehind, writeCoordinator, batchQueue, keyed, http]

process.exitCode = await Effect.runPromise(
  run(process.argv.slice(2), benchmarks, {
    stdout: (text) => process.stdout.write(`${text}\n`),
    stderr: (text) => process.stderr.write(`${text}\n`)
  })
)

/**
 * What a queue needs in memory for each pending item, over the item itself. Each sample is a process of its own, whose
 * heap holds nothing else.
 */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { type Case, ofItsMemory, type Plan } from "../Benchmark.ts"
import type { Contender } from "./pendingMain.ts"

const program = fileURLToPath(new URL("./pendingMain.js", import.meta.url))

const pending = (contender: Contender): Case => ({
  name: `pending, ${contender}`,
  unit: "bytes/item",
  selfContained: true,
  sample: Effect.sync(() => ({
    cost: Number(execFileSync(process.execPath, ["--expose-gc", program, contender], { encoding: "utf8" }))
  }))
})

const against = (contender: Contender, goal = {}) =>
  ofItsMemory(
    `memory of a million pending items, ${contender}, against Queue.sliding`,
    `pending, ${contender}`,
    "pending, Queue.sliding",
    goal
  )

export const memory: Effect.Effect<Plan> = Effect.sync(() => ({
  cases: [
    pending("Queue.sliding"),
    pending("dropOldest"),
    pending("WriteBehind"),
    pending("coalesceByKey")
  ],
  ratios: [
    against("dropOldest", { atMost: 1 / 3 }),
    against("WriteBehind", { atMost: 1 / 3 }),
    against("coalesceByKey")
  ]
}))

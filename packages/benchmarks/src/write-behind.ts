/**
 * What `WriteBehind` and the queues under it cost, against what Effect and others have.
 */
import * as Effect from "effect/Effect"
import { type Benchmark, together } from "./Benchmark.ts"
import { coalescing } from "./write-behind/coalescing.ts"
import { flushing } from "./write-behind/flushing.ts"
import { memory } from "./write-behind/memory.ts"
import { offering } from "./write-behind/offering.ts"
import { policies } from "./write-behind/policies.ts"
import { waiting } from "./write-behind/waiting.ts"

export const writeBehind: Benchmark = {
  name: "write-behind",
  title: "backpressure policies, and items from offered to flushed",
  packages: ["@sluice/core", "effect", "fastq"],
  plan: Effect.map(Effect.all([policies, offering, coalescing, flushing, waiting, memory]), together)
}

/**
 * What is written by hand here, against what Effect or the platform has for it. Decision 1 says of each why it is kept,
 * or that it is not.
 */
import * as Effect from "effect/Effect"
import { type Benchmark, together } from "./Benchmark.ts"
import { bells } from "./house/bell.ts"
import { locks } from "./house/lock.ts"
import { ndjson } from "./house/ndjson.ts"
import { optionChecks } from "./house/optionChecks.ts"
import { rememberedKeys } from "./house/rememberedKeys.ts"
import { serverSentEvents } from "./house/serverSentEvents.ts"
import { shapes } from "./house/shapes.ts"
import { makeStatements, type Sizes } from "./house/statements.ts"

/** Enough transactions for some tenths of a second. */
const sizes: Sizes = { FULL: { one: 100, group: 50 }, NORMAL: { one: 3_000, group: 150 } }

export const makePlan = (sizes: Sizes) =>
  Effect.gen(function*() {
    return together([
      shapes,
      ndjson,
      serverSentEvents,
      yield* rememberedKeys,
      optionChecks,
      locks,
      bells,
      yield* makeStatements(sizes)
    ])
  })

export const house: Benchmark = {
  name: "house",
  title: "what is written by hand, with what Effect has for it",
  packages: ["effect", "@effect/platform", "@effect/experimental", "@effect/sql-sqlite-node", "better-sqlite3"],
  plan: makePlan(sizes)
}

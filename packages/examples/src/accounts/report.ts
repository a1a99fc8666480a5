/**
 * The day as a small table, and whether it adds up.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { answered, check, type Evidence, total } from "./check.ts"

const row = (name: string, count: number, note = ""): string =>
  `${name.padEnd(16)}${String(count).padStart(7)}   ${note}`.trimEnd()

const table = (evidence: Evidence): string => {
  const { after, before, metrics, requests, statements } = evidence
  const { completeSaves, loads, saves } = statements
  const insufficient = answered(evidence, "InsufficientFunds").length
  const nowhere = answered(evidence, "NoSuchAccount").length
  return [
    row("requests", requests.length),
    row("  made", answered(evidence, "made").length),
    row("  refused", insufficient + nowhere, `insufficient funds ${insufficient}, no such account ${nowhere}`),
    row("  tried again", metrics.offered - requests.length, "their save had failed"),
    row("loads", loads, `${(requests.length / loads).toFixed(0)} requests a load`),
    row(
      "saves",
      saves,
      `${(requests.length / saves).toFixed(0)} requests a save; rolled back: ${saves - completeSaves}`
    ),
    row("total before", total(before)),
    row("total after", total(after))
  ].join("\n")
}

/** Fails where it does not add up. */
export const report = (evidence: Evidence): Effect.Effect<void, Error> =>
  Effect.gen(function*() {
    yield* Console.log(table(evidence))
    const wrong = check(evidence)
    if (wrong.length > 0) return yield* Effect.fail(new Error(wrong.join("\n")))
    yield* Console.log("It adds up.")
  })

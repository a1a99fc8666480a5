/**
 * The day as two small tables, and whether it adds up.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { answersOf, byInstrument, check, type Evidence, type ProcessEvidence, rejectedOf } from "./check.ts"

const row = (name: string, ...cells: ReadonlyArray<string | number>): string =>
  name.padEnd(12) + cells.map((cell) => String(cell).padStart(12)).join("")

const processRow = (name: string, { commands, metrics, outcomes }: ProcessEvidence): string =>
  row(
    name,
    commands.length,
    answersOf(outcomes).length,
    rejectedOf(outcomes).length,
    metrics.conflicts,
    metrics.offered - commands.length
  )

const table = ({ entries, first, second }: Evidence): string => {
  const ofSecond = new Set(second.commands.map(({ id }) => id))
  const instruments = Array.from(byInstrument(entries), ([instrument, entriesOf]) =>
    row(
      instrument,
      `1..${entriesOf.length}`,
      entriesOf.filter(({ command }) => ofSecond.has(command)).length,
      entriesOf.filter(({ event }) => event._tag === "Matched").length
    ))
  return [
    row("process", "commands", "events", "rejected", "conflicts", "resubmitted"),
    processRow("first", first),
    processRow("second", second),
    "",
    row("instrument", "versions", "of second", "trades"),
    ...instruments
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

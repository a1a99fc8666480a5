/**
 * What must be true after the day, by what the database has.
 */
import type { ShardPool } from "@sluice/core"
import { apply, type Book, type Command, type CommandRejected, empty } from "./Book.ts"
import type { Entry } from "./Journal.ts"
import type { Answer } from "./OrderBook.ts"

/** What became of a command. */
export type CommandOutcome =
  | { readonly _tag: "Answered"; readonly answer: Answer }
  | { readonly _tag: "Rejected"; readonly command: number; readonly reason: CommandRejected["reason"] }

export interface ProcessEvidence {
  readonly commands: ReadonlyArray<Command>
  readonly outcomes: ReadonlyArray<CommandOutcome>
  readonly metrics: ShardPool.Metrics
}

export interface Evidence {
  readonly first: ProcessEvidence
  readonly second: ProcessEvidence
  /** Everything that the database has, by instrument and version. */
  readonly entries: ReadonlyArray<Entry>
}

const outcomesOf = ({ first, second }: Evidence): ReadonlyArray<CommandOutcome> => [
  ...first.outcomes,
  ...second.outcomes
]

export const answersOf = (outcomes: ReadonlyArray<CommandOutcome>): ReadonlyArray<Answer> =>
  outcomes.flatMap((outcome) => outcome._tag === "Answered" ? [outcome.answer] : [])

export const rejectedOf = (outcomes: ReadonlyArray<CommandOutcome>): ReadonlyArray<number> =>
  outcomes.flatMap((outcome) => outcome._tag === "Rejected" ? [outcome.command] : [])

/** The events of each instrument. */
export const byInstrument = (entries: ReadonlyArray<Entry>): ReadonlyMap<string, ReadonlyArray<Entry>> => {
  const found = new Map<string, Array<Entry>>()
  for (const entry of entries) {
    const entriesOf = found.get(entry.instrument)
    if (entriesOf === undefined) found.set(entry.instrument, [entry])
    else entriesOf.push(entry)
  }
  return found
}

/** 1, 2, 3, ... of each instrument. */
const wrongWithVersions = ({ entries }: Evidence): ReadonlyArray<string> =>
  Array.from(byInstrument(entries)).flatMap(([instrument, entriesOf]) => {
    const at = entriesOf.findIndex(({ version }, n) => version !== n + 1)
    return at < 0 ? [] : [`${instrument}: version ${entriesOf[at].version} stands where ${at + 1} should be`]
  })

const placeOf = (instrument: string, version: number): string => `${instrument} ${version}`

/** Each version as it was answered: by the book to which the events lead up to there. */
const replay = (
  entries: ReadonlyArray<Entry>
): ReadonlyMap<string, { readonly command: number; readonly book: Book }> => {
  const found = new Map<string, { readonly command: number; readonly book: Book }>()
  for (const [instrument, entriesOf] of byInstrument(entries)) {
    let book = empty
    for (const { command, event, version } of entriesOf) {
      book = apply(book, event)
      found.set(placeOf(instrument, version), { command, book })
    }
  }
  return found
}

const textOf = (book: Book): string =>
  book.map(({ order, price, quantity, side }) => [order, side, price, quantity].join(" ")).join(", ")

/** Each event was answered to one command, and each answer tells the book to which the events lead. */
const wrongWithAnswers = (evidence: Evidence): ReadonlyArray<string> => {
  const replayed = replay(evidence.entries)
  const answers = answersOf(outcomesOf(evidence))
  const wrong = answers.flatMap(({ book, command, instrument, version }) => {
    const found = replayed.get(placeOf(instrument, version))
    if (found?.command !== command) {
      return [`${instrument} ${version}: answered to command ${command}, but not its event`]
    }
    return textOf(found.book) === textOf(book)
      ? []
      : [`${instrument} ${version}: the book is ${textOf(found.book)}, but was answered as ${textOf(book)}`]
  })
  return answers.length === evidence.entries.length
    ? wrong
    : [`${evidence.entries.length} events, but ${answers.length} answers`, ...wrong]
}

const wrongWithRejected = (evidence: Evidence): ReadonlyArray<string> => {
  const rejected = new Set(rejectedOf(outcomesOf(evidence)))
  return evidence.entries
    .filter(({ command }) => rejected.has(command))
    .map(({ command, instrument, version }) => `${instrument} ${version}: of command ${command}, which was rejected`)
}

const wrongWithProcess = (name: string, { commands, metrics, outcomes }: ProcessEvidence) => {
  const { cancelled, dropped, failed, held, offered, refused, rejected, settled, succeeded } = metrics
  const wrong: Array<string> = []
  if (outcomes.length !== commands.length) wrong.push(`${name}: ${outcomes.length} of ${commands.length} answered`)
  if (
    offered !== refused + cancelled + dropped + settled + held || settled !== succeeded + rejected + failed
    || held !== 0
  ) {
    wrong.push(`${name}: the counts of the pool do not add up`)
  }
  if (succeeded !== answersOf(outcomes).length) wrong.push(`${name}: ${succeeded} commands have succeeded in the pool`)
  if (rejectedOf(outcomes).length === 0) wrong.push(`${name}: no command was rejected`)
  return wrong
}

/** That there was something to go wrong. */
const wrongWithDay = ({ entries, first, second }: Evidence): ReadonlyArray<string> => [
  ...["Placed", "Cancelled", "Matched"]
    .filter((tag) => !entries.some(({ event }) => event._tag === tag))
    .map((tag) => `nothing was ${tag.toLowerCase()}`),
  ...(first.metrics.conflicts + second.metrics.conflicts > 0 ? [] : ["no version was taken already"])
]

/** Everything that is wrong, a line each. */
export const check = (evidence: Evidence): ReadonlyArray<string> => [
  ...wrongWithVersions(evidence),
  ...wrongWithAnswers(evidence),
  ...wrongWithRejected(evidence),
  ...wrongWithProcess("first", evidence.first),
  ...wrongWithProcess("second", evidence.second),
  ...wrongWithDay(evidence)
]

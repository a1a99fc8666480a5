/**
 * Does it add up? Compares what is in the database with the input, flight by flight. Pure, and it believes no counter:
 * it knows the flights as they stand in the file, the rows, and each departure that was reported as lost.
 *
 * Every flight is offered to both queues, and whatever becomes of it in one has no bearing on the other. In each queue
 * a flight ends up in exactly one entry: a row, or a reported loss. An entry stands for one flight, or, where the queue
 * merges, for all flights of its key since that key's last entry. So one pass over the flights checks it all: each
 * waits for the entry that has the number of it or of a later one of its key, and that entry must then hold the right
 * number of flights, the right sum of delays, and the last flight's own fields.
 */
import type { WriteBehind } from "@sluice/core"
import type { WriteCoordinator } from "@sluice/sql"
import type { Departure } from "./Flight.ts"
import type { BoardRow, FlightRow, Written } from "./sink.ts"
import { type Claim, claim, delayOf, type InputFlight, sumOf, type Verdict, verdictOf } from "./Verdict.ts"

export interface Evidence {
  /** The flights that were offered, in order. */
  readonly input: ReadonlyArray<InputFlight>
  readonly written: Written
  readonly lost: { readonly flights: ReadonlyArray<Departure>; readonly board: ReadonlyArray<Departure> }
  readonly metrics: {
    readonly flights: WriteBehind.Metrics
    readonly board: WriteBehind.Metrics
    readonly coordinator: WriteCoordinator.Metrics
  }
  /** How many batches the queues have written, as they were told. */
  readonly batches: { readonly flights: number; readonly board: number }
  /** What the airports have written, as their tables say. */
  readonly airports: { readonly saves: number; readonly slots: number }
}

const conservation = (
  name: string,
  { coalesced, dropped, held, offered, refused, settled }: WriteBehind.Metrics
): Claim =>
  claim(
    `${name}: offered = refused + coalesced + dropped + settled + held`,
    offered,
    refused + coalesced + dropped + settled + held
  )

const writesConserved = (
  { cancelled, held, offered, refused, settled }: WriteCoordinator.Metrics
): Claim =>
  claim(
    "coordinator: offered = refused + cancelled + settled + held",
    offered,
    refused + cancelled + settled + held
  )

/** What an entry has to stand for. */
interface Pending {
  flights: number
  delaySum: number
}

const differences = (row: FlightRow, flight: InputFlight): ReadonlyArray<string> =>
  (["date", "delay", "distance", "origin", "destination"] as const)
    .filter((field) => row[field] !== flight[field])
    .map((field) => `flights: row ${row.seq}: ${field} is ${row[field]}, not ${flight[field]}`)

/** Goes through the flights, and names whatever is wrong with the entries of the flights queue. */
const wrongFlights = ({ input, lost, written }: Evidence): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const rows = new Map(written.flights.map((row) => [row.seq, row]))
  const losses = new Map(lost.flights.map((loss) => [loss.seq, loss]))
  const waiting = new Map<string, Pending>()
  for (const flight of input) {
    const key = `${flight.origin}-${flight.destination}`
    const pending = waiting.get(key) ?? { flights: 0, delaySum: 0 }
    pending.flights += 1
    pending.delaySum += flight.delay
    waiting.set(key, pending)
    const row = rows.get(flight.seq)
    const loss = losses.get(flight.seq)
    if (row !== undefined && loss !== undefined) {
      wrong.push(`flights: row ${row.seq} is there, but was reported as lost`)
    }
    if (row !== undefined) wrong.push(...differences(row, flight))
    const entry = row === undefined ? loss : { flights: row.flights, delaySum: row.delay_sum }
    if (entry === undefined) continue
    waiting.delete(key)
    rows.delete(flight.seq)
    losses.delete(flight.seq)
    if (entry.flights !== pending.flights || entry.delaySum !== pending.delaySum) {
      wrong.push(
        `flights: entry ${flight.seq} stands for ${entry.flights} flights with a delay of ${entry.delaySum}, `
          + `not ${pending.flights} with ${pending.delaySum}`
      )
    }
  }
  for (const [key, { flights }] of waiting) wrong.push(`flights: ${flights} of ${key} are neither written nor lost`)
  for (const seq of rows.keys()) wrong.push(`flights: row ${seq} is of no flight`)
  for (const seq of losses.keys()) wrong.push(`flights: ${seq} was reported as lost, but is of no flight`)
  return wrong
}

/** The flights of each airport that the board must have seen: all but those in lost entries. */
const boardFlights = ({ input, lost }: Evidence): ReadonlyMap<string, ReadonlyArray<InputFlight>> => {
  const losses = new Map(lost.board.map((loss) => [loss.seq, loss]))
  const seen = new Map<string, Array<InputFlight>>()
  for (const flight of input) {
    const ofAirport = seen.get(flight.origin)
    if (ofAirport === undefined) seen.set(flight.origin, [flight])
    else ofAirport.push(flight)
    const loss = losses.get(flight.seq)
    // The entry stood for this flight and those of the airport just before it.
    if (loss !== undefined) seen.get(flight.origin)!.splice(-loss.flights)
  }
  return new Map([...seen].filter(([, flights]) => flights.length > 0))
}

const wrongAirport = (
  row: BoardRow | undefined,
  airport: string,
  seen: ReadonlyArray<InputFlight>
): string | undefined => {
  const last = seen[seen.length - 1]
  if (row === undefined) return `board: ${airport} is missing`
  const expected = {
    seq: last.seq,
    date: last.date,
    delay: last.delay,
    destination: last.destination,
    flights: seen.length,
    delay_sum: sumOf(seen, delayOf)
  }
  for (const field of Object.keys(expected) as ReadonlyArray<keyof typeof expected>) {
    if (row[field] !== expected[field]) {
      return `board: ${airport}: ${field} is ${row[field]}, not ${expected[field]}`
    }
  }
  return undefined
}

const wrongBoard = (evidence: Evidence): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const rows = new Map(evidence.written.board.map((row) => [row.airport, row]))
  for (const [airport, seen] of boardFlights(evidence)) {
    const problem = wrongAirport(rows.get(airport), airport, seen)
    if (problem !== undefined) wrong.push(problem)
    rows.delete(airport)
  }
  for (const airport of rows.keys()) wrong.push(`board: ${airport} has had no departure`)
  return wrong
}

/** Compares the sums, and then the queue's own counts with what can be counted in the tables. */
const claimsOf = (evidence: Evidence): ReadonlyArray<Claim> => {
  const { airports, batches, input, lost, metrics, written } = evidence
  const { board, flights } = written
  const merged = sumOf(flights, (row) => row.flights - 1) + sumOf(lost.flights, (loss) => loss.flights - 1)
  const delays = sumOf(input, delayOf)
  return [
    claim("flights: rows + merged + lost = input", input.length, flights.length + merged + lost.flights.length),
    claim(
      "flights: delays of rows + of lost = of input",
      delays,
      sumOf(flights, (row) => row.delay_sum) + sumOf(lost.flights, (loss) => loss.delaySum)
    ),
    claim(
      "board: departures + lost = input",
      input.length,
      sumOf(board, (row) => row.flights) + sumOf(lost.board, (loss) => loss.flights)
    ),
    claim(
      "board: delays + of lost = of input",
      delays,
      sumOf(board, (row) => row.delay_sum) + sumOf(lost.board, (loss) => loss.delaySum)
    ),
    conservation("flights", metrics.flights),
    conservation("board", metrics.board),
    claim("flights: settled = rows", flights.length, metrics.flights.settled),
    claim("flights: coalesced = merged", merged, metrics.flights.coalesced),
    claim(
      "flights: dropped + refused = reported",
      lost.flights.length,
      metrics.flights.dropped + metrics.flights.refused
    ),
    claim("board: settled = writes of its rows", sumOf(board, (row) => row.writes), metrics.board.settled),
    claim("board: dropped + refused = reported", lost.board.length, metrics.board.dropped + metrics.board.refused),
    writesConserved(metrics.coordinator),
    claim(
      "coordinator: succeeded = batches settled + statistics saved + slots given",
      batches.flights + batches.board + airports.saves + airports.slots,
      metrics.coordinator.succeeded
    )
  ]
}

export const check = (evidence: Evidence): Verdict => {
  const flights = wrongFlights(evidence)
  const board = wrongBoard(evidence)
  const claims = [
    ...claimsOf(evidence),
    claim("flights: rows that differ from the input", 0, flights.length),
    claim("board: airports that differ from the input", 0, board.length)
  ]
  return verdictOf(claims, [...flights, ...board])
}

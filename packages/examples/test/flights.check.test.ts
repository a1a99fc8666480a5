import { describe, expect, it } from "vitest"
import { check, type Evidence } from "../src/flights/check.ts"
import { type Departure, departure, Flight, merge } from "../src/flights/Flight.ts"
import type { BoardRow, FlightRow } from "../src/flights/sink.ts"
import type { InputFlight } from "../src/flights/Verdict.ts"

const flight = (seq: number, origin: string, destination: string, delay: number): InputFlight => ({
  seq,
  date: `2001/01/01 00:0${seq}`,
  delay,
  distance: 100,
  origin,
  destination
})

const input = [
  flight(1, "LAX", "SFO", 5),
  flight(2, "SEA", "SFO", -3),
  flight(3, "LAX", "SFO", 8),
  flight(4, "LAX", "SEA", 0)
]

const departureOf = (from: InputFlight): Departure => departure({ seq: from.seq, flight: Flight.make(from) }, 0)

const rowOf = ({ delaySum, flight, flights, seq }: Departure): FlightRow => ({
  seq,
  date: flight.date,
  delay: flight.delay,
  distance: flight.distance,
  origin: flight.origin,
  destination: flight.destination,
  flights,
  delay_sum: delaySum
})

const airport = (last: InputFlight, flights: number, delay_sum: number, writes: number): BoardRow => ({
  airport: last.origin,
  seq: last.seq,
  date: last.date,
  delay: last.delay,
  destination: last.destination,
  flights,
  delay_sum,
  writes
})

const metrics = {
  offered: 4,
  refused: 0,
  coalesced: 0,
  dropped: 0,
  droppedByReason: {},
  settled: 4,
  held: 0,
  depth: 0,
  inFlight: 0,
  batches: 1,
  batchesByTrigger: { size: 0, pushes: 0, bytes: 0, linger: 0, manual: 0, shutdown: 1 },
  retries: 0
}

const coordinator = {
  name: "writes",
  offered: 8,
  refused: 0,
  cancelled: 0,
  settled: 8,
  succeeded: 7,
  failed: 1,
  held: 0,
  depth: 0,
  inFlight: 0,
  waiting: 0,
  capacity: 256,
  batches: 3
}

/** Every flight has a row, and the board was written once for each airport. */
const right: Evidence = {
  input,
  written: {
    flights: input.map(departureOf).map(rowOf),
    board: [airport(input[3], 3, 13, 1), airport(input[1], 1, -3, 1)]
  },
  lost: { flights: [], board: [] },
  metrics: { flights: metrics, board: { ...metrics, coalesced: 2, settled: 2 }, coordinator },
  batches: { flights: 1, board: 1 },
  airports: { saves: 2, slots: 3 }
}

const withRows = (flights: ReadonlyArray<FlightRow>): Evidence => ({
  ...right,
  written: { ...right.written, flights }
})

const withBoard = (board: ReadonlyArray<BoardRow>): Evidence => ({ ...right, written: { ...right.written, board } })

const changed = <A>(rows: ReadonlyArray<A>, at: number, change: Partial<A>): ReadonlyArray<A> =>
  rows.map((row, index) => index === at ? { ...row, ...change } : row)

const { board, flights } = right.written

describe("the check", () => {
  it("holds where every flight has its row", () => {
    expect(check(right)).toMatchObject({ holds: true, examples: [] })
  })

  it("holds where a flight was reported as lost", () => {
    const lost = departureOf(input[2])
    expect(check({
      ...right,
      written: { ...right.written, flights: flights.filter(({ seq }) => seq !== 3) },
      lost: { flights: [lost], board: [] },
      metrics: { ...right.metrics, flights: { ...metrics, settled: 3, dropped: 1 } }
    })).toMatchObject({ holds: true })
  })

  it("holds where flights of a route were merged into one row", () => {
    const merged = merge(departureOf(input[0]), departureOf(input[2]))
    expect(check({
      ...right,
      written: { ...right.written, flights: [rowOf(merged), flights[1], flights[3]] },
      metrics: { ...right.metrics, flights: { ...metrics, settled: 3, coalesced: 1 } }
    })).toMatchObject({ holds: true })
  })

  it("expects the board as it was before a lost entry, with all the flights that the entry stood for", () => {
    const lost = merge(departureOf(input[2]), departureOf(input[3]))
    const evidence: Evidence = {
      ...right,
      written: { ...right.written, board: [airport(input[0], 1, 5, 1), board[1]] },
      lost: { flights: [], board: [lost] },
      metrics: { ...right.metrics, board: { ...metrics, coalesced: 1, dropped: 1, settled: 2 } }
    }
    expect(check(evidence)).toMatchObject({ holds: true })
    expect(check({ ...evidence, written: right.written })).toMatchObject({ holds: false })
  })

  it.each<readonly [string, Evidence]>([
    ["a row is missing", withRows(flights.slice(1))],
    ["a row is of no flight", withRows([...flights, { ...flights[0], seq: 9 }])],
    ["a row has another delay", withRows(changed(flights, 1, { delay: 4 }))],
    ["a row has another sum of delays", withRows(changed(flights, 1, { delay_sum: 4 }))],
    ["a row has another destination", withRows(changed(flights, 1, { destination: "LAX" }))],
    [
      "two rows have exchanged their delays",
      withRows(changed(changed(flights, 0, { delay_sum: 8, delay: 8 }), 2, {
        delay_sum: 5,
        delay: 5
      }))
    ],
    ["a row stands for two flights, and stands for one", withRows(changed(flights, 0, { flights: 2 }))],
    ["a flight was written and reported as lost", { ...right, lost: { flights: [departureOf(input[0])], board: [] } }],
    ["an airport is missing", withBoard([board[0]])],
    ["an airport has had no departure", withBoard([...board, { ...board[0], airport: "JFK" }])],
    ["the board shows the departure before the last", withBoard(changed(board, 0, { seq: 3, destination: "SFO" }))],
    ["the board counts a flight too few", withBoard(changed(board, 0, { flights: 2 }))],
    ["the board has another sum of delays", withBoard(changed(board, 1, { delay_sum: 0 }))],
    ["a queue has settled more than there are rows", {
      ...right,
      metrics: { ...right.metrics, flights: { ...metrics, settled: 5, offered: 5 } }
    }],
    ["a queue has lost an item without a count", {
      ...right,
      metrics: { ...right.metrics, flights: { ...metrics, offered: 5 } }
    }],
    ["a queue still holds something", { ...right, metrics: { ...right.metrics, board: { ...metrics, held: 1 } } }],
    ["the coordinator has lost a write without a count", {
      ...right,
      metrics: { ...right.metrics, coordinator: { ...coordinator, offered: 9 } }
    }],
    ["a write of the coordinator has succeeded that no queue was told of", {
      ...right,
      metrics: { ...right.metrics, coordinator: { ...coordinator, offered: 9, settled: 9, succeeded: 8 } }
    }],
    ["a queue was told of a write that has not succeeded in the coordinator", {
      ...right,
      batches: { flights: 2, board: 1 }
    }],
    ["an airport has saved more than has succeeded in the coordinator", { ...right, airports: { saves: 3, slots: 3 } }],
    ["an airport has lost a slot that has succeeded in the coordinator", {
      ...right,
      airports: { saves: 2, slots: 2 }
    }],
    ["a queue has counted a drop that it did not report", {
      ...right,
      metrics: { ...right.metrics, flights: { ...metrics, offered: 5, dropped: 1 } }
    }]
  ])("does not hold where %s", (_, evidence) => {
    expect(check(evidence).holds).toBe(false)
  })
})

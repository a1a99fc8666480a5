import { describe, expect, it } from "vitest"
import { check, type Evidence } from "../src/flights/routes/check.ts"
import type { CountRow, DeliveryRow } from "../src/flights/routes/RouteCounts.ts"
import type { InputFlight } from "../src/flights/Verdict.ts"

const flight = (seq: number, destination: string, delay: number): InputFlight => ({
  seq,
  date: `2001/01/01 00:0${seq}`,
  delay,
  distance: 100,
  origin: "LAX",
  destination
})

const input = [
  flight(1, "SFO", 5),
  flight(2, "SEA", -3),
  flight(3, "SFO", 8),
  flight(4, "SEA", 0),
  flight(5, "SFO", 1)
]

const count = (route: string, flights: number, delay_sum: number): CountRow => ({ route, flights, delay_sum })

const row = (
  process: number,
  delivery: number,
  batch: number,
  [first_seq, last_seq]: readonly [number, number],
  counted: CountRow
): DeliveryRow => ({ process, delivery, batch, first_seq, last_seq, ...counted })

const first = [
  row(1, 1, 1, [1, 3], count("LAX-SFO", 2, 13)),
  row(1, 1, 1, [2, 2], count("LAX-SEA", 1, -3))
]
const second = [
  row(1, 2, 4, [4, 4], count("LAX-SEA", 1, 0)),
  row(1, 2, 4, [5, 5], count("LAX-SFO", 1, 1))
]
const secondAgain = second.map((row) => ({ ...row, process: 2, delivery: 1 }))

const metrics = {
  offered: 5,
  refused: 0,
  coalesced: 1,
  duplicates: 0,
  dropped: 0,
  droppedByReason: {},
  stored: 4,
  storedByTrigger: { size: 4, pushes: 0, bytes: 0, linger: 0, manual: 0, shutdown: 0 },
  settled: 0,
  retries: 0,
  batchesFailed: 0,
  leasesLost: 0,
  deadLettered: 0,
  redriven: 0,
  discarded: 0,
  held: 0,
  depth: 0,
  buffered: 0,
  inFlight: 0
}

/** Nothing was killed: two batches, counted once each. */
const once: Evidence = {
  input,
  counted: { counts: [count("LAX-SEA", 2, -3), count("LAX-SFO", 3, 14)], deliveries: [...first, ...second] },
  inFlight: [],
  metrics,
  stats: {
    pending: { batches: 0, items: 0 },
    dead: { batches: 0, items: 0 },
    newer: { batches: 0, items: 0 },
    oldestAtMillis: undefined,
    heldUntilMillis: undefined
  }
}

/** The second batch was in flight at the kill, and was counted twice. */
const twice: Evidence = {
  ...once,
  counted: {
    counts: [count("LAX-SEA", 3, -3), count("LAX-SFO", 4, 15)],
    deliveries: [...first, ...second, ...secondAgain]
  },
  inFlight: [4]
}

const withCounts = (counts: ReadonlyArray<CountRow>, of = twice): Evidence => ({
  ...of,
  counted: { ...of.counted, counts }
})

const withDeliveries = (deliveries: ReadonlyArray<DeliveryRow>, of = twice): Evidence => ({
  ...of,
  counted: { ...of.counted, deliveries }
})

const changed = <A>(rows: ReadonlyArray<A>, at: number, change: Partial<A>): ReadonlyArray<A> =>
  rows.map((row, index) => index === at ? { ...row, ...change } : row)

/** What the counts are if exactly these deliveries were counted. */
const countsOf = (deliveries: ReadonlyArray<DeliveryRow>): ReadonlyArray<CountRow> =>
  ["LAX-SEA", "LAX-SFO"].map((route) => {
    const rows = deliveries.filter((row) => row.route === route)
    const sum = (field: "flights" | "delay_sum") => rows.reduce((sum, row) => sum + row[field], 0)
    return count(route, sum("flights"), sum("delay_sum"))
  })

const counting = (deliveries: ReadonlyArray<DeliveryRow>, of = twice): Evidence =>
  withCounts(countsOf(deliveries), withDeliveries(deliveries, of))

const third = { process: 2, delivery: 2 }

describe("the check of the routes", () => {
  it("holds where nothing was killed, and every batch was counted once", () => {
    const { batches, deliveries, twice, verdict } = check(once)
    expect(verdict).toMatchObject({ holds: true, examples: [] })
    expect({ batches, deliveries, twice }).toEqual({
      batches: 2,
      deliveries: 2,
      twice: { batches: 0, increments: 0 }
    })
  })

  it("holds where the batch in flight at the kill was counted twice, and says how much that was", () => {
    const { batches, deliveries, twice: found, verdict } = check(twice)
    expect(verdict).toMatchObject({ holds: true, examples: [] })
    expect({ batches, deliveries, found }).toEqual({
      batches: 2,
      deliveries: 3,
      found: { batches: 1, increments: 2 }
    })
  })

  it("holds where every batch was in flight", () => {
    const all = [...first, ...second, ...secondAgain, ...first.map((row) => ({ ...row, ...third }))]
    expect(check({ ...counting(all), inFlight: [1, 4] }).verdict).toMatchObject({ holds: true, examples: [] })
  })

  it("holds where there was no flight", () => {
    const none = { ...metrics, offered: 0, coalesced: 0, stored: 0 }
    expect(check({ ...once, input: [], counted: { counts: [], deliveries: [] }, metrics: none }).verdict.holds).toBe(
      true
    )
  })

  const { counts, deliveries } = twice.counted

  it.each<readonly [string, Evidence]>([
    ["an increment is missing in a count", withCounts(changed(counts, 0, { flights: 2 }))],
    ["an increment is missing in a count, and another count has one too many", {
      ...withCounts(changed(changed(counts, 0, { flights: 2 }), 1, { flights: 5 }))
    }],
    ["a count has another delay", withCounts(changed(counts, 1, { delay_sum: 16 }))],
    ["a count is missing", withCounts(counts.slice(1))],
    ["there is a count of no flight", withCounts([...counts, count("LAX-JFK", 0, 0)])],
    ["a batch was never counted", counting(second, once)],
    ["a batch was counted without one of its increments", counting(first.slice(1).concat(second), once)],
    ["an increment stands for a flight too few", counting(changed(deliveries, 0, { flights: 1, last_seq: 1 }))],
    ["an increment stands for other flights", counting(changed(deliveries, 0, { last_seq: 5 }))],
    ["an increment has another delay", counting(changed(once.counted.deliveries, 0, { delay_sum: 12 }), once)],
    ["two batches have the same flight", counting([...first, ...second, row(1, 3, 5, [5, 5], count("LAX-SFO", 1, 1))])],
    ["a batch was counted twice without a kill", { ...twice, inFlight: [] }],
    ["another batch than that in flight was counted twice", { ...twice, inFlight: [1] }],
    ["a batch in flight was not counted again", { ...once, inFlight: [4] }],
    [
      "a batch in flight was counted three times",
      counting([
        ...deliveries,
        ...second.map((row) => ({ ...row, ...third }))
      ])
    ],
    [
      "a batch that was not in flight was counted twice as well",
      counting([...deliveries, ...first.map((row) => ({ ...row, ...third }))])
    ],
    ["a batch came back with other contents", counting(changed(deliveries, 5, { delay_sum: 2 }))],
    ["a batch came back without one of its increments", counting(deliveries.slice(0, 5))],
    [
      "an increment was counted twice in a count alone",
      withCounts(changed(once.counted.counts, 0, { flights: 3 }), once)
    ],
    ["a batch is left in the store", {
      ...once,
      stats: { ...once.stats, pending: { batches: 1, items: 1 } }
    }],
    ["a batch is a dead letter", { ...once, stats: { ...once.stats, dead: { batches: 1, items: 1 } } }],
    ["the queue has lost an increment without a count", { ...once, metrics: { ...metrics, offered: 6 } }],
    ["the queue has stored more than was counted", { ...once, metrics: { ...metrics, offered: 6, stored: 5 } }],
    ["the queue has merged less than the increments say", {
      ...once,
      metrics: { ...metrics, offered: 4, coalesced: 0 }
    }]
  ])("does not hold where %s", (_, evidence) => {
    expect(check(evidence).verdict.holds).toBe(false)
  })
})

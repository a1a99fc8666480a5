import { describe, expect, it } from "vitest"
import { check, type Evidence } from "../src/flights/airports/check.ts"
import type { SlotRow } from "../src/flights/airports/SlotBook.ts"
import type { Statistics } from "../src/flights/airports/Statistics.ts"
import { Told } from "../src/flights/airports/Told.ts"
import type { InputFlight } from "../src/flights/Verdict.ts"

const flight = (seq: number, origin: string, delay: number, day = 1): InputFlight => ({
  seq,
  date: `2001/01/0${day} 10:00`,
  delay,
  distance: 100,
  origin,
  destination: "SFO"
})

/** An airport has two slots a day: the third late flight of the first day at LAX is refused. */
const input = [
  flight(1, "LAX", 35),
  flight(2, "SEA", -3),
  flight(3, "LAX", 60),
  flight(4, "LAX", 60),
  flight(5, "LAX", 30),
  flight(6, "SEA", 31),
  flight(7, "LAX", 45, 2)
]

const lax: Statistics = {
  airport: "LAX",
  flights: 5,
  late: 4,
  delay_sum: 230,
  worst_delay: 60,
  worst_seq: 3,
  saves: 2
}
const sea: Statistics = { airport: "SEA", flights: 2, late: 1, delay_sum: 28, worst_delay: 31, worst_seq: 6, saves: 1 }

const slot = (airport: string, version: number, seq: number, day: number, slot: number): SlotRow => ({
  airport,
  version,
  seq,
  day: `2001/01/0${day}`,
  slot
})

const slots = [slot("LAX", 1, 1, 1, 1), slot("LAX", 2, 3, 1, 2), slot("LAX", 3, 7, 2, 1), slot("SEA", 1, 6, 1, 1)]

/** What the flights were told, with changes. The answer to flight 3 was lost, and it asked again. */
const toldWith = (change: (told: Told) => void): Told => {
  const told = new Told()
  for (const number of [3, 1, 2, 5, 4]) told.numbered("LAX", number)
  for (const number of [1, 2]) told.numbered("SEA", number)
  for (const { seq, version } of slots) told.given.set(seq, version)
  told.refused.add(4)
  told.answersLost = 1
  told.found = 1
  told.countedAgain = 2
  change(told)
  return told
}

const keyedMetrics = {
  offered: 9,
  refused: 0,
  cancelled: 0,
  settled: 9,
  succeeded: 7,
  failed: 2,
  held: 0,
  depth: 0,
  inFlight: 0,
  batches: 4,
  batchesFailed: 1,
  loads: 4,
  saves: 4,
  keys: 0
}

const poolMetrics = {
  offered: 6,
  refused: 0,
  cancelled: 0,
  dropped: 0,
  droppedByReason: {},
  settled: 6,
  succeeded: 3,
  rejected: 2,
  failed: 1,
  conflicts: 0,
  held: 0,
  depth: 0,
  inFlight: 0,
  keys: 2
}

const right: Evidence = {
  input,
  durationMillis: 2_500,
  told: toldWith(() => {}),
  statistics: {
    rows: [lax, sea],
    loads: { times: 4, failed: 0 },
    saves: { times: 4, failed: 1 },
    metrics: keyedMetrics
  },
  slots: { rows: slots, counts: { rolledBack: 3, lookups: 3 }, metrics: poolMetrics }
}

const withStatistics = (change: Partial<Evidence["statistics"]>): Evidence => ({
  ...right,
  statistics: { ...right.statistics, ...change }
})

const withSlots = (change: Partial<Evidence["slots"]>): Evidence => ({ ...right, slots: { ...right.slots, ...change } })

const withTold = (change: (told: Told) => void): Evidence => ({ ...right, told: toldWith(change) })

const changed = <A>(rows: ReadonlyArray<A>, at: number, change: Partial<A>): ReadonlyArray<A> =>
  rows.map((row, index) => index === at ? { ...row, ...change } : row)

const withRow = (at: number, change: Partial<Statistics>) => withStatistics({ rows: changed([lax, sea], at, change) })

const wrongClaims = (evidence: Evidence): ReadonlyArray<string> =>
  check(evidence).verdict.claims.filter(({ holds }) => !holds).map(({ claim }) => claim)

describe("the check of the airports", () => {
  it("holds where every flight is counted, and late ones were given the slots that there are", () => {
    expect(check(right)).toMatchObject({ verdict: { holds: true, examples: [] }, airports: 2, flights: 7 })
  })

  it("holds where there was no flight", () => {
    const none = { times: 0, failed: 0 }
    expect(
      check({
        input: [],
        durationMillis: 0,
        told: new Told(),
        statistics: {
          rows: [],
          loads: none,
          saves: none,
          metrics: { ...keyedMetrics, offered: 0, settled: 0, succeeded: 0, failed: 0 }
        },
        slots: {
          rows: [],
          counts: { rolledBack: 0, lookups: 0 },
          metrics: { ...poolMetrics, offered: 0, settled: 0, succeeded: 0, rejected: 0, failed: 0 }
        }
      }).verdict.holds
    ).toBe(true)
  })

  it("allows no more loads than one an airport in each second, and one for four flights where there are many", () => {
    const many = Array.from({ length: 50 }, (_, index) => flight(index + 1, "LAX", 0))
    const claims = (times: number) =>
      wrongClaims({ ...withStatistics({ loads: { times, failed: 0 } }), input: many })
        .filter((name) => name.startsWith("statistics: loads"))
    // Two full seconds and a half: five batches at most, one of which may have failed.
    expect(claims(5)).toEqual([])
    expect(claims(6)).toEqual(["statistics: loads, one an airport in 1000 ms"])
    expect(claims(13)).toEqual(["statistics: loads, one an airport in 1000 ms", "statistics: loads, one for 4 flights"])
  })

  it.each<readonly [string, Evidence, string]>([
    ["a flight is missing in a row", withRow(0, { flights: 4 }), "statistics: flights = input"],
    ["a row has another delay", withRow(0, { delay_sum: 229 }), "statistics: delays = of input"],
    ["a late flight is missing", withRow(0, { late: 3 }), "statistics: airports that differ from the input"],
    ["another flight is the worst", withRow(0, { worst_seq: 4 }), "statistics: airports that differ from the input"],
    [
      "two airports have exchanged a flight",
      withStatistics({ rows: [{ ...lax, flights: 4 }, { ...sea, flights: 3 }] }),
      "statistics: airports that differ from the input"
    ],
    ["an airport is missing", withStatistics({ rows: [lax] }), "statistics: airports that differ from the input"],
    [
      "there is an airport without flights",
      withStatistics({ rows: [lax, sea, { ...sea, airport: "JFK" }] }),
      "statistics: airports that differ from the input"
    ],
    [
      "a save was overwritten by another",
      withRow(0, { saves: 1 }),
      "statistics: saves of the rows = saves that did not fail"
    ],
    [
      "two flights were told the same number",
      withTold(({ numbers }) => numbers.set("SEA", [1, 1])),
      "statistics: airports whose flights were not told 1 to n, once each"
    ],
    [
      "a flight was told nothing",
      withTold(({ numbers }) => numbers.set("SEA", [1])),
      "statistics: airports whose flights were not told 1 to n, once each"
    ],
    [
      "an operation was lost without a count",
      withStatistics({ metrics: { ...keyedMetrics, offered: 10 } }),
      "statistics: offered = refused + cancelled + settled + held"
    ],
    [
      "an operation ran once more than there are flights",
      withStatistics({ metrics: { ...keyedMetrics, offered: 10, settled: 10, succeeded: 8 } }),
      "statistics: succeeded = input"
    ],
    [
      "an operation failed, and its flight was not told",
      withTold((told) => told.countedAgain = 1),
      "statistics: failed with their batch = tried again"
    ],
    ["a row is missing", withSlots({ rows: slots.slice(0, 3) }), "slots: rows = given"],
    [
      "a version is missing",
      withSlots({ rows: changed(slots, 2, { version: 4 }) }),
      "slots: airports whose versions are not 1 to n, without gap or repeat"
    ],
    [
      "a version is there twice",
      withSlots({ rows: changed(slots, 2, { version: 2 }) }),
      "slots: airports whose versions are not 1 to n, without gap or repeat"
    ],
    [
      "a flight was told another version",
      withTold(({ given }) => given.set(7, 2)),
      "slots: versions that their callers were told wrongly"
    ],
    [
      "two flights of an airport came in the wrong order",
      withSlots({ rows: changed(changed(slots, 0, { seq: 3 }), 1, { seq: 1 }) }),
      "slots: airports that differ from the input"
    ],
    [
      "one slot more was given than there are",
      {
        ...withSlots({ rows: [...slots.slice(0, 2), slot("LAX", 3, 4, 1, 3), slot("LAX", 4, 7, 2, 1), slots[3]] }),
        told: toldWith(({ given, refused }) => {
          refused.delete(4)
          given.set(4, 3)
          given.set(7, 4)
        })
      },
      "slots: airports that differ from the input"
    ],
    [
      "a flight that was refused left a row",
      withSlots({ rows: [...slots, slot("SEA", 2, 4, 1, 2)] }),
      "slots: refused departures that left a row"
    ],
    [
      "a flight was never answered",
      withTold(({ refused }) => refused.clear()),
      "slots: given + refused = late departures"
    ],
    [
      "a command was lost without a count",
      withSlots({ metrics: { ...poolMetrics, offered: 7 } }),
      "slots: offered = refused + cancelled + dropped + settled + held"
    ],
    [
      "a command that succeeded left nothing",
      withSlots({ metrics: { ...poolMetrics, offered: 7, settled: 7, succeeded: 4 } }),
      "slots: rows = succeeded + answers lost"
    ],
    [
      "an outcome was unknown, and no answer was lost",
      withSlots({ metrics: { ...poolMetrics, offered: 7, settled: 7, failed: 2 } }),
      "slots: failed = answers lost"
    ],
    [
      "a command was rejected, and nobody was told",
      withSlots({ metrics: { ...poolMetrics, offered: 7, settled: 7, rejected: 3 } }),
      "slots: rejected = refused + found on the second try"
    ],
    [
      "the version was not looked up after an answer was lost",
      withSlots({ counts: { rolledBack: 3, lookups: 2 } }),
      "slots: versions looked up = airports + answers lost"
    ]
  ])("does not hold where %s", (_, evidence, claim) => {
    expect(check(evidence).verdict.holds).toBe(false)
    expect(wrongClaims(evidence)).toContain(claim)
  })
})

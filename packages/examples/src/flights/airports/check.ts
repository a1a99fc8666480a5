/**
 * Does it add up at each airport? Works out from the input alone what the tables must hold, and compares: row by row,
 * and with what each caller was told. Pure, and it believes no counter but those that it compares with the tables.
 *
 * The statistics are a matter of each flight being counted once, in whatever order. The slots are a matter of order: who
 * asks first is given one, and versions go up by one for each that was given.
 */
import type { KeyedBatch, ShardPool } from "@sluice/core"
import { atMost, type Claim, claim, delayOf, type InputFlight, sumOf, type Verdict, verdictOf } from "../Verdict.ts"
import { type BookCounts, settings as slotSettings, type SlotRow } from "./SlotBook.ts"
import { lateFromMinutes, type Statistics } from "./Statistics.ts"
import { settings as statisticsSettings } from "./StatisticsBatch.ts"
import type { Asked } from "./StatisticsTable.ts"
import type { Told } from "./Told.ts"

export interface Evidence {
  /** The flights that were offered, in order. */
  readonly input: ReadonlyArray<InputFlight>
  readonly durationMillis: number
  readonly told: Told
  readonly statistics: {
    readonly rows: ReadonlyArray<Statistics>
    readonly loads: Asked
    readonly saves: Asked
    readonly metrics: KeyedBatch.Metrics
  }
  readonly slots: {
    readonly rows: ReadonlyArray<SlotRow>
    readonly counts: BookCounts
    readonly metrics: ShardPool.Metrics
  }
}

export interface Findings {
  readonly verdict: Verdict
  readonly airports: number
  readonly flights: number
}

const grouped = <A>(items: Iterable<A>, airportOf: (item: A) => string): ReadonlyMap<string, ReadonlyArray<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const item of items) {
    const group = groups.get(airportOf(item))
    if (group === undefined) groups.set(airportOf(item), [item])
    else group.push(item)
  }
  return groups
}

type Departures = ReadonlyMap<string, ReadonlyArray<InputFlight>>

const isLate = ({ delay }: InputFlight): boolean => delay >= lateFromMinutes

const expectedStatistics = (airport: string, flights: ReadonlyArray<InputFlight>): Omit<Statistics, "saves"> => {
  const [worst] = [...flights].sort((one, other) => other.delay - one.delay || one.seq - other.seq)
  return {
    airport,
    flights: flights.length,
    late: flights.filter(isLate).length,
    delay_sum: sumOf(flights, delayOf),
    worst_delay: worst.delay,
    worst_seq: worst.seq
  }
}

/** Names the first field of each row that is not what the flights of its airport make it. */
const wrongStatistics = (departures: Departures, rows: ReadonlyArray<Statistics>): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const found = new Map(rows.map((row) => [row.airport, row]))
  for (const [airport, flights] of departures) {
    const row = found.get(airport)
    found.delete(airport)
    if (row === undefined) {
      wrong.push(`statistics: ${airport} is missing`)
      continue
    }
    const expected = expectedStatistics(airport, flights)
    const fields = Object.keys(expected) as ReadonlyArray<keyof typeof expected>
    const field = fields.find((field) => row[field] !== expected[field])
    if (field !== undefined) wrong.push(`statistics: ${airport}: ${field} is ${row[field]}, not ${expected[field]}`)
  }
  for (const airport of found.keys()) wrong.push(`statistics: ${airport} has had no flight`)
  return wrong
}

/** Whether these are 1, 2, 3, ..., each once, in this order. */
const countsUp = (numbers: ReadonlyArray<number>): boolean => numbers.every((number, index) => number === index + 1)

/** Each flight was told which of its airport it is: so no number is missing, and none is there twice. */
const wrongNumbers = (departures: Departures, { numbers }: Told): ReadonlyArray<string> =>
  [...departures].flatMap(([airport, { length }]) => {
    const told = [...numbers.get(airport) ?? []].sort((one, other) => one - other)
    return told.length === length && countsUp(told)
      ? []
      : [`statistics: the flights of ${airport} were not told 1 to ${length}, once each`]
  })

/**
 * How many batches there can be: for each airport one in each period, and no more than it has flights. A batch that
 * fails may be followed by another at once.
 */
const mostBatches = (departures: Departures, { durationMillis, statistics: { loads, saves } }: Evidence): number => {
  const periods = Math.floor(durationMillis / statisticsSettings.minDurationMillis) + 2
  return sumOf(departures.values(), ({ length }) => Math.min(length, periods)) + loads.failed + saves.failed
}

/** How many flights share a load at least, where they come fast enough for that. */
const leastFlightsALoad = 4

const statisticsClaims = (evidence: Evidence, departures: Departures): ReadonlyArray<Claim> => {
  const { input, statistics: { loads, metrics, rows, saves }, told } = evidence
  const { cancelled, failed, held, offered, refused, settled, succeeded } = metrics
  const most = mostBatches(departures, evidence)
  return [
    claim("statistics: flights = input", input.length, sumOf(rows, ({ flights }) => flights)),
    claim("statistics: delays = of input", sumOf(input, delayOf), sumOf(rows, ({ delay_sum }) => delay_sum)),
    claim(
      "statistics: offered = refused + cancelled + settled + held",
      offered,
      refused + cancelled + settled + held
    ),
    claim("statistics: succeeded = input", input.length, succeeded),
    claim("statistics: failed with their batch = tried again", told.countedAgain, failed),
    claim("statistics: saves of the rows = saves that did not fail", saves.times - saves.failed, sumRowSaves(rows)),
    atMost(`statistics: loads, one an airport in ${statisticsSettings.minDurationMillis} ms`, most, loads.times),
    atMost(`statistics: saves, one an airport in ${statisticsSettings.minDurationMillis} ms`, most, saves.times),
    // A slow producer has nothing to share: then there is no more to be said than the two before this.
    ...(most * leastFlightsALoad > input.length ? [] : [
      atMost(
        `statistics: loads, one for ${leastFlightsALoad} flights`,
        Math.floor(input.length / leastFlightsALoad),
        loads.times
      )
    ])
  ]
}

export const sumRowSaves = (rows: ReadonlyArray<Statistics>): number => sumOf(rows, ({ saves }) => saves)

/** The slots that the late departures of one airport are given when they ask in their order. */
const expectedSlots = (departures: ReadonlyArray<InputFlight>): ReadonlyArray<SlotRow> => {
  const given: Array<SlotRow> = []
  for (const { date, origin: airport, seq } of departures.filter(isLate)) {
    const day = date.slice(0, 10)
    const last = given[given.length - 1]
    const slot = last?.day === day ? last.slot + 1 : 1
    if (slot <= slotSettings.slotsADay) given.push({ airport, version: given.length + 1, seq, day, slot })
  }
  return given
}

const wrongSlots = (
  airport: string,
  expected: ReadonlyArray<SlotRow>,
  rows: ReadonlyArray<SlotRow>
): ReadonlyArray<string> => {
  const describe = ({ day, seq, slot, version }: SlotRow) =>
    `version ${version} is flight ${seq} in slot ${slot} of ${day}`
  const at = Array.from({ length: Math.max(expected.length, rows.length) }, (_, index) => index)
    .find((index) => JSON.stringify(valuesOf(rows[index])) !== JSON.stringify(valuesOf(expected[index])))
  if (at === undefined) return []
  const is = rows[at] === undefined ? "a row is missing" : describe(rows[at])
  return [`slots: ${airport}: ${is}, and not ${expected[at] === undefined ? "to be there" : describe(expected[at])}`]
}

const valuesOf = (row: SlotRow | undefined): unknown => row && [row.version, row.seq, row.day, row.slot]

const slotsClaims = (evidence: Evidence): ReadonlyArray<Claim> => {
  const { input, slots: { counts, metrics, rows }, told } = evidence
  const { cancelled, dropped, failed, held, offered, refused, rejected, settled, succeeded } = metrics
  const late = input.filter(isLate)
  const byAirport = grouped(rows, ({ airport }) => airport)
  const given = new Map(rows.map(({ seq, version }) => [seq, version]))
  const uncounted = [...byAirport.values()].filter((rows) => !countsUp(rows.map(({ version }) => version)))
  const untrue = [...told.given].filter(([seq, version]) => given.get(seq) !== version)
  return [
    claim("slots: given + refused = late departures", late.length, told.given.size + told.refused.size),
    claim("slots: rows = given", told.given.size, rows.length),
    claim("slots: airports whose versions are not 1 to n, without gap or repeat", 0, uncounted.length),
    claim("slots: versions that their callers were told wrongly", 0, untrue.length),
    claim("slots: refused departures that left a row", 0, [...told.refused].filter((seq) => given.has(seq)).length),
    claim(
      "slots: offered = refused + cancelled + dropped + settled + held",
      offered,
      refused + cancelled + dropped + settled + held
    ),
    claim("slots: settled = succeeded + rejected + failed", settled, succeeded + rejected + failed),
    claim("slots: offered = late departures + submitted again", late.length + told.answersLost, offered),
    claim("slots: rows = succeeded + answers lost", rows.length, succeeded + told.answersLost),
    claim("slots: failed = answers lost", told.answersLost, failed),
    claim("slots: rejected = refused + found on the second try", told.refused.size + told.found, rejected),
    claim(
      "slots: versions looked up = airports + answers lost",
      grouped(late, ({ origin }) => origin).size + told.answersLost,
      counts.lookups
    )
  ]
}

export const check = (evidence: Evidence): Findings => {
  const departures = grouped(evidence.input, ({ origin }) => origin)
  const statistics = wrongStatistics(departures, evidence.statistics.rows)
  const numbers = wrongNumbers(departures, evidence.told)
  const rows = grouped(evidence.slots.rows, ({ airport }) => airport)
  const slots = [...new Set([...departures.keys(), ...rows.keys()])].flatMap((airport) =>
    wrongSlots(airport, expectedSlots(departures.get(airport) ?? []), rows.get(airport) ?? [])
  )
  const claims = [
    ...statisticsClaims(evidence, departures),
    claim("statistics: airports that differ from the input", 0, statistics.length),
    claim("statistics: airports whose flights were not told 1 to n, once each", 0, numbers.length),
    ...slotsClaims(evidence),
    claim("slots: airports that differ from the input", 0, slots.length)
  ]
  return {
    verdict: verdictOf(claims, [...statistics, ...numbers, ...slots]),
    airports: departures.size,
    flights: evidence.input.length
  }
}

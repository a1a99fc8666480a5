/**
 * Does it add up, although a process was killed? Compares the counts of the routes with the input. Pure, and it believes
 * no counter: it knows the flights as they stand in the file, the tables, and what was in flight at the kill.
 *
 * Each flight is in one batch, merged with others of its route. A batch is known by its first flight. It is delivered
 * once, or once more where it was in flight at the kill; then it was counted, and not yet settled. So the counts are
 * those of the input, and once more those of the batches in flight; not less, and not more.
 */
import type { BatchQueue, BatchStore } from "@sluice/core"
import { type Claim, claim, delayOf, type InputFlight, sumOf, type Verdict, verdictOf } from "../Verdict.ts"
import { routeOf } from "./Increment.ts"
import type { Counted, CountRow, DeliveryRow } from "./RouteCounts.ts"

export interface Evidence {
  /** The flights that were offered, in order. */
  readonly input: ReadonlyArray<InputFlight>
  readonly counted: Counted
  /** The batches that were in flight when the process was killed; none where it was not. */
  readonly inFlight: ReadonlyArray<number>
  /** Of the process that has offered. */
  readonly metrics: BatchQueue.Metrics
  /** What is left in the store. */
  readonly stats: BatchStore.Stats
}

/** A batch, and everything that was counted for it, one delivery after the other. */
interface Batch {
  readonly id: number
  readonly deliveries: ReadonlyArray<ReadonlyArray<DeliveryRow>>
}

export interface Findings {
  readonly verdict: Verdict
  /** How many batches there were, and how many times one was counted. */
  readonly batches: number
  readonly deliveries: number
  readonly twice: {
    readonly batches: number
    /** Of flights: what the counts are too high by. */
    readonly increments: number
  }
}

const grouped = <A, K>(items: Iterable<A>, keyOf: (item: A) => K): ReadonlyMap<K, ReadonlyArray<A>> => {
  const groups = new Map<K, Array<A>>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

const batchesOf = (rows: ReadonlyArray<DeliveryRow>): ReadonlyArray<Batch> =>
  [...grouped(rows, ({ batch }) => batch)].map(([id, ofBatch]) => ({
    id,
    deliveries: [...grouped(ofBatch, ({ delivery, process }) => `${process} ${delivery}`).values()]
  }))

/** What is in a batch, whichever delivery it is. */
const contentsOf = (rows: ReadonlyArray<DeliveryRow>): string =>
  JSON.stringify(
    rows.map(({ delay_sum, first_seq, flights, last_seq, route }) => [first_seq, last_seq, route, flights, delay_sum])
      .sort(([one], [other]) => Number(one) - Number(other))
  )

const wrongDeliveries = (batches: ReadonlyArray<Batch>): ReadonlyArray<string> =>
  batches.flatMap(({ deliveries: [first, ...others], id }) =>
    others.filter((rows) => contentsOf(rows) !== contentsOf(first))
      .map(() => `routes: batch ${id} was delivered with other contents than before`)
  )

/** Names each increment that does not stand for the flights that it should, and the flights that none stands for. */
const wrongIncrements = (input: ReadonlyArray<InputFlight>, batches: ReadonlyArray<Batch>): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const increments = new Map(
    [...grouped(batches.flatMap(({ deliveries: [first] }) => first), ({ route }) => route)]
      .map(([route, rows]) => [route, [...rows].sort((one, other) => one.first_seq - other.first_seq)])
  )
  for (const [route, flights] of grouped(input, routeOf)) {
    let rest = flights
    for (const { delay_sum, first_seq, flights: count, last_seq } of increments.get(route) ?? []) {
      const own = rest.slice(0, count)
      rest = rest.slice(count)
      if (
        own.length !== count || own[0]?.seq !== first_seq || own[own.length - 1]?.seq !== last_seq
        || sumOf(own, delayOf) !== delay_sum
      ) {
        wrong.push(
          `routes: the increment of ${route} from flight ${first_seq} to ${last_seq} is not that of its flights`
        )
      }
    }
    if (rest.length > 0) wrong.push(`routes: ${rest.length} flights of ${route} are in no batch`)
    increments.delete(route)
  }
  for (const route of increments.keys()) wrong.push(`routes: ${route} has had no flight`)
  return wrong
}

interface Sum {
  flights: number
  delaySum: number
}

/** Names each route whose count is not that of its flights and of what was counted once more. */
const wrongCounts = (
  input: ReadonlyArray<InputFlight>,
  counts: ReadonlyArray<CountRow>,
  again: ReadonlyArray<DeliveryRow>
): ReadonlyArray<string> => {
  const expected = new Map<string, Sum>()
  const add = (route: string, flights: number, delaySum: number) => {
    const sum = expected.get(route) ?? { flights: 0, delaySum: 0 }
    expected.set(route, { flights: sum.flights + flights, delaySum: sum.delaySum + delaySum })
  }
  for (const flight of input) add(routeOf(flight), 1, flight.delay)
  for (const { delay_sum, flights, route } of again) add(route, flights, delay_sum)
  const wrong: Array<string> = []
  for (const { delay_sum, flights, route } of counts) {
    const sum = expected.get(route)
    if (sum === undefined) wrong.push(`routes: ${route} has a count, and no flight`)
    else if (flights !== sum.flights || delay_sum !== sum.delaySum) {
      wrong.push(
        `routes: ${route} has ${flights} flights with a delay of ${delay_sum}, not ${sum.flights} with ${sum.delaySum}`
      )
    }
    expected.delete(route)
  }
  for (const route of expected.keys()) wrong.push(`routes: ${route} has no count`)
  return wrong
}

const flightsOf = ({ flights }: CountRow): number => flights
const delaysOf = ({ delay_sum }: CountRow): number => delay_sum

const ownCounts = (
  { coalesced, dropped, duplicates, held, offered, refused, stored }: BatchQueue.Metrics,
  increments: ReadonlyArray<DeliveryRow>
): ReadonlyArray<Claim> => [
  claim(
    "routes: offered = refused + coalesced + duplicates + dropped + stored + held",
    offered,
    refused + coalesced + duplicates + dropped + stored + held
  ),
  claim("routes: stored = items of batches", increments.length, stored),
  claim("routes: coalesced = merged", sumOf(increments, ({ flights }) => flights - 1), coalesced)
]

export const check = ({ counted: { counts, deliveries }, inFlight, input, metrics, stats }: Evidence): Findings => {
  const batches = batchesOf(deliveries)
  const once = batches.flatMap(({ deliveries: [first] }) => first)
  const again = batches.flatMap(({ deliveries: [, ...others] }) => others.flat())
  const twice = batches.filter(({ deliveries }) => deliveries.length > 1)
  const expectedTwice = new Set(inFlight)
  const delivered = sumOf(batches, ({ deliveries }) => deliveries.length)
  const wrong = {
    increments: wrongIncrements(input, batches),
    deliveries: wrongDeliveries(batches),
    counts: wrongCounts(input, counts, again)
  }
  const claims = [
    claim("routes: flights of batches = input", input.length, sumOf(once, flightsOf)),
    claim("routes: delays of batches = of input", sumOf(input, delayOf), sumOf(once, delaysOf)),
    claim("routes: increments that differ from the input", 0, wrong.increments.length),
    claim(
      "routes: batches in flight at the kill that were counted twice = all of them",
      expectedTwice.size,
      twice.filter(({ id }) => expectedTwice.has(id)).length
    ),
    claim(
      "routes: batches counted twice that were not in flight",
      0,
      twice.filter(({ id }) => !expectedTwice.has(id)).length
    ),
    claim("routes: deliveries = batches + in flight at the kill", batches.length + expectedTwice.size, delivered),
    claim("routes: deliveries with other contents than before", 0, wrong.deliveries.length),
    claim("routes: counted = input + counted twice", input.length + sumOf(again, flightsOf), sumOf(counts, flightsOf)),
    claim(
      "routes: delays counted = of input + counted twice",
      sumOf(input, delayOf) + sumOf(again, delaysOf),
      sumOf(counts, delaysOf)
    ),
    claim("routes: counts that differ from that", 0, wrong.counts.length),
    claim("routes: batches left in the store", 0, stats.pending.batches + stats.dead.batches),
    ...ownCounts(metrics, once)
  ]
  return {
    verdict: verdictOf(claims, [...wrong.increments, ...wrong.deliveries, ...wrong.counts]),
    batches: batches.length,
    deliveries: delivered,
    twice: { batches: twice.length, increments: sumOf(again, flightsOf) }
  }
}

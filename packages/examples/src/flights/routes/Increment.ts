/**
 * What a flight adds to the count of its route. Increments of a route are merged into one, and nothing is lost by it.
 */
import * as Schema from "effect/Schema"
import type { Flight, NumberedFlight } from "../Flight.ts"

export const Increment = Schema.Struct({
  route: Schema.NonEmptyString,
  /** How many flights it stands for. */
  flights: Schema.Int,
  /** Their delays together. */
  delaySum: Schema.Int,
  /** The first and the last of them. */
  firstSeq: Schema.Int,
  lastSeq: Schema.Int
})

export type Increment = typeof Increment.Type

export const routeOf = ({ destination, origin }: Pick<Flight, "origin" | "destination">): string =>
  `${origin}-${destination}`

export const increment = ({ flight, seq }: NumberedFlight): Increment => ({
  route: routeOf(flight),
  flights: 1,
  delaySum: flight.delay,
  firstSeq: seq,
  lastSeq: seq
})

export const add = (held: Increment, next: Increment): Increment => ({
  route: held.route,
  flights: held.flights + next.flights,
  delaySum: held.delaySum + next.delaySum,
  firstSeq: held.firstSeq,
  lastSeq: next.lastSeq
})

/**
 * What a batch is known by, in both processes: its first flight. Each flight is in one batch, and items keep the order
 * in which they first came.
 */
export const batchOf = ([first]: readonly [Increment, ...ReadonlyArray<Increment>]): number => first.firstSeq

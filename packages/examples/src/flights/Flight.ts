/**
 * A flight as it stands in the file, and a departure: what the queues hold.
 */
import * as Schema from "effect/Schema"

const DepartureTime = Schema.String.pipe(
  Schema.filter((text) =>
    departureMillis(text) === undefined ? "must be a time such as \"2001/01/31 18:05\"" : undefined
  )
)

/** Large enough for every flight there is; small enough for sums of whole numbers to be exact. */
const limit = 1_000_000

export class Flight extends Schema.Class<Flight>("Flight")({
  /** When it left. */
  date: DepartureTime,
  /** In minutes; negative: it was early. */
  delay: Schema.Int.pipe(Schema.between(-limit, limit)),
  /** In miles. */
  distance: Schema.Int.pipe(Schema.between(0, limit)),
  /** The airports, by their codes. */
  origin: Schema.NonEmptyString,
  destination: Schema.NonEmptyString
}) {}

/** The time of a `date` in milliseconds, or undefined where it is none, such as the 30th of February. */
export function departureMillis(date: string): number | undefined {
  const match = /^(\d{4})\/(\d\d)\/(\d\d) (\d\d):(\d\d)$/.exec(date)
  if (match === null) return undefined
  const [year, month, day, hour, minute] = match.slice(1).map(Number)
  const time = new Date(Date.UTC(year, month - 1, day, hour, minute))
  // `Date` makes the 2nd of March out of the 30th of February: what comes out must be what went in.
  const same = time.getUTCMonth() === month - 1 && time.getUTCDate() === day
    && time.getUTCHours() === hour && time.getUTCMinutes() === minute
  return same ? time.getTime() : undefined
}

/** The day of a `date`. */
export const dayOf = ({ date }: Flight): string => date.slice(0, "2001/01/31".length)

/** A flight and its place in the file: the number of its line, or its position in an array, from 1. */
export interface NumberedFlight {
  readonly seq: number
  readonly flight: Flight
}

/**
 * What is offered: a flight. Where a queue merges, one departure stands for several flights, and shows the last.
 */
export interface Departure extends NumberedFlight {
  /** How many flights it stands for. */
  readonly flights: number
  /** Their delays together. */
  readonly delaySum: number
  /** When the first of them was offered. */
  readonly offeredAtMillis: number
}

export const departure = ({ flight, seq }: NumberedFlight, offeredAtMillis: number): Departure => ({
  seq,
  flight,
  flights: 1,
  delaySum: flight.delay,
  offeredAtMillis
})

/** Merges a newer departure into one that waits. Nothing is lost by it: the flights and their delays add up. */
export const merge = (waiting: Departure, newer: Departure): Departure => ({
  seq: newer.seq,
  flight: newer.flight,
  flights: waiting.flights + newer.flights,
  delaySum: waiting.delaySum + newer.delaySum,
  offeredAtMillis: waiting.offeredAtMillis
})

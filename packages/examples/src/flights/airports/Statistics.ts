/**
 * What is known of an airport, and what a departure makes of it.
 */
import type { NumberedFlight } from "../Flight.ts"

/** A row of the table. */
export interface Statistics {
  readonly airport: string
  readonly flights: number
  /** Those that were late by more than half an hour. */
  readonly late: number
  /** The delays of all of them together. */
  readonly delay_sum: number
  /** The greatest delay, and the first flight that had it. Null: there was no flight. */
  readonly worst_delay: number | null
  readonly worst_seq: number | null
  /** How many times the row was saved. */
  readonly saves: number
}

export const lateFromMinutes = 31

export const isLate = ({ flight: { delay } }: NumberedFlight): boolean => delay >= lateFromMinutes

export const none = (airport: string): Statistics => ({
  airport,
  flights: 0,
  late: 0,
  delay_sum: 0,
  worst_delay: null,
  worst_seq: null,
  saves: 0
})

/**
 * Flights of an airport may come in another order than that of the file, where some of them are tried again. So the
 * first of two flights with the same delay is the one with the lower number, whichever came first.
 */
const isWorse = ({ flight: { delay }, seq }: NumberedFlight, { worst_delay, worst_seq }: Statistics): boolean =>
  worst_delay === null || worst_seq === null || delay > worst_delay || (delay === worst_delay && seq < worst_seq)

/** Answers which departure of its airport this one is. */
export const departed = (departing: NumberedFlight) => (statistics: Statistics): readonly [number, Statistics] => {
  const { flight: { delay }, seq } = departing
  const flights = statistics.flights + 1
  return [flights, {
    ...statistics,
    flights,
    late: statistics.late + (isLate(departing) ? 1 : 0),
    delay_sum: statistics.delay_sum + delay,
    ...(isWorse(departing, statistics) ? { worst_delay: delay, worst_seq: seq } : {})
  }]
}

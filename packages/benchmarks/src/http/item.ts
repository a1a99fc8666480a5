/** The item that every request brings, and what its bodies look like. */
import * as Schema from "effect/Schema"

/** Small, and as one would have it: two fields of text, and two numbers that are looked at. */
export const Reading = Schema.Struct({
  id: Schema.String,
  sensor: Schema.String,
  celsius: Schema.Number.pipe(Schema.finite()),
  takenAtMillis: Schema.Int
})
export type Reading = typeof Reading.Type

export const reading: Reading = {
  id: "7f1c2a34-9b0e-4f6d-8a55-3c1d0e9b7f21",
  sensor: "roof-north-12",
  celsius: 21.375,
  takenAtMillis: 1_767_225_600_123
}

export const bodies = {
  one: JSON.stringify(reading),
  array: (items: number): string => JSON.stringify(Array.from({ length: items }, () => reading)),
  lines: (items: number): string => `${JSON.stringify(reading)}\n`.repeat(items)
}

/** Whether an item came through as it was sent. */
export const isIntact = ({ celsius, id, sensor, takenAtMillis }: Reading): boolean =>
  id === reading.id && sensor === reading.sensor && celsius === reading.celsius
  && takenAtMillis === reading.takenAtMillis

/** What those answer who keep no queue. */
export const limitAnswer = { accepted: 1 }

/** The name of the queue, in the path of whoever takes its items. */
export const queueName = "readings"
export const path = `/queues/${queueName}`

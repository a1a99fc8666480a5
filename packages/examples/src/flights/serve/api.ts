/**
 * What is served: three queues, under the names that they have, with the items that may be posted to them.
 *
 * The two other ways of a flight answer a question each, and are no queues to put something into: see `airports/`.
 */
import * as HttpApi from "@effect/platform/HttpApi"
import { HttpQueue, HttpQueues, SluiceApi } from "@sluice/http"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { type Departure, departure, Flight } from "../Flight.ts"
import { BoardQueue, FlightsQueue } from "../queues.ts"
import { Increment } from "../routes/Increment.ts"
import { RoutesQueue } from "../routes/RoutesQueue.ts"

/** Flights that are posted are numbered from here: no file is as long. */
export const postedFrom = 1_000_000_000

/** Small enough for the sums of many that are merged to be exact. */
const count = Schema.Int.pipe(Schema.between(-1_000_000, 1_000_000))

/** An increment of the routes, as it may be posted. */
export const PostedIncrement = Schema.Struct({
  ...Increment.fields,
  flights: count.pipe(Schema.positive()),
  delaySum: count
})

const DepartureFromSelf: Schema.Schema<Departure> = Schema.Struct({
  seq: Schema.Int,
  flight: Schema.typeSchema(Flight),
  flights: Schema.Int,
  delaySum: Schema.Int,
  offeredAtMillis: Schema.Number
})

/** What is posted is a flight, like one of the file; in the queue it is a departure, with a number of its own. */
const makePosted = (now: () => number) => {
  let next = postedFrom
  return Schema.transform(Flight, DepartureFromSelf, {
    strict: true,
    decode: (_, flight) => departure({ seq: next++, flight: new Flight(flight) }, now()),
    encode: ({ flight }) => flight
  })
}

export class Api extends HttpApi.make("flights").addHttpApi(
  SluiceApi.make({ flights: Flight, board: Flight, routes: PostedIncrement })
) {}

/** The queues themselves are those that the flights of the file go through. */
export const queues = Layer.unwrapEffect(Effect.map(Effect.clock, (clock) => {
  const schema = makePosted(() => clock.unsafeCurrentTimeMillis())
  return HttpQueues.layer([
    HttpQueue.writeBehind(FlightsQueue, { schema }),
    HttpQueue.writeBehind(BoardQueue, { schema }),
    HttpQueue.batchQueue(RoutesQueue, { schema: PostedIncrement })
  ])
}))

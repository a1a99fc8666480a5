/**
 * How one flight is offered to all queues.
 */
import * as Effect from "effect/Effect"
import type { Airports } from "./airports/Airports.ts"
import { MalformedFlight } from "./errors.ts"
import { departure, type NumberedFlight } from "./Flight.ts"
import * as Ledger from "./Ledger.ts"
import { BoardQueue, FlightsQueue } from "./queues.ts"
import { increment } from "./routes/Increment.ts"
import { RoutesQueue } from "./routes/RoutesQueue.ts"

/** What the producer has done so far; read after it has ended, however it has ended. */
export interface Progress {
  offered: number
  waitedMillis: number
}

/** Offers flights that come from a file, whose name is for messages. Waits for room where a queue does. */
export const makeOffer = (
  file: string,
  airports: Airports,
  progress: Progress
): Effect.Effect<
  (flight: NumberedFlight) => Effect.Effect<void, MalformedFlight>,
  never,
  FlightsQueue | BoardQueue | RoutesQueue | Ledger.Ledger
> =>
  Effect.gen(function*() {
    const flightsQueue = yield* FlightsQueue
    const boardQueue = yield* BoardQueue
    const routesQueue = yield* RoutesQueue
    const ledger = yield* Ledger.Ledger
    const clock = yield* Effect.clock

    /** Nothing is dropped here, and nothing refused but what no queue could store. */
    const offerToRoutes = (flight: NumberedFlight) =>
      Effect.catchAll(routesQueue.offer(increment(flight)), (error) =>
        error._tag === "MalformedItem"
          ? new MalformedFlight({ file, line: flight.seq, problem: error.detail })
          : Effect.die(error))

    return (flight) =>
      Effect.gen(function*() {
        const startedAt = clock.unsafeCurrentTimeMillis()
        const item = departure(flight, startedAt)
        yield* offerToRoutes(flight)
        progress.offered += 1
        yield* airports.ask(flight)
        yield* Effect.catchAll(boardQueue.offer(item), ({ notTaken }) =>
          Effect.sync(() => {
            ledger.board.lose(...notTaken)
          }))
        // Under `reject` this fails when the queue is full. The error gives the item back: here it is put on record,
        // elsewhere it may be answered with a 429.
        yield* Effect.catchAll(flightsQueue.offer(item), ({ notTaken }) =>
          Effect.sync(() => {
            ledger.flights.lose(...notTaken)
          }))
        progress.waitedMillis += clock.unsafeCurrentTimeMillis() - startedAt
      })
  })

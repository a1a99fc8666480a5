/**
 * Replays the flights round after round, into queues that take flights from elsewhere as well.
 *
 * Between two rounds all that was offered is written: then the tables are cleared, and it begins anew. So nothing of a
 * round is left but counts, neither in memory nor in the database.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Airports from "../airports/Airports.ts"
import { makeOffer, type Progress } from "../offer.ts"
import type { ReplayOptions } from "../options.ts"
import { makePacer } from "../pace.ts"
import { BoardQueue, FlightsQueue } from "../queues.ts"
import * as Source from "../source.ts"
import * as Tables from "./tables.ts"

/** A file of a few flights is over at once: this leaves time to look at them. */
const pause = "1 second"

/** How long the answers for flights that were offered are waited for when the program ends. */
const patience = "10 seconds"

const tell = (number: number, { offered }: Progress, millis: number) =>
  Effect.sync(() => {
    const flights = offered.toLocaleString("en-US")
    process.stderr.write(`flights: round ${number}: ${flights} flights in ${(millis / 1000).toFixed(1)} s\n`)
  })

const round = (options: ReplayOptions, number: number) =>
  Effect.gen(function*() {
    const flights = yield* FlightsQueue
    const board = yield* BoardQueue
    const startedAt = yield* Clock.currentTimeMillis
    const source = yield* Source.open(options.file)
    // The first finds tables that were made anew, and in them what workers have counted meanwhile that was stored before.
    if (number > 1) yield* Tables.clear
    const airports = yield* Airports.make(source.name)
    const progress: Progress = { offered: 0, waitedMillis: 0 }
    const offer = yield* makeOffer(source.name, airports, progress)
    const untilDue = yield* makePacer(options.pace)
    // An offer that waits for room is given up: when the program ends, nobody may hold that up.
    const offering = Stream.runForEach(source.flights, (flight) =>
      Effect.zipRight(untilDue(flight.flight), offer(flight)))
    yield* Effect.raceFirst(offering, airports.watch).pipe(
      Effect.zipRight(airports.finish),
      Effect.onInterrupt(() =>
        Effect.timeoutOption(Effect.interruptible(Effect.ignore(airports.finish)), patience)
      )
    )
    yield* Effect.all([flights.flushNow, board.flushNow], { concurrency: "unbounded" })
    yield* tell(number, progress, (yield* Clock.currentTimeMillis) - startedAt)
  }).pipe(Effect.scoped)

/** Never ends by itself, but may fail. */
export const run = (options: ReplayOptions) =>
  Effect.suspend(() => {
    let number = 0
    return Effect.forever(Effect.suspend(() => Effect.zipLeft(round(options, ++number), Effect.sleep(pause))))
  })

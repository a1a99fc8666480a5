/**
 * The queues as Layers.
 *
 * `FlightsQueue` writes every flight. It is under the policy that the user chooses: that is where backpressure shows.
 * `BoardQueue` keeps the departures board. Only the last departure of an airport counts, so it coalesces.
 * `RoutesQueue` is durable, and another process handles what is in it: see `routes/RoutesQueue.ts`.
 * `StatisticsBatch` and `SlotsPool` answer what a flight asks of its airports: see `airports/Airports.ts`.
 *
 * Closing the Layers' scope drains them all: what is held is flushed, and only then does the scope end. The sink, the
 * coordinator that it writes through, and the store are in a scope around theirs, and still open then.
 */
import { Backpressure, Retry, WriteBehind } from "@sluice/core"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SlotsPool from "./airports/SlotsPool.ts"
import * as StatisticsBatch from "./airports/StatisticsBatch.ts"
import { type Departure, merge } from "./Flight.ts"
import { type Account, Ledger } from "./Ledger.ts"
import * as RoutesQueue from "./routes/RoutesQueue.ts"
import { Sink } from "./sink.ts"

export class FlightsQueue
  extends Context.Tag("flights/FlightsQueue")<FlightsQueue, WriteBehind.WriteBehind<Departure>>()
{}

export class BoardQueue extends Context.Tag("flights/BoardQueue")<BoardQueue, WriteBehind.WriteBehind<Departure>>() {}

/**
 * The policies to choose from.
 *
 * `coalesceByKey` keeps one row of each route waiting. A flight whose route waits already is merged into that row, so
 * nothing is lost, but there are fewer rows than flights. When it is full, a new route waits for room.
 */
export const policies = {
  suspend: Backpressure.suspend(),
  reject: Backpressure.reject,
  dropNewest: Backpressure.dropNewest,
  dropOldest: Backpressure.dropOldest,
  coalesceByKey: Backpressure.coalesceByKey(({ flight }: Departure) => `${flight.origin}-${flight.destination}`, {
    merge,
    whenFull: Backpressure.suspend()
  })
}

export type PolicyName = keyof typeof policies

/** Numbers that are shown to the user as well. */
export const settings = {
  flights: { capacity: 500, batchSize: 50, flushIntervalMillis: 200 },
  // The capacity is more than there are airports, and the batch as large: so it is the time that makes a batch due.
  board: { capacity: 512, batchSize: 512, flushIntervalMillis: 250 }
}

const retry = Retry.exponential({ base: "10 millis", cap: "200 millis", retries: 10 })

/** Counts a batch that has been written, and takes the time. */
const recordBatch = (items: ReadonlyArray<Departure>, account: Account) =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    account.batches += 1
    for (const { offeredAtMillis } of items) account.latencies.add(now - offeredAtMillis)
  })

const flightsQueue = (policy: PolicyName) =>
  Layer.unwrapEffect(Effect.map(Ledger, ({ flights: account }) =>
    WriteBehind.layer(FlightsQueue, {
      name: "flights",
      capacity: settings.flights.capacity,
      batchSize: settings.flights.batchSize,
      flushInterval: settings.flights.flushIntervalMillis,
      policy: policies[policy],
      retry,
      flush: ({ items }) =>
        Sink.pipe(
          Effect.flatMap((sink) => sink.writeFlights(items)),
          Effect.zipRight(recordBatch(items, account))
        ),
      onDrop: (departure) => {
        account.lose(departure)
      }
    })))

const boardQueue = Layer.unwrapEffect(Effect.map(Ledger, ({ board: account }) =>
  WriteBehind.layer(BoardQueue, {
    name: "board",
    capacity: settings.board.capacity,
    batchSize: settings.board.batchSize,
    flushInterval: settings.board.flushIntervalMillis,
    policy: Backpressure.coalesceByKey(({ flight }: Departure) => flight.origin, {
      // Without `merge` the newer departure would replace the waiting one, and the counts of the board would be short.
      merge,
      // The default would drop the oldest: a file of the user's may have more airports than the capacity.
      whenFull: Backpressure.suspend()
    }),
    retry,
    flush: ({ items }) =>
      Sink.pipe(
        Effect.flatMap((sink) => sink.writeBoard(items)),
        Effect.zipRight(recordBatch(items, account))
      ),
    onDrop: (departure) => {
      account.lose(departure)
    }
  })))

/** All but the routes, whose workers are in another process, or in this one. */
export const layerWithoutRoutes = (policy: PolicyName) =>
  Layer.mergeAll(flightsQueue(policy), boardQueue, StatisticsBatch.layer, SlotsPool.layer)

export const layer = (policy: PolicyName) => Layer.merge(layerWithoutRoutes(policy), RoutesQueue.layer)

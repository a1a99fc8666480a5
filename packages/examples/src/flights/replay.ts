/**
 * The replay: offers every flight to both queues, drains them, and checks what was written.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import type * as SqlError from "@effect/sql/SqlError"
import type { QueueError, WriteBehind } from "@sluice/core"
import type { WriteCoordinator } from "@sluice/sql"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { check, type Verdict } from "./check.ts"
import * as Database from "./database.ts"
import type { UserError } from "./errors.ts"
import * as Failures from "./failures.ts"
import { type Departure, departure, type NumberedFlight } from "./Flight.ts"
import { readInput } from "./input.ts"
import * as Ledger from "./Ledger.ts"
import type { ReplayOptions } from "./options.ts"
import { makePacer } from "./pace.ts"
import * as Progress from "./progress.ts"
import * as Queues from "./queues.ts"
import * as Sink from "./sink.ts"
import type * as Source from "./source.ts"

export interface QueueOutcome {
  readonly metrics: WriteBehind.Metrics
  readonly p50Millis: number
  readonly p99Millis: number
}

export interface Outcome {
  /** How many flights were offered to each queue. */
  readonly offered: number
  /** The user has ended it before the end of the input. */
  readonly interrupted: boolean
  readonly durationMillis: number
  /** How long the producer has waited for room in the queues. */
  readonly waitedMillis: number
  readonly queues: { readonly flights: QueueOutcome; readonly board: QueueOutcome }
  /** Of the one writer that both queues share. */
  readonly coordinator: WriteCoordinator.Metrics
  readonly verdict: Verdict
  readonly sqliteVersion: string
}

type Failed = UserError | SqlError.SqlError | QueueError.InvalidOption

/** What the producer has done so far; read after it has ended, however it has ended. */
interface Progress {
  offered: number
  waitedMillis: number
}

/**
 * Offers one flight after the other to both queues. There is one producer, so that the order of an airport's flights
 * is that of the file.
 */
const produce = (source: Source.Source, options: ReplayOptions, progress: Progress) =>
  Effect.gen(function*() {
    const flightsQueue = yield* Queues.FlightsQueue
    const boardQueue = yield* Queues.BoardQueue
    const ledger = yield* Ledger.Ledger
    const clock = yield* Effect.clock
    const untilDue = yield* makePacer(options.pace)

    const offerToBoth = (flight: NumberedFlight) =>
      Effect.gen(function*() {
        const startedAt = clock.unsafeCurrentTimeMillis()
        const item = departure(flight, startedAt)
        progress.offered += 1
        yield* Effect.catchAll(boardQueue.offer(item), ({ notTaken }) =>
          Effect.sync(() => {
            ledger.board.lost.push(...notTaken)
          }))
        // Under `reject` this fails when the queue is full. The error gives the item back: here it is put on record,
        // elsewhere it may be answered with a 429.
        yield* Effect.catchAll(flightsQueue.offer(item), ({ notTaken }) =>
          Effect.sync(() => {
            ledger.flights.lost.push(...notTaken)
          }))
        progress.waitedMillis += clock.unsafeCurrentTimeMillis() - startedAt
      })

    yield* Stream.runForEach(source.flights, (flight) =>
      Effect.zipRight(
        untilDue(flight.flight),
        // Ctrl-C comes between two flights: each is offered to both queues, or to none.
        Effect.uninterruptible(offerToBoth(flight))
      ))
  })

/** Runs the producer on queues of its own, and drains them. */
const runQueues = (source: Source.Source, options: ReplayOptions, progress: Progress) =>
  Effect.gen(function*() {
    const flights = yield* Queues.FlightsQueue
    const board = yield* Queues.BoardQueue
    const exit = yield* Effect.scoped(Effect.gen(function*() {
      if (!options.json) yield* Progress.show(source)
      // All else is uninterruptible, so that Ctrl-C ends the offering and what has been offered is still told of.
      return yield* Effect.exit(Effect.interruptible(produce(source, options, progress)))
    }))
    return { exit, flights, board }
    // The Layers' scope ends here, and with it all writing: what is held is flushed first. The queues' counts can be
    // read afterwards as well.
  }).pipe(Effect.provide(Queues.layer(options.policy)))

const outcomeOf = (queue: WriteBehind.WriteBehind<Departure>, { latencies }: Ledger.Account) =>
  Effect.map(queue.metrics, (metrics): QueueOutcome => ({
    metrics,
    p50Millis: latencies.quantile(0.5),
    p99Millis: latencies.quantile(0.99)
  }))

const replayWith = (source: Source.Source, options: ReplayOptions) =>
  Effect.gen(function*() {
    const sink = yield* Sink.Sink
    const writes = yield* Database.Writes
    const ledger = yield* Ledger.Ledger
    const startedAt = yield* Clock.currentTimeMillis
    const progress: Progress = { offered: 0, waitedMillis: 0 }
    const { board, exit, flights } = yield* runQueues(source, options, progress)
    const endedAt = yield* Clock.currentTimeMillis
    const interrupted = Exit.isInterrupted(exit)
    if (Exit.isFailure(exit) && !interrupted) return yield* Effect.failCause(exit.cause)

    const queues = {
      flights: yield* outcomeOf(flights, ledger.flights),
      board: yield* outcomeOf(board, ledger.board)
    }
    const coordinator = yield* writes.metrics
    const verdict = check({
      input: yield* readInput(options.file, progress.offered),
      written: yield* sink.written,
      lost: { flights: ledger.flights.lost, board: ledger.board.lost },
      metrics: { flights: queues.flights.metrics, board: queues.board.metrics, coordinator },
      batches: { flights: ledger.flights.batches, board: ledger.board.batches }
    })
    return {
      ...progress,
      interrupted,
      durationMillis: endedAt - startedAt,
      queues,
      coordinator,
      verdict,
      sqliteVersion: sink.sqliteVersion
    }
  })

/**
 * Replays the flights. To be run uninterruptibly.
 *
 * **Interruption** ends the offering alone: what has been offered is still written and checked.
 */
export const replay = (
  source: Source.Source,
  options: ReplayOptions
): Effect.Effect<Outcome, Failed, FileSystem.FileSystem | Path.Path> => {
  const file = Option.getOrElse(options.db, () => "(temporary)")
  const services = Sink.layer({ delay: options.sinkDelay, file }).pipe(
    Layer.provideMerge(Database.layer(options.db)),
    Layer.provide(Failures.layer(options.seed)),
    Layer.merge(Ledger.layer)
  )
  return Effect.provide(replayWith(source, options), services)
}

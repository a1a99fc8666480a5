/**
 * The replay: offers every flight to all queues, drains them, and checks what was written.
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
import * as Airports from "./airports/Airports.ts"
import * as AirportsCheck from "./airports/check.ts"
import type * as AirportsReport from "./airports/report.ts"
import * as SlotBook from "./airports/SlotBook.ts"
import { SlotsPool } from "./airports/SlotsPool.ts"
import { StatisticsBatch } from "./airports/StatisticsBatch.ts"
import * as StatisticsTable from "./airports/StatisticsTable.ts"
import { check } from "./check.ts"
import * as Database from "./database.ts"
import type { UserError } from "./errors.ts"
import * as Failures from "./failures.ts"
import { readInput } from "./input.ts"
import * as Ledger from "./Ledger.ts"
import { makeOffer, type Progress } from "./offer.ts"
import type { ReplayOptions } from "./options.ts"
import { makePacer } from "./pace.ts"
import * as ProgressBars from "./progress.ts"
import * as Queues from "./queues.ts"
import * as Routes from "./routes/check.ts"
import type * as RoutesReport from "./routes/report.ts"
import { RouteCounts } from "./routes/RouteCounts.ts"
import { RoutesQueue } from "./routes/RoutesQueue.ts"
import * as SecondProcess from "./routes/secondProcess.ts"
import * as RoutesStore from "./routes/store.ts"
import type { WorkerFailed } from "./routes/WorkerProcess.ts"
import * as Sink from "./sink.ts"
import type * as Source from "./source.ts"
import { joined, type Verdict } from "./Verdict.ts"

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
  readonly queues: {
    readonly flights: QueueOutcome
    readonly board: QueueOutcome
    readonly routes: RoutesReport.Outcome
  }
  readonly airports: AirportsReport.Outcome
  /** Of the one writer that all share but the routes. */
  readonly coordinator: WriteCoordinator.Metrics
  readonly verdict: Verdict
  readonly sqliteVersion: string
}

type Failed =
  | UserError
  | SqlError.SqlError
  | QueueError.InvalidOption
  | QueueError.StoreUnavailable
  | QueueError.QueueClosed<never>
  | WorkerFailed
  | Airports.AirportsFailed

/** Whether half of the input has been offered. */
const isMiddle = ({ position, size }: Source.Source): boolean => position() * 2 >= size

/**
 * Offers one flight after the other to all queues. There is one producer, so that the order of an airport's flights
 * is that of the file.
 */
const produce = (
  source: Source.Source,
  options: ReplayOptions,
  progress: Progress,
  counting: SecondProcess.SecondProcess,
  airports: Airports.Airports
) =>
  Effect.gen(function*() {
    const untilDue = yield* makePacer(options.pace)
    const offer = yield* makeOffer(source.name, airports, progress)
    let isKilled = false

    const killInTheMiddle = Effect.suspend(() => {
      if (isKilled || !isMiddle(source)) return Effect.void
      isKilled = true
      return counting.killSoon
    })

    yield* Stream.runForEach(source.flights, (flight) =>
      Effect.zipRight(
        untilDue(flight.flight),
        // In time for this flight's increment to be in a batch that is kept. Ctrl-C comes between two flights: each is
        // offered to all queues, or to none.
        Effect.uninterruptible(Effect.zipRight(killInTheMiddle, offer(flight)))
      ))
  })

/** Runs the producer on queues of its own, and drains them. */
const runQueues = (source: Source.Source, options: ReplayOptions, progress: Progress, file: string) =>
  Effect.gen(function*() {
    const flights = yield* Queues.FlightsQueue
    const board = yield* Queues.BoardQueue
    const routes = yield* RoutesQueue
    const statistics = yield* StatisticsBatch
    const slots = yield* SlotsPool
    const counting = yield* SecondProcess.make(file)
    const airports = yield* Airports.make(source.name)
    const exit = yield* Effect.scoped(Effect.gen(function*() {
      if (!options.json) yield* ProgressBars.show(source, counting)
      // All else is uninterruptible, so that Ctrl-C ends the offering and what has been offered is still told of.
      const offering = Effect.raceFirst(
        produce(source, options, progress, counting, airports),
        Effect.raceFirst(counting.watch, airports.watch)
      )
      return yield* Effect.exit(Effect.interruptible(offering))
    }))
    const interrupted = Exit.isInterrupted(exit)
    if (Exit.isFailure(exit) && !interrupted) return yield* Effect.failCause(exit.cause)
    const told = yield* airports.finish
    const kill = yield* counting.finish
    const stats = yield* routes.stats
    const processes = counting.current().number
    return { interrupted, flights, board, routes, statistics, slots, told, kill, stats, processes }
    // The Layers' scope ends here, and with it all writing: what is held is flushed first. The queues' counts can be
    // read afterwards as well.
  }).pipe(Effect.scoped, Effect.provide(Queues.layer(options.policy)))

const outcomeOf = (metrics: WriteBehind.Metrics, { latencies }: Ledger.Account): QueueOutcome => ({
  metrics,
  p50Millis: latencies.quantile(0.5),
  p99Millis: latencies.quantile(0.99)
})

const replayWith = (source: Source.Source, options: ReplayOptions, file: string) =>
  Effect.gen(function*() {
    const sink = yield* Sink.Sink
    const writes = yield* Database.Writes
    const ledger = yield* Ledger.Ledger
    const counts = yield* RouteCounts
    const table = yield* StatisticsTable.StatisticsTable
    const book = yield* SlotBook.SlotBook
    // Before the other process looks for them.
    yield* counts.createTables
    const startedAt = yield* Clock.currentTimeMillis
    const progress: Progress = { offered: 0, waitedMillis: 0 }
    const ended = yield* runQueues(source, options, progress, file)
    const { board, flights, interrupted, kill, processes, routes, stats } = ended
    const durationMillis = (yield* Clock.currentTimeMillis) - startedAt

    const input = yield* readInput(options.file, progress.offered)
    const coordinator = yield* writes.metrics
    const metrics = {
      flights: yield* flights.metrics,
      board: yield* board.metrics,
      routes: yield* routes.metrics,
      coordinator
    }
    const airports = {
      told: ended.told,
      statistics: {
        rows: yield* table.written,
        ...(yield* table.counts),
        metrics: yield* ended.statistics.metrics
      },
      slots: { rows: yield* book.written, counts: yield* book.counts, metrics: yield* ended.slots.metrics }
    }
    const airportFindings = AirportsCheck.check({ input, durationMillis, ...airports })
    const verdict = check({
      input,
      written: yield* sink.written,
      lost: { flights: ledger.flights.lost, board: ledger.board.lost },
      metrics,
      batches: { flights: ledger.flights.batches, board: ledger.board.batches },
      airports: {
        saves: AirportsCheck.sumRowSaves(airports.statistics.rows),
        slots: airports.slots.rows.length
      }
    })
    const findings = Routes.check({
      input,
      counted: yield* counts.counted,
      inFlight: kill?.inFlight ?? [],
      metrics: metrics.routes,
      stats
    })
    return {
      ...progress,
      interrupted,
      durationMillis,
      queues: {
        flights: outcomeOf(metrics.flights, ledger.flights),
        board: outcomeOf(metrics.board, ledger.board),
        routes: { metrics: metrics.routes, stats, processes, kill, findings }
      },
      airports: { ...airports, findings: airportFindings },
      coordinator,
      verdict: joined([verdict, airportFindings.verdict, findings.verdict]),
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
): Effect.Effect<Outcome, Failed, FileSystem.FileSystem | Path.Path> =>
  Effect.scoped(Effect.gen(function*() {
    const routesFile = yield* RoutesStore.temporaryFile
    const file = Option.getOrElse(options.db, () => "(temporary)")
    const services = Layer.mergeAll(
      Sink.layer({ delay: options.sinkDelay, file }),
      StatisticsTable.layer({ delay: options.sinkDelay, file }),
      SlotBook.layer({ file })
    ).pipe(
      Layer.provideMerge(Database.layer(options.db)),
      Layer.provide(Failures.layer(options.seed)),
      Layer.merge(Ledger.layer),
      Layer.merge(RoutesStore.layer(routesFile))
    )
    return yield* Effect.provide(replayWith(source, options, routesFile), services)
  }))

/**
 * Shows on stderr how far it is: bars on a terminal, a plain line a second elsewhere.
 */
import cliProgress from "cli-progress"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { BoardQueue, FlightsQueue, settings } from "./queues.ts"
import * as Routes from "./routes/RoutesQueue.ts"
import type { SecondProcess } from "./routes/secondProcess.ts"
import type { Source } from "./source.ts"

const queues = Effect.all({
  flights: Effect.flatMap(FlightsQueue, (queue) => queue.metrics),
  board: Effect.flatMap(BoardQueue, (queue) => queue.metrics),
  routes: Effect.flatMap(Routes.RoutesQueue, (queue) => queue.metrics)
})

type Snapshot = Effect.Effect.Success<typeof queues>

const count = (items: number): string => items.toLocaleString("en-US")

const percent = ({ position, size }: Source): number => size === 0 ? 100 : Math.floor(100 * position() / size)

const describe = ({ depth, dropped, refused, retries, settled }: Snapshot["flights"], capacity: number): string =>
  `${count(depth)} of ${count(capacity)} waiting, ${count(settled)} written`
  + (dropped + refused > 0 ? `, ${count(dropped + refused)} lost` : "")
  + (retries > 0 ? `, ${retries} retries` : "")

/** The id of the process is there for those who want to kill it themselves. */
const describeRoutes = ({ stored }: Snapshot["routes"], { current }: SecondProcess): string => {
  const { number, pid } = current()
  return `${count(stored)} stored, counted by process ${number} (${pid ?? "not running"})`
}

type Show = (snapshot: Snapshot) => void

const lines = (source: Source, counting: SecondProcess): Show => ({ board, flights, routes }) => {
  process.stderr.write(
    `${percent(source)} % read; flights: ${describe(flights, settings.flights.capacity)}; `
      + `board: ${describe(board, settings.board.capacity)}; routes: ${describeRoutes(routes, counting)}\n`
  )
}

/** The queues' bars show how full they are: under backpressure the first stays full. */
const bars = (source: Source, counting: SecondProcess): Effect.Effect<Show, never, Scope.Scope> =>
  Effect.gen(function*() {
    const multi = yield* Effect.acquireRelease(
      Effect.sync(() =>
        new cliProgress.MultiBar({
          stream: process.stderr,
          format: "{name} [{bar}] {text}",
          barsize: 24,
          hideCursor: true,
          // The table says it all in the end.
          clearOnComplete: true
        }, cliProgress.Presets.legacy)
      ),
      // Gives the cursor back.
      (multi) => Effect.sync(() => multi.stop())
    )
    const bar = (name: string, total: number) => {
      const single = multi.create(total, 0, { name: name.padEnd(8), text: "" })
      return (value: number, text: string) => single.update(Math.min(value, total), { text })
    }
    const read = bar("read", 100)
    const flightsBar = bar("flights", settings.flights.capacity)
    const boardBar = bar("board", settings.board.capacity)
    const routesBar = bar("routes", Routes.settings.batchSize)
    return ({ board, flights, routes }) => {
      read(percent(source), `${percent(source)} %, ${count(flights.offered)} flights offered`)
      flightsBar(flights.depth, describe(flights, settings.flights.capacity))
      boardBar(board.depth, describe(board, settings.board.capacity))
      routesBar(routes.held, describeRoutes(routes, counting))
    }
  })

/** Shows the progress until the scope is closed. */
export const show = (
  source: Source,
  counting: SecondProcess
): Effect.Effect<void, never, FlightsQueue | BoardQueue | Routes.RoutesQueue | Scope.Scope> =>
  Effect.gen(function*() {
    const isTerminal = process.stderr.isTTY === true
    const draw = isTerminal ? yield* bars(source, counting) : lines(source, counting)
    const update = Effect.map(queues, draw)
    yield* Effect.schedule(update, Schedule.spaced(isTerminal ? "100 millis" : "1 second")).pipe(
      // The program around it is uninterruptible, and a fiber inherits that: the scope could never end it.
      Effect.interruptible,
      Effect.forkScoped
    )
  })

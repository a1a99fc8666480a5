/**
 * Serves the queues while flights are replayed into them, until a signal comes.
 *
 * Then the scopes close from the inside out: the server refuses new requests and lets running ones end; the replay stops,
 * and what it has asked is answered; the queues write what they hold; the writer and the file are closed.
 */
import * as HttpServer from "@effect/platform/HttpServer"
import type { WriteBehind } from "@sluice/core"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as SlotBook from "../airports/SlotBook.ts"
import * as StatisticsTable from "../airports/StatisticsTable.ts"
import * as Database from "../database.ts"
import { BadOption } from "../errors.ts"
import { serveUntilInterrupted } from "../exit.ts"
import * as Failures from "../failures.ts"
import * as Ledger from "../Ledger.ts"
import type { Address, ReplayOptions } from "../options.ts"
import { BoardQueue, FlightsQueue, layerWithoutRoutes } from "../queues.ts"
import * as Sink from "../sink.ts"
import * as Source from "../source.ts"
import { welcome } from "./help.ts"
import * as Rounds from "./rounds.ts"
import * as Routes from "./routes.ts"
import { adminToken, grace, layer as layerServer } from "./server.ts"

const say = (line: string) => Effect.sync(() => process.stderr.write(`flights: ${line}\n`))

/** The queues, with everything that they write to around them. */
const layer = (options: ReplayOptions) => {
  const file = Option.getOrElse(options.db, () => "(temporary)")
  const tables = Layer.mergeAll(
    Sink.layer({ delay: options.sinkDelay, file }),
    StatisticsTable.layer({ delay: options.sinkDelay, file }),
    SlotBook.layer({ file })
  )
  return Layer.merge(layerWithoutRoutes(options.policy), Routes.layer).pipe(
    Layer.provideMerge(tables),
    Layer.provideMerge(Database.layer(options.db)),
    Layer.provide(Failures.layer(options.seed)),
    Layer.provideMerge(Ledger.layerForgetful)
  )
}

/** Of a queue that is closed: what could not be written in time. */
const lostAtEnd = (queue: WriteBehind.WriteBehind<any>) =>
  Effect.map(queue.metrics, ({ droppedByReason }) => droppedByReason["shutdown"] ?? 0)

const farewell = (queues: ReadonlyArray<WriteBehind.WriteBehind<any>>) =>
  Effect.gen(function*() {
    const lost = (yield* Effect.all(queues.map(lostAtEnd))).reduce((sum, items) => sum + items, 0)
    if (lost > 0) process.exitCode = 1
    yield* say(
      lost === 0 ? "ended: all that was taken is written" : `ended: ${lost} items could not be written in time`
    )
  })

/**
 * Serves. To be run uninterruptibly.
 *
 * **Interruption** ends it as described above, and then it succeeds.
 */
export const serve = (options: ReplayOptions, address: Address) =>
  Effect.gen(function*() {
    // What is wrong with the file is told before anything is replaced or served.
    yield* Source.open(options.file)
    const token = yield* Effect.orDie(Config.option(Config.redacted(adminToken)))
    const timeToEnd = yield* Effect.mapError(grace, () => new BadOption({ problem: "SLUICE_GRACE must be a duration" }))
    const queues: Array<WriteBehind.WriteBehind<any>> = []
    const serving = Effect.gen(function*() {
      queues.push(yield* FlightsQueue, yield* BoardQueue)
      const listening = yield* Effect.makeLatch()
      // The first to be begun is the last to be ended: while requests still run, the replay goes on.
      const replaying = yield* Effect.forkScoped(Effect.zipRight(listening.await, Rounds.run(options)))
      const server = Context.get(yield* Layer.build(layerServer(address, token, timeToEnd)), HttpServer.HttpServer)
      yield* Effect.sync(() => process.stderr.write(welcome(server.address, Option.isSome(token))))
      yield* listening.open
      return yield* Fiber.join(replaying)
    }).pipe(Effect.scoped, Effect.provide(layer(options)))
    serveUntilInterrupted()
    const exit = yield* Effect.exit(Effect.interruptible(serving))
    // A layer that fails interrupts those beside it: that is no end as it should be.
    if (Exit.isSuccess(exit) || !Cause.isInterruptedOnly(exit.cause)) return yield* exit
    yield* farewell(queues)
  })

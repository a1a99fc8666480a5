/**
 * The second process: two workers that count what the first has stored. `secondProcess.ts` starts it.
 *
 * A batch is counted in a transaction of the handler, and settled after that. So a batch that is in flight when this
 * process is killed may be counted, and will be counted again. That is what "at least once" means.
 */
import { BatchQueue, Retry } from "@sluice/core"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { problemOf } from "../errors.ts"
import { batchOf } from "./Increment.ts"
import type { Order, Word } from "./messages.ts"
import { RouteCounts } from "./RouteCounts.ts"
import { RoutesQueue, settings, shared } from "./RoutesQueue.ts"
import * as Store from "./store.ts"

/** Which process this is: 1 is the first. */
const [file, number] = process.argv.slice(2)

let isHolding = false
let deliveries = 0

const say = (word: Word): void => {
  process.send?.(word)
}

const queue = BatchQueue.layer(RoutesQueue, {
  ...shared,
  workers: settings.workers,
  // So soon the batches of a process that was killed come back. A machine that stands still for longer loses them too.
  leaseDuration: settings.leaseMillis,
  retry: Retry.exponential({ base: "50 millis", cap: "1 second" }),
  process: ({ items }) =>
    Effect.gen(function*() {
      const counts = yield* RouteCounts
      yield* counts.count({ process: Number(number), delivery: ++deliveries }, items)
      if (!isHolding) return
      say({ _tag: "Held", batch: batchOf(items) })
      // Until this process is killed. The lease is renewed meanwhile.
      yield* Effect.never
    })
})

const begun = Effect.runSync(Deferred.make<void>())
const stopped = Effect.runSync(Deferred.make<void>())

process.on("message", (order: Order) => {
  if (order === "stop") Deferred.unsafeDone(stopped, Effect.void)
  if (order === "hold") {
    isHolding = true
    say({ _tag: "Holding" })
  }
  // "stop" as well: there may have been nothing to do before it began.
  Deferred.unsafeDone(begun, Effect.void)
})

// Ctrl-C goes to both processes, and it is the first that decides when this one ends.
process.on("SIGINT", () => {})
process.on("SIGTERM", () => {})
// The first process has gone, however it has ended. What is in hand comes back when its lease runs out.
process.on("disconnect", () => process.exit(1))
if (!process.connected) process.exit(1)
say({ _tag: "Ready" })

const count = Effect.zipRight(RoutesQueue, Deferred.await(stopped)).pipe(
  // Ends the queue as one should: handlers that run may end, and no lease is left behind.
  Effect.provide(queue.pipe(Layer.provide(Store.layer(file))))
)

const program = Effect.zipRight(Deferred.await(begun), count).pipe(
  Effect.tapError((error) => Effect.sync(() => process.stderr.write(`flights: routes: ${problemOf(error)}\n`))),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

void Effect.runPromiseExit(program).then((exit) => process.exit(exit._tag === "Success" ? 0 : 1))

/**
 * A trading day: many traders of one process, and a few of another, submit commands to the same instruments. Answers
 * everything that `check.ts` looks at.
 *
 * The second "process" is this one, with connections, a writer, books and a pool of its own: it shares nothing with the
 * first but the file.
 */
import { SqliteStore } from "@sluice/sql"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Command } from "./Book.ts"
import type { CommandOutcome, Evidence, ProcessEvidence } from "./check.ts"
import * as Journal from "./Journal.ts"
import * as OrderBook from "./OrderBook.ts"
import { commandsOf } from "./traders.ts"

export const plan = {
  first: { traders: 20, commands: 30, firstId: 1, pauseMillis: 20 },
  second: { traders: 3, commands: 20, firstId: 10_001, pauseMillis: 20 }
}

/** What becomes of a command: an answer, or a rejection. All other errors end the day. */
const ask = (pool: Context.Tag.Service<OrderBook.OrderBook>, command: Command) =>
  OrderBook.submit(pool, command).pipe(
    Effect.map((answer): CommandOutcome => ({ _tag: "Answered", answer })),
    Effect.catchTag("CommandRejected", ({ reason }) =>
      Effect.succeed<CommandOutcome>({ _tag: "Rejected", command: command.id, reason }))
  )

/** Opens a process. What it answers runs its day: each trader waits for an answer before the next command. */
const open = (name: "first" | "second", filename: string) =>
  Effect.gen(function*() {
    const layer = OrderBook.layer(name).pipe(
      Layer.provide(Journal.layer),
      Layer.provide(SqliteStore.layer({ filename }))
    )
    const pool = Context.get(yield* Layer.build(layer), OrderBook.OrderBook)
    const { pauseMillis, ...options } = plan[name]
    return Effect.gen(function*() {
      const commands = yield* commandsOf(name, options)
      const outcomes = yield* Effect.forEach(
        commands,
        Effect.forEach((command) => Effect.delay(ask(pool, command), pauseMillis)),
        { concurrency: "unbounded" }
      )
      return {
        commands: commands.flat(),
        outcomes: outcomes.flat(),
        metrics: yield* pool.metrics
      } satisfies ProcessEvidence
    })
  })

/** Both are open before either begins, or one might have ended its day by then, and there were no conflicts. */
const trade = (filename: string) =>
  Effect.gen(function*() {
    const first = yield* open("first", filename)
    const second = yield* open("second", filename)
    return yield* Effect.all({ first, second }, { concurrency: "unbounded" })
  }).pipe(Effect.scoped)

/** Opened anew: whatever the pools have in memory, this is what the file has. */
export const readAll = (filename: string) =>
  Effect.flatMap(Journal.Journal, ({ all }) => all).pipe(
    Effect.provide(Journal.layer.pipe(Layer.provide(SqliteStore.layer({ filename }))))
  )

export const tradingDay = (filename: string) =>
  Effect.gen(function*() {
    const processes = yield* trade(filename)
    return { ...processes, entries: yield* readAll(filename) } satisfies Evidence
  })

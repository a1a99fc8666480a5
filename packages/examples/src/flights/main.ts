/**
 * Replays flights into SQLite, through queues, keyed batches and commands, and checks what was written. Try `--help`.
 *
 * The way of a flight: `source` reads it, `replay` offers it to the queues of `queues`. Two of them flush it into the
 * tables of `sink`; what the third has stored, another process counts: see `routes/`. Its airport counts it, and gives
 * it a slot where it is late: see `airports/`. `check` compares the tables with the file, and `report` tells the result.
 * With `--serve` the queues take flights over HTTP as well, and there is no end: see `serve/`.
 */
// Modules of the platform are imported one by one: loading all of it takes longer than everything else.
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { problemOf } from "./errors.ts"
import { listen, teardown } from "./exit.ts"
import { parse, type ReplayOptions } from "./options.ts"
import { replay } from "./replay.ts"
import * as Report from "./report.ts"
import * as Source from "./source.ts"

const serveHint = "To serve it over HTTP: npm start -- --serve"

const run = (options: ReplayOptions) =>
  Effect.gen(function*() {
    if (Option.isSome(options.serve)) {
      // Loaded where it is needed: it takes as long as all the rest.
      const { serve } = yield* Effect.promise(() => import("./serve/serve.ts"))
      return yield* serve(options, options.serve.value)
    }
    const source = yield* Source.open(options.file)
    const outcome = yield* replay(source, options)
    process.stdout.write(
      options.json
        ? `${Report.json(outcome, source, options)}\n`
        : `${Report.text(outcome, source, options)}\n${serveHint}\n`
    )
    if (!outcome.verdict.holds) process.exitCode = 1
  })

const endWith = (code: number) => (error: Error): Effect.Effect<void> =>
  Effect.sync(() => {
    process.stderr.write(`flights: ${code === 2 ? error.message : problemOf(error)}\n`)
    process.exitCode = code
  })

const mistake = endWith(2)
const broken = endWith(1)

const program = parse(process.argv).pipe(
  Effect.flatMap(Option.match({ onNone: () => Effect.void, onSome: run })),
  Effect.catchTags({
    BadOption: mistake,
    UnreadableFile: mistake,
    MalformedFlight: mistake,
    UnusableDatabase: mistake
  }),
  Effect.catchAll(broken)
)

listen()

program.pipe(
  Effect.provide(NodeContext.layer),
  // stdout is for the result.
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  // An interruption ends the offering, and nothing else: see `replay`.
  Effect.uninterruptible,
  NodeRuntime.runMain({ disablePrettyLogger: true, teardown })
)

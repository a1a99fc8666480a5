/**
 * Commands of many traders become events in SQLite, a version each, although two processes write to the same books.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import { report } from "./report.ts"
import { tradingDay } from "./tradingDay.ts"

const program = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* files.makeTempDirectoryScoped({ prefix: "sluice-order-book-" })
  yield* Effect.flatMap(tradingDay(path.join(directory, "events.sqlite")), report)
}).pipe(
  Effect.scoped,
  Effect.timeout("1 minute"),
  Effect.provide(NodeContext.layer)
)

NodeRuntime.runMain(program)

/**
 * A thousand transfers between accounts in SQLite, all at once, and how few loads and saves they take.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { accounts, busyDay, plan } from "./busyDay.ts"
import { report } from "./report.ts"

const program = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* files.makeTempDirectoryScoped({ prefix: "sluice-accounts-" })
  yield* Console.log(
    `${plan.transfers} transfers between ${accounts.length} accounts of ${plan.branches.length} branches, all at once; `
      + "the first save is made to fail half-way"
  )
  yield* Effect.flatMap(busyDay(path.join(directory, "accounts.sqlite")), report)
}).pipe(
  Effect.scoped,
  Effect.timeout("1 minute"),
  Effect.provide(NodeContext.layer)
)

NodeRuntime.runMain(program)

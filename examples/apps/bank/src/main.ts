// Opens accounts, and transfers money between them until the process is ended.
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { Bank } from "./Bank.ts"
import { DatabaseLive } from "./Database.ts"
import { openAll, randomTransfer } from "./day.ts"

const program = Effect.gen(function*() {
  yield* openAll
  const teller = Effect.forever(Effect.catchTag(randomTransfer, "Overdraft", () => Effect.void))
  yield* Effect.replicateEffect(teller, 16, { concurrency: "unbounded", discard: true })
})

program.pipe(Effect.provide(Layer.provide(Bank.Default, DatabaseLive)), NodeRuntime.runMain)

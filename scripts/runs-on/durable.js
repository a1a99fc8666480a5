// A durable queue on a file. `fill` stores three items, and is killed in the middle of the first. `drain` handles what is
// left. `open` only opens the file. Prints what was handled, or why there is no store.
import { BatchQueue } from "@sluice/core"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Effect, Schema } from "effect"

const [phase, filename] = process.argv.slice(2)
const handled = []

const program = Effect.gen(function*() {
  const queue = yield* BatchQueue.make({
    name: "emails",
    schema: Schema.String,
    flush: { size: 1 },
    // Those of a process that is killed come back soon.
    leaseDuration: "3 seconds",
    pollInterval: 20,
    process: ({ items }) =>
      Effect.sync(() => {
        if (phase === "fill") process.kill(process.pid, "SIGKILL")
        handled.push(...items)
      })
  })
  if (phase === "fill") {
    yield* queue.pause
    for (const item of ["ada", "bob", "eve"]) yield* queue.offerStored(item)
    yield* queue.resume
    yield* Effect.never
  }
  const isLeft = Effect.map(queue.stats, ({ pending }) => pending.batches > 0)
  yield* Effect.repeat(Effect.zipLeft(isLeft, Effect.sleep(20)), { while: (left) => left })
  return handled.sort()
}).pipe(Effect.scoped, Effect.provide(SqlBatchStore.layer()))

const opened = Effect.provide(
  phase === "open" ? Effect.succeed("opened") : program,
  SqliteStore.layer({ filename, busyTimeout: "1 second" })
)

Effect.runPromise(
  Effect.catchTag(opened, "StoreUnavailable", ({ message, reason }) => Effect.succeed({ message, reason }))
)
  .then((result) => console.log(JSON.stringify(result)))

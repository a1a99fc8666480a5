// Reads a number, looks away, and writes one more, many times and from many fibers: in transactions of its own
// ("transactions") or as writes of a coordinator ("coordinator").
import { SqlClient } from "@effect/sql"
import { Context, Effect, Layer } from "effect"
import { SqliteStore, WriteCoordinator } from "../../dist/index.js"
import { say } from "./say.js"

const [filename, through, times] = process.argv.slice(2)

class Writes extends Context.Tag("Writes")() {}

const layer = WriteCoordinator.layer(Writes, { name: "writes", batchSize: 8 }).pipe(
  Layer.provideMerge(SqliteStore.layer({ filename }))
)

const heard = (word) =>
  Effect.async((resume) => {
    process.stdin.setEncoding("utf8").on("data", (text) => {
      if (text.includes(word)) resume(Effect.void)
    })
  })

const breakForOthers = Effect.async((resume) => void setImmediate(() => resume(Effect.void)))

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const writes = yield* Writes
  const increment = Effect.gen(function*() {
    const [{ value }] = yield* sql`SELECT value FROM counter`
    yield* breakForOthers
    yield* sql`UPDATE counter SET value = ${value + 1}`
  })
  const one = through === "coordinator"
    ? writes.submit(increment, { name: "increment" })
    : sql.withTransaction(increment)
  say("open")
  yield* heard("go")
  yield* Effect.all(Array.from({ length: Number(times) }, () => one), { concurrency: 10, discard: true })
})

Effect.runPromise(Effect.provide(program, layer)).then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})

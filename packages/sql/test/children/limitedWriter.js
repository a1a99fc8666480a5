// Writes into a file that is about to reach the limit of its size, and says what became of each write as JSON.
import { SqlClient } from "@effect/sql"
import { Context, Effect, Layer } from "effect"
import { SqliteStore, WriteCoordinator } from "../../dist/index.js"
import { say } from "./say.js"

const [filename] = process.argv.slice(2)

class Writes extends Context.Tag("Writes")() {}

const layer = WriteCoordinator.layer(Writes, { name: "writes" }).pipe(
  Layer.provideMerge(SqliteStore.layer({ filename }))
)

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const writes = yield* Writes
  const insert = (id, part, bytes) => sql`INSERT INTO rows VALUES (${id}, ${part}, zeroblob(${bytes}))`
  const submit = (id, write) =>
    Effect.matchEffect(writes.submit(write, { name: id }), {
      onFailure: (error) =>
        Effect.sync(() =>
          say(
            JSON.stringify({
              id,
              tag: error._tag,
              reason: error.reason,
              code: (error.cause?.cause ?? error.cause)?.code
            })
          )
        ),
      onSuccess: () => Effect.sync(() => say(JSON.stringify({ id, tag: "ok" })))
    })
  const pair = (id, bytes) => submit(id, Effect.zipRight(insert(id, 0, bytes), insert(id, 1, bytes)))

  yield* pair("before", 100)
  // All in one group, which is larger than the limit.
  const group = ["a", "b", "c"].flatMap((id) => [
    pair(`pair-${id}`, 40_000),
    submit(`statement-${id}`, insert(`statement-${id}`, 0, 40_000))
  ])
  yield* Effect.all(group, { concurrency: "unbounded" })
  yield* pair("after", 100)
  // Without room in memory a statement writes before the commit, and so fails by itself.
  yield* sql`PRAGMA cache_size = 5`
  yield* Effect.all(
    [
      pair("small", 100),
      submit(
        "large",
        sql`
          WITH RECURSIVE parts (part) AS (SELECT 1 UNION ALL SELECT part + 1 FROM parts WHERE part < 200)
          INSERT INTO rows SELECT 'large', part, zeroblob(3000) FROM parts
        `
      ),
      pair("neighbour", 100)
    ],
    { concurrency: "unbounded" }
  )
  yield* pair("last", 100)
})

Effect.runPromise(Effect.provide(program, layer)).then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})

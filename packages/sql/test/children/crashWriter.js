// Writes with many submitters until it is killed, and says each answer when, and only when, it has it.
import { SqlClient } from "@effect/sql"
import { Context, Effect, Layer } from "effect"
import { SqliteStore, WriteCoordinator } from "../../dist/index.js"
import { say } from "./say.js"

const [filename, run] = process.argv.slice(2)
const submitters = 50

class Writes extends Context.Tag("Writes")() {}

const layer = WriteCoordinator.layer(Writes, { name: "writes", batchSize: 32, capacity: 16 }).pipe(
  Layer.provideMerge(SqliteStore.layer({ filename }))
)

const tell = (line) => Effect.sync(() => say(line))

// So that a kill can come between two rows of a write.
const breakForOthers = Effect.async((resume) => void setImmediate(() => resume(Effect.void)))

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const writes = yield* Writes
  yield* sql`CREATE TABLE IF NOT EXISTS rows (id TEXT, part INTEGER, PRIMARY KEY (id, part))`
  const insert = (id, part) => sql`INSERT INTO rows (id, part) VALUES (${id}, ${part})`
  const half = (id) => Effect.all([insert(id, 0), tell(`begun ${id}`), breakForOthers])

  // What a write is called tells how many rows of it have to be there once it has been answered.
  const kinds = {
    statement: (id) => insert(id, 0),
    pair: (id) => Effect.zipRight(half(id), insert(id, 1)),
    pairInOne: (id) => sql`INSERT INTO rows (id, part) VALUES (${id}, 0), (${id}, 1)`,
    pairAndUndone: (id) =>
      half(id).pipe(
        Effect.zipRight(Effect.ignore(sql.withTransaction(Effect.zipRight(insert(id, 9), Effect.fail("undone"))))),
        Effect.zipRight(insert(id, 1))
      ),
    fails: (id) => Effect.zipRight(half(id), Effect.fail("on purpose")),
    dies: (id) => Effect.zipRight(half(id), Effect.die("on purpose")),
    // The second of the two rows is refused.
    breaks: (id) => sql`INSERT INTO rows (id, part) VALUES (${id}, 0), (${id}, 0)`
  }
  const names = Object.keys(kinds)

  let next = 0
  const submitOne = Effect.suspend(() => {
    const number = next++
    const kind = names[number % names.length]
    const id = `${run}.${number}.${kind}`
    return Effect.matchEffect(writes.submit(kinds[kind](id), { name: kind }), {
      onFailure: () => tell(`failed ${id}`),
      onSuccess: () => tell(`ok ${id}`)
    })
  })
  yield* Effect.all(Array.from({ length: submitters }, () => Effect.forever(submitOne)), {
    concurrency: "unbounded",
    discard: true
  })
})

Effect.runPromise(Effect.provide(program, layer)).catch((error) => {
  console.error(error)
  process.exit(1)
})

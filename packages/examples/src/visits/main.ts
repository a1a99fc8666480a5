/**
 * Runs the app of `Visits.ts` twice, and counts the commits. The difference is one Layer: in the first run every write is
 * a transaction of its own, in the second those that wait together share one. Then submits writes to the coordinator
 * directly, which announces them.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { check, type Run } from "./check.ts"
import { countCommits } from "./commits.ts"
import * as Visits from "./Visits.ts"

class Writes extends Context.Tag("visits/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

const store = (filename: string) => SqliteStore.layer({ filename })

/** The Layer of the first run: the client of the store. */
const plain = (filename: string) => Layer.merge(store(filename), Reactivity.layer)

const topics = new Map([["visit", "visits"]])

/** The Layer of the second run: a client whose writes go through a coordinator, and the coordinator itself. */
const coordinated = (filename: string) =>
  WriteCoordinator.layerSqlClient(Writes).pipe(
    Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes", topic: (name) => topics.get(name) })),
    Layer.provide(store(filename)),
    Layer.merge(Reactivity.layer)
  )

const measure = (name: string, filename: string) =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.currentTimeMillis
    const day = yield* Visits.busyDay
    const endedAt = yield* Clock.currentTimeMillis
    return { ...day, name, millis: endedAt - startedAt, commits: yield* countCommits(filename) } satisfies Run
  })

const submitted = [
  { visitor: "Ada", page: "/" },
  { visitor: "Ada", page: "/news" },
  { visitor: "Grace", page: "/" }
]

/** Submits writes that say what they are about, and which queries they change. */
const submitAll = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const writes = yield* Writes
  for (const visit of submitted) {
    yield* writes.submit(sql`INSERT INTO visits ${sql.insert(visit)}`, {
      name: "visit",
      payload: visit,
      reactivityKeys: Visits.keys
    })
  }
})

const runCoordinated = (filename: string) =>
  Effect.gen(function*() {
    const writes = yield* Writes
    // From here on it hears of every write that has a topic. Those of the app have none.
    const listener = yield* writes.changes.pipe(
      Stream.filter((change) => "topic" in change),
      Stream.take(submitted.length),
      Stream.runCollect,
      Effect.fork
    )
    const run = yield* measure("with a coordinator", filename)
    const metrics = yield* writes.metrics
    const counted = yield* Visits.watch(Visits.expected.visits + submitted.length)
    yield* submitAll
    return {
      run,
      metrics,
      countsAfter: yield* counted,
      announced: Chunk.toReadonlyArray(yield* Fiber.join(listener))
    }
  }).pipe(Effect.provide(coordinated(filename)))

const row = ({ commits, counts, millis, name, totals }: Run): string =>
  `${name.padEnd(20)}${`${commits} commits`.padEnd(14)}${`${millis} ms`.padEnd(10)}`
  + `${totals.visits} visits, of which the watcher was told in ${counts.length} steps`

const program = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = yield* files.makeTempDirectoryScoped({ prefix: "sluice-visits-" })
  const { failingWalks, visits, walks } = Visits.plan
  yield* Console.log(
    `${Visits.writes} writes: the tables, ${visits} visits, and ${walks} walks in a transaction each, `
      + `of which ${failingWalks} are rolled back`
  )

  const first = path.join(directory, "plain.sqlite")
  const plainRun = yield* Effect.provide(measure("plain", first), plain(first))
  yield* Console.log(row(plainRun))

  const second = yield* runCoordinated(path.join(directory, "coordinated.sqlite"))
  yield* Console.log(row(second.run))
  const { batches, cancelled, failed, offered, settled, succeeded } = second.metrics
  yield* Console.log(
    `the coordinator: ${offered} offered, ${succeeded} succeeded, ${failed} failed, ${cancelled} cancelled, `
      + `in ${batches} groups: ${(settled / batches).toFixed(1)} writes a group`
  )
  for (const { name, payload, sequence, topic } of second.announced) {
    yield* Console.log(`announced: ${topic} ${sequence}: ${name} ${JSON.stringify(payload)}`)
  }
  yield* Console.log(`meanwhile the watcher was told: ${second.countsAfter.join(", ")}`)

  const wrong = check({ ...second, plain: plainRun, coordinated: second.run, submitted })
  if (wrong.length > 0) return yield* Effect.fail(new Error(wrong.join("\n")))
  yield* Console.log("It adds up.")
}).pipe(
  Effect.scoped,
  // A watcher that is not told waits for ever.
  Effect.timeout("1 minute"),
  Effect.provide(NodeContext.layer)
)

NodeRuntime.runMain(program)

/**
 * Other queues in a SQLite file, each as its documentation has it, with whatever it offers for speed, and one process.
 * All of them are at `synchronous` NORMAL by themselves. None of them knows batches: a handler gets one item.
 */
import * as PersistedQueue from "@effect/experimental/PersistedQueue"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as SqlPersistedQueue from "@effect/sql/SqlPersistedQueue"
import Sqlite from "better-sqlite3"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { buildDBClient, Runner, SqliteQueue } from "liteque"
import { better, defineQueue, defineWorker, JobStatus } from "plainjob"
import { expectLevel, type Level, type Query } from "../files.ts"
import { expectDriverLevel, openDriver } from "./driver.ts"
import { batchSize, Item, Seen } from "./items.ts"
import type { Handling } from "./sluice.ts"

export type Peer = (filename: string) => Effect.Effect<Handling, never, Scope.Scope>

/** Resolves when told so many times. */
const makeCountdown = () => {
  let left = 0
  let resolve = () => {}
  return {
    start: (count: number): Promise<void> => {
      left = count
      return new Promise((done) => {
        resolve = done
      })
    },
    tick: () => {
      left -= 1
      if (left === 0) resolve()
    }
  }
}

const expectLeft = (who: string, left: number, expected = 0) => {
  if (left !== expected) throw new Error(`${who}: ${left} rows instead of ${expected}`)
}

/** It claims as many items as there are takers. More than a hundred do not make it faster. */
const takers = 100

/** Effect's own. An offer is one INSERT, and those of a hundred items share a transaction. */
export const persistedQueue: Peer = (filename) =>
  Effect.gen(function*() {
    const store = SqlPersistedQueue.layerStore({ pollInterval: "1 millis" })
    const context = yield* Layer.build(
      PersistedQueue.layer.pipe(Layer.provide(store), Layer.provideMerge(SqliteClient.layer({ filename })))
    )
    return yield* Effect.provide(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const queue = yield* PersistedQueue.make({ name: "benchmark", schema: Item })
        const seen = new Seen()
        const countdown = makeCountdown()
        const take = Effect.zipRight(
          queue.take((item) => Effect.sync(() => seen.see(item))),
          Effect.sync(countdown.tick)
        )
        for (let i = 0; i < takers; i++) yield* Effect.forkScoped(Effect.orDie(Effect.forever(take)))
        const query: Query = (text) => Effect.orDie(sql.unsafe(text))
        return {
          handleAll: (items: ReadonlyArray<Item>) =>
            Effect.orDie(Effect.gen(function*() {
              const done = countdown.start(items.length)
              for (let first = 0; first < items.length; first += batchSize) {
                const some = items.slice(first, first + batchSize)
                yield* sql.withTransaction(Effect.forEach(some, (item) => queue.offer(item), { discard: true }))
              }
              yield* Effect.promise(() => done)
            })),
          check: (count: number, times: number) =>
            Effect.gen(function*() {
              yield* expectLevel(query, "NORMAL")
              yield* seen.expect("PersistedQueue", count, times)
              const [{ completed }] = yield* query("SELECT count(*) AS completed FROM effect_queue WHERE completed = 1")
              expectLeft("PersistedQueue", Number(completed), count * times)
              yield* query("DELETE FROM effect_queue")
            })
        }
      }),
      context
    )
  }).pipe(Effect.orDie)

const decode = Schema.decodeUnknownSync(Item)
const silent = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }

/** How plainjob opens a file. It sets `synchronous` NORMAL itself; FULL is set on its connection afterwards. */
const openPlainjob = (filename: string, level: Level) =>
  Effect.gen(function*() {
    const db = yield* Effect.acquireRelease(
      Effect.sync(() => new Sqlite(filename)),
      (db) => Effect.sync(() => db.close())
    )
    const queue = yield* Effect.acquireRelease(
      Effect.sync(() => defineQueue({ connection: better(db), logger: silent })),
      (queue) => Effect.sync(() => queue.close())
    )
    if (level === "FULL") {
      db.pragma("synchronous = FULL")
      db.pragma("fullfsync = 1")
    }
    return { db, queue }
  })

const jobType = "benchmark"

/** Items are added in one call, and one worker handles one after the other. What is done stays in the table. */
export const plainjob: Peer = (filename) =>
  Effect.map(openPlainjob(filename, "NORMAL"), ({ db, queue }) => {
    const seen = new Seen()
    return {
      handleAll: (items) =>
        Effect.promise(async () => {
          const countdown = makeCountdown()
          const done = countdown.start(items.length)
          queue.addMany(jobType, [...items])
          const worker = defineWorker(jobType, ({ data }) => seen.see(decode(JSON.parse(data))), {
            queue,
            logger: silent,
            pollIntervall: 1,
            onCompleted: countdown.tick
          })
          const stopped = worker.start()
          await done
          await worker.stop()
          await stopped
        }),
      check: (count, times) =>
        Effect.gen(function*() {
          yield* expectDriverLevel(db, "NORMAL")
          yield* seen.expect("plainjob", count, times)
          expectLeft("plainjob", queue.countJobs({ status: JobStatus.Done }), count * times)
          db.exec("DELETE FROM plainjob_jobs")
        })
    }
  })

/** Plainjob's `add`, which has the item in the file when it returns. */
export const plainjobAdd = (filename: string, level: Level) =>
  Effect.map(openPlainjob(filename, level), ({ db, queue }) => {
    const seen = new Seen()
    return {
      add: (item: Item): void => void queue.add(jobType, item),
      check: (count: number): Effect.Effect<void> =>
        Effect.suspend(() => {
          const rows = db.prepare<[], { readonly data: string }>("SELECT data FROM plainjob_jobs").all()
          for (const { data } of rows) seen.see(decode(JSON.parse(data)))
          db.exec("DELETE FROM plainjob_jobs")
          return Effect.zipRight(expectDriverLevel(db, level), seen.expect("plainjob", count))
        })
    }
  })

/** It leaves a timer behind for each job, for as long as the job may take. */
const litequeTimeoutSeconds = 1

/**
 * Items are added one by one, and one runner handles one after the other: more at a time are slower.
 *
 * It takes a job in a transaction with an asynchronous function, which better-sqlite3 refuses since version 11.10.
 * Earlier versions committed such a transaction before its first statement, so that each statement was committed by
 * itself. That is how it is run here, without the empty transaction. It has nothing that closes its file.
 */
export const liteque: Peer = (filename) =>
  Effect.gen(function*() {
    const db = buildDBClient(filename, { runMigrations: true })
    Object.assign(db, { transaction: (run: (transaction: typeof db) => unknown) => run(db) })
    const reader = yield* openDriver(filename, "NORMAL")
    const rows = reader.prepare<[], { readonly count: number }>("SELECT count(*) AS count FROM tasks")
    const queue = new SqliteQueue<Item>("benchmark", db, {
      defaultJobArgs: { numRetries: 0 },
      keepFailedJobs: true
    })
    const seen = new Seen()
    return {
      handleAll: (items) =>
        Effect.promise(async () => {
          for (const item of items) await queue.enqueue(item)
          const run = async ({ data }: { readonly data: Item }) => seen.see(decode(data))
          const options = { concurrency: 1, pollIntervalMs: 1, timeoutSecs: litequeTimeoutSeconds }
          await new Runner(queue, { run }, options).runUntilEmpty()
        }),
      check: (count, times) =>
        Effect.gen(function*() {
          yield* seen.expect("liteque", count, times)
          expectLeft("liteque", rows.get()!.count)
          // Nobody else is to pay for its timers.
          yield* Effect.sleep(`${litequeTimeoutSeconds + 0.1} seconds`)
        })
    }
  })

import { describe, expect, it } from "@effect/vitest"
import { SqlClient } from "@effect/sql"
import { BatchQueue } from "@sluice/core"
import { PostgresStore, SqlBatchStore, SqlTransaction } from "@sluice/sql"
import { Deferred, Effect, Layer, Redacted, Schema } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { child, temporaryDirectory } from "./children/spawn.ts"
import { addressOf, connect, hasServer, temporaryDatabase } from "./postgres.ts"

const open = (database: string, more: Partial<PostgresStore.Options> = {}) =>
  SqlBatchStore.layer().pipe(
    Layer.provideMerge(PostgresStore.layer({ url: Redacted.make(addressOf(database)), durable: false, ...more }))
  )

const options = { name: "orders", schema: Schema.String, metrics: false, pollInterval: 20 } as const

/** Looks again until it is so. */
const until = <E, R>(isSo: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(Effect.zipLeft(isSo, Effect.sleep(10)), { until: (isSo) => isSo })

describe.skipIf(!await hasServer())("a queue in PostgreSQL", () => {
  it.scopedLive("takes items with a transaction of the app, or not at all", () =>
    Effect.gen(function*() {
      const database = yield* temporaryDatabase
      const handled: Array<string> = []
      yield* Effect.gen(function*() {
        const queue = yield* BatchQueue.make({
          ...options,
          process: ({ items }) => Effect.sync(() => void handled.push(...items))
        })
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE orders (id TEXT PRIMARY KEY)`
        const order = (id: string) => Effect.zipRight(sql`INSERT INTO orders VALUES (${id})`, queue.offerStored(id))
        yield* Effect.exit(sql.withTransaction(Effect.zipRight(order("rolled back"), Effect.fail("no"))))
        yield* SqlTransaction.withTransaction(order("committed"))
        yield* until(Effect.map(queue.stats, ({ pending }) => pending.batches === 0))
        expect(yield* sql`SELECT id FROM orders`).toStrictEqual([{ id: "committed" }])
      }).pipe(Effect.scoped, Effect.provide(open(database)))
      expect(handled).toStrictEqual(["committed"])
    }))

  it.scopedLive("goes on where all of its connections are cut", () =>
    Effect.gen(function*() {
      const database = yield* temporaryDatabase
      const cut = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const handled = new Set<string>()
      const ids = Array.from({ length: 200 }, (_, n) => `item ${n}`)
      yield* Effect.gen(function*() {
        const queue = yield* BatchQueue.make({
          ...options,
          flush: { size: 10 },
          onInternalError: () => Effect.void,
          process: ({ items }) =>
            Effect.gen(function*() {
              yield* Deferred.succeed(begun, undefined)
              yield* Deferred.await(cut)
              for (const item of items) handled.add(item)
            })
        })
        yield* Effect.forEach(ids.slice(0, 100), (id) => queue.offerStored(id), { concurrency: "unbounded" })
        yield* Deferred.await(begun)
        const admin = yield* connect("postgres", 1)
        yield* admin.unsafe("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [database])
        yield* Deferred.succeed(cut, undefined)
        yield* Effect.forEach(
          ids.slice(100),
          (id) => Effect.retry(queue.offerStored(id), { while: ({ _tag }) => _tag === "StoreUnavailable" }),
          { concurrency: "unbounded" }
        )
        yield* until(Effect.orElseSucceed(Effect.map(queue.stats, ({ pending }) => pending.batches === 0), () => false))
      }).pipe(Effect.scoped, Effect.provide(open(database)))
      expect([...handled].sort()).toStrictEqual([...ids].sort())
    }))

  it.scopedLive("loses nothing where its processes are killed", () =>
    Effect.gen(function*() {
      const database = yield* temporaryDatabase
      const folder = yield* temporaryDirectory
      const noted = path.join(folder, "noted")
      const run = (who: string, more: object) =>
        child("queue", JSON.stringify({ postgres: addressOf(database), noted, who, ...more }))
      const queue = { workers: 2, leaseDuration: 3000, flush: { size: 3 } }
      const producer = yield* run("producer", {
        options: { ...queue, workers: 0 },
        produce: { fibers: 3, prefix: "p", pauseMillis: 10 }
      })
      yield* producer.heard("open")
      const begun = () => fs.existsSync(noted) ? fs.readFileSync(noted, "utf8") : ""
      for (let kill = 0; kill < 6; kill++) {
        const worker = yield* run(`worker ${kill}`, { options: queue, handleMillis: 5 })
        yield* until(Effect.sync(() => begun().includes(`end worker ${kill} `)))
        worker.unsafeKill()
        yield* worker.endsWith("SIGKILL")
      }
      yield* producer.say("enough")
      yield* producer.heard("produced")
      const last = yield* run("last", { options: queue, drain: true })
      yield* last.endsWith("0")
      const stored = producer.lines.filter((line) => line.startsWith("stored ")).map((line) => line.slice(7))
      const handled = new Set(
        begun().split("\n").filter((line) => line.startsWith("end ")).flatMap((line) =>
          line.split(" ").pop()!.split(",")
        )
      )
      expect(stored.length).toBeGreaterThan(20)
      expect(stored.filter((id) => !handled.has(id))).toStrictEqual([])
    }))
})

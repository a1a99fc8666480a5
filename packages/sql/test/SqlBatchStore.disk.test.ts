/**
 * The store of batches on disks that are full, and in files that are damaged.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Context, Effect, Layer } from "effect"
import * as fs from "node:fs"
import { foreign, temporaryFile } from "./database.ts"
import { canMount, smallDisk } from "./smallDisk.ts"

const open = (filename: string) =>
  Effect.flatMap(
    Layer.build(SqlBatchStore.layer().pipe(Layer.provideMerge(SqliteStore.layer({ filename })))),
    (context) => Context.get(context, BatchStore.BatchStore).queue("orders")
  )

const batch = (bytes: number): BatchStore.NewBatch => ({
  payload: new Uint8Array(bytes).fill(7),
  items: 1,
  oldestAtMillis: 1
})

const take = (queue: BatchStore.QueueStore, limit = 100) =>
  Effect.map(queue.claim({ limit, leaseMillis: 60_000 }), ({ batches }) => batches)

describe.skipIf(!canMount)("a full disk", () => {
  it.scopedLive(
    "fails what needs space, leaves nothing of it, and is forgotten once there is space",
    () =>
      Effect.gen(function*() {
        const { filename, fill, free } = yield* smallDisk
        const queue = yield* open(filename)
        yield* queue.append({ batches: [batch(1000), batch(1001)] })
        const before = yield* queue.stats
        yield* fill
        const errors = yield* Effect.forEach(
          [20_000, 30_000, 40_000],
          (bytes) => Effect.flip(queue.append({ batches: [batch(bytes), batch(bytes)] })),
          { concurrency: "unbounded" }
        )
        const full = { _tag: "StoreUnavailable", store: filename, reason: "full" }
        expect(errors).toMatchObject([full, full, full])
        expect(yield* Effect.flip(queue.append({ batches: [batch(50_000)] }))).toMatchObject(full)
        expect(yield* queue.stats).toEqual(before)
        yield* free
        yield* queue.append({ batches: [batch(20_000)] })
        const taken = yield* take(queue)
        expect(taken.map(({ payload }) => payload.length)).toEqual([1000, 1001, 20_000])
        yield* queue.settle(taken)
      })
  )
})

describe("a damaged file", () => {
  it.scopedLive("fails what comes upon the damage, typed, and lets the rest go on", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* Effect.scoped(Effect.flatMap(open(filename), (queue) =>
        Effect.repeatN(queue.append({ batches: [batch(3000), batch(3000)] }), 50)))
      const db = yield* foreign(filename)
      const page = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'sluice_batches'").pluck()
        .get() as number
      const file = fs.openSync(filename, "r+")
      fs.writeSync(file, Buffer.alloc(4096, 0xA5), 0, 4096, (page - 1) * 4096)
      fs.closeSync(file)
      const queue = yield* open(filename)
      const corrupt = { _tag: "StoreUnavailable", store: filename, reason: "corrupt" }
      const [append, claim, letters] = yield* Effect.all([
        Effect.flip(queue.append({ batches: [batch(1)] })),
        Effect.flip(take(queue)),
        queue.deadLetters({ filter: {}, limit: 10 })
      ], { concurrency: "unbounded" })
      expect([append, claim]).toMatchObject([corrupt, corrupt])
      expect(letters).toEqual([])
    }))

  it.scopedLive("that somebody else has deleted from still counts right", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const queue = yield* open(filename)
      yield* queue.append({ batches: [batch(1), batch(2), batch(3)] })
      const db = yield* foreign(filename)
      db.exec("DELETE FROM sluice_batches WHERE length(payload) = 2")
      const { batches } = yield* queue.stats.pipe(Effect.map(({ pending }) => pending))
      expect(batches).toBe(2)
      const taken = yield* take(queue)
      expect(taken.map(({ payload }) => payload.length)).toEqual([1, 3])
      yield* queue.settle(taken)
      expect((yield* queue.stats).pending).toEqual({ batches: 0, items: 0 })
    }))
})

/**
 * Asking for what is not there does not make it.
 */
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Context, Effect, Exit, Layer, Option } from "effect"
import * as fs from "node:fs"
import { add, store } from "./batchStores.ts"
import { tagOf, temporaryFile } from "./database.ts"

const empty: BatchStore.Stats = {
  pending: { batches: 0, items: 0 },
  dead: { batches: 0, items: 0 },
  newer: { batches: 0, items: 0 },
  oldestAtMillis: undefined,
  heldUntilMillis: undefined
}

const none = { batches: 0, items: 0, last: undefined }

/** Everything that can be asked for, and answered with nothing. */
const ask = (queue: BatchStore.QueueStore) =>
  Effect.gen(function*() {
    const portion = { filter: {}, limit: 10 }
    expect(yield* queue.stats).toEqual(empty)
    expect(yield* queue.deadLetters(portion)).toEqual([])
    expect(yield* queue.inspect(1)).toEqual(Option.none())
    for (const count of [queue.countDead, queue.redrive, queue.discard]) {
      expect(yield* count.call(queue, portion)).toEqual(none)
      expect(yield* count.call(queue, { filter: { ids: [1, 2] }, limit: 10 })).toEqual(none)
    }
  })

describe.each(["a file", "memory"])("a queue in %s that nobody has written to", (where) => {
  const opened = Effect.suspend(() => store(where === "memory" ? { filename: ":memory:" } : {}))

  it.scoped("answers nothing, and is not made by it", () =>
    Effect.gen(function*() {
      const { batches, sql, withTransaction } = yield* opened
      const names = sql<{ name: string }>`SELECT name FROM sluice_queues`
      const misspelt = yield* batches.queue("odrers")
      yield* ask(misspelt)
      yield* withTransaction(ask(misspelt))
      yield* withTransaction(Effect.flatMap(batches.queue("odrers"), ask))
      expect(yield* names).toEqual([])
      yield* add(misspelt, 1)
      expect(yield* names).toEqual([{ name: "odrers" }])
      expect(yield* misspelt.stats).toMatchObject({ pending: { batches: 1, items: 1 } })
    }))

  it.scoped("is seen by who has asked before somebody else has written to it", () =>
    Effect.gen(function*() {
      const { batches } = yield* opened
      const asking = yield* batches.queue("orders")
      yield* ask(asking)
      yield* add(yield* batches.queue("orders"), 1, 2)
      expect(yield* asking.stats).toMatchObject({ pending: { batches: 2, items: 2 } })
    }))

  it.scoped("is not there any more once the transaction is rolled back that made it", () =>
    Effect.gen(function*() {
      const { batches, sql, withTransaction } = yield* opened
      const queue = yield* batches.queue("orders")
      const written = Effect.tap(add(queue, 1), () =>
        Effect.flatMap(queue.stats, ({ pending }) => Effect.sync(() => expect(pending.batches).toBe(1))))
      expect(tagOf(yield* Effect.exit(withTransaction(Effect.zipRight(written, Effect.fail("no")))))).toBe("no")
      yield* ask(queue)
      expect(yield* sql`SELECT name FROM sluice_queues`).toEqual([])
      yield* add(queue, 2)
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 1, items: 1 } })
    }))
})

describe("a file that is not there", () => {
  const open = (filename: string, create?: boolean) =>
    Effect.scoped(Layer.build(SqlBatchStore.layer().pipe(Layer.provideMerge(SqliteStore.layer({ filename, create })))))

  it.scoped("is not made with create: false, and told by its path", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      const error = yield* Effect.flip(open(filename, false))
      expect(error).toMatchObject({ _tag: "StoreUnavailable", store: filename, reason: "missing-file" })
      expect(error.message).toContain(filename)
      expect(fs.existsSync(filename)).toBe(false)
    }))

  it.scoped("is made otherwise, and then opened with create: false as well", () =>
    Effect.gen(function*() {
      const filename = yield* temporaryFile
      yield* open(filename)
      yield* open(filename, false)
      expect(fs.existsSync(filename)).toBe(true)
    }))

  it.scoped("does not matter to a database in memory", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(SqliteStore.layer({ filename: ":memory:", create: false }))
      expect(yield* Context.get(context, SqlClient.SqlClient)`SELECT 1 AS one`).toEqual([{ one: 1 }])
    }))

  it.effect("an option that is no boolean is refused by name", () =>
    Effect.gen(function*() {
      const options = { filename: "some.db", create: "no" as unknown as boolean }
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(SqliteStore.layer(options))))
      expect(exit).toMatchObject(Exit.fail({ _tag: "InvalidOption", field: "create" }))
    }))
})

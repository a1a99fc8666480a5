import type { Reactivity } from "@effect/experimental"
import type { SqlClient } from "@effect/sql"
import { expect, layer } from "@effect/vitest"
import { Array, Chunk, Console, Effect, Fiber, Layer, Option, Stream } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after as coordinated, before as plain, Writes } from "../src/Database.ts"
import { Notes } from "../src/Notes.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "notes-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

type Database = (filename: string) => Layer.Layer<SqlClient.SqlClient | Reactivity.Reactivity, unknown>
const databases: Record<string, Database> = { before: plain, after: coordinated }

for (const [name, database] of Object.entries(databases)) {
  const TestLive = Layer.unwrapScoped(
    Effect.map(folder, (folder) => Notes.Default.pipe(Layer.provideMerge(database(join(folder, "notes.db")))))
  )

  layer(TestLive)(`notes, ${name}`, (it) => {
    it.scoped("a query that is watched gives what was committed", () =>
      Effect.gen(function*() {
        const notes = yield* Notes
        const seen = yield* Effect.fork(Stream.runCollect(Stream.takeUntil(notes.open, (open) => open === 2)))
        yield* notes.add("buy tea")
        yield* notes.add("make tea")
        expect(Chunk.last(yield* Fiber.join(seen))).toEqual(Option.some(2))
      }))

    it.effect("a transaction that fails leaves nothing", () =>
      Effect.gen(function*() {
        const notes = yield* Notes
        const history = yield* notes.history
        expect(yield* Effect.flip(notes.finish(4711))).toMatchObject({ _tag: "UnknownNote", id: 4711 })
        expect(yield* notes.history).toEqual(history)
      }))

    it.effect("a hundred callers at once have their notes stored", () =>
      Effect.gen(function*() {
        const notes = yield* Notes
        const before = yield* notes.count
        const ids = yield* Effect.forEach(Array.range(1, 100), (i) => notes.add(`note ${i}`), {
          concurrency: "unbounded"
        })
        expect(new Set(ids).size).toBe(100)
        expect(yield* notes.count).toBe(before + 100)
        const writes = yield* Effect.serviceOption(Writes)
        if (Option.isNone(writes)) return yield* Console.log("adopts-coordinator, before: 100 writes, 100 commits")
        const { batches, settled } = yield* writes.value.metrics
        expect(batches).toBeLessThan(settled / 5)
        yield* Console.log(`adopts-coordinator, after: ${settled} writes in all, ${batches} commits`)
      }))
  })
}

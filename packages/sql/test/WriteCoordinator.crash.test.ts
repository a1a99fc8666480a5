/**
 * `kill -9` in the middle of groups: what was answered is true after every restart.
 */
import { SqlClient } from "@effect/sql"
import { expect, it } from "@effect/vitest"
import { SqliteStore } from "@sluice/sql"
import { Effect } from "effect"
import * as path from "node:path"
import { child, temporaryDirectory } from "./children/spawn.ts"
import { printSeed, randomFrom, seed } from "./seed.ts"

const killsPerFile = 16
const submitters = 50

/** How many rows a write of this kind leaves behind once it has been answered. */
const rowsOf = new Map([
  ["statement", 1],
  ["pair", 2],
  ["pairInOne", 2],
  ["pairAndUndone", 2],
  ["fails", 0],
  ["dies", 0],
  ["breaks", 0]
])

const expectedRows = (id: string): number | undefined => rowsOf.get(id.slice(id.lastIndexOf(".") + 1))

/** Starts a writer, kills it after some answers and then some moments, and gives back all that it said. */
const killedWriter = (filename: string, run: number, random: () => number) =>
  Effect.scoped(Effect.gen(function*() {
    // Some kills come while it opens what the kill before has left, ...
    const opening = run % 4 === 0 ? 300 + random() * 1_000 : undefined
    // ... most after few answers, and some when the log has grown.
    const answers = 1 + Math.floor(random() ** 2 * 600)
    const moments = Math.floor(random() * 4)
    const writer = yield* child("crashWriter", filename, run)
    if (opening !== undefined) setTimeout(() => writer.unsafeKill(), opening)
    let count = 0
    writer.onLine = (line) => {
      if (line.startsWith("begun")) return
      count += 1
      if (count !== answers) return
      if (moments === 0) writer.unsafeKill()
      else setTimeout(() => writer.unsafeKill(), moments)
    }
    yield* writer.endsWith("SIGKILL")
    return writer.lines
  }))

/** The rows of each write, read by whoever opens the file next. */
const readAll = (filename: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const integrity = yield* sql`PRAGMA integrity_check`
    const rows = yield* sql<{ id: string; count: number }>`SELECT id, count(*) AS count FROM rows GROUP BY id`
    const undone = yield* sql`SELECT id FROM rows WHERE part NOT IN (0, 1)`
    return { integrity, undone, rows: new Map(rows.map(({ count, id }) => [id, count])) }
  }).pipe(Effect.provide(SqliteStore.layer({ filename })))

it.scopedLive(
  `every answer is true after kill -9, over ${2 * killsPerFile} restarts, and no write is there in part`,
  (test) => {
    printSeed(test)
    return Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const totals = { ok: 0, failed: 0, cutInTheMiddle: 0 }
      const killMany = (file: number) =>
        Effect.gen(function*() {
          const filename = path.join(directory, `${file}.db`)
          const random = randomFrom(seed + file)
          let before = new Map<string, number>()
          for (let run = 1; run <= killsPerFile; run++) {
            const lines = yield* killedWriter(filename, run, random)
            const { integrity, rows, undone } = yield* readAll(filename)
            const answers = new Map(
              lines.filter((line) => !line.startsWith("begun")).map((line) => {
                const [answer, id] = line.split(" ")
                return [id, answer]
              })
            )
            for (const answer of answers.values()) totals[answer as "ok" | "failed"] += 1
            const untrue = [...answers].filter(([id, answer]) =>
              answer !== (expectedRows(id) === 0 ? "failed" : "ok") || (rows.get(id) ?? 0) !== expectedRows(id)
            )
            const found = {
              integrity,
              undone,
              untrue,
              // Also what was not answered is there as a whole, or not at all.
              inPart: [...rows].filter(([id, count]) => count !== expectedRows(id)),
              // What has once been there stays.
              gone: [...before.keys()].filter((id) => !rows.has(id))
            }
            const where = { seed, file, run }
            const nothing = { undone: [], untrue: [], inPart: [], gone: [] }
            expect({ ...where, ...found }).toEqual({ ...where, ...nothing, integrity: [{ integrity_check: "ok" }] })
            // A submitter has no more than one write under way.
            const untold = [...rows.keys()].filter((id) => !before.has(id) && !answers.has(id))
            expect(untold.length).toBeLessThanOrEqual(submitters)
            before = rows

            const begun = lines.filter((line) => line.startsWith("begun")).map((line) => line.split(" ")[1])
            totals.cutInTheMiddle += begun.filter((id) => expectedRows(id) !== 0 && !rows.has(id)).length
          }
        })
      yield* Effect.all([killMany(1), killMany(2)], { concurrency: 2 })
      // Otherwise the kills would have missed what they are for.
      expect(totals.ok).toBeGreaterThan(100)
      expect(totals.failed).toBeGreaterThan(100)
      expect(totals.cutInTheMiddle).toBeGreaterThan(0)
    })
  }
)

/**
 * Files of earlier versions are brought up to date, with everything that is in them.
 */
import { describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import Database from "better-sqlite3"
import { Effect, TestClock } from "effect"
import * as fs from "node:fs"
import { batch, failure, store } from "./batchStores.ts"
import { foreign, temporaryFile } from "./database.ts"

/** What fixtures/batches-0001.mjs says of it. */
const fixture = new URL("fixtures/batches-0001.db", import.meta.url)

const days = 24 * 60 * 60 * 1000

/** A copy of the file, as if it had been made now: its times lie as far ahead as they did then. */
const copy = Effect.map(temporaryFile, (filename) => {
  fs.copyFileSync(fixture, filename)
  const db = new Database(filename)
  const madeAt = db.prepare("SELECT max(oldest_ms) FROM sluice_batches").pluck().get() as number
  const later = Date.now() - madeAt
  for (const table of ["batches", "resting"]) {
    db.prepare(`UPDATE sluice_${table} SET due_ms = due_ms + ? WHERE due_ms > 0`).run(later)
  }
  db.close()
  return filename
})

const text = ({ payload }: { readonly payload: Uint8Array }) => {
  const [head, body] = Buffer.from(payload).toString().split("\n")
  expect(head).toMatch(/^sluice\/1 json size \d+$/)
  return (JSON.parse(body) as Array<string>).join()
}

const claim = (queue: BatchStore.QueueStore, options: Partial<BatchStore.ClaimOptions> = {}) =>
  Effect.map(queue.claim({ limit: 10, leaseMillis: 60_000, ...options }), ({ batches, turn }) => ({
    turn,
    texts: batches.map(text),
    batches
  }))

describe("a file of the first version", () => {
  it.scoped("keeps what waits, what is claimed, what rests and what is dead", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.now() + 1000)
      const filename = yield* copy
      const { queue } = yield* store({ filename, checkpointInterval: "1000 days" })
      expect(yield* queue.stats).toMatchObject({
        pending: { batches: 6, items: 6 },
        dead: { batches: 2, items: 2 },
        newer: { batches: 0, items: 0 },
        heldUntilMillis: undefined
      })
      const fresh = yield* claim(queue, { turn: "returned" })
      expect([fresh.turn, fresh.texts]).toEqual(["fresh", ["fresh-1", "fresh-2", "fresh-3"]])
      expect(fresh.batches[0]).toMatchObject({ sequence: 6, token: 1, deliveries: 1, attempts: 0, error: "" })
      yield* queue.settle(fresh.batches)
      const [first, second] = yield* queue.deadLetters({ filter: {}, limit: 9 })
      const died = { reason: "deliveries-exhausted", error: "Error: it failed", deliveries: 1, attempts: 1, items: 1 }
      expect([first, second]).toMatchObject([{ id: 1, ...died }, { id: 2, ...died }])
      expect(yield* queue.redrive({ filter: { ids: [first.id] }, limit: 9 })).toMatchObject({ batches: 1 })
      const again = yield* claim(queue)
      expect(again.texts).toEqual(["dead-1"])
      yield* queue.settle(again.batches)
      // Who has the lease still has it, in the new place.
      yield* queue.extend([{ sequence: 5, token: 1 }], { leaseMillis: 1 })
      yield* TestClock.adjust(1)
      const expired = yield* claim(queue)
      expect([expired.turn, expired.texts]).toEqual(["returned", ["leased-1"]])
      expect(expired.batches[0]).toMatchObject({ sequence: 5, token: 2, deliveries: 2, attempts: 0 })
      yield* queue.settle(expired.batches)
      yield* TestClock.adjust(366 * days)
      for (const name of ["rest-1", "rest-2"]) {
        const { batches, texts, turn } = yield* claim(queue)
        expect([turn, texts]).toEqual(["returned", [name]])
        expect(batches[0]).toMatchObject({ token: 2, deliveries: 2, attempts: 1, error: "Error: it failed" })
        yield* queue.settle(batches)
      }
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 0, items: 0 }, dead: { batches: 1, items: 1 } })
    }))

  it.scoped("keeps the ids, and the places after the last one", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.now())
      const { queue } = yield* store({ filename: yield* copy, checkpointInterval: "1000 days" })
      const append = (id: string) => queue.append({ batches: [batch(1, { ids: [id] })], idWindowMillis: Infinity })
      for (const id of ["id-1", "id-2", "id-3"]) {
        expect(yield* append(id)).toEqual({ appended: 0, duplicates: [id] })
      }
      expect(yield* append("id-4")).toEqual({ appended: 1, duplicates: [] })
      const { batches } = yield* queue.claim({ limit: 10, leaseMillis: 1 })
      expect(batches.map(({ sequence }) => sequence)).toEqual([6, 7, 8, 9])
    }))

  it.scoped("lets what was under way be as late as it was given, and no earlier, counted from then on", () =>
    Effect.gen(function*() {
      const filename = yield* copy
      const now = Date.now()
      // The clock was a hundred days ahead while the file was brought up to date, and before.
      yield* TestClock.setTime(now - 100 * days)
      const { queue } = yield* store({ filename, checkpointInterval: "1000 days" })
      yield* queue.settle((yield* claim(queue)).batches)
      // And no earlier, give or take what the migration took.
      yield* TestClock.adjust(364 * days)
      expect((yield* claim(queue)).texts).toEqual([])
      yield* TestClock.adjust(2 * days)
      const returned = yield* Effect.replicateEffect(claim(queue), 3)
      expect(returned.flatMap(({ texts }) => texts).sort()).toEqual(["leased-1", "rest-1", "rest-2"])
    }))

  it.scopedLive("with very much in it is counted right", () =>
    Effect.gen(function*() {
      const filename = yield* copy
      const db = yield* foreign(filename)
      // Every tenth is claimed, and every tenth rests.
      db.exec(`
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50000)
        INSERT INTO sluice_batches (seq, items, oldest_ms, due_ms, payload)
          SELECT ${2 ** 40} + 100 + n, 1 + n % 3, n, iif(n % 10 = 1, ${
        Date.now() + days
      }, ${-(2 ** 46)}), randomblob(200)
          FROM numbers;
        UPDATE sluice_queues SET next_place = 50200, pending_batches = pending_batches + 50000,
          pending_items = pending_items + (SELECT sum(items) FROM sluice_batches WHERE seq > ${2 ** 40} + 100);
        INSERT INTO sluice_resting (due_ms, seq, items, oldest_ms, payload)
          SELECT ${Date.now() + days}, seq, items, oldest_ms, payload FROM sluice_batches
          WHERE seq > ${2 ** 40} + 100 AND seq % 10 = 5`)
      const told = db.prepare("SELECT pending_batches, pending_items, dead_batches, dead_items FROM sluice_queues")
        .get()
      const { queue } = yield* store({ filename, durable: false })
      expect(db.prepare("SELECT pending_batches, pending_items, dead_batches, dead_items FROM sluice_queues").get())
        .toEqual(told)
      const found = () =>
        db.prepare(`SELECT count(*) AS batches, sum(items) AS items FROM (
          SELECT items FROM sluice_batches UNION ALL SELECT items FROM sluice_resting)`).get()
      expect((yield* queue.stats).pending).toEqual(found())
      const { batches } = yield* queue.claim({ limit: 60_000, leaseMillis: 60_000 })
      expect(batches.length).toBe(40_003)
      const [dead, later, ...rest] = batches
      yield* queue.deadLetter([dead], { reason: "some", failure })
      yield* queue.release([later], { failure })
      yield* queue.settle(rest)
      expect((yield* queue.stats).pending).toEqual(found())
      expect(db.pragma("integrity_check", { simple: true })).toBe("ok")
      const names = db.prepare("SELECT name FROM sqlite_schema WHERE name LIKE '%0001%'").all()
      expect(names).toEqual([])
    }))
})

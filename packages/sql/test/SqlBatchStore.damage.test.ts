/**
 * Pages of the file that are broken hold up what is on them, and not what is behind them.
 */
import { describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import Database from "better-sqlite3"
import { Effect, Logger } from "effect"
import * as fs from "node:fs"
import { add, batch, failure, store } from "./batchStores.ts"
import { temporaryFile } from "./database.ts"

const pageSize = 4096

interface Page {
  readonly pageno: number
  readonly pagetype: "leaf" | "internal" | "overflow"
}

/** The pages of a table, in the order of what is on them. */
const pagesOf = (filename: string, table: string, type: Page["pagetype"]): ReadonlyArray<number> => {
  const db = new Database(filename)
  const pages = db.prepare("SELECT pageno, pagetype FROM dbstat WHERE name = ? ORDER BY path").all(`sluice_${table}`)
  db.close()
  return (pages as ReadonlyArray<Page>).filter(({ pagetype }) => pagetype === type).map(({ pageno }) => pageno)
}

const breakPages = (filename: string, pages: ReadonlyArray<number>, byte: number): void => {
  const file = fs.openSync(filename, "r+")
  for (const page of pages) fs.writeSync(file, Buffer.alloc(pageSize, byte), 0, pageSize, (page - 1) * pageSize)
  fs.closeSync(file)
}

/** Fills a file, breaks it, and opens it again. Tells what was logged. */
const broken = (
  fill: (queue: BatchStore.QueueStore) => Effect.Effect<unknown, unknown>,
  pick: (filename: string) => ReadonlyArray<number>,
  byte = 0xA5
) =>
  Effect.gen(function*() {
    const filename = yield* temporaryFile
    yield* Effect.scoped(Effect.flatMap(store({ filename, durable: false }), ({ queue }) => fill(queue)))
    breakPages(filename, pick(filename), byte)
    return yield* store({ filename, durable: false })
  })

const numbered = (n: number, bytes: number): BatchStore.NewBatch => {
  const payload = new Uint8Array(bytes)
  new DataView(payload.buffer).setUint32(0, n)
  return batch(n, { payload })
}

const numberOf = ({ payload }: BatchStore.ClaimedBatch): number =>
  new DataView(payload.buffer, payload.byteOffset).getUint32(0)

const fillWith = (count: number, bytes: number) => (queue: BatchStore.QueueStore) =>
  queue.append({
    batches: Array.from({ length: count }, (_, index) => numbered(index + 1, bytes)) as [BatchStore.NewBatch]
  })

/** Claims and settles until nothing is left that can be claimed. Answers what it was. */
const handleAll = (queue: BatchStore.QueueStore, options: Partial<BatchStore.ClaimOptions> = {}) =>
  Effect.gen(function*() {
    const handled: Array<number> = []
    for (let round = 0; round < 1000; round++) {
      const { batches } = yield* queue.claim({ limit: 7, leaseMillis: 60_000, ...options })
      if (batches.length === 0) return handled
      handled.push(...batches.map(numberOf))
      yield* queue.settle(batches)
    }
    throw new Error("there is no end")
  })

/** What is logged meanwhile. */
const listening = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => void logged.push(String(message)))
    return Effect.map(
      Effect.provide(effect, Logger.replace(Logger.defaultLogger, logger)),
      (answer) => ({ answer, logged })
    )
  })

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

describe("a broken page", () => {
  it.scopedLive.each([0, 0xA5])("of one payload holds up that one (byte %i)", (byte) =>
    Effect.gen(function*() {
      const { queue } = yield* broken(
        fillWith(20, 20_000),
        (filename) => pagesOf(filename, "batches", "overflow").slice(21, 22),
        byte
      )
      const { answer, logged } = yield* listening(handleAll(queue))
      expect(answer).toEqual(upTo(20).filter((n) => n !== 6))
      expect(logged).toEqual([expect.stringContaining("batches: 6")])
      // It is not forgotten.
      expect((yield* queue.stats).pending).toEqual({ batches: 1, items: 1 })
      yield* fillWith(3, 100)(queue)
      expect(yield* handleAll(queue)).toEqual([1, 2, 3])
    }))

  it.scopedLive.each([0, 0xA5])(
    "of many batches holds up those, and nothing before or behind (byte %i)",
    (byte) =>
      Effect.gen(function*() {
        const { queue } = yield* broken(
          fillWith(1000, 100),
          (filename) => pagesOf(filename, "batches", "leaf").slice(10, 12),
          byte
        )
        const { answer, logged } = yield* listening(handleAll(queue))
        const lost = upTo(1000).filter((n) => !answer.includes(n))
        expect(lost.length).toBeGreaterThan(20)
        expect(lost.length).toBeLessThan(100)
        expect(lost).toEqual(upTo(lost.length).map((n) => n + lost[0] - 1))
        expect(answer).toEqual(upTo(1000).filter((n) => !lost.includes(n)))
        expect(logged).toEqual([expect.stringContaining(`batches: ${lost[0]} to ${lost[lost.length - 1]}`)])
        expect((yield* queue.stats).pending.batches).toBe(lost.length)
        yield* fillWith(3, 100)(queue)
        expect(yield* handleAll(queue)).toEqual([1, 2, 3])
      })
  )

  it.scopedLive("holds up nothing of what comes back, of its own place or another", () =>
    Effect.gen(function*() {
      const { queue } = yield* broken(
        (queue) =>
          Effect.gen(function*() {
            yield* fillWith(300, 100)(queue)
            const { batches } = yield* queue.claim({ limit: 300, leaseMillis: 1 })
            yield* queue.release(batches.filter((_, index) => index % 30 < 6), { failure })
            yield* queue.release(batches.filter((_, index) => index % 30 >= 6), {})
          }),
        (filename) => pagesOf(filename, "batches", "leaf").slice(0, 3)
      )
      const returned = yield* handleAll(queue, { turn: "returned", limit: 1 })
      expect(returned).toEqual(expect.arrayContaining(upTo(300).filter((n) => (n - 1) % 30 < 6)))
    }))

  it.scopedLive("of what rests holds up what is on it", () =>
    Effect.gen(function*() {
      const { queue } = yield* broken(
        (queue) =>
          Effect.gen(function*() {
            yield* fillWith(200, 200)(queue)
            const { batches } = yield* queue.claim({ limit: 200, leaseMillis: 60_000 })
            yield* queue.release(batches, { failure })
            yield* fillWith(5, 200)(queue)
          }),
        (filename) => pagesOf(filename, "resting", "leaf").slice(2, 3)
      )
      const { answer, logged } = yield* listening(handleAll(queue, { turn: "returned" }))
      expect(answer.slice(-5)).toEqual([1, 2, 3, 4, 5])
      expect(answer.length).toBeGreaterThan(150)
      expect(answer.length).toBeLessThan(205)
      expect(logged.length).toBeGreaterThan(0)
      expect(yield* listening(handleAll(queue))).toEqual({ answer: [], logged: [] })
    }))

  it.scopedLive(
    "of dead letters is passed over by whoever lists, counts, redrives and discards them",
    () =>
      Effect.gen(function*() {
        const { queue } = yield* broken(
          (queue) =>
            Effect.gen(function*() {
              yield* fillWith(3000, 100)(queue)
              const { batches } = yield* queue.claim({ limit: 3000, leaseMillis: 60_000 })
              yield* queue.deadLetter(batches, { reason: "some", failure })
            }),
          (filename) => pagesOf(filename, "dead", "leaf").slice(20, 22)
        )
        const { answer, logged } = yield* listening(queue.deadLetters({ filter: {}, limit: 5000 }))
        const ids = answer.map(({ id }) => id)
        const lost = upTo(3000).filter((id) => !ids.includes(id))
        expect(ids).toEqual(upTo(3000).filter((id) => !lost.includes(id)))
        expect(lost.length).toBeGreaterThan(20)
        expect(lost.length).toBeLessThan(100)
        expect(logged).toEqual([expect.stringContaining(`dead: ${lost[0]} to ${lost[lost.length - 1]}`)])
        const all = (run: "countDead" | "redrive" | "discard", filter: BatchStore.DeadLetterFilter) =>
          Effect.gen(function*() {
            let sum = 0
            let after: number | undefined
            do {
              const { batches, last } = yield* queue[run]({ filter, limit: 400, after })
              sum += batches
              after = last
            } while (after !== undefined)
            return sum
          })
        expect(yield* all("countDead", {})).toBe(ids.length)
        expect(yield* all("redrive", { ids: [1, ...lost.slice(0, 3), 3000] })).toBe(2)
        expect(yield* all("redrive", { reason: "some" })).toBe(ids.length - 2)
        expect(yield* all("discard", {})).toBe(0)
        expect((yield* queue.stats).dead.batches).toBe(lost.length)
        expect(yield* handleAll(queue, { limit: 500 })).toHaveLength(ids.length)
      })
  )

  it.scopedLive("that holds all of a table fails what needs it, typed, and nothing else", () =>
    Effect.gen(function*() {
      const { filename, queue } = yield* broken(
        (queue) => add(queue, 1, 2, 3),
        (filename) => pagesOf(filename, "batches", "leaf")
      )
      const corrupt = { _tag: "StoreUnavailable", store: filename, reason: "corrupt" }
      expect(yield* Effect.flip(add(queue, 4))).toMatchObject(corrupt)
      for (const limit of [1, 2]) {
        expect(yield* Effect.flip(queue.claim({ limit, leaseMillis: 1 }))).toMatchObject(corrupt)
      }
      expect(yield* queue.deadLetters({ filter: {}, limit: 10 })).toEqual([])
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 3 }, oldestAtMillis: undefined })
    }))
})

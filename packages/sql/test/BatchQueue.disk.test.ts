/**
 * Disks that are full, files that are broken, and tables that somebody else has changed, under a durable queue.
 */
import { describe, expect, it } from "@effect/vitest"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Duration, Effect, Fiber, Layer } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { child, childAfter, temporaryDirectory } from "./children/spawn.ts"
import { names, openQueue } from "./openQueue.ts"
import { placeOf, queueFile, until } from "./queueFile.ts"
import { canMount, smallDisk } from "./smallDisk.ts"

/** An item that needs space. */
const large = (name: string) => `${name} ${"x".repeat(5000)}`

const shortly = (items: ReadonlyArray<string>) => items.map((item) => item.split(" ")[0])

describe.skipIf(!canMount)("a durable queue on a full disk", () => {
  it.scopedLive(
    "takes what its memory may hold, tells that the disk is full, and goes on by itself when there is space",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        const { queue, told } = yield* openQueue(disk, { capacity: 10, flush: { size: 4 } })
        yield* queue.offerStored(large("earlier"))
        yield* until(() => told.handled.length === 1)
        yield* disk.fill
        const stored = yield* Effect.forkScoped(queue.offerStored(large("stored")))
        let taken = 0
        const items = names("plain", 40)
        const offering = yield* Effect.forkScoped(
          Effect.forEach(items, (name) => Effect.tap(queue.offer(large(name)), () => Effect.sync(() => taken++)))
        )
        const failed = () => told.errors.filter(({ operation }) => operation === "append").length
        yield* until(() => failed() >= 3)
        expect(new Set(told.errors.map(({ reason }) => reason))).toEqual(new Set(["full"]))
        // The intake, the batches that wait to be stored, and an open one; the others wait.
        expect(taken).toBeGreaterThanOrEqual(10)
        expect(taken).toBeLessThanOrEqual(30)
        const { held } = yield* queue.metrics
        expect(held).toBeLessThanOrEqual(taken + 2)
        expect(shortly(told.handled)).toEqual(["earlier"])

        yield* disk.free
        yield* Fiber.join(stored)
        yield* Fiber.join(offering)
        yield* queue.flush
        yield* until(() => told.handled.length === 42)
        const isEmpty = Effect.map(queue.stats, ({ pending }) => pending.items === 0)
        yield* Effect.repeat(Effect.zipLeft(isEmpty, Effect.sleep("5 millis")), { until: (empty) => empty })
        expect(shortly(told.handled).sort()).toEqual(["earlier", ...items, "stored"])
        expect(shortly(told.handled).filter((item) => item.startsWith("plain"))).toEqual(items)
        expect(told.dropped).toEqual([])
      })
  )

  it.scopedLive(
    "that becomes full while a batch is in hand: it is settled when there is space, and not handled again",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        const begun: Array<string> = []
        const isOver = Effect.unsafeMakeLatch()
        const { queue, told } = yield* openQueue(disk, {
          process: ({ items }) => Effect.zipRight(Effect.sync(() => begun.push(...items)), isOver.await)
        })
        yield* queue.offerStored("a")
        yield* until(() => begun.length === 1)
        yield* disk.fill
        // What is left of the log of the last commit is used up.
        const filling = yield* Effect.forkScoped(queue.offerStored(large("b")))
        yield* until(() => told.errors.length > 0)
        yield* isOver.open
        yield* until(() => told.errors.length > 3)
        yield* disk.free
        yield* Fiber.join(filling)
        yield* until(() => begun.length === 2)
        const isEmpty = Effect.map(queue.stats, ({ pending }) => pending.items === 0)
        yield* Effect.repeat(Effect.zipLeft(isEmpty, Effect.sleep("5 millis")), { until: (empty) => empty })
        expect(shortly(begun)).toEqual(["a", "b"])
        expect(new Set(told.errors.map(({ reason }) => reason))).toEqual(new Set(["full"]))
      })
  )

  it.scopedLive("is closed in time, and tells what it could not store as dropped", () =>
    Effect.gen(function*() {
      const disk = yield* smallDisk
      const { close, queue, told } = yield* openQueue(disk, { drainTimeout: 100 })
      yield* queue.offerStored("earlier")
      yield* until(() => told.handled.length === 1)
      yield* disk.fill
      yield* queue.offer(large("a"))
      yield* until(() => told.errors.length > 0)
      const [elapsed] = yield* Effect.timed(close)
      expect(Duration.toMillis(elapsed)).toBeLessThan(16_000)
      expect(shortly(told.dropped)).toEqual(["a"])
      yield* disk.free
      const next = yield* openQueue(disk)
      yield* next.queue.offerStored("later")
      yield* until(() => next.told.handled.includes("later"))
      // Deleting it may not have found the space either; but never what was told as dropped.
      expect(next.told.handled.filter((item) => item !== "earlier")).toEqual(["later"])
    }))
})

describe.skipIf(process.platform === "win32")("a file that may not grow", () => {
  it.scopedLive(
    "stores what fits, tells each failure, and keeps what it has told over the end of its process",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const orders = JSON.stringify({
          ...file,
          who: "limited",
          options: { workers: 0, drainTimeout: 100 },
          produce: { fibers: 4, prefix: "p" }
        })
        // In kilobytes. The write beyond it fails with EFBIG, which SQLite takes for an I/O error.
        const limited = yield* childAfter("trap \"\" XFSZ; ulimit -f 300", "queue", orders)
        yield* until(() => limited.lines.includes("error append io"))
        limited.unsafeSignal("SIGTERM")
        yield* limited.endsWith("0")
        const told = limited.lines.filter((line) => line.startsWith("stored")).map((line) => line.split(" ")[1])
        const offered = limited.lines.filter((line) => line.startsWith("offering")).map((line) => line.split(" ")[1])
        expect(told.length).toBeGreaterThan(10)

        const last = yield* child("queue", JSON.stringify({ ...file, who: "last", drain: true }))
        yield* last.endsWith("0")
        const handled = file.notes.filter(({ what }) => what === "end").flatMap(({ ids }) => ids)
        expect(told.filter((id) => !handled.includes(id))).toEqual([])
        expect(handled.filter((id) => !offered.includes(id))).toEqual([])
        expect(handled.length).toBe(new Set(handled).size)
        expect(file.integrity).toBe("ok")
      })
  )
})

const openStore = (filename: string) =>
  Layer.build(SqlBatchStore.layer().pipe(Layer.provideMerge(SqliteStore.layer({ filename }))))

const unavailable = (filename: string, reason: string) => ({ _tag: "StoreUnavailable", store: filename, reason })

describe("a file that is broken", () => {
  it.scopedLive("from the first byte, or where there is no directory: the layer fails, with why", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const garbage = path.join(directory, "garbage.db")
      fs.writeFileSync(garbage, "this is no database. ".repeat(1000))
      expect(yield* Effect.flip(openStore(garbage))).toMatchObject(unavailable(garbage, "not-a-database"))
      const missing = path.join(directory, "no", "such.db")
      expect(yield* Effect.flip(openStore(missing))).toMatchObject(unavailable(missing, "missing-directory"))
    }))

  const damage = (filename: string, from: number, to: number) => {
    const descriptor = fs.openSync(filename, "r+")
    fs.writeSync(descriptor, Buffer.alloc(to - from, 0xA5), 0, to - from, from)
    fs.closeSync(descriptor)
  }

  const filled = Effect.gen(function*() {
    const file = yield* queueFile
    const fill = Effect.flatMap(
      openQueue(file, { workers: 0 }),
      ({ queue }) => Effect.forEach(names("item", 20), (name) => queue.offer(large(name)))
    )
    // Its end copies the log into the file.
    yield* Effect.scoped(fill)
    return file
  })

  it.scopedLive("from the second page on: the layer fails, with why", () =>
    Effect.gen(function*() {
      const { filename } = yield* filled
      damage(filename, 4096, fs.statSync(filename).size)
      expect(yield* Effect.flip(openStore(filename))).toMatchObject(unavailable(filename, "corrupt"))
    }))

  it.scopedLive(
    "where the batches are: the queue tells it, does not die, and can be closed",
    () =>
      Effect.gen(function*() {
        const file = yield* filled
        const page = file.look((database) =>
          database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'sluice_batches'").pluck().get()
        ) as number
        damage(file.filename, (page - 1) * 4096, page * 4096)
        const { close, queue, told } = yield* openQueue(file, { drainTimeout: 100 })
        yield* until(() => told.errors.length > 1)
        expect(new Set(told.errors.map(({ reason }) => reason))).toEqual(new Set(["corrupt"]))
        expect(yield* queue.offer("a")).toBe("accepted")
        const [elapsed] = yield* Effect.timed(close)
        expect(Duration.toMillis(elapsed)).toBeLessThan(16_000)
        expect(told.dropped).toEqual(["a"])
        expect(told.handled).toEqual([])
      })
  )
})

describe("tables that somebody else changes", () => {
  it.scopedLive(
    "damaged bytes make a dead letter of their batch, and its neighbours flow",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const ids = names("item", 6)
        yield* Effect.scoped(Effect.flatMap(openQueue(file, { workers: 0 }), ({ queue }) =>
          Effect.forEach(ids, (id) =>
            queue.offerStored(id))))
        const [, damaged, , cut, missing] = file.pending.map(({ seq }) =>
          seq
        )
        file.look((database) => {
          const change = (payload: string, seq: number) =>
            database.prepare(`UPDATE sluice_batches SET payload = ${payload} WHERE ${placeOf("seq")} = ?`).run(seq)
          change("x'00'", damaged)
          change("substr(payload, 1, length(payload) - 2)", cut)
          change("x''", missing)
        })
        const { queue, told } = yield* openQueue(file)
        const isDone = Effect.map(queue.stats, ({ dead, pending }) => pending.items === 0 && dead.batches === 3)
        yield* Effect.repeat(Effect.zipLeft(isDone, Effect.sleep("5 millis")), { until: (done) => done })
        expect(told.handled).toEqual([ids[0], ids[2], ids[5]])
        const letters = yield* queue.deadLetters.list()
        expect(letters).toMatchObject(
          [damaged, cut, missing].map((id) => ({ id, items: 1, reason: "corrupt" }))
        )
        for (const { error } of letters) expect(error).not.toBe("")
        expect(told.errors).toEqual([])
      })
  )

  it.scopedLive(
    "a table that is dropped is told as failed, the process lives, and closing is bounded",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const { close, queue, told } = yield* openQueue(file, { drainTimeout: 100, pollInterval: 20 })
        yield* queue.offerStored("earlier")
        yield* until(() => file.pending.length === 0)
        file.look((database) => database.exec("DROP TABLE sluice_batches"))
        yield* Effect.forEach(names("lost", 3), (id) => queue.offer(id))
        const operations = () => new Set(told.errors.map(({ operation }) => operation))
        yield* until(() => operations().has("append") && operations().has("claim"))
        expect(new Set(told.errors.map(({ reason }) => reason))).toEqual(new Set(["failed"]))
        expect(yield* Effect.flip(queue.stats)).toMatchObject(unavailable(file.filename, "failed"))
        const [elapsed] = yield* Effect.timed(close)
        expect(Duration.toMillis(elapsed)).toBeLessThan(16_000)
        expect(told.dropped).toEqual(names("lost", 3))
        expect(told.handled).toEqual(["earlier"])
      })
  )
})

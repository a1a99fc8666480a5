/**
 * Processes that work on the queue of one file: who holds a batch, what becomes of those who are stopped, and what a lock
 * of somebody else does.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Scope } from "effect"
import { foreignLock, ticking } from "./children/spawn.ts"
import { names, openQueue } from "./openQueue.ts"
import { claimed, countBy, type Note, type QueueFile, queueFile, until, waiting } from "./queueFile.ts"
import { printSeed, randomFrom, seed } from "./seed.ts"

const writeLock = (filename: string) => foreignLock(filename, "BEGIN IMMEDIATE")

const said = (lines: ReadonlyArray<string>, word: string): ReadonlyArray<string> =>
  lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1))

/** Batches that somebody has begun while another one, who was not being killed or stopped, had not ended. */
const heldTwice = (notes: ReadonlyArray<Note>): ReadonlyArray<string> => {
  const holders = new Map<string, string>()
  const stopped = new Set<string>()
  const found: Array<string> = []
  for (const { key, what, who } of notes) {
    if (what === "stopping") stopped.add(who)
    else if (what === "end") {
      if (holders.get(key) === who) holders.delete(key)
    } else {
      const holder = holders.get(key)
      if (holder !== undefined && !stopped.has(holder)) found.push(`${key}: ${holder}, ${who}`)
      holders.set(key, who)
    }
  }
  return found
}

const keysOf = (notes: ReadonlyArray<Note>, what: Note["what"]) =>
  notes.filter((note) => note.what === what).map(({ key }) => key)

/** Stores items, each in a batch of its own, in this order. */
const storeAll = (file: QueueFile, ids: ReadonlyArray<string>) =>
  Effect.scoped(Effect.gen(function*() {
    const producer = yield* file.process({ who: "producer", again: ids, options: { workers: 0 } })
    yield* until(() => said(producer.lines, "stored").length === ids.length)
    producer.unsafeSignal("SIGTERM")
    yield* producer.endsWith("0")
  }))

describe("processes that work on one queue", () => {
  it.scopedLive(
    "share the work, hold no batch at once, and take over from those that are killed",
    (test) => {
      printSeed(test)
      return Effect.gen(function*() {
        const random = randomFrom(seed)
        const file = yield* queueFile
        // The handlers of long items take longer than that.
        const options = { workers: 2, leaseDuration: 2000, flush: { size: 3 } }
        const start = (slot: number, life: number) => file.process({ who: `${slot}.${life}`, options, handleMillis: 5 })
        const producer = yield* file.process({
          who: "producer",
          options: { ...options, workers: 0 },
          again: ["long-1", "long-2", "long-3"],
          produce: { fibers: 3, prefix: "p", pauseMillis: 15 }
        })
        const holders = yield* Effect.all([start(0, 0), start(1, 0)])
        yield* Effect.forEach(holders, (holder) => holder.heard("open"), { concurrency: 2 })
        const kills = 8
        for (let kill = 0; kill < kills; kill++) {
          const slot = kill % 2
          yield* Effect.sleep(50 + random() * 250)
          file.stopping(`${slot}.${kill >> 1}`)
          holders[slot].unsafeKill()
          yield* holders[slot].endsWith("SIGKILL")
          holders[slot] = yield* start(slot, (kill >> 1) + 1)
          yield* holders[slot].heard("open")
        }
        yield* producer.say("enough")
        yield* producer.heard("produced")
        yield* until(() => file.pending.length === 0)
        for (const process of [producer, ...holders]) {
          process.unsafeSignal("SIGTERM")
          yield* process.endsWith("0")
        }

        const { notes } = file
        const where = { seed }
        const ids = [...file.stored.values()].flat()
        const ended = new Set(notes.filter(({ what }) => what === "end").flatMap(({ ids }) => ids))
        const twice = [...countBy(keysOf(notes, "begin")).values()].filter((count) => count > 1)
        const found = {
          untold: said(producer.lines, "stored").filter((id) => !ended.has(id)),
          unhandled: ids.filter((id) => !ended.has(id)),
          strange: [...ended].filter((id) => !ids.includes(id)),
          heldTwice: heldTwice(notes)
        }
        expect({ ...where, ...found }).toEqual({ ...where, untold: [], unhandled: [], strange: [], heldTwice: [] })
        // A worker has one batch in hand when it is killed.
        expect(twice.length).toBeLessThanOrEqual(kills * options.workers)
        const share = countBy(notes.filter(({ what }) => what === "end").map(({ who }) => who.slice(0, 1)))
        const total = keysOf(notes, "end").length
        for (const slot of ["0", "1"]) expect(share.get(slot) ?? 0).toBeGreaterThan(total / 10)
      })
    }
  )

  it.scopedLive(
    "that is stopped between handling and settling: its late settle is refused, and changes nothing",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const options = { leaseDuration: 500 }
        const id = "held-freeze"
        yield* storeAll(file, [id, "later"])
        const first = yield* file.process({ who: "first", options: { ...options, workers: 1 } })
        yield* until(() => keysOf(file.notes, "begin").length === 1)
        // It stops itself as soon as it has noted the end.
        yield* first.say("go")
        yield* until(() => keysOf(file.notes, "end").length === 1)
        file.stopping("first")

        const second = yield* file.process({ who: "second", options })
        yield* until(() => keysOf(file.notes, "begin").filter((key) => key === id).length === 2)
        first.unsafeSignal("SIGCONT")
        yield* until(() => said(first.lines, "lost").length > 0)
        const [batch] = file.pending
        expect(first.lines).toContain(`lost ${batch.seq}`)
        // The second one has it still, under a token of its own.
        expect(batch).toMatchObject({ key: id, state: claimed, token: 2 })
        // And the first one goes on with what is next.
        yield* until(() => keysOf(file.notes, "end").includes("later"))

        // It stops itself as well.
        yield* second.say("go")
        yield* until(() => keysOf(file.notes, "end").filter((key) => key === id).length === 2)
        second.unsafeSignal("SIGCONT")
        yield* until(() => file.pending.length === 0)
        for (const process of [first, second]) {
          process.unsafeSignal("SIGTERM")
          yield* process.endsWith("0")
        }
        expect(said(second.lines, "lost")).toEqual([])
        expect(countBy(keysOf(file.notes, "begin"))).toEqual(new Map([[id, 2], ["later", 1]]))
      })
  )

  it.scopedLive(
    "that is stopped for longer than its lease in a handler: the handler is interrupted, the item handled by another",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const options = { leaseDuration: 400 }
        yield* storeAll(file, ["held-a", "b", "c"])
        const first = yield* file.process({ who: "first", options })
        yield* until(() => keysOf(file.notes, "begin").length === 1)
        // More than a lease has passed: it is renewed for as long as the process lives.
        yield* Effect.sleep(1000)
        file.stopping("first")
        first.unsafeSignal("SIGSTOP")

        const second = yield* file.process({ who: "second", options })
        yield* second.say("go")
        yield* until(() => file.pending.length === 0)
        first.unsafeSignal("SIGCONT")
        yield* until(() => said(first.lines, "lost").length > 0)
        yield* first.say("go")
        yield* storeAll(file, ["later"])
        yield* until(() => keysOf(file.notes, "end").includes("later"))
        for (const process of [first, second]) {
          process.unsafeSignal("SIGTERM")
          yield* process.endsWith("0")
        }
        const { notes } = file
        expect(notes.filter(({ key }) => key === "held-a").map(({ what, who }) => `${who} ${what}`)).toEqual([
          "first begin",
          "second begin",
          "second end"
        ])
        expect(keysOf(notes, "end").sort()).toEqual(["b", "c", "held-a", "later"])
        expect(heldTwice(notes)).toEqual([])
      })
  )

  it.scopedLive(
    "that come one after the other: the next one gets everything at once and in order, and no lease is left behind",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const ids = ["a", "b", "held-c", "d", "e", "f"]
        yield* storeAll(file, ids)
        const options = { leaseDuration: "1 hour", drainTimeout: 200 }
        const first = yield* file.process({ who: "first", options })
        yield* until(() => keysOf(file.notes, "begin").includes("held-c"))
        expect(file.pending[0]).toMatchObject({ key: "held-c", state: claimed, deliveries: 1 })
        first.unsafeSignal("SIGTERM")
        yield* first.endsWith("0")
        // Its handler was interrupted, which is no delivery.
        const left = { state: waiting, deliveries: 0 }
        expect(file.pending).toMatchObject(["held-c", "d", "e", "f"].map((key) => ({ key, ...left })))

        const second = yield* file.process({ who: "second", options, drain: true })
        yield* second.say("go")
        yield* second.endsWith("0")
        const handled = file.notes.filter(({ what }) => what === "end").map(({ key, who }) => `${who} ${key}`)
        expect(handled).toEqual(["first a", "first b", ...["held-c", "d", "e", "f"].map((key) => `second ${key}`)])
      })
  )
})

describe("a write lock that a foreign process holds", () => {
  it.scopedLive(
    "for long stops no timer and no offer, and afterwards everything is stored and handled, once",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const { queue, told } = yield* openQueue(file, { workers: 2, leaseDuration: "3 hours" })
        yield* queue.offerStored("earlier")
        yield* until(() => told.handled.length === 1 && file.pending.length === 0)
        const lock = yield* writeLock(file.filename)
        let answered = 0
        const offerStored = (id: string) =>
          Effect.tap(queue.offerStored(id, { id }), () => Effect.sync(() => answered++))
        const waiting = yield* Effect.forkScoped(
          Effect.forEach(names("stored", 20), offerStored, { concurrency: "unbounded", discard: true })
        )
        const timer = yield* ticking(10)
        for (const id of names("plain", 80)) {
          expect(yield* queue.offer(id)).toBe("accepted")
          yield* timer.ticks(2)
        }
        expect(answered).toBe(0)
        expect(told.handled).toEqual(["earlier"])
        // Whoever only reads waits for nobody.
        expect(yield* queue.stats).toMatchObject({ pending: { items: 0 } })
        yield* lock.say("release")
        yield* Fiber.join(waiting)
        yield* queue.flush
        yield* until(() => told.handled.length >= 101 && file.pending.length === 0)
        expect([...told.handled].sort()).toEqual(["earlier", ...names("plain", 80), ...names("stored", 20)])
        expect(told.errors).toEqual([])
        expect(told.dropped).toEqual([])
      })
  )

  it.scopedLive(
    "for longer than busyTimeout is told, and what it kept out is stored and handled when it is gone",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const { queue, told } = yield* openQueue(file, { pollInterval: 50 }, { busyTimeout: 100 })
        const lock = yield* writeLock(file.filename)
        const waiting = yield* Effect.forkScoped(
          Effect.forEach(names("stored", 5), (id) => queue.offerStored(id), { concurrency: "unbounded" })
        )
        yield* Effect.forEach(names("plain", 5), (id) => queue.offer(id))
        const failed = (operation: string) => told.errors.filter((error) => error.operation === operation).length
        yield* until(() => failed("append") >= 2 && failed("claim") >= 2)
        expect(new Set(told.errors.map(({ reason }) => reason))).toEqual(new Set(["locked"]))
        expect(waiting.unsafePoll()).toBe(null)

        yield* lock.say("release")
        expect(yield* Fiber.join(waiting)).toEqual(names("stored", 5).map(() => "stored"))
        yield* until(() => told.handled.length >= 10 && file.pending.length === 0)
        expect([...told.handled].sort()).toEqual([...names("plain", 5), ...names("stored", 5)])
        expect(told.dropped).toEqual([])
      })
  )

  it.scopedLive(
    "while a batch is in hand: it is settled when the lock is gone, and handled once",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const begun: Array<string> = []
        const isOver = Effect.unsafeMakeLatch()
        const { queue, told } = yield* openQueue(
          file,
          {
            leaseDuration: 1000,
            process: ({ items }) => Effect.zipRight(Effect.sync(() => begun.push(...items)), isOver.await)
          },
          { busyTimeout: 100 }
        )
        yield* queue.offerStored("a")
        yield* until(() => begun.length === 1)
        const lock = yield* writeLock(file.filename)
        yield* isOver.open
        // Longer than the lease: nobody else can claim it either.
        yield* Effect.sleep("2 seconds")
        expect(told.errors.length).toBeGreaterThan(0)
        yield* lock.say("release")
        yield* until(() => file.pending.length === 0)
        expect(begun).toEqual(["a"])
      })
  )

  // One batch is stored without a transaction of its own around it.
  for (const count of [1, 6]) {
    it.scopedLive(
      `while a queue with ${count} items is closed: that takes no longer than it may, and what it tells to be dropped stays out`,
      () =>
        Effect.gen(function*() {
          const file = yield* queueFile
          const { close, queue, told } = yield* openQueue(file, { drainTimeout: 1000 })
          yield* queue.offerStored("earlier")
          yield* until(() => file.pending.length === 0)
          const lock = yield* writeLock(file.filename)
          yield* Effect.forEach(names("plain", count - 1), (id) => queue.offer(id))
          const waiting = yield* Effect.fork(Effect.either(queue.offerStored("stored")))
          yield* Effect.repeat(Effect.zipRight(Effect.sleep("1 millis"), queue.metrics), {
            until: ({ held }) => held === count
          })
          const [elapsed] = yield* Effect.timed(close)
          // drainTimeout for handlers, 5 seconds for workers to put back what they have, 5 for what is to be stored.
          expect(Duration.toMillis(elapsed)).toBeLessThan(16_000)
          expect([...told.dropped].sort()).toEqual([...names("plain", count - 1), "stored"])
          expect(yield* Fiber.join(waiting)).toMatchObject({ left: { _tag: "ItemDropped", reason: "shutdown" } })
          yield* lock.say("release")
          yield* lock.endsWith("0")
          // More than a retry of whoever waits for the lock.
          yield* Effect.sleep("500 millis")
          expect([...file.stored.values()].flat()).toEqual(["earlier"])
          expect(told.handled).toEqual(["earlier"])
        })
    )
  }

  it.scopedLive(
    "while the queue and its store are closed: the store does not wait for it on behalf of nobody",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const scope = yield* Scope.make()
        const { queue, told } = yield* Scope.extend(
          openQueue(file, { drainTimeout: 500 }),
          scope
        )
        yield* queue.offerStored("earlier")
        yield* until(() => file.pending.length === 0)
        yield* writeLock(file.filename)
        yield* queue.offer("a")
        yield* Scope.close(scope, Exit.void)
        expect(told.dropped).toEqual(["a"])
      })
  )
})

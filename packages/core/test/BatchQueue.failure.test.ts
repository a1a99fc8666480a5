/**
 * Who decides when a handler fails, and who is spared.
 */
import { describe, expect, it } from "@effect/vitest"
import { Batch, BatchQueue, BatchStore, Buffer, Decision, Result } from "@sluice/core"
import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import { Cause, Chunk, Data, Effect, Fiber, Logger, Option, Schedule, Schema, Stream, TestClock } from "effect"
import { numbers, type Options, settleDown } from "./support/batchQueue.ts"
import { failing, failingSome } from "./support/sink.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** A handler that fails as a whole where one of its items is bad. */
const failsFor = (...bad: ReadonlyArray<number>) => ({ items }: Batch.Batch<number>) =>
  items.some((item) => bad.includes(item))
    ? Effect.fail(`bad: ${items.filter((item) => bad.includes(item))}`)
    : Effect.void

/** Offers items as one batch, or as batches of a size, before anything is claimed. */
const offerAtOnce = (queue: BatchQueue.BatchQueue<number>, items: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    yield* queue.pause
    yield* queue.offerAll(items)
    yield* queue.flush
    yield* queue.resume
    yield* settleDown
  })

const letters = (queue: BatchQueue.BatchQueue<number>) =>
  Effect.flatMap(
    queue.deadLetters.list({ limit: 1000 }),
    (list) =>
      Effect.forEach(list, (letter) =>
        Effect.map(queue.deadLetters.inspect(letter.id), (inspected) => ({
          ...letter,
          content: Result.getOrThrow(Option.getOrThrow(inspected).content)
        })))
  )

describe("a schedule that ends", () => {
  it.scoped("makes a dead letter of each item, with the last error", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 2 }, retry: Schedule.recurs(2) })
      sink.whenever = ({ attempt }) => Effect.fail(`attempt ${attempt}`)
      yield* offerAtOnce(queue, [1, 2])
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3])
      expect(yield* letters(queue)).toMatchObject([
        { content: [1], items: 1, reason: "retries-exhausted", error: "Error: attempt 3", deliveries: 1, attempts: 3 },
        { content: [2], items: 1, reason: "retries-exhausted", error: "Error: attempt 3", deliveries: 1, attempts: 3 }
      ])
      expect(yield* queue.metrics).toMatchObject({ offered: 2, deadLettered: 2, settled: 0 })
      expect((yield* queue.stats).pending.items).toBe(0)
    }).pipe(onMemory))

  it.scoped("at once makes a dead letter of the first failure", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ retry: Schedule.stop, maxDeliveries: 10, pollInterval: "1 day" })
      sink.whenever = () => Effect.fail("never")
      yield* queue.offerStored(1)
      yield* TestClock.adjust("1 day")
      expect(sink.attempts).toHaveLength(1)
      expect(yield* letters(queue)).toMatchObject([{ reason: "retries-exhausted", error: "Error: never" }])
    }).pipe(onMemory))

  it.scoped("ends for an error that `while` does not retry, and goes on for the others of the batch", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 2 }, while: (error) => error === "busy" })
      sink.script.push(() => Batch.failSome([[0, "busy"], [1, "bounced"]]))
      yield* offerAtOnce(queue, [1, 2])
      expect(yield* letters(queue)).toMatchObject([{
        content: [2],
        reason: "retries-exhausted",
        error: "Error: bounced"
      }])
      yield* TestClock.adjust("2 seconds")
      expect(sink.items).toEqual([[1, 2], [1]])
      expect(yield* queue.metrics).toMatchObject({ settled: 1, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("ends after `decide`, which alone is asked where it says what to do", () =>
    Effect.gen(function*() {
      const asked: Array<unknown> = []
      const { queue, sink } = yield* numbers({
        decide: (error) => error === "late" ? Decision.retryAfter("1 second") : Decision.retry,
        while: (error) => {
          asked.push(error)
          return false
        },
        cooldown: "1 minute"
      })
      sink.script.push(failing("late"), failing("hard"))
      yield* queue.offer(1)
      yield* TestClock.adjust("1 second")
      expect(asked).toEqual(["hard"])
      // As at the end of the schedule, it rests for the cooldown.
      yield* TestClock.adjust("1 minute")
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 1])
    }).pipe(onMemory))

  it.scoped("ends where `while` throws, and `onInternalError` is told", () =>
    Effect.gen(function*() {
      const { internal, queue, sink } = yield* numbers({
        while: () => {
          throw new Error("while died")
        }
      })
      sink.whenever = () => Effect.fail("never")
      yield* queue.offer(1)
      yield* settleDown
      expect(internal).toEqual(["retry"])
      expect(yield* letters(queue)).toMatchObject([{ reason: "retries-exhausted", error: "Error: never" }])
    }).pipe(onMemory))

  it.scoped("says in the dead letter what the user's error says, where a partial failure names an item that is not there", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ retry: Schedule.stop })
      sink.whenever = failingSome([5], new TypeError("mailbox full"))
      yield* offerAtOnce(queue, [1])
      expect((yield* letters(queue)).map(({ error }) => error)).toEqual([
        "PartialFailure: 1 item of the batch failed: mailbox full"
      ])
    }).pipe(onMemory))

  it.scoped("begins anew after the cooldown, and a cooldown of nothing is no hot loop", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ retry: Schedule.stop, cooldown: 0 })
      sink.whenever = () => Effect.fail("never")
      yield* queue.offerStored(1)
      yield* TestClock.adjust(1000)
      expect(sink.attempts.length).toBeGreaterThan(50)
      expect(sink.attempts.length).toBeLessThanOrEqual(101)
      expect(sink.attempts.every(({ attempt }) => attempt === 1)).toBe(true)
      expect((yield* queue.metrics).deadLettered).toBe(0)
    }).pipe(onMemory))

  it.scoped("keeps when each item was offered", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 3, linger: "1 minute" }, retry: Schedule.stop })
      sink.whenever = () => Effect.fail("never")
      for (const item of [1, 2, 3]) {
        yield* TestClock.adjust(10)
        yield* queue.offer(item)
        yield* settleDown
      }
      expect((yield* letters(queue)).map(({ oldestAtMillis }) => oldestAtMillis)).toEqual([10, 20, 30])
    }).pipe(onMemory))
})

describe("decide", () => {
  const deciding = (decision: Decision.Decision, options?: Options) =>
    numbers({ flush: { size: 2 }, retry: Schedule.spaced("1 hour"), decide: () => decision, ...options })

  it.scoped("is told what the schedule is told: errors, those in a partial failure, and defects", () =>
    Effect.gen(function*() {
      const told: Array<unknown> = []
      const { queue, sink } = yield* numbers({
        flush: { size: 2 },
        decide: (error) => {
          told.push(error)
          return Decision.discard
        }
      })
      sink.script.push(failing("whole"), () => Batch.failSome([[0, "first"], [1, "second"]]), () => Effect.die("bug"))
      for (const items of [[1, 2], [3, 4], [5, 6]]) yield* offerAtOnce(queue, items)
      expect(told).toMatchObject(["whole", "first", "second", { _tag: "HandlerDefect", defect: "bug" }])
    }).pipe(onMemory))

  it.scoped("dead letter: at once, each item with its own error", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* deciding(Decision.deadLetter, { flush: { size: 256 } })
      sink.script.push(() => Batch.failSome(new Map([[200, "no 200"], [3, "no 3"]])))
      yield* offerAtOnce(queue, range(0, 256))
      expect(yield* letters(queue)).toMatchObject([
        { content: [3], reason: "rejected", error: "Error: no 3", deliveries: 1, attempts: 1 },
        { content: [200], reason: "rejected", error: "Error: no 200", deliveries: 1, attempts: 1 }
      ])
      expect(yield* queue.metrics).toMatchObject({ settled: 254, deadLettered: 2 })
      expect((yield* queue.stats).pending).toEqual({ batches: 0, items: 0 })
    }).pipe(onMemory))

  it.scoped("discard: dropped, counted, and told like every drop", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink } = yield* deciding(Decision.discard)
      sink.script.push(failingSome([1], "no"), failing("none"))
      yield* offerAtOnce(queue, [1, 2, 3, 4])
      expect(dropped).toEqual([[2, "discarded"], [3, "discarded"], [4, "discarded"]])
      expect(yield* queue.metrics).toMatchObject({
        offered: 4,
        settled: 1,
        dropped: 3,
        droppedByReason: { discarded: 3 },
        deadLettered: 0
      })
      expect((yield* queue.stats).pending.items).toBe(0)
    }).pipe(onMemory))

  it.scoped("retryAfter: when the other side has said, counted as an attempt", () =>
    Effect.gen(function*() {
      const { queue, sink, times } = yield* deciding(Decision.retryAfter("7 seconds"), { pollInterval: "1 hour" })
      sink.script.push(failing("busy"))
      yield* offerAtOnce(queue, [1, 2, 3, 4])
      yield* TestClock.adjust(6999)
      expect(times).toEqual([0, 0])
      yield* TestClock.adjust(1)
      expect(times).toEqual([0, 0, 7000])
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 1, 2])
    }).pipe(onMemory))

  it.scoped("retryAfter with a pause: nothing of the queue is claimed meanwhile, in no process", () =>
    Effect.gen(function*() {
      const first = yield* deciding(Decision.retryAfter("7 seconds", { pause: true }), { pollInterval: "1 hour" })
      const second = yield* deciding(Decision.retry, { pollInterval: 500 })
      yield* second.queue.pause
      first.sink.script.push(failing("busy"))
      yield* offerAtOnce(first.queue, [1, 2, 3, 4])
      yield* second.queue.resume
      yield* TestClock.adjust(6999)
      expect([first.times, second.times]).toEqual([[0], []])
      expect((yield* first.queue.stats).heldUntilMillis).toBe(7000)
      yield* TestClock.adjust(1000)
      expect([...first.sink.items, ...second.sink.items].flat().sort()).toEqual([1, 1, 2, 2, 3, 4])
    }).pipe(onMemory))

  it.scoped("snooze: neither an attempt nor a delivery is counted", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* deciding(Decision.snooze("1 second"), { maxDeliveries: 1, pollInterval: "1 hour" })
      sink.script.push(failing("early"), failing("early"), failing("early"))
      yield* offerAtOnce(queue, [1, 2])
      yield* TestClock.adjust("3 seconds")
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1])
      expect(yield* queue.metrics).toMatchObject({ settled: 2, retries: 0, deadLettered: 0 })
    }).pipe(onMemory))

  it.scoped("item by item: each goes its own way", () =>
    Effect.gen(function*() {
      const ways: Record<string, Decision.Decision> = {
        a: Decision.retry,
        b: Decision.retryAfter("2 seconds"),
        c: Decision.deadLetter,
        d: Decision.discard,
        e: Decision.snooze("3 seconds")
      }
      const { dropped, queue, sink, times } = yield* numbers({
        flush: { size: 6 },
        retry: Schedule.spaced("1 second"),
        decide: (error) => ways[error as string],
        pollInterval: "1 hour"
      })
      sink.script.push(() => Batch.failSome([..."abcde"].map((error, index) => [index, error])))
      yield* offerAtOnce(queue, range(0, 6))
      yield* TestClock.adjust("10 seconds")
      expect(sink.items).toEqual([range(0, 6), [0], [1], [4]])
      expect(times).toEqual([0, 1000, 2000, 3000])
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 2, 1])
      expect(dropped).toEqual([[3, "discarded"]])
      expect(yield* letters(queue)).toMatchObject([{ content: [2], reason: "rejected" }])
      expect(yield* queue.metrics).toMatchObject({ offered: 6, settled: 4, dropped: 1, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("that dies has decided nothing, and is told", () =>
    Effect.gen(function*() {
      const { internal, queue, sink } = yield* numbers({
        retry: Schedule.recurs(1),
        decide: () => {
          throw new Error("undecided")
        }
      })
      sink.script.push(failing("no"))
      yield* queue.offerStored(1)
      yield* settleDown
      expect(internal).toEqual(["decide"])
      expect(yield* queue.metrics).toMatchObject({ settled: 1, retries: 1 })
    }).pipe(onMemory))
})

describe("isolate", () => {
  it.scoped("bisect finds one bad item of 256 in at most 18 calls, and settles the others", () =>
    Effect.gen(function*() {
      for (const bad of [0, 1, 100, 127, 128, 255]) {
        const { queue, sink } = yield* numbers({
          name: `bad ${bad}`,
          flush: { size: 256 },
          isolate: "bisect",
          retry: Schedule.stop
        })
        sink.whenever = failsFor(bad)
        yield* offerAtOnce(queue, range(0, 256))
        expect(sink.attempts.length).toBeLessThanOrEqual(18)
        expect(yield* letters(queue)).toMatchObject([{ content: [bad], error: `Error: bad: ${bad}`, deliveries: 1 }])
        expect(yield* queue.metrics).toMatchObject({ settled: 255, deadLettered: 1 })
      }
    }).pipe(onMemory))

  it.scoped("bisect tries halves in order, until each bad item stands alone", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 5 }, isolate: "bisect", retry: Schedule.stop })
      sink.whenever = failsFor(2, 5)
      yield* offerAtOnce(queue, [1, 2, 3, 4, 5])
      expect(sink.items).toEqual([[1, 2, 3, 4, 5], [1, 2, 3], [1, 2], [1], [2], [3], [4, 5], [4], [5]])
      expect((yield* letters(queue)).map(({ content }) => content)).toEqual([[2], [5]])
    }).pipe(onMemory))

  it.scoped("each tries item by item", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 3 }, isolate: "each", retry: Schedule.stop })
      sink.whenever = failsFor(2)
      yield* offerAtOnce(queue, [1, 2, 3])
      expect(sink.items).toEqual([[1, 2, 3], [1], [2], [3]])
      expect(yield* queue.metrics).toMatchObject({ settled: 2, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("lets each bad item follow its own retries", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        flush: { size: 4 },
        isolate: "bisect",
        retry: Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(2)),
        pollInterval: "1 hour"
      })
      sink.whenever = ({ attempt, items }) =>
        items.includes(1) && attempt < 3 || items.includes(4) ? Effect.fail(items.join()) : Effect.void
      yield* offerAtOnce(queue, [1, 2, 3, 4])
      expect(yield* queue.metrics).toMatchObject({ settled: 2 })
      expect((yield* queue.stats).pending).toEqual({ batches: 2, items: 2 })
      yield* TestClock.adjust("2 seconds")
      expect(sink.items.slice(7)).toEqual([[1], [4], [1], [4]])
      expect(yield* letters(queue)).toMatchObject([{ content: [4], attempts: 3, reason: "retries-exhausted" }])
      expect(yield* queue.metrics).toMatchObject({ settled: 3, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("does not look at items where the other side has named a time", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        flush: { size: 8 },
        isolate: "bisect",
        decide: (error) => error === "busy" ? Decision.retryAfter("1 minute") : Decision.retry
      })
      sink.script.push(failing("busy"))
      yield* offerAtOnce(queue, range(0, 8))
      expect(sink.attempts).toHaveLength(1)
      yield* TestClock.adjust("1 minute")
      expect(yield* queue.metrics).toMatchObject({ settled: 8 })
    }).pipe(onMemory))

  it.scoped("tries nothing more where the other side names a time in the middle", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        flush: { size: 4 },
        isolate: "each",
        pollInterval: "1 hour",
        decide: (error) => error === "busy" ? Decision.retryAfter("1 minute") : Decision.retry
      })
      sink.script.push(failing("whole"), () => Effect.void, failing("busy"))
      yield* offerAtOnce(queue, [1, 2, 3, 4])
      expect(sink.items).toEqual([[1, 2, 3, 4], [1], [2]])
      expect(yield* queue.metrics).toMatchObject({ settled: 1 })
      yield* TestClock.adjust("1 minute")
      expect(sink.items.slice(3).flat().sort()).toEqual([2, 3, 4])
      expect(sink.attempts.slice(3).map(({ attempt, items }) => [items[0], attempt])).toEqual([[2, 2], [3, 1]])
    }).pipe(onMemory))

  it.scoped("that is cut short by closing settles what is done, and puts back what was not tried", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const entered = yield* Effect.makeLatch()
      yield* Effect.scoped(Effect.gen(function*() {
        const { queue, sink } = yield* numbers({ flush: { size: 4 }, isolate: "each", drainTimeout: 0 })
        sink.whenever = ({ items }) => {
          if (items.length > 1) return Effect.fail("whole")
          if (items[0] === 3) return Effect.zipRight(entered.open, Effect.never)
          return Effect.sync(() => handled.push(...items))
        }
        yield* offerAtOnce(queue, [1, 2, 3, 4])
        yield* entered.await
      }))
      expect(handled).toEqual([1, 2])
      const next = yield* numbers()
      yield* TestClock.adjust("1 second")
      expect(next.sink.items).toEqual([[3, 4]])
      expect(next.sink.attempts.map(({ attempt }) => attempt)).toEqual([1])
    }).pipe(onMemory))
})

describe("a group of several batches", () => {
  it.scoped("that fails is next tried batch by batch, and no attempt is counted for that", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ batches: 10, retry: Schedule.stop })
      sink.whenever = failsFor(4)
      yield* offerAtOnce(queue, range(0, 10))
      expect(sink.items).toEqual([range(0, 10), ...range(0, 10).map((item) => [item])])
      expect(yield* letters(queue)).toMatchObject([{ content: [4], attempts: 1, deliveries: 1 }])
      expect(yield* queue.metrics).toMatchObject({ settled: 9, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("in which some items have failed: only their batches are tried again", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ batches: 4, flush: { size: 2 }, retry: Schedule.spaced("1 second") })
      sink.script.push(failingSome([0, 5], "some"))
      yield* offerAtOnce(queue, range(0, 8))
      expect(yield* queue.metrics).toMatchObject({ settled: 6 })
      yield* TestClock.adjust("10 seconds")
      expect(sink.items).toEqual([range(0, 8), [0], [5]])
      expect(yield* queue.metrics).toMatchObject({ settled: 8 })
    }).pipe(onMemory))

  it.scoped("never has what comes back together with what is fresh", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        batches: 10,
        retry: Schedule.spaced("1 second"),
        pollInterval: "1 hour"
      })
      sink.script.push(failing("once"))
      yield* queue.offerStored(1)
      yield* settleDown
      yield* queue.pause
      yield* queue.offerAll([2, 3])
      yield* queue.flush
      yield* TestClock.adjust("1 second")
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[1], [2, 3], [1]])
    }).pipe(onMemory))

  it.scoped("that a buffer has merged keeps what it was where it is divided", () =>
    Effect.gen(function*() {
      const Item = Schema.Struct({ key: Schema.Number, sum: Schema.Number })
      type Item = typeof Item.Type
      const handled: Array<ReadonlyArray<Item>> = []
      const queue = yield* BatchQueue.make<Item, Item, unknown, never>({
        name: "merged",
        schema: Item,
        batches: 4,
        retry: Schedule.stop,
        buffer: Buffer.merging(({ key }: Item) => key, (held, next) => ({ key: held.key, sum: held.sum + next.sum })),
        process: ({ items }) => {
          handled.push(items)
          const bad = items.findIndex(({ key }) => key === 1)
          return bad < 0 ? Effect.void : Batch.failSome([[bad, "one"]])
        },
        onProcessError: () => Effect.void,
        metrics: false
      })
      yield* queue.pause
      for (const [key, sum] of [[1, 1], [2, 10], [1, 2], [2, 20]]) yield* queue.offerStored({ key, sum })
      yield* queue.resume
      yield* settleDown
      expect(handled).toEqual([[{ key: 1, sum: 3 }, { key: 2, sum: 30 }]])
      const [letter] = yield* queue.deadLetters.list()
      const inspected = Option.getOrThrow(yield* queue.deadLetters.inspect(letter.id))
      expect(inspected.content).toEqual(Result.succeed([{ key: 1, sum: 3 }]))
      expect(yield* queue.metrics).toMatchObject({ offered: 4, coalesced: 2, settled: 1, deadLettered: 1 })
    }).pipe(onMemory))
})

describe("what makes way for others", () => {
  it.scoped("has as many attempts as a worker that waits would make, until it was delivered too often", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        retry: Schedule.spaced("50 millis"),
        inlineDelay: "100 millis",
        maxDeliveries: 3,
        pollInterval: "1 day"
      })
      // A worker has time for two more attempts, but not for these.
      sink.whenever = () => Effect.zipRight(Effect.sleep(1), Effect.fail("down"))
      yield* queue.offerStored(1)
      yield* TestClock.adjust("10 seconds")
      expect(yield* letters(queue)).toMatchObject([{ reason: "deliveries-exhausted", deliveries: 3, attempts: 9 }])
    }).pipe(onMemory))
})

describe("what a handler does to its items", () => {
  it.scoped("changes nothing of what is stored of them", () =>
    Effect.gen(function*() {
      const Item = Schema.Struct({ id: Schema.Number, note: Schema.Unknown })
      const seen: Array<unknown> = []
      const queue = yield* BatchQueue.make({
        name: "mutating",
        schema: Item,
        flush: { size: 2 },
        retry: Schedule.recurs(1),
        process: ({ attempt, items }): Effect.Effect<void, string> => {
          for (const item of items) {
            seen.push(JSON.parse(JSON.stringify(item.note)))
            ;(item.note as Record<string, unknown>).touched = true
          }
          return attempt === 1 ? Batch.failSome([1], "once") as Effect.Effect<never, any> : Effect.void
        },
        onProcessError: () => Effect.void,
        metrics: false
      })
      yield* queue.offerAll([{ id: 1, note: {} }, { id: 2, note: {} }])
      yield* settleDown
      expect(seen).toEqual([{}, {}, {}])
    }).pipe(onMemory))
})

describe("a hot loop", () => {
  it.scoped("cannot be: a schedule that never waits and never ends waits 10 ms, and is told once", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => logged.push(String(message)))
      const { queue, sink } = yield* numbers({ retry: Schedule.forever, inlineDelay: "1 hour" }).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      sink.whenever = () => Effect.fail("never")
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust(1000)
      // Each of the two: at once, and then every 10 ms.
      expect(sink.attempts.length).toBeLessThanOrEqual(2 * 102)
      expect(sink.attempts.length).toBeGreaterThan(100)
      expect(logged.filter((message) => message.includes("without a delay"))).toHaveLength(1)
    }).pipe(onMemory))

  it.scoped("cannot be made by a decision either", () =>
    Effect.gen(function*() {
      for (const decision of [Decision.retryAfter(0), Decision.snooze(0)]) {
        const { queue, sink } = yield* numbers({
          name: `counts: ${"counts" in decision && decision.counts}`,
          decide: () => decision
        })
        sink.whenever = () => Effect.fail("never")
        yield* queue.offerStored(1)
        yield* TestClock.adjust(1000)
        expect(sink.attempts.length).toBeGreaterThan(50)
        expect(sink.attempts.length).toBeLessThanOrEqual(101)
        yield* queue.pause
      }
    }).pipe(onMemory))

  it.scoped("is none where the schedule ends", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ retry: Schedule.recurs(50) })
      sink.whenever = () => Effect.fail("never")
      yield* queue.offerStored(1)
      yield* settleDown
      expect(sink.attempts).toHaveLength(51)
      expect(yield* queue.metrics).toMatchObject({ deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("fills no log: a cause that repeats is logged once a minute, with how often it did", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => logged.push(String(message)))
      const queue = yield* BatchQueue.make<number, number, string, never>({
        name: "noisy",
        schema: Schema.Number,
        retry: Schedule.spaced("1 second"),
        process: ({ items: [item] }) => Effect.fail(item < 10 ? "down" : "other"),
        metrics: false
      }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      yield* queue.offerStored(1)
      yield* TestClock.adjust("59 seconds")
      yield* queue.offerStored(10)
      yield* settleDown
      expect(logged).toEqual(["noisy: attempt 1 at 1 items failed", "noisy: attempt 1 at 1 items failed"])
      yield* TestClock.adjust("1 second")
      expect(logged.slice(2)).toEqual([
        "noisy: attempt 61 at 1 items failed, and did so 60 times since this was told last"
      ])
    }).pipe(onMemory))
})

describe("what is said of items that have failed, each for its own reason", () => {
  class Bounced extends Data.TaggedError("Bounced")<{ readonly to: string }> {}

  const bouncing = () => Batch.failSome([[0, new Bounced({ to: "ada" })], [2, new TypeError("no route")]])
  const firstLine = (text: string) => text.split("\n")[0]

  it.scoped("is what the user's errors say: in dead letters and events", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 3 }, retry: Schedule.recurs(1) })
      sink.whenever = ({ items }) => items.length === 3 ? bouncing() : Batch.failSome([[0, new Bounced({ to: "bob" })]])
      const telling = yield* Effect.fork(Stream.runCollect(Stream.take(
        Stream.filter(queue.events, ({ _tag }) => _tag === "Retried" || _tag === "DeadLettered"),
        2
      )))
      yield* settleDown
      yield* offerAtOnce(queue, [1, 2, 3])
      const told = Chunk.toReadonlyArray(yield* Fiber.join(telling)) as ReadonlyArray<any>
      expect(told[0].cause).toEqual(Cause.fail(new Bounced({ to: "ada" })))
      expect([told[1]._tag, firstLine(told[1].error)]).toEqual(["DeadLettered", "Bounced: {\"to\":\"bob\"}"])
      expect((yield* letters(queue)).map(({ content, error }) => [content, firstLine(error)])).toEqual([
        [[1], "Bounced: {\"to\":\"bob\"}"]
      ])
    }).pipe(onMemory))

  it.scoped("is what the user's errors say: in the log, each once, with how many items failed", () =>
    Effect.gen(function*() {
      const logged: Array<readonly [string, ReadonlyArray<string>]> = []
      const logger = Logger.make(({ cause, message }) =>
        logged.push([String(message), Cause.prettyErrors(cause).map(({ message, name }) => `${name}: ${message}`)])
      )
      const { queue, sink } = yield* numbers({ flush: { size: 3 }, retry: Schedule.stop, onProcessError: undefined })
        .pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      sink.script.push(bouncing, failingSome([0, 1], new Bounced({ to: "ada" })))
      yield* offerAtOnce(queue, [1, 2, 3])
      yield* offerAtOnce(queue, [4, 5, 6])
      expect(logged).toEqual([
        ["test: attempt 1 at 3 items failed for 2 of them", ["Bounced: {\"to\":\"ada\"}", "TypeError: no route"]],
        ["test: attempt 1 at 3 items failed for 2 of them", ["Bounced: {\"to\":\"ada\"}"]]
      ])
    }).pipe(onMemory))

  it.scoped("is no more than ten errors of a batch, in the log", () =>
    Effect.gen(function*() {
      let told: ReadonlyArray<string> = []
      const logger = Logger.make(({ cause }) => {
        told = Cause.prettyErrors(cause).map(({ message }) => message)
      })
      const { queue, sink } = yield* numbers({ flush: { size: 12 }, retry: Schedule.stop, onProcessError: undefined })
        .pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      sink.script.push(({ items }) => Batch.failSome(items.map((item, index) => [index, `no ${item}`] as const)))
      yield* offerAtOnce(queue, range(0, 12))
      expect(told).toEqual([...range(0, 10).map((item) => `no ${item}`), "and 2 other errors"])
    }).pipe(onMemory))
})

describe("an error that there is no text of", () => {
  const noText = {
    "a plain object with a bigint": [{ _tag: "Bad", id: 10n }, "Error: {\"_tag\":\"Bad\",\"id\":\"10\"}"],
    "a getter that throws": [
      Object.defineProperty(new Error(), "message", {
        get: () => {
          throw new Error("on purpose")
        }
      }),
      "Error: "
    ],
    "a conversion that throws": [
      {
        toJSON: () => {
          throw new Error("on purpose")
        }
      },
      "Error: an error of which there is no text"
    ]
  } as const
  for (const [name, [error, text]] of Object.entries(noText)) {
    it.scoped(`does not stop the queue: ${name}`, () =>
      Effect.gen(function*() {
        // What is told by default has to come through it, too.
        const { queue, sink } = yield* numbers({ retry: Schedule.stop, onProcessError: undefined })
        sink.whenever = ({ items: [item] }) => item === 1 ? Effect.fail(error) : Effect.void
        yield* offerAtOnce(queue, [1, 2])
        expect(yield* queue.metrics).toMatchObject({ settled: 1, deadLettered: 1 })
        expect((yield* letters(queue))[0].error).toContain(text)
      }).pipe(onMemory, Effect.provide(Logger.remove(Logger.defaultLogger))))
  }
})

it.scoped("a `decide` that answers nothing has decided nothing, and is told", () =>
  Effect.gen(function*() {
    const { internal, queue, sink } = yield* numbers({
      retry: Schedule.stop,
      decide: () => undefined as unknown as Decision.Decision
    })
    sink.script.push(failing("bad"))
    yield* offerAtOnce(queue, [1, 2])
    expect(yield* queue.metrics).toMatchObject({ settled: 1, deadLettered: 1 })
    expect(internal).toEqual(["decide"])
  }).pipe(onMemory))

it.scoped("a division whose answer is lost is not done twice", () =>
  Effect.gen(function*() {
    const { queue, sink } = yield* numbers({
      flush: { size: 3 },
      leaseDuration: "1 second",
      decide: (error) => error === "never" ? Decision.deadLetter : Decision.retry,
      retry: Schedule.recurs(5)
    })
    sink.script.push(() => Batch.failSome([[0, "never"], [1, "later"]]))
    yield* offerAtOnce(queue, [1, 2, 3])
    yield* TestClock.adjust("10 seconds")
    expect((yield* letters(queue)).map(({ content }) => content)).toEqual([[1]])
    expect(sink.items).toEqual([[1, 2, 3], [2]])
    expect((yield* queue.stats).pending.items).toBe(0)
  }).pipe(
    Effect.provide(FaultyStore.layer(FaultyStore.at(1, { _tag: "LosesAnswer" }, "divide"))),
    onMemory
  ))

it.scoped("what is discarded as a whole is gone, also where what it was merged into could not be stored again", () =>
  Effect.gen(function*() {
    let calls = 0
    const queue = yield* BatchQueue.make<string, string, string, never>({
      name: "merging",
      schema: Schema.String,
      batches: 2,
      limits: { maxItemBytes: 10 },
      buffer: {
        empty: (): ReadonlyArray<string> => [],
        push: (items, item) => [items.join("") + item],
        size: (items) => items.length,
        pushes: (items) => items.length,
        items: (items) => items
      },
      decide: () => Decision.discard,
      process: () => ++calls < 100 ? Batch.failSome([0], "too long") as Effect.Effect<never, any> : Effect.void,
      onProcessError: () => Effect.void,
      metrics: false
    })
    yield* queue.pause
    yield* queue.offerStored("aaaaaa")
    yield* queue.offerStored("bbbbbb")
    yield* queue.resume
    yield* settleDown
    expect(calls).toBe(1)
    expect(yield* queue.metrics).toMatchObject({ offered: 2, coalesced: 1, droppedByReason: { discarded: 1 } })
    expect((yield* queue.stats).pending).toEqual({ batches: 0, items: 0 })
  }).pipe(onMemory))

describe("what is asked of dead letters", () => {
  it.scoped("is refused where it makes no sense, by field, value and limit, and nothing is done", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ retry: Schedule.stop })
      sink.whenever = () => Effect.fail("never")
      yield* queue.offerStored(1)
      yield* settleDown
      const { discard, list, redrive } = queue.deadLetters
      const refused = [
        ["limit", NaN, list({ limit: NaN })],
        ["limit", -1, list({ limit: -1 })],
        ["after", 1.5, list({ after: 1.5 })],
        ["olderThan", "soon", list({ olderThan: "soon" as "1 day" })],
        ["olderThan", -1, redrive({ olderThan: -1 })],
        ["limit", 0.5, redrive("all", { limit: 0.5 })],
        ["rate", 0, discard("all", { rate: 0 })],
        ["rate", NaN, discard("all", { rate: NaN })]
      ] as const
      for (const [field, value, effect] of refused) {
        expect(yield* Effect.flip(effect as Effect.Effect<unknown, unknown>)).toMatchObject({
          _tag: "InvalidOption",
          field,
          value
        })
      }
      expect((yield* queue.stats).dead.items).toBe(1)
    }).pipe(onMemory))
})

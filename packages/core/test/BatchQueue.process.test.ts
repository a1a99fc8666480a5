import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, Buffer, Codec, Result, Retry } from "@sluice/core"
import { Cause, Clock, Effect, Fiber, Option, Schedule, Schema, TestClock } from "effect"
import { seal } from "../src/internal/codec/envelope.ts"
import { numbers, numbersInProcess, settleDown } from "./support/batchQueue.ts"
import { failing, failingSome } from "./support/sink.ts"

const onMemory = Effect.provide(BatchStore.layerMemory)

const failingAlways = (error: unknown) => ({
  script: Array.from({ length: 1000 }, () => failing(error))
})

describe("handling", () => {
  it.scoped("gives a handler what was offered, oldest first, and deletes what it has handled", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers()
      for (const n of [1, 2, 3]) yield* queue.offerStored(n)
      yield* settleDown
      expect(sink.items).toEqual([[1], [2], [3]])
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 0, items: 0 }, dead: { batches: 0 } })
      expect(yield* queue.metrics).toMatchObject({ offered: 3, stored: 3, settled: 3, inFlight: 0, buffered: 0 })
    }).pipe(onMemory))

  it.scoped("claims at most `batches` batches at once, and hands them over as one", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ batches: 3, flush: { size: 2 } })
      yield* queue.pause
      yield* queue.offerAll([1, 2, 3, 4, 5, 6, 7, 8])
      yield* queue.flush
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[1, 2, 3, 4, 5, 6], [7, 8]])
    }).pipe(onMemory))

  it.scoped("merges across the batches of a claim, and counts what was merged away", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        batches: 10,
        flush: { size: 2 },
        buffer: Buffer.merging((n) => n % 10, (held, next) => held + next)
      })
      yield* queue.pause
      yield* queue.offerAll([1, 2, 11, 12, 21, 3])
      yield* queue.flush
      expect((yield* queue.stats).pending).toEqual({ batches: 3, items: 6 })
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[33, 14, 3]])
      expect(yield* queue.metrics).toMatchObject({ offered: 6, coalesced: 3, settled: 3 })
    }).pipe(onMemory))

  it.scoped("runs as many handlers as there are workers, and never more", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const { queue } = yield* numbers({
        workers: 4,
        process: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              running += 1
              most = Math.max(most, running)
            }),
            () => Effect.sleep(10),
            () => Effect.sync(() => running -= 1)
          )
      })
      yield* queue.offerAll(Array.from({ length: 100 }, (_, n) => n))
      yield* TestClock.adjust("1 second")
      expect(most).toBe(4)
      expect(yield* queue.metrics).toMatchObject({ settled: 100 })
    }).pipe(onMemory))

  it.scoped("notices within `pollInterval` what others have stored", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ pollInterval: "3 seconds" })
      yield* settleDown
      const other = yield* numbers({ workers: 0 })
      yield* other.queue.offerStored(7)
      yield* TestClock.adjust(2999)
      expect(sink.items).toEqual([])
      yield* TestClock.adjust(1)
      expect(sink.items).toEqual([[7]])
      expect(yield* queue.metrics).toMatchObject({ offered: 0, settled: 1 })
    }).pipe(onMemory))

  it.scoped("goes on looking while another worker, which has claimed less than it may, is busy", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ workers: 2, batches: 2, pollInterval: 50, drainTimeout: 0 })
      sink.script.push(() => Effect.sleep("10 seconds"))
      yield* queue.offerStored(1)
      yield* TestClock.adjust(200)
      const other = yield* numbers({ workers: 0 })
      yield* other.queue.offerStored(2)
      yield* TestClock.adjust(50)
      expect(sink.items).toEqual([[1], [2]])
    }).pipe(onMemory))

  it.scoped("claims nothing while it is paused, finishes what runs, and goes on", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers()
      sink.script.push(() => Effect.sleep(100))
      yield* queue.offerAll([1, 2])
      yield* settleDown
      yield* queue.pause
      expect(yield* queue.isPaused).toBe(true)
      yield* TestClock.adjust("10 seconds")
      expect(sink.items).toEqual([[1]])
      expect(yield* queue.metrics).toMatchObject({ settled: 1, inFlight: 0 })
      expect((yield* queue.stats).pending.batches).toBe(1)
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[1], [2]])
      expect(yield* queue.isPaused).toBe(false)
    }).pipe(onMemory))

  it.scoped("tells a handler why the batch was stored, which attempt it is, and how old it is", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 10, linger: 50 }, retry: Schedule.spaced(10) })
      sink.script.push(failing("no"))
      yield* TestClock.adjust(1000)
      yield* queue.offer(1)
      yield* TestClock.adjust(20)
      yield* queue.offer(2)
      yield* TestClock.adjust(40)
      const about = sink.attempts.map(({ attempt, oldestAt, openedAt, trigger }) => ({
        attempt,
        oldestAt,
        openedAt,
        trigger
      }))
      expect(about).toEqual([
        { attempt: 1, oldestAt: 1000, openedAt: 1000, trigger: "linger" },
        { attempt: 2, oldestAt: 1000, openedAt: 1000, trigger: "linger" }
      ])
    }).pipe(onMemory))

  it.scoped("breaks for timers in a long run of quick handlers", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers()
      yield* queue.offerAll(Array.from({ length: 5000 }, (_, n) => n))
      let ticks = 0
      const timer = setInterval(() => ticks += 1, 1)
      yield* Effect.iterate(0, {
        while: (settled) => settled < 5000,
        body: () => Effect.zipRight(Effect.yieldNow(), Effect.map(queue.metrics, ({ settled }) => settled))
      })
      clearInterval(timer)
      expect(ticks).toBeGreaterThan(0)
    }).pipe(onMemory, Effect.withClock(Clock.make())))
})

describe("retries", () => {
  it.scoped("come after 1 s, 2 s, 4 s, ... 10 % more or less by default", () =>
    Effect.gen(function*() {
      const { queue, sink, times } = yield* numbers({ pollInterval: "1 minute" })
      sink.script.push(failing("a"), failing("b"), failing("c"))
      yield* queue.offer(1)
      yield* TestClock.adjust("10 seconds")
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4])
      const delays = times.slice(1).map((time, i) => time - times[i])
      for (const [i, delay] of delays.entries()) {
        expect(delay).toBeGreaterThanOrEqual(1000 * 2 ** i * 0.9 - 1)
        expect(delay).toBeLessThanOrEqual(1000 * 2 ** i * 1.1 + 2)
      }
    }).pipe(onMemory))

  it.scoped("never wait for longer than the cap, also at attempt 50", () =>
    Effect.gen(function*() {
      const { queue, sink, times } = yield* numbers({
        retry: Retry.exponential({ base: "1 second", cap: "1 minute", jitter: 0.1 }),
        inlineDelay: 0,
        pollInterval: "1 hour"
      })
      Object.assign(sink, failingAlways("no"))
      yield* queue.offer(1)
      yield* TestClock.adjust("1 hour")
      expect(sink.attempts.length).toBeGreaterThan(50)
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual(sink.attempts.map((_, i) => i + 1))
      const delays = times.slice(1).map((time, i) => time - times[i])
      expect(Math.max(...delays)).toBeLessThanOrEqual(60_000)
      expect(delays[49]).toBeGreaterThan(50_000)
    }).pipe(onMemory))

  it.scoped("wait in the worker for a short delay, and in the store for a long one", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        retry: Schedule.fromDelays(100, 5000),
        inlineDelay: 1000,
        pollInterval: "1 minute"
      })
      sink.script.push(failing("soft"))
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust(99)
      // The worker waits for it: nothing overtakes.
      expect(sink.items).toEqual([[1]])
      sink.script.push(failing("hard"))
      yield* TestClock.adjust(1)
      expect(sink.items).toEqual([[1], [1], [2]])
      yield* TestClock.adjust(4999)
      expect(sink.items.length).toBe(3)
      yield* TestClock.adjust(1)
      expect(sink.items).toEqual([[1], [1], [2], [1]])
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 1, 3])
    }).pipe(onMemory))

  it.scoped("wait in the worker for `inlineDelay` in all, and no longer, however long others are busy meanwhile", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        workers: 2,
        retry: Schedule.intersect(Schedule.spaced(50), Schedule.recurs(9)),
        inlineDelay: 100,
        pollInterval: "1 hour"
      })
      sink.whenever = ({ items: [item] }) => item === 1 ? Effect.sleep("10 seconds") : Effect.fail("down")
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("1 minute")
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      // The first of each delivery, and two that the worker has waited for.
      expect(yield* queue.deadLetters.list()).toMatchObject([{ attempts: 10, deliveries: 4 }])
    }).pipe(onMemory))

  it.scoped("count on in another process", () =>
    Effect.gen(function*() {
      const options = { retry: Schedule.exponential(1000), inlineDelay: 0, pollInterval: "1 hour" as const }
      const first = yield* numbersInProcess(options)
      first.sink.script.push(failing("a"), failing("b"))
      yield* first.queue.offer(1)
      yield* TestClock.adjust(1000)
      yield* first.stop
      const second = yield* numbersInProcess(options)
      second.sink.script.push(failing("c"))
      yield* TestClock.adjust(1999)
      expect(second.sink.attempts).toEqual([])
      yield* TestClock.adjust(1)
      yield* TestClock.adjust(4000)
      expect(second.sink.attempts.map(({ attempt }) => attempt)).toEqual([3, 4])
      expect(second.times).toEqual([3000, 7000])
      yield* second.stop
    }).pipe(onMemory))

  it.scoped("rest for the cooldown when their schedule ends, and begin anew", () =>
    Effect.gen(function*() {
      const { queue, sink, times } = yield* numbers({
        retry: Schedule.recurs(1),
        cooldown: "1 minute",
        pollInterval: "1 hour"
      })
      sink.script.push(failing("a"), failing("b"), failing("c"))
      yield* queue.offer(1)
      yield* TestClock.adjust(59_999)
      expect(times).toEqual([0, 0])
      yield* TestClock.adjust(1)
      expect(times).toEqual([0, 0, 60_000, 60_000])
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 1, 2])
      expect(yield* queue.metrics).toMatchObject({ settled: 1, deadLettered: 0 })
    }).pipe(onMemory))

  it.scoped("follow what the schedule makes of the error, and end where the schedule dies", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        maxDeliveries: 1,
        retry: Schedule.recurWhile((error: unknown) => {
          if (error === "dying") throw new Error("the schedule died")
          return error === "soft"
        })
      })
      sink.script.push(failing("soft"), failing("hard"), failing("dying"))
      yield* queue.offerAll([1, 2])
      yield* settleDown
      expect(sink.items).toEqual([[1], [1], [2]])
      expect((yield* queue.deadLetters.list()).map(({ error, id }) => [id, error])).toEqual([
        [1, "Error: hard"],
        [2, "Error: dying"]
      ])
    }).pipe(onMemory))

  it.scoped("treat a defect of the handler, and a handler that interrupts itself, as a failure", () =>
    Effect.gen(function*() {
      const causes: Array<Cause.Cause<unknown>> = []
      const { queue, sink } = yield* numbers({
        retry: Schedule.recurs(10),
        onProcessError: (cause) => Effect.sync(() => causes.push(cause))
      })
      sink.script.push(() => Effect.die("dead"), () => Effect.interrupt, () => {
        throw new Error("thrown")
      })
      yield* queue.offer(1)
      yield* settleDown
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4])
      expect(causes.map((cause) => Cause.isInterrupted(cause) ? "interrupted" : Cause.squash(cause))).toEqual([
        "dead",
        "interrupted",
        new Error("thrown")
      ])
      expect(yield* queue.metrics).toMatchObject({ settled: 1, batchesFailed: 3, retries: 3 })
    }).pipe(onMemory))

  it.scoped("go on where the handler of errors dies", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        retry: Schedule.recurs(1),
        onProcessError: () => Effect.die("oh no")
      })
      sink.script.push(failing("no"))
      yield* queue.offer(1)
      yield* settleDown
      expect(yield* queue.metrics).toMatchObject({ settled: 1, batchesFailed: 1 })
    }).pipe(onMemory))
})

describe("a partial failure", () => {
  it.scoped("has only the failed items again, each in the place of its own batch", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        batches: 2,
        flush: { size: 2 },
        retry: Schedule.spaced("1 minute"),
        pollInterval: "1 hour"
      })
      yield* queue.pause
      yield* queue.offerAll([1, 2, 3, 4, 5, 6])
      yield* queue.flush
      sink.script.push(failingSome([1, 2], "some"))
      yield* queue.resume
      yield* settleDown
      expect(sink.items).toEqual([[1, 2, 3, 4], [5, 6]])
      expect((yield* queue.stats).pending).toEqual({ batches: 2, items: 2 })
      expect(yield* queue.metrics).toMatchObject({ settled: 4 })
      yield* TestClock.adjust("1 minute")
      expect(sink.items.slice(2)).toEqual([[2], [3]])
      expect(sink.attempts.map(({ attempt }) => attempt)).toEqual([1, 1, 2, 2])
      expect(yield* queue.metrics).toMatchObject({ offered: 6, settled: 6 })
    }).pipe(onMemory))

  it.scoped("of no items is a success, and one of items that there are not a failure of all", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ flush: { size: 2 }, retry: Schedule.recurs(5) })
      sink.script.push(failingSome([], "none"), failingSome([7], "nonsense"), failingSome([0, 1], "all"))
      yield* queue.offerAll([1, 2])
      yield* settleDown
      yield* queue.offerAll([3, 4])
      yield* settleDown
      expect(sink.items).toEqual([[1, 2], [3, 4], [3, 4], [3, 4]])
      expect(yield* queue.metrics).toMatchObject({ settled: 4 })
    }).pipe(onMemory))

  it.scoped("whose rest the user's format throws at is a failure of all, and the worker lives", () =>
    Effect.gen(function*() {
      const format: Codec.Format = {
        ...Codec.json,
        name: "pairs",
        encode: (values) => {
          if (values.length === 1) throw new Error("no single one")
          return Codec.json.encode(values)
        }
      }
      const { queue, sink } = yield* numbers({ flush: { size: 2 }, retry: Schedule.recurs(5), format })
      sink.script.push(failingSome([1], "some"))
      yield* queue.offerAll([1, 2, 3, 4])
      yield* settleDown
      expect(sink.items).toEqual([[1, 2], [1, 2], [3, 4]])
      expect(yield* queue.metrics).toMatchObject({ offered: 4, settled: 4, dropped: 0 })
    }).pipe(onMemory))

  it.scoped("survives a restart", () =>
    Effect.gen(function*() {
      const options = { flush: { size: 3 }, retry: Schedule.spaced(5000), pollInterval: "1 hour" as const }
      const first = yield* numbersInProcess(options)
      first.sink.script.push(failingSome([1], "some"))
      yield* first.queue.offerAll([1, 2, 3])
      yield* settleDown
      yield* first.stop
      const second = yield* numbersInProcess(options)
      yield* TestClock.adjust(5000)
      expect(second.sink.items).toEqual([[2]])
      expect(second.sink.attempts[0].attempt).toBe(2)
      yield* second.stop
    }).pipe(onMemory))
})

describe("dead letters", () => {
  it.scoped("are batches that failed `maxDeliveries` times, once, with their cause", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({
        maxDeliveries: 3,
        retry: Schedule.stop,
        cooldown: 1000,
        pollInterval: 1000
      })
      sink.script.push(failing("first"), () => Effect.void, failing("second"), failing(new Error("third")))
      yield* queue.offerAll([1, 2])
      yield* TestClock.adjust("1 minute")
      expect(sink.items).toEqual([[1], [2], [1], [1]])
      const letters = yield* queue.deadLetters.list()
      expect(letters).toHaveLength(1)
      expect(letters[0]).toMatchObject({ id: 1, items: 1, reason: "deliveries-exhausted", deliveries: 3 })
      expect(letters[0].error).toContain("third")
      expect(yield* queue.metrics).toMatchObject({ offered: 2, settled: 1, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("are also batches that take their process with them", () =>
    Effect.gen(function*() {
      const store = yield* Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("test"))
      const producer = yield* numbers({ workers: 0 })
      yield* producer.queue.offerStored(1)
      for (let i = 0; i < 2; i++) {
        // Processes that claim it and die.
        expect((yield* store.claim({ limit: 1, leaseMillis: 100 })).batches).toHaveLength(1)
        yield* TestClock.adjust(100)
      }
      const { queue, sink } = yield* numbers({ maxDeliveries: 2 })
      yield* settleDown
      expect(sink.attempts).toEqual([])
      const [letter] = yield* queue.deadLetters.list()
      expect(letter).toMatchObject({ id: 1, reason: "deliveries-exhausted", deliveries: 3 })
      expect(letter.error).toContain("worker")
    }).pipe(onMemory))

  it.scoped("are set aside alone: those that were claimed with them are delivered on", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ batches: 3, retry: Schedule.recurs(1), inlineDelay: 0 })
      sink.whenever = ({ items }) => items.includes(2) ? Effect.fail("bad") : Effect.void
      yield* queue.pause
      yield* queue.offerAll([1, 2, 3])
      yield* queue.flush
      yield* queue.resume
      yield* settleDown
      expect((yield* queue.deadLetters.list()).map(({ id, reason }) => [id, reason])).toEqual([[
        2,
        "retries-exhausted"
      ]])
      // The group, then each by itself; what has failed does not keep the others waiting.
      expect(sink.items).toEqual([[1, 2, 3], [1], [2], [3], [2]])
      expect(yield* queue.metrics).toMatchObject({ settled: 2, deadLettered: 1 })
    }).pipe(onMemory))

  it.scoped("can be looked at, redriven to their old place, and discarded", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* numbers({ maxDeliveries: 1, retry: Schedule.stop })
      sink.script.push(failing("a"), failing("b"), failing("c"))
      yield* queue.offerAll([1, 2, 3])
      yield* settleDown
      expect((yield* queue.deadLetters.list({ limit: 2 })).map(({ id }) => id)).toEqual([1, 2])
      expect((yield* queue.deadLetters.list({ after: 2 })).map(({ id }) => id)).toEqual([3])
      const inspected = Option.getOrThrow(yield* queue.deadLetters.inspect(2))
      expect(inspected).toMatchObject({ id: 2, error: "Error: b" })
      expect(inspected.content).toEqual(Result.succeed([2]))
      expect(Option.isNone(yield* queue.deadLetters.inspect(99))).toBe(true)
      expect(yield* queue.deadLetters.discard([2, 99])).toEqual({ batches: 1, items: 1 })
      yield* queue.pause
      expect(yield* queue.deadLetters.redrive("all")).toEqual({ batches: 2, items: 2 })
      yield* queue.offerStored(4)
      yield* queue.resume
      yield* settleDown
      expect(sink.items.slice(3)).toEqual([[1], [3], [4]])
      expect(sink.attempts.at(-1)?.attempt).toBe(1)
      const metrics = yield* queue.metrics
      expect(metrics).toMatchObject({ offered: 4, settled: 3, deadLettered: 3, redriven: 2, discarded: 1 })
    }).pipe(onMemory))
})

describe("what cannot be read", () => {
  const append = (payload: Uint8Array) =>
    Effect.flatMap(
      BatchStore.BatchStore,
      (stores) =>
        Effect.flatMap(stores.queue("test"), (store) =>
          store.append({ batches: [{ payload, items: 1, oldestAtMillis: 0 }] }))
    )
  const text = (content: string) => new TextEncoder().encode(content)

  it.scoped("becomes a dead letter at once, and its neighbours flow", () =>
    Effect.gen(function*() {
      const envelope = { trigger: "size", openedAtMillis: 0 } as const
      yield* append(Codec.make(Schema.Number).encodeBatch([1], envelope))
      yield* append(text("garbage"))
      yield* append(Codec.make(Schema.String).encodeBatch(["a changed schema"], envelope))
      yield* append(text("sluice/1 json size 0\n[1, 2"))
      yield* append(new Uint8Array())
      yield* append(Codec.make(Schema.Number).encodeBatch([2], envelope))
      const { queue, sink } = yield* numbers({ batches: 10 })
      yield* settleDown
      expect(sink.items).toEqual([[1, 2]])
      const letters = yield* queue.deadLetters.list()
      expect(letters.map(({ id, reason }) => [id, reason])).toEqual([
        [2, "corrupt"],
        [3, "undecodable"],
        [4, "undecodable"],
        [5, "corrupt"]
      ])
      expect(letters[1].error).toContain("a changed schema")
      const { content } = Option.getOrThrow(yield* queue.deadLetters.inspect(2))
      expect(Result.isFailure(content)).toBe(true)
    }).pipe(onMemory))

  it.scoped("because a newer version wrote it, is left for those who can, and no delivery is counted", () =>
    Effect.gen(function*() {
      yield* append(seal(text("sluice/3 00000000 cbor size 0 more\nnobody here knows")))
      yield* append(Codec.make(Schema.Number).encodeBatch([1], { trigger: "size", openedAtMillis: 0 }))
      const { queue, sink } = yield* numbers({ pollInterval: 500 })
      yield* TestClock.adjust("10 seconds")
      expect(sink.items).toEqual([[1]])
      expect(yield* queue.stats).toMatchObject({ pending: { batches: 1 }, dead: { batches: 0 } })
      yield* queue.pause
      yield* TestClock.adjust("10 seconds")
      const store = yield* Effect.flatMap(BatchStore.BatchStore, (stores) => stores.queue("test"))
      const { batches } = yield* store.claim({ limit: 10, leaseMillis: 1000 })
      expect(batches.map(({ deliveries, sequence }) => [sequence, deliveries])).toEqual([[1, 1]])
    }).pipe(onMemory))
})

describe("a handler that offers back", () => {
  it.scoped("puts items in past a full intake and a full store", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const queue = yield* BatchQueue.make({
        name: "test",
        schema: Schema.Number,
        capacity: 1,
        maxPending: 1,
        process: (batch, own) =>
          Effect.suspend(() => {
            seen.push(...batch.items)
            return batch.items[0] > 0 ? own.offer([batch.items[0] - 1]) : Effect.void
          })
      })
      yield* queue.offer(5)
      yield* TestClock.adjust("10 seconds")
      expect(seen).toEqual([5, 4, 3, 2, 1, 0])
      expect(yield* queue.metrics).toMatchObject({ offered: 6, settled: 6 })
    }).pipe(onMemory))

  it.scoped("takes nobody else past a full store", () =>
    Effect.gen(function*() {
      const { queue } = yield* numbers({
        capacity: 100,
        maxPending: 10,
        pollInterval: "1 hour",
        drainTimeout: 0,
        process: (_, own) => Effect.zipRight(Effect.orDie(own.offer([-1])), Effect.never)
      })
      yield* queue.offerAll(Array.from({ length: 60 }, (_, n) => n))
      yield* TestClock.adjust(1000)
      expect((yield* queue.stats).pending.items).toBe(11)
    }).pipe(onMemory))

  it.scoped("is told of an item that cannot be stored, and none of the call is in", () =>
    Effect.gen(function*() {
      const queue = yield* BatchQueue.make({
        name: "test",
        schema: Schema.Number,
        maxDeliveries: 1,
        retry: Schedule.stop,
        process: (_, own) => own.offer([1, NaN]),
        onProcessError: () => Effect.void
      })
      yield* queue.offer(7)
      yield* settleDown
      const [letter] = yield* queue.deadLetters.list()
      expect(letter.error).toContain("NaN")
      expect(yield* queue.metrics).toMatchObject({ offered: 3, refused: 2, deadLettered: 1 })
    }).pipe(onMemory))
})

describe("batches in different queues of one store", () => {
  it.scoped("do not meet", () =>
    Effect.gen(function*() {
      const one = yield* numbers({ name: "one" })
      const two = yield* numbers({ name: "two" })
      const both = yield* Effect.fork(Effect.all([one.queue.offerStored(1), two.queue.offerStored(2)]))
      yield* settleDown
      yield* Fiber.join(both)
      expect([one.sink.items, two.sink.items]).toEqual([[[1]], [[2]]])
    }).pipe(onMemory))
})

/**
 * What is asked of the dead letters of a queue, on any store: which of them, how many, and how fast.
 */
import { expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, Codec, type QueueEvent, Result } from "@sluice/core"
import { Clock, Effect, Fiber, type Layer, Schedule, Schema, TestClock } from "effect"

const name = "letters"
const codec = Codec.make(Schema.Number)

const payloadOf = (item: number) =>
  codec.encodeBatch([Result.getOrThrow(codec.encodeItem(item)).value], { trigger: "size", openedAtMillis: 0 })

interface Death {
  readonly reason: QueueEvent.DeadLetterReason
  readonly error: string
}

const down: Death = { reason: "retries-exhausted", error: "down" }

/** Sets the items 1 to `count` aside, whose letters have these ids. */
const die = (count: number, of: (item: number) => Death = () => down) =>
  Effect.gen(function*() {
    const store = yield* (yield* BatchStore.BatchStore).queue(name)
    const before = (yield* store.stats).dead.batches
    const [first, ...rest] = Array.from({ length: count }, (_, n): BatchStore.NewBatch => ({
      payload: payloadOf(before + n + 1),
      items: 1,
      oldestAtMillis: 0
    }))
    yield* store.append({ batches: [first, ...rest] })
    const { batches } = yield* store.claim({ limit: count, leaseMillis: 60_000 })
    expect(batches.length).toBe(count)
    for (const [n, claimed] of batches.entries()) {
      const { error, reason } = of(before + n + 1)
      yield* store.deadLetter([claimed], { reason, failure: { attempts: 1, failedAtMillis: 0, error } })
    }
    return store
  })

/** A queue from which nobody takes, unless it is said. */
const open = (options: Partial<BatchQueue.Options<number, number, unknown, never>> = {}) =>
  BatchQueue.make<number, number, unknown, never>({
    name,
    schema: Schema.Number,
    workers: 0,
    process: () => Effect.void,
    onProcessError: () => Effect.void,
    metrics: false,
    ...options
  })

type Queue = BatchQueue.BatchQueue<number>

const idsOf = (queue: Queue, query: BatchQueue.DeadLetterQuery = {}) =>
  Effect.map(queue.deadLetters.list({ ...query, limit: 10_000 }), (letters) => letters.map(({ id }) => id))

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n)

const amount = (count: number) => ({ batches: count, items: count })

/** Each letter is dead, back, or deleted, and is counted as that. */
const accounts = (queue: Queue, expected: { readonly dead: number; readonly back: number; readonly deleted: number }) =>
  Effect.gen(function*() {
    const { dead, pending } = yield* queue.stats
    const { discarded, redriven } = yield* queue.metrics
    expect({ dead: dead.items, back: pending.items }).toEqual({ dead: expected.dead, back: expected.back })
    expect({ redriven, discarded }).toEqual({ redriven: expected.back, discarded: expected.deleted })
  })

/** Lets a call that has a rate go on, step by step, until it ends. Answers when it was how far. */
const watch = <A, E>(queue: Queue, call: Effect.Effect<A, E>, stepMillis: number) =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.currentTimeMillis
    const steps: Array<{ readonly millis: number; readonly done: number }> = []
    const fiber = yield* Effect.fork(call)
    while (fiber.unsafePoll() === null) {
      const { discarded, redriven } = yield* queue.metrics
      steps.push({ millis: (yield* Clock.currentTimeMillis) - startedAt, done: redriven + discarded })
      yield* TestClock.adjust(stepMillis)
    }
    return { answer: yield* Fiber.join(fiber), steps, millis: (yield* Clock.currentTimeMillis) - startedAt }
  })

export const deadLetterCases = <E>(store: Layer.Layer<BatchStore.BatchStore, E>): void => {
  const changes = ["redrive", "discard"] as const
  for (const change of changes) {
    /** What has become of so many. */
    const became = (count: number) => change === "redrive" ? { back: count, deleted: 0 } : { back: 0, deleted: count }

    it.scoped(`${change} takes ids, each once, however many, and ignores those that are none`, () =>
      Effect.gen(function*() {
        yield* die(1203)
        const queue = yield* open()
        const even = range(1, 601).map((n) => 2 * n)
        const asked = [...even, 4, 2, 9999, -1, 0, 1.5, NaN].reverse()
        expect(yield* queue.deadLetters[change](asked, { dryRun: true })).toEqual(amount(601))
        yield* accounts(queue, { dead: 1203, back: 0, deleted: 0 })
        expect(yield* queue.deadLetters[change](asked)).toEqual(amount(601))
        expect(yield* idsOf(queue)).toEqual(range(0, 601).map((n) => 2 * n + 1))
        yield* accounts(queue, { dead: 602, ...became(601) })
        expect(yield* queue.deadLetters[change](asked)).toEqual(amount(0))
        expect(yield* queue.deadLetters[change]([])).toEqual(amount(0))
        yield* accounts(queue, { dead: 602, ...became(601) })
      }).pipe(Effect.provide(store)))

    it.scoped(`${change} takes all of them, or the first ones up to a limit`, () =>
      Effect.gen(function*() {
        yield* die(1203)
        const queue = yield* open()
        const { [change]: run } = queue.deadLetters
        expect(yield* run("all", { limit: 0 })).toEqual(amount(0))
        expect(yield* run("all", { limit: 700, dryRun: true })).toEqual(amount(700))
        expect(yield* run("all", { dryRun: true })).toEqual(amount(1203))
        yield* accounts(queue, { dead: 1203, back: 0, deleted: 0 })
        expect(yield* run("all", { limit: 700 })).toEqual(amount(700))
        expect(yield* idsOf(queue)).toEqual(range(701, 1203))
        expect(yield* run(range(601, 1203), { limit: 2 })).toEqual(amount(2))
        expect(yield* run({ reason: "retries-exhausted" }, { limit: 1 })).toEqual(amount(1))
        expect(yield* idsOf(queue)).toEqual(range(704, 1203))
        expect(yield* run("all")).toEqual(amount(500))
        yield* accounts(queue, { dead: 0, ...became(1203) })
      }).pipe(Effect.provide(store)))

    it.scoped(`${change} takes a query: the reason, a part of the error, and how long ago, each and together`, () =>
      Effect.gen(function*() {
        const of = (item: number): Death => ({
          reason: item % 2 === 0 ? "rejected" : "retries-exhausted",
          error: `Error: ${item % 3 === 0 ? "Timeout of 100%" : "no route"}`
        })
        yield* die(6, of)
        yield* TestClock.adjust("1 hour")
        yield* die(6, of)
        yield* TestClock.adjust("1 minute")
        const queue = yield* open()
        const { [change]: run } = queue.deadLetters
        const cases: ReadonlyArray<readonly [BatchQueue.DeadLetterQuery, ReadonlyArray<number>]> = [
          [{ reason: "corrupt" }, []],
          [{ error: "timeout" }, []],
          [{ error: "Timeout%" }, []],
          [{ olderThan: "2 hours" }, []],
          [{ olderThan: "61 minutes" }, range(1, 6)],
          [{ olderThan: "1 minute" }, range(1, 12)],
          [{ olderThan: 60_001 }, range(1, 6)],
          [{ reason: "rejected" }, [2, 4, 6, 8, 10, 12]],
          [{ error: "Timeout of 100%" }, [3, 6, 9, 12]],
          [{ reason: "rejected", error: "Timeout" }, [6, 12]],
          [{ reason: "rejected", error: "Timeout", olderThan: "1 hour" }, [6]],
          [{}, range(1, 12)]
        ]
        for (const [query, ids] of cases) {
          expect([query, yield* idsOf(queue, query)]).toEqual([query, ids])
          expect([query, yield* run(query, { dryRun: true })]).toEqual([query, amount(ids.length)])
        }
        yield* accounts(queue, { dead: 12, back: 0, deleted: 0 })
        expect(yield* run({ reason: "rejected", error: "Timeout", olderThan: "1 hour" })).toEqual(amount(1))
        expect(yield* run({ error: "Timeout" })).toEqual(amount(3))
        expect(yield* idsOf(queue)).toEqual([1, 2, 4, 5, 7, 8, 10, 11])
        yield* accounts(queue, { dead: 8, ...became(4) })
      }).pipe(Effect.provide(store)))

    it.scoped(`${change} at a rate is never faster than that, and what is left at its interruption is still there`, () =>
      Effect.gen(function*() {
        yield* die(60)
        const queue = yield* open()
        const { [change]: run } = queue.deadLetters
        // Two at a time.
        const { answer, millis, steps } = yield* watch(queue, run("all", { rate: 20, limit: 40 }), 10)
        expect(answer).toEqual(amount(40))
        for (const { done, millis } of steps) expect(done).toBeLessThanOrEqual(2 + 20 * millis / 1000)
        expect(millis).toBeGreaterThanOrEqual(1900)
        // Nothing is counted faster than it is done, but counting alone takes no time.
        expect(yield* run("all", { rate: 0.001, dryRun: true })).toEqual(amount(20))
        yield* accounts(queue, { dead: 20, ...became(40) })
        const slow = yield* Effect.fork(run("all", { rate: 0.001 }))
        while ((yield* queue.stats).dead.items === 20) yield* TestClock.adjust(1)
        yield* Fiber.interrupt(slow)
        expect(yield* idsOf(queue)).toEqual(range(42, 60))
        yield* accounts(queue, { dead: 19, ...became(41) })
      }).pipe(Effect.provide(store)))
  }

  it.scoped("what dies again meanwhile is not put back again by the same call", () =>
    Effect.gen(function*() {
      yield* die(10)
      const tried: Array<number> = []
      const queue = yield* open({
        workers: 2,
        process: ({ items }) => Effect.suspend(() => Effect.fail(tried.push(...items))),
        retry: Schedule.stop
      })
      const { answer } = yield* watch(queue, queue.deadLetters.redrive("all", { rate: 10 }), 50)
      expect(answer).toEqual(amount(10))
      while ((yield* queue.stats).pending.items > 0) yield* TestClock.adjust(1)
      expect([...tried].sort((a, b) => a - b)).toEqual(range(1, 10))
      expect(yield* idsOf(queue)).toEqual(range(1, 10))
      expect(yield* queue.metrics).toMatchObject({ redriven: 10, deadLettered: 10 })
    }).pipe(Effect.provide(store)))
}

import { describe, expect, it } from "@effect/vitest"
import { Batch, QueueError, WriteBehind } from "@sluice/core"
import { Cause, Clock, Effect, Fiber, Schedule, TestClock } from "effect"
import { accounted, failing, failingSome, Sink } from "./support/sink.ts"

type Options<A> = Partial<WriteBehind.Options<A, unknown, never>>

const setup = <A>(options?: Options<A>) =>
  Effect.gen(function*() {
    const sink = new Sink<A>()
    const times: Array<number> = []
    const dropped: Array<readonly [A, string]> = []
    const queue = yield* WriteBehind.make<A, unknown, never>({
      name: "test",
      capacity: 100,
      batchSize: 3,
      flush: (batch) =>
        Effect.zipRight(Effect.map(Clock.currentTimeMillis, (now) => times.push(now)), sink.flush(batch)),
      onDrop: (item, reason) => dropped.push([item, reason]),
      ...options
    })
    return { dropped, queue, sink, times }
  })

describe("retries", () => {
  it.scoped("come after 100, 200 and 400 ms by default; then each item is dropped, and the queue goes on", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink, times } = yield* setup<number>()
      for (let i = 0; i < 4; i++) sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("1 minute")
      expect(times).toEqual([0, 100, 300, 700])
      expect(sink.attempts.map(({ attempt, trigger }) => [attempt, trigger])).toEqual([
        [1, "size"],
        [2, "size"],
        [3, "size"],
        [4, "size"]
      ])
      expect(dropped).toEqual([[1, "retries-exhausted"], [2, "retries-exhausted"], [3, "retries-exhausted"]])
      yield* queue.offerAll([4, 5, 6])
      yield* TestClock.adjust(0)
      expect(yield* queue.metrics).toMatchObject({ settled: 3, dropped: 3, held: 0, batches: 2, retries: 3 })
    }))

  it.scoped("follow the user's schedule, which is told the error, and can end by it", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const { dropped, queue, sink, times } = yield* setup<number>({
        retry: Schedule.spaced("7 millis").pipe(
          Schedule.whileInput((error: unknown) => {
            seen.push(error)
            return error !== "fatal"
          })
        )
      })
      sink.script.push(failing("soft"), failing("soft"), failing("fatal"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("1 second")
      expect(times).toEqual([0, 7, 14])
      expect(seen).toEqual(["soft", "soft", "fatal"])
      expect(dropped.length).toBe(3)
    }))

  it.scoped("come while the error is one to retry for; where `while` says no, the items are dropped at once", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const { dropped, queue, sink, times } = yield* setup<number>({
        while: (error) => {
          seen.push(error)
          return error === "soft"
        }
      })
      sink.script.push(failing("soft"), failing("fatal"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("1 second")
      expect(times).toEqual([0, 100])
      expect(seen).toEqual(["soft", "fatal"])
      expect(dropped.map(([, reason]) => reason)).toEqual(Array(3).fill("retries-exhausted"))
      // The schedule still ends by itself.
      for (let i = 0; i < 4; i++) sink.script.push(failing("soft"))
      yield* queue.offerAll([4, 5, 6])
      yield* TestClock.adjust("1 minute")
      expect(yield* queue.metrics).toMatchObject({ dropped: 6, held: 0, retries: 4 })
    }))

  it.scoped("end where `while` throws, and the shard lives", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink } = yield* setup<number>({
        while: () => {
          throw new Error("while died")
        }
      })
      sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("1 second")
      expect(dropped.map(([item]) => item)).toEqual([1, 2, 3])
      yield* queue.offerAll([4, 5, 6])
      yield* TestClock.adjust(0)
      expect(yield* queue.metrics).toMatchObject({ settled: 3, dropped: 3 })
    }))

  it.scoped("may go on for ever, while the intake takes more", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<number>({ retry: Schedule.spaced("1 second"), capacity: 5 })
      for (let i = 0; i < 50; i++) sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("30 seconds")
      yield* queue.offerAll([4, 5])
      expect(yield* queue.metrics).toMatchObject({ inFlight: 3, depth: 2, settled: 0 })
      yield* TestClock.adjust("30 seconds")
      expect(yield* queue.metrics).toMatchObject({ settled: 5, dropped: 0, held: 0 })
    }))

  it.scoped("of a partial failure are for the failed items alone; the rest is settled", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<string>()
      sink.script.push(failingSome([2, 0, 2], "some"), failingSome([1], "one"))
      yield* queue.offerAll(["a", "b", "c"])
      yield* TestClock.adjust(0)
      expect(yield* queue.metrics).toMatchObject({ settled: 1, inFlight: 2, held: 2 })
      yield* TestClock.adjust("100 millis")
      expect(yield* queue.metrics).toMatchObject({ settled: 2, inFlight: 1 })
      yield* TestClock.adjust("200 millis")
      expect(sink.items).toEqual([["a", "b", "c"], ["a", "c"], ["c"]])
      expect(yield* queue.metrics).toMatchObject({ settled: 3, held: 0 })
    }))

  it.scoped("a partial failure without any index settles the batch", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<string>()
      sink.script.push(failingSome([], "none"))
      yield* queue.offerAll(["a", "b", "c"])
      yield* TestClock.adjust("1 minute")
      expect(sink.attempts.length).toBe(1)
      expect(yield* queue.metrics).toMatchObject({ settled: 3, held: 0 })
    }))

  it.scoped("a partial failure that names an index the batch does not have fails the whole batch", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const { queue, sink } = yield* setup<string>({
        retry: Schedule.recurWhile((error: unknown) => {
          seen.push(error)
          return true
        })
      })
      sink.script.push(failingSome([0, 3], "wrong"), failingSome([-1], "wrong"), failingSome([0.5], "wrong"))
      yield* queue.offerAll(["a", "b", "c"])
      yield* TestClock.adjust("1 minute")
      expect(sink.items).toEqual([["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"]])
      expect(seen.every((error) => error instanceof QueueError.HandlerDefect)).toBe(true)
      expect(yield* queue.metrics).toMatchObject({ settled: 3, held: 0 })
    }))

  it.scoped("a partial failure beside an interruption fails the whole batch: nobody knows what became of the rest", () =>
    Effect.gen(function*() {
      const written: Array<string> = []
      const { queue, sink } = yield* setup<string>()
      sink.script.push(
        (batch) =>
          Effect.all([
            Effect.delay(Batch.failSome([0], "first"), 1),
            Effect.delay(Effect.sync(() => written.push(batch.items[1])), 50)
          ], { concurrency: 2, discard: true }),
        (batch) => Effect.sync(() => void written.push(...batch.items))
      )
      yield* queue.offerAll(["a", "b", "c"])
      yield* TestClock.adjust("1 second")
      expect(written).toEqual(["a", "b", "c"])
      expect(yield* queue.metrics).toMatchObject({ settled: 3, held: 0 })
    }))

  it.scoped("a partial failure that names an index twice fails the whole batch", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<string>()
      sink.script.push(failing(new QueueError.PartialFailure({ indexes: [0, 0], error: "twice" })))
      yield* queue.offerAll(["a", "b", "c"])
      yield* TestClock.adjust("1 second")
      expect(sink.items).toEqual([["a", "b", "c"], ["a", "b", "c"]])
    }))

  it.scoped("every item is accounted for in the moment in which onDrop is told of it", () =>
    Effect.gen(function*() {
      const missing: Array<number> = []
      const queue: WriteBehind.WriteBehind<number> = yield* WriteBehind.make<number, string, never>({
        name: "test",
        capacity: 10,
        batchSize: 3,
        retry: Schedule.stop,
        flush: () => Effect.fail("down"),
        onDrop: () => {
          const metrics = Effect.runSync(queue.metrics)
          missing.push(metrics.offered - accounted(metrics))
        }
      })
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust(0)
      expect(missing).toEqual([0, 0, 0])
    }))

  it.scoped("treat a defect, a throw and a self-interruption of flush as failures of the batch", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const { queue, sink } = yield* setup<number>({
        retry: Schedule.recurWhile((error: unknown) => {
          seen.push(error)
          return true
        })
      })
      sink.script.push(
        () => Effect.die(new Error("bug")),
        () => {
          throw new Error("thrown")
        },
        () => Effect.interrupt,
        () => Effect.failCause(Cause.parallel(Cause.die("one"), Cause.die("two")))
      )
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust("1 minute")
      expect(sink.attempts.length).toBe(5)
      expect(seen.map((error) => (error as QueueError.HandlerDefect)._tag)).toEqual(Array(4).fill("HandlerDefect"))
      expect(String(seen[0])).toContain("bug")
      yield* queue.offer(4)
      expect(yield* queue.flushNow).toEqual({ settled: 1, dropped: 0 })
    }))

  it.scoped("a schedule that dies ends the retries, and the shard lives", () =>
    Effect.gen(function*() {
      const { dropped, queue, sink } = yield* setup<number>({
        retry: Schedule.recurWhile((): boolean => {
          throw new Error("bad schedule")
        })
      })
      sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust(0)
      expect(dropped.length).toBe(3)
      yield* queue.offerAll([4, 5, 6])
      yield* TestClock.adjust(0)
      expect(yield* queue.metrics).toMatchObject({ settled: 3, dropped: 3, held: 0 })
    }))

  it.scoped("an onDrop that throws disturbs nothing", () =>
    Effect.gen(function*() {
      const { queue, sink } = yield* setup<number>({
        retry: Schedule.stop,
        onDrop: () => {
          throw new Error("bad callback")
        }
      })
      sink.script.push(failing("down"))
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust(0)
      const metrics = yield* queue.metrics
      expect(metrics).toMatchObject({ dropped: 3, held: 0 })
      expect(accounted(metrics)).toBe(metrics.offered)
    }))
})

describe("the requirements of flush and of the schedule", () => {
  it.effect("are taken from where the queue is made", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      class Store extends Effect.Service<Store>()("test/Store", { succeed: { name: "sqlite" } }) {}
      const fiber = yield* Effect.scoped(
        Effect.flatMap(
          WriteBehind.make({
            name: "test",
            capacity: 10,
            flush: () => Effect.map(Store, ({ name }) => void seen.push(name))
          }),
          (queue) => queue.offer(1)
        )
      ).pipe(Effect.provide(Store.Default), Effect.fork)
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["sqlite"])
    }))
})

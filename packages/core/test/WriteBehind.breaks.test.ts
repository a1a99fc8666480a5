import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { Clock, Effect, Fiber, Metric, TestClock } from "effect"
import { Macrotask } from "../src/unstable/Macrotask.ts"

/** A clock on which a millisecond passes whenever somebody looks. */
const passing = Effect.map(Effect.clock, (own): Clock.Clock & { readonly pass: (millis: bigint) => void } => {
  let nanos = 0n
  const look = () => nanos += 1_000_000n
  return {
    pass: (millis) => {
      nanos += millis * 1_000_000n
    },
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => Number(look() / 1_000_000n),
    currentTimeMillis: Effect.sync(() => Number(look() / 1_000_000n)),
    unsafeCurrentTimeNanos: look,
    currentTimeNanos: Effect.sync(look),
    sleep: (duration) => own.sleep(duration)
  }
})

const setup = (
  macrotask: (task: () => void, pass: (millis: bigint) => void) => void,
  policy: Backpressure.Policy<number>
) =>
  Effect.gen(function*() {
    const clock = yield* passing
    const written: Array<number> = []
    const queue = yield* WriteBehind.make<number, never, never>({
      name: "test",
      capacity: 4,
      batchSize: 1,
      policy,
      drainTimeout: 0,
      flush: ({ items }) => Effect.sync(() => void written.push(...items))
    }).pipe(Effect.withClock(clock), Effect.provideService(Macrotask, (task) => macrotask(task, clock.pass)))
    return { queue, written }
  })

describe("breaks for timers and I/O", () => {
  it.scoped("come again and again while there is work, and the work goes on after them", () =>
    Effect.gen(function*() {
      const waiting: Array<() => void> = []
      const { queue, written } = yield* setup((task) => waiting.push(task), Backpressure.suspend())
      const producer = yield* Effect.fork(queue.offerAll(Array.from({ length: 50 }, (_, i) => i)))
      let breaks = 0
      for (; written.length < 50 && breaks < 100; breaks++) {
        yield* TestClock.adjust(0)
        // Nothing happens until the event loop has had its turn.
        waiting.shift()?.()
      }
      yield* TestClock.adjust(0)
      yield* Fiber.join(producer)
      expect(written.length).toBe(50)
      expect(breaks).toBeGreaterThan(5)
    }))

  it.scoped("do not follow one another where each takes longer than the work in between may", () =>
    Effect.gen(function*() {
      let breaks = 0
      const { queue, written } = yield* setup((task, pass) => {
        // A busy event loop has turns as long as that.
        pass(100n)
        // One that is never over would keep this test from its end.
        if (++breaks < 100) task()
      }, Backpressure.suspend())
      yield* queue.offerAll([1, 2, 3])
      yield* TestClock.adjust(0)
      expect(written).toEqual([1, 2, 3])
      expect(breaks).toBeGreaterThan(0)
      expect(breaks).toBeLessThan(10)
    }))

  it.scoped("end early when items are dropped meanwhile", () =>
    Effect.gen(function*() {
      const { queue, written } = yield* setup(() => {}, Backpressure.dropOldest)
      for (let i = 0; i < 200; i++) {
        queue.unsafeOffer(i)
        if (i % 5 === 0) yield* Effect.yieldNow()
      }
      yield* TestClock.adjust(0)
      const { dropped, settled } = yield* queue.metrics
      expect(dropped).toBeGreaterThan(0)
      // The first break comes after a handful, and would never end.
      expect(settled).toBeGreaterThan(20)
      expect(written.length).toBe(settled)
    }))

  it.scoped("are none where turns come by themselves: the numbers are told every 10 ms all the same", () =>
    Effect.gen(function*() {
      const told = Effect.map(
        Metric.snapshot,
        (pairs) =>
          pairs.find(({ metricKey: { name, tags } }) =>
            name === "sluice_items_settled_total"
            && tags.some(({ key, value }) => key === "queue" && value === "turning")
          )?.metricState as { readonly count?: number } | undefined
      )
      const seen = new Set<number>()
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "turning",
        capacity: 4,
        policy: Backpressure.suspend(),
        batchSize: 1,
        drainTimeout: 0,
        flush: () => Effect.map(told, (state) => void seen.add(Number(state?.count ?? 0)))
      }).pipe(
        Effect.withClock(yield* passing),
        // Each turn comes as soon as it is asked for, so that none is ever owed.
        Effect.provideService(Macrotask, (task) => task())
      )
      // So many wait that the loop never finds nothing to do.
      yield* Effect.forEach(Array.from({ length: 300 }, (_, i) => i), (i) => queue.offer(i), {
        concurrency: 300,
        discard: true
      })
      expect(seen.size).toBeGreaterThan(20)
    }))
})

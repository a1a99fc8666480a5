import { describe, expect, it } from "@effect/vitest"
import { KeyedBatch, type Sharding } from "@sluice/core"
import { Chunk, Clock, Context, Effect, Exit, Fiber, Runtime, TestClock } from "effect"
import { Macrotask } from "../src/unstable/Macrotask.ts"
import { add, calling, defectOf, failureOf, gated, numbers, type Options, settleDown } from "./support/keyedBatch.ts"

class Amount extends Context.Tag("Amount")<Amount, number>() {}

const all = <A, E>(calls: ReadonlyArray<Effect.Effect<A, E>>) => Effect.all(calls, { concurrency: "unbounded" })

describe("a batch", () => {
  it.scoped("loads once, runs every operation in the order of their calls, saves once, and answers each its own", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const answers = yield* all([1, 2, 3, 4].map((amount) => processor.modify("a", add(amount))))
      expect(answers).toEqual([1, 3, 6, 10])
      expect(table.log).toEqual(["load a", "save a 10"])
      expect(yield* processor.metrics).toEqual({
        offered: 4,
        refused: 0,
        cancelled: 0,
        settled: 4,
        succeeded: 4,
        failed: 0,
        held: 0,
        depth: 0,
        inFlight: 0,
        batches: 1,
        batchesFailed: 0,
        loads: 1,
        saves: 1,
        keys: 0
      })
    }))

  it.scoped("answers nobody before the save has succeeded", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const saving = gated()
      table.saves.push(() => saving.run)
      const first = yield* calling(processor.modify("a", add(1)))
      const second = yield* calling(Effect.flip(processor.modifyEffect("b", () => Effect.fail("own"))))
      yield* saving.begun
      yield* settleDown
      expect(first.unsafePoll()).toBe(null)
      // Of another key, whose batch is over.
      expect(yield* Fiber.join(second)).toBe("own")
      yield* saving.end
      expect(yield* Fiber.join(first)).toBe(1)
    }))

  it.scoped("takes operations for minDuration from its start, wherever the load is slow", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis" })
      table.loads.push(() => Effect.sleep("4 millis"))
      const first = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust("9 millis")
      const second = yield* calling(processor.modify("a", add(2)))
      expect(table.log).toEqual(["load a"])
      yield* TestClock.adjust("1 millis")
      expect(table.log).toEqual(["load a", "save a 3"])
      expect(yield* Fiber.join(Fiber.zip(first, second))).toEqual([1, 3])
    }))

  it.scoped("is saved at once where the load has taken longer than minDuration", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis" })
      table.loads.push(() => Effect.sleep("15 millis"))
      const calls = yield* calling(all([processor.modify("a", add(1)), processor.modify("a", add(2))]))
      yield* TestClock.adjust("15 millis")
      expect(yield* Fiber.join(calls)).toEqual([1, 3])
    }))

  it.scoped("takes operations for 100 milliseconds unless told otherwise", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: undefined })
      const call = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust("99 millis")
      expect(table.log).toEqual(["load a"])
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(call)).toBe(1)
    }))

  it.scoped("with a minDuration of zero takes what waits when it is loaded", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const loading = gated()
      table.loads.push(() => loading.run)
      const first = yield* calling(processor.modify("a", add(1)))
      const second = yield* calling(processor.modify("a", add(2)))
      yield* loading.end
      expect(yield* Fiber.join(Fiber.zip(first, second))).toEqual([1, 3])
      expect(table.log).toEqual(["load a", "save a 3"])
    }))

  it.scoped("is closed at once with `batchSize` operations, and the next one of its key follows it", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis", batchSize: 2 })
      const calls = yield* calling(all([1, 2, 3].map((amount) => processor.modify("a", add(amount)))))
      expect(table.log).toEqual(["load a", "save a 3", "load a"])
      yield* TestClock.adjust("10 millis")
      expect(yield* Fiber.join(calls)).toEqual([1, 3, 6])
      expect(yield* processor.metrics).toMatchObject({ batches: 2, loads: 2, saves: 2 })
    }))

  it.scoped("never overlaps the next one of its key: what comes while it is saved waits", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const saving = gated()
      table.saves.push(() => saving.run)
      const first = yield* calling(processor.modify("a", add(1)))
      const second = yield* calling(processor.modify("a", add(2)))
      expect(table.log).toEqual(["load a", "save a 1"])
      yield* saving.end
      expect(yield* Fiber.join(Fiber.zip(first, second))).toEqual([1, 3])
      expect(table.log).toEqual(["load a", "save a 1", "load a", "save a 3"])
    }))

  it.scoped("is not saved where nothing succeeded", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const exit = yield* Effect.exit(processor.modifyEffect("a", () => Effect.fail("own")))
      expect(failureOf(exit)).toBe("own")
      expect(table.log).toEqual(["load a"])
      expect(yield* processor.metrics).toMatchObject({ failed: 1, batches: 1, batchesFailed: 0, saves: 0 })
    }))

  it.scoped("without save answers when it is closed", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers({ save: undefined, minDuration: "10 millis" })
      const call = yield* calling(processor.modify("a", add(1)))
      expect(call.unsafePoll()).toBe(null)
      yield* TestClock.adjust("10 millis")
      expect(yield* Fiber.join(call)).toBe(1)
      // Nothing was kept.
      const again = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust("10 millis")
      expect(yield* Fiber.join(again)).toBe(1)
    }))

  it.scoped("without load begins with what initial makes of the key, each time anew", () =>
    Effect.gen(function*() {
      const saved: Array<readonly [string, number]> = []
      const processor = yield* KeyedBatch.make({
        name: "test",
        initial: (key: string) => key.length,
        save: (key, row) => Effect.sync(() => void saved.push([key, row])),
        minDuration: 0
      })
      expect(yield* processor.modify("abc", add(1))).toBe(4)
      expect(yield* processor.modify("abc", add(1))).toBe(4)
      expect(saved).toEqual([["abc", 4], ["abc", 4]])
      expect(yield* processor.metrics).toMatchObject({ loads: 0, saves: 2, batches: 2 })
    }))

  it.scoped("begins again and again with a full minDuration", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis" })
      for (let round = 1; round <= 3; round++) {
        const call = yield* calling(processor.modify("a", add(1)))
        yield* TestClock.adjust("9 millis")
        expect(call.unsafePoll()).toBe(null)
        yield* TestClock.adjust("1 millis")
        expect(yield* Fiber.join(call)).toBe(round)
      }
      expect(table.log.length).toBe(6)
    }))

  // What comes while a batch that is due runs is for the next one: or it would never end, nothing would be saved, and
  // its callers would wait for ever.
  it.effect.each([[0], [30]])(
    "of at least %d milliseconds ends although operations never stop coming",
    ([minDuration]) =>
      Effect.scoped(Effect.gen(function*() {
        const { processor, table } = yield* numbers({ minDuration, maxDuration: 0 })
        const slow = processor.modifyEffect("a", (sum) => Effect.as(Effect.sleep(10), [sum, sum + 1] as const))
        const first = yield* calling(slow)
        const flow = yield* Effect.fork(
          Effect.forever(Effect.zipRight(Effect.sleep(5), Effect.forkDaemon(slow)))
        )
        for (let millis = 0; millis < 100; millis += 5) yield* TestClock.adjust(5)
        yield* Fiber.interrupt(flow)
        yield* TestClock.adjust(1000)
        expect(yield* Fiber.join(first)).toBe(0)
        expect(table.log.filter((step) => step.startsWith("save")).length).toBeGreaterThan(1)
      }))
  )
})

describe("keys", () => {
  it.scoped("do not wait for one another", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ shards: 1 })
      const loading = gated()
      const operating = gated()
      const saving = gated()
      table.loads.push(() => loading.run)
      const first = yield* calling(processor.modify("load", add(1)))
      const second = yield* calling(
        processor.modifyEffect("operation", (sum) => Effect.as(operating.run, add(1)(sum)))
      )
      table.saves.push(() => saving.run)
      const third = yield* calling(processor.modify("save", add(1)))
      expect(yield* processor.modify("quick", add(1))).toBe(1)
      expect((yield* processor.metrics).keys).toBe(3)
      yield* all([loading.end, operating.end, saving.end])
      expect(Chunk.toReadonlyArray(Chunk.fromIterable(yield* Fiber.join(Fiber.all([first, second, third]))))).toEqual([
        1,
        1,
        1
      ])
    }))

  it.scoped("are loaded and saved at the same time, also in one shard", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ shards: 1 })
      for (let i = 0; i < 5; i++) {
        table.loads.push(() => Effect.sleep("10 millis"))
        table.saves.push(() => Effect.sleep("10 millis"))
      }
      const calls = yield* calling(all([0, 1, 2, 3, 4].map((key) => processor.modify(key, add(1)))))
      yield* TestClock.adjust("20 millis")
      expect(yield* Fiber.join(calls)).toEqual([1, 1, 1, 1, 1])
    }))

  it.scoped("that are a number and its decimal text are one", () =>
    Effect.gen(function*() {
      for (const shards of [1, 16]) {
        const { processor, table } = yield* numbers({ shards })
        expect(yield* all([processor.modify(7, add(1)), processor.modify("7", add(2))])).toEqual([1, 3])
        expect(table.log).toEqual(["load 7", "save 7 3"])
      }
    }))

  it.scoped.each([
    ["a lone surrogate", "\ud800"],
    ["NUL", "a\0b"],
    ["more than 512 bytes", "a".repeat(513)],
    ["more than 512 bytes, and fewer characters", "é".repeat(257)],
    ["not a number", NaN],
    ["infinity", Infinity],
    ["no key at all", undefined as never],
    ["an object", {} as never],
    ["a big integer", 7n as never]
  ])("that are %s are refused", ([, key]) =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        processor.modify(key, add(1)),
        processor.mutate(key, String),
        processor.modifyEffect(key, (sum) => Effect.succeed(add(1)(sum)))
      ]
      for (const call of calls) {
        expect(failureOf(yield* Effect.exit(call))).toMatchObject({ _tag: "InvalidKey", queue: "test", key })
      }
      expect(table.log).toEqual([])
      expect(yield* processor.metrics).toMatchObject({ offered: 3, refused: 3, held: 0, keys: 0 })
    }))

  it.scoped("may be as long as 512 bytes, empty, or names that objects know", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      for (const key of ["a".repeat(512), "é".repeat(256), "", "__proto__", "constructor", -0, 1e300, 0.1]) {
        expect(yield* processor.modify(key, add(1))).toBe(1)
      }
      expect(table.rows.size).toBe(8)
    }))

  it.scoped("go to the shard that shardOf says, and what it cannot say is refused", () =>
    Effect.gen(function*() {
      const asked: Array<readonly [Sharding.Key, number]> = []
      const answers: ReadonlyArray<number> = [-1, 3, 0.5, NaN, Infinity, "0" as never, undefined as never, 2]
      const { processor } = yield* numbers({
        shards: 3,
        shardOf: (key, shards) => {
          asked.push([key, shards])
          return answers[asked.length - 1]
        }
      })
      for (const _ of answers.slice(1)) {
        const error = yield* Effect.flip(processor.modify("a", add(1)))
        expect(error).toMatchObject({ _tag: "InvalidKey", key: "a", limit: expect.stringContaining("from 0 to 2") })
      }
      expect(yield* processor.modify("a", add(1))).toBe(1)
      expect(asked).toEqual(answers.map(() => ["a", 3]))
    }))

  it.scoped("that shardOf dies of are the death of their caller alone", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers({
        shardOf: (key) => {
          if (key === "b") throw "no shard"
          return 0
        }
      })
      const [a, b] = yield* all([
        Effect.exit(processor.modify("a", add(1))),
        Effect.exit(processor.modify("b", add(1)))
      ])
      expect(a).toEqual(Exit.succeed(1))
      expect(defectOf(b)).toBe("no shard")
      expect(yield* processor.metrics).toMatchObject({ offered: 1, held: 0, keys: 0 })
    }))
})

describe("operations", () => {
  it.scoped("of mutate change the resource in place, and their results are their own", () =>
    Effect.gen(function*() {
      const saved: Array<ReadonlyMap<string, number>> = []
      const kept = new Map([["apples", 1]])
      const processor = yield* KeyedBatch.make({
        name: "baskets",
        load: (_name: string) => Effect.succeed(kept),
        save: (_, basket) => Effect.sync(() => void saved.push(basket)),
        minDuration: 0
      })
      const put = (fruit: string) => (basket: Map<string, number>) => {
        basket.set(fruit, (basket.get(fruit) ?? 0) + 1)
        return basket.size
      }
      expect(yield* all(["apples", "pears", "plums"].map((fruit) => processor.mutate("k", put(fruit))))).toEqual([
        1,
        2,
        3
      ])
      expect(saved).toEqual([new Map([["apples", 2], ["pears", 1], ["plums", 1]])])
      expect(saved[0]).toBe(kept)
    }))

  it.scoped("of every kind run one after another, and each sees what those before it have made", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers()
      const gate = gated()
      const calls = yield* calling(all([
        processor.modify("a", add(1)),
        processor.modifyEffect("a", (sum) => Effect.as(gate.run, add(10)(sum))),
        processor.mutate("a", (sum) => sum * 1000),
        processor.modify("a", add(100)),
        processor.modifyEffect("a", (sum) => Effect.succeed(add(1000)(sum)))
      ]))
      yield* gate.end
      expect(yield* Fiber.join(calls)).toEqual([1, 11, 11_000, 111, 1111])
    }))

  it.scoped("that are Effects have the services of their callers, each its own, beside those of the processor", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* Effect.provideService(numbers({ minDuration: 10 }), Amount, 1)
      const gate = gated()
      const adding = (wait: Effect.Effect<void>) =>
        processor.modifyEffect("a", (sum) => Effect.map(Effect.zipRight(wait, Amount), (amount) => add(amount)(sum)))
      const calls = yield* calling(all([
        Effect.provideService(adding(gate.run), Amount, 10),
        Effect.provideService(adding(Effect.void), Amount, 100),
        processor.modify("a", add(1000))
      ]))
      yield* gate.end
      yield* TestClock.adjust(10)
      expect(yield* Fiber.join(calls)).toEqual([10, 110, 1110])
      expect(table.log).toEqual(["load a", "save a 1110"])
    }))

  it.scoped("that are Effects leave what they acquire to the scope of their callers", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const release = () => Effect.sync(() => table.log.push("release"))
      const acquiring = processor.modifyEffect(
        "a",
        (sum) => Effect.acquireRelease(Effect.succeed(add(1)(sum)), release)
      )
      yield* Effect.scoped(Effect.zipRight(acquiring, Effect.sync(() => table.log.push("answer"))))
      expect(table.log).toEqual(["load a", "save a 1", "answer", "release"])
    }))

  it.scoped("may call the processor for another key, and wait", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const nested = processor.modifyEffect("a", (sum) =>
        Effect.map(processor.modify("b", add(5)), (other) => [other, sum + other] as const))
      expect(yield* nested).toBe(5)
      expect(table.log).toEqual(["load a", "load b", "save b 5", "save a 5"])
    }))

  it.scoped("that call the processor for their own key and wait are ended by maxDuration, and nobody else fails", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 5, maxDuration: 10 })
      const nested = yield* calling(Effect.exit(
        processor.modifyEffect("a", (sum) => Effect.as(processor.modify("a", add(5)), add(1)(sum)))
      ))
      yield* TestClock.adjust(10)
      expect(failureOf(yield* Fiber.join(nested))).toMatchObject({ _tag: "BatchTimeout", phase: "operations" })
      expect(table.log).toEqual(["load a"])
      expect(yield* processor.metrics).toMatchObject({ offered: 2, failed: 1, cancelled: 1, keys: 0 })
      const next = yield* calling(processor.modify("a", add(1)))
      yield* TestClock.adjust(5)
      expect(yield* Fiber.join(next)).toBe(1)
    }))

  it.scoped("that are put in while an operation of their key runs are in its batch", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: 10 })
      const runFork = Runtime.runFork(yield* Effect.runtime<never>())
      const inner: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
      const outer = yield* calling(processor.modify("a", (sum) => {
        inner.push(runFork(processor.modify("a", add(10))))
        return add(1)(sum)
      }))
      yield* TestClock.adjust(10)
      expect(yield* Fiber.join(outer)).toBe(1)
      expect(yield* Fiber.join(inner[0])).toBe(11)
      expect(table.log).toEqual(["load a", "save a 11"])
    }))

  // A key that is forgotten while it is still to have a turn must not take its successor along, or two batches of it
  // would overlap.
  it.scoped("that call the processor for their own key do not let its next batches overlap", () =>
    Effect.gen(function*() {
      const runFork = Runtime.runFork(yield* Effect.runtime<never>())
      const loading = gated()
      const { processor, table } = yield* numbers()
      const later: Array<Fiber.RuntimeFiber<number, unknown>> = []
      const call = () => later.push(runFork(processor.modify("a", add(1))))
      const [a, b] = [
        // It ends in this very turn, and leaves its key on the agenda.
        processor.modify("a", (sum) => {
          call()
          return add(1)(sum)
        }),
        // The key is used anew before the turn of the old entry.
        processor.modify("b", (sum) => {
          table.loads.push(() => loading.run)
          call()
          return add(1)(sum)
        })
      ]
      yield* all([a, b])
      yield* loading.begun
      call()
      yield* settleDown
      expect(table.log.filter((step) => step === "load a").length).toBe(2)
      yield* loading.end
      yield* Fiber.joinAll(later)
      expect(table.rows.get("a")).toBe(4)
    }))

  it.scoped("run in the order of their calls, also where there are many", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const seen: Array<number> = []
      const indexes = Array.from({ length: 3000 }, (_, i) => i)
      yield* all(indexes.map((i) => processor.mutate("a", (sum) => (seen.push(i), sum))))
      expect(seen).toEqual(indexes)
      expect(table.log).toEqual(["load a", "save a 0"])
    }))
})

describe("breaks for timers and I/O", () => {
  /** A clock on which a tenth of a millisecond passes whenever an operation runs. */
  const passing = Effect.map(Effect.clock, (own) => {
    let nanos = 0n
    const clock: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => Number(nanos / 1_000_000n),
      currentTimeMillis: Effect.sync(() => Number(nanos / 1_000_000n)),
      unsafeCurrentTimeNanos: () => nanos,
      currentTimeNanos: Effect.sync(() => nanos),
      sleep: (duration) => own.sleep(duration)
    }
    return { clock, pass: () => void (nanos += 100_000n) }
  })

  const setup = (macrotask: (task: () => void) => void, options?: Options) =>
    Effect.gen(function*() {
      const { clock, pass } = yield* passing
      const made = yield* numbers(options).pipe(
        Effect.withClock(clock),
        Effect.provideService(Macrotask, macrotask)
      )
      return { ...made, pass }
    })

  it.scoped("come at least every 250 milliseconds within 10,000 operations of one batch, and the work goes on after them", () =>
    Effect.gen(function*() {
      const waiting: Array<() => void> = []
      const count = { ran: 0, since: 0, longest: 0 }
      const { pass, processor, table } = yield* setup((task) => waiting.push(task))
      const calls = yield* Effect.fork(all(Array.from({ length: 10_000 }, () =>
        processor.modify("a", (sum) => {
          pass()
          count.ran += 1
          count.longest = Math.max(count.longest, count.ran - count.since)
          return add(1)(sum)
        }))))
      let breaks = 0
      for (; count.ran < 10_000 && breaks < 1000; breaks++) {
        yield* TestClock.adjust(0)
        // Nothing happens until the event loop has had its turn.
        count.since = count.ran
        waiting.shift()?.()
      }
      yield* TestClock.adjust(0)
      yield* Fiber.join(calls)
      expect(table.log).toEqual(["load a", "save a 10000"])
      expect(breaks).toBeGreaterThan(2)
      expect(count.longest).toBeLessThanOrEqual(2500)
    }))

  it.scoped("come within 2,000 batches of one shard", () =>
    Effect.gen(function*() {
      const waiting: Array<() => void> = []
      const count = { ran: 0 }
      const { pass, processor } = yield* setup((task) => waiting.push(task))
      const calls = yield* Effect.fork(all(Array.from({ length: 2000 }, (_, key) =>
        processor.modify(key, (sum) => {
          pass()
          count.ran += 1
          return add(1)(sum)
        }))))
      let breaks = 0
      for (; count.ran < 2000 && breaks < 1000; breaks++) {
        yield* TestClock.adjust(0)
        waiting.shift()?.()
      }
      yield* TestClock.adjust(0)
      yield* Fiber.join(calls)
      expect(breaks).toBeGreaterThan(10)
    }))

  it.live("let a timer fire while 10,000 operations of one key run", () =>
    Effect.scoped(Effect.gen(function*() {
      const { processor } = yield* numbers()
      const count = { ran: 0, atTimer: -1 }
      const burn = () => {
        const until = performance.now() + 0.02
        while (performance.now() < until) {
          // A quick operation, 10,000 of which take 200 milliseconds.
        }
        count.ran += 1
      }
      const calls = yield* Effect.fork(
        all(Array.from({ length: 10_000 }, () => processor.mutate("a", burn)))
      )
      while (count.ran === 0) yield* Effect.yieldNow()
      setTimeout(() => void (count.atTimer = count.ran), 1)
      yield* Fiber.join(calls)
      expect(count.atTimer).toBeGreaterThan(0)
      expect(count.atTimer).toBeLessThan(10_000)
    })))
})

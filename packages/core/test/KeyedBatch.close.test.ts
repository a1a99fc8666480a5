import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, TestClock } from "effect"
import { add, calling, failureOf, gated, numbersInScope, settleDown } from "./support/keyedBatch.ts"
import { campaign } from "./support/campaigns.ts"

describe("closing the scope", () => {
  it.effect("cuts minDuration short: the batches that are open are saved, and it waits for that", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ minDuration: "1 hour" })
      const saving = gated()
      table.saves.push(() => saving.run)
      const a = yield* calling(processor.modify("a", add(1)))
      const b = yield* calling(processor.modify("b", add(2)))
      expect(table.log).toEqual(["load a", "load b"])
      const closing = yield* calling(close)
      expect(closing.unsafePoll()).toBe(null)
      expect(yield* Fiber.join(b)).toBe(2)
      yield* saving.end
      expect(yield* Fiber.join(a)).toBe(1)
      yield* Fiber.join(closing)
      expect(table.log).toEqual(["load a", "load b", "save a 1", "save b 2"])
      expect(yield* processor.metrics).toMatchObject({ offered: 2, succeeded: 2, held: 0, keys: 0 })
    }))

  it.effect("refuses every later call, and closing twice does nothing", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope()
      yield* close
      yield* close
      const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        processor.modify("a", add(1)),
        processor.mutate("a", String),
        processor.modifyEffect("a", () => Effect.die("it runs")),
        // Whatever the key is.
        processor.modify("\0", add(1))
      ]
      for (const call of calls) {
        expect(yield* Effect.flip(call)).toMatchObject({
          _tag: "ProcessorClosed",
          queue: "test",
          message: "processor \"test\" is closed"
        })
      }
      expect(table.log).toEqual([])
      expect(yield* processor.metrics).toMatchObject({ offered: 4, refused: 4, held: 0 })
    }))

  it.effect("refuses calls from its beginning, while batches still run", () =>
    Effect.gen(function*() {
      const { close, processor } = yield* numbersInScope()
      const operating = gated()
      const first = yield* calling(processor.modifyEffect("a", (sum) =>
        Effect.map(
          Effect.zipRight(operating.run, Effect.exit(processor.modify("b", add(1)))),
          (exit) => [exit, sum] as const
        )))
      const closing = yield* calling(close)
      expect(yield* Effect.flip(processor.modify("a", add(1)))).toMatchObject({ _tag: "ProcessorClosed" })
      yield* operating.end
      // Also those of operations.
      expect(failureOf(yield* Fiber.join(first))).toMatchObject({ _tag: "ProcessorClosed" })
      yield* Fiber.join(closing)
    }))

  it.effect("gives what waits for the next batch of its key a batch", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ minDuration: "1 hour", batchSize: 1 })
      const saving = gated()
      table.saves.push(() => saving.run)
      const first = yield* calling(processor.modify("a", add(1)))
      const others = yield* calling(
        Effect.all([processor.modify("a", add(10)), processor.modify("a", add(100))], { concurrency: 2 })
      )
      const closing = yield* calling(close)
      yield* saving.end
      expect(yield* Fiber.join(first)).toBe(1)
      expect(yield* Fiber.join(others)).toEqual([11, 111])
      yield* Fiber.join(closing)
      expect(table.rows.get("a")).toBe(111)
    }))

  it.effect("waits for a load, and for operations that are Effects", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ minDuration: "1 hour" })
      const loading = gated()
      const operating = gated()
      table.loads.push(() => loading.run)
      const a = yield* calling(processor.modify("a", add(1)))
      const b = yield* calling(processor.modifyEffect("b", (sum) => Effect.as(operating.run, add(2)(sum))))
      const closing = yield* calling(close)
      yield* loading.end
      expect(yield* Fiber.join(a)).toBe(1)
      yield* settleDown
      expect(closing.unsafePoll()).toBe(null)
      yield* operating.end
      expect(yield* Fiber.join(b)).toBe(2)
      yield* Fiber.join(closing)
    }))

  it.effect("waits for a load whose callers have all gone, so that it does not go on without its owner", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope()
      const loading = gated()
      table.loads.push(() => loading.run)
      const gone = yield* calling(processor.modify("a", add(1)))
      yield* Fiber.interrupt(gone)
      const closing = yield* calling(close)
      expect(closing.unsafePoll()).toBe(null)
      yield* loading.end
      yield* Fiber.join(closing)
      expect(yield* processor.metrics).toMatchObject({ cancelled: 1, held: 0, keys: 0 })
    }))

  it.effect("ends although the last caller that waits is interrupted meanwhile", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope()
      const loading = gated()
      table.loads.push(() => loading.run)
      const gone = yield* calling(processor.modify("a", add(1)))
      const closing = yield* calling(close)
      yield* Fiber.interrupt(gone)
      yield* loading.end
      yield* Fiber.join(closing)
      expect(yield* processor.metrics).toMatchObject({ cancelled: 1, held: 0, keys: 0 })
    }))

  it.effect("is bounded by maxDuration, whatever hangs", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ minDuration: 10, maxDuration: 30 })
      table.loads.push(() => Effect.never)
      const calls = yield* Effect.fork(Effect.all([
        Effect.exit(processor.modify("load", add(1))),
        Effect.exit(processor.modifyEffect("operation", () => Effect.never)),
        Effect.exit(processor.modify("save", add(1)))
      ], { concurrency: "unbounded" }))
      table.saves.push(() => Effect.never)
      yield* settleDown
      const closing = yield* calling(close)
      yield* TestClock.adjust(29)
      expect(closing.unsafePoll()).toBe(null)
      yield* TestClock.adjust(1)
      const answers = yield* Fiber.join(calls)
      expect(answers.map((exit) => failureOf(exit))).toMatchObject([
        { phase: "load" },
        { phase: "operations" },
        { phase: "save" }
      ])
      yield* Fiber.join(closing)
      expect(yield* processor.metrics).toMatchObject({ failed: 3, held: 0 })
    }))

  it.effect("does not wait for what was given up and does not end, but for those who wait for that", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ minDuration: 10 })
      const loading = gated()
      table.loads.push(() => Effect.uninterruptible(loading.run))
      const first = yield* calling(Effect.exit(processor.modify("a", add(1))))
      yield* TestClock.adjust(20)
      expect(failureOf(yield* Fiber.join(first))).toMatchObject({ phase: "load" })
      const waiting = yield* calling(Effect.exit(processor.modify("a", add(1))))
      const closing = yield* calling(close)
      yield* TestClock.adjust(19)
      expect(closing.unsafePoll()).toBe(null)
      yield* TestClock.adjust(1)
      expect(failureOf(yield* Fiber.join(waiting))).toMatchObject({ phase: "waiting" })
      yield* Fiber.join(closing)
      // It comes too late for anything.
      yield* loading.end
      yield* settleDown
      expect(table.log).toEqual(["load a"])
      expect(yield* processor.metrics).toMatchObject({ failed: 2, held: 0 })
    }))

  it.effect("forgets the keys of what was given up when that has ended, also after the end", () =>
    Effect.gen(function*() {
      const { close, processor } = yield* numbersInScope({ minDuration: 10, load: () => Effect.never })
      const call = yield* calling(Effect.exit(processor.modify("a", add(1))))
      const closing = yield* calling(close)
      yield* TestClock.adjust(20)
      yield* Fiber.join(closing)
      yield* settleDown
      expect(failureOf(yield* Fiber.join(call))).toMatchObject({ phase: "load" })
      expect((yield* processor.metrics).keys).toBe(0)
    }))

  it.effect("tells the callers where what is saved at the end fails, and ends", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ minDuration: "1 hour" })
      table.saves.push(() => Effect.fail("down"))
      const call = yield* calling(Effect.flip(processor.modify("a", add(1))))
      yield* close
      expect(yield* Fiber.join(call)).toBe("down")
    }))

  it.effect("while callers race it: each operation is saved or refused", () =>
    Effect.gen(function*() {
      const { close, processor, table } = yield* numbersInScope({ shards: 2, minDuration: "1 hour" })
      let succeeded = 0
      const callers = yield* Effect.fork(Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i % 5),
        (key) =>
          Effect.yieldNow().pipe(
            Effect.zipRight(processor.modify(key, add(1))),
            Effect.tap(() => void (succeeded += 1)),
            Effect.ignore
          ),
        { concurrency: "unbounded" }
      ))
      yield* Effect.yieldNow()
      yield* Effect.yieldNow()
      yield* close
      yield* Fiber.join(callers)
      expect(Array.from(table.rows.values()).reduce((sum, row) => sum + row, 0)).toBe(succeeded)
      expect(yield* processor.metrics).toMatchObject({
        offered: 200,
        refused: 200 - succeeded,
        succeeded,
        held: 0,
        keys: 0
      })
    }))

  it.effect("again and again leaks no fiber", () =>
    Effect.gen(function*() {
      const self = yield* Effect.withFiberRuntime<Fiber.RuntimeFiber<unknown, unknown>>((fiber) =>
        Effect.succeed(fiber as any)
      )
      const running = () => Fiber.unsafeRoots().length + Array.from((self as any)._children ?? []).length
      const cycle = Effect.gen(function*() {
        const { close, processor } = yield* numbersInScope({ shards: 2, minDuration: "1 hour" })
        const calls = yield* Effect.fork(Effect.all(
          [
            Effect.exit(processor.modify("a", add(1))),
            Effect.exit(processor.modifyEffect("b", () => Effect.zipRight(Effect.yieldNow(), Effect.fail("own")))),
            Effect.exit(processor.modify("c", add(1)))
          ],
          { concurrency: "unbounded" }
        ))
        yield* Effect.yieldNow()
        yield* close
        expect((yield* Fiber.join(calls)).filter(Exit.isSuccess).length).toBeLessThan(3)
      })
      yield* cycle
      yield* settleDown
      const before = running()
      for (let i = 0; i < campaign(1000); i++) yield* cycle
      yield* settleDown
      expect(running()).toBeLessThanOrEqual(before)
    }))
})

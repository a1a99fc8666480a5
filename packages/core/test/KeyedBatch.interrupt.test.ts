import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber, TestClock } from "effect"
import { add, calling, failureOf, gated, numbers, numbersWithBreaks, settleDown } from "./support/keyedBatch.ts"

describe("a call that is interrupted", () => {
  it.scoped("while it waits for the load is out: its operation never runs, and nobody else notices", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const loading = gated()
      table.loads.push(() => loading.run)
      let ran = false
      const first = yield* Effect.fork(processor.modify("a", add(1)))
      const gone = yield* Effect.fork(processor.modify("a", (sum) => (ran = true, add(10)(sum))))
      const last = yield* calling(processor.modify("a", add(100)))
      expect(Exit.isInterrupted(yield* Fiber.interrupt(gone))).toBe(true)
      expect(yield* processor.metrics).toMatchObject({ offered: 3, cancelled: 1, held: 2 })
      yield* loading.end
      expect(yield* Fiber.join(Fiber.zip(first, last))).toEqual([1, 101])
      expect(ran).toBe(false)
    }))

  it.scoped("while it waits for the next batch is out, and where it was the last there is no next batch", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const saving = gated()
      table.saves.push(() => saving.run)
      const first = yield* calling(processor.modify("a", add(1)))
      const gone = yield* calling(processor.modify("a", add(10)))
      yield* Fiber.interrupt(gone)
      yield* saving.end
      expect(yield* Fiber.join(first)).toBe(1)
      yield* settleDown
      expect(table.log).toEqual(["load a", "save a 1"])
      expect(yield* processor.metrics).toMatchObject({ cancelled: 1, succeeded: 1, batches: 1, keys: 0 })
    }))

  it.scoped("while it waits for an operation before it is out", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers()
      const operating = gated()
      const first = yield* calling(processor.modifyEffect("a", (sum) => Effect.as(operating.run, add(1)(sum))))
      const gone = yield* calling(processor.modify("a", add(10)))
      const last = yield* calling(processor.modify("a", add(100)))
      yield* Fiber.interrupt(gone)
      yield* operating.end
      expect(yield* Fiber.join(Fiber.zip(first, last))).toEqual([1, 101])
    }))

  it.scoped("before its batch has begun leaves no key behind, and nothing is loaded", () =>
    Effect.gen(function*() {
      const { goOn, logOf, processor, stop } = yield* numbersWithBreaks()
      yield* stop
      const gone = yield* calling(processor.modify("a", add(1)))
      yield* Fiber.interrupt(gone)
      yield* goOn
      expect(yield* processor.metrics).toMatchObject({ cancelled: 1, succeeded: 0, held: 0, keys: 0 })
      expect(logOf("a")).toEqual([])
    }))

  it.scoped("when its Effect has ended already waits for the save, and its change is in it", () =>
    Effect.gen(function*() {
      const { goOn, logOf, processor, stop, table } = yield* numbersWithBreaks()
      const operating = gated()
      const saving = gated()
      table.saves.push(() => saving.run)
      const call = yield* calling(processor.modifyEffect("a", (sum) => Effect.as(operating.run, add(1)(sum))))
      yield* stop
      yield* operating.end
      yield* settleDown
      const interrupting = yield* calling(Fiber.interrupt(call))
      yield* goOn
      expect(logOf("a")).toEqual(["load a", "save a 1"])
      expect(interrupting.unsafePoll()).toBe(null)
      yield* saving.end
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      expect(yield* processor.metrics).toMatchObject({ succeeded: 1, cancelled: 0, held: 0 })
    }))

  it.scoped("and is the last of its batch does not keep the next one from coming", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const loading = gated()
      table.loads.push(() => loading.run)
      const gone = yield* calling(processor.modify("a", add(1)))
      yield* Fiber.interrupt(gone)
      yield* loading.end
      yield* settleDown
      // A batch of nothing: it is not saved.
      expect(table.log).toEqual(["load a"])
      expect(yield* processor.metrics).toMatchObject({ batches: 1, batchesFailed: 0, cancelled: 1, keys: 0 })
      expect(yield* processor.modify("a", add(1))).toBe(1)
    }))

  it.scoped("after its operation has run waits for the end of the batch, which is saved with it", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis" })
      const saving = gated()
      table.saves.push(() => saving.run)
      const call = yield* calling(processor.modify("a", add(1)))
      const interrupting = yield* calling(Fiber.interrupt(call))
      yield* TestClock.adjust("10 millis")
      expect(interrupting.unsafePoll()).toBe(null)
      yield* saving.end
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      expect(table.rows.get("a")).toBe(1)
      expect(yield* processor.metrics).toMatchObject({ cancelled: 0, succeeded: 1 })
    }))

  it.scoped("while its Effect runs interrupts it, the resource is as it was, and the others go on", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const ending = gated()
      const first = yield* Effect.fork(processor.modify("a", add(1)))
      const gone = yield* Effect.fork(
        processor.modifyEffect("a", () => Effect.onInterrupt(Effect.never, () => ending.run))
      )
      const last = yield* calling(processor.modify("a", add(100)))
      const interrupting = yield* calling(Fiber.interrupt(gone))
      yield* ending.begun
      yield* settleDown
      // It waits until the operation has ended.
      expect(interrupting.unsafePoll()).toBe(null)
      expect(last.unsafePoll()).toBe(null)
      yield* ending.end
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      expect(yield* Fiber.join(Fiber.zip(first, last))).toEqual([1, 101])
      expect(table.log).toEqual(["load a", "save a 101"])
      expect(yield* processor.metrics).toMatchObject({ succeeded: 2, failed: 1, cancelled: 0, batchesFailed: 0 })
    }))

  it.scoped("while its Effect runs does not wait for the save where the Effect has ended by that", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers({ minDuration: "10 millis" })
      const first = yield* Effect.fork(processor.modify("a", add(1)))
      const gone = yield* calling(processor.modifyEffect("a", () => Effect.never))
      yield* Fiber.interrupt(gone)
      expect(table.log).toEqual(["load a"])
      yield* TestClock.adjust("10 millis")
      expect(yield* Fiber.join(first)).toBe(1)
    }))

  // Effect itself throws away what an uninterruptible region answers to a fiber that has been interrupted meanwhile.
  it.scoped("while an Effect runs that cannot be interrupted waits until it has ended, and the resource is as it was", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const operating = gated()
      const call = yield* calling(
        processor.modifyEffect("a", (sum) => Effect.uninterruptible(Effect.as(operating.run, add(1)(sum))))
      )
      const after = yield* calling(processor.modify("a", add(10)))
      const interrupting = yield* calling(Fiber.interrupt(call))
      expect(interrupting.unsafePoll()).toBe(null)
      yield* operating.end
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      expect(yield* Fiber.join(after)).toBe(10)
      expect(table.log).toEqual(["load a", "load a", "save a 10"])
      expect(yield* processor.metrics).toMatchObject({ succeeded: 1, failed: 1, cancelled: 0 })
    }))

  it.scoped("while an Effect runs that does not end is ended by maxDuration", () =>
    Effect.gen(function*() {
      const { processor } = yield* numbers({ minDuration: 5, maxDuration: 10 })
      const operating = gated()
      const call = yield* calling(
        processor.modifyEffect("a", () => Effect.uninterruptible(operating.run) as Effect.Effect<never>)
      )
      const interrupting = yield* calling(Fiber.interrupt(call))
      const waiting = yield* calling(Effect.exit(processor.modify("a", add(1))))
      yield* TestClock.adjust(10)
      expect(Exit.isInterrupted(yield* Fiber.join(interrupting))).toBe(true)
      yield* TestClock.adjust(10)
      expect(failureOf(yield* Fiber.join(waiting))).toMatchObject({ _tag: "BatchTimeout", phase: "waiting" })
      expect(yield* processor.metrics).toMatchObject({ offered: 2, failed: 2, held: 0 })
      yield* operating.end
    }))

  it.scoped("in the middle of a thousand that wait leaves at once", () =>
    Effect.gen(function*() {
      const { processor, table } = yield* numbers()
      const loading = gated()
      table.loads.push(() => loading.run)
      const calls = yield* Effect.forEach(
        Array.from({ length: 1000 }),
        () => Effect.fork(processor.modify("a", add(1)))
      )
      yield* settleDown
      const gone = calls.filter((_, i) => i % 3 === 1)
      yield* Fiber.interruptAll(gone)
      yield* loading.end
      yield* settleDown
      expect(table.rows.get("a")).toBe(1000 - gone.length)
      expect(yield* processor.metrics).toMatchObject({ cancelled: gone.length, succeeded: 1000 - gone.length, keys: 0 })
    }))
})

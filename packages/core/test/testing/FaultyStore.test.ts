import { BatchStore } from "@sluice/core"
import { FaultyStore } from "@sluice/core/testing"
import * as SeededRun from "@sluice/core/testing/SeededRun"
import { Cause, Clock, Effect, Exit, Fiber, Layer } from "effect"
import { describe, expect, it } from "vitest"

const batch = { payload: new Uint8Array(), items: 1, oldestAtMillis: 0 }
const append = (queue: BatchStore.QueueStore) => queue.append({ batches: [batch] })

/** What a program answers on a store with a plan, and how much is stored after it. */
const answerOf = <A>(
  plan: FaultyStore.Plan,
  program: (queue: BatchStore.QueueStore, store: FaultyStore.FaultyStore) => Effect.Effect<A, unknown>
) => {
  const { exit, nowMillis } = SeededRun.run(
    Effect.gen(function*() {
      const sound = yield* BatchStore.BatchStore
      const store = FaultyStore.make(sound, plan)
      const answer = yield* program(yield* store.queue("orders"), store)
      const { pending } = yield* Effect.flatMap(sound.queue("orders"), ({ stats }) => stats)
      return { answer, stored: pending.items }
    }).pipe(Effect.provide(BatchStore.layerMemory)),
    { seed: 1 }
  )
  if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
  return { ...exit.value, nowMillis }
}

describe("FaultyStore", () => {
  it("fails the one call that is planned, before anything is done", () => {
    const { answer, stored } = answerOf(
      FaultyStore.at(2, { _tag: "Fails" }, "append"),
      (queue, store) =>
        Effect.gen(function*() {
          yield* append(queue)
          const error = yield* Effect.flip(append(queue))
          yield* append(queue)
          return [error._tag, store.calls("append"), store.calls("claim"), store.calls()]
        })
    )
    expect(answer).toEqual(["StoreUnavailable", 3, 0, 4])
    expect(stored).toBe(2)
  })

  it("counts the calls of every operation where a plan names none, the opening included", () => {
    const outcomes = (queue: BatchStore.QueueStore) => {
      const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [append(queue), queue.stats, append(queue)]
      return Effect.forEach(calls, (call) => Effect.isSuccess(call))
    }
    const { answer } = answerOf(FaultyStore.at(3, { _tag: "Fails" }), outcomes)
    expect(answer).toEqual([true, false, true])
  })

  it("fails at whatever a store can do, and counts it by its name", () => {
    const claim = { sequence: 1, token: 1 }
    const failure = { attempts: 1, failedAtMillis: 0, error: "some" }
    const portion = { filter: {}, limit: 1 }
    const every: Record<
      Exclude<FaultyStore.Operation, "queue">,
      (queue: BatchStore.QueueStore) => Effect.Effect<unknown, unknown>
    > = {
      append,
      claim: ({ claim }) => claim({ limit: 1, leaseMillis: 1 }),
      extend: ({ extend }) => extend([claim], { leaseMillis: 1 }),
      settle: ({ settle }) => settle([claim]),
      divide: ({ divide }) => divide([claim], []),
      release: ({ release }) => release([claim], {}),
      deadLetter: ({ deadLetter }) => deadLetter([claim], { reason: "some", failure }),
      forgive: ({ forgive }) => forgive([claim]),
      hold: ({ hold }) => hold(1),
      deadLetters: ({ deadLetters }) => deadLetters(portion),
      inspect: ({ inspect }) => inspect(1),
      redrive: ({ redrive }) => redrive(portion),
      discard: ({ discard }) => discard(portion),
      countDead: ({ countDead }) => countDead(portion),
      stats: ({ stats }) => stats
    }
    for (const [name, run] of Object.entries(every)) {
      const operation = name as FaultyStore.Operation
      const { answer } = answerOf(
        FaultyStore.at(1, { _tag: "Fails" }, operation),
        (queue, store) =>
          Effect.gen(function*() {
            // Before it, whatever it is, something else is done.
            yield* queue.transaction
            const error = yield* Effect.flip(run(queue))
            const again = yield* Effect.exit(run(queue))
            const isSound = Exit.isSuccess(again) || !Cause.pretty(again.cause).includes("not available")
            return [error, isSound, store.calls(operation), store.calls()]
          })
      )
      expect([name, ...answer]).toMatchObject([name, { _tag: "StoreUnavailable" }, true, 2, 3])
    }
  })

  it("fails after it has been done, where the answer is lost", () => {
    const { answer, stored } = answerOf(
      FaultyStore.at(1, { _tag: "LosesAnswer" }, "append"),
      (queue) => Effect.flip(append(queue))
    )
    expect([answer._tag, stored]).toEqual(["StoreUnavailable", 1])
  })

  it("dies", () => {
    const { answer, stored } = answerOf(
      FaultyStore.at(1, { _tag: "Dies" }, "append"),
      (queue) => Effect.exit(append(queue))
    )
    expect(Exit.isFailure(answer) && Cause.isDie(answer.cause)).toBe(true)
    expect(stored).toBe(0)
  })

  it("hangs until the caller is interrupted, who cannot be interrupted otherwise", () => {
    const { answer, stored } = answerOf(
      FaultyStore.at(1, { _tag: "Hangs" }, "append"),
      (queue) =>
        Effect.gen(function*() {
          const fiber = yield* Effect.fork(Effect.uninterruptible(append(queue)))
          yield* Effect.sleep(1000)
          return yield* Fiber.interrupt(fiber)
        })
    )
    expect(Exit.isInterrupted(answer)).toBe(true)
    expect(stored).toBe(0)
  })

  it("hangs for ever, whatever the caller does", () => {
    const hung = Effect.gen(function*() {
      const store = FaultyStore.make(
        yield* BatchStore.BatchStore,
        FaultyStore.at(1, { _tag: "HangsForEver" }, "append")
      )
      const fiber = yield* Effect.fork(append(yield* store.queue("orders")))
      yield* Effect.sleep(1)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(BatchStore.layerMemory))
    const { exit } = SeededRun.run(hung, { seed: 1 })
    expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("Deadlock")
  })

  it("is slow, and does it then", () => {
    const { nowMillis, stored } = answerOf(FaultyStore.at(1, { _tag: "Slow", millis: 70 }, "append"), append)
    expect([nowMillis, stored]).toEqual([70, 1])
  })

  it("is down from one moment to another", () => {
    const { answer } = answerOf(FaultyStore.down({ fromMillis: 10, toMillis: 20 }), (queue) =>
      Effect.forEach(
        [0, 9, 10, 19, 20],
        (at) =>
          Effect.gen(function*() {
            yield* Effect.sleep(at - (yield* Clock.currentTimeMillis))
            return Exit.isSuccess(yield* Effect.exit(append(queue)))
          })
      ))
    expect(answer).toEqual([true, true, false, false, true])
  })

  it("goes wrong at random, as often as told, and with the same seed in the same way", () => {
    const outcomes = (seed: number) =>
      answerOf(
        FaultyStore.seeded(seed, [[{ _tag: "Fails" }, 0.2], [{ _tag: "Dies" }, 0.1]]),
        (queue) =>
          Effect.forEach(Array.from({ length: 1000 }, (_, i) => i), () =>
            Effect.map(Effect.exit(append(queue)), (exit) =>
              Exit.isSuccess(exit) ? "done" : Cause.isDie(exit.cause) ? "died" : "failed"))
      ).answer
    const counts = (outcome: string) => outcomes(7).filter((each) => each === outcome).length
    expect(outcomes(7)).toEqual(outcomes(7))
    expect(outcomes(7)).not.toEqual(outcomes(8))
    expect(Math.abs(counts("failed") - 200)).toBeLessThan(50)
    expect(Math.abs(counts("died") - 100)).toBeLessThan(40)
  })

  it("takes the first of several plans that has something go wrong", () => {
    const plan = FaultyStore.first(
      FaultyStore.never,
      FaultyStore.at(1, { _tag: "Fails" }, "append"),
      FaultyStore.at(1, { _tag: "Dies" }, "append")
    )
    expect(answerOf(plan, (queue) => Effect.flip(append(queue))).answer._tag).toBe("StoreUnavailable")
  })

  it("is a layer on top of that of another store", () => {
    const program = Effect.gen(function*() {
      const queue = yield* Effect.flatMap(BatchStore.BatchStore, (store) => store.queue("orders"))
      return yield* Effect.flip(append(queue))
    })
    const store = FaultyStore.layer(FaultyStore.at(1, { _tag: "Fails" }, "append"))
    const provided = Effect.provide(program, Layer.provide(store, BatchStore.layerMemory))
    expect(Effect.runSync(provided)._tag).toBe("StoreUnavailable")
  })
})

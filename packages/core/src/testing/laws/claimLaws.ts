/**
 * The laws of claiming and settling.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import { add, claimOf, failure, type Law, law, leaseMillis, numbersOf, take } from "./lawTrial.ts"

export const claimLaws: ReadonlyArray<Law> = [
  law(
    "a claim has the oldest fresh ones, at most so many, and never what another one has",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* same("of nothing", yield* queue.claim({ limit: 5, leaseMillis }), {
          batches: [],
          turn: "fresh",
          lost: [],
          nextAtMillis: undefined
        })
        yield* add(queue, 1, 2, 3, 4, 5, 6)
        yield* same("none", numbersOf(yield* take(queue, 0)), [])
        yield* same("one", numbersOf(yield* take(queue, 1)), [1])
        yield* same("three", numbersOf(yield* take(queue, 3)), [2, 3, 4])
        const rest = yield* queue.claim({ limit: 3, leaseMillis })
        yield* same("fewer than asked for", numbersOf(rest.batches), [5, 6])
        yield* same("when the next can be", [rest.turn, rest.nextAtMillis], ["fresh", leaseMillis])
        yield* same("no more", numbersOf(yield* take(queue, 3)), [])
      })
  ),

  law("a hundred that claim at once never share a batch", ({ queue, same }) =>
    Effect.gen(function*() {
      const numbers = Array.from({ length: 150 }, (_, n) => n)
      yield* add(queue, ...numbers)
      const claims = yield* Effect.forEach(numbers.slice(0, 100), (n) => take(queue, n % 3), {
        concurrency: "unbounded"
      })
      const taken = [...claims.flat(), ...yield* take(queue, 150)]
      yield* same("all of them once", [...numbersOf(taken)].sort((a, b) => a - b), numbers)
      const deliveries = taken.map(({ deliveries }) => deliveries)
      yield* same("one delivery each", deliveries, deliveries.map(() => 1))
    })),

  law("each claim of a batch counts a delivery and has a higher token", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1)
      let before = 0
      for (let delivery = 1; delivery <= 5; delivery++) {
        const [claimed] = yield* take(queue)
        yield* same("the deliveries", claimed.deliveries, delivery)
        yield* same("the token is higher", claimed.token > before, true)
        before = claimed.token
        yield* delivery % 2 === 0 ? queue.release([claimed], {}) : TestClock.adjust(leaseMillis)
      }
    })),

  law("what is given back counts no delivery", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1)
      for (let i = 0; i < 3; i++) {
        const claimed = yield* take(queue)
        yield* same("the deliveries", claimed[0].deliveries, 1)
        yield* queue.release(claimed, { giveBack: true })
      }
      yield* queue.release(yield* take(queue), {})
      yield* same("the deliveries after one", (yield* take(queue))[0].deliveries, 2)
    })),

  law("what is settled is gone, and cannot be settled again", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const taken = yield* take(queue, 3)
      yield* queue.settle([])
      yield* queue.settle(taken.slice(0, 1))
      yield* loses("one that is gone, among others", queue.settle(taken), taken.slice(0, 1))
      yield* loses("all are gone", queue.settle(taken), taken)
      yield* TestClock.adjust(leaseMillis)
      yield* same("nothing comes back", yield* take(queue, 3), [])
      yield* same("nothing is left", (yield* queue.stats).pending, { batches: 0, items: 0 })
    })),

  law("a claim settles in the same step, and says whose lease was lost", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3, 4)
      const [gone, ...held] = yield* take(queue, 3)
      yield* queue.settle([gone])
      const next = yield* queue.claim({ limit: 5, leaseMillis, settle: [gone, ...held] })
      yield* same("what was lost", next.lost.map(claimOf), [claimOf(gone)])
      yield* same("what was claimed", numbersOf(next.batches), [4])
      yield* same("what is left", (yield* queue.stats).pending, { batches: 1, items: 1 })
      const last = yield* queue.claim({ limit: 1, leaseMillis, settle: next.batches })
      yield* same("nothing more", [last.batches, last.lost, last.nextAtMillis], [[], [], undefined])
    })),

  law("queues of other names never see a batch", ({ loses, other, queue, same }) =>
    Effect.gen(function*() {
      const elsewhere = yield* other
      yield* add(queue, 1)
      yield* same("a claim elsewhere", yield* take(elsewhere, 5), [])
      yield* same("stats elsewhere", (yield* elsewhere.stats).pending, { batches: 0, items: 0 })
      const taken = yield* take(queue)
      yield* add(elsewhere, 2)
      yield* loses("settling elsewhere", elsewhere.settle(taken), taken)
      yield* same("what is there", (yield* queue.stats).pending, { batches: 1, items: 1 })
      yield* queue.deadLetter(taken, { reason: "some", failure })
      const portion = { filter: {}, limit: 5 }
      const nothing = { batches: 0, items: 0, last: undefined }
      yield* same("dead letters elsewhere", yield* elsewhere.deadLetters(portion), [])
      yield* same("counting elsewhere", yield* elsewhere.countDead(portion), nothing)
      yield* same("inspecting elsewhere", (yield* elsewhere.inspect(taken[0].sequence))._tag, "None")
      yield* same("redriving elsewhere", yield* elsewhere.redrive(portion), nothing)
      yield* same("discarding elsewhere", yield* elsewhere.discard(portion), nothing)
      yield* same("it is still there", (yield* queue.stats).dead, { batches: 1, items: 1 })
      yield* elsewhere.hold(1000)
      yield* add(queue, 3)
      yield* same("a hold elsewhere", numbersOf(yield* take(queue)), [3])
    }))
]

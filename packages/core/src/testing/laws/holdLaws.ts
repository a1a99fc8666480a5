/**
 * The laws of a queue that is held.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import { add, claimOf, failure, type Law, law, leaseMillis, numbersOf, statsOf, take, type Trial } from "./lawTrial.ts"

const claim = (queue: Trial["queue"]) =>
  Effect.map(
    queue.claim({ limit: 2, leaseMillis }),
    ({ batches, nextAtMillis }) => [numbersOf(batches), nextAtMillis]
  )

export const holdLaws: ReadonlyArray<Law> = [
  law(
    "nothing is claimed of a queue that is held, to the millisecond, and a claim says until when",
    (trial) =>
      Effect.gen(function*() {
        const { queue, same } = trial
        yield* add(queue, 1, 2, 3)
        yield* queue.release(yield* take(queue), { failure })
        yield* TestClock.adjust("5 millis")
        yield* queue.hold(100)
        yield* same("fresh ones", yield* claim(queue), [[], 105])
        const returned = yield* queue.claim({ limit: 2, leaseMillis, turn: "returned" })
        yield* same("what comes back", [returned.batches, returned.turn, returned.nextAtMillis], [[], "fresh", 105])
        yield* same("in the stats", (yield* queue.stats).heldUntilMillis, 105)
        yield* add(queue, 4)
        yield* TestClock.adjust("99 millis")
        yield* same("just before", yield* claim(queue), [[], 105])
        yield* TestClock.adjust("1 millis")
        yield* same("in the stats no more", (yield* queue.stats).heldUntilMillis, undefined)
        yield* same("at the end", yield* claim(queue), [[2, 3], undefined])
      })
  ),

  law("of two holds the one that ends later counts, and 0 ends it", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      yield* queue.hold(100)
      yield* TestClock.adjust("10 millis")
      yield* queue.hold(50)
      yield* same("a shorter one", yield* claim(queue), [[], 100])
      yield* queue.hold(200)
      yield* same("a longer one", yield* claim(queue), [[], 210])
      yield* queue.hold(0)
      yield* same("none", [yield* claim(queue), (yield* queue.stats).heldUntilMillis], [[[1, 2], undefined], undefined])
      yield* queue.hold(0)
      yield* queue.hold(7)
      yield* same("a new one", yield* claim(queue), [[], 17])
      yield* TestClock.adjust("7 millis")
      yield* queue.hold(5)
      yield* same("after its end", yield* claim(queue), [[], 22])
    })),

  law(
    "a claim of a queue that is held settles and renews all the same",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third] = yield* take(queue, 3)
        yield* queue.settle([third])
        yield* queue.hold(leaseMillis)
        yield* TestClock.adjust(leaseMillis - 1)
        const held = yield* queue.claim({ limit: 2, leaseMillis, settle: [third, first], renew: () => [second] })
        yield* same("lost", [held.batches, held.lost.map(claimOf)], [[], [claimOf(third)]])
        yield* loses("settled", queue.settle([first]), [first])
        yield* same("what is left", (yield* queue.stats).pending.batches, 2)
        yield* TestClock.adjust(1)
        yield* same("renewed", yield* claim(queue), [[4], 2 * leaseMillis - 1])
        yield* queue.settle([second])
      })
  ),

  law(
    "whoever has a batch of a queue that is held may do with it as ever",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third, fourth] = yield* take(queue, 4)
        yield* queue.hold(60_000)
        yield* queue.extend([first], { leaseMillis: 90_000, failure })
        yield* queue.settle([second])
        yield* queue.release([third], {})
        yield* queue.deadLetter([fourth], { reason: "some", failure })
        yield* add(queue, 5)
        yield* same("redriven", (yield* queue.redrive({ filter: {}, limit: 1 })).batches, 1)
        const { pending } = yield* queue.stats
        yield* same("what is there", pending, { batches: 4, items: 4 })
        yield* TestClock.adjust(60_000)
        yield* same("all of it", numbersOf(yield* take(queue, 9)), [3, 4, 5])
      })
  ),

  law("an empty queue can be held", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* queue.hold(10)
      yield* same("it says until when", yield* claim(queue), [[], 10])
      yield* same("in the stats", yield* queue.stats, statsOf({ heldUntilMillis: 10 }))
      yield* TestClock.adjust(10)
      yield* same("and then nothing", yield* claim(queue), [[], undefined])
    }))
]

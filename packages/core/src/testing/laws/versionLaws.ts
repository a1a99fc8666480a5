/**
 * The laws of batches that only a newer version can read.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import { add, batch, failure, type Law, law, leaseMillis, numbersOf, statsOf, take, takeAll } from "./lawTrial.ts"

const one = { batches: 1, items: 1 }

export const versionLaws: ReadonlyArray<Law> = [
  law(
    "what is for a newer version is passed over, until somebody claims who can read it",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3)
        const first = yield* take(queue, 1, { version: 4 })
        yield* queue.release(first, { version: 5, giveBack: true })
        yield* loses("the claim has ended", queue.settle(first), first)
        yield* same("the others", (yield* takeAll(queue, { version: 4 })).map(numbersOf), [[2, 3]])
        const none = yield* queue.claim({ limit: 1, leaseMillis, version: 4, turn: "returned" })
        yield* same("passed over", [none.batches, none.turn, none.nextAtMillis], [[], "fresh", leaseMillis])
        const some = yield* queue.claim({ limit: 4, leaseMillis, version: 5 })
        yield* same("claimed", [numbersOf(some.batches), some.turn], [[1], "returned"])
        yield* same("its deliveries", some.batches[0].deliveries, 1)
        yield* queue.settle(some.batches)
      })
  ),

  law(
    "a version that is newer still reads it, and so does who names none",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3)
        for (const version of [2, 3, 4]) yield* queue.release(yield* take(queue), { version, giveBack: true })
        const claim = (version: number | undefined) => Effect.map(take(queue, 4, { version }), numbersOf)
        yield* same("version 1", yield* claim(1), [])
        yield* same("version 3", yield* claim(3), [1])
        yield* same("version 3 again", yield* claim(3), [2])
        yield* same("and again", yield* claim(3), [])
        yield* same("any", yield* claim(undefined), [3])
      })
  ),

  law("many that cannot be read hold up nothing that comes back", ({ queue, same }) =>
    Effect.gen(function*() {
      const numbers = Array.from({ length: 200 }, (_, n) => n)
      yield* add(queue, ...numbers)
      yield* queue.release(yield* take(queue, 199), { version: 2, giveBack: true })
      yield* queue.release(yield* take(queue), { failure, delayMillis: 1 })
      yield* TestClock.adjust("1 millis")
      yield* same("what is readable", (yield* takeAll(queue, { version: 1 })).map(numbersOf), [[199]])
      const read = yield* takeAll(queue, { version: 2 })
      yield* same("the others, in their order", read.map(numbersOf), numbers.slice(0, 199).map((n) => [n]))
    })),

  law("it counts as pending, and in stats.newer, until it is claimed", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* queue.append({ batches: [batch(1, { items: 3 }), batch(2), batch(3)] })
      yield* queue.release(yield* take(queue), { version: 2, giveBack: true })
      const newer = { batches: 1, items: 3 }
      const pending = { batches: 3, items: 5 }
      yield* same("put back", yield* queue.stats, statsOf({ pending, newer, oldestAtMillis: 2 }))
      yield* queue.settle(yield* take(queue, 2))
      yield* same("alone", yield* queue.stats, statsOf({ pending: newer, newer }))
      const claimed = yield* take(queue, 1, { version: 2 })
      yield* same("claimed", yield* queue.stats, statsOf({ pending: newer }))
      yield* queue.release(claimed, { version: 7, failure })
      yield* same("put back again", yield* queue.stats, statsOf({ pending: newer, newer }))
      yield* queue.deadLetter(yield* take(queue, 1, { version: 7 }), { reason: "some", failure })
      yield* same("dead", yield* queue.stats, statsOf({ dead: newer }))
      yield* queue.redrive({ filter: {}, limit: 1 })
      yield* same("as new", yield* queue.stats, statsOf({ pending: newer, oldestAtMillis: 1 }))
    })),

  law("it may rest as well, and is for everybody once it was claimed", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1)
      yield* queue.release(yield* take(queue), { version: 2, delayMillis: 50 })
      const claim = (version: number) =>
        Effect.map(
          queue.claim({ limit: 1, leaseMillis, version }),
          ({ batches, nextAtMillis }) => [numbersOf(batches), nextAtMillis]
        )
      yield* same("it rests", yield* claim(2), [[], 50])
      yield* same("nothing for who cannot read it", yield* claim(1), [[], undefined])
      yield* TestClock.adjust("49 millis")
      yield* same("just before", yield* claim(2), [[], 50])
      yield* same("none for everybody", (yield* queue.stats).oldestAtMillis, undefined)
      yield* TestClock.adjust("1 millis")
      yield* same("not for who cannot read it", yield* claim(1), [[], undefined])
      yield* same("for who can", yield* claim(2), [[1], undefined])
      yield* TestClock.adjust(leaseMillis)
      yield* same("left behind", yield* queue.stats, statsOf({ pending: one, oldestAtMillis: 1 }))
      yield* same("for everybody", yield* claim(1), [[1], undefined])
    }))
]

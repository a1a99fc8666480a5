/**
 * The laws of turns: of what is fresh, and of what comes back.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import type { ClaimOptions } from "../../BatchStore.ts"
import { add, batch, failure, type Law, law, leaseMillis, numbersOf, take, takeAll, type Trial } from "./lawTrial.ts"

const claimed = (queue: Trial["queue"], options: Partial<ClaimOptions> = {}) =>
  Effect.map(
    queue.claim({ limit: 5, leaseMillis, ...options }),
    ({ batches, turn }) => [turn, numbersOf(batches)]
  )

const returned = (queue: Trial["queue"], options: Partial<ClaimOptions> = {}) =>
  claimed(queue, { turn: "returned", ...options })

export const turnLaws: ReadonlyArray<Law> = [
  law("a claim is of fresh batches, or of a single one that comes back", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3, 4, 5)
      yield* take(queue, 3)
      yield* TestClock.adjust(leaseMillis)
      yield* same("the fresh ones", yield* claimed(queue), ["fresh", [4, 5]])
      yield* same("one that comes back", yield* claimed(queue), ["returned", [1]])
      yield* add(queue, 6)
      yield* same("a fresh one alone", yield* claimed(queue), ["fresh", [6]])
      yield* same("the next that comes back", yield* claimed(queue), ["returned", [2]])
      yield* same("the last", yield* claimed(queue), ["returned", [3]])
      yield* same("nothing", yield* claimed(queue), ["fresh", []])
    })),

  law(
    "whose turn it is is looked for first, and the others where there are none of these",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4, 5, 6)
        yield* take(queue, 3)
        yield* same("none has come back yet", yield* returned(queue, { limit: 2 }), ["fresh", [4, 5]])
        yield* TestClock.adjust(leaseMillis)
        yield* same("one that has", yield* returned(queue), ["returned", [1]])
        yield* same("none is asked for", yield* returned(queue, { limit: 0 }), ["fresh", []])
        yield* same("none of the fresh either", yield* claimed(queue, { limit: 0 }), ["fresh", []])
        yield* same("a fresh one, if it is its turn", yield* claimed(queue, { turn: "fresh" }), ["fresh", [6]])
        yield* same("no fresh one", yield* claimed(queue, { turn: "fresh" }), ["returned", [2]])
        yield* add(queue, 7)
        yield* same("again", yield* returned(queue), ["returned", [3]])
        yield* same("and again", yield* returned(queue), ["returned", [4]])
        yield* same("the last", yield* returned(queue), ["returned", [5]])
        yield* same("only a fresh one is left", yield* returned(queue), ["fresh", [7]])
        yield* same("nothing", yield* returned(queue), ["fresh", []])
      })
  ),

  law(
    "what comes back is the one that has been due for longest, then by its place",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4, 5, 6)
        const [first, second, third, fourth, fifth] = yield* take(queue, 6)
        yield* queue.release([first], { delayMillis: 30 })
        yield* queue.release([third, second], { delayMillis: 20 })
        yield* queue.extend([fourth], { leaseMillis: 20 })
        yield* queue.release([fifth], { failure })
        yield* TestClock.adjust("19 millis")
        yield* same("none but what has failed", yield* returned(queue), ["returned", [5]])
        yield* same("none yet", yield* returned(queue), ["fresh", []])
        yield* TestClock.adjust("3000 millis")
        yield* same("all of them", (yield* takeAll(queue)).map(numbersOf), [[2], [3], [4], [1], [6], [5]])
      })
  ),

  law("what is put back at once is fresh again, in its old place", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3, 4)
      const [first, second, third] = yield* take(queue, 3)
      yield* queue.release([second], {})
      yield* loses("a release ends the claim", queue.settle([second]), [second])
      yield* loses("one that is held, among others", queue.release([second, first], { delayMillis: 0 }), [second])
      yield* same("the oldest", (yield* queue.stats).oldestAtMillis, 1)
      yield* queue.release([third], { giveBack: true })
      yield* same("all of them", yield* claimed(queue), ["fresh", [1, 2, 3, 4]])
    })),

  law(
    "what has failed, has rested, or was left behind comes back alone",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third] = yield* take(queue, 4, { leaseMillis: 40 })
        yield* queue.release([first], { delayMillis: 10 })
        yield* queue.release([second], { failure })
        yield* queue.release([third], { failure, delayMillis: 20, giveBack: true })
        yield* loses("the claims have ended", queue.settle([first, second, third]), [first, second, third])
        yield* TestClock.adjust("50 millis")
        yield* add(queue, 5, 6)
        const claims = yield* takeAll(queue)
        yield* same("each in its turn", claims.map(numbersOf), [[5, 6], [2], [1], [3], [4]])
        yield* same("their deliveries", claims.flat().map(({ deliveries }) => deliveries), [1, 1, 2, 2, 1, 2])
      })
  ),

  law(
    "one that has come back is fresh again when it is put back as it was",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2)
        yield* queue.release(yield* take(queue), { failure })
        const again = yield* take(queue, 1, { turn: "returned" })
        yield* same("it comes back", numbersOf(again), [1])
        yield* queue.release(again, {})
        yield* same("both", yield* claimed(queue), ["fresh", [1, 2]])
      })
  ),

  law(
    "what is released for later comes back then, to the millisecond",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third] = yield* take(queue, 3)
        yield* queue.release([first], { delayMillis: 5000 })
        yield* queue.release([third, second], { delayMillis: 4000 })
        const other = yield* queue.claim({ limit: 2, leaseMillis: 60_000 })
        yield* same("when the next can be claimed", other.nextAtMillis, 4000)
        yield* loses("the claim has ended", queue.settle([first]), [first])
        yield* TestClock.adjust("3999 millis")
        yield* same("just before", yield* claimed(queue), ["fresh", []])
        yield* same("what can be claimed", (yield* queue.stats).oldestAtMillis, undefined)
        yield* TestClock.adjust("1 millis")
        yield* same("what can be claimed then", (yield* queue.stats).oldestAtMillis, 2)
        yield* same("the first of two", yield* claimed(queue, { leaseMillis: 10_000 }), ["returned", [2]])
        yield* TestClock.adjust("999 millis")
        yield* same("the second", yield* claimed(queue, { leaseMillis: 10_000 }), ["returned", [3]])
        yield* same("just before the other", yield* claimed(queue), ["fresh", []])
        yield* TestClock.adjust("1 millis")
        yield* same("the other", yield* claimed(queue), ["returned", [1]])
      })
  ),

  law(
    "a claim of fewer fresh ones than asked for says when the next can be claimed",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const nextAt = (limit: number, options: Partial<ClaimOptions> = {}) =>
          Effect.map(
            queue.claim({ limit, leaseMillis, ...options }),
            ({ batches, nextAtMillis }) => [numbersOf(batches), nextAtMillis]
          )
        yield* TestClock.adjust("7 millis")
        yield* same("of nothing", yield* nextAt(2), [[], undefined])
        yield* add(queue, 1, 2, 3, 4, 5)
        yield* same("as many as asked for", yield* nextAt(2), [[1, 2], undefined])
        yield* TestClock.adjust("3 millis")
        yield* same("fewer", yield* nextAt(4), [[3, 4, 5], 1007])
        yield* same("none", yield* nextAt(4, { turn: "returned" }), [[], 1007])
        yield* TestClock.adjust("1000 millis")
        yield* add(queue, 6)
        yield* same("a time that is over", yield* nextAt(2), [[6], 1007])
        yield* same("one that comes back", yield* nextAt(2), [[1], undefined])
        yield* same("another", yield* nextAt(2, { turn: "returned" }), [[2], undefined])
        yield* same("all that are left", (yield* takeAll(queue)).map(numbersOf), [[3], [4], [5]])
        yield* same("the leases that end first", yield* nextAt(1), [[], 2010])
      })
  ),

  law(
    "rests and holds of the greatest length never end, and break nothing",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const now = 1_800_000_000_000
        yield* TestClock.setTime(now)
        yield* add(queue, 1, 2)
        yield* queue.release(yield* take(queue), { delayMillis: Number.MAX_SAFE_INTEGER })
        const next = yield* queue.claim({ limit: 2, leaseMillis })
        yield* same("the other", [numbersOf(next.batches), (next.nextAtMillis ?? 0) > now], [[2], true])
        yield* TestClock.adjust("10000 days")
        yield* queue.settle(next.batches)
        const later = yield* queue.claim({ limit: 2, leaseMillis })
        yield* same("long after that", [later.batches, (later.nextAtMillis ?? 0) > now], [[], true])
        yield* add(queue, 3)
        yield* queue.hold(Number.MAX_SAFE_INTEGER)
        yield* TestClock.adjust("10000 days")
        yield* same("held for ever", yield* claimed(queue), ["fresh", []])
        yield* queue.hold(0)
        yield* same("held no more", yield* claimed(queue), ["fresh", [3]])
      })
  ),

  law("more than ten thousand that come due at once all come, in order", ({ queue, same }) =>
    Effect.gen(function*() {
      const count = 10_500
      const numbers = Array.from({ length: count }, (_, n) => n)
      const batches = numbers.map((n) => batch(n, { payload: Uint8Array.of(n >> 8, n & 255) }))
      yield* queue.append({ batches: [batches[0], ...batches.slice(1)] })
      const at = ({ payload: [high, low] }: { readonly payload: Uint8Array }) => (high << 8) + low
      yield* same("fresh", (yield* take(queue, count)).map(at), numbers)
      yield* TestClock.adjust(leaseMillis)
      const seen: Array<number> = []
      let [next] = yield* take(queue)
      while (next !== undefined && seen.length <= count) {
        seen.push(at(next))
        const settle = [next]
        next = (yield* take(queue, 1, { settle }))[0]
      }
      yield* same("all of them", seen, numbers)
      yield* same("nothing is left", (yield* queue.stats).pending, { batches: 0, items: 0 })
    }))
]

/**
 * The laws of leases and releases.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import { add, batch, failure, type Law, law, leaseMillis, numbersOf, take } from "./lawTrial.ts"

/** @internal */
export const leaseLaws: ReadonlyArray<Law> = [
  law("a lease holds until its last millisecond is over", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* TestClock.adjust("123 millis")
      yield* add(queue, 1, 2)
      yield* queue.claim({ limit: 1, leaseMillis: 500 })
      yield* same("the next is the other", numbersOf((yield* queue.claim({ limit: 1, leaseMillis: 700 })).batches), [2])
      yield* TestClock.adjust("499 millis")
      const early = yield* queue.claim({ limit: 2, leaseMillis: 10_000 })
      yield* same("just before", [early.batches, early.nextAtMillis], [[], 623])
      yield* TestClock.adjust("1 millis")
      const first = yield* queue.claim({ limit: 2, leaseMillis: 10_000 })
      yield* same("at the end", [numbersOf(first.batches), first.nextAtMillis], [[1], 823])
      yield* TestClock.adjust("200 millis")
      const second = yield* queue.claim({ limit: 2, leaseMillis: 10_000 })
      yield* same("at the end of the other", [numbersOf(second.batches), second.nextAtMillis], [[2], 10_623])
    })),

  law(
    "who is late can do nothing about a batch that was claimed again",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1)
        const late = yield* take(queue)
        yield* TestClock.adjust(leaseMillis)
        const current = yield* take(queue)
        yield* same("it was claimed again", numbersOf(current), [1])
        yield* loses("settle", queue.settle(late), late)
        yield* loses("extend", queue.extend(late, { leaseMillis: 100_000, failure }), late)
        yield* loses("release", queue.release(late, { giveBack: true }), late)
        yield* loses("dead letter", queue.deadLetter(late, { reason: "some", failure }), late)
        yield* loses("replace", queue.replace([late[0]], batch(9)), late)
        const claimed = yield* queue.claim({ limit: 1, leaseMillis, settle: late })
        yield* same("claiming and settling", [claimed.lost.length, claimed.batches], [1, []])
        yield* queue.release(current, {})
        const [again] = yield* take(queue)
        yield* same("nothing has changed", [numbersOf([again]), again.deliveries, again.attempts], [[1], 3, 0])
        yield* loses("a token that was never given", queue.settle([{ ...again, token: again.token + 1 }]), [again])
      })
  ),

  law(
    "who is late can do nothing about a batch that came after his own was gone",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1)
        const late = yield* take(queue)
        yield* queue.settle(late)
        yield* add(queue, 2)
        const [current] = yield* take(queue)
        yield* same("it has a later place", current.sequence > late[0].sequence, true)
        yield* loses("settle", queue.settle(late), late)
        yield* queue.settle([current])
      })
  ),

  law(
    "counting, and the claims of others, take no lease away that has run out",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2)
        const [late] = yield* take(queue, 1)
        yield* TestClock.adjust(leaseMillis)
        yield* same("it counts as one that can be claimed", (yield* queue.stats).pending.batches, 2)
        yield* queue.claim({ limit: 0, leaseMillis })
        yield* queue.settle([late])
        yield* same("the other is left", numbersOf(yield* take(queue)), [2])
      })
  ),

  law("who is late may still settle a batch that was not claimed again", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const [first, second, third] = yield* take(queue, 3)
      yield* TestClock.adjust(leaseMillis * 10)
      yield* queue.settle([first])
      yield* queue.extend([second], { leaseMillis })
      yield* queue.deadLetter([third], { reason: "some", failure })
      yield* same("none can be claimed", yield* take(queue, 3), [])
      yield* same("what is there", yield* queue.stats, {
        pending: { batches: 1, items: 1 },
        dead: { batches: 1, items: 1 },
        oldestAtMillis: undefined
      })
    })),

  law("extending lets a lease run from now on", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const [first, second, third] = yield* take(queue, 3)
      yield* queue.settle([third])
      yield* TestClock.adjust("600 millis")
      yield* loses("one that is gone, among others", queue.extend([third, first], { leaseMillis }), [third])
      yield* TestClock.adjust("400 millis")
      const other = yield* queue.claim({ limit: 2, leaseMillis: 10_000 })
      yield* same("only the other has run out", numbersOf(other.batches), [2])
      yield* loses("the other", queue.settle([second]), [second])
      yield* queue.extend([first], { leaseMillis: 1 })
      yield* TestClock.adjust("1 millis")
      yield* same("it can be made shorter", numbersOf(yield* take(queue, 2)), [1])
    })),

  law("what is released is in its old place, for everybody", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const [first, second] = yield* take(queue, 2)
      yield* queue.release([second], {})
      yield* loses("a release ends the claim", queue.settle([second]), [second])
      yield* loses("one that is held, among others", queue.release([second, first], {}), [second])
      yield* same("all three", numbersOf(yield* take(queue, 3)), [1, 2, 3])
    })),

  law(
    "what is released for later comes back then, in its old place",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third] = yield* take(queue, 3)
        yield* queue.release([first], { readyAtMillis: 5000 })
        yield* queue.release([third, second], { readyAtMillis: 4000 })
        yield* same(
          "when the next can be claimed",
          (yield* queue.claim({ limit: 2, leaseMillis: 60_000 })).nextAtMillis,
          4000
        )
        yield* loses("the claim has ended", queue.settle([first]), [first])
        yield* TestClock.adjust("3999 millis")
        yield* same("just before", yield* take(queue, 4), [])
        yield* same("what can be claimed", (yield* queue.stats).oldestAtMillis, undefined)
        yield* TestClock.adjust("1 millis")
        yield* same("what can be claimed then", (yield* queue.stats).oldestAtMillis, 2)
        yield* same("the first of two", numbersOf(yield* take(queue, 1)), [2])
        yield* TestClock.adjust("999 millis")
        yield* same(
          "just before the other",
          numbersOf(
            yield* queue.claim({ limit: 1, leaseMillis: 9 }).pipe(
              Effect.map(({ batches }) => batches)
            )
          ),
          [3]
        )
        yield* TestClock.adjust("1 millis")
        yield* add(queue, 5)
        yield* same("the oldest is first", numbersOf(yield* take(queue, 1)), [1])
        yield* queue.release(yield* take(queue, 9), { readyAtMillis: 1 })
        yield* same("a time that is over is now", (yield* queue.stats).oldestAtMillis, 2)
      })
  ),

  law("what has failed is remembered until it is told anew", ({ queue, same }) =>
    Effect.gen(function*() {
      const told = ({ attempts, error, failedAtMillis }: typeof failure) => [attempts, failedAtMillis, error]
      yield* add(queue, 1)
      const first = yield* take(queue)
      yield* same("none yet", told(first[0]), [0, 0, ""])
      yield* queue.extend(first, { leaseMillis, failure })
      yield* queue.extend(first, { leaseMillis })
      yield* queue.release(first, {})
      const second = yield* take(queue)
      yield* same("told by extend", told(second[0]), told(failure))
      const other = { attempts: 4, failedAtMillis: 78, error: "\"é\" 😀\n" }
      yield* queue.release(second, { failure: other, readyAtMillis: 5 })
      yield* TestClock.adjust("5 millis")
      yield* same("told by release", told((yield* take(queue))[0]), told(other))
    })),

  law("thousands that come due at once come in order", ({ queue, same }) =>
    Effect.gen(function*() {
      const numbers = Array.from({ length: 2000 }, (_, n) => n % 251)
      yield* add(queue, ...numbers)
      const taken = yield* take(queue, 2000)
      yield* queue.release(taken.filter((_, n) => n % 2 === 0), { readyAtMillis: 100 })
      yield* queue.release(taken.filter((_, n) => n % 2 === 1), { readyAtMillis: 99 })
      yield* TestClock.adjust("100 millis")
      const first = yield* take(queue, 1)
      const rest = yield* take(queue, 3000)
      yield* same("all of them", numbersOf([...first, ...rest]), numbers)
    }))
]

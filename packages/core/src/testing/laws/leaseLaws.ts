/**
 * The laws of leases and releases.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import type { Claim } from "../../BatchStore.ts"
import {
  add,
  batch,
  claimOf,
  failure,
  type Law,
  law,
  leaseMillis,
  numbersOf,
  statsOf,
  take,
  takeAll
} from "./lawTrial.ts"

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
      yield* same("at the end", [numbersOf(first.batches), first.nextAtMillis], [[1], undefined])
      const none = yield* queue.claim({ limit: 2, leaseMillis: 10_000 })
      yield* same("the other not yet", [none.batches, none.nextAtMillis], [[], 823])
      yield* TestClock.adjust("200 millis")
      const second = yield* queue.claim({ limit: 2, leaseMillis: 10_000 })
      yield* same("at the end of the other", [numbersOf(second.batches), second.nextAtMillis], [[2], undefined])
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
        yield* loses("divide", queue.divide([late[0]], [{ ...batch(9), becomes: { _tag: "Released" } }]), late)
        const claimed = yield* queue.claim({ limit: 1, leaseMillis, settle: late, renew: () => late })
        yield* same("claiming", [claimed.lost.map(claimOf), claimed.batches], [late.map(claimOf), []])
        yield* queue.release(current, {})
        const [again] = yield* take(queue)
        yield* same("nothing has changed", [numbersOf([again]), again.deliveries, again.attempts], [[1], 3, 0])
        const never = { ...again, token: again.token + 1 }
        yield* loses("a token that was never given", queue.settle([never]), [never])
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
    "whoever holds a batch is untouched by what becomes of an older lease of it",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3, 4)
        const late = yield* take(queue, 4)
        yield* TestClock.adjust(leaseMillis)
        const [first, second, third, fourth] = (yield* takeAll(queue)).flat()
        const both = (index: number, current: Claim) => [late[index], current]
        yield* loses("extend", queue.extend(both(0, first), { leaseMillis: 9000 }), [late[0]])
        yield* loses("settle", queue.settle(both(1, second)), [late[1]])
        yield* loses("release", queue.release(both(2, third), {}), [late[2]])
        yield* loses("dead letter", queue.deadLetter(both(3, fourth), { reason: "some", failure }), [late[3]])
        const [again] = yield* take(queue)
        yield* same("what was released", numbersOf([again]), [3])
        const claimed = yield* queue.claim({ limit: 1, leaseMillis, settle: [late[0], late[2], again] })
        yield* same("settled at a claim", claimed.lost.map(claimOf), [late[0], late[2]].map(claimOf))
        yield* queue.settle([first])
        const dead = { batches: 1, items: 1 }
        yield* same("what is left", yield* queue.stats, statsOf({ dead }))
      })
  ),

  law(
    "what is renewed at a claim is not claimed, although its lease had run out",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3)
        const [first, second, third] = yield* take(queue, 3)
        yield* TestClock.adjust(5 * leaseMillis)
        const held: Array<Claim> = []
        const renewing = queue.claim({ limit: 3, leaseMillis, renew: () => held })
        // What is held is asked for in the moment of the claim, not in the moment of the call.
        held.push(first, second)
        const claimed = yield* renewing
        yield* same("only what is not held", numbersOf(claimed.batches), [3])
        yield* loses("the lease of that one", queue.settle([third]), [third])
        yield* TestClock.adjust(leaseMillis - 1)
        yield* queue.settle(claimed.batches)
        const none = yield* queue.claim({ limit: 3, leaseMillis: 60_000 })
        yield* same("their leases run from the claim on", [none.batches, none.nextAtMillis], [[], 6 * leaseMillis])
        yield* queue.settle([first])
        yield* TestClock.adjust(1)
        yield* same("without renewal it is claimed", numbersOf(yield* take(queue, 3)), [2])
        yield* loses("then it is lost", queue.settle([second]), [second])
      })
  ),

  law("renewing at a claim leaves alone what is settled with it, or lost", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const [first, second] = yield* take(queue, 2)
      yield* TestClock.adjust(leaseMillis)
      const other = yield* take(queue, 1, { turn: "returned" })
      const held = [first, second, { sequence: second.sequence + 100, token: 1 }]
      const claimed = yield* queue.claim({ limit: 1, leaseMillis, settle: [second], renew: () => held })
      yield* same("the fresh one", [numbersOf(claimed.batches), claimed.lost], [[3], []])
      yield* TestClock.adjust(leaseMillis - 1)
      yield* queue.extend(other, { leaseMillis: 1 })
      yield* TestClock.adjust(1)
      yield* same("the lease of the other is his own", (yield* takeAll(queue)).map(numbersOf), [[1], [3]])
      yield* same("what is left", (yield* queue.stats).pending.batches, 2)
    })),

  law(
    "what is forgiven is not counted as a delivery, whoever has the batch",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2)
        const [first, other] = yield* take(queue, 2)
        yield* TestClock.adjust(leaseMillis)
        const [second] = yield* take(queue)
        yield* same("two", second.deliveries, 2)
        yield* queue.forgive([first, { sequence: first.sequence + 100, token: 1 }])
        yield* queue.settle([other])
        yield* queue.forgive([other])
        yield* queue.extend([second], { leaseMillis: 1, failure })
        yield* TestClock.adjust(1)
        const [third] = yield* take(queue)
        yield* same("one less", [third.deliveries, third.attempts, third.token > second.token], [
          2,
          failure.attempts,
          true
        ])
        yield* queue.release([third], {})
        yield* queue.forgive([second])
        const [fourth] = yield* take(queue)
        yield* same("also of one that nobody has", fourth.deliveries, 2)
        yield* queue.settle([fourth])
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
      const one = { batches: 1, items: 1 }
      yield* same("what is there", yield* queue.stats, statsOf({ pending: one, dead: one }))
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
      yield* queue.release(second, { failure: other, delayMillis: 5 })
      yield* TestClock.adjust("5 millis")
      yield* same("told by release", told((yield* take(queue))[0]), told(other))
    }))
]

/**
 * The laws of batches that are divided.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import type { Part, ReleaseOptions } from "../../BatchStore.ts"
import {
  add,
  batch,
  claimOf,
  failure,
  inPortions,
  type Law,
  law,
  leaseMillis,
  numbersOf,
  statsOf,
  take,
  takeAll
} from "./lawTrial.ts"

const other = { attempts: 9, failedAtMillis: 99, error: "another one" }

const kept = (n: number, items = 1): Part => ({ ...batch(n, { items }), becomes: { _tag: "Kept", failure } })
const dead = (n: number, items = 1): Part => ({
  ...batch(n, { items }),
  becomes: { _tag: "Dead", reason: "bad", failure: other }
})
const released = (n: number, options: ReleaseOptions = {}, items = 1): Part => ({
  ...batch(n, { items }),
  becomes: { _tag: "Released", ...options }
})

export const divideLaws: ReadonlyArray<Law> = [
  law(
    "the part that is kept takes the place of several batches, under the lease of the oldest",
    (trial) =>
      Effect.gen(function*() {
        const { loses, queue, same } = trial
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third] = yield* take(queue, 3)
        yield* TestClock.adjust("300 millis")
        yield* queue.extend([second], { leaseMillis: 2000 })
        const remainder: Part = { ...kept(9, 5), oldestAtMillis: 2 }
        const [claim, ...rest] = yield* queue.divide([third, first], [remainder])
        yield* same("the claim", [claim, rest], [{ ...claimOf(first), token: first.token + 1 }, []])
        yield* loses("whoever asks again", queue.divide([third, first], [remainder]), [third, first])
        yield* same("what is pending", (yield* queue.stats).pending, { batches: 3, items: 7 })
        yield* loses("the others are gone", queue.settle([third]), [third])
        yield* TestClock.adjust("699 millis")
        const early = yield* queue.claim({ limit: 2, leaseMillis: 9000 })
        yield* same("it is held", [numbersOf(early.batches), early.nextAtMillis], [[4], leaseMillis])
        yield* TestClock.adjust("1 millis")
        const [again] = yield* take(queue)
        const expected = { ...batch(9, { items: 5, oldestAtMillis: 2 }), ...failure, deliveries: 2 }
        yield* same("as it comes back", again, { ...expected, sequence: first.sequence, token: again.token })
        const alone = yield* queue.divide([again], [kept(8)])
        yield* same("of one", alone, [{ ...claimOf(again), token: again.token + 1 }])
        yield* loses("whoever asks again for one", queue.divide([again], [kept(8), dead(7)]), [again])
        yield* queue.settle(alone)
        yield* queue.settle([second])
        yield* queue.settle(early.batches)
        yield* same("nothing is left", yield* queue.stats, statsOf({}))
      })
  ),

  law(
    "the part that is kept has the oldest place, wherever it is among the parts",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2, 3)
        const taken = yield* take(queue, 2)
        const parts = [released(11), dead(12), kept(13), released(14)]
        const claims = yield* queue.divide([taken[0], taken[1]], parts)
        yield* same("the one that is kept", claims[2], {
          ...claimOf(taken[0]),
          token: taken[0].token + 1
        })
        const places = claims.map(({ sequence }) => sequence)
        const [first, second, , fourth] = places
        const last = taken[1].sequence + 1
        yield* same("the others, behind everything", last < first && first < second && second < fourth, true)
        yield* same("what is fresh", (yield* takeAll(queue)).map(numbersOf), [[3, 11, 14]])
        const letters = yield* queue.deadLetters({ filter: {}, limit: 9 })
        yield* same("what is dead", letters.map(({ id }) => id), [second])
        yield* queue.extend([claims[2]], { leaseMillis })
        yield* add(queue, 4)
        yield* same("what is appended later comes later", (yield* take(queue))[0].sequence > fourth, true)
      })
  ),

  law("where none is kept, the first part has the oldest place", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3, 4)
      const [, second, third, fourth] = yield* take(queue, 4)
      const claims = yield* queue.divide([fourth, second, third], [released(11), released(12), released(13)])
      yield* loses("the leases are over", queue.settle([second, third, fourth]), [second, third, fourth])
      yield* loses("nobody has a part", queue.settle(claims.map(claimOf)), claims)
      const places = claims.map(({ sequence }) => sequence)
      yield* same("the first", places[0], second.sequence)
      yield* same("the others", fourth.sequence < places[1] && places[1] < places[2], true)
      const taken = yield* take(queue, 9)
      yield* same("in this order", taken.map(({ sequence }) => sequence), places)
      yield* same("a higher token", taken[0].token > second.token, true)
      const [letter] = yield* queue.divide([taken[2]], [dead(14), released(15)])
      yield* same("a dead letter in its place", letter.sequence, taken[2].sequence)
      yield* same("it is there", (yield* queue.inspect(letter.sequence))._tag, "Some")
    })),

  law("divided into nothing, batches are settled", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const [first, second, third] = yield* take(queue, 3)
      yield* same("no parts", yield* queue.divide([second, first], []), [])
      yield* loses("they are gone", queue.settle([first, second]), [first, second])
      yield* queue.settle([third])
      yield* TestClock.adjust(leaseMillis)
      yield* same("nothing comes back", yield* take(queue), [])
      yield* same("nothing is left", yield* queue.stats, statsOf({}))
    })),

  law("where one lease is lost, dividing changes nothing", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      const [first, second, third] = yield* take(queue, 3)
      yield* queue.release([second], {})
      const parts = [kept(9), released(8), dead(7), released(6, { failure: other })]
      yield* loses("the second", queue.divide([first, second, third], parts), [second])
      yield* loses("into nothing", queue.divide([second, third], []), [second])
      yield* same(
        "what is there",
        yield* queue.stats,
        statsOf({ pending: { batches: 3, items: 3 }, oldestAtMillis: 2 })
      )
      const [again] = yield* take(queue)
      yield* loses("an older lease of it", queue.divide([third, second], parts), [second])
      yield* queue.release([first, again, third], {})
      const all = yield* take(queue, 9)
      yield* same("what comes out", numbersOf(all), [1, 2, 3])
      yield* same("the failures", all.map(({ attempts }) => attempts), [0, 0, 0])
      yield* same("the deliveries", all.map(({ deliveries }) => deliveries), [2, 3, 2])
    })),

  law("a released part is fresh or comes back, as a released batch is", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1)
      const [claim] = yield* take(queue)
      yield* queue.divide([claim], [
        released(11),
        released(12, { failure: other }),
        released(13, { delayMillis: 50 }),
        released(14, { version: 2, giveBack: true }, 3),
        released(15, { delayMillis: 0 }),
        released(16, { delayMillis: 40, failure })
      ])
      const stats = statsOf({
        pending: { batches: 6, items: 8 },
        newer: { batches: 1, items: 3 },
        oldestAtMillis: 11
      })
      yield* same("the counters", yield* queue.stats, stats)
      const of = (claims: ReadonlyArray<ReadonlyArray<{ readonly payload: Uint8Array }>>) => claims.map(numbersOf)
      yield* same("at once", of(yield* takeAll(queue, { version: 1 })), [[11, 15], [12]])
      yield* same("of a version", of(yield* takeAll(queue, { version: 2 })), [[14]])
      yield* TestClock.adjust("39 millis")
      yield* same("none yet", yield* takeAll(queue), [])
      yield* TestClock.adjust("1 millis")
      yield* same("the first that rests", of(yield* takeAll(queue)), [[16]])
      yield* TestClock.adjust("10 millis")
      yield* same("the other", of(yield* takeAll(queue)), [[13]])
    })),

  law(
    "parts have the deliveries of the oldest batch, and its failure where they name none",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* add(queue, 1, 2)
        yield* queue.release(yield* take(queue), {})
        yield* queue.release(yield* take(queue), {})
        const [first, second] = yield* take(queue, 2)
        yield* queue.extend([first], { leaseMillis, failure })
        yield* queue.extend([second], { leaseMillis, failure: other })
        const parts = [
          released(11),
          dead(12),
          released(13, { giveBack: true }),
          released(14, { failure: other }),
          kept(15)
        ]
        const claims = yield* queue.divide([second, first], parts)
        yield* queue.release([claims[4]], { giveBack: true })
        const all = (yield* takeAll(queue)).flat()
        const told = all.map(({ attempts, deliveries, error, payload: [n] }) => [n, deliveries, attempts, error])
        yield* same("what comes out", told, [
          [15, 3, 3, failure.error],
          [11, 4, 3, failure.error],
          [13, 3, 3, failure.error],
          [14, 4, 9, other.error]
        ])
        const [letter] = yield* queue.deadLetters({ filter: {}, limit: 9 })
        yield* same("what is dead", [letter.deliveries, letter.attempts, letter.error], [3, 9, other.error])
      })
  ),

  law("each dead part is a letter of its own", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* queue.append({ batches: [batch(1, { items: 3, oldestAtMillis: 5 })] })
      const [claim] = yield* take(queue)
      yield* TestClock.adjust("20 millis")
      const [first, second] = yield* queue.divide([claim], [dead(11), dead(12, 2)])
      const letter = {
        reason: "bad",
        error: other.error,
        deliveries: 1,
        attempts: other.attempts,
        diedAtMillis: 20
      }
      yield* same("listed", yield* queue.deadLetters({ filter: {}, limit: 9 }), [
        { ...letter, id: first.sequence, items: 1, oldestAtMillis: 11 },
        { ...letter, id: second.sequence, items: 2, oldestAtMillis: 12 }
      ])
      const inspected = Option.getOrUndefined(yield* queue.inspect(second.sequence))
      yield* same("what is in it", inspected?.payload, [12])
      yield* same("counted", yield* queue.stats, statsOf({ dead: { batches: 2, items: 3 } }))
      yield* add(queue, 2)
      yield* same("redriven", yield* inPortions(queue, "redrive", {}, 1), { batches: 2, items: 3 })
      const again = yield* take(queue, 9)
      yield* same("in their places", again.map(({ deliveries, payload: [n] }) => [n, deliveries]), [
        [11, 1],
        [12, 1],
        [2, 1]
      ])
    })),

  law("hundreds of parts are in their order, and in one step", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, ...Array.from({ length: 300 }, (_, n) => n % 200))
      const [first, ...rest] = yield* take(queue, 300)
      const numbers = Array.from({ length: 250 }, (_, n) => n)
      const claims = yield* queue.divide([first, ...rest], numbers.map((n) => n % 5 === 4 ? dead(n) : released(n)))
      const places = claims.map(({ sequence }) => sequence)
      yield* same("their places", places, [...new Set(places)].sort((a, b) => a - b))
      yield* same("the counters", yield* queue.stats, {
        ...statsOf({ oldestAtMillis: 0 }),
        pending: { batches: 200, items: 200 },
        dead: { batches: 50, items: 50 }
      })
      yield* same("what is fresh", numbersOf(yield* take(queue, 300)), numbers.filter((n) => n % 5 !== 4))
    }))
]

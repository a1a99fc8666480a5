/**
 * The laws of clocks that are set back, and of processes whose clocks differ.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import type { QueueStore } from "../../BatchStore.ts"
import {
  add,
  batch,
  failure,
  type Law,
  law,
  leaseMillis,
  numbersOf,
  statsOf,
  take,
  takeAll,
  type Trial
} from "./lawTrial.ts"

const ahead = 1_000_000
const back = 5000

const claim = (queue: Trial["queue"], version = 9) =>
  Effect.map(
    queue.claim({ limit: 9, leaseMillis: 60_000, version }),
    ({ batches, nextAtMillis }) => [numbersOf(batches), nextAtMillis]
  )

export const clockLaws: ReadonlyArray<Law> = [
  law("a lease is no longer for a clock that was set back", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2)
      yield* TestClock.setTime(ahead)
      const [, second] = yield* take(queue, 2)
      yield* queue.extend([second], { leaseMillis: 700 })
      yield* TestClock.setTime(back)
      yield* same("it ends when it would have", yield* claim(queue), [[], back + 700])
      yield* TestClock.adjust(699)
      yield* same("just before", yield* claim(queue), [[], back + 700])
      yield* TestClock.adjust(1)
      yield* same("the one that was extended", yield* claim(queue), [[2], undefined])
      yield* TestClock.adjust(299)
      yield* same("just before the other", yield* claim(queue), [[], back + leaseMillis])
      yield* TestClock.adjust(1)
      yield* same("the other", yield* claim(queue), [[1], undefined])
    })),

  law(
    "a lease is as long as ever where the clock was set back by less than is left of it",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(back)
        yield* add(queue, 1)
        const first = yield* take(queue)
        yield* TestClock.adjust(900)
        yield* same("before", yield* claim(queue), [[], back + leaseMillis])
        yield* TestClock.setTime(back + 300)
        yield* same("it ends when it would have", yield* claim(queue), [[], back + leaseMillis])
        yield* queue.extend(first, { leaseMillis: 2000 })
        yield* same("it runs from the moment that it was extended", yield* claim(queue), [[], back + 2300])
        yield* TestClock.adjust(2000)
        yield* same("it has run out", yield* claim(queue), [[1], undefined])
        yield* loses("who is late", queue.settle(first), first)
      })
  ),

  law(
    "whoever holds a batch holds it also after the clock was set back",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(ahead)
        yield* add(queue, 1, 2, 3)
        const [first, second, third] = yield* take(queue, 3)
        yield* TestClock.setTime(back)
        const none = yield* queue.claim({ limit: 1, leaseMillis, settle: [first], renew: () => [second] })
        yield* same("settled and renewed", [none.batches, none.lost], [[], []])
        yield* queue.release([third], {})
        yield* same("released", yield* claim(queue), [[3], back + leaseMillis])
        yield* loses("the release counts", queue.settle([third]), [third])
        yield* queue.settle([second])
      })
  ),

  law(
    "a rest is no longer for a clock that was set back, of whatever version it is",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(ahead)
        yield* add(queue, 1, 2, 3, 4)
        const [first, second, third, fourth] = yield* take(queue, 4)
        yield* queue.release([first], { delayMillis: 2000 })
        yield* queue.release([second], { delayMillis: 3000, version: 7, failure })
        yield* queue.release([third], { version: 7 })
        yield* queue.release([fourth], { failure })
        yield* TestClock.setTime(back)
        yield* same("what did not rest, for some", yield* claim(queue, 6), [[4], undefined])
        yield* same("for others", yield* claim(queue), [[3], undefined])
        yield* same("what rests", yield* claim(queue), [[], back + 2000])
        yield* TestClock.adjust(1999)
        yield* same("just before", yield* claim(queue), [[], back + 2000])
        yield* TestClock.adjust(1)
        yield* same("then", yield* claim(queue), [[1], undefined])
        yield* same("what is of a version", yield* claim(queue), [[], back + 3000])
        yield* TestClock.adjust(1000)
        yield* same("not for those who cannot read it", yield* claim(queue, 6), [[], back + 2000 + 58_000])
        yield* same("for those who can", yield* claim(queue), [[2], undefined])
      })
  ),

  law("a hold is no longer for a clock that was set back", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(ahead)
      yield* add(queue, 1)
      yield* queue.hold(3000)
      yield* TestClock.setTime(back)
      yield* same("until when", yield* claim(queue), [[], back + 3000])
      yield* same("in the stats", (yield* queue.stats).heldUntilMillis, back + 3000)
      yield* queue.hold(2000)
      yield* TestClock.adjust(2999)
      yield* same("just before", yield* claim(queue), [[], back + 3000])
      yield* TestClock.adjust(1)
      yield* same("then", numbersOf(yield* take(queue)), [1])
    })),

  law(
    "thousands of leases and rests are right after the clock was set back, in order",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(ahead)
        const numbers = Array.from({ length: 1500 }, (_, n) => n % 251)
        yield* add(queue, ...numbers)
        const taken = yield* take(queue, 1500)
        yield* queue.release(taken.filter((_, n) => n % 3 === 0), { delayMillis: 500 })
        yield* queue.release(taken.filter((_, n) => n % 3 === 1), { delayMillis: 400 })
        yield* TestClock.setTime(back)
        yield* same("none yet", yield* claim(queue), [[], back + 400])
        yield* TestClock.adjust(leaseMillis)
        const of = (kind: number) => numbers.filter((_, n) => n % 3 === kind)
        const claims = yield* takeAll(queue)
        yield* same("all of them", numbersOf(claims.flat()), [...of(1), ...of(0), ...of(2)])
      })
  ),

  law("clocks that go back and forth lose nothing", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      for (const time of [ahead, back, 2 * ahead, 0, ahead, back]) {
        yield* TestClock.setTime(time)
        const [first] = yield* take(queue, 1)
        const [second] = yield* take(queue, 1)
        if (first !== undefined) yield* queue.release([first], { delayMillis: 10 })
        if (second !== undefined) yield* queue.release([second], { failure })
        yield* add(queue, 4)
      }
      yield* TestClock.setTime(back)
      // A claim clips what is due, and what was clipped comes after that.
      yield* queue.release(yield* take(queue, 9), {})
      yield* TestClock.adjust(leaseMillis)
      const all = numbersOf((yield* takeAll(queue)).flat())
      yield* same("all are there", [...all].sort(), [1, 2, 3, 4, 4, 4, 4, 4, 4])
      const pending = { batches: 9, items: 9 }
      yield* same("none is left over", yield* queue.stats, statsOf({ pending }))
    })),

  law(
    "ids of seconds ago are duplicates also after the clock was set back",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const idWindowMillis = 10_000
        const append = (...ids: ReadonlyArray<string>) =>
          Effect.map(
            queue.append({ batches: [batch(1, { ids })], idWindowMillis }),
            ({ appended, duplicates }) => [appended, duplicates]
          )
        const backBy = [1, 3000, idWindowMillis - 1, idWindowMillis, idWindowMillis + 1, 25_000, 3_600_000]
        for (const millis of backBy) {
          const now = 10_000_000 + millis
          const id = `back by ${millis}`
          yield* TestClock.setTime(now)
          yield* same(`${id}: new`, yield* append(id), [1, []])
          yield* TestClock.adjust(2000)
          yield* TestClock.setTime(now - millis)
          yield* same(`${id}: known`, yield* append("other", id), [0, [id]])
          yield* same(`${id}: one beside it is new`, yield* append(`${id}, another`), [1, []])
          yield* TestClock.adjust(idWindowMillis - 1)
          yield* same(`${id}: known until its window is over`, yield* append(id), [0, [id]])
          yield* same(`${id}: the other too`, yield* append(`${id}, another`), [0, [`${id}, another`]])
          yield* TestClock.adjust(1)
          yield* same(`${id}: the other is forgotten`, yield* append(`${id}, another`), [1, []])
          yield* TestClock.setTime(now + 2000 + idWindowMillis)
          yield* same(`${id}: forgotten by every clock`, yield* append(id), [1, []])
        }
      })
  ),

  law(
    "ids of a process whose clock is ahead are looked at, and its ids are taken once",
    ({ again, queue, same }) =>
      Effect.gen(function*() {
        const idWindowMillis = 1000
        const append = (of: QueueStore, id: string) =>
          Effect.map(of.append({ batches: [batch(1, { ids: [id] })], idWindowMillis }), ({ appended }) => appended)
        // Of one process whose clock jumps, and of one that goes before all the time.
        for (const [which, leader] of [["the same", queue], ["another", yield* again]] as const) {
          for (const lead of [1, 999, 1000, 1001, 2000, 2048, 50_000]) {
            const start = 1_000_000 * (lead + (leader === queue ? 1 : 100_000))
            let taken = 0
            // The clocks go on, side by side; one process appends what the other one has appended before.
            for (let step = 0; step < 5; step++) {
              const id = `${lead} ms ahead, ${which}, ${step}`
              const now = start + 10 * step
              yield* TestClock.setTime(now + lead)
              taken += yield* append(leader, id)
              yield* TestClock.setTime(now)
              taken += yield* append(queue, id)
            }
            yield* same(`${which} process, ${lead} ms ahead`, taken, 5)
          }
        }
      })
  )
]

/**
 * The laws of dead letters, and of the counters.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { add, batch, failure, inPortions, type Law, law, leaseMillis, numbersOf, statsOf, take } from "./lawTrial.ts"

const reason = "deliveries-exhausted"
const none = { batches: 0, items: 0 }

export const deadLetterLaws: ReadonlyArray<Law> = [
  law("a dead letter is set aside with what it died of", ({ loses, queue, same }) =>
    Effect.gen(function*() {
      yield* queue.append({ batches: [batch(1, { items: 4 }), batch(2)] })
      const [first, second] = yield* take(queue, 2)
      yield* TestClock.adjust("50 millis")
      yield* queue.settle([second])
      yield* loses("one that is gone, among others", queue.deadLetter([second, first], { reason, failure }), [second])
      yield* loses("it is held no more", queue.settle([first]), [first])
      yield* TestClock.adjust(leaseMillis * 10)
      yield* same("it does not come back", yield* take(queue, 2), [])
      const letter = {
        id: first.sequence,
        items: 4,
        reason,
        error: failure.error,
        deliveries: 1,
        attempts: 3,
        oldestAtMillis: 1,
        diedAtMillis: 50
      }
      yield* same("listed", yield* queue.deadLetters({ filter: {}, limit: 5 }), [letter])
      const inspected = yield* queue.inspect(first.sequence)
      yield* same("inspected", Option.getOrUndefined(inspected), { ...letter, payload: Uint8Array.of(1) })
      yield* same("no such letter", (yield* queue.inspect(second.sequence))._tag, "None")
      yield* add(queue, 3)
      const [pending] = yield* take(queue)
      yield* same("one that lives", (yield* queue.inspect(pending.sequence))._tag, "None")
    })),

  law("dead letters are listed by id, page by page", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3, 4, 5)
      const taken = yield* take(queue, 5)
      for (const claim of [...taken].reverse()) yield* queue.deadLetter([claim], { reason, failure })
      const ids = taken.map(({ sequence }) => sequence)
      const page = (limit: number, after?: number) =>
        Effect.map(queue.deadLetters({ filter: {}, limit, after }), (letters) => letters.map(({ id }) => id))
      yield* same("the first", yield* page(2), ids.slice(0, 2))
      yield* same("the next", yield* page(2, ids[1]), ids.slice(2, 4))
      yield* same("the last", yield* page(2, ids[3]), ids.slice(4))
      yield* same("behind the last", yield* page(2, ids[4]), [])
      yield* same("no more than none", yield* page(0), [])
    })),

  law("one that dies again is listed once, in its old place", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* add(queue, 1, 2, 3)
      yield* queue.deadLetter(yield* take(queue, 3), { reason, failure })
      const [first, second, third] = yield* queue.deadLetters({ filter: {}, limit: 5 })
      for (const { id } of [third, first, third, second]) {
        yield* same("redriven", yield* inPortions(queue, "redrive", { ids: [id] }), { batches: 1, items: 1 })
        yield* TestClock.adjust(5)
        yield* queue.deadLetter(yield* take(queue), { reason: `${reason} again`, failure })
      }
      const letters = yield* queue.deadLetters({ filter: {}, limit: 5 })
      const told = letters.map(({ diedAtMillis, id, reason }) => [id, diedAtMillis, reason])
      const again = (
        [letter, diedAtMillis]: readonly [typeof first, number]
      ) => [letter.id, diedAtMillis, `${reason} again`]
      yield* same("listed", told, ([[first, 10], [second, 20], [third, 15]] as const).map(again))
      yield* same("counted", yield* inPortions(queue, "countDead", {}, 2), { batches: 3, items: 3 })
    })),

  law(
    "what is redriven is in its old place, as if it had never been claimed",
    ({ loses, queue, same }) =>
      Effect.gen(function*() {
        yield* queue.append({ batches: [batch(1), batch(2, { items: 3 }), batch(3), batch(4)] })
        const taken = yield* take(queue, 3)
        yield* queue.deadLetter(taken, { reason, failure })
        const unknown = [taken[2].sequence + 1, 0, -1, 1.5, Number.MAX_SAFE_INTEGER]
        yield* same("no such letters", yield* inPortions(queue, "redrive", { ids: unknown }), none)
        yield* same("no letters", yield* inPortions(queue, "redrive", { ids: [] }), none)
        yield* same("one of them", yield* inPortions(queue, "redrive", { ids: [taken[1].sequence, ...unknown] }), {
          batches: 1,
          items: 3
        })
        yield* loses("who had it has it no more", queue.settle([taken[1]]), [taken[1]])
        yield* same("the rest", yield* inPortions(queue, "redrive"), { batches: 2, items: 2 })
        yield* same("nothing is left", [
          yield* queue.deadLetters({ filter: {}, limit: 5 }),
          yield* inPortions(queue, "redrive")
        ], [
          [],
          none
        ])
        const again = yield* take(queue, 5)
        yield* same("all in their places", numbersOf(again), [1, 2, 3, 4])
        const { attempts, deliveries, error, failedAtMillis, token } = again[0]
        yield* same("as new", [deliveries, attempts, failedAtMillis, error], [1, 0, 0, ""])
        yield* same("but for the token", token > taken[0].token, true)
      })
  ),

  law("what is discarded is gone", ({ queue, same }) =>
    Effect.gen(function*() {
      yield* queue.append({ batches: [batch(1), batch(2, { items: 3 }), batch(3), batch(4)] })
      const taken = yield* take(queue, 3)
      yield* queue.deadLetter(taken, { reason, failure })
      yield* same("no such letter", yield* inPortions(queue, "discard", { ids: [taken[2].sequence + 1] }), none)
      yield* same("one of them", yield* inPortions(queue, "discard", { ids: [taken[1].sequence] }), {
        batches: 1,
        items: 3
      })
      yield* same("it cannot be redriven", yield* inPortions(queue, "redrive", { ids: [taken[1].sequence] }), none)
      yield* same("the rest", yield* inPortions(queue, "discard"), { batches: 2, items: 2 })
      yield* same("what is left", yield* queue.stats, statsOf({ pending: { batches: 1, items: 1 }, oldestAtMillis: 4 }))
      yield* same("what lives comes out", numbersOf(yield* take(queue, 5)), [4])
    })),

  law("thousands of dead letters are redriven and discarded as a whole", ({ queue, same }) =>
    Effect.gen(function*() {
      const count = 2500
      yield* add(queue, ...Array.from({ length: count }, () => 1))
      yield* queue.deadLetter(yield* take(queue, count), { reason, failure })
      yield* same("redriven", yield* inPortions(queue, "redrive"), { batches: count, items: count })
      yield* queue.deadLetter(yield* take(queue, count), { reason, failure })
      yield* same("discarded", yield* inPortions(queue, "discard"), { batches: count, items: count })
      yield* same("nothing is left", yield* queue.stats, statsOf({}))
    })),

  law(
    "the counters say what there is, and the oldest what can be claimed next",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const stats = (pending: number, dead: number, oldestAtMillis: number | undefined) =>
          statsOf({
            pending: { batches: pending, items: 2 * pending },
            dead: { batches: dead, items: 2 * dead },
            oldestAtMillis
          })
        yield* same("nothing", yield* queue.stats, stats(0, 0, undefined))
        // The oldest item need not be in the oldest batch.
        yield* queue.append({
          batches: [batch(1, { items: 2, oldestAtMillis: 30 }), batch(2, { items: 2, oldestAtMillis: 20 })]
        })
        yield* same("two", yield* queue.stats, stats(2, 0, 30))
        const first = yield* take(queue)
        yield* same("one is claimed", yield* queue.stats, stats(2, 0, 20))
        const second = yield* take(queue)
        yield* same("both are", yield* queue.stats, stats(2, 0, undefined))
        yield* queue.deadLetter(second, { reason, failure })
        yield* same("one is dead", yield* queue.stats, stats(1, 1, undefined))
        yield* TestClock.adjust(leaseMillis)
        yield* same("the lease has run out", yield* queue.stats, stats(1, 1, 30))
        yield* queue.settle(first).pipe(
          Effect.catchTag("LeaseLost", () => Effect.flatMap(take(queue), queue.settle.bind(queue)))
        )
        yield* same("it is settled", yield* queue.stats, stats(0, 1, undefined))
      })
  )
]

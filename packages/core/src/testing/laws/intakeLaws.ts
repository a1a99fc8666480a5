/**
 * The laws of what is appended.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import { add, batch, failure, type Law, law, numbersOf, take } from "./lawTrial.ts"

const nothing = { appended: 0, duplicates: [] }

export const intakeLaws: ReadonlyArray<Law> = [
  law("batches come out as they were appended, in that order", ({ queue, same }) =>
    Effect.gen(function*() {
      const bytes = Uint8Array.from({ length: 10_000 }, (_, n) => n % 256)
      const first = { payload: bytes, items: 7, oldestAtMillis: 1_700_000_000_123 }
      const empty = { payload: new Uint8Array(0), items: 1, oldestAtMillis: 0 }
      yield* same("appending", yield* queue.append({ batches: [first, empty] }), { appended: 2, duplicates: [] })
      // A part of a larger buffer is no more than that part.
      const many = Array.from({ length: 150 }, (_, n) => batch(n, { payload: bytes.subarray(n, n + 2) }))
      yield* same("appending many", yield* queue.append({ batches: [many[0], ...many.slice(1)] }), {
        appended: 150,
        duplicates: []
      })
      const taken = yield* take(queue, 200)
      const unclaimed = { attempts: 0, failedAtMillis: 0, error: "", deliveries: 1 }
      const sequences = taken.map(({ sequence }) => sequence)
      const expected = [first, empty, ...many].map((batch, index) => {
        const { sequence, token } = taken[index]
        return { ...batch, ...unclaimed, sequence, token }
      })
      yield* same("the batches", taken, expected)
      yield* same("the sequences", sequences, [...new Set(sequences)].sort((a, b) => a - b))
      yield* queue.settle(taken)
      yield* add(queue, 1)
      const [later] = yield* take(queue)
      yield* same("a later sequence is higher", later.sequence > sequences[sequences.length - 1], true)
    })),

  law(
    "no more is appended than the longest beginning that maxPendingItems leaves room for",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const maxPendingItems = 10
        const [two, nine, one] = [batch(1, { items: 2 }), batch(2, { items: 9 }), batch(3)]
        const append = (...[first, ...rest]: ReadonlyArray<typeof one>) =>
          queue.append({ batches: [first, ...rest], maxPendingItems })
        yield* same("of 2, 9 and 1", yield* append(two, nine, one), { appended: 1, duplicates: [] })
        yield* same("9 beside 2", yield* append(nine), nothing)
        yield* same("8 beside 2", yield* append(batch(4, { items: 8 })), { appended: 1, duplicates: [] })
        yield* same("1 beside 10", yield* append(one), nothing)
        yield* same("without a limit", yield* queue.append({ batches: [one] }), { appended: 1, duplicates: [] })
        const taken = yield* take(queue, 2)
        yield* same("what is claimed counts", yield* append(one), nothing)
        yield* queue.settle(taken.slice(0, 1))
        yield* same("what is settled does not", yield* append(one), { appended: 1, duplicates: [] })
        yield* queue.deadLetter(taken.slice(1), { reason: "some", failure })
        const [first, ...rest] = Array.from({ length: 9 }, (_, n) => batch(n))
        yield* same("nor do dead letters", yield* append(first, ...rest), { appended: 8, duplicates: [] })
        yield* queue.redrive({ filter: {}, limit: 5 })
        yield* same("until they come back", yield* append(one), nothing)
        yield* same("zero", yield* queue.append({ batches: [one], maxPendingItems: 0 }), nothing)
      })
  ),

  law(
    "where an id is remembered, all of them are told and nothing is appended",
    ({ other, queue, same }) =>
      Effect.gen(function*() {
        const append = (...ids: ReadonlyArray<ReadonlyArray<string>>) => {
          const [first, ...rest] = ids.map((ids, n) => batch(n, { ids }))
          return queue.append({ batches: [first, ...rest], idWindowMillis: 1000 })
        }
        const awkward = ["", "__proto__", "it's", "\"", "é", "e\u0301", "😀", "1", "a b", "%"]
        yield* same("new ones", yield* append(awkward, [], ["z"]), { appended: 3, duplicates: [] })
        yield* same("two known ones", yield* append(["new", "z"], ["it's", "other"]), {
          appended: 0,
          duplicates: ["z", "it's"]
        })
        yield* same("each of the known ones", yield* append(awkward), { appended: 0, duplicates: awkward })
        yield* same("those beside known ones are not known", yield* append(["new", "other"]), {
          appended: 1,
          duplicates: []
        })
        yield* same("only three and one are there", (yield* queue.stats).pending.batches, 4)
        yield* queue.settle(yield* take(queue, 10))
        yield* same("they outlive their batches", yield* append(["z"]), { appended: 0, duplicates: ["z"] })
        const elsewhere = yield* other
        yield* same(
          "each queue has its own",
          yield* elsewhere.append({ batches: [batch(1, { ids: ["z"] })], idWindowMillis: 1000 }),
          { appended: 1, duplicates: [] }
        )
      })
  ),

  law(
    "ids of batches that there is no room for are neither looked up nor remembered",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const append = (maxPendingItems: number, ...ids: ReadonlyArray<string>) => {
          const [first, ...rest] = ids.map((id, n) => batch(n, { ids: [id] }))
          return queue.append({ batches: [first, ...rest], maxPendingItems, idWindowMillis: 1000 })
        }
        yield* same("of two, one", yield* append(1, "a", "b"), { appended: 1, duplicates: [] })
        yield* same("no room", yield* append(1, "a"), nothing)
        yield* same("the other later", yield* append(2, "b", "a"), { appended: 1, duplicates: [] })
      })
  ),

  law("an id is remembered until its window is over, to the millisecond", ({ queue, same }) =>
    Effect.gen(function*() {
      const append = (id: string, idWindowMillis: number | undefined = 100) =>
        Effect.map(queue.append({ batches: [batch(1, { ids: [id] })], idWindowMillis }), ({ appended }) => appended)
      yield* TestClock.adjust("37 millis")
      yield* append("a")
      yield* TestClock.adjust("99 millis")
      yield* same("just before", yield* append("a"), 0)
      yield* append("b")
      yield* TestClock.adjust("1 millis")
      yield* same("at the end", yield* append("a"), 1)
      yield* TestClock.adjust("98 millis")
      yield* same("one that came later", yield* append("b"), 0)
      yield* TestClock.adjust("1 millis")
      yield* same("at its end", yield* append("b"), 1)
      yield* same("remembered anew", yield* append("a"), 0)
      yield* TestClock.adjust("1 millis")
      yield* same("at the second end", yield* append("a"), 1)
      // Windows of all lengths, at moments that divide by nothing.
      for (const window of [1, 2, 3, 7, 64, 100, 1000, 3_600_000]) {
        const id = `window ${window}`
        yield* same(`${window} ms: new`, yield* append(id, window), 1)
        yield* TestClock.adjust(window - 1)
        yield* same(`${window} ms: just before`, yield* append(id, window), 0)
        yield* TestClock.adjust(1)
        yield* same(`${window} ms: at the end`, yield* append(id, window), 1)
      }
      yield* append("for ever", Infinity)
      yield* TestClock.adjust("2 days")
      yield* same("without an end", yield* append("for ever", Infinity), 0)
    })),

  law("ids of thousands of appends are remembered and forgotten alike", ({ queue, same }) =>
    Effect.gen(function*() {
      const steps = 60
      const perStep = 50
      const ids = (step: number) => Array.from({ length: perStep }, (_, n) => `${step}.${n}`)
      const append = (step: number) =>
        Effect.map(
          queue.append({ batches: [batch(1, { ids: ids(step) })], idWindowMillis: 10 * 7 }),
          ({ appended, duplicates }) => [appended, duplicates.length]
        )
      for (let step = 0; step < steps; step++) {
        yield* same(`step ${step}`, yield* append(step), [1, 0])
        yield* TestClock.adjust(7)
        if (step >= 9) yield* same(`step ${step}, nine before`, yield* append(step - 8), [0, perStep])
      }
      for (let step = 0; step < steps; step++) {
        yield* same(`step ${step} again`, yield* append(step), step > steps - 10 ? [0, perStep] : [1, 0])
      }
    })),

  law(
    "outside of a transaction there is none, and bytes are as they were",
    ({ queue, same }) =>
      Effect.gen(function*() {
        yield* same("the transaction", (yield* queue.transaction)._tag, "None")
        yield* add(queue, 0, 255)
        yield* same("bytes", numbersOf(yield* take(queue, 2)), [0, 255])
      })
  )
]

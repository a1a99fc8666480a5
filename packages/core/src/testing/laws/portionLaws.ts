/**
 * The laws of portions of dead letters, and of the filters that they are for.
 */
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import type { DeadLetterFilter } from "../../BatchStore.ts"
import { batch, failure, inPortions, type Law, law, leaseMillis, statsOf, take, type Trial } from "./lawTrial.ts"

const none = { batches: 0, items: 0 }

/** Lets batches of two items each die, and answers their ids. */
const die = (
  queue: Trial["queue"],
  letters: ReadonlyArray<{ readonly reason?: string; readonly error?: string }>
) =>
  Effect.gen(function*() {
    const [first, ...rest] = letters.map((_, n) => batch(n % 256, { items: 2 }))
    yield* queue.append({ batches: [first, ...rest] })
    const taken = yield* take(queue, letters.length)
    for (const [index, { error = "", reason = "some" }] of letters.entries()) {
      yield* queue.deadLetter([taken[index]], { reason, failure: { ...failure, error } })
    }
    return taken.map(({ sequence }) => sequence)
  })

const idsOf = (queue: Trial["queue"], filter: DeadLetterFilter, limit = 1000, after?: number) =>
  Effect.map(queue.deadLetters({ filter, limit, after }), (letters) => letters.map(({ id }) => id))

/** All of them, page by page: the last page is the first that has fewer than it may have. */
const pages = (queue: Trial["queue"], filter: DeadLetterFilter, limit: number) =>
  Effect.gen(function*() {
    const all: Array<number> = []
    let page = yield* idsOf(queue, filter, limit)
    all.push(...page)
    while (page.length === limit) {
      page = yield* idsOf(queue, filter, limit, all.at(-1))
      all.push(...page)
    }
    return all
  })

const twice = (batches: number) => ({ batches, items: 2 * batches })

export const portionLaws: ReadonlyArray<Law> = [
  law(
    "whoever goes on after the last portion meets each letter exactly once",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const letters = Array.from({ length: 23 }, (_, n) => ({ reason: n % 3 === 0 ? "third" : "other" }))
        const ids = yield* die(queue, letters)
        const thirds = ids.filter((_, n) => n % 3 === 0)
        const others = ids.filter((_, n) => n % 3 !== 0)
        for (const limit of [1, 2, 3, 8, 15, 22, 23, 24, 1000]) {
          const count = (filter: DeadLetterFilter) => inPortions(queue, "countDead", filter, limit)
          yield* same(`counted by ${limit}`, yield* count({}), twice(23))
          yield* same(`some counted by ${limit}`, yield* count({ reason: "third" }), twice(8))
          yield* same(`the last counted by ${limit}`, yield* count({ ids: ids.slice(-1) }), twice(1))
          yield* same(`none counted by ${limit}`, yield* count({ reason: "none" }), none)
          yield* same(`listed by ${limit}`, yield* pages(queue, {}, limit), ids)
          yield* same(`some listed by ${limit}`, yield* pages(queue, { reason: "third" }, limit), thirds)
        }
        yield* same("some are discarded", yield* inPortions(queue, "discard", { reason: "third" }, 3), twice(8))
        yield* same("the others are left", yield* idsOf(queue, {}), others)
        const some = others.slice(3, 10)
        yield* same("some are redriven", yield* inPortions(queue, "redrive", { ids: some }, 2), twice(7))
        yield* same("those", (yield* take(queue, 50)).map(({ sequence }) => sequence), some)
        yield* same("the rest, one by one", yield* inPortions(queue, "redrive", {}, 1), twice(8))
        yield* same("nothing is left", [yield* idsOf(queue, {}), (yield* queue.stats).dead], [[], none])
      })
  ),

  law(
    "a portion has no more than its limit, of those after its beginning",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const ids = yield* die(queue, Array.from({ length: 6 }, () => ({})))
        const amount = ({ batches, items }: { readonly batches: number; readonly items: number }) => ({
          batches,
          items
        })
        const portion = { filter: {}, limit: 2 }
        yield* same("counted", amount(yield* queue.countDead(portion)), twice(2))
        yield* same("counted after the fifth", yield* queue.countDead({ ...portion, after: ids[4] }), {
          ...twice(1),
          last: undefined
        })
        yield* same("behind the last", yield* queue.redrive({ ...portion, after: ids[5] }), {
          ...none,
          last: undefined
        })
        const { last, ...redriven } = yield* queue.redrive({ ...portion, after: ids[0] })
        yield* same("redriven", [redriven, last], [twice(2), ids[2]])
        yield* same("what is left", yield* idsOf(queue, {}), [ids[0], ids[3], ids[4], ids[5]])
        yield* same("discarded", amount(yield* queue.discard({ ...portion, after: last })), twice(2))
        yield* same("what is left then", yield* idsOf(queue, {}), [ids[0], ids[5]])
        const away = { ids: [ids[0]] }
        yield* same(
          "none of those named is after it",
          yield* queue.discard({ filter: away, limit: 2, after: ids[0] }),
          {
            ...none,
            last: undefined
          }
        )
      })
  ),

  law("counting changes nothing", ({ queue, same }) =>
    Effect.gen(function*() {
      const ids = yield* die(queue, [{}, {}, { reason: "rare" }])
      const before = yield* queue.deadLetters({ filter: {}, limit: 9 })
      yield* inPortions(queue, "countDead")
      yield* inPortions(queue, "countDead", { ids, reason: "rare" }, 1)
      yield* same("the letters", yield* queue.deadLetters({ filter: {}, limit: 9 }), before)
      yield* same("the counters", yield* queue.stats, statsOf({ dead: twice(3) }))
      yield* TestClock.adjust(leaseMillis)
      yield* same("none can be claimed", yield* take(queue, 9), [])
    })),

  law("text is looked for as it is, whatever it means to a database", ({ queue, same }) =>
    Effect.gen(function*() {
      const errors = [
        "50% off",
        "50 off",
        "a_b",
        "axb",
        "A_B",
        "a\\b",
        "a\\_b",
        "it's \"so\"",
        "[a-c]*?",
        "caf\u00e9",
        "CAF\u00c9",
        "cafe\u0301",
        "two\nlines",
        "😀",
        "--; DROP TABLE",
        "",
        " "
      ]
      const texts = [
        "%",
        "%%",
        "50%",
        "_",
        "a_b",
        "a%b",
        "A",
        "a",
        "b",
        "\\",
        "\\_",
        "\\%",
        "'",
        "\"",
        "[a",
        "[a-c]",
        "*"
      ]
        .concat([
          "?",
          "*?",
          "\u00e9",
          "\u00c9",
          "e\u0301",
          "e",
          "\n",
          "two\nlines",
          "😀",
          "--",
          ";",
          "",
          " ",
          "off",
          "OFF"
        ])
      const ids = yield* die(queue, errors.map((error) => ({ error })))
      for (const error of texts) {
        const meant = ids.filter((_, n) => errors[n].includes(error))
        yield* same(`with ${JSON.stringify(error)}`, yield* idsOf(queue, { error }), meant)
        const counted = yield* inPortions(queue, "countDead", { error }, 3)
        yield* same(`counted with ${JSON.stringify(error)}`, counted, twice(meant.length))
      }
      yield* same("discarded", yield* inPortions(queue, "discard", { error: "_" }), twice(3))
      yield* same("the others", yield* idsOf(queue, {}), ids.filter((_, n) => !errors[n].includes("_")))
    })),

  law("a reason is all of it, upper and lower case as it is", ({ queue, same }) =>
    Effect.gen(function*() {
      const reasons = ["corrupt", "Corrupt", "corrupt ", "corrup%", "corrup_", "", "retries-exhausted"]
      const ids = yield* die(queue, reasons.map((reason) => ({ reason })))
      for (const [n, reason] of reasons.entries()) {
        yield* same(`"${reason}"`, yield* idsOf(queue, { reason }), [ids[n]])
      }
      yield* same("no such reason", yield* idsOf(queue, { reason: "retries" }), [])
    })),

  law(
    "older than some time is told to the millisecond, and with it included",
    ({ queue, same }) =>
      Effect.gen(function*() {
        const [first] = yield* die(queue, [{}])
        yield* TestClock.adjust("100 millis")
        const [second] = yield* die(queue, [{}])
        yield* TestClock.adjust("1 millis")
        const [third] = yield* die(queue, [{}])
        yield* TestClock.adjust("1000 millis")
        const older = (olderThanMillis: number) => idsOf(queue, { olderThanMillis })
        yield* same("0", yield* older(0), [first, second, third])
        yield* same("1000", yield* older(1000), [first, second, third])
        yield* same("1001", yield* older(1001), [first, second])
        yield* same("1002", yield* older(1002), [first])
        yield* same("1101", yield* older(1101), [first])
        yield* same("1102", yield* older(1102), [])
        yield* same("what is discarded", yield* inPortions(queue, "discard", { olderThanMillis: 1001 }, 1), twice(2))
        yield* same("what is left", yield* idsOf(queue, {}), [third])
        yield* TestClock.adjust("1 millis")
        yield* same("a moment later", yield* inPortions(queue, "redrive", { olderThanMillis: 1001 }), twice(1))
      })
  ),

  law("everything that a filter says holds for what it is for", ({ queue, same }) =>
    Effect.gen(function*() {
      const letters = Array.from({ length: 32 }, (_, n) => ({
        reason: (n & 1) > 0 ? "yes" : "no",
        error: (n & 2) > 0 ? "timed out" : "refused"
      }))
      const early = yield* die(queue, letters.slice(0, 16))
      yield* TestClock.adjust("10 millis")
      const ids = [...early, ...yield* die(queue, letters.slice(16))]
      const named = ids.filter((_, n) => (n & 4) > 0)
      for (let kind = 0; kind < 16; kind++) {
        const filter: DeadLetterFilter = {
          reason: (kind & 1) > 0 ? "yes" : undefined,
          error: (kind & 2) > 0 ? "timed" : undefined,
          ids: (kind & 4) > 0 ? named : undefined,
          olderThanMillis: (kind & 8) > 0 ? 10 : undefined
        }
        const meant = ids.filter((_, n) => (kind & 7 & ~n) === 0 && ((kind & 8) === 0 || n < 16))
        yield* same(`listed, ${kind}`, yield* pages(queue, filter, 3), meant)
        yield* same(`counted, ${kind}`, yield* inPortions(queue, "countDead", filter, 3), twice(meant.length))
      }
    })),

  law("as many are listed as there may be, however rare they are", ({ queue, same }) =>
    Effect.gen(function*() {
      const count = 6500
      const rare = [3100, 6400, 6450]
      yield* queue.append({ batches: [batch(1), ...Array.from({ length: count - 1 }, () => batch(1))] })
      const taken = yield* take(queue, count)
      yield* queue.deadLetter(taken.filter((_, n) => !rare.includes(n)), { reason: "common", failure })
      const told = { ...failure, error: "a rare one" }
      yield* queue.deadLetter(taken.filter((_, n) => rare.includes(n)), { reason: "rare", failure: told })
      const ids = rare.map((n) => taken[n].sequence)
      for (const filter of [{ reason: "rare" }, { error: "a rare" }, { ids }]) {
        yield* same("one", yield* idsOf(queue, filter, 1), ids.slice(0, 1))
        yield* same("two", yield* idsOf(queue, filter, 2), ids.slice(0, 2))
        yield* same("all", yield* idsOf(queue, filter, 9), ids)
        yield* same("after the second", yield* idsOf(queue, filter, 9, ids[1]), ids.slice(2))
        yield* same("after the last", yield* idsOf(queue, filter, 9, ids[2]), [])
        yield* same("counted", yield* inPortions(queue, "countDead", filter, 2), { batches: 3, items: 3 })
      }
      yield* same("discarded", yield* inPortions(queue, "discard", { reason: "rare" }, 1), { batches: 3, items: 3 })
      yield* same("the others", (yield* queue.stats).dead, { batches: count - 3, items: count - 3 })
    })),

  law("thousands of ids can be named, in any order", ({ queue, same }) =>
    Effect.gen(function*() {
      const count = 3000
      yield* queue.append({ batches: [batch(1), ...Array.from({ length: count - 1 }, () => batch(1))] })
      const taken = yield* take(queue, count)
      yield* queue.deadLetter(taken, { reason: "some", failure })
      const named = taken.filter((_, n) => n % 2 === 0).map(({ sequence }) => sequence).reverse()
      const half = { batches: count / 2, items: count / 2 }
      yield* same("counted", yield* inPortions(queue, "countDead", { ids: [...named, ...named] }), half)
      yield* same("redriven", yield* inPortions(queue, "redrive", { ids: named }, 400), half)
      yield* same("the others", yield* inPortions(queue, "countDead"), half)
      yield* same("those", (yield* take(queue, count)).map(({ sequence }) => sequence), [...named].reverse())
    }))
]

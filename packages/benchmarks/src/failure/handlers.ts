/** Handlers that fail, and who is spared: the first table. */
import { Batch, Retry } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { inMemory, makeBooks, open, type Options, range, type Row, seconds, storeFirst, until } from "./open.ts"

/** Long enough for every schedule that ends, and for others to show what they do. */
const watchMillis = 5_000

const bad = -1

/** What differs from one row to the next. */
type Varied = Pick<Partial<Options<string>>, "inlineDelay" | "isolate" | "maxDeliveries" | "workers">

/** One batch that always fails, before many good ones. */
const behindOne = (
  what: string,
  before: string,
  retry: Schedule.Schedule<unknown>,
  good = 200,
  millis = watchMillis
): Effect.Effect<Row> =>
  Effect.gen(function*() {
    const books = makeBooks()
    const queue = yield* open(yield* inMemory, books, {
      retry,
      process: ({ items: [item] }) => item === bad ? Effect.fail("down") : Effect.void
    })
    const startedAt = yield* storeFirst(queue, [bad, ...range(good)])
    yield* Effect.sleep(millis)
    const { dead } = yield* queue.stats
    const attempts = books.calls.filter(([item]) => item === bad).length
    const lastAt = books.doneAt.size < good ? undefined : Math.max(...books.doneAt.values()) - startedAt
    const { size } = books.doneAt
    const when = lastAt === undefined ? "" : ` after ${seconds(lastAt)}`
    return {
      what: `1 worker, one batch that always fails before ${good} good ones, ${millis / 1_000} s: ${what}`,
      before,
      now:
        `${size} good ones handled${when}; ${attempts} attempts at the bad one, ${dead.items} dead letters, ${books.logged} log lines`,
      figures: { handled: size, lastMillis: lastAt ?? null, attempts, dead: dead.items, logged: books.logged }
    }
  }).pipe(Effect.scoped, Effect.orDie)

const schedules: ReadonlyArray<Effect.Effect<Row>> = [
  behindOne("`Schedule.spaced(\"200 millis\")`", "0 of 200 handled", Schedule.spaced("200 millis")),
  behindOne(
    "`exponential(\"10 millis\")` with `recurs(3)`",
    "0 of 200 handled",
    Schedule.intersect(Schedule.exponential("10 millis"), Schedule.recurs(3))
  ),
  behindOne(
    "`Retry.exponential({ base: \"100 millis\", cap: \"1 second\" })`",
    "0 of 200 handled",
    Retry.exponential({ base: "100 millis", cap: "1 second" })
  ),
  behindOne(
    "`Schedule.recurs(3)`",
    "0 of 200 handled, 14,116 attempts, no dead letter",
    Schedule.recurs(3)
  ),
  behindOne(
    "`Schedule.recurs(0)`",
    "0 of 200 handled, 18,780 attempts, no dead letter",
    Schedule.recurs(0)
  ),
  behindOne(
    "`Schedule.forever`, without a delay and without an end",
    "not looked at",
    Schedule.forever
  )
]

/** Many batches that fail, with all defaults, before good ones. */
const destinationDown = (what: string, before: string, options: Varied): Effect.Effect<Row> =>
  Effect.gen(function*() {
    const books = makeBooks()
    const queue = yield* open(yield* inMemory, books, {
      ...options,
      process: ({ items: [item] }) => item < 0 ? Effect.fail("down") : Effect.void
    })
    const startedAt = yield* storeFirst(queue, [...range(60, -60), ...range(20)])
    yield* until(() => books.doneAt.size === 20, 30_000)
    const times = [...books.doneAt.values()].map((at) => at - startedAt)
    const [first, last] = [Math.min(...times), Math.max(...times)]
    return {
      what: `all defaults, 60 batches whose destination is down, before 20 good ones: ${what}`,
      before,
      now: times.length === 0
        ? "none in 30 s"
        : `the first good one after ${seconds(first)}, the ${times.length}th after ${seconds(last)}`,
      figures: { firstMillis: first, lastMillis: last, handled: times.length }
    }
  }).pipe(Effect.scoped, Effect.orDie)

/** One bad item among others, of which several are claimed as a group. */
const group = (what: string, before: string, options: Varied): Effect.Effect<Row> =>
  Effect.gen(function*() {
    const books = makeBooks()
    const queue = yield* open(yield* inMemory, books, {
      batches: 10,
      retry: Schedule.spaced("50 millis"),
      ...options,
      process: ({ items }) => items.includes(bad) ? Effect.fail("bad") : Effect.void
    })
    yield* storeFirst(queue, [...range(25), bad, ...range(24, 25)])
    yield* Effect.sleep(2_000)
    const letters = yield* queue.deadLetters.list()
    const contents = yield* Effect.forEach(letters, ({ id }) => queue.deadLetters.inspect(id))
    const items = contents.flatMap((letter) =>
      letter._tag === "Some" && letter.value.content._tag === "Success" ? letter.value.content.success : []
    )
    const good = items.filter((item) => item !== bad).length
    const { pending } = yield* queue.stats
    return {
      what: `\`batches: 10\`, one bad item in 50, ${what}, 2 s`,
      before,
      now:
        `${items.length} dead letters, ${good} of them good; ${books.doneAt.size} good ones handled, ${pending.items} pending`,
      figures: { dead: items.length, goodDead: good, handled: books.doneAt.size, pending: pending.items }
    }
  }).pipe(Effect.scoped, Effect.orDie)

export const never: Effect.Effect<Row> = Effect.gen(function*() {
  const books = makeBooks()
  const queue = yield* open(yield* inMemory, books, {
    retry: Schedule.stop,
    maxDeliveries: 10,
    process: () => Effect.fail("down")
  })
  yield* storeFirst(queue, [1])
  yield* until(() => Effect.map(Effect.orDie(queue.stats), ({ dead }) => dead.items > 0), 5_000)
  const [letter] = yield* queue.deadLetters.list()
  return {
    what: "`retry: Schedule.stop, maxDeliveries: 10`",
    before: "the handler ran 10 times before the dead letter",
    now: `it ran ${books.calls.length} times; ${letter === undefined ? "no dead letter" : letter.reason}`,
    figures: { calls: books.calls.length, dead: letter === undefined ? 0 : 1 }
  }
}).pipe(Effect.scoped, Effect.orDie)

const two = [3, 200]

/** A handler that fails as a whole, and says of which items. */
const failsFor = (bad: ReadonlyArray<number>): Options<unknown>["process"] => ({ items }) => {
  const found = items.filter((item) => bad.includes(item))
  return found.length > 0 ? Effect.fail(`${found.join()} are bad`) : Effect.void
}

/** Some bad items in one large batch. */
const of256 = (
  bad: ReadonlyArray<number>,
  what: string,
  before: string,
  options: Varied & Pick<Options<unknown>, "process">
) =>
  Effect.gen(function*() {
    const books = makeBooks()
    const queue = yield* open(yield* inMemory, books, { retry: Schedule.stop, flush: { size: 256 }, ...options })
    yield* storeFirst(queue, range(256))
    yield* until(
      () => Effect.map(Effect.orDie(queue.stats), ({ dead, pending }) => dead.items > 0 && pending.items === 0),
      5_000
    )
    const { settled } = yield* queue.metrics
    const letters = yield* queue.deadLetters.list()
    const errors = new Set(letters.map(({ error }) => error)).size
    const items = letters.reduce((sum, letter) => sum + letter.items, 0)
    return {
      what: `of a batch of 256, ${bad.length === 1 ? "item" : "items"} ${bad.join(" and ")} bad: ${what}`,
      before,
      now:
        `${letters.length} dead letters of ${items} items, ${errors} errors, ${settled} settled, ${books.calls.length} calls`,
      figures: { dead: letters.length, items, errors, settled, calls: books.calls.length }
    }
  }).pipe(Effect.scoped, Effect.orDie)

/** The schedules at once, because they wait for most of their time; then one after the other. */
export const handlers: Effect.Effect<ReadonlyArray<Row>> = Effect.gen(function*() {
  const first = yield* Effect.all(schedules, { concurrency: "unbounded" })
  const second = yield* Effect.all([
    destinationDown("1 worker", "25 s", {}),
    destinationDown("4 workers", "6 s", { workers: 4 }),
    destinationDown("1 worker, `inlineDelay: 0`", "0.26 s", { inlineDelay: 0 }),
    group("`maxDeliveries: 3`", "10 dead letters, 9 of them good", { maxDeliveries: 3 }),
    group("without `maxDeliveries`", "9 good ones are never handled", {}),
    never,
    of256(two, "`Batch.failSome`", "one dead letter for both, with one error", {
      process: ({ items }) =>
        Batch.failSome(items.flatMap((item, at) => two.includes(item) ? [[at, `${item} is bad`]] : []))
    }),
    of256(two, "`isolate: \"bisect\"`, a handler that fails as a whole", "no such option", {
      isolate: "bisect",
      process: failsFor(two)
    }),
    of256([200], "`isolate: \"bisect\"`", "no such option", { isolate: "bisect", process: failsFor([200]) }),
    of256(two, "`isolate: \"each\"`", "no such option", { isolate: "each", process: failsFor(two) })
  ])
  return [...first, ...second]
})

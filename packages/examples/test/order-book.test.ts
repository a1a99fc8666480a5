import * as SqlClient from "@effect/sql/SqlClient"
import { it } from "@effect/vitest"
import { QueueError } from "@sluice/core"
import { SqliteStore } from "@sluice/sql"
import { Context, Effect, Either, Exit, Layer } from "effect"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect } from "vitest"
import { type Action, apply, type Book, type Command, decide, type Order } from "../src/order-book/Book.ts"
import { check, type CommandOutcome, type Evidence, type ProcessEvidence } from "../src/order-book/check.ts"
import * as Journal from "../src/order-book/Journal.ts"
import * as OrderBook from "../src/order-book/OrderBook.ts"
import { report } from "../src/order-book/report.ts"
import { readAll, tradingDay } from "../src/order-book/tradingDay.ts"
import { temporaryDirectory } from "./support/flights.ts"

const directory = temporaryDirectory()
const program = fileURLToPath(new URL("../dist/order-book/main.js", import.meta.url))

const order = (name: string, side: "buy" | "sell", price: number, quantity: number): Order => ({
  order: name,
  side,
  price,
  quantity
})

const command = (id: number, action: Action): Command => ({ id, instrument: "eggs", action })
const place = (id: number, placed: Order) => command(id, { _tag: "Place", order: placed })
const cancel = (id: number, name: string) => command(id, { _tag: "Cancel", order: name })

const a = order("a", "buy", 100, 5)
const b = order("b", "sell", 99, 3)
const c = order("c", "sell", 120, 1)

describe("the order-book example", () => {
  it("shows versions without a gap, although two processes write: exit code 0", async () => {
    const { stderr, stdout } = await promisify(execFile)(process.execPath, [program])
    expect(stderr).toBe("")
    expect(stdout).toMatch(/^first +600 /m)
    expect(stdout).toMatch(/^second +60 /m)
    expect(stdout.match(/^\w+ +1\.\.\d+ /gm)).toHaveLength(6)
    expect(stdout).toMatch(/\nIt adds up\.\n$/)
  })
})

describe("a book", () => {
  const decided = (book: Book, action: Action) => Either.getOrThrow(decide(book, command(1, action)))

  it("lets the highest buy order and the lowest sell order trade, at the price of the older one", () => {
    const book = [c, order("low", "buy", 99, 1), a, b]
    const event = decided(book, { _tag: "Match" })
    expect(event).toEqual({ _tag: "Matched", buy: "a", sell: "b", price: 100, quantity: 3 })
    expect(apply(book, event)).toEqual([c, order("low", "buy", 99, 1), { ...a, quantity: 2 }])
  })

  it("prefers the older of two orders of one price", () => {
    const book = [b, order("later", "sell", 99, 3), a]
    expect(decided(book, { _tag: "Match" })).toMatchObject({ sell: "b", price: 99 })
  })

  it("rejects what cannot be done", () => {
    expect(decide([a], place(1, a))).toMatchObject({ left: { reason: "order exists" } })
    expect(decide([a], cancel(1, "b"))).toMatchObject({ left: { reason: "no such order" } })
    expect(decide([a, c], command(1, { _tag: "Match" }))).toMatchObject({ left: { reason: "nothing to match" } })
  })
})

describe("two processes", () => {
  const open = (filename: string) =>
    Effect.gen(function*() {
      const layer = OrderBook.layer("test").pipe(
        Layer.provide(Journal.layer),
        Layer.provide(SqliteStore.layer({ filename }))
      )
      return Context.get(yield* Layer.build(layer), OrderBook.OrderBook)
    })

  it.scopedLive("run a command again, on a book that has the events of the other", () =>
    Effect.gen(function*() {
      const filename = join(directory, "again.sqlite")
      const one = yield* open(filename)
      const other = yield* open(filename)
      expect(yield* one.submit(place(1, a))).toMatchObject({ version: 1, book: [a] })
      expect(yield* other.submit(place(2, b))).toMatchObject({ version: 2, book: [a, b] })
      expect(yield* one.submit(place(3, c))).toMatchObject({ version: 3, book: [a, b, c] })
      expect(yield* one.metrics).toMatchObject({ conflicts: 1 })
      // It was asked for the first time when the other had written.
      expect(yield* other.metrics).toMatchObject({ conflicts: 0 })
    }))

  it.scopedLive("reject nothing because their book is old", () =>
    Effect.gen(function*() {
      const filename = join(directory, "old.sqlite")
      const one = yield* open(filename)
      const other = yield* open(filename)
      yield* one.submit(place(1, a))
      yield* other.submit(place(2, b))
      // The first has not heard of that order.
      expect(yield* one.submit(cancel(3, "b"))).toMatchObject({ version: 3, book: [a] })
      expect(yield* Effect.flip(one.submit(cancel(4, "b")))).toMatchObject({ reason: "no such order" })
      expect(yield* readAll(filename)).toHaveLength(3)
    }))

  it.scopedLive("submit a command again when the pool has run it twice", () =>
    Effect.gen(function*() {
      let conflicts = 0
      const journal = Layer.succeed(Journal.Journal, {
        currentVersion: () => Effect.succeed(0),
        between: () => Effect.succeed([]),
        append: ({ instrument, version }) =>
          Effect.suspend(() =>
            (conflicts += 1) <= 3
              ? Effect.fail(new QueueError.VersionConflict({ key: instrument, version }))
              : Effect.void
          ),
        all: Effect.succeed([])
      })
      const layer = Layer.provide(OrderBook.layer("test"), journal)
      const pool = Context.get(yield* Layer.build(layer), OrderBook.OrderBook)
      expect(yield* OrderBook.submit(pool, place(1, a))).toMatchObject({ version: 1, book: [a] })
      expect(yield* pool.metrics).toMatchObject({ offered: 2, succeeded: 1 })
    }))
})

const metrics = {
  offered: 0,
  refused: 0,
  cancelled: 0,
  dropped: 0,
  droppedByReason: {},
  settled: 0,
  succeeded: 0,
  rejected: 0,
  failed: 0,
  conflicts: 0,
  held: 0,
  depth: 0,
  inFlight: 0,
  keys: 1
}

const answered = (id: number, version: number, book: Book): CommandOutcome => ({
  _tag: "Answered",
  answer: { command: id, instrument: "eggs", version, book }
})

const first: ProcessEvidence = {
  commands: [place(1, a), cancel(2, "a"), cancel(3, "a"), place(4, c)],
  outcomes: [
    answered(1, 1, [a]),
    { _tag: "Rejected", command: 2, reason: "no such order" },
    { _tag: "Rejected", command: 3, reason: "no such order" },
    answered(4, 4, [{ ...a, quantity: 2 }, c])
  ],
  metrics: { ...metrics, conflicts: 1, offered: 4, settled: 4, succeeded: 2, rejected: 2 }
}

const second: ProcessEvidence = {
  commands: [place(11, b), command(12, { _tag: "Match" }), cancel(13, "c"), cancel(14, "c")],
  outcomes: [
    answered(11, 2, [a, b]),
    answered(12, 3, [{ ...a, quantity: 2 }]),
    answered(13, 5, [{ ...a, quantity: 2 }]),
    { _tag: "Rejected", command: 14, reason: "no such order" }
  ],
  metrics: { ...metrics, offered: 4, settled: 4, succeeded: 3, rejected: 1 }
}

const right: Evidence = {
  first,
  second,
  entries: [
    { instrument: "eggs", version: 1, command: 1, event: { _tag: "Placed", order: a } },
    { instrument: "eggs", version: 2, command: 11, event: { _tag: "Placed", order: b } },
    {
      instrument: "eggs",
      version: 3,
      command: 12,
      event: { _tag: "Matched", buy: "a", sell: "b", price: 100, quantity: 3 }
    },
    { instrument: "eggs", version: 4, command: 4, event: { _tag: "Placed", order: c } },
    { instrument: "eggs", version: 5, command: 13, event: { _tag: "Cancelled", order: "c" } }
  ]
}

const changed = (version: number, change: Partial<Journal.Entry>): Evidence => ({
  ...right,
  entries: right.entries.map((entry) => entry.version === version ? { ...entry, ...change } : entry)
})

describe("the check of the order-book example", () => {
  it("holds where everything is as it should be", () => {
    expect(check(right)).toEqual([])
  })

  it.each<readonly [string, Evidence]>([
    ["a version is missing", { ...right, entries: right.entries.filter(({ version }) => version !== 4) }],
    ["the first version is missing", { ...right, entries: right.entries.slice(1) }],
    ["a version is there twice", changed(4, { version: 3 })],
    ["there is a gap", changed(5, { version: 6 })],
    ["an event is another one", changed(4, { event: { _tag: "Placed", order: { ...c, price: 121 } } })],
    ["a version is of another command", changed(4, { command: 5 })],
    ["a rejected command has left an event", {
      ...right,
      entries: [
        ...right.entries,
        { instrument: "eggs", version: 6, command: 3, event: { _tag: "Cancelled", order: "a" } }
      ]
    }],
    ["an answer has no event", { ...right, entries: right.entries.slice(0, -1) }],
    ["a command has no outcome", { ...right, first: { ...first, outcomes: first.outcomes.slice(0, -1) } }],
    ["a book was answered that is another one", {
      ...right,
      first: { ...first, outcomes: [answered(1, 1, []), ...first.outcomes.slice(1)] }
    }],
    ["there was no conflict", { ...right, first: { ...first, metrics: { ...first.metrics, conflicts: 0 } } }],
    ["a command is in no count", { ...right, second: { ...second, metrics: { ...second.metrics, rejected: 0 } } }],
    ["more commands have succeeded in a pool than were answered", {
      ...right,
      second: { ...second, metrics: { ...second.metrics, rejected: 0, succeeded: 4 } }
    }]
  ])("does not hold where %s", (_, evidence) => {
    expect(check(evidence)).not.toEqual([])
  })

  it.live(
    "notices a journal that has lost an event, from its database, and the report fails",
    () =>
      Effect.gen(function*() {
        const filename = join(directory, "broken.sqlite")
        const evidence = yield* tradingDay(filename)
        expect(check(evidence)).toEqual([])
        yield* Effect.flatMap(
          SqlClient.SqlClient,
          (sql) => sql`DELETE FROM events WHERE instrument = 'eggs' AND version = 2`
        ).pipe(
          Effect.provide(SqliteStore.layer({ filename }))
        )
        const broken = { ...evidence, entries: yield* readAll(filename) }
        expect(check(broken)).toContain("eggs: version 3 stands where 2 should be")
        expect(Exit.isFailure(yield* Effect.exit(report(broken)))).toBe(true)
      })
  )
})

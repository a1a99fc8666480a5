import { expect, layer } from "@effect/vitest"
import { SqlClient } from "@effect/sql"
import { SqliteStore } from "@sluice/sql"
import { Array, Console, Effect, Layer, Random } from "effect"
import type { Order } from "../src/Book.ts"
import { OrderBooks } from "../src/OrderBooks.ts"

const TestLive = () => OrderBooks.Default.pipe(Layer.provideMerge(SqliteStore.layer({ filename: ":memory:" })))

const sum = (numbers: Iterable<number>) => Array.reduce(numbers, 0, (a, b) => a + b)

layer(TestLive())("an order book", (it) => {
  it.effect("fills the best price first, and at one price the oldest", () =>
    Effect.gen(function*() {
      const books = yield* OrderBooks
      const order = (id: string, side: "buy" | "sell", price: number, quantity: number) =>
        books.place("tea", { id, side, price, quantity })
      expect(yield* order("s1", "sell", 101, 5)).toEqual([])
      expect(yield* order("s2", "sell", 100, 5)).toEqual([])
      expect(yield* order("s3", "sell", 100, 5)).toEqual([])
      expect(yield* order("b1", "buy", 100, 7)).toMatchObject([{ maker: "s2", quantity: 5 }, {
        maker: "s3",
        quantity: 2
      }])
      expect(yield* order("b2", "buy", 99, 1)).toEqual([])
      const { buy, sell } = yield* books.book("tea")
      expect([...buy, ...sell].map(({ id, quantity }) => `${id} ${quantity}`)).toEqual(["b2 1", "s3 3", "s1 5"])
    }))
})

layer(TestLive())("a thousand orders at once", (it) => {
  const instruments = ["coffee", "cocoa", "sugar"]

  it.effect("load each book once for many, and each caller gets the fills of its own order", () =>
    Effect.gen(function*() {
      const books = yield* OrderBooks
      const sql = yield* SqlClient.SqlClient
      const orders = Array.makeBy(1000, (i) => i)
      const answers = yield* Effect.forEach(orders, (i) =>
        Effect.gen(function*() {
          const price = yield* Random.nextIntBetween(90, 111)
          const quantity = yield* Random.nextIntBetween(1, 10)
          const order: Order = { id: `o${i}`, side: i % 2 === 0 ? "buy" : "sell", price, quantity }
          const instrument = instruments[i % 3] ?? ""
          return { order, instrument, fills: yield* books.place(instrument, order) }
        }), { concurrency: "unbounded" })

      const fills = answers.flatMap(({ fills }) => fills)
      for (const { fills, order } of answers) {
        expect(fills.every(({ taker }) => taker === order.id)).toBe(true)
        expect(sum(fills.map(({ quantity }) => quantity))).toBeLessThanOrEqual(order.quantity)
        for (const { price } of fills) {
          expect(order.side === "buy" ? price <= order.price : price >= order.price).toBe(true)
        }
      }

      // What the callers were told is what is stored.
      const stored = yield* sql<{ taker: string; maker: string; quantity: number }>`SELECT * FROM fills`
      const keys = (rows: ReadonlyArray<{ taker: string; maker: string; quantity: number }>) =>
        rows.map(({ maker, quantity, taker }) => `${taker} ${maker} ${quantity}`).sort()
      expect(keys(stored)).toEqual(keys(fills))

      // Every order is filled, or rests in the book, and no book is crossed.
      const resting = yield* Effect.forEach(instruments, books.book)
      for (const { buy, sell } of resting) {
        expect(Math.max(0, ...buy.map(({ price }) => price))).toBeLessThan(Math.min(...sell.map(({ price }) => price)))
      }
      const left = sum(resting.flatMap(({ buy, sell }) => [...buy, ...sell]).map(({ quantity }) => quantity))
      const filled = sum(fills.map(({ quantity }) => quantity))
      expect(left + 2 * filled).toBe(sum(answers.map(({ order }) => order.quantity)))

      const { loads, saves, settled } = yield* books.metrics
      expect(settled).toBe(orders.length)
      expect(loads).toBeLessThan(orders.length / 10)
      expect(saves).toBe(loads)
      yield* Console.log(`order-book: ${settled} orders, ${fills.length} fills, ${loads} loads and ${saves} saves`)
    }))

  it.effect("of which none is in, where the book cannot be saved", () =>
    Effect.gen(function*() {
      const books = yield* OrderBooks
      const sql = yield* SqlClient.SqlClient
      const before = yield* books.book("coffee")
      yield* sql`CREATE TRIGGER broken BEFORE UPDATE ON books BEGIN SELECT raise(ABORT, 'no more'); END`
      const place = (i: number) => books.place("coffee", { id: `late${i}`, side: "buy", price: 1, quantity: 1 })
      const errors = yield* Effect.forEach(Array.range(1, 20), (i) => Effect.flip(place(i)), {
        concurrency: "unbounded"
      })
      expect(errors.every(({ _tag }) => _tag === "SqlError")).toBe(true)
      expect(yield* books.book("coffee")).toEqual(before)
    }))
})

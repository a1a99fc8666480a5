// An order book as plain data: limit orders, the best price first, and at one price the oldest.
import { Schema } from "effect"

export const Side = Schema.Literal("buy", "sell")
export type Side = typeof Side.Type

export const Order = Schema.Struct({
  id: Schema.String,
  side: Side,
  price: Schema.Int,
  quantity: Schema.Int
})
export interface Order extends Schema.Schema.Type<typeof Order> {}

export interface Fill {
  readonly taker: string
  readonly maker: string
  readonly price: number
  readonly quantity: number
}

/** The orders that rest in the book, those of each side in the order in which they are filled. */
export const Book = Schema.Struct({
  buy: Schema.Array(Order),
  sell: Schema.Array(Order)
})
export interface Book extends Schema.Schema.Type<typeof Book> {}

export const empty: Book = { buy: [], sell: [] }

/** Whether a price of a side comes before another one: buyers pay the most first, sellers take the least. */
const isBefore = (side: Side, price: number, other: number) => side === "buy" ? price > other : price < other

/** Fills an order with those that rest on the other side; what is left of it rests in the book. */
export const place = (book: Book, order: Order): readonly [fills: ReadonlyArray<Fill>, book: Book] => {
  const { price, side } = order
  const [own, other] = side === "buy" ? [book.buy, book.sell] : [book.sell, book.buy]
  const fills: Array<Fill> = []
  const resting: Array<Order> = []
  let left = order.quantity
  for (const maker of other) {
    // A buyer does not pay more than the price of the order, and a seller does not take less.
    const quantity = isBefore(side, maker.price, price) ? 0 : Math.min(left, maker.quantity)
    if (quantity > 0) fills.push({ taker: order.id, maker: maker.id, price: maker.price, quantity })
    if (quantity < maker.quantity) resting.push({ ...maker, quantity: maker.quantity - quantity })
    left -= quantity
  }
  const behind = own.findIndex((waiting) => isBefore(side, price, waiting.price))
  const at = behind < 0 ? own.length : behind
  const added = left === 0 ? own : [...own.slice(0, at), { ...order, quantity: left }, ...own.slice(at)]
  return [fills, side === "buy" ? { buy: added, sell: resting } : { buy: resting, sell: added }]
}

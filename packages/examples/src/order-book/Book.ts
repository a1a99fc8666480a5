/**
 * The book of an instrument: the orders that wait for somebody to trade with. What a command does is decided here, and
 * what an event does. Nothing here waits, or knows of a database.
 *
 * A command is a wish, and may be rejected. An event has happened: to apply it never fails, and to apply all events of
 * an instrument, one after another, gives its book.
 */
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"

const Quantity = Schema.Int.pipe(Schema.positive())

export const Order = Schema.Struct({
  order: Schema.String,
  side: Schema.Literal("buy", "sell"),
  price: Schema.Int,
  quantity: Quantity
})
export type Order = typeof Order.Type

/** What is stored. */
export const Event = Schema.Union(
  Schema.TaggedStruct("Placed", { order: Order }),
  Schema.TaggedStruct("Cancelled", { order: Schema.String }),
  Schema.TaggedStruct("Matched", { buy: Schema.String, sell: Schema.String, price: Schema.Int, quantity: Quantity })
)
export type Event = typeof Event.Type

export type Action =
  | { readonly _tag: "Place"; readonly order: Order }
  | { readonly _tag: "Cancel"; readonly order: string }
  /** Lets the highest buy order and the lowest sell order trade. */
  | { readonly _tag: "Match" }

export interface Command {
  readonly id: number
  readonly instrument: string
  readonly action: Action
}

export class CommandRejected extends Data.TaggedError("CommandRejected")<{
  readonly instrument: string
  readonly reason: "no such order" | "order exists" | "nothing to match"
}> {}

/** In the order in which they were placed. */
export type Book = ReadonlyArray<Order>

export const empty: Book = []

/** Among equals, the one that was placed first. */
const best = (book: Book, side: Order["side"], isBetter: (a: number, b: number) => boolean): Order | undefined => {
  let found: Order | undefined
  for (const order of book) {
    if (order.side === side && (found === undefined || isBetter(order.price, found.price))) found = order
  }
  return found
}

const match = (book: Book): Event | undefined => {
  const buy = best(book, "buy", (a, b) => a > b)
  const sell = best(book, "sell", (a, b) => a < b)
  if (buy === undefined || sell === undefined || buy.price < sell.price) return undefined
  // Whoever was there first has named the price.
  const { price } = book.indexOf(buy) < book.indexOf(sell) ? buy : sell
  const quantity = Math.min(buy.quantity, sell.quantity)
  return { _tag: "Matched", buy: buy.order, sell: sell.order, price, quantity }
}

export const decide = (book: Book, { action, instrument }: Command): Either.Either<Event, CommandRejected> => {
  const reject = (reason: CommandRejected["reason"]) => Either.left(new CommandRejected({ instrument, reason }))
  const exists = (id: string) => book.some(({ order }) => order === id)
  switch (action._tag) {
    case "Place":
      return exists(action.order.order)
        ? reject("order exists")
        : Either.right({ _tag: "Placed", order: action.order })
    case "Cancel":
      return exists(action.order) ? Either.right({ _tag: "Cancelled", order: action.order }) : reject("no such order")
    case "Match": {
      const matched = match(book)
      return matched === undefined ? reject("nothing to match") : Either.right(matched)
    }
  }
}

export const apply = (book: Book, event: Event): Book => {
  switch (event._tag) {
    case "Placed":
      return [...book, event.order]
    case "Cancelled":
      return book.filter(({ order }) => order !== event.order)
    case "Matched":
      return book.flatMap((order) => {
        if (order.order !== event.buy && order.order !== event.sell) return [order]
        const quantity = order.quantity - event.quantity
        return quantity > 0 ? [{ ...order, quantity }] : []
      })
  }
}

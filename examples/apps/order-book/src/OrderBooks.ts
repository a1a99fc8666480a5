import { SqlClient } from "@effect/sql"
import { KeyedBatch } from "@sluice/core"
import { Effect, Schema } from "effect"
import { Book, empty, type Fill, type Order, place } from "./Book.ts"

/** A book as it was loaded, and what the orders of this batch have made of it. */
interface Loaded {
  readonly version: number
  readonly book: Book
  readonly fills: ReadonlyArray<Fill>
}

const loaded = (version: number, book: Book): Loaded => ({ version, book, fills: [] })

/** Another process has saved the book since it was loaded. No order of the batch is in. */
export class BookChanged extends Schema.TaggedError<BookChanged>()("BookChanged", { instrument: Schema.String }) {}

const BookJson = Schema.parseJson(Book)

export class OrderBooks extends Effect.Service<OrderBooks>()("order-book/OrderBooks", {
  scoped: Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE TABLE IF NOT EXISTS books (instrument TEXT PRIMARY KEY, version INTEGER NOT NULL, book TEXT NOT NULL)`
    yield* sql`CREATE TABLE IF NOT EXISTS fills (
      instrument TEXT NOT NULL, taker TEXT NOT NULL, maker TEXT NOT NULL, price INTEGER NOT NULL, quantity INTEGER NOT NULL
    )`

    const load = (instrument: string) =>
      Effect.gen(function*() {
        const [row] = yield* sql<{ version: number; book: string }>`
          SELECT version, book FROM books WHERE instrument = ${instrument}`
        return row === undefined ? loaded(0, empty) : loaded(row.version, yield* Schema.decode(BookJson)(row.book))
      })

    const save = (instrument: string, { book, fills, version }: Loaded) =>
      Effect.gen(function*() {
        const json = yield* Schema.encode(BookJson)(book)
        const saved = yield* sql`
          INSERT INTO books ${sql.insert({ instrument, version: version + 1, book: json })}
          ON CONFLICT (instrument) DO UPDATE SET version = excluded.version, book = excluded.book
          WHERE version = ${version}
          RETURNING version`
        if (saved.length === 0) return yield* new BookChanged({ instrument })
        yield* Effect.forEach(fills, (fill) => sql`INSERT INTO fills ${sql.insert({ instrument, ...fill })}`)
      }).pipe(sql.withTransaction)

    // One load and one save for all orders of an instrument that wait at the same time.
    const books = yield* KeyedBatch.make({
      name: "books",
      load,
      save,
      minDuration: 0, // the orders of a batch are those that came while the book was loaded
      maxDuration: "30 seconds"
    })

    return {
      /** Places an order, and returns its fills once they are saved. */
      place: (instrument: string, order: Order) =>
        books.modify(instrument, (before) => {
          const [fills, book] = place(before.book, order)
          return [fills, { ...before, book, fills: [...before.fills, ...fills] }]
        }),
      book: (instrument: string) => Effect.map(load(instrument), ({ book }) => book),
      metrics: books.metrics
    }
  })
}) {}

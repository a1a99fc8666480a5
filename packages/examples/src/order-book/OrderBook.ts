/**
 * The order books of all instruments, as a `ShardPool`: commands of one instrument run one after another, and each that
 * is not rejected becomes the event of the next version.
 *
 * The books are kept in memory, as far as the events are known. Another process may write events as well. Then a
 * version is taken when we want to write it; the pool asks for the current one, and runs the command again, on a book
 * that has the events of the other.
 */
import { QueueError, ShardPool } from "@sluice/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { apply, type Book, type Command, type CommandRejected, decide, empty } from "./Book.ts"
import { Journal, type JournalUnavailable } from "./Journal.ts"

/** The version that a command has got, and the book as it was after it. */
export interface Answer {
  readonly command: number
  readonly instrument: string
  readonly version: number
  readonly book: Book
}

export type Failure = CommandRejected | QueueError.VersionConflict | JournalUnavailable

export class OrderBook extends Context.Tag("order-book/OrderBook")<
  OrderBook,
  ShardPool.ShardPool<Command, Answer, Failure>
>() {}

interface Known {
  readonly version: number
  readonly book: Book
}

const make = (name: string) =>
  Effect.gen(function*() {
    const journal = yield* Journal
    const books = new Map<string, Known>()

    /** The book at a version: what is known of it, and the events that others have written since. */
    const bookAt = (instrument: string, version: number) =>
      Effect.gen(function*() {
        const known = books.get(instrument) ?? { version: 0, book: empty }
        if (known.version === version) return known.book
        const missing = yield* journal.between(instrument, known.version, version)
        const book = missing.reduce((book, { event }) => apply(book, event), known.book)
        books.set(instrument, { version, book })
        return book
      })

    /**
     * A rejection writes nothing, and so no database says that the book was old. Without this look a command could be
     * rejected for want of an order that another process has placed.
     */
    const unlessOld = (rejection: CommandRejected, { instrument }: Command, version: number) =>
      Effect.gen(function*() {
        const current = yield* journal.currentVersion(instrument)
        if (current !== version - 1) yield* new QueueError.VersionConflict({ key: instrument, version })
        return yield* rejection
      })

    return yield* ShardPool.make({
      name,
      key: ({ instrument }: Command) => instrument,
      currentVersion: journal.currentVersion,
      execute: (command, { version }) =>
        Effect.gen(function*() {
          const { id, instrument } = command
          const before = yield* bookAt(instrument, version - 1)
          const event = yield* decide(before, command).pipe(
            Effect.catchAll((rejection) => unlessOld(rejection, command, version))
          )
          yield* journal.append({ instrument, version, command: id, event })
          const book = apply(before, event)
          books.set(instrument, { version, book })
          return { command: id, instrument, version, book } satisfies Answer
        }),
      // After every other error it is better to ask what the last version is.
      isRejection: ({ _tag }) => _tag === "CommandRejected"
    })
  })

export const layer = (name: string) => Layer.scoped(OrderBook, make(name))

/**
 * Submits a command until it has an answer of its own. The pool runs it a second time after a conflict, and no more: if
 * the other process is first again, it is for us to say whether to go on. Nothing was written, so we may.
 */
export const submit = (pool: Context.Tag.Service<OrderBook>, command: Command) =>
  pool.submit(command).pipe(Effect.retry({ while: ({ _tag }) => _tag === "VersionConflict" }))

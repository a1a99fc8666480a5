/**
 * The app: who has visited which page. All it knows of the database is `SqlClient`, and it is the same app with a write
 * coordinator and without: nothing in this file tells which.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type * as SqlError from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"

/** What the queries depend on, and the writes change. */
export const keys = ["visits"]

export class NoSuchPage extends Data.TaggedError("NoSuchPage")<{ readonly page: string }> {}

export interface Totals {
  readonly visits: number
  /** How many of them were on walks, as the walkers counted them. */
  readonly walked: number
}

/** What happens on a busy day, all at once. */
export const plan = { visits: 200, walks: 100, pages: ["/", "/news", "/about"], failingWalks: 10 }

/** How many writes that makes, with the one that makes the tables. */
export const writes = 1 + plan.visits + plan.walks

/** What must be there in the evening. A walk that leads to a page that does not exist leaves nothing behind. */
export const expected: Totals = {
  visits: plan.visits + (plan.walks - plan.failingWalks) * plan.pages.length,
  walked: (plan.walks - plan.failingWalks) * plan.pages.length
}

const createTables = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql.withTransaction(Effect.gen(function*() {
    yield* sql`CREATE TABLE visits (id INTEGER PRIMARY KEY, visitor TEXT NOT NULL, page TEXT NOT NULL)`
    yield* sql`CREATE TABLE walkers (visitor TEXT PRIMARY KEY, pages INTEGER NOT NULL)`
  })))

/** A write of one statement. */
const visit = (visitor: string, page: string) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO visits ${sql.insert({ visitor, page })}`).pipe(
    // Whoever watches the count is told once this has ended well.
    Reactivity.mutation(keys)
  )

/** A write of several statements: all or nothing. */
const walk = (visitor: string, pages: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql.withTransaction(Effect.gen(function*() {
      yield* sql`INSERT INTO walkers ${sql.insert({ visitor, pages: pages.length })}`
      for (const page of pages) {
        if (!plan.pages.includes(page)) yield* new NoSuchPage({ page })
        yield* sql`INSERT INTO visits ${sql.insert({ visitor, page })}`
      }
    }))).pipe(Reactivity.mutation(keys))

const count: Effect.Effect<number, SqlError.SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [{ visits }] = yield* sql<{ visits: number }>`SELECT count(*) AS visits FROM visits`
  return visits
})

/** The count, again and again: now, and after every change. Changes that come while it is counted make one count. */
const counts = Stream.unwrap(Effect.map(SqlClient.SqlClient, (sql) => sql.reactive(keys, count)))

/** Watches the count until it is so high, from the moment at which this returns. */
export const watch = (visits: number) =>
  Effect.gen(function*() {
    const watching = yield* Deferred.make<void>()
    const watcher = yield* counts.pipe(
      Stream.tap(() => Deferred.succeed(watching, undefined)),
      Stream.takeUntil((counted) => counted >= visits),
      Stream.runCollect,
      Effect.map(Chunk.toReadonlyArray),
      Effect.fork
    )
    yield* Deferred.await(watching)
    return Fiber.join(watcher)
  })

export const totals: Effect.Effect<Totals, SqlError.SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [{ walked }] = yield* sql<{ walked: number }>`SELECT sum(pages) AS walked FROM walkers`
  return { visits: yield* count, walked }
})

const visitAll = Effect.forEach(
  Array.from({ length: plan.visits }, (_, n) => n),
  (n) => visit(`visitor ${n}`, plan.pages[n % plan.pages.length]),
  { concurrency: "unbounded", discard: true }
)

const walkAll = Effect.forEach(
  Array.from({ length: plan.walks }, (_, n) => n),
  (n) =>
    n % (plan.walks / plan.failingWalks) === 5
      ? Effect.catchTag(walk(`walker ${n}`, ["/", "/nowhere"]), "NoSuchPage", () => Effect.void)
      : walk(`walker ${n}`, plan.pages),
  { concurrency: "unbounded", discard: true }
)

/** A busy day: everybody comes at once, and somebody watches the count. */
export const busyDay = Effect.gen(function*() {
  yield* createTables
  const counted = yield* watch(expected.visits)
  yield* Effect.all([visitAll, walkAll], { concurrency: "unbounded", discard: true })
  return { counts: yield* counted, totals: yield* totals }
})

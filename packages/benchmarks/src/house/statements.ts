/** Statements that are kept prepared, against the driver's own cache of them. */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { sqliteConnection } from "../../../sql/dist/internal/sqlite/connection.js"
import { type Case, type Plan, timed, timesItsTime } from "../Benchmark.ts"
import { type Level, type Query, temporaryDirectory } from "../files.ts"
import { makeCase } from "../write-coordinator.ts"
import { createTable, valueOf } from "../write-coordinator/table.ts"

/** How many statements are kept, by either. */
const kept = 200

const stock = (filename: string): Effect.Effect<Connection, never, Scope.Scope> =>
  Effect.flatMap(SqliteClient.make({ filename, prepareCacheSize: kept }), (client) => client.reserve).pipe(
    Effect.provide(Reactivity.layer),
    Effect.orDie
  )

const ways = {
  "our pool": (filename: string) => Effect.map(stock(filename), (stock) => sqliteConnection(stock, kept)),
  "the driver's cache": stock
}

/** How many transactions are committed in a sample. */
export interface Sizes {
  readonly FULL: { readonly one: number; readonly group: number }
  readonly NORMAL: { readonly one: number; readonly group: number }
}

const rowsOfGroup = 64

const insert = "INSERT INTO writes (id, value) VALUES (?, ?)"

/** Transactions of so many rows each. */
const committing = ({ execute }: Connection, transactions: number, rows: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    let id = 0
    const row = Effect.suspend(() => execute(insert, [id, valueOf(id++)], undefined))
    const begin = Effect.suspend(() => execute("BEGIN IMMEDIATE", [], undefined))
    const commit = Effect.suspend(() => execute("COMMIT", [], undefined))
    const transaction = Effect.suspend(() => {
      let left = rows
      const all = Effect.whileLoop({ while: () => left-- > 0, body: () => row, step: () => {} })
      return Effect.zipRight(begin, Effect.zipRight(all, commit))
    })
    let left = transactions
    return Effect.orDie(Effect.whileLoop({ while: () => left-- > 0, body: () => transaction, step: () => {} }))
  })

export const makeStatements = (sizes: Sizes): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    const cases: Array<Case> = []
    const add = (way: keyof typeof ways, level: Level, transactions: number, rows: number) =>
      Effect.gen(function*() {
        const filename = join(directory, `${cases.length}.db`)
        const connection = yield* ways[way](filename)
        const query = ((text) => Effect.orDie(connection.executeUnprepared(text, [], undefined))) as Query
        yield* query(`PRAGMA synchronous = ${level}`)
        if (level === "FULL") yield* query("PRAGMA fullfsync = 1")
        yield* query(createTable)
        const name = `${level}, ${rows === 1 ? "one row" : `${rows} rows`} a commit, ${way}`
        const rest = timed(name, transactions * rows, committing(connection, transactions, rows))
        cases.push(yield* makeCase(rest, filename, query, level, transactions * rows))
        return name
      })
    const ratios = yield* Effect.forEach(["FULL", "NORMAL"] as const, (level) =>
      Effect.forEach(["one", "group"] as const, (size) =>
        Effect.gen(function*() {
          const rows = size === "one" ? 1 : rowsOfGroup
          const pool = yield* add("our pool", level, sizes[level][size], rows)
          const cache = yield* add("the driver's cache", level, sizes[level][size], rows)
          return timesItsTime(
            `statements, ${level}, ${
              rows === 1 ? "one row" : `${rows} rows`
            } a commit: the driver's cache, against our pool`,
            cache,
            pool
          )
        })))
    return { cases, ratios: ratios.flat() }
  })

/**
 * What differs from Effect's own SQLite client: each test is named as its row in docs/guides/one-writer.md.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient, type SqlError } from "@effect/sql"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Cause, Context, Deferred, Effect, Exit, Fiber, FiberRef, Layer, type Scope, Stream } from "effect"
import { readFileSync } from "node:fs"
import { createTable, insert, temporaryFile, values } from "./database.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

type Kind = "stock" | "coordinated"
type Client = SqlClient.SqlClient | Reactivity.Reactivity
type Services = Client | Scope.Scope

const clientOf = (kind: Kind, filename: string): Layer.Layer<Client, unknown> =>
  kind === "stock"
    ? Layer.provideMerge(SqliteClient.layer({ filename }), Reactivity.layer)
    : WriteCoordinator.layerSqlClient(Writes).pipe(
      Layer.provide(WriteCoordinator.layer(Writes, { name: "writes", writeTimeout: "1 second" })),
      Layer.provideMerge(Layer.provideMerge(SqliteStore.layer({ filename, durable: false }), Reactivity.layer))
    )

/** The tag of an error, or how else it ended. */
const ending = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  if (Cause.isInterruptedOnly(exit.cause)) return "interrupted"
  const error = Cause.squash(exit.cause)
  return Cause.isDie(exit.cause) ? "defect" : (error as { readonly _tag: string })._tag
}

const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(Effect.exit(effect), ending)

const sqlOf = <A, E, R>(use: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient.SqlClient, use)

const transaction = <A, E, R>(effect: Effect.Effect<A, E, R>) => sqlOf((sql) => sql.withTransaction(effect))

interface Difference {
  /** What becomes of it, on a client of this kind. */
  readonly seen: (kind: Kind) => Effect.Effect<unknown, unknown, Services>
  readonly stock: unknown
  readonly coordinated: unknown
}

const refused = (...statements: ReadonlyArray<string>): Difference => ({
  seen: () =>
    sqlOf((sql) =>
      Effect.map(
        Effect.forEach(statements, (statement) => run(sql.unsafe(statement))),
        (endings) => Array.from(new Set(endings))
      )
    ),
  stock: ["success"],
  coordinated: ["SqlError"]
})

const differences: Record<string, Difference> = {
  "A caller is interrupted in its transaction": {
    seen: () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        const caller = yield* Effect.fork(transaction(
          insert("a").pipe(
            Effect.zipLeft(Deferred.succeed(begun, undefined)),
            Effect.zipLeft(Deferred.await(goOn)),
            Effect.zipRight(insert("b"))
          )
        ))
        yield* Deferred.await(begun)
        const interrupting = yield* Effect.fork(Fiber.interrupt(caller))
        yield* Effect.yieldNow()
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(interrupting)
        return yield* values
      }),
    stock: [],
    coordinated: ["a", "b"]
  },
  "A transaction sets a fiber ref": {
    seen: () =>
      Effect.gen(function*() {
        const ref = yield* FiberRef.make("as it was")
        yield* transaction(FiberRef.set(ref, "set"))
        return yield* FiberRef.get(ref)
      }),
    stock: "set",
    coordinated: "as it was"
  },
  "A fiber is forked in a transaction": {
    seen: () =>
      Effect.gen(function*() {
        const goOn = yield* Deferred.make<void>()
        const forked = yield* transaction(Effect.fork(Deferred.await(goOn)))
        yield* Deferred.succeed(goOn, undefined)
        return ending(yield* Fiber.await(forked))
      }),
    stock: "success",
    coordinated: "interrupted"
  },
  "A transaction takes longer than `writeTimeout`": {
    seen: () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(transaction(Effect.zipRight(insert("a"), Effect.sleep("1100 millis"))))
        const cause = Exit.isFailure(exit) ? (Cause.squash(exit.cause) as SqlError.SqlError).cause : undefined
        return [ending(exit), (cause as { readonly _tag?: string } | undefined)?._tag, yield* values]
      }),
    stock: ["success", undefined, ["a"]],
    coordinated: ["SqlError", "WriteTimeout", []]
  },
  "A `SELECT` beside a transaction": {
    seen: (kind) =>
      Effect.gen(function*() {
        const selected = yield* Effect.makeLatch()
        yield* Effect.fork(transaction(Effect.zipRight(insert("a"), selected.await)))
        yield* Effect.sleep(20)
        const rows = yield* Effect.fork(values)
        // It cannot end before the transaction does, or it does not wait for that.
        if (kind === "stock") yield* Effect.sleep(50)
        else yield* Fiber.await(rows)
        const isDone = (yield* Fiber.poll(rows))._tag === "Some"
        yield* selected.open
        return [isDone, yield* Fiber.join(rows)]
      }),
    stock: [false, ["a"]],
    coordinated: [true, []]
  },
  "`CREATE TEMP ...`": refused("CREATE TEMP TABLE scratch (v TEXT)"),
  "`last_insert_rowid()`, `changes()`, `total_changes()`": refused(
    "SELECT last_insert_rowid()",
    "SELECT changes()",
    "SELECT total_changes()"
  ),
  "`BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, ...": refused(
    "BEGIN",
    "COMMIT",
    "BEGIN",
    "ROLLBACK",
    "SAVEPOINT one",
    "RELEASE one"
  ),
  "`PRAGMA synchronous`, `journal_mode`, `busy_timeout`, ... with another value than the store's": refused(
    "PRAGMA synchronous = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA busy_timeout = 1"
  ),
  "`PRAGMA defer_foreign_keys`": refused("PRAGMA defer_foreign_keys = ON"),
  "A statement fails": {
    seen: () =>
      Effect.gen(function*() {
        yield* insert("a")
        return (yield* Effect.flip(insert("a"))).message
      }),
    stock: "Failed to execute statement",
    coordinated: "Failed to execute statement: UNIQUE constraint failed: t.v"
  },
  "Rows as a stream": {
    seen: () => sqlOf((sql) => run(Stream.runDrain(sql`SELECT * FROM t`.stream))),
    stock: "defect",
    coordinated: "success"
  },
  "Keys are invalidated in a transaction": {
    seen: () =>
      Effect.gen(function*() {
        const reactivity = yield* Reactivity.Reactivity
        let isTold = false
        reactivity.unsafeRegister(["t"], () => {
          isTold = true
        })
        const before = yield* transaction(Effect.map(reactivity.mutation(["t"], insert("a")), () => isTold))
        return [before, isTold]
      }),
    stock: [true, true],
    coordinated: [false, true]
  },
  "A statement of another database in a transaction": {
    seen: (kind) =>
      Effect.gen(function*() {
        const other = Context.get(
          yield* Layer.build(Layer.fresh(clientOf(kind, yield* temporaryFile))),
          SqlClient.SqlClient
        )
        yield* Effect.provideService(createTable, SqlClient.SqlClient, other)
        yield* transaction(Effect.provideService(insert("a"), SqlClient.SqlClient, other))
        return [yield* values, yield* Effect.provideService(values, SqlClient.SqlClient, other)]
      }),
    stock: [["a"], []],
    coordinated: [[], ["a"]]
  }
}

describe.each(["stock", "coordinated"] as const)("on the %s client", (kind) => {
  for (const [name, { [kind]: expected, seen }] of Object.entries(differences)) {
    it.scopedLive(name, () =>
      Effect.gen(function*() {
        const filename = yield* temporaryFile
        const program = Effect.zipRight(createTable, seen(kind))
        expect(yield* Effect.provide(program, clientOf(kind, filename))).toEqual(expected)
      }))
  }
})

it("are all in the table of the guide", () => {
  const guide = readFileSync(new URL("../../../docs/guides/one-writer.md", import.meta.url), "utf8")
  const [, section] = guide.split("### What differs from the stock client")
  const rows = section.split("\n##")[0].split("\n").filter((line) => line.startsWith("| ")).slice(2)
  expect(rows.map((row) => row.split(" | ")[0].slice(2).trim())).toEqual(Object.keys(differences))
})

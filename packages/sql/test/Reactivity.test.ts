/**
 * When reactive queries run again: after the commit, whoever says that their keys have changed, and however.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Chunk, Context, Effect, Fiber, Layer, Mailbox, Option, Stream } from "effect"
import { createTable, insert, temporaryFile, values } from "./database.ts"

class Writes extends Context.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

/** A service that keeps what it was made with. */
class People extends Effect.Service<People>()("test/People", {
  effect: Effect.gen(function*() {
    const reactivity = yield* Reactivity.Reactivity
    const sql = yield* SqlClient.SqlClient
    const say = {
      mutation: (v: string) => reactivity.mutation(["t"], insert(v)),
      invalidate: (v: string) => Effect.zipLeft(insert(v), reactivity.invalidate({ t: [1] })),
      unsafeInvalidate: (v: string) => Effect.zipLeft(insert(v), Effect.sync(() => reactivity.unsafeInvalidate(["t"]))),
      accessor: (v: string) => Reactivity.mutation(insert(v), ["t"])
    }
    return { reactivity, sql, say }
  })
}) {}

const store = (filename: string) =>
  Layer.provideMerge(SqliteStore.layer({ filename, durable: false }), Reactivity.layer)

const coordinated = (filename: string) =>
  WriteCoordinator.layerSqlClient(Writes).pipe(
    Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes" })),
    Layer.provideMerge(store(filename))
  )

const clients = { "the store's client": store, "the coordinated client": coordinated }

const on = <A, E, R>(client: (filename: string) => Layer.Layer<any, any, never>, effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.flatMap(
      temporaryFile,
      (filename) => Effect.provide(effect, Layer.provideMerge(People.Default, client(filename)))
    )
  ) as Effect.Effect<A, unknown>

const ways = ["mutation", "invalidate", "unsafeInvalidate", "accessor"] as const

for (const [name, client] of Object.entries(clients)) {
  describe(`${name}`, () => {
    const queries = {
      reactiveMailbox: Effect.flatMap(People, ({ sql }) => sql.reactiveMailbox(["t"], values)),
      reactive: Effect.flatMap(People, ({ sql }) => Mailbox.fromStream(sql.reactive(["t"], values))),
      "a query of a captured Reactivity": Effect.flatMap(
        People,
        ({ reactivity }) => reactivity.query(["t"], values)
      )
    }
    for (const [kind, query] of Object.entries(queries)) {
      it.live(`runs ${kind} again after the commit, whoever has captured what tells it`, () =>
        on(
          client,
          Effect.gen(function*() {
            yield* createTable
            const { say, sql } = yield* People
            const results = yield* query
            expect(yield* results.take).toEqual([])
            const all: Array<string> = []
            for (const way of ways) {
              yield* sql.withTransaction(Effect.gen(function*() {
                yield* say[way](way)
                // It would run now, and read what is committed.
                yield* Effect.sleep(20)
                expect([way, yield* results.size]).toEqual([way, Option.some(0)])
              }))
              all.push(way)
              expect(yield* results.take).toEqual(all)
            }
          })
        ))
    }

    it.live("runs no query again for what is rolled back, and what is said in no transaction at once", () =>
      on(
        client,
        Effect.gen(function*() {
          yield* createTable
          const { reactivity, say, sql } = yield* People
          const results = yield* sql.reactiveMailbox(["t"], values)
          yield* results.take
          for (const way of ways) {
            yield* Effect.ignore(sql.withTransaction(Effect.zipRight(say[way](way), Effect.fail("no"))))
          }
          // A savepoint that is rolled back, in a transaction that is not.
          yield* sql.withTransaction(Effect.ignore(
            sql.withTransaction(Effect.zipRight(say.mutation("inner"), Effect.fail("no")))
          ))
          yield* Effect.sleep(20)
          expect(yield* results.size).toEqual(Option.some(0))
          yield* say.mutation("a")
          expect(yield* results.take).toEqual(["a"])
          reactivity.unsafeInvalidate(["t"])
          expect(yield* results.take).toEqual(["a"])
        })
      ))

    it.live("runs a query once for a savepoint: after the commit of all", () =>
      on(
        client,
        Effect.gen(function*() {
          yield* createTable
          const { say, sql } = yield* People
          const told = yield* Effect.fork(Stream.runCollect(Stream.take(sql.reactive(["t"], values), 2)))
          yield* Effect.sleep(20)
          yield* sql.withTransaction(Effect.gen(function*() {
            yield* sql.withTransaction(say.mutation("a"))
            yield* Effect.sleep(20)
            yield* insert("b")
          }))
          expect(Chunk.toReadonlyArray(yield* Fiber.join(told))).toEqual([[], ["a", "b"]])
        })
      ))
  })
}

it.live("an instance that two databases share waits for both", () =>
  Effect.scoped(Effect.gen(function*() {
    const reactivity = yield* Reactivity.make
    const open = Effect.flatMap(temporaryFile, (filename) =>
      Effect.map(
        Effect.provideService(SqliteStore.make({ filename, durable: false }), Reactivity.Reactivity, reactivity),
        Context.get(SqlClient.SqlClient)
      ))
    const one = yield* open
    const two = yield* open
    const told: Array<string> = []
    reactivity.unsafeRegister(["t"], () => told.push("told"))
    yield* one.withTransaction(Effect.gen(function*() {
      yield* two.withTransaction(reactivity.invalidate(["t"]))
      expect(told).toEqual([])
    }))
    expect(told).toEqual(["told"])
  })))

/** A coordinator that is closed inside a transaction: it must not wait for the write that closes it. */
import { describe, expect, it } from "@effect/vitest"
import { SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { createTable, insert, tagOf, values, withStore } from "./database.ts"

describe("closed inside", () => {
  for (const drain of [false, true]) {
    for (const where of ["a write of its own", "a transaction"] as const) {
      it.live(`${where}, ${drain ? "it runs what waits afterwards" : "it refuses what waits"}`, () =>
        withStore(Effect.gen(function*() {
          yield* createTable
          const scope = yield* Scope.make()
          const writes = yield* Scope.extend(WriteCoordinator.make({ name: "writes", drain }), scope)
          const changes = yield* Effect.fork(Stream.runCollect(writes.changes))
          const begun = yield* Deferred.make<void>()
          const go = yield* Deferred.make<void>()
          const write = Effect.gen(function*() {
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(go)
            yield* insert("a")
            yield* Scope.close(scope, Exit.void)
            // Still inside.
            yield* insert("b")
          })
          const closing = yield* Effect.fork(
            where === "a transaction" ? SqlTransaction.withTransaction(write) : writes.submit(write, { name: "close" })
          )
          yield* Deferred.await(begun)
          const waiting = yield* Effect.fork(Effect.exit(writes.submit(insert("c"), { name: "c" })))
          yield* Effect.yieldNow()
          yield* Deferred.succeed(go, undefined)
          yield* Fiber.join(closing)
          expect(tagOf(yield* Fiber.join(waiting))).toBe(drain ? "success" : "CoordinatorClosed")
          yield* Fiber.join(changes)
          expect(yield* values).toEqual(drain ? ["a", "b", "c"] : ["a", "b"])
          expect(yield* writes.metrics).toMatchObject({ depth: 0, inFlight: 0 })
        })))
    }
  }
})

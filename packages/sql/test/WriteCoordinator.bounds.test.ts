/**
 * How long a coordinator holds the writer.
 */
import { describe, expect, it } from "@effect/vitest"
import { SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Deferred, Effect, Exit, Fiber, Scope, TestClock } from "effect"
import { createTable, insert, tagOf, values, withStore } from "./database.ts"

/** A coordinator whose next writes are one group, once `go` is done. */
const grouped = (options: Partial<WriteCoordinator.Options> = {}) =>
  Effect.gen(function*() {
    yield* createTable
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const writes = yield* Scope.extend(WriteCoordinator.make({ name: "writes", ...options }), scope)
    const held = yield* Deferred.make<void>()
    const blocking = yield* inOrder(writes.submit(Deferred.await(held), { name: "blocking" }))
    return {
      writes,
      close: Scope.close(scope, Exit.void),
      go: Effect.zipRight(Deferred.succeed(held, undefined), Fiber.join(blocking)),
      slow: (v: string, millis: number) => writes.submit(Effect.zipRight(insert(v), Effect.sleep(millis)), { name: v })
    }
  })

const inOrder = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.zipLeft(Effect.fork(effect), TestClock.adjust(0))

const step = (millis: number) => Effect.forEach(Array.from({ length: millis / 100 }), () => TestClock.adjust(100))

describe("a group", () => {
  it.scoped("that has run for a tenth of writeTimeout begins nothing more: others get in, and the rest follows", () =>
    withStore(Effect.gen(function*() {
      const { go, slow, writes } = yield* grouped({ writeTimeout: "5 seconds" })
      const fibers = yield* Effect.forEach(["a", "b", "c", "d", "e"], (v) => inOrder(slow(v, 300)))
      yield* go
      const between = yield* inOrder(SqlTransaction.withTransaction(insert("between")))
      yield* step(2000)
      yield* Fiber.join(between)
      yield* Effect.forEach(fibers, Fiber.join)
      expect(yield* values).toEqual(["a", "b", "between", "c", "d", "e"])
      expect(yield* writes.metrics).toMatchObject({ succeeded: 6, failed: 0, inFlight: 0, depth: 0, batches: 4 })
    })))

  it.scoped("in which each write hangs gives the writer back after each: and each fails for itself", () =>
    withStore(Effect.gen(function*() {
      const { go, slow, writes } = yield* grouped({ writeTimeout: "1 second" })
      const fibers = yield* Effect.forEach(["a", "b", "c"], (v) => inOrder(slow(v, 1_000_000)))
      yield* go
      const between = yield* inOrder(SqlTransaction.withTransaction(insert("between")))
      yield* step(1100)
      // Not after all three.
      yield* Fiber.join(between)
      yield* step(2000)
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      expect(exits.map(tagOf)).toEqual(["WriteTimeout", "WriteTimeout", "WriteTimeout"])
      expect(yield* writes.metrics).toMatchObject({ succeeded: 1, failed: 3, inFlight: 0, depth: 0 })
    })))

  it.scoped("that was cut short is completed when the coordinator closes, and what was not in it is refused", () =>
    withStore(Effect.gen(function*() {
      const { close, go, slow, writes } = yield* grouped({ batchSize: 3, writeTimeout: "1 second" })
      const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (v) => inOrder(slow(v, 300)))
      yield* go
      yield* step(400)
      const closing = yield* inOrder(close)
      yield* step(1000)
      yield* Fiber.join(closing)
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      expect(exits.map(tagOf)).toEqual(["success", "success", "success", "CoordinatorClosed"])
      expect(yield* values).toEqual(["a", "b", "c"])
      expect(yield* writes.metrics).toMatchObject({ succeeded: 4, refused: 1, failed: 0, inFlight: 0, depth: 0 })
    })))

  it.scoped("lets a write go that is taken back after it was cut short", () =>
    withStore(Effect.gen(function*() {
      const { go, slow, writes } = yield* grouped({ writeTimeout: "1 second" })
      const fibers = yield* Effect.forEach(["a", "b", "c"], (v) => inOrder(slow(v, 300)))
      yield* go
      yield* step(400)
      expect(tagOf(yield* Fiber.interrupt(fibers[2]))).toBe("interrupted")
      yield* step(500)
      yield* Effect.forEach(fibers.slice(0, 2), Fiber.join)
      expect(yield* values).toEqual(["a", "b"])
      expect(yield* writes.metrics).toMatchObject({ succeeded: 3, cancelled: 1, inFlight: 0, depth: 0 })
    })))
})

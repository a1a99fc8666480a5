/** What a user does with a coordinator: takes its methods off it, and logs it. */
import { expect, it } from "@effect/vitest"
import { SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Effect, Exit, Inspectable, Scope, Stream } from "effect"
import { inspect } from "node:util"
import { createTable, insert, values, withStore } from "./database.ts"

it.effect("every member that is taken off a coordinator does what it does on it", () =>
  withStore(Effect.gen(function*() {
    yield* createTable
    const { changes, metrics, queueName, submit, ...rest } = yield* WriteCoordinator.make({ name: "writes" })
    yield* submit(insert("a"), { name: "insert" })
    expect(yield* values).toEqual(["a"])
    expect((yield* metrics).succeeded).toBe(1)
    expect(queueName).toBe("writes")
    yield* Effect.scoped(Stream.toPull(changes))
    // There is nothing else that the interface has.
    const named: keyof typeof rest extends never ? true : false = true
    expect(named).toBe(true)
  })))

it.effect("what is taken off the transactions does what it does on them", () =>
  withStore(Effect.gen(function*() {
    yield* createTable
    const { isInside, withTransaction } = yield* SqlTransaction.SqlTransaction
    expect(yield* withTransaction(Effect.zipRight(insert("a"), isInside))).toBe(true)
    expect(yield* values).toEqual(["a"])
  })))

it.effect("a coordinator is shown with its name, its state and its counts, and without its writes", () =>
  withStore(Effect.gen(function*() {
    const secret = "4111 1111 1111 1111"
    yield* createTable
    const scope = yield* Scope.make()
    const writes = yield* Scope.extend(WriteCoordinator.make({ name: "writes", batchSize: 1 }), scope)
    const expectShown = (state: string, held: number) => {
      const structured = inspect(writes, { depth: Infinity, showHidden: true })
      const texts = [inspect(writes), structured, JSON.stringify(writes), String(writes)]
      for (const text of [...texts, Inspectable.toStringUnknown(writes)]) {
        expect(text).not.toContain(secret)
        expect(text).toContain("writes")
        expect(text.length).toBeLessThan(1200)
      }
      expect(JSON.parse(JSON.stringify(writes))).toMatchObject({ queueName: "writes", state, counts: { held } })
    }
    expectShown("open", 0)
    const writing = yield* Effect.makeLatch()
    const entered = yield* Effect.makeLatch()
    const write = Effect.zipRight(Effect.zipRight(entered.open, writing.await), insert(secret))
    const fiber = yield* Effect.fork(writes.submit(write, { name: "insert" }))
    yield* entered.await
    expectShown("open", 1)
    yield* writing.open
    yield* fiber
    yield* Scope.close(scope, Exit.void)
    expectShown("closed", 0)
  })))

/**
 * Tests that end while their TestClock stands still, on a database: none may hang.
 */
import { BatchQueue } from "@sluice/core"
import { SqlBatchStore, SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Effect, Layer, Schema } from "effect"
import { closesUnderTestClock, type Note, noting } from "../../core/test/support/closing.ts"

const memory = SqliteStore.layer({ filename: ":memory:" })

const down = () => Effect.fail("down")
const slow = () => Effect.sleep("1 minute")

const coordinator = (note: Note, write: Effect.Effect<void, string>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(memory)
    const writes = yield* Effect.provide(WriteCoordinator.make({ name: "test" }), context)
    const begun = yield* Effect.makeLatch()
    yield* noting(note, writes.submit(Effect.zipRight(begun.open, write), { name: "write" }))
    yield* begun.await
  })

closesUnderTestClock("a WriteCoordinator whose write fails", (note) => coordinator(note, down()), ["down"])

closesUnderTestClock("a WriteCoordinator whose write waits", (note) => coordinator(note, slow()), ["WriteTimeout"])

const batchQueue = (note: Note, process: () => Effect.Effect<void, string>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Layer.provideMerge(SqlBatchStore.layer(), memory))
    const queue = yield* BatchQueue.make<number, number, string, never>({
      name: "test",
      schema: Schema.Number,
      onProcessError: () => Effect.void,
      metrics: false,
      process
    }).pipe(Effect.provide(context))
    yield* Effect.addFinalizer(() => Effect.map(queue.metrics, ({ settled }) => note(`${settled} are settled`)))
    yield* queue.offerStored(1)
  })

closesUnderTestClock("a BatchQueue whose handler fails", (note) => batchQueue(note, down), ["0 are settled"])

closesUnderTestClock("a BatchQueue whose handler waits", (note) => batchQueue(note, slow), ["0 are settled"])

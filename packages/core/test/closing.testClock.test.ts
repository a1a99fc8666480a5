/**
 * Tests that end while their TestClock stands still: nobody moves it any more, and none may hang.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, KeyedBatch, ShardPool, WriteBehind } from "@sluice/core"
import { Context, Effect, Exit, Fiber, Layer, Schedule, Schema, Scope, TestClock } from "effect"
import { closesUnderTestClock, type Note, noting } from "./support/closing.ts"

const writeBehind = (
  note: Note,
  flush: () => Effect.Effect<void, string>,
  options: Partial<WriteBehind.Options<number, string, never>> = {}
) =>
  Effect.flatMap(
    WriteBehind.make<number, string, never>({
      name: "test",
      capacity: 10,
      onDrop: (item, reason) => note(`${item} ${reason}`),
      flush,
      ...options
    }),
    (queue) => queue.offerAll([1, 2])
  )

const down = () => Effect.fail("down")
const slow = () => Effect.sleep("1 minute")

closesUnderTestClock("a WriteBehind whose sink is down", (note) => writeBehind(note, down), [
  "1 shutdown",
  "2 shutdown"
])

closesUnderTestClock(
  "a WriteBehind that retries for ever",
  (note) => writeBehind(note, down, { retry: Schedule.spaced("1 second"), shards: 2, shardBy: (n) => n }),
  ["1 shutdown", "2 shutdown"]
)

closesUnderTestClock("a WriteBehind whose sink waits", (note) => writeBehind(note, slow), ["1 shutdown", "2 shutdown"])

closesUnderTestClock(
  "a WriteBehind whose sink is up",
  (note) => writeBehind(note, () => Effect.sync(() => note("flushed"))),
  ["flushed"]
)

/** Says what is left in the store, once the queue is closed. */
const batchQueue = (note: Note, process: () => Effect.Effect<void, string>) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(BatchStore.layerMemory)
    const store = yield* Context.get(context, BatchStore.BatchStore).queue("test")
    yield* Effect.addFinalizer(() =>
      Effect.map(Effect.orDie(store.stats), ({ pending }) => note(`${pending.items} are pending`))
    )
    const queue = yield* BatchQueue.make<number, number, string, never>({
      name: "test",
      schema: Schema.Number,
      onProcessError: () => Effect.void,
      metrics: false,
      process
    }).pipe(Effect.provide(context))
    yield* queue.offerStored(1)
  })

closesUnderTestClock("a BatchQueue whose handler fails", (note) => batchQueue(note, down), ["1 are pending"])

closesUnderTestClock("a BatchQueue whose handler waits", (note) => batchQueue(note, slow), ["1 are pending"])

interface Saving {
  readonly load?: (key: string) => Effect.Effect<number, string>
  readonly save?: () => Effect.Effect<void, string>
  readonly maxDuration?: number
}

const keyedBatch = (
  note: Note,
  { load = () => Effect.succeed(0), save = () => Effect.void, maxDuration = 5000 }: Saving
) =>
  Effect.gen(function*() {
    const batches = yield* KeyedBatch.make({ name: "test", load, save, maxDuration })
    yield* noting(note, batches.modify("a", (n) => [n, n + 1]))
    yield* Effect.yieldNow()
  })

closesUnderTestClock("a KeyedBatch that cannot save", (note) => keyedBatch(note, { save: down }), ["down"])

closesUnderTestClock("a KeyedBatch whose save waits", (note) => keyedBatch(note, { save: slow }), ["BatchTimeout"])

closesUnderTestClock(
  "a KeyedBatch whose load waits, and that has no time limit",
  (note) => keyedBatch(note, { load: () => Effect.as(slow(), 0), maxDuration: Infinity }),
  ["BatchTimeout"]
)

const shardPool = (note: Note, execute: () => Effect.Effect<void, string>) =>
  Effect.gen(function*() {
    const pool = yield* ShardPool.make<string, void, string>({ name: "test", key: (command) => command, execute })
    yield* noting(note, pool.submit("a"))
    yield* Effect.yieldNow()
  })

closesUnderTestClock("a ShardPool whose command fails", (note) => shardPool(note, down), ["down"])

closesUnderTestClock("a ShardPool whose command waits", (note) => shardPool(note, slow), ["CommandDropped"])

describe("a TestClock that is moved while something closes", () => {
  it.scoped("is waited for: retries are as in production", () =>
    Effect.gen(function*() {
      const attempts: Array<number> = []
      const notes: Array<string> = []
      const scope = yield* Scope.make()
      yield* writeBehind((what) => notes.push(what), () =>
        Effect.flatMap(TestClock.currentTimeMillis, (now) => {
          attempts.push(now)
          return attempts.length === 3 ? Effect.void : Effect.fail("down")
        })).pipe(Scope.extend(scope))
      const closed = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("100 millis")
      yield* TestClock.adjust("200 millis")
      yield* Fiber.join(closed)
      expect([attempts, notes]).toEqual([[0, 100, 300], []])
    }))
})

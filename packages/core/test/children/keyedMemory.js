// Puts a million distinct keys through a processor or a pool, and says what is left of them on the heap.
import { KeyedBatch, ShardPool } from "@sluice/core"
import * as Effect from "effect/Effect"

const [what, count] = [process.argv[2], Number(process.argv[3])]

// Twice, because what the first collection finalizes is freed by the second.
const heapBytes = Effect.promise(async () => {
  for (let i = 0; i < 2; i++) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return process.memoryUsage().heapUsed
})

const processor = Effect.map(
  KeyedBatch.make({
    name: "memory",
    load: () => Effect.succeed(0),
    save: () => Effect.void,
    minDuration: 0
  }),
  (processor) => ({
    run: (key) => processor.modify(key, (sum) => [sum, sum + 1]),
    metrics: processor.metrics
  })
)

const pool = Effect.map(
  ShardPool.make({
    name: "memory",
    key: (command) => command,
    execute: () => Effect.void,
    currentVersion: () => Effect.succeed(0),
    idleTimeToLive: 20
  }),
  (pool) => ({ run: (key) => pool.submit(key), metrics: pool.metrics })
)

const keep = Effect.sync(() => {
  // What it looks like when the keys are kept: the least that a map of them can take.
  const kept = new Map()
  return {
    run: (key) => Effect.sync(() => void kept.set(key, {})),
    metrics: Effect.sync(() => ({ keys: kept.size, offered: kept.size }))
  }
})

const made = { processor, pool, keep }[what]

const program = Effect.scoped(Effect.gen(function*() {
  const { metrics, run } = yield* made
  // Without the fibers and the lists that `Effect.forEach` makes for each: they take most of the time.
  const thousand = (first) =>
    Effect.async((resume) => {
      let left = 1000
      const ended = (exit) => {
        if (exit._tag === "Failure") resume(exit)
        else if (--left === 0) resume(Effect.void)
      }
      for (let i = 0; i < 1000; i++) Effect.runFork(run(`key-${first + i}`)).addObserver(ended)
    })
  const use = (from, to) =>
    Effect.gen(function*() {
      for (let first = from; first < to; first += 1000) yield* thousand(first)
    })
  const forgotten = Effect.gen(function*() {
    if (what === "keep") return
    for (let turn = 0; turn < 1000 && (yield* metrics).keys > 0; turn++) yield* Effect.sleep(5)
  })
  // So that code, rings and maps have the size that they need.
  yield* use(0, 20_000)
  yield* forgotten
  const before = yield* heapBytes
  yield* use(20_000, 20_000 + count)
  yield* forgotten
  const after = yield* heapBytes
  const { keys, offered } = yield* metrics
  console.log(JSON.stringify({ keys, offered, bytesPerKey: (after - before) / count }))
}))

await Effect.runPromise(program)

import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { beforeAll, describe, expect, it } from "vitest"
import { batchQueue, makePlan, type Sizes } from "../src/batch-queue.ts"
import type { Plan } from "../src/Benchmark.ts"
import { driver } from "../src/batch-queue/driver.ts"
import { behind, longestTurn, redriving } from "../src/batch-queue/failing.ts"
import { expectIntact, itemOf, makeItems, Seen } from "../src/batch-queue/items.ts"
import { type Peer, persistedQueue, plainjob } from "../src/batch-queue/peers.ts"
import { fill, firstHandled, handling, storing } from "../src/batch-queue/sluice.ts"
import { temporaryDirectory } from "../src/files.ts"
import { expectWellFormed } from "./plans.ts"

const run = <A>(effect: Effect.Effect<A, never, Scope.Scope>) => Effect.runPromise(Effect.scoped(effect))

const newFile = Effect.map(temporaryDirectory, (directory) => join(directory, "test.db"))

/** What an Effect dies of. */
const whyNot = (effect: Effect.Effect<unknown, never, Scope.Scope>) =>
  run(Effect.sandbox(effect).pipe(Effect.flip, Effect.map(String), Effect.orElseSucceed(() => "passed")))

const small: Sizes = {
  stored: 250,
  handled: 250,
  handledBy: [{ size: 1, items: 3 }, { size: 10, items: 25 }, { size: 1_000, items: 1_100 }],
  alone: { FULL: 3, NORMAL: 3 },
  shared: 2,
  own: { FULL: 65, NORMAL: 3 },
  queued: 120,
  times: { sluice: 3, persistedQueue: 2, plainjob: 2, liteque: 1 },
  behind: 30,
  dead: 1_100,
  pending: [1_100, 10],
  opens: 2
}

const levels = ["NORMAL", "FULL"] as const

describe("the plan", () => {
  let plan: Plan
  beforeAll(async () => {
    plan = await run(batchQueue.plan)
  })

  it("every ratio names two of its cases, no two measures are called the same, and all cases are used", () => {
    expectWellFormed(plan)
  })

  it("has every ratio, with its goal", () => {
    expect(Object.fromEntries(plan.ratios.map(({ goal, measure }) => [measure, goal]))).toEqual({
      "NORMAL, offer and store in batches of 100, against better-sqlite3": { atLeast: 0.6 },
      "FULL, offer and store in batches of 100, against better-sqlite3": { atLeast: 0.7 },
      "NORMAL, 1 caller, offerStored, against plainjob's add": { atLeast: 1.3 },
      "NORMAL, 64 callers, offerStored, against plainjob's add": { atLeast: 5 },
      "FULL, 1 caller, offerStored, against plainjob's add": { atLeast: 1.3 },
      "FULL, 64 callers, offerStored, against plainjob's add": { atLeast: 5 },
      "FULL, 64 callers, offerStored, against better-sqlite3 with a transaction per item": { atLeast: 20 },
      "FULL, better-sqlite3 with a transaction per item, against a sync of the disk": {},
      "NORMAL, offered to settled in batches of 100, against better-sqlite3": { atLeast: 0.5 },
      "NORMAL, offered to settled, 1 a batch, against 100": {},
      "NORMAL, offered to settled, 10 a batch, against 100": {},
      "NORMAL, offered to settled, 1,000 a batch, against 100": {},
      "FULL, offered to settled in batches of 100, against better-sqlite3": { atLeast: 0.5 },
      "FULL, offered to settled, 1 a batch, against 100": {},
      "FULL, offered to settled, 10 a batch, against 100": {},
      "FULL, offered to settled, 1,000 a batch, against 100": {},
      "NORMAL, offered to settled, 1,000 items at a time, against PersistedQueue": { atLeast: 50 },
      "NORMAL, offered to settled, 1,000 items at a time, against plainjob": { atLeast: 15 },
      "NORMAL, offered to settled, 1,000 items at a time, against liteque": { atLeast: 50 },
      "NORMAL, 1 worker, good items behind 1 failing batch, against none that fail": { atLeast: 0.5 },
      "NORMAL, 1 worker, good items behind 10 failing batches, against none that fail": { atLeast: 0.5 },
      "NORMAL, 1 worker, good items behind 100 failing batches, against none that fail": { atLeast: 0.5 },
      "NORMAL, 4 workers, good items behind 1 failing batch, against none that fail": { atLeast: 0.5 },
      "NORMAL, 4 workers, good items behind 10 failing batches, against none that fail": { atLeast: 0.5 },
      "NORMAL, 4 workers, good items behind 100 failing batches, against none that fail": { atLeast: 0.5 },
      "NORMAL, redrive of dead letters, against offerStoredAllOrNone and discard, 1 a batch": { atLeast: 1 },
      "NORMAL, redrive of dead letters, against offerStoredAllOrNone and discard, 100 a batch": { atLeast: 1 },
      "NORMAL, first item handled after opening, a million pending, against ten": { atMost: 2 }
    })
  })

  it("every case passes its own check, twice", async () => {
    await run(Effect.gen(function*() {
      const { cases } = yield* makePlan(small)
      expect(cases).toHaveLength(42)
      for (const { name, sample } of [...cases, ...cases]) {
        const { cost, latency } = yield* sample
        expect(cost).toBeGreaterThan(0)
        expect([name, latency !== undefined]).toEqual([name, /callers?,/.test(name)])
      }
    }))
  })
})

describe("trials", () => {
  it("dead letters are put back, and the longest turn of the event loop is told", async () => {
    await run(Effect.gen(function*() {
      const { trials = [] } = yield* makePlan(small)
      expect(trials.map(({ name }) => name)).toEqual(["redrive, and the event loop meanwhile"])
      const { checks, figures } = yield* trials[0].run(1)
      expect(figures.map(({ value }) => value > 0)).toEqual([true, true, true, true])
      expect(figures[0].value).toBe(1_100)
      expect(checks.map(({ check }) => check)).toEqual(["no turn over 50 ms"])
    }))
  })

  it("a turn that is long is found", async () => {
    const block = Effect.sync(() => {
      const endsAt = performance.now() + 30
      while (performance.now() < endsAt);
    })
    const { millis } = await run(longestTurn(Effect.zipRight(Effect.yieldNow(), block)))
    expect(millis).toBeGreaterThanOrEqual(30)
  })
})

describe("contenders", () => {
  it.each(levels)("ours stores and handles what was offered, at %s", async (level) => {
    await run(Effect.gen(function*() {
      const store = yield* storing(yield* newFile, level, 100)
      yield* store.offerAll(makeItems(150))
      yield* store.offerStored(itemOf(150))
      yield* store.check(151)
      yield* store.check(0)
      const queue = yield* handling(yield* newFile, level, 100)
      yield* queue.handleAll(makeItems(150))
      yield* queue.handleAll(makeItems(150))
      yield* queue.check(150, 2)
    }))
  })

  it("what is missing, or is there too often, ends a case of ours", async () => {
    const storedLess = Effect.gen(function*() {
      const store = yield* storing(yield* newFile, "NORMAL", 100)
      yield* store.offerAll(makeItems(150))
      yield* store.check(151)
    })
    expect(await whyNot(storedLess)).toContain("150 items instead of 151, each 1 times; 150 came 0 times")
    const handledOften = Effect.gen(function*() {
      const queue = yield* handling(yield* newFile, "NORMAL", 100)
      yield* queue.handleAll(makeItems(150))
      yield* queue.check(75, 2)
    })
    expect(await whyNot(handledOften)).toContain("150 items instead of 75, each 2 times; 0 came 1 times")
  })

  it("what was not tried, or is still dead, ends a case of ours", async () => {
    const notTried = Effect.gen(function*() {
      const queue = yield* behind(yield* newFile, "NORMAL", 1)
      yield* queue.prepare(2, makeItems(3))
      yield* queue.handleAll(makeItems(3))
      yield* queue.check(3, 3)
    })
    expect(await whyNot(notTried)).toContain("2 were tried and 2 are left, of 3")
    const stillDead = Effect.gen(function*() {
      const queue = yield* redriving(yield* newFile, "NORMAL", 1)
      yield* queue.kill(15)
      yield* queue.check(15)
    })
    expect(await whyNot(stillDead)).toContain("0 are pending and 15 dead, of 15")
  })

  it("what is missing ends a case of the driver", async () => {
    const storedLess = Effect.gen(function*() {
      const { check, storeAll } = yield* driver(yield* newFile, "NORMAL")
      storeAll(makeItems(150))
      yield* check(151)
    })
    expect(await whyNot(storedLess)).toContain("150 items instead of 151")
  })

  it.each<readonly [string, Peer]>([["PersistedQueue", persistedQueue], ["plainjob", plainjob]])(
    "what is missing ends a case of %s",
    async (name, peer) => {
      const handledLess = Effect.gen(function*() {
        const { check, handleAll } = yield* peer(yield* newFile)
        yield* handleAll(makeItems(15))
        yield* check(15, 1)
        yield* handleAll(makeItems(15))
        yield* check(16, 1)
      })
      expect(await whyNot(handledLess)).toContain(`${name}: 15 items instead of 16`)
    }
  )

  it("a file that was opened is as it was afterwards", async () => {
    await run(Effect.gen(function*() {
      const filename = yield* newFile
      yield* fill(filename, 15)
      expect(yield* firstHandled(filename, "NORMAL", 15)).toBeGreaterThan(0)
      expect(yield* firstHandled(filename, "NORMAL", 15)).toBeGreaterThan(0)
      const store = yield* storing(filename, "NORMAL", 1)
      yield* store.check(15)
    }))
  })
})

describe("the books", () => {
  it("an item that has changed on its way is found", async () => {
    const seen = new Seen()
    seen.seeAll([{ ...itemOf(0), amount: -1 }])
    expect(await whyNot(seen.expect("somebody", 1))).toContain("is not what was offered")
    expect(() => expectIntact([{ ...itemOf(7), account: "" }])).toThrow("is not what was offered")
  })
})

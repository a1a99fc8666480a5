import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { beforeAll, describe, expect, it } from "vitest"
import type { Plan } from "../src/Benchmark.ts"
import { keyed, makePlan, type Sizes } from "../src/keyed.ts"
import { type Contender, inFibers, inOneFiber, inPromises } from "../src/keyed/callers.ts"
import { Books, makeCommands, scattered, Totals } from "../src/keyed/commands.ts"
import { dataLoader, floor, queueAndDeferred, requestResolver, requestResolverWithWindow } from "../src/keyed/peers.ts"
import { keyedBatch, keyedBatchWithStore, shardPool, shardPoolWithVersions } from "../src/keyed/sluice.ts"
import { expectWellFormed } from "./plans.ts"

const run = <A>(effect: Effect.Effect<A, never, Scope.Scope>) => Effect.runPromise(Effect.scoped(effect))

/** What an Effect dies of. */
const whyNot = (effect: Effect.Effect<unknown, never, Scope.Scope>) =>
  run(Effect.sandbox(effect).pipe(Effect.flip, Effect.map(String), Effect.orElseSucceed(() => "passed")))

const small: Sizes = {
  calling: [
    { callers: 1, fast: 20, some: 20, few: 20 },
    { callers: 64, fast: 200, some: 150, few: 130 },
    { callers: 1_024, fast: 1_500, some: 1_500, few: 1_500 }
  ],
  keys: [1, 50, 100],
  spread: 210,
  spreadCallers: 8
}

/** Callers that call for so many keys, a contender, and what the books say of it. */
const calls = (contender: Contender, callers = 4, count = 30, keys = 3) =>
  Effect.gen(function*() {
    const books = new Books(makeCommands(keys))
    const calling = yield* contender(new Totals(keys), callers)
    for (let sample = 0; sample < 2; sample++) {
      books.open(count)
      expect(yield* calling(callers, books)).toBeGreaterThan(0)
      books.close("somebody", callers)
    }
  })

const contenders: ReadonlyArray<readonly [string, Contender]> = [
  ["ShardPool", shardPool({ shards: 1 })],
  ["ShardPool with many shards", shardPool({})],
  ["ShardPool with currentVersion", shardPoolWithVersions({})],
  ["KeyedBatch", keyedBatch({ shards: 1 })],
  ["KeyedBatch with load and save", keyedBatchWithStore({})],
  ["the floor", floor],
  ["Queue and Deferred", queueAndDeferred],
  ["RequestResolver", requestResolver],
  ["RequestResolver with a window", requestResolverWithWindow],
  ["DataLoader", dataLoader]
]

describe("the plan", () => {
  let plan: Plan
  beforeAll(async () => {
    plan = await run(keyed.plan)
  })

  it("every ratio names two of its cases, no two measures are called the same, and all cases are used", () => {
    expectWellFormed(plan)
  })

  it("has goals for 64 callers, and for a million keys", () => {
    const withGoals = plan.ratios.filter(({ goal }) => Object.keys(goal).length > 0)
    expect(Object.fromEntries(withGoals.map(({ goal, measure }) => [measure, goal]))).toEqual({
      "64 callers, ShardPool.submit, against Queue and Deferred": { atLeast: 6 },
      "64 callers, ShardPool.submit, against Effect.async and a worker": { atMost: 1.4 },
      "64 callers, KeyedBatch.modify, against Queue and Deferred": { atLeast: 6 },
      "64 callers, KeyedBatch.modify, against Effect.async and a worker": { atMost: 1.4 },
      "64 callers, KeyedBatch.modify with load and save, against Queue and Deferred": { atLeast: 6 },
      "64 callers, KeyedBatch.modify with load and save, against Effect.async and a worker": { atMost: 1.4 },
      "ShardPool.submit per call, a million keys against a thousand": { atMost: 1.5 },
      "ShardPool.submit with currentVersion per call, a million keys against a thousand": { atMost: 1.5 },
      "KeyedBatch.modify per call, a million keys against a thousand": { atMost: 1.5 }
    })
    expect(plan.ratios).toHaveLength(33)
  })

  it("every case passes its own check, twice", async () => {
    await run(Effect.gen(function*() {
      const { cases } = yield* makePlan(small)
      expect(cases).toHaveLength(33)
      for (const { sample } of [...cases, ...cases]) expect((yield* sample).cost).toBeGreaterThan(0)
    }))
  })
})

describe("contenders", () => {
  it.each(contenders)("%s answers every call, and all callers wait at the same time", async (_, contender) => {
    await run(calls(contender))
  })

  it("as many commands share a batch of ours as there are callers", async () => {
    let saves = 0
    class Stored extends Map<string, number> {
      override set(key: string, total: number): this {
        saves += 1
        return super.set(key, total)
      }
    }
    const callers = 64
    const rounds = 10
    await run(calls(keyedBatchWithStore({ shards: 1 }, new Stored()), callers, callers * rounds, 1))
    // Two samples, at whose beginnings and ends not everybody is there.
    expect(saves).toBeGreaterThanOrEqual(2 * rounds)
    expect(saves).toBeLessThanOrEqual(2 * (rounds + 2))
  })
})

describe("the check", () => {
  it("an answer that is wrong ends a case", async () => {
    const wrong: Contender = (totals) =>
      Effect.succeed(
        inFibers((command) => Effect.as(Effect.yieldNow(), totals.add(command) + (command.index === 1 ? 1 : 0)))
      )
    expect(await whyNot(calls(wrong))).toContain("somebody: key number 1 answered 1 0 times")
  })

  it("an answer that comes twice ends a case", async () => {
    const stuck: Contender = () => Effect.succeed(inPromises(() => Promise.resolve(1)))
    expect(await whyNot(calls(stuck))).toContain("somebody: key number 0 answered 1 10 times")
  })

  it("answers to one caller after the other end a case", async () => {
    const inTurn: Contender = (totals) => Effect.succeed(inFibers((command) => Effect.sync(() => totals.add(command))))
    expect(await whyNot(calls(inTurn))).toContain("somebody: 1 callers at a time instead of 4")
  })

  it("a call that fails ends a case", async () => {
    const failing: Contender = () => Effect.succeed(inFibers(() => Effect.fail("refused")))
    expect(await whyNot(calls(failing))).toContain("refused")
  })

  it("a call that was not made ends a case", () => {
    const books = new Books(makeCommands(1))
    books.open(2)
    books.note(books.next()!, 1)
    expect(() => books.close("somebody", 1)).toThrow("somebody: 1 calls instead of 2")
  })

  it("answers may come in another order than the calls", async () => {
    const backwards: Contender = (totals) =>
      Effect.succeed(
        inOneFiber((commands) =>
          Effect.sync(() => [...commands].reverse().map((command) => totals.add(command)).reverse())
        )
      )
    await run(calls(backwards, 4, 30, 1))
  })
})

describe("the commands", () => {
  it.each([1, 1_000, 100_000])("of %i keys, each has a name of its own", (count) => {
    const commands = makeCommands(count)
    expect(new Set(commands.map(({ key }) => key)).size).toBe(count)
    expect(new Set(scattered(commands)).size).toBe(count)
  })
})

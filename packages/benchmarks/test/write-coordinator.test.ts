import { SqlClient } from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { timedSync } from "../src/Benchmark.ts"
import { type Level, type Query, temporaryDirectory } from "../src/files.ts"
import { submitAll } from "../src/submitting.ts"
import { makeCase, makePlan, type Sizes, writeCoordinator } from "../src/write-coordinator.ts"
import {
  type Contender,
  driver,
  submitEffect,
  submitStatement,
  withTransaction
} from "../src/write-coordinator/contenders.ts"

const run = <A>(effect: Effect.Effect<A, never, Scope.Scope>) => Effect.runPromise(Effect.scoped(effect))

const small: Sizes = {
  submitting: [{ submitters: 1, shared: 3, own: 3 }, { submitters: 64, shared: 3, own: 2 }],
  driverWrites: 250
}

/** Runs a case of the driver that writes, and commits, otherwise than it claims: what does the check say? */
const driverCase = (
  written: number,
  claimed: number,
  level: Level,
  prepare?: (query: Query) => Effect.Effect<unknown>
) =>
  Effect.gen(function*() {
    const filename = join(yield* temporaryDirectory, "test.db")
    const { query, writeAll } = yield* driver(filename, "NORMAL")
    const timed = timedSync("driver", claimed, () => writeAll(written))
    const { sample } = yield* makeCase(timed, filename, query, level, claimed)
    if (prepare !== undefined) yield* prepare(query)
    return yield* Effect.sandbox(sample).pipe(Effect.flip, Effect.map(String), Effect.orElseSucceed(() => "passed"))
  })

const contenders: ReadonlyArray<readonly [string, Contender]> = [
  ["an Effect", submitEffect],
  ["a Statement", submitStatement],
  ["withTransaction", withTransaction]
]

describe("the plan", () => {
  it("every ratio names two of its cases, no two measures are called the same, and all cases are used", async () => {
    const { cases, ratios } = await run(writeCoordinator.plan)
    const names = new Set(cases.map(({ name }) => name))
    expect(names.size).toBe(cases.length)
    for (const { above, below, subject } of ratios) {
      expect(names).toContain(above)
      expect(names).toContain(below)
      expect([above, below]).toContain(subject)
    }
    expect(new Set(ratios.map(({ measure }) => measure)).size).toBe(ratios.length)
    expect(new Set(ratios.flatMap(({ above, below }) => [above, below]))).toEqual(names)
  })

  it("has goals for many submitters, and none for one", async () => {
    const { ratios } = await run(writeCoordinator.plan)
    const goals = Object.fromEntries(ratios.map(({ goal, measure }) => [measure, goal]))
    expect(goals).toMatchObject({
      "FULL, 1 submitter of an Effect, against withTransaction each": {},
      "FULL, 64 submitters of an Effect, against withTransaction each": { atLeast: 8 },
      "FULL, 1,024 submitters of a Statement, against withTransaction each": { atLeast: 20 },
      "FULL, 64 submitters of a Statement, against better-sqlite3 in transactions of 100": { atMost: 5 },
      "NORMAL, 1,024 submitters of an Effect, against withTransaction each": { atLeast: 2.5 },
      "NORMAL, 64 submitters of a Statement, against withTransaction each": { atLeast: 8 },
      "NORMAL, 1,024 submitters of a Statement, against better-sqlite3 in transactions of 100": { atMost: 8 }
    })
    for (const { goal, measure } of ratios) {
      expect(Object.keys(goal)).toHaveLength(measure.includes(" 1 submitter ") ? 0 : 1)
    }
  })

  it("every case passes its own check, twice, and says how long its submitters waited", async () => {
    await run(Effect.gen(function*() {
      const { cases } = yield* makePlan(small)
      expect(cases).toHaveLength(14)
      for (const { name, sample } of [...cases, ...cases]) {
        const { cost, latency } = yield* sample
        expect(cost).toBeGreaterThan(0)
        if (name.includes("better-sqlite3")) expect(latency).toBeUndefined()
        else expect(latency!.p99).toBeGreaterThanOrEqual(latency!.p50)
      }
    }))
  })
})

describe("contenders", () => {
  it.each(contenders)("%s writes rows into the file, at the level that was asked for", async (_, contender) => {
    for (const level of ["FULL", "NORMAL"] as const) {
      await run(Effect.gen(function*() {
        const filename = join(yield* temporaryDirectory, "test.db")
        const database = yield* contender(filename, level)
        yield* submitAll(database, 8, 2)
        const rows = yield* database.query("SELECT id, value FROM writes ORDER BY id")
        expect(rows).toEqual(Array.from({ length: 16 }, (_, id) => ({ id, value: `value ${id}` })))
        expect(yield* database.query("PRAGMA synchronous")).toEqual([{ synchronous: level === "FULL" ? 2 : 1 }])
      }))
    }
  })

  const context = Context.make(SqlClient, {} as SqlClient)

  it("all submitters have a write under way before one has its second turn, even where a write never waits", async () => {
    const order: Array<number | undefined> = []
    let fibers = 0
    const numbers = new Map<unknown, number>()
    const write = () =>
      Effect.withFiberRuntime<void>((fiber) => {
        if (!numbers.has(fiber)) numbers.set(fiber, fibers++)
        order.push(numbers.get(fiber))
        return Effect.void
      })
    await run(submitAll({ context, write }, 3, 2))
    expect(order).toEqual([0, 1, 2, 0, 1, 2])
  })

  it("a write that fails fails the sample", async () => {
    const write = (id: number) => id === 2 ? Effect.fail("refused") : Effect.void
    await expect(run(submitAll({ context, write }, 3, 2))).rejects.toThrow("refused")
  })
})

describe("the check", () => {
  it("passes what is complete", async () => {
    expect(await run(driverCase(250, 250, "NORMAL"))).toBe("passed")
  })

  it("a case that loses rows fails", async () => {
    expect(await run(driverCase(249, 250, "NORMAL"))).toContain("249 rows, 249 of them as expected, instead of 250")
  })

  it("a case that writes too many rows fails", async () => {
    expect(await run(driverCase(251, 250, "NORMAL"))).toContain("251 rows, 250 of them as expected, instead of 250")
  })

  it("a case that writes something else fails", async () => {
    const disturb = (query: Query) =>
      query(
        "CREATE TRIGGER wrong AFTER INSERT ON writes WHEN NEW.id = 7 BEGIN UPDATE writes SET value = '' WHERE id = 7; END"
      )
    expect(await run(driverCase(250, 250, "NORMAL", disturb)))
      .toContain("250 rows, 249 of them as expected, instead of 250")
  })

  it("a case that commits at another level than it claims fails", async () => {
    expect(await run(driverCase(250, 250, "FULL"))).toContain("synchronous is 1 instead of 2")
  })

  it("the directory is gone afterwards", async () => {
    const directory = await run(Effect.tap(temporaryDirectory, (path) => {
      writeFileSync(join(path, "file"), "")
      expect(existsSync(path)).toBe(true)
    }))
    expect(existsSync(directory)).toBe(false)
  })
})

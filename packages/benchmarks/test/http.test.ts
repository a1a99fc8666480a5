import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { beforeAll, describe, expect, it } from "vitest"
import { temporaryDirectory } from "../src/files.ts"
import { http, makePlan, type Sizes } from "../src/http.ts"
import { isIntact, Reading, reading } from "../src/http/item.ts"
import { type Load, startLoad } from "../src/http/load.ts"
import { start } from "../src/http/processes.ts"
import { type Kind, startServer } from "../src/http/server.ts"
import { expectWellFormed } from "./plans.ts"

const run = <A>(effect: Effect.Effect<A, never, Scope.Scope>) => Effect.runPromise(Effect.scoped(effect))

const small: Sizes = {
  connections: 4,
  requests: 40,
  arrays: { items: 10, requests: 8 },
  uploads: { items: 100, requests: 4, connections: 2 }
}

/** Those that answer with what has become of an item. The others are looked at by the plan, as these are. */
const ours: ReadonlyArray<Kind> = ["plain", "api", "stored"]

const post = (url: string, body: string) =>
  Effect.promise(async () => {
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body })
    return { status: response.status, body: await response.json() as Record<string, unknown> }
  })

// The processes run what has been compiled.
beforeAll(() => {
  const root = fileURLToPath(new URL("../../..", import.meta.url))
  const tsc = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url))
  spawnSync(process.execPath, [tsc, "-b", "packages/benchmarks/tsconfig.src.json"], { cwd: root })
})

describe("the plan", () => {
  it("every ratio names two of its cases, no two measures are called the same, and all cases are used", async () => {
    expectWellFormed(await run(http.plan))
  })

  it("has goals for ingest against an Effect server, and a trial", async () => {
    const { ratios, trials } = await run(http.plan)
    const withGoals = ratios.filter(({ goal }) => Object.keys(goal).length > 0)
    expect(Object.fromEntries(withGoals.map(({ goal, measure }) => [measure, goal]))).toEqual({
      "ingest by plain route, against Effect server": { atLeast: 0.9 },
      "ingest by HttpApi, against Effect server": { atLeast: 0.65 },
      "ingest by plain route, stored, FULL, against Effect server": { atLeast: 0.5 }
    })
    expect(trials).toHaveLength(1)
  })

  it("every case passes its own check, twice, and says how fast it was; and so does overload", async () => {
    const findings = await run(Effect.gen(function*() {
      const { cases, trials = [] } = yield* makePlan(small)
      const sampleTwice = Effect.forEach(cases, ({ name, sample }) =>
        Effect.gen(function*() {
          yield* sample
          const { cost, cpu, latency } = yield* sample
          expect([name, cost > 0, cpu! > 0]).toEqual([name, true, true])
          expect(latency!.p50).toBeGreaterThan(0)
          expect(latency!.p99).toBeGreaterThanOrEqual(latency!.p50)
        }), { concurrency: "unbounded", discard: true })
      const [, [found]] = yield* Effect.all([sampleTwice, Effect.forEach(trials, ({ run }) => run(1))], {
        concurrency: "unbounded"
      })
      return found
    }))
    const value = Object.fromEntries(findings.figures.map(({ figure, value }) => [figure, value]))
    expect(value["answered with 202"]).toBeGreaterThan(0)
    expect(value["p99"]).toBeGreaterThan(0)
    expect(value["rss, median of the last quarter"]).toBeGreaterThan(1)
    // In a second nothing can be said of memory, or of how busy the sink was.
    const promises = findings.checks.filter(({ check }) => !/has not grown|the sink was given/.test(check))
    expect(promises).toHaveLength(5)
    expect(promises.filter(({ met }) => !met)).toEqual([])
  })
})

describe("our servers", () => {
  it("take an item, tell what has become of it, and refuse one that does not fit the schema", async () => {
    const told = await run(Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      return yield* Effect.forEach(ours, (kind) =>
        Effect.gen(function*() {
          const { ask } = yield* startServer(kind, directory)
          const url = `${yield* ask("url")}${kind === "stored" ? "?wait=stored" : ""}`
          const good = yield* post(url, JSON.stringify(reading))
          const bad = yield* post(url, JSON.stringify({ ...reading, celsius: "warm" }))
          return { kind, good, bad, books: yield* ask("settled") }
        }), { concurrency: "unbounded" })
    }))
    for (const { bad, books, good, kind } of told) {
      expect([kind, good, bad.status, bad.body]).toMatchObject([
        kind,
        { status: 202, body: { items: 1, [kind === "stored" ? "stored" : "accepted"]: 1 } },
        400,
        { _tag: "InvalidItems", faults: [{ position: 0, field: "celsius" }] }
      ])
      expect([kind, books]).toEqual([kind, {
        accepted: 1,
        refused: 0,
        dropped: 0,
        settled: 1,
        held: 0,
        handled: 1,
        broken: 0
      }])
    }
  })
})

describe("the load", () => {
  const load = (url: string, until: Load["until"]): Load => ({
    url,
    until,
    contentType: "application/json",
    body: JSON.stringify(reading),
    connections: 3
  })

  it("is as many requests as it is told, or lasts as long, and each has an answer", async () => {
    await run(Effect.gen(function*() {
      const server = yield* startServer("node", "")
      const { ask } = yield* startLoad
      const url = yield* server.ask("url")
      const some = yield* ask(load(url, { requests: 50 }))
      expect(some).toMatchObject({ answers: { 202: 50 }, bodies: { 202: "{\"accepted\":1}" }, errors: 0, counted: 47 })
      const before = yield* server.ask("books")
      const many = yield* ask(load(url, { seconds: 0.3 }))
      expect(many.answers[202]).toBe((yield* server.ask("books")).accepted - before.accepted)
      expect(many.nanos).toBeGreaterThan(0.2e9)
      expect(many.nanos).toBeLessThan(3e9)
    }))
  })

  it("asking a process that has ended is a defect", async () => {
    // It has nothing to do, and so it ends.
    const nobody = start("processes").pipe(
      Effect.flatMap(({ ask }) => ask("anything")),
      Effect.sandbox,
      Effect.flip,
      Effect.map(String),
      Effect.orElseSucceed(() => "answered")
    )
    expect(await run(nobody)).toContain("processes has ended")
  })
})

describe("the item", () => {
  it("fits its schema, and is told from another", () => {
    expect(isIntact(Reading.make(reading))).toBe(true)
    expect(isIntact({ ...reading, celsius: 1 })).toBe(false)
  })
})

import * as SqlClient from "@effect/sql/SqlClient"
import { it } from "@effect/vitest"
import { SqliteStore } from "@sluice/sql"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect } from "vitest"
import { check, type Evidence } from "../src/visits/check.ts"
import { countCommits } from "../src/visits/commits.ts"
import { temporaryDirectory } from "./support/flights.ts"

const directory = temporaryDirectory()
const program = fileURLToPath(new URL("../dist/visits/main.js", import.meta.url))

const totals = { visits: 470, walked: 270 }
const run = { name: "plain", millis: 900, commits: 291, totals, counts: [0, 12, 12, 470] }

const right: Evidence = {
  plain: run,
  coordinated: { ...run, name: "with a coordinator", commits: 4, counts: [0, 470] },
  metrics: {
    name: "writes",
    offered: 301,
    refused: 0,
    cancelled: 0,
    settled: 301,
    succeeded: 291,
    failed: 10,
    held: 0,
    depth: 0,
    inFlight: 0,
    waiting: 0,
    capacity: 256,
    batches: 4
  },
  submitted: [{ page: "/" }, { page: "/news" }],
  announced: [
    { topic: "visits", payload: { page: "/" }, sequence: 1 },
    { topic: "visits", payload: { page: "/news" }, sequence: 2 }
  ],
  countsAfter: [470, 471, 472]
}

describe("the visits example", () => {
  it("shows many writes in few commits, the count that follows, and what was announced: exit code 0", {
    timeout: 30_000
  }, async () => {
    const { stderr, stdout } = await promisify(execFile)(process.execPath, [program])
    expect(stderr).toBe("")
    expect(stdout).toMatch(/^plain +291 commits .* 470 visits/m)
    const commits = /^with a coordinator +(\d+) commits .* 470 visits/m.exec(stdout)?.[1]
    expect(Number(commits)).toBeGreaterThan(0)
    expect(Number(commits)).toBeLessThanOrEqual(30)
    expect(stdout).toContain(`301 offered, 291 succeeded, 10 failed, 0 cancelled, in ${commits} groups`)
    expect(stdout.match(/^announced: visits \d: visit /gm)).toHaveLength(3)
    expect(stdout).toMatch(/^meanwhile the watcher was told: 470, .*473$/m)
    expect(stdout).toMatch(/\nIt adds up\.\n$/)
  })
})

describe("the check of the visits example", () => {
  it("holds where everything is as it should be", () => {
    expect(check(right)).toEqual([])
  })

  it.each<readonly [string, Evidence]>([
    ["a visit is missing", { ...right, plain: { ...run, totals: { ...totals, visits: 469 } } }],
    ["a walk was not rolled back", {
      ...right,
      coordinated: { ...right.coordinated, totals: { ...totals, walked: 272 } }
    }],
    ["the watcher was told only once", { ...right, plain: { ...run, counts: [470] } }],
    ["the watcher was told of fewer than before", { ...right, plain: { ...run, counts: [0, 12, 11, 470] } }],
    ["a write of the plain client was no commit of its own", { ...right, plain: { ...run, commits: 290 } }],
    ["the coordinator has not grouped", {
      ...right,
      coordinated: { ...right.coordinated, commits: 31 },
      metrics: { ...right.metrics, batches: 31 }
    }],
    ["the log has other commits than there were groups", { ...right, metrics: { ...right.metrics, batches: 5 } }],
    ["a write is in no count", { ...right, metrics: { ...right.metrics, succeeded: 290 } }],
    ["a write was not announced", { ...right, announced: right.announced.slice(1) }],
    ["writes were announced in another order", { ...right, announced: [...right.announced].reverse() }],
    ["the count did not follow the submits", { ...right, countsAfter: [470, 471] }]
  ])("does not hold where %s", (_, evidence) => {
    expect(check(evidence)).not.toEqual([])
  })
})

it.effect("the commits in the log are counted, and not the statements or the pages", () =>
  Effect.gen(function*() {
    const filename = join(directory, "commits.sqlite")
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE texts (text TEXT)`
      expect(yield* countCommits(filename)).toBe(1)
      const insert = sql`INSERT INTO texts ${sql.insert({ text: "long ".repeat(10_000) })}`
      yield* sql.withTransaction(Effect.zipRight(insert, insert))
      expect(yield* countCommits(filename)).toBe(2)
      yield* Effect.flip(sql.withTransaction(Effect.zipRight(insert, Effect.fail("no"))))
      expect(yield* countCommits(filename)).toBe(2)
      yield* sql`DELETE FROM texts`
      expect(yield* countCommits(filename)).toBe(3)
    }).pipe(Effect.provide(SqliteStore.layer({ filename })))
  }))

import * as SqlClient from "@effect/sql/SqlClient"
import { it } from "@effect/vitest"
import { SqliteStore } from "@sluice/sql"
import { Effect, Either, Exit } from "effect"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect } from "vitest"
import { Amount, fromAccounts, transfer } from "../src/accounts/Branch.ts"
import { busyDay } from "../src/accounts/busyDay.ts"
import { check, type Evidence } from "../src/accounts/check.ts"
import { report } from "../src/accounts/report.ts"
import * as Tables from "../src/accounts/tables.ts"
import { temporaryDirectory } from "./support/flights.ts"

const directory = temporaryDirectory()
const program = fileURLToPath(new URL("../dist/accounts/main.js", import.meta.url))

const request = (id: number, from: string, to: string, amount: number) => ({
  id,
  branch: "north",
  from,
  to,
  amount: Amount.make(amount)
})

const account = (name: string, balance: number) => ({ account: name, branch: "north", balance })

const made = [request(1, "a", "b", 60), request(2, "b", "a", 10)]

const metrics = {
  offered: 8,
  refused: 0,
  cancelled: 0,
  settled: 8,
  succeeded: 2,
  failed: 6,
  held: 0,
  depth: 0,
  inFlight: 0,
  batches: 2,
  batchesFailed: 1,
  loads: 2,
  saves: 2,
  keys: 0
}

const right: Evidence = {
  // As many as there must be for two loads.
  requests: [
    ...made,
    request(3, "a", "b", 90),
    ...Array.from({ length: 397 }, (_, n) => request(n + 4, "a", "nobody", 1))
  ],
  answers: [
    { id: 1, outcome: "made" },
    { id: 2, outcome: "made" },
    { id: 3, outcome: "InsufficientFunds" },
    ...Array.from({ length: 397 }, (_, n) => ({ id: n + 4, outcome: "NoSuchAccount" as const }))
  ],
  before: [account("a", 100), account("b", 0)],
  after: [account("a", 50), account("b", 50)],
  made,
  statements: { loads: 2, saves: 2, completeSaves: 1 },
  metrics
}

describe("the accounts example", () => {
  it("shows hundreds of transfers a load, and a total that stays: exit code 0", async () => {
    const { stderr, stdout } = await promisify(execFile)(process.execPath, [program])
    expect(stderr).toBe("")
    expect(stdout).toMatch(/^requests +1000$/m)
    expect(stdout).toMatch(/^loads +[345] /m)
    expect(stdout).toMatch(/^saves +[345] .*rolled back: 1$/m)
    expect(stdout).toMatch(/^total before +8000\ntotal after +8000$/m)
    expect(stdout).toMatch(/\nIt adds up\.\n$/)
  })
})

describe("a transfer", () => {
  const branch = fromAccounts([account("a", 100), account("b", 0)])

  it("that is refused, on either side, answers no branch", () => {
    expect(transfer(branch, request(1, "a", "b", 101))).toMatchObject({ left: { _tag: "InsufficientFunds" } })
    expect(transfer(branch, request(1, "a", "nobody", 1))).toMatchObject({ left: { _tag: "NoSuchAccount" } })
    expect(transfer(branch, request(1, "nobody", "b", 1))).toMatchObject({ left: { _tag: "NoSuchAccount" } })
  })

  it("to the same account makes no money", () => {
    const [, after] = Either.getOrThrow(transfer(branch, request(1, "a", "a", 40)))
    expect(after.balances.get("a")).toBe(100)
  })

  it("cannot be of nothing, or of less", () => {
    expect(() => Amount.make(0)).toThrow("positive number")
    expect(() => Amount.make(-5)).toThrow("positive number")
  })
})

describe("the check of the accounts example", () => {
  it("holds where everything is as it should be", () => {
    expect(check(right)).toEqual([])
  })

  it.each<readonly [string, Evidence]>([
    ["money was made", { ...right, after: [account("a", 50), account("b", 51)] }],
    ["money was moved, and no transfer says so", { ...right, after: [account("a", 40), account("b", 60)] }],
    ["a transfer is missing that was answered as made", {
      ...right,
      made: made.slice(0, 1),
      after: [account("a", 40), account("b", 60)]
    }],
    ["a transfer was made twice", {
      ...right,
      made: [...made, made[1]],
      after: [account("a", 60), account("b", 40)]
    }],
    ["a transfer was made that was refused", {
      ...right,
      answers: right.answers.map((answer) => answer.id === 2 ? { id: 2, outcome: "InsufficientFunds" } : answer)
    }],
    ["a balance was below zero in between", { ...right, made: [...made].reverse() }],
    ["a request has no answer", { ...right, answers: right.answers.slice(0, -1) }],
    ["nothing was refused", {
      ...right,
      answers: right.answers.filter(({ outcome }) => outcome === "made"),
      requests: made
    }],
    ["no save has failed", {
      ...right,
      statements: { ...right.statements, completeSaves: 2 },
      metrics: { ...metrics, batchesFailed: 0 }
    }],
    ["more was loaded than was counted", { ...right, statements: { ...right.statements, loads: 3 } }],
    ["there were too many loads", {
      ...right,
      statements: { ...right.statements, loads: 3 },
      metrics: { ...metrics, loads: 3 }
    }],
    ["a request is in no count", { ...right, metrics: { ...metrics, settled: 7, succeeded: 1 } }]
  ])("does not hold where %s", (_, evidence) => {
    expect(check(evidence)).not.toEqual([])
  })

  it.live("notices a broken ledger, from its database, and the report fails", () =>
    Effect.gen(function*() {
      const filename = join(directory, "broken.sqlite")
      const evidence = yield* busyDay(filename)
      expect(check(evidence)).toEqual([])
      // As if the debit of the last transfer had been saved, and its credit had not.
      const broken = yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`UPDATE accounts SET balance = balance - 1 WHERE balance = (SELECT max(balance) FROM accounts)`
        return { ...evidence, after: yield* Tables.readAccounts, made: yield* Tables.readTransfers }
      }).pipe(Effect.provide(SqliteStore.layer({ filename })))
      expect(check(broken)).toEqual([
        expect.stringMatching(/^the total was 8000 and is 799\d$/),
        expect.stringMatching(/^(north|south)-\d has \d+, not \d+$/)
      ])
      expect(Exit.isFailure(yield* Effect.exit(report(broken)))).toBe(true)
    }))
})

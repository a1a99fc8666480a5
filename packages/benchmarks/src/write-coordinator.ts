/**
 * What a write costs that shares its transaction with others, against one that has its own. The same row is inserted
 * into the same table of a real file, by callers that each wait until it is committed.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import {
  type Benchmark,
  type Case,
  type Goal,
  type Plan,
  type Sample,
  timedSync,
  timesAsFast,
  timesItsTime,
  together
} from "./Benchmark.ts"
import { type Level, type Query, temporaryDirectory } from "./files.ts"
import { submitAll } from "./submitting.ts"
import {
  type Contender,
  driver,
  submitEffect,
  submitStatement,
  withTransaction
} from "./write-coordinator/contenders.ts"
import { makeCheck } from "./write-coordinator/table.ts"

/** How much is written in a sample. */
export interface Sizes {
  readonly submitting: ReadonlyArray<{
    readonly submitters: number
    /** How many writes each submitter makes: those that share transactions, and those with one of their own. */
    readonly shared: number
    readonly own: number
  }>
  readonly driverWrites: number
}

/**
 * Enough for the fast ones to run for some tenths of a second, and so few that those with a transaction each take only a
 * second or two.
 */
const sizes: Sizes = {
  submitting: [
    { submitters: 1, shared: 512, own: 512 },
    { submitters: 64, shared: 512, own: 64 },
    { submitters: 1_024, shared: 32, own: 4 }
  ],
  driverWrites: 25_000
}

/** What is to be reached with many submitters. One alone has nobody to share with. */
const goals: Readonly<Record<Level, { readonly effect: Goal; readonly statement: Goal; readonly driver: Goal }>> = {
  FULL: { effect: { atLeast: 8 }, statement: { atLeast: 20 }, driver: { atMost: 5 } },
  NORMAL: { effect: { atLeast: 2.5 }, statement: { atLeast: 8 }, driver: { atMost: 8 } }
}

/**
 * A case with a file of its own, which stays open. After each sample, outside of what is timed, the rows are checked and
 * deleted: every sample begins with an empty table, in a file that does not grow any more.
 */
export const makeCase = (
  { sample, ...rest }: Case,
  filename: string,
  query: Query,
  level: Level,
  writes: number
): Effect.Effect<Case, never, Scope.Scope> =>
  Effect.map(makeCheck(filename, query, level), (check) => ({
    ...rest,
    sample: Effect.zipLeft(sample, Effect.zipRight(check(writes), query("DELETE FROM writes")))
  }))

const submittersOf = (count: number) => count === 1 ? "1 submitter" : `${count.toLocaleString("en-US")} submitters`

const planOf = (
  directory: string,
  level: Level,
  { driverWrites, submitting }: Sizes
): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    let files = 0
    const newFile = () => join(directory, `${level}-${files++}.db`)
    const cases: Array<Case> = []
    const add = (name: string, contender: Contender, submitters: number, writesEach: number) =>
      Effect.gen(function*() {
        const filename = newFile()
        const database = yield* contender(filename, level)
        const sample: Effect.Effect<Sample> = submitAll(database, submitters, writesEach)
        cases.push(
          yield* makeCase({ name, unit: "ns/op", sample }, filename, database.query, level, submitters * writesEach)
        )
        return name
      })

    const filename = newFile()
    const { query, writeAll } = yield* driver(filename, level)
    const limit = timedSync(`${level}, better-sqlite3`, driverWrites, () => writeAll(driverWrites))
    cases.push(yield* makeCase(limit, filename, query, level, driverWrites))

    const ratios = yield* Effect.forEach(submitting, ({ own: writesOfOwn, shared, submitters }) =>
      Effect.gen(function*() {
        const prefix = `${level}, ${submittersOf(submitters)}`
        const goal = submitters === 1 ? undefined : goals[level]
        const effect = yield* add(`${prefix}, Effect`, submitEffect, submitters, shared)
        const statement = yield* add(`${prefix}, Statement`, submitStatement, submitters, shared)
        const own = yield* add(`${prefix}, withTransaction`, withTransaction, submitters, writesOfOwn)
        return [
          timesAsFast(`${prefix} of an Effect, against withTransaction each`, effect, own, goal?.effect),
          timesAsFast(`${prefix} of a Statement, against withTransaction each`, statement, own, goal?.statement),
          timesItsTime(
            `${prefix} of a Statement, against better-sqlite3 in transactions of 100`,
            statement,
            limit.name,
            goal?.driver
          )
        ]
      }))
    return { cases, ratios: ratios.flat() }
  })

export const makePlan = (sizes: Sizes): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    return together([yield* planOf(directory, "FULL", sizes), yield* planOf(directory, "NORMAL", sizes)])
  })

export const writeCoordinator: Benchmark = {
  name: "write-coordinator",
  title: "writes that share a transaction, by many submitters",
  packages: ["@sluice/sql", "effect", "@effect/sql", "@effect/sql-sqlite-node", "better-sqlite3"],
  plan: makePlan(sizes)
}

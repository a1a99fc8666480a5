/**
 * A busy day: a thousand transfers at once, of which some ask for more than there is, or for an account that does not
 * exist. Answers everything that `check.ts` looks at.
 */
import { SqliteStore } from "@sluice/sql"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import { type Account, Amount, type Transfer } from "./Branch.ts"
import type { Answer, Evidence } from "./check.ts"
import * as Ledger from "./Ledger.ts"
import { countInto } from "./statements.ts"
import * as Tables from "./tables.ts"

export const plan = {
  transfers: 1_000,
  branches: ["north", "south"],
  accountsPerBranch: 4,
  balance: 1_000,
  highestAmount: 600,
  /** Every so many transfers, one goes to an account that does not exist. */
  lostEvery: 50,
  failingSaves: 1
}

const accountsOf = (branch: string): ReadonlyArray<string> =>
  Array.from({ length: plan.accountsPerBranch }, (_, n) => `${branch}-${n + 1}`)

export const accounts: ReadonlyArray<Account> = plan.branches.flatMap((branch) =>
  accountsOf(branch).map((account) => ({ account, branch, balance: plan.balance }))
)

/** The same ones in every run. */
const transfers = Effect.forEach(
  Array.from({ length: plan.transfers }, (_, n) => n + 1),
  (id) =>
    Effect.gen(function*() {
      const branch = plan.branches[id % plan.branches.length]
      const [from, to] = yield* Random.shuffle(accountsOf(branch))
      const amount = Amount.make(yield* Random.nextIntBetween(1, plan.highestAmount + 1))
      const transfer: Transfer = { id, branch, from, to: id % plan.lostEvery === 0 ? `${branch}-0` : to, amount }
      return transfer
    })
).pipe(Effect.withRandom(Random.make("a busy day")))

/** A refusal is an answer, too. */
const ask = (request: Transfer) =>
  Ledger.transfer(request).pipe(
    Effect.as<Answer>({ id: request.id, outcome: "made" }),
    Effect.catchTags({
      InsufficientFunds: ({ _tag }) => Effect.succeed<Answer>({ id: request.id, outcome: _tag }),
      NoSuchAccount: ({ _tag }) => Effect.succeed<Answer>({ id: request.id, outcome: _tag })
    })
  )

const layer = (filename: string, counts: Map<string, number>) =>
  Ledger.layer(plan).pipe(
    countInto(counts),
    Layer.provideMerge(SqliteStore.layer({ filename }))
  )

export const busyDay = (filename: string) => {
  const counts = new Map<string, number>()
  return Effect.gen(function*() {
    yield* Tables.open(accounts)
    const before = yield* Tables.readAccounts
    const requests = yield* transfers
    const answers = yield* Effect.forEach(requests, ask, { concurrency: "unbounded" })
    const ledger = yield* Ledger.Ledger
    return {
      requests,
      answers,
      before,
      after: yield* Tables.readAccounts,
      made: yield* Tables.readTransfers,
      statements: {
        loads: counts.get("SELECT accounts") ?? 0,
        saves: counts.get("INSERT accounts") ?? 0,
        completeSaves: counts.get("INSERT transfers") ?? 0
      },
      metrics: yield* ledger.metrics
    } satisfies Evidence
  }).pipe(Effect.provide(layer(filename, counts)))
}

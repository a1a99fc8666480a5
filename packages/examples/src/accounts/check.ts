/**
 * What must be true in the evening: no money was made or lost, and what was answered is what the database has.
 */
import type { KeyedBatch } from "@sluice/core"
import * as Either from "effect/Either"
import { type Account, fromAccounts, type Refusal, type Transfer, transfer } from "./Branch.ts"

/** What a caller was told of its transfer. */
export interface Answer {
  readonly id: number
  readonly outcome: "made" | Refusal["_tag"]
}

export interface Evidence {
  readonly requests: ReadonlyArray<Transfer>
  readonly answers: ReadonlyArray<Answer>
  /** From the database: the accounts before and after, and the transfers in the order in which they were made. */
  readonly before: ReadonlyArray<Account>
  readonly after: ReadonlyArray<Account>
  readonly made: ReadonlyArray<Transfer>
  /** As often as the client of the database ran them. A save that is not complete failed in between. */
  readonly statements: { readonly loads: number; readonly saves: number; readonly completeSaves: number }
  readonly metrics: KeyedBatch.Metrics
}

/** So many requests must have shared a load, and a save, on average. */
const fewestPerBatch = 200

export const total = (accounts: ReadonlyArray<Account>): number =>
  accounts.reduce((sum, { balance }) => sum + balance, 0)

export const answered = ({ answers }: Evidence, ...outcomes: ReadonlyArray<Answer["outcome"]>): ReadonlyArray<number> =>
  answers.filter(({ outcome }) => outcomes.includes(outcome)).map(({ id }) => id)

const wrongWithTotal = ({ after, before }: Evidence): ReadonlyArray<string> =>
  total(before) === total(after) ? [] : [`the total was ${total(before)} and is ${total(after)}`]

/** Makes the transfers of the database once more, on the accounts as they were. */
const wrongWithBalances = ({ after, before, made }: Evidence): ReadonlyArray<string> => {
  let bank = fromAccounts(before)
  for (const request of made) {
    const next = transfer(bank, request)
    if (Either.isLeft(next)) return [`transfer ${request.id} was made, but must be refused: ${next.left._tag}`]
    bank = next.right[1]
  }
  return after
    .filter(({ account, balance }) => bank.balances.get(account) !== balance)
    .map(({ account, balance }) => `${account} has ${balance}, not ${bank.balances.get(account)}`)
}

const textOf = ({ amount, branch, from, id, to }: Transfer): string => [id, branch, from, to, amount].join(" ")

/** Whoever was told that it is made finds it there, once; and nobody else does. */
const wrongWithAnswers = (evidence: Evidence): ReadonlyArray<string> => {
  const { answers, made, requests } = evidence
  const promised = new Set(answered(evidence, "made"))
  const expected = requests.filter(({ id }) => promised.has(id)).map(textOf).sort()
  const found = made.map(textOf).sort()
  return [
    ...(answers.length === requests.length ? [] : [`${answers.length} answers to ${requests.length} requests`]),
    ...(JSON.stringify(expected) === JSON.stringify(found)
      ? []
      : [`${expected.length} transfers were answered as made; the database has ${found.length}, or other ones`])
  ]
}

/** That there was something to go wrong. */
const wrongWithDay = (evidence: Evidence): ReadonlyArray<string> => {
  const { completeSaves, saves } = evidence.statements
  return [
    ...(answered(evidence, "made").length > 0 ? [] : ["no transfer was made"]),
    ...(answered(evidence, "InsufficientFunds").length > 0 ? [] : ["no debit was refused"]),
    ...(answered(evidence, "NoSuchAccount").length > 0 ? [] : ["no credit was refused"]),
    ...(completeSaves < saves ? [] : ["no save has failed in between"])
  ]
}

const wrongWithCounts = ({ metrics, requests, statements }: Evidence): ReadonlyArray<string> => {
  const { batchesFailed, cancelled, failed, held, loads, offered, refused, saves, settled, succeeded } = metrics
  const wrong: Array<string> = []
  if (loads !== statements.loads || saves !== statements.saves) {
    wrong.push(`counted were ${loads} loads and ${saves} saves; run were ${statements.loads} and ${statements.saves}`)
  }
  if (batchesFailed !== statements.saves - statements.completeSaves) wrong.push(`${batchesFailed} batches have failed`)
  if (offered !== refused + cancelled + settled + held || settled !== succeeded + failed || held !== 0) {
    wrong.push("the counts of the ledger do not add up")
  }
  const most = requests.length / fewestPerBatch
  if (statements.loads > most || statements.saves > most) {
    wrong.push(`${statements.loads} loads and ${statements.saves} saves: more than ${most} for ${requests.length}`)
  }
  return wrong
}

/** Everything that is wrong, a line each. */
export const check = (evidence: Evidence): ReadonlyArray<string> => [
  ...wrongWithTotal(evidence),
  ...wrongWithBalances(evidence),
  ...wrongWithAnswers(evidence),
  ...wrongWithDay(evidence),
  ...wrongWithCounts(evidence)
]

// A day at the bank.
import { Array, Effect, Random } from "effect"
import { randomUUID } from "node:crypto"
import { Bank } from "./Bank.ts"

export const accounts = Array.makeBy(8, (i) => `account-${i}`)
export const opening = 1000

export const openAll = Effect.flatMap(
  Bank,
  (bank) =>
    Effect.forEach(accounts, (account) => bank.open(account, opening), { concurrency: "unbounded", discard: true })
)

export const randomTransfer = Effect.gen(function*() {
  const bank = yield* Bank
  const [from = "", to = ""] = yield* Random.shuffle(accounts)
  const amount = yield* Random.nextIntBetween(1, opening)
  return yield* bank.transfer({ id: randomUUID(), from, to, amount })
})

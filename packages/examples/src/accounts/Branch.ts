/**
 * A branch of a bank: its accounts, and what a transfer between two of them does. Nothing here waits, or knows of a
 * database.
 */
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"

/** What can be transferred: whole cents, and more than none. Otherwise a transfer could take money from its target. */
export const Amount = Schema.Int.pipe(Schema.positive(), Schema.brand("Amount"))
export type Amount = typeof Amount.Type

export interface Transfer {
  readonly id: number
  readonly branch: string
  readonly from: string
  readonly to: string
  readonly amount: Amount
}

export interface Account {
  readonly account: string
  readonly branch: string
  readonly balance: number
}

export class InsufficientFunds extends Data.TaggedError("InsufficientFunds")<{
  readonly account: string
  readonly balance: number
  readonly amount: Amount
}> {}

export class NoSuchAccount extends Data.TaggedError("NoSuchAccount")<{ readonly account: string }> {}

export type Refusal = InsufficientFunds | NoSuchAccount

export interface Branch {
  readonly balances: ReadonlyMap<string, number>
  /** The transfers since it was loaded, in their order. They are saved together with the balances. */
  readonly made: Chunk.Chunk<Transfer>
}

export const fromAccounts = (accounts: ReadonlyArray<Pick<Account, "account" | "balance">>): Branch => ({
  balances: new Map(accounts.map(({ account, balance }) => [account, balance])),
  made: Chunk.empty()
})

/**
 * What a transfer leaves on its account, and the branch after it. One that is refused, be it on the side of the credit,
 * answers no branch at all: so there is none from which the money is gone already.
 */
export const transfer = (
  branch: Branch,
  request: Transfer
): Either.Either<readonly [balance: number, branch: Branch], Refusal> => {
  const { amount, from, to } = request
  const balance = branch.balances.get(from)
  if (balance === undefined) return Either.left(new NoSuchAccount({ account: from }))
  if (balance < amount) return Either.left(new InsufficientFunds({ account: from, balance, amount }))
  const debited = new Map(branch.balances).set(from, balance - amount)
  // Read after the debit: it may be the same account.
  const credited = debited.get(to)
  if (credited === undefined) return Either.left(new NoSuchAccount({ account: to }))
  const balances = debited.set(to, credited + amount)
  return Either.right([balance - amount, { balances, made: Chunk.append(branch.made, request) }])
}

// Accounts of a bank. The journal is the truth: an account is what its entries say, and no other table knows better.
import { SqlClient } from "@effect/sql"
import { ShardPool } from "@sluice/core"
import { Effect, Schema } from "effect"

export class Overdraft extends Schema.TaggedError<Overdraft>()("Overdraft", {
  account: Schema.String,
  balance: Schema.Int,
  amount: Schema.Int
}) {
  override get message() {
    return `account ${this.account} has ${this.balance}, and not ${this.amount}`
  }
}

/** What changes one account: `amount` is negative where money is taken from it. */
interface Command {
  readonly account: string
  readonly amount: number
  /** What the change belongs to. An account has at most one entry of a transfer. */
  readonly transfer: string
}

export class Bank extends Effect.Service<Bank>()("bank/Bank", {
  scoped: Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`
      CREATE TABLE IF NOT EXISTS journal (
        account TEXT NOT NULL, version INTEGER NOT NULL, amount INTEGER NOT NULL, transfer TEXT NOT NULL, payee TEXT,
        PRIMARY KEY (account, version), UNIQUE (transfer, account)
      ) WITHOUT ROWID`

    const current = (account: string) =>
      sql<{ version: number; balance: number }>`
        SELECT coalesce(max(version), 0) AS version, coalesce(sum(amount), 0) AS balance
        FROM journal WHERE account = ${account}
      `.pipe(Effect.map(([row]) => row ?? { version: 0, balance: 0 }))

    // One command of an account at a time, with the next version of it. Accounts run in parallel.
    const accounts = yield* ShardPool.make({
      name: "accounts",
      workersPerShard: 4,
      key: (command: Command & { readonly payee?: string }) => command.account,
      currentVersion: (account) => Effect.map(current(account), ({ version }) => version),
      execute: ({ account, amount, payee = null, transfer }, { version }) =>
        Effect.gen(function*() {
          const { balance } = yield* current(account)
          if (balance + amount < 0) return yield* new Overdraft({ account, balance, amount: -amount })
          yield* sql`INSERT INTO journal ${sql.insert({ account, version, amount, transfer, payee })}`
          return balance + amount
        }),
      isRejection: (error) => error._tag === "Overdraft"
    })

    const transfer = (options: {
      readonly id: string
      readonly from: string
      readonly to: string
      readonly amount: number
    }) =>
      Effect.gen(function*() {
        const { amount, from, id, to } = options
        yield* accounts.submit({ account: from, amount: -amount, transfer: id, payee: to })
        yield* accounts.submit({ account: to, amount, transfer: id })
      }).pipe(Effect.uninterruptible)

    // Money that was on its way when the process died: taken from the payer, and not given to the payee.
    const onTheWay = yield* sql<{ transfer: string; payee: string; amount: number }>`
      SELECT transfer, max(payee) AS payee, -sum(amount) AS amount
      FROM journal GROUP BY transfer HAVING sum(amount) < 0`
    yield* Effect.forEach(
      onTheWay,
      ({ amount, payee, transfer }) => accounts.submit({ account: payee, amount, transfer }),
      { concurrency: "unbounded", discard: true }
    )

    return {
      /** Transfers that this start has completed. */
      completed: onTheWay.length,
      open: (account: string, amount: number) => accounts.submit({ account, amount, transfer: `open-${account}` }),
      /** Fails with `Overdraft`, and then nothing has changed. Once money was taken, it is given, also after a crash. */
      transfer,
      balance: (account: string) => Effect.map(current(account), ({ balance }) => balance),
      metrics: accounts.metrics
    }
  })
}) {}

/**
 * The tables of the accounts, and everything that is in them.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type { Account, Transfer } from "./Branch.ts"

/** What the database itself refuses: a balance below zero, and a transfer that is made twice. */
export const open = (accounts: ReadonlyArray<Account>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql.withTransaction(Effect.gen(function*() {
      yield* sql`CREATE TABLE accounts (
        account TEXT PRIMARY KEY,
        branch TEXT NOT NULL,
        balance INTEGER NOT NULL CHECK (balance >= 0)
      )`
      yield* sql`CREATE TABLE transfers (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        id INTEGER NOT NULL UNIQUE,
        branch TEXT NOT NULL,
        debited TEXT NOT NULL,
        credited TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount > 0)
      )`
      yield* sql`INSERT INTO accounts ${sql.insert(accounts.map((account) => ({ ...account })))}`
    })))

export const readAccounts = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Account>`SELECT account, branch, balance FROM accounts ORDER BY account`
)

/** In the order in which they were made. */
export const readTransfers = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Transfer>`SELECT id, branch, debited AS "from", credited AS "to", amount FROM transfers ORDER BY place`
)

/**
 * The accounts in SQLite, behind a `KeyedBatch`: hundreds of transfers share one load and one save.
 *
 * A batch is of one key, and so is a save. If the key were an account, a transfer would be two operations in two
 * batches: the debit could be saved and the credit not, because it is refused, or its save fails, or the process ends
 * in between. It would then need a table of the transfers under way, and somebody who ends them. So the key is the
 * branch: its accounts are loaded together and saved together, and a transfer within a branch is one operation. This is
 * also the limit of the example: between branches it does not transfer.
 *
 * Only one process may do this. A second one would load the same balances, and the later save would undo the earlier.
 * For several, save with a version, as `order-book` does.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { KeyedBatch } from "@sluice/core"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Branch from "./Branch.ts"

/** The accounts of a branch could not be loaded or not be saved. Nothing has changed, so a retry is safe. */
export class LedgerUnavailable extends Data.TaggedError("LedgerUnavailable")<{
  readonly branch: string
  readonly step: "load" | "save"
  readonly cause: unknown
}> {}

export class Ledger extends Context.Tag("accounts/Ledger")<
  Ledger,
  KeyedBatch.KeyedBatch<string, Branch.Branch, LedgerUnavailable>
>() {}

const load = (branch: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const accounts = yield* sql<Branch.Account>`SELECT account, balance FROM accounts WHERE branch = ${branch}`
    return Branch.fromAccounts(accounts)
  }).pipe(Effect.mapError((cause) => new LedgerUnavailable({ branch, step: "load", cause })))

/**
 * Saves balances and transfers in one transaction. What fails in between takes the balances back, too: then nobody's
 * transfer is made, and everybody is told so.
 */
const save = (branch: string, { balances, made }: Branch.Branch, trouble: Effect.Effect<void, string>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql.withTransaction(Effect.gen(function*() {
      const accounts = Array.from(balances, ([account, balance]) => ({ account, branch, balance }))
      yield* sql`INSERT INTO accounts ${sql.insert(accounts)}
        ON CONFLICT (account) DO UPDATE SET balance = excluded.balance`
      yield* trouble
      const transfers = Array.from(
        made,
        ({ amount, from, id, to }) => ({ id, branch, debited: from, credited: to, amount })
      )
      yield* sql`INSERT INTO transfers ${sql.insert(transfers)}`
    }))).pipe(Effect.mapError((cause) => new LedgerUnavailable({ branch, step: "save", cause })))

export interface Options {
  /** How many saves are made to fail: the first ones, when the balances are written and the transfers are not. */
  readonly failingSaves: number
}

export const layer = ({ failingSaves }: Options) =>
  Layer.unwrapEffect(Effect.map(Ref.make(failingSaves), (left) => {
    const trouble = Effect.flatMap(
      Ref.getAndUpdate(left, (n) => Math.max(0, n - 1)),
      (n) => n > 0 ? Effect.fail("the disk has a bad day") : Effect.void
    )
    return KeyedBatch.layer(Ledger, {
      name: "ledger",
      load,
      save: (branch, resource) => save(branch, resource, trouble),
      minDuration: "50 millis",
      // SQLite takes at most 32,766 values in a statement, and a transfer has five.
      batchSize: 5_000,
      // Generous: after a save that was aborted nobody knows whether it is saved, and so nobody may try again.
      maxDuration: "30 seconds"
    })
  }))

/**
 * Makes a transfer, and answers the balance that it leaves behind. It is in the database then.
 *
 * One that is refused fails alone. A load or a save that fails, fails everybody's transfer of that batch; they try
 * again at once, and share the next load. A `BatchTimeout` is not tried again: the transfer could be made twice.
 */
export const transfer = (request: Branch.Transfer) =>
  Effect.flatMap(
    Ledger,
    (ledger) => ledger.modifyEffect(request.branch, (branch) => Branch.transfer(branch, request))
  ).pipe(Effect.retry({ times: 3, while: ({ _tag }) => _tag === "LedgerUnavailable" }))

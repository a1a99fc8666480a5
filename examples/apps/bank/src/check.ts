// Kills a bank in the midst of its transfers, opens it again, and counts the money.
import { Command, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { ConfigProvider, Console, Effect, Layer } from "effect"
import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import { Bank } from "./Bank.ts"
import { DatabaseLive } from "./Database.ts"
import { accounts, opening, randomTransfer } from "./day.ts"

/** Runs a bank as a process of its own, and kills it when it has written some hundred entries. */
const runAndKill = (database: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const bank = yield* Command.make(process.execPath, fileURLToPath(new URL("main.js", import.meta.url))).pipe(
      Command.env({ DATABASE: database }),
      Command.stderr("inherit"),
      Command.start
    )
    yield* sql<{ entries: number }>`SELECT count(*) AS entries FROM journal`.pipe(
      Effect.map(([row]) => row?.entries ?? 0),
      Effect.orElseSucceed(() => 0), // the table is not there yet
      Effect.delay("20 millis"),
      Effect.repeat({ until: (entries) => entries > 300 })
    )
    yield* bank.kill("SIGKILL")
    // What a crash between the two entries of a transfer leaves behind.
    yield* sql`
      INSERT INTO journal
      SELECT account, max(version) + 1, -1, 'half-way', 'account-0' FROM journal
      WHERE account <> 'account-0' GROUP BY account HAVING sum(amount) > 0 LIMIT 1`
    const [{ total } = { total: 0 }] = yield* sql<{ total: number }>`SELECT sum(amount) AS total FROM journal`
    return total
  })

const audit = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ account: string; entries: number; first: number; last: number; lowest: number }>`
    SELECT account, count(*) AS entries, min(version) AS first, max(version) AS last, min(balance) AS lowest
    FROM (SELECT *, sum(amount) OVER (PARTITION BY account ORDER BY version) AS balance FROM journal)
    GROUP BY account`
  assert.equal(rows.length, accounts.length)
  for (const { account, entries, first, last, lowest } of rows) {
    assert.ok(first === 1 && last === entries, `${account}: versions ${first} to ${last} of ${entries} entries`)
    assert.ok(lowest >= 0, `${account} was at ${lowest}`)
  }
  const bank = yield* Bank
  const balances = yield* Effect.forEach(accounts, bank.balance)
  return balances.reduce((sum, balance) => sum + balance, 0)
})

const check = (database: string) =>
  Effect.gen(function*() {
    const atKill = yield* runAndKill(database)
    assert.ok(atKill < accounts.length * opening)

    yield* Effect.gen(function*() {
      const bank = yield* Bank
      assert.ok(bank.completed > 0)
      assert.equal(yield* audit, accounts.length * opening)

      const outcomes = yield* Effect.replicateEffect(Effect.either(randomTransfer), 500, { concurrency: "unbounded" })
      const refused = outcomes.flatMap((outcome) => outcome._tag === "Left" ? [outcome.left] : [])
      const overdrafts = refused.filter((error) => error._tag === "Overdraft")
      assert.deepEqual(refused, overdrafts)
      assert.ok(overdrafts.length > 0 && overdrafts.every(({ amount, balance }) => balance < amount))
      const { rejected } = yield* bank.metrics
      assert.equal(rejected, overdrafts.length)
      const total = yield* audit
      assert.equal(total, accounts.length * opening)

      yield* Console.log(`bank: killed with SIGKILL; ${accounts.length * opening - atKill} were on their way`)
      yield* Console.log(`  opened again: ${bank.completed} transfers were completed`)
      yield* Console.log(`  then 500 transfers at once: ${refused.length} refused, such as "${overdrafts[0]?.message}"`)
      yield* Console.log(`  the sum of all accounts is ${total}, and the versions of none has a gap`)
    }).pipe(Effect.provide(Bank.Default))
  })

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const database = `${yield* fs.makeTempDirectoryScoped()}/bank.db`
  const config = Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["DATABASE", database]])))
  yield* check(database).pipe(Effect.provide(Layer.provide(DatabaseLive, config)))
})

program.pipe(Effect.scoped, Effect.provide(NodeContext.layer), NodeRuntime.runMain)

/**
 * A store of batches in PostgreSQL without group commit: each operation is a transaction on a connection of its own.
 */
import type { PgClient } from "@effect/sql-pg"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type { BatchStore } from "@sluice/core/BatchStore"
import { StoreUnavailable } from "@sluice/core/QueueError"
import { Effect } from "effect"
import { dialect } from "../src/PostgresBatchStore.ts"
import { SqlQueue } from "../src/internal/store/sqlQueue.ts"

/** Runs something in a transaction, which is rolled back where it fails. */
export const inTransaction = <A, E>(
  client: PgClient.PgClient,
  run: (connection: Connection) => Effect.Effect<A, E>
): Effect.Effect<A, E | SqlError> =>
  Effect.scoped(Effect.flatMap(client.reserve, (connection) => {
    const execute = (statement: string) => connection.execute(statement, [], undefined)
    return execute("BEGIN ISOLATION LEVEL READ COMMITTED").pipe(
      Effect.zipRight(run(connection)),
      Effect.tap(() => execute("COMMIT")),
      Effect.tapErrorCause(() => Effect.ignore(execute("ROLLBACK")))
    )
  }))

export const alone = <A, E>(
  client: PgClient.PgClient,
  run: (connection: Connection) => Effect.Effect<A, E>
): Effect.Effect<A, E | SqlError> => Effect.scoped(Effect.flatMap(client.reserve, run))

/** Creates the tables. */
export const migrate = (client: PgClient.PgClient, prefix = "sluice") =>
  Effect.forEach(
    Object.values(dialect.migrations(prefix)).flat(),
    (step) => typeof step === "string" ? client.unsafe(step) : Effect.dieMessage("a step in portions"),
    { discard: true }
  )

const unavailable = (cause: unknown) => new StoreUnavailable({ store: "test", reason: "failed", cause })

/** Makes a store. What it remembers of the tables is its own, as that of a process is. */
export const makeStore = (client: PgClient.PgClient, prefix = "sluice"): BatchStore => {
  const operations = dialect.operations(prefix)
  const submit = ({ run, single }: { readonly single: boolean; readonly run: (connection: Connection) => any }) =>
    Effect.mapError(single ? alone(client, run) : inTransaction(client, run), unavailable)
  const transactions = {
    database: { store: "test", dialect: { unavailable: () => undefined }, reader: undefined },
    currentIn: () => undefined,
    autocommit: (run: (connection: Connection) => Effect.Effect<any, SqlError>) => alone(client, run)
  }
  const group = { submit, submitFirst: submit }
  return {
    name: "test",
    persistent: true,
    longestWaitMillis: undefined,
    registerLease: () => Effect.void as never,
    queue: (name) =>
      Effect.suspend(() => {
        const queue = new SqlQueue(name, transactions as any, group as any, operations)
        return Effect.as(queue.find, queue)
      })
  }
}

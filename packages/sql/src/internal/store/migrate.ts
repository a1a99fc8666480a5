/**
 * Migrates the schema of a store in one transaction: another process that opens the same file at the same time waits
 * for it, and then finds nothing to do.
 */
import { SafeIntegers, SqlClient } from "@effect/sql/SqlClient"
import * as Migrator from "@effect/sql/Migrator"
import { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable } from "@sluice/core/QueueError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { BatchStoreDialect, MigrationStep } from "../../BatchStoreDialect.ts"
import { toUnavailable } from "./groupCommit.ts"
import type { Transactions } from "../writer/transactions.ts"

export const migrate = (
  { database }: Transactions,
  dialect: BatchStoreDialect,
  prefix: string
): Effect.Effect<void, StoreUnavailable, SqlClient> => {
  const migrations = Object.entries(dialect.migrations(prefix)).map(([name, steps]) =>
    [
      name,
      Effect.flatMap(SqlClient, (sql) => Effect.forEach(steps, (step) => runStep(sql, step), { discard: true }))
    ] as const
  )
  const run = Migrator.make({})({
    loader: Migrator.fromRecord(Object.fromEntries(migrations)),
    table: `${prefix}_migrations`
  })
  // Without a lock: what is up to date opens also while somebody else writes. Where there is no table there is no answer.
  const isNew = Effect.flatMap(SqlClient, (sql) =>
    Effect.map(
      sql.unsafe<{ count: number }>(`SELECT count(*) AS count FROM ${prefix}_migrations`).withoutTransform,
      ([{ count }]) => count >= migrations.length
    ))
  // On a server two processes may be about to create the table of migrations. One of them fails, and finds it then.
  const once = database.sideBySide
    ? Effect.catchAllCause(run, (cause) => Cause.isInterruptedOnly(cause) ? Effect.failCause(cause) : run)
    : run
  return Effect.orElseSucceed(isNew, () => false).pipe(
    Effect.flatMap((isNew) => isNew ? Effect.void : once),
    Effect.provideService(SafeIntegers, false),
    Effect.asVoid,
    // A migration that fails dies.
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause)
        ? Effect.failCause(cause as Cause.Cause<never>)
        : Effect.fail(unavailable(database, cause))
    )
  )
}

const runStep = (sql: SqlClient, step: MigrationStep): Effect.Effect<unknown, SqlError> =>
  typeof step === "string" ? sql.unsafe(step) : Effect.flatMap(sql.unsafe(step.while), (rows) =>
    rows.length === 0
      ? Effect.void
      : Effect.zipRight(
        Effect.forEach(step.run, (statement) => sql.unsafe(statement), { discard: true }),
        runStep(sql, step)
      ))

const unavailable = (database: Transactions["database"], cause: Cause.Cause<unknown>): StoreUnavailable => {
  const error = Option.getOrElse(Cause.failureOption(cause), () => Cause.squash(cause))
  const inner = error instanceof Migrator.MigrationError ? error.cause : error
  if (inner instanceof SqlError) return toUnavailable(database, inner)
  return new StoreUnavailable({ store: database.store, reason: "failed", cause: error })
}

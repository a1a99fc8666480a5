/**
 * Finds what stands behind the transactions that the context has.
 */
import { InvalidOption } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import { SqlTransaction } from "./sqlTransaction.ts"
import { type Behind, behindOf } from "./behind.ts"

/** What stands behind the transactions that the context has, for the one of this name. */
export const behindFor = (name: string): Effect.Effect<Behind, InvalidOption, SqlTransaction> =>
  Effect.flatMap(SqlTransaction, (transaction) => {
    const behind = behindOf(transaction)
    return behind === undefined
      ? Effect.fail(
        new InvalidOption({
          queue: name,
          field: "SqlTransaction",
          value: transaction,
          limit: "that of a store, such as SqliteStore.layer, and no double"
        })
      )
      : Effect.succeed(behind)
  })

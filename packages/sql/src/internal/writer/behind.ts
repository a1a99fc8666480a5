/**
 * What a real `SqlTransaction` of a store has besides its interface. It is under a symbol, so that a test double does
 * not need it. Code that depends on it can recognize a double.
 */
import type { Reactivity } from "@effect/experimental/Reactivity"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type { SqlTransaction } from "./sqlTransaction.ts"
import type { Transactions } from "./transactions.ts"

const key: unique symbol = Symbol.for("@sluice/sql/SqlTransaction/behind")

export interface Behind {
  readonly transactions: Transactions
  /** What runs the queries of this user of the database again. */
  readonly reactivity: Reactivity.Service
}

interface RealTransaction extends SqlTransaction {
  readonly [key]: Behind
}

export const makeTransaction = (transactions: Transactions, reactivity: Reactivity.Service): SqlTransaction => {
  const real: RealTransaction = {
    store: transactions.database.store,
    withTransaction: (effect) => transactions.withTransaction(effect, identity),
    isInside: Effect.map(Effect.context<never>(), (context) => {
      const current = transactions.currentIn(context)
      return current !== undefined && !current.isOver
    }),
    [key]: { transactions, reactivity }
  }
  return real
}

export const behindOf = (transaction: SqlTransaction): Behind | undefined => (transaction as RealTransaction)[key]

/**
 * A single statement, which only needs a connection: without the span, the scope and the lookup of the connection that
 * an Effect of its own would have.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import { isFragment, type Statement } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import type { Transform } from "./guardedConnection.ts"
import { refusal, refused } from "./transaction.ts"
import type { Transactions } from "./transactions.ts"

/** Answers the Effect of the statement, or throws where it cannot be compiled. */
export class SingleStatement<out A, out E> {
  readonly run: (connection: Connection) => Effect.Effect<A, E>

  constructor(run: (connection: Connection) => Effect.Effect<A, E>) {
    this.run = run
  }
}

/** Under this a statement of our clients has the transactions of its database. */
const owner: unique symbol = Symbol.for("@sluice/sql/owner")

/** What a statement is besides its type. */
export interface OwnStatement<A> extends Statement<A> {
  [owner]?: Transactions
  /** Runs it. */
  commit(): Effect.Effect<ReadonlyArray<A>, SqlError>
  readonly transformRows: Transform | undefined
}

export const setOwner = (statement: OwnStatement<any>, transactions: Transactions): void => {
  statement[owner] = transactions
}

/** Whether an Effect is a statement for this database. One for another has to find its own way there. */
export const isStatementFor = (effect: unknown, transactions: Transactions): effect is OwnStatement<unknown> =>
  isFragment(effect) && (effect as OwnStatement<unknown>)[owner] === transactions

export const singleStatement = (
  statement: OwnStatement<unknown>,
  { database }: Transactions
): SingleStatement<ReadonlyArray<unknown>, SqlError> =>
  new SingleStatement((connection) => {
    const [sql, params] = statement.compile()
    const kind = database.dialect.kindOf(sql)
    if (kind !== "read" && kind !== "write") return Effect.fail(refusal(sql, kind))
    // Others write in the same group.
    const why = database.dialect.misplaced(sql, database.reader !== undefined)
    return why === undefined
      ? connection.execute(sql, params, statement.transformRows)
      : Effect.fail(refused(sql, why))
  })

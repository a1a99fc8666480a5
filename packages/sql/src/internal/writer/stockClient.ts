/**
 * The client of an app, as it is, but for one thing: inside a transaction of ours its statements run there. A transaction
 * of the stock client would be none of ours: it finds its connection under one global tag, which all databases share, and
 * a commit that fails there dies.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { isFragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { GuardedConnection } from "./guardedConnection.ts"
import { type OwnStatement, setOwner } from "./singleStatement.ts"
import type { Transactions } from "./transactions.ts"
import { withReason } from "./withReason.ts"

/** The connection of what is in no transaction, as the stock client has it. Its errors say what the server said. */
export const stockAcquirer = (stock: SqlClient): Connection.Acquirer =>
  Effect.map(
    (stock.unsafe("") as unknown as { readonly acquirer: Connection.Acquirer }).acquirer,
    (connection) => new StockConnection(connection)
  )

class StockConnection extends GuardedConnection {
  private readonly stock: Connection

  constructor(stock: Connection) {
    super(stock, (_, run) => Effect.mapError(run, withReason))
    this.stock = stock
  }

  override executeStream(...[sql, params, transformRows]: Parameters<Connection["executeStream"]>) {
    return Stream.mapError(this.stock.executeStream(sql, params, transformRows), withReason)
  }
}

export const wrapClient = (
  stock: SqlClient,
  transactions: Transactions,
  /** The connection of what is in no transaction. */
  outside: Connection.Acquirer | Connection,
  transaction: SqlClient["withTransaction"]
): SqlClient => {
  const otherwise = Effect.isEffect(outside) ? outside : Effect.succeed(outside)
  const acquirer: Connection.Acquirer = Effect.flatMap(
    Effect.context<never>(),
    (context): Connection.Acquirer => {
      const current = transactions.currentIn(context)
      return current === undefined ? otherwise as Connection.Acquirer : Effect.succeed(current.connection)
    }
  )
  const adapt = <S>(statement: S): S => {
    setOwner(statement as OwnStatement<unknown>, transactions)
    return Object.assign(statement as object, { acquirer }) as S
  }
  const wrap = (client: SqlClient): SqlClient => {
    const call = (...args: ReadonlyArray<unknown>) => {
      const made: unknown = (client as (...args: ReadonlyArray<unknown>) => unknown)(...args)
      // A call with a string makes an identifier.
      return isFragment(made) ? adapt(made) : made
    }
    const wrapped = Object.assign(call, client, {
      unsafe: (sql: string, params?: ReadonlyArray<unknown>) => adapt(client.unsafe(sql, params)),
      reserve: transactions.reserve,
      withTransaction: transaction
    }) as unknown as SqlClient
    return Object.assign(wrapped, {
      safe: wrapped,
      withoutTransforms: () => {
        const plain = client.withoutTransforms()
        return plain === client ? wrapped : wrap(plain)
      }
    })
  }
  return wrap(stock)
}

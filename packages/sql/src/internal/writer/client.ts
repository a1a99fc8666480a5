/**
 * A `SqlClient` whose statements choose their connection by where they run: inside a transaction of this database, that
 * of the transaction; outside, the reader's if they only read, and otherwise the writer's.
 *
 * The stock client finds the connection of a transaction under one global tag, and so writes data of one database into
 * a transaction of another. This client never looks there.
 */
import type { Reactivity } from "@effect/experimental/Reactivity"
import * as Client from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Dialect } from "../../Dialect.ts"
import { type OwnStatement, setOwner } from "./singleStatement.ts"
import { contextOf, isTracingIn, refOf, withFiber } from "@sluice/core/unstable/Fibers"
import { refusal, refused } from "./transaction.ts"
import { wrapClient } from "./stockClient.ts"
import type { Statements, Transactions } from "./transactions.ts"

/** Who runs what is not in a transaction yet. */
export interface Writer {
  readonly statement: <X>(run: (connection: Connection) => Effect.Effect<X, SqlError>) => Effect.Effect<X, SqlError>
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
}

export const makeClient = (
  transactions: Transactions,
  reactivity: Reactivity.Service,
  writer: Writer
): Client.SqlClient => {
  const outside = routingConnection(transactions, writer)
  const { client } = transactions.database
  if (isClient(client)) {
    return Object.assign(wrapClient(client, transactions, outside, writer.transaction), {
      reactive: reactivity.stream,
      reactiveMailbox: reactivity.query
    })
  }
  const { compiler, spanAttributes, transformRows } = client
  const connectionIn = (context: Context.Context<never>) => transactions.currentIn(context)?.connection ?? outside
  const acquirer = Effect.map(Effect.context<never>(), connectionIn)
  const services = {
    [Client.TypeId]: Client.TypeId,
    reserve: transactions.reserve,
    withTransaction: writer.transaction,
    reactive: reactivity.stream,
    reactiveMailbox: reactivity.query
  }
  const withServices = (constructor: Statement.Constructor, withoutTransforms?: Client.SqlClient) => {
    const client = Object.assign(withoutSpans(constructor, transactions, connectionIn), services) as Client.SqlClient
    return Object.assign(client, { safe: client, withoutTransforms: () => withoutTransforms ?? client })
  }
  const plain = withServices(Statement.make(acquirer, compiler.withoutTransform, spanAttributes, undefined))
  return transformRows === undefined
    ? plain
    : withServices(Statement.make(acquirer, compiler, spanAttributes, transformRows), plain)
}

const isClient = (client: Statements | Client.SqlClient): client is Client.SqlClient => Client.TypeId in client

/**
 * Statements that make no span where no tracer would see it: the span, the scope and the acquirer of a stock statement
 * cost several times what the statement does.
 */
const withoutSpans = (
  constructor: Statement.Constructor,
  transactions: Transactions,
  connectionIn: (context: Context.Context<never>) => Connection
): Statement.Constructor => {
  const adapt = <A>(statement: OwnStatement<A>): Statement.Statement<A> => {
    statement.commit = commit
    setOwner(statement, transactions)
    return statement
  }
  function commit(this: OwnStatement<any>): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return withFiber((fiber) => {
      const traced = isTracingIn(fiber)
      if (traced || refOf(fiber, Statement.currentTransformer)._tag === "Some") {
        return Object.getPrototypeOf(this).commit.call(this)
      }
      const [sql, params] = this.compile()
      return connectionIn(contextOf(fiber)).execute(sql, params, this.transformRows)
    })
  }
  const adapted = (...args: ReadonlyArray<any>) => {
    const made = (constructor as any)(...args)
    // A call with a string makes an identifier.
    return Statement.isFragment(made) ? adapt(made as OwnStatement<unknown>) : made
  }
  return Object.assign(adapted, constructor, {
    unsafe: <A extends object>(sql: string, params?: ReadonlyArray<unknown>) =>
      adapt(constructor.unsafe<A>(sql, params) as OwnStatement<A>)
  }) as Statement.Constructor
}

/** The connection of what is in no transaction. */
const routingConnection = (transactions: Transactions, writer: Writer): Connection => {
  const { dialect, reader } = transactions.database
  const route = <X>(sql: string, run: (connection: Connection) => Effect.Effect<X, SqlError>) => {
    const kind = dialect.kindOf(sql)
    if (kind === "transaction" || kind === "savepoint") return Effect.fail(refusal(sql, kind))
    const why = dialect.misplaced(sql, reader !== undefined)
    if (why !== undefined) return Effect.fail(refused(sql, why))
    if (kind === "read" && reader !== undefined) {
      return Effect.mapError(transactions.read(run(reader)), (error) => withHint(dialect, error))
    }
    if (kind !== "outside") return writer.statement(run)
    const done = transactions.autocommit(run)
    // What it cannot do there, a SELECT says.
    return reader !== undefined && dialect.isForAllConnections(sql)
      ? Effect.zipLeft(done, Effect.ignore(transactions.read(Effect.suspend(() => run(reader)))))
      : done
  }
  return {
    execute: (sql, params, transformRows) => route(sql, (_) => _.execute(sql, params, transformRows)),
    executeRaw: (sql, params) => route(sql, (_) => _.executeRaw(sql, params)),
    executeValues: (sql, params) => route(sql, (_) => _.executeValues(sql, params)),
    executeUnprepared: (sql, params, transformRows) =>
      route(sql, (_) => _.executeUnprepared(sql, params, transformRows)),
    executeStream: (sql, params, transformRows) =>
      Stream.fromIterableEffect(route(sql, (_) => _.execute(sql, params, transformRows)))
  }
}

const withHint = (dialect: Dialect, error: SqlError): SqlError => {
  const hint = dialect.hintForReader(error)
  if (hint === undefined) return error
  const said = error.cause instanceof Error ? error.cause.message : error.message
  return new SqlError({ cause: error.cause, message: `${said}: ${hint}` })
}

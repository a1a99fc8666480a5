/**
 * Makes the connection of the SQLite client fast, and works around its faults.
 */
import { SafeIntegers } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import { contextOf, withFiber } from "@sluice/core/unstable/Fibers"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Lock } from "../writer/lock.ts"
import { withReason } from "../writer/withReason.ts"
import { isNotPrepared, notPrepared } from "./driverErrors.ts"

/**
 * A statement that is kept prepared: an Effect of the stock connection that can be run repeatedly, with the current
 * values of its parameters.
 */
interface Prepared {
  readonly parameters: Array<unknown>
  readonly run: Effect.Effect<ReadonlyArray<any>, SqlError>
  isTaken: boolean
}

/**
 * The stock connection looks up its statements in a cache. The cache costs more than most statements do, keeps a
 * failure for ten minutes (a table was still missing), waits forever for a lookup that was interrupted, and gives all
 * callers safe integers once one caller has asked for them.
 *
 * Here a caller takes a statement from the pool to run it, and gives it back afterwards. A caller that needs it
 * meanwhile prepares another one, which takes its place; so does the next caller after one that failed or was
 * interrupted, and did not give it back.
 */
export const sqliteConnection = (stock: Connection, poolSize: number): Connection => {
  const pools = { plain: new Map<string, Prepared>(), safe: new Map<string, Prepared>() }
  const names = new Names()
  const values = new Lock()

  const prepare = (sql: string): Prepared => {
    const parameters: Array<unknown> = []
    return { parameters, run: stock.executeUnprepared(sql, parameters, undefined), isTaken: false }
  }

  const execute: Connection["execute"] = (sql, params, transformRows) =>
    withFiber((fiber) => {
      const pool = Context.get(contextOf(fiber) as Context.Context<any>, SafeIntegers) ? pools.safe : pools.plain
      let prepared = pool.get(sql)
      if (prepared === undefined || prepared.isTaken) {
        try {
          prepared = prepare(sql)
        } catch (cause) {
          return Effect.fail(notPrepared(cause))
        }
        if (pool.size >= poolSize && !pool.has(sql)) pool.delete(pool.keys().next().value!)
        pool.set(sql, prepared)
      }
      const taken = prepared
      taken.isTaken = true
      for (const param of params) taken.parameters.push(param)
      return Effect.mapBoth(taken.run, {
        onFailure: withReason,
        onSuccess: (rows) => {
          taken.parameters.length = 0
          taken.isTaken = false
          return transformRows === undefined ? rows : transformRows(rows)
        }
      })
    })

  return {
    execute,
    executeRaw: (sql, params) => names.use(sql, (name) => stock.executeRaw(name, params)),
    // While it runs, the statement answers in another way, so no other caller may use it.
    executeValues: (sql, params) => values.with(names.use(`${sql}\t`, (name) => stock.executeValues(name, params))),
    // Its `prepare` throws, outside of what the stock connection catches.
    executeUnprepared: (sql, params, transformRows) =>
      Effect.flatten(Effect.try({
        try: () => Effect.mapError(stock.executeUnprepared(sql, params, transformRows), withReason),
        catch: notPrepared
      })),
    // All rows at once: the stock connection has no streams.
    executeStream: (sql, params, transformRows) => Stream.fromIterableEffect(execute(sql, params, transformRows))
  }
}

/**
 * Under which text the stock connection finds a statement in its cache. Blanks at the end change nothing but that: they
 * keep those who want safe integers apart, and get around a failure that is remembered.
 */
class Names {
  private readonly failures = new Map<string, number>()

  use<X>(sql: string, run: (name: string) => Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> {
    return withFiber((fiber) => {
      const mode = Context.get(contextOf(fiber) as Context.Context<any>, SafeIntegers) ? "\n" : ""
      // A lookup that is interrupted leaves a place in the cache that all others wait for.
      const find = (blanks: number) => Effect.uninterruptible(run(sql + mode + " ".repeat(blanks)))
      return Effect.catchAll(find(this.failures.get(sql) ?? 0), (error) => {
        if (!isNotPrepared(error)) return Effect.fail(withReason(error))
        if (this.failures.size === mostTexts) this.failures.clear()
        const count = (this.failures.get(sql) ?? 0) % mostBlanks + 1
        this.failures.set(sql, count)
        return Effect.mapError(find(count), withReason)
      })
    })
  }
}

/** How many texts are remembered that could not be prepared at some time, and how many blanks they get. */
const mostTexts = 256
const mostBlanks = 256

/**
 * What the connection of the SQLite client needs before it can be relied on.
 */
import { SafeIntegers } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Stream from "effect/Stream"

/** How many texts are remembered that could not be prepared at some time. */
const longestMemory = 256

/**
 * The stock connection keeps its statements by their text. One that was once run with safe integers is so for everybody
 * after, and one that could not be prepared, because its table was still missing, fails for ten minutes. So the text
 * gets blanks at its end: they change nothing but which statement is found.
 *
 * @internal
 */
export const sqliteConnection = (stock: Connection): Connection => {
  const failures = new Map<string, number>()

  const byText = <X>(sql: string, run: (text: string) => Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError> =>
    Effect.flatMap(FiberRef.get(FiberRef.currentContext), (context) => {
      const mode = Context.get(context as Context.Context<any>, SafeIntegers) ? "\n" : ""
      if (failures.size === 0) return Effect.catchAll(run(sql + mode), again)
      return Effect.catchAll(run(sql + mode + " ".repeat(failures.get(sql) ?? 0)), again)

      function again(error: SqlError): Effect.Effect<X, SqlError> {
        if (!error.message.startsWith("Failed to prepare")) return Effect.fail(error)
        if (failures.size === longestMemory) failures.clear()
        const count = (failures.get(sql) ?? 0) % longestMemory + 1
        failures.set(sql, count)
        return run(sql + mode + " ".repeat(count))
      }
    })

  return {
    execute: (sql, params, transformRows) => byText(sql, (text) => stock.execute(text, params, transformRows)),
    executeRaw: (sql, params) => byText(sql, (text) => stock.executeRaw(text, params)),
    executeValues: (sql, params) => byText(sql, (text) => stock.executeValues(text, params)),
    // Its `prepare` throws, outside of what the stock connection catches.
    executeUnprepared: (sql, params, transformRows) =>
      Effect.flatten(Effect.try({
        try: () => stock.executeUnprepared(sql, params, transformRows),
        catch: (cause) => new SqlError({ cause, message: "Failed to prepare statement" })
      })),
    executeStream: (sql, params, transformRows) =>
      Stream.fromIterableEffect(byText(sql, (text) => stock.execute(text, params, transformRows)))
  }
}

/**
 * How often the client of the database really runs a statement: no counter of the ledger's, and none of the library's.
 */
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

/** `"SELECT accounts"`, from a statement. */
const nameOf = (text: string): string => text.replace(/^(\w+)\b.*?\b(?:FROM|INTO)\s+(\w+).*$/s, "$1 $2")

/** Counts the statements that a layer runs, now and later. What else uses the same client is not counted. */
export const countInto =
  (counts: Map<string, number>) => <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
    Layer.locally(
      layer,
      Statement.currentTransformer,
      Option.some((statement: Statement.Statement<unknown>) =>
        Effect.sync(() => {
          const [text] = statement.compile()
          const name = nameOf(text)
          counts.set(name, (counts.get(name) ?? 0) + 1)
          return statement
        })
      )
    )

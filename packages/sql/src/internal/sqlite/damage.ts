/**
 * Continues a queue in a SQLite file with broken pages: row by row, skipping unreadable places.
 *
 * A statement that scans rows fails at a broken page, even if it only checks whether its last row was the last one. A
 * statement with given keys does not. So this code first finds keys, and then claims them.
 *
 * After such a failure, nothing more can be written in the transaction. So an operation that finds new damage fails, is
 * rolled back, and runs again with that knowledge.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Run } from "../../BatchStoreDialect.ts"
import { unavailableReason } from "./driverErrors.ts"
import type { Damage, Kind } from "../store/damage.ts"
import { span } from "./schema.ts"

export const isCorrupt = (error: SqlError): boolean => unavailableReason(error.cause) === "corrupt"

/** What a statement answers, or that it came upon a broken page. */
const readable = <A>(run: Run<A>): Run<A | SqlError> => Effect.catchIf(run, isCorrupt, Effect.succeed)

/** Deletes a row. Where a page beside it is broken, SQLite may not be able to: that is noted, for the next time. */
export const orStuck = <A>(run: Run<A>, damage: Damage, kind: Kind, place: number): Run<A> =>
  Effect.tapError(run, (error) => Effect.sync(() => isCorrupt(error) && damage.addStuck(kind, place)))

/** How a table is read in small steps. */
export interface Walk {
  /** The first row from a key on, or none before the end. */
  readonly next: string
  /** All of a row. */
  readonly row: string
}

export const walkOf = (table: string, columns: string): Walk => ({
  next: `SELECT ${columns} FROM ${table} WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT 1`,
  row: `SELECT payload FROM ${table} WHERE seq = ?`
})

/** Whether all of a row can be read. What cannot is noted. */
export const isWhole = (connection: Connection, walk: Walk, seq: number, damage: Damage, kind: Kind): Run<boolean> =>
  Effect.map(readable(connection.execute(walk.row, [seq], undefined)), (rows) => {
    if (!(rows instanceof SqlError)) return rows.length > 0
    damage.add(kind, seq % span, seq % span)
    return false
  })

/** From which key on something can be read again: by growing steps past the broken pages, and then back. */
const endOfGap = (connection: Connection, walk: Walk, from: number, end: number): Run<number> =>
  Effect.gen(function*() {
    const isReadable = (key: number) =>
      Effect.map(readable(connection.execute(walk.next, [key, end], undefined)), (rows) => !(rows instanceof SqlError))
    let broken = from
    let step = 1
    let found = from + step
    while (found < end && !(yield* isReadable(found))) {
      broken = found
      step *= 2
      found += step
    }
    found = Math.min(found, end)
    while (found - broken > 1) {
      const middle = broken + Math.floor((found - broken) / 2)
      if (yield* isReadable(middle)) found = middle
      else broken = middle
    }
    return found
  })

/**
 * Goes from row to row, until `step` says that it is enough, or there are no more. Answers what is wrong where nothing
 * can be read up to the end.
 */
export const walkThrough = (
  connection: Connection,
  walk: Walk,
  { damage, end, from, kind }: {
    readonly from: number
    /** Before which all keys are that have ever been there. */
    readonly end: number
    readonly damage: Damage
    readonly kind: Kind
  },
  step: (row: any) => Run<boolean>
): Run<SqlError | undefined> =>
  Effect.gen(function*() {
    const base = Math.floor(from / span) * span
    let at = from
    while (true) {
      const last = damage.endOf(kind, at - base)
      if (base + last + 1 >= end) return last >= at - base ? damage.error : undefined
      at = base + last + 1
      const rows = yield* readable(connection.execute(walk.next, [at, end], undefined))
      if (rows instanceof SqlError) {
        damage.error = rows
        const readableAt = yield* endOfGap(connection, walk, at, end)
        damage.add(kind, at - base, readableAt - 1 - base)
        if (readableAt >= end) return rows
        at = readableAt
      } else {
        if (rows.length === 0) return undefined
        const [row] = rows
        at = row.seq + 1
        if (damage.endOf(kind, row.seq - base) < row.seq - base && (yield* step(row))) return undefined
      }
    }
  })

/**
 * Dead letters in the store of SQLite, and its counters.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { DeadLetter, Stats } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Changed, Operations, Run, Which } from "../BatchStoreDialect.ts"
import { bytesOf } from "./sqliteClaims.ts"
import { mostRows, span, spanBits, tables } from "./sqliteSchema.ts"

const deadLetterOf = (row: any): DeadLetter => ({
  id: row.seq % span,
  items: row.items,
  reason: row.reason,
  error: row.error,
  deliveries: row.deliveries,
  attempts: row.attempts,
  oldestAtMillis: row.oldest_ms,
  diedAtMillis: row.died_ms
})

const statsOf = (row: any): Stats => ({
  pending: { batches: row.pending_batches, items: row.pending_items },
  dead: { batches: row.dead_batches, items: row.dead_items },
  oldestAtMillis: row.oldest_ms ?? undefined
})

const changedOf = (rows: ReadonlyArray<any>): Changed => {
  let items = 0
  let last = 0
  for (const row of rows) {
    items += row.items
    last = Math.max(last, row.seq % span)
  }
  return { batches: rows.length, items, last }
}

/** @internal */
export const makeDeadLetters = (
  prefix: string
): Pick<Operations, "deadLetters" | "inspect" | "redrive" | "discard" | "stats"> => {
  const { batches, dead, queues, redrives, resting } = tables(prefix)
  const columns = "seq, items, reason, error, deliveries, attempts, oldest_ms, died_ms"
  const listed = "seq IN (SELECT value FROM json_each(?)) AND seq > ? AND seq < ?"
  const first = `seq IN (SELECT seq FROM ${dead} WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?)`
  const of = (statement: string) => ({
    listed: `${statement} WHERE ${listed} RETURNING seq, items`,
    first: `${statement} WHERE ${first} RETURNING seq, items`
  })
  const sql = {
    deadLetters: `SELECT ${columns} FROM ${dead} WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?`,
    inspect: `SELECT ${columns}, payload FROM ${dead} WHERE seq = ?`,
    redrive: of(`INSERT INTO ${redrives} (seq, items) SELECT seq, items FROM ${dead}`),
    discard: of(`DELETE FROM ${dead}`),
    // What is due but has not come back yet can be claimed as well.
    stats: `SELECT pending_batches, pending_items, dead_batches, dead_items, (
        SELECT oldest_ms FROM (
          SELECT * FROM (SELECT seq, oldest_ms FROM ${batches} WHERE seq > ? AND seq < ? AND due_ms <= ?
            ORDER BY seq LIMIT 1)
          UNION ALL
          SELECT * FROM (SELECT seq, oldest_ms FROM ${resting} WHERE seq >> ${spanBits} = ? AND due_ms <= ?
            ORDER BY seq LIMIT 1)
        ) ORDER BY seq LIMIT 1
      ) AS oldest_ms FROM ${queues} WHERE id = ?`
  }

  const change = (
    connection: Connection,
    queueId: number,
    statement: { readonly listed: string; readonly first: string },
    which: Which
  ): Run<Changed> => {
    const [from, to] = [queueId * span, (queueId + 1) * span]
    return Effect.map(
      "after" in which
        ? connection.execute(statement.first, [from + which.after, to, which.limit], undefined)
        : connection.execute(statement.listed, [JSON.stringify(which.map((id) => from + id)), from, to], undefined),
      changedOf
    )
  }

  return {
    deadLetters: (connection, queueId, { after, limit }) => {
      const most = Math.max(0, Math.min(mostRows, Math.floor(limit)))
      return Effect.map(
        connection.execute(sql.deadLetters, [queueId * span + after, (queueId + 1) * span, most], undefined),
        (rows) => rows.map(deadLetterOf)
      )
    },
    inspect: (connection, queueId, id) =>
      Effect.map(
        connection.execute(sql.inspect, [id > 0 && id < span ? queueId * span + id : -1], undefined),
        (rows) =>
          rows.length === 0
            ? Option.none()
            : Option.some({ ...deadLetterOf(rows[0]), payload: bytesOf(rows[0].payload) })
      ),
    redrive: (connection, queueId, which) => change(connection, queueId, sql.redrive, which),
    discard: (connection, queueId, which) => change(connection, queueId, sql.discard, which),
    stats: (connection, queueId, now) =>
      Effect.map(
        connection.execute(
          sql.stats,
          [queueId * span, (queueId + 1) * span, now, queueId, now, queueId],
          undefined
        ),
        (rows) => statsOf(rows[0])
      )
  }
}

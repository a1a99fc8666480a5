/**
 * Dead letters in the store of SQLite, and its counters.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { DeadLetter, Stats } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Changed, Operations, Run, Which } from "../BatchStoreDialect.ts"
import { bytesOf } from "./sqliteClaims.ts"
import { ready, tables } from "./sqliteSchema.ts"

const deadLetterOf = (row: any): DeadLetter => ({
  id: row.seq,
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
    last = Math.max(last, row.seq)
  }
  return { batches: rows.length, items, last }
}

const mostRows = 2 ** 31 - 1

/** @internal */
export const makeDeadLetters = (
  prefix: string
): Pick<Operations, "deadLetters" | "inspect" | "redrive" | "discard" | "stats"> => {
  const { batches, payloads, queues } = tables(prefix)
  const columns = "seq, items, reason, error, deliveries, attempts, oldest_ms, died_ms"
  const of = (statement: string) => ({
    listed: `${statement} WHERE seq IN (SELECT value FROM json_each(?)) AND queue_id = ? AND state = 2
      RETURNING seq, items`,
    first: `${statement} WHERE seq IN (
      SELECT seq FROM ${batches} WHERE queue_id = ? AND state = 2 AND seq > ? ORDER BY seq LIMIT ?)
      RETURNING seq, items`
  })
  const sql = {
    deadLetters: `SELECT ${columns} FROM ${batches} WHERE queue_id = ? AND state = 2 AND seq > ? ORDER BY seq LIMIT ?`,
    inspect: `SELECT ${columns}, (SELECT payload FROM ${payloads} WHERE ${payloads}.seq = ${batches}.seq) AS payload
      FROM ${batches} WHERE seq = ? AND queue_id = ? AND state = 2`,
    redrive: of(`UPDATE ${batches} SET state = 0, due_ms = ${ready}, deliveries = 0, attempts = 0, failed_ms = 0,
      died_ms = 0, error = '', reason = ''`),
    discard: of(`DELETE FROM ${batches}`),
    // What is due but has not been put back yet can be claimed as well.
    stats: `SELECT pending_batches, pending_items, dead_batches, dead_items, (
        SELECT oldest_ms FROM ${batches} WHERE seq = (
          SELECT min(seq) FROM (
            SELECT min(seq) AS seq FROM ${batches} WHERE queue_id = ? AND state < 2 AND due_ms = ${ready}
            UNION ALL
            SELECT min(seq) FROM ${batches} WHERE queue_id = ? AND state < 2 AND due_ms > ${ready} AND due_ms <= ?
          )
        )
      ) AS oldest_ms FROM ${queues} WHERE id = ?`
  }

  const change = (
    connection: Connection,
    queueId: number,
    statement: { readonly listed: string; readonly first: string },
    which: Which
  ): Run<Changed> =>
    Effect.map(
      "after" in which
        ? connection.execute(statement.first, [queueId, which.after, which.limit], undefined)
        : connection.execute(statement.listed, [JSON.stringify(which), queueId], undefined),
      changedOf
    )

  return {
    deadLetters: (connection, queueId, { after, limit }) => {
      const most = Math.max(0, Math.min(mostRows, Math.floor(limit)))
      return Effect.map(
        connection.execute(sql.deadLetters, [queueId, after, most], undefined),
        (rows) => rows.map(deadLetterOf)
      )
    },
    inspect: (connection, queueId, id) =>
      Effect.map(connection.execute(sql.inspect, [id, queueId], undefined), (rows) =>
        rows.length === 0
          ? Option.none()
          : Option.some({ ...deadLetterOf(rows[0]), payload: bytesOf(rows[0].payload) })),
    redrive: (connection, queueId, which) => change(connection, queueId, sql.redrive, which),
    discard: (connection, queueId, which) => change(connection, queueId, sql.discard, which),
    stats: (connection, queueId, now) =>
      Effect.map(
        connection.execute(sql.stats, [queueId, queueId, now, queueId], undefined),
        (rows) => statsOf(rows[0])
      )
  }
}

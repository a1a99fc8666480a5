/**
 * The operations on claimed batches in the store of PostgreSQL, each of which is one statement.
 *
 * It locks the batches whose claims hold, in the order of their places, so that no two of them wait for each other.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Claim, ReleaseOptions } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import type { Claims, HeldOperations, Run } from "../../BatchStoreDialect.ts"
import type { Counts } from "./counts.ts"
import type { Floors } from "./floors.ts"
import { claimParams, due, failureParams } from "./rows.ts"
import { among, leased, putBack, resting, tables } from "./schema.ts"

const noClaims: ReadonlyArray<Claim> = []

/** What a batch becomes that is put back. */
export const releasedOf = ({ delayMillis = 0, failure, giveBack = false, version }: ReleaseOptions, now: number) => ({
  isFresh: version === undefined && failure === undefined && !(delayMillis > 0),
  dueAt: due(now + Math.max(0, delayMillis)),
  version: version === undefined ? 0 : Math.max(1, Math.floor(version)),
  failure,
  giveBack: giveBack ? 1 : 0
})

/**
 * The batches that are held, of the claims in `$2` and `$3` on the queue `$1`. They are locked until the transaction
 * ends. Each is looked up by itself, whatever PostgreSQL thinks of how many there are.
 */
export const heldIn = (batches: string, columns = "seq"): string =>
  `SELECT held.* FROM (
      SELECT seq, token FROM unnest($2::bigint[], $3::bigint[]) AS given (seq, token) ORDER BY seq
    ) AS given
    CROSS JOIN LATERAL (
      SELECT ${columns} FROM ${batches}
      WHERE queue_id = $1::integer AND seq = given.seq AND token = given.token AND state = ${leased}
      LIMIT 1 FOR UPDATE
    ) AS held`

/** What is noted of an attempt, from this parameter on. */
export const noted = (first: number): string =>
  `attempts = coalesce($${first}::bigint, attempts), failed_ms = coalesce($${first + 1}::bigint, failed_ms),
    error = coalesce($${first + 2}::text, error)`

/** The claims that no row was answered for. */
export const without = (claims: Claims, rows: ReadonlyArray<any>): ReadonlyArray<Claim> => {
  if (rows.length === claims.length) return noClaims
  const tokens = new Map<number, number>(rows.map(({ seq, token }) => [Number(seq), Number(token)]))
  return claims.filter(({ sequence, token }) => tokens.get(sequence) !== token)
}

export const makeHeld = (
  prefix: string,
  counts: Counts,
  floorsOf: (queueId: number) => Floors
): Omit<HeldOperations, "divide"> => {
  const { batches, dead } = tables(prefix)
  const held = `WITH held AS (${heldIn(batches)})`
  const ofHeld = `queue_id = $1::integer AND ${among("held")}`
  const gone = `${held}, gone AS (DELETE FROM ${batches} WHERE ${ofHeld} RETURNING *)`
  const forgiven = (table: string) =>
    `WITH held AS (
        SELECT seq, token FROM ${table} WHERE queue_id = $1::integer AND seq = ANY ($2::bigint[]) ORDER BY seq FOR UPDATE
      ),
      lost AS (
        SELECT held.seq, count(*) AS times FROM held
        JOIN unnest($2::bigint[], $3::bigint[]) AS given (seq, token) ON held.seq = given.seq AND held.token > given.token
        GROUP BY held.seq
      )
      UPDATE ${table} SET deliveries = greatest(0, deliveries - (SELECT times FROM lost WHERE lost.seq = ${table}.seq))
      WHERE queue_id = $1::integer AND ${among("lost")}`
  const sql = {
    settle: `${gone}, counted AS (${counts.counting("gone", { pending: -1 })}) SELECT seq, token FROM gone`,
    extend: `${held} UPDATE ${batches} SET due_ms = $4::bigint, since_ms = $5::bigint, ${noted(6)}
      WHERE ${ofHeld} RETURNING seq, token`,
    refresh: `${held} UPDATE ${batches} SET state = ${putBack}, due_ms = 0, since_ms = 0,
      deliveries = deliveries - $4::bigint, ${noted(5)} WHERE ${ofHeld} RETURNING seq, token`,
    rest: `${held}, changed AS (
        UPDATE ${batches} SET state = ${resting}, deliveries = deliveries - $4::bigint, ${noted(5)},
          due_ms = $8::bigint, since_ms = $9::bigint, version = $10::bigint
        WHERE ${ofHeld} RETURNING seq, token, items, version
      ),
      counted AS (${counts.counting("changed WHERE version > 0", { newer: 1 })})
      SELECT seq, token FROM changed`,
    bury: `${gone}, buried AS (
        INSERT INTO ${dead} (queue_id, seq, token, deliveries, items, oldest_ms, payload, died_ms, reason, attempts,
            failed_ms, error)
          SELECT queue_id, seq, token, deliveries, items, oldest_ms, payload, $4::bigint, $5::text, $6::bigint,
            $7::bigint, $8::text FROM gone
      ),
      counted AS (${counts.counting("gone", { pending: -1, dead: 1 })})
      SELECT seq, token FROM gone`,
    forgive: [batches, dead].map(forgiven)
  }

  const run = (
    connection: Connection,
    queueId: number,
    statement: string,
    claims: Claims,
    params: ReadonlyArray<unknown>
  ): Run<ReadonlyArray<Claim>> =>
    Effect.map(
      connection.execute(statement, [queueId, ...claimParams(claims), ...params], undefined),
      (rows) => without(claims, rows)
    )

  return {
    settle: (connection, queueId, claims) =>
      counts.changed(connection, queueId, run(connection, queueId, sql.settle, claims, [])),
    extend: (connection, queueId, claims, { failure, leaseMillis }, now) => {
      const until = due(now + leaseMillis)
      floorsOf(queueId).leased.lower(until)
      return run(connection, queueId, sql.extend, claims, [until, now, ...failureParams(failure)])
    },
    release: (connection, queueId, claims, options, now) => {
      const { dueAt, failure, giveBack, isFresh, version } = releasedOf(options, now)
      const params = [giveBack, ...failureParams(failure)]
      if (isFresh) return run(connection, queueId, sql.refresh, claims, params)
      floorsOf(queueId).resting.lower(dueAt)
      const released = run(connection, queueId, sql.rest, claims, [...params, dueAt, now, version])
      return version === 0 ? released : counts.changed(connection, queueId, released)
    },
    deadLetter: (connection, queueId, claims, { failure, reason }, now) => {
      const params = [now, reason, ...failureParams(failure)]
      return counts.changed(connection, queueId, run(connection, queueId, sql.bury, claims, params))
    },
    forgive: (connection, queueId, claims) => {
      const params = [queueId, ...claimParams(claims)]
      return Effect.forEach(sql.forgive, (statement) => connection.execute(statement, params, undefined), {
        discard: true
      })
    }
  }
}
